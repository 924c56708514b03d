//! What the emitters write of the engine's document, byte for byte, and that it holds together.
//!
//! After a change on purpose: `gro graph --format dot > gro-core/graph/tests/golden/parser.dot`, and the others alike.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_graph::{BUILT_IN, Graph, emit};

fn built_in() -> Graph {
    Graph::read("parser.json", BUILT_IN).unwrap().0
}

fn golden(format: &str, now: &str) {
    let file = format!("{}/tests/golden/parser.{format}", env!("CARGO_MANIFEST_DIR"));
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let line = now.lines().zip(before.lines()).position(|(now, before)| now != before);
    assert!(now == before, "{file} differs, first in line {line:?}; on purpose: gro graph --format {format}");
}

#[test]
fn dot_is_the_golden_file() {
    golden("dot", &emit::dot(&built_in()));
}

#[test]
fn svg_is_the_golden_file() {
    golden("svg", &emit::svg(&built_in()));
}

#[test]
fn json_is_the_golden_file_and_reads_back() {
    let text = emit::json(&built_in());
    golden("json", &text);
    let (graph, notes) = Graph::read("again.json", &text).unwrap();
    assert_eq!((graph, notes.len()), (built_in(), 0));
}

/// Every construct there is, in one document, comes back.
#[test]
fn json_of_everything_reads_back() {
    let text = r#"{
        "parsers": [{"name": "p", "root-node": "a", "max-nodes": 9, "okay-target": "okay"}],
        "parse-nodes": [
            {"name": "a", "min-hdr-length": 4, "encap": true, "overlay": true,
             "hdr-length": {"field-off": 0, "field-len": 1, "shift": 2, "mask": "0xfc", "multiplier": 4, "add": -4},
             "next-proto": {"field-off": 1, "field-len": 1, "entries": [], "wildcard-node": "b"},
             "cond-exprs": {"default-fail": "stop_fail", "ents": [{"name": "c", "type": "or", "ents": [
                {"type": "and", "ents": []}, {"type": "less_than", "field-off": 2, "field-len": 2, "value": 99999}]}]},
             "metadata": {"ents": [{"md-off": 4, "hdr-src-off": 0, "length": 2, "mask": 255}, {"type": "num_nodes", "md-off": 0}]},
             "tlvs-parse-node": {"tlv-type": {"field-off": 0, "field-len": 1}, "tlv-length": {"field-off": 1, "field-len": 1},
                "max-tlvs": 3, "eol": 0, "table": "options"}},
            {"name": "b", "next-node": "a", "hdr-length": {"flag-fields-length": true}, "min-hdr-length": 2,
             "flag-fields-parse-node": {"flags-offset": 0, "flags-length": 2, "flags-mask": "0xf000",
                "ents": [{"name": "key", "flag": "0x2000", "mask": "0x2000", "size": 4}]}}
        ],
        "tlv-tables": [{"name": "options", "ents": [{"key": 8, "node": "timestamp"}]}],
        "tlvs": [{"name": "timestamp", "metadata": {"ents": [{"md-off": 4, "hdr-src-off": 2, "length": 4}]}}]
    }"#;
    let (graph, _) = Graph::read("all.json", text).unwrap();
    let (again, notes) = Graph::read("again.json", &emit::json(&graph)).unwrap();
    assert_eq!((again, notes.len()), (graph.clone(), 0));
    // The others take it, too.
    assert!(emit::dot(&graph).contains("any") && emit::svg(&graph).contains("any"));
    holds_together(&emit::p4(&graph));
}

#[test]
fn p4_is_the_golden_file_and_holds_together() {
    let text = emit::p4(&built_in());
    golden("p4", &text);
    holds_together(&text);
}

/// What only a test of the engine has is in no picture and in no P4, but in the document that is written again.
#[test]
fn entries_of_tests_are_not_drawn() {
    let text = r#"{
        "parsers": [{"name": "p", "root-node": "a"}],
        "parse-nodes": [
            {"name": "a", "min-hdr-length": 2, "next-proto": {"field-off": 0, "field-len": 2, "ents": [
                {"key": "0x1111", "node": "b"}, {"key": "0x2222", "node": "c", "gro": {"without": "Rule"}}]}},
            {"name": "b", "min-hdr-length": 1}, {"name": "c", "min-hdr-length": 1}]
    }"#;
    let graph = Graph::read("without.json", text).unwrap().0;
    for emit in [emit::dot, emit::svg, emit::p4] {
        let text = emit(&graph);
        assert!(text.contains("0x1111") && !text.contains("0x2222"), "{text}");
    }
    assert!(!emit::p4(&graph).contains("parse_c"));
    assert!(emit::json(&graph).contains("0x2222"));
}

/// A header that a packet in a packet has again is a stack, and the limit of tunnels is one of the P4, too.
#[test]
fn p4_has_room_for_a_packet_in_a_packet() {
    let text = emit::p4(&built_in());
    for there in [
        "    ethernet_h[2] ethernet;",
        "    ipv4_rest_h[2] ipv4_rest;",
        "    ipv6_extension_h[32] ipv6_extension;",
        "    tcp_h tcp;",
        "    gre_h gre;",
        "        udp_h udp_seen = packet.lookahead<udp_h>();",
        "        verify(encaps <= 1, error.nested);",
        "            (16w0x88a8, _, 1w1): parse_vlan_outer;",
        "    in bool since_linux_7_x,",
    ] {
        assert!(text.lines().any(|line| line == there), "{there}");
    }
    let two = emit::json(&built_in()).replace("\"max-encaps\": 1", "\"max-encaps\": 2");
    let text = emit::p4(&Graph::read("two.json", &two).unwrap().0);
    assert!(text.contains("ethernet_h[3] ethernet;") && text.contains("gre_h[2] gre;"), "{text}");
    holds_together(&text);
}

/// Every state that is led to is there once, every header type and error is declared, brackets close.
fn holds_together(text: &str) {
    let declared = |word: &str, text: &str| -> Vec<String> {
        let after = text.lines().filter_map(|line| line.trim().strip_prefix(word).map(str::to_owned));
        after.map(|rest| rest.split([' ', '(']).next().unwrap_or_default().to_owned()).collect()
    };
    let headers = declared("header ", text);
    for line in text.lines().filter(|line| line.starts_with("    ") && line.contains("_h")) {
        let Some(kind) = line.split_whitespace().next().filter(|kind| kind.ends_with("_h")) else { continue };
        assert!(headers.iter().any(|header| header == kind), "{line}");
    }
    let errors = text.split("error {").nth(1).unwrap().split('}').next().unwrap();
    for reason in text.split("error.").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(errors.split([',', '\n', ' ']).any(|declared| declared == reason), "{reason}");
    }
    for parser in text.split("\nparser ").skip(1) {
        let states = declared("state ", parser);
        // A `?` is one of an expression, whose `:` leads nowhere.
        let targets = parser.lines().filter(|line| !line.contains('?')).filter_map(|line| {
            let line = line.trim().trim_end_matches(';');
            let target =
                line.strip_prefix("transition ").or_else(|| line.split_once(": ").map(|(_, target)| target));
            target.filter(|target| !target.starts_with("select"))
        });
        for target in targets.filter(|target| !matches!(*target, "accept" | "reject")) {
            assert_eq!(states.iter().filter(|state| *state == target).count(), 1, "{target}");
        }
        assert!(states.contains(&"start".to_owned()));
    }
    for (open, close) in [('{', '}'), ('(', ')'), ('<', '>')] {
        let count = |sign| {
            text.lines()
                .filter(|line| {
                    ![">=", "<=", ">>", "<<", ") > ", ") < "].iter().any(|sign| line.contains(sign))
                })
                .flat_map(str::chars)
                .filter(|other| *other == sign)
                .count()
        };
        assert_eq!(count(open), count(close), "{open}{close}");
    }
}

#[test]
fn equal_graphs_give_equal_text() {
    for emit in [emit::dot, emit::svg, emit::json, emit::p4] {
        assert_eq!(emit(&built_in()), emit(&built_in()));
    }
}

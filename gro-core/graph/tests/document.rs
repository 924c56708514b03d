//! What is accepted, what is refused and in which words; and no document makes the reader panic.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_graph::{BUILT_IN, Comparison, Graph, HeaderLength, Settings, Test, Walk, Why, walk};
use serde_json::{Value, json};

/// Two headers: the second as long as its first byte says, and optional fields behind a third.
fn small() -> Value {
    json!({
        "parsers": [{"name": "p", "root-node": "a", "max-nodes": 8}],
        "parse-nodes": [
            {"name": "a", "min-hdr-length": 2,
             "next-proto": {"field-off": 0, "field-len": 2, "ents": [{"key": "0x0800", "node": "b"}, {"key": 3, "node": "c"}]}},
            {"name": "b", "min-hdr-length": 4, "hdr-length": {"field-off": 0, "field-len": 1, "mask": "0xf", "multiplier": 4},
             "tlvs-parse-node": {"tlv-type": {"field-off": 0, "field-len": 1}, "tlv-length": {"field-off": 1, "field-len": 1},
                                 "pad1": 1, "eol": 0}},
            {"name": "c", "min-hdr-length": 2, "hdr-length": {"flag-fields-length": true},
             "flag-fields-parse-node": {"flags-offset": 0, "flags-length": 1, "table": "flags"}}
        ],
        "flag-fields-tables": [{"name": "flags", "ents": [{"flag": "0x80", "field-len": 4}, {"flag": "0x40", "size": 2}]}]
    })
}

fn read(document: &Value) -> Result<(Graph, Vec<String>), String> {
    Graph::read("test.json", &document.to_string()).map_err(|error| error.to_string())
}

fn walked(document: &Value, frame: &[u8]) -> Walk {
    let graph = read(document).unwrap().0;
    walk(&graph, &graph.parsers[0], frame, &Settings::default())
}

#[test]
fn the_built_in_document_is_a_graph_without_a_note() {
    let (graph, notes) = Graph::read("parser.json", BUILT_IN).unwrap();
    assert_eq!((graph.parsers.len(), graph.nodes.len(), notes.len()), (1, 16, 0));
}

#[test]
fn spellings_of_the_family_are_one_graph() {
    let mut other = small();
    let nodes = other["parse-nodes"].as_array_mut().unwrap();
    nodes[0]["next-proto"] = json!({"field-off": "0", "field-len": "0x2", "table": "t", "endian-swap": true});
    nodes[0]["handler"] = "f".into();
    nodes[1]["hdr-length"]["shift"] = 0.into();
    nodes[1]["hdr-length"]["mask"] = 15.into();
    other["proto-tables"] =
        json!([{"name": "t", "entries": [{"key": 2048, "node": "b"}, {"key": "3", "node": "c"}]}]);
    other["comment"] = "x".into();
    let (graph, notes) = read(&other).unwrap();
    let (plain, none) = read(&small()).unwrap();
    assert_eq!(graph.nodes, plain.nodes);
    assert_eq!(graph.tables[0].entries, plain.tables[0].entries);
    assert_eq!(none, Vec::<String>::new());
    let expected = [
        "document: \"comment\" is not known and was ignored",
        "node a: \"handler\" is for other tools",
        "node a: next-proto: \"endian-swap\" is for other tools",
    ];
    let mut notes = notes;
    notes.sort();
    assert_eq!(notes, expected);
}

#[test]
fn lengths_options_and_flags_are_walked() {
    let walk = walked(&small(), &[8, 0, 3, 9, 9, 9, 1, 7, 4, 0, 0, 0, 5, 5]);
    assert_eq!((walk.end, &walk.stop.why), (14, &Why::Done));
    let tlvs: Vec<_> = walk.steps[1].tlvs.iter().map(|tlv| (tlv.kind, tlv.offset, tlv.length)).collect();
    assert_eq!(tlvs, [(1, 6, 1), (7, 7, 4)]);
    // Shorter than its minimum, cut, an option that leaves its header.
    assert_eq!(walked(&small(), &[8, 0, 0, 0, 0, 0]).stop.why, Why::Short);
    assert_eq!(walked(&small(), &[8, 0, 3, 0, 0, 0]).stop.why, Why::Truncated);
    assert_eq!(walked(&small(), &[8, 0, 2, 0, 0, 0, 7, 5, 0, 0]).stop.why, Why::Options);
    assert_eq!(walked(&small(), &[8, 1]).stop.why, Why::Unknown(0x801));
    for (flags, end) in [(0, 4), (0x80, 8), (0x40, 6), (0xc0, 10), (0x3f, 4)] {
        assert_eq!(walked(&small(), &[0, 3, flags, 0, 0, 0, 0, 0, 0, 0]).end, end, "{flags:#x}");
    }
}

#[test]
fn limits_end_a_walk() {
    let mut document = small();
    document["parse-nodes"][1]["next-node"] = "a".into();
    document["parse-nodes"][1]["encap"] = true.into();
    document["parse-nodes"][1]["tlvs-parse-node"] = Value::Null;
    document["parsers"][0]["max-encaps"] = 2.into();
    let frame = [8, 0, 1, 0, 0, 0].repeat(20);
    assert_eq!(walked(&document, &frame).stop.why, Why::Encaps);
    document["parsers"][0]["max-encaps"] = 20.into();
    let walk = walked(&document, &frame);
    assert_eq!((walk.steps.len(), walk.stop.why), (8, Why::Nodes));
    document["parse-nodes"][0]["overlay"] = true.into();
    document["parsers"][0]["max-nodes"] = 2.into();
    assert_eq!(walked(&document, &[8, 0, 8, 8, 8].repeat(20)).end, 32);
}

#[test]
fn conditions_are_any_and_all() {
    let mut document = small();
    let less = json!({"type": "less_than", "field-off": 1, "field-len": 1, "value": 9});
    let not = json!({"type": "not_equal", "field-off": 1, "field-len": 1, "value": 3});
    document["parse-nodes"][1]["cond-exprs"] = json!({"ents": [
        {"type": "or", "name": "x", "ents": [{"type": "and", "ents": [less, not]},
            {"type": "greater_or_equal", "field-off": 1, "field-len": 1, "value": 200}]}]});
    let graph = read(&document).unwrap().0;
    assert!(matches!(&graph.nodes[1].conditions[0].test, Test::Any(parts) if parts.len() == 2));
    for (value, holds) in [(8, true), (9, false), (3, false), (199, false), (200, true)] {
        let why = walked(&document, &[8, 0, 1, value, 0, 0]).stop.why;
        assert_eq!(why == Why::Done, holds, "{value}: {why:?}");
    }
    assert_eq!(Comparison::ALL.iter().filter(|(_, comparison)| comparison.holds(1, 1)).count(), 3);
}

/// Place, value, and what the message must say.
#[test]
fn what_is_no_graph_is_refused_with_file_place_and_reason() {
    let gro = json!({"fields": [{"name": "x", "field-off": 0, "field-len": 1, "rule": "equal"}]});
    let twice = json!({"fields": [{"name": "x", "field-off": 0, "field-len": 2, "rule": "equal"},
        {"name": "y", "field-off": 1, "field-len": 1, "mask": 1, "rule": "equal"}]});
    let deep =
        (0..80).fold(json!({"type": "or", "ents": []}), |part, _| json!({"type": "or", "ents": [part]}));
    for (place, value, words) in [
        ("/parsers/0/root-node", json!("z"), "parser p: there is no node \"z\""),
        ("/parsers", json!([]), "document: \"parsers\" is missing"),
        ("/parsers", json!(7), "document: \"parsers\" must be a list"),
        ("/parsers/0/max-nodes", json!(70_000), "\"max-nodes\" is 70000; the most is 65535"),
        ("/parsers/0/gro", json!({"max-header-length": -1}), "must be a number"),
        (
            "/parse-nodes/0/next-proto/ents/0/node",
            json!("tpc"),
            "node a: next-proto: there is no node \"tpc\"",
        ),
        (
            "/parse-nodes/0/next-proto/ents/1/key",
            json!("0x800"),
            "node a: next-proto: key 0x800 is there twice",
        ),
        ("/parse-nodes/0/next-proto/ents/1/key", json!("0x10000"), "node a: key 0x10000 can never be read"),
        ("/parse-nodes/0/next-proto/ents/1/key", json!("+3"), "\"key\" must be a number"),
        ("/parse-nodes/0/next-proto/ents/1/key", json!(1.5), "\"key\" must be a number"),
        ("/parse-nodes/0/next-proto/mask", json!(0), "mask 0x0 does not fit"),
        ("/parse-nodes/0/next-proto/mask", json!("0x1ffff"), "mask 0x1ffff does not fit"),
        ("/parse-nodes/0/next-proto/shift", json!(16), "\"right-shift\" is 16; the most is 15"),
        ("/parse-nodes/0/next-proto/field-len", json!(9), "9 bytes; a number has 1 to 8"),
        (
            "/parse-nodes/0/next-proto/field-off",
            json!(1),
            "node a: next-proto ends at byte 3, behind the 2 bytes",
        ),
        ("/parse-nodes/0/next-proto/table", json!("t"), "\"ents\" and \"table\" exclude each other"),
        (
            "/parse-nodes/0/next-proto",
            json!({"field-off": 0, "field-len": 1, "table": "t"}),
            "there is no table \"t\"",
        ),
        ("/parse-nodes/0/next-proto", json!({"field-off": 0, "field-len": 1}), "\"ents\" is missing"),
        ("/parse-nodes/1/name", json!("a"), "parse-nodes: node \"a\" is there twice"),
        ("/parse-nodes/1/name", json!("b b"), "\"b b\" is no name"),
        ("/parse-nodes/1/name", json!("n".repeat(65)), "is no name"),
        (
            "/parse-nodes/1/min-hdr-length",
            json!(65_536),
            "node b: \"min-hdr-length\" is 65536; the most is 65535",
        ),
        ("/parse-nodes/1/hdr-length/multiplier", json!(5_000), "node b: hdr-length reaches 75000 bytes"),
        ("/parse-nodes/1/hdr-length/add", json!(-65_536), "\"add\" must be a number from -65535"),
        ("/parse-nodes/1/hdr-length/field-off", json!(4), "node b: hdr-length ends at byte 5"),
        (
            "/parse-nodes/1/hdr-length",
            json!({"flag-fields-length": true}),
            "\"flag-fields-parse-node\" is missing",
        ),
        (
            "/parse-nodes/1/cond-exprs",
            json!({"ents": [{"type": "is"}]}),
            "\"is\" is none of equal, not_equal",
        ),
        ("/parse-nodes/1/cond-exprs", json!({"list": "l"}), "a named list of conditions"),
        ("/parse-nodes/1/cond-exprs", json!({"ents": [deep]}), "recursion limit"),
        ("/parse-nodes/1/array-parse-node", json!({}), "\"array-parse-node\" is not understood here"),
        ("/parse-nodes/1/tlvs-parse-node/start-offset", json!({"field-off": 0}), "is not understood here"),
        ("/parse-nodes/1/tlvs-parse-node/eol", json!(256), "key 0x100 can never be read"),
        ("/parse-nodes/1/tlvs-parse-node/table", json!("o"), "there is no table \"o\""),
        ("/parse-nodes/1/gro", gro, "gro: bit 0 of byte 1 is in no field"),
        ("/parse-nodes/0/gro", twice, "gro: bit 7 of byte 1 is in \"x\" and in \"y\""),
        ("/parse-nodes/0/gro", json!({"bypass": {"unknown-next": "bored"}}), "\"bored\" is none of not_ip"),
        (
            "/parse-nodes/0/gro",
            json!({"bypass": {"cond-exprs": {"c": "not_ip"}}}),
            "there is no condition \"c\"",
        ),
        ("/parse-nodes/0/gro", json!({"layer": "top"}), "\"top\" is none of link"),
        (
            "/parse-nodes/0/gro",
            json!({"mutants": {"cheksum": "Ipv4Checksum"}}),
            "node a: there is no test \"cheksum\"",
        ),
        ("/parse-nodes/0/gro", json!({"mutants": {"checksum": "not a name"}}), "\"not a name\" is none of"),
        ("/parse-nodes/2/flag-fields-parse-node/table", json!("f"), "there is no flag-fields table \"f\""),
        ("/flag-fields-tables/0/ents/1/flag", json!("0x80"), "flag 0x80 is there twice"),
        ("/flag-fields-tables/0/ents/0/field-len", json!(65_535), "node c: hdr-length reaches 65539 bytes"),
        ("/parse-nodes/1/next-node", json!("b"), "parser p: the way b > b is a cycle"),
        ("/parse-nodes/1/next-node", json!("a"), "parser p: the way a > b > a is a cycle"),
    ] {
        let mut document = small();
        if words.contains("cycle") {
            document["parsers"][0].as_object_mut().unwrap().remove("max-nodes");
        }
        let (parent, key) = place.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.insert(key.to_owned(), value)),
            other => panic!("{place}: {other}"),
        }
        let Err(message) = read(&document) else { panic!("{place} was accepted, which must say: {words}") };
        assert!(message.starts_with("test.json: ") && message.contains(words), "{place}: {message}");
    }
    let message = Graph::read("test.json", "{\"parsers\": [],").unwrap_err().to_string();
    assert!(message.contains("line 1"), "{message}");
    let large = format!("{{\"parsers\": []{}}}", " ".repeat(1 << 20));
    assert!(Graph::read("test.json", &large).unwrap_err().to_string().contains("the most is 1048576"));
    let many: Vec<Value> = (0..5_000).map(|number| json!({"name": format!("n{number}")})).collect();
    let message = read(&json!({"parsers": [], "proto-tables": many})).unwrap_err();
    assert!(message.contains("parsers") || message.contains("most is 4096"), "{message}");
}

#[test]
fn mutants_name_conditions_flush_bits_and_tests() {
    let mut document = small();
    document["parse-nodes"][0]["cond-exprs"] =
        json!({"ents": [{"name": "c", "type": "equal", "field-off": 0, "field-len": 1, "value": 1}]});
    document["parse-nodes"][0]["gro"] = json!({
        "flush": [{"name": "f", "field-off": 0, "field-len": 1, "mask": "0x80"}],
        "mutants": {"c": "A", "f": "B", "checksum": "C", "length": "D", "requires": "E", "short-header": "F", "identity": "G"}
    });
    let graph = read(&document).unwrap().0;
    assert_eq!(graph.nodes[0].gro.mutants.len(), 7);
    for (name, rule) in [("c", Some("A")), ("f", Some("B")), ("identity", Some("G")), ("a", None)] {
        assert_eq!(graph.nodes[0].gro.mutant(name), rule);
    }
}

/// Cuts, joins and changes a document's text and its values, then walks what is still a graph.
#[test]
fn no_document_makes_the_reader_panic() {
    let mut random = Random(1);
    let (mut graphs, mut refused) = (0, 0);
    for round in 0..20_000 {
        let text = match round % 4 {
            0 => changed_text(&mut random, BUILT_IN),
            1 => changed_text(&mut random, &small().to_string()),
            2 => {
                let base =
                    if random.below(2) == 0 { serde_json::from_str(BUILT_IN).unwrap() } else { small() };
                changed_value(&mut random, base).to_string()
            }
            _ => noise(&mut random, 0).to_string(),
        };
        let Ok((graph, _)) = Graph::read("fuzz.json", &text) else {
            refused += 1;
            continue;
        };
        graphs += 1;
        for parser in &graph.parsers {
            let frame: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
            let walked = walk(&graph, parser, &frame, &Settings::default());
            assert!(
                walked.end <= frame.len()
                    && walked.steps.iter().all(|step| step.offset + step.length <= frame.len())
            );
        }
        if let Some(HeaderLength::Computed { field, .. }) = graph.nodes.first().and_then(|node| node.length) {
            assert!(field.length <= 8);
        }
    }
    // Both ways are taken, so that neither half of the code is left out.
    assert!(graphs > 300 && refused > 1_000, "{graphs} graphs, {refused} refused");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 32) as usize % end
    }
}

fn changed_text(random: &mut Random, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at.max(1)),
            1 => drop(bytes.remove(at)),
            2 => bytes[at] = b"0123456789{}[]\",:-xf"[random.below(20)],
            3 => bytes.insert(at, b"0123456789{}[]\",:-xf"[random.below(20)]),
            _ => {
                let piece: Vec<u8> = bytes.iter().skip(at).take(random.below(40)).copied().collect();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Replaces one to three values anywhere.
fn changed_value(random: &mut Random, mut document: Value) -> Value {
    for _ in 0..1 + random.below(3) {
        let mut at = &mut document;
        for _ in 0..random.below(8) {
            let size = at.as_object().map_or(0, |map| map.len()) + at.as_array().map_or(0, Vec::len);
            if size == 0 {
                break;
            }
            let index = random.below(size);
            at = match at {
                Value::Object(map) => map.values_mut().nth(index).unwrap(),
                Value::Array(list) => &mut list[index],
                _ => break,
            };
        }
        *at = if random.below(3) == 0 { noise(random, 3) } else { leaf(random) };
    }
    document
}

fn leaf(random: &mut Random) -> Value {
    let words =
        ["a", "b", "tcp", "ipv4", "0xffffffffffffffff", "-1", "equal", "stop_fail", "flush", "header", ""];
    match random.below(5) {
        0 => Value::Null,
        1 => random.below(70_000).into(),
        2 => [0_u64, 1, 7, 8, 255, u64::MAX, 1 << 63][random.below(7)].into(),
        3 => (random.below(2) == 0).into(),
        _ => words[random.below(words.len())].into(),
    }
}

/// JSON with the words of the vocabulary and without its sense.
fn noise(random: &mut Random, depth: usize) -> Value {
    const KEYS: [&str; 20] = [
        "parsers",
        "parse-nodes",
        "proto-tables",
        "name",
        "root-node",
        "min-hdr-length",
        "hdr-length",
        "next-proto",
        "field-off",
        "field-len",
        "mask",
        "ents",
        "key",
        "node",
        "gro",
        "fields",
        "rule",
        "cond-exprs",
        "type",
        "table",
    ];
    match random.below(if depth > 5 { 1 } else { 3 }) {
        0 => leaf(random),
        1 => (0..random.below(4)).map(|_| noise(random, depth + 1)).collect(),
        _ => {
            let pairs =
                (0..random.below(6)).map(|_| (KEYS[random.below(20)].to_owned(), noise(random, depth + 1)));
            Value::Object(pairs.collect())
        }
    }
}

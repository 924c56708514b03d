//! A document as other tools of the family write theirs: it is read, with a note for what is theirs alone, and walks frames
//! rightly. What is not understood here is refused by name, never guessed.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_graph::{Graph, Settings, Walk, Why, walk};
use serde_json::{Value, json};

const OUTSIDE: &str = include_str!("outside/ethernet-to-udp.json");

fn graph() -> (Graph, Vec<String>) {
    Graph::read("ethernet-to-udp.json", OUTSIDE).unwrap()
}

fn walked(frame: &[u8]) -> Walk {
    let graph = graph().0;
    walk(&graph, &graph.parsers[0], frame, &Settings::default())
}

/// Names of the headers, where they begin, how long they are.
fn headers(walk: &Walk) -> Vec<(String, usize, usize)> {
    let graph = graph().0;
    walk.steps.iter().map(|step| (graph.nodes[step.node].name.clone(), step.offset, step.length)).collect()
}

/// The headers that a frame must have, end to end from its start, and nothing behind them but 3 bytes.
fn expect(frame: &[&[u8]], names: &[&str]) -> Walk {
    let joined: Vec<u8> = frame.iter().copied().flatten().copied().chain([7, 7, 7]).collect();
    let walk = walked(&joined);
    let mut start = 0;
    let mut expected = Vec::new();
    for (part, name) in frame.iter().zip(names) {
        expected.push(((*name).to_owned(), start, part.len()));
        start += part.len();
    }
    assert_eq!(headers(&walk), expected, "{:?}", walk.stop);
    assert_eq!((walk.end, &walk.stop.why), (start, &Why::Done));
    assert_eq!(frame.len(), names.len());
    walk
}

fn ethernet(ethertype: u16) -> Vec<u8> {
    [&[2; 12][..], &ethertype.to_be_bytes()].concat()
}

fn vlan(ethertype: u16) -> Vec<u8> {
    [&[0x20, 5][..], &ethertype.to_be_bytes()].concat()
}

/// With this protocol and so many bytes of options.
fn ipv4(protocol: u8, options: usize) -> Vec<u8> {
    let mut header = vec![0; 20 + options];
    header[0] = 0x45 + (options / 4) as u8;
    header[9] = protocol;
    header
}

fn ipv6(next: u8) -> Vec<u8> {
    let mut header = vec![0; 40];
    (header[0], header[6]) = (0x60, next);
    header
}

/// An extension header of so many bytes.
fn extension(next: u8, length: usize) -> Vec<u8> {
    let mut header = vec![0; length];
    (header[0], header[1]) = (next, (length / 8 - 1) as u8);
    header
}

fn tcp(options: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[12] = (((20 + options.len()) / 4) << 4) as u8;
    [&header, options].concat()
}

const UDP: [u8; 8] = [0, 53, 0, 53, 0, 11, 0, 0];

#[test]
fn it_is_read_with_a_note_for_each_key_of_other_tools() {
    let (graph, mut notes) = graph();
    notes.sort();
    let expected = [
        "document: \"comment\" is not known and was ignored",
        "document: \"counters\" is not known and was ignored",
        "document: \"metadata\" is not known and was ignored",
        "node encap_node: \"handler\" is for other tools",
        "node ether_node: metadata: \"endian-swap\" is for other tools",
        "node ether_node: next-proto: \"endian-swap\" is for other tools",
        "node fail_node: \"handler\" is for other tools",
        "node gre_node: flag-fields-parse-node: \"flags-reverse-order\" is for other tools",
        "node ipv4_node: \"unknown-proto-ret\" is for other tools",
        "node ipv4_node: next-proto: \"encap\" is for other tools",
        "node ipv6_node: \"metadata\" is for other tools",
        "node ipv6_node: next-proto: \"default\" is for other tools",
        "node okay_node: \"handler\" is for other tools",
        "node tcp_node: tlvs-parse-node: \"max-non-padding\" is for other tools",
        "node tcp_timestamp_node: \"handler\" is not known and was ignored",
        "node udp_node: \"post-handler\" is for other tools",
        "node vlan_node: \"counter-actions\" is for other tools",
        "node vlan_node: metadata: \"index\" is for other tools",
        "parser flow_parser: \"encap-target\" is for other tools",
        "parser flow_parser: \"file_name\" is not known and was ignored",
        "parser flow_parser: \"frame-size\" is for other tools",
        "parser flow_parser: \"max-frames\" is for other tools",
        "parser flow_parser: \"metameta-size\" is for other tools",
        "parser flow_parser: \"num-counters\" is for other tools",
        "parser flow_parser: \"num-keys\" is for other tools",
        "table gre_flags_table: \"node\" is for other tools",
        "table ipv6_table: \"default\" is for other tools",
    ];
    assert_eq!(notes, expected);
    assert_eq!((graph.nodes.len(), graph.parsers[0].max_nodes), (12, Some(32)));
}

#[test]
fn ethernet_tags_ipv4_tcp_and_udp() {
    expect(&[&ethernet(0x800), &ipv4(17, 0), &UDP], &["ether_node", "ipv4_node", "udp_node"]);
    expect(&[&ethernet(0x800), &ipv4(6, 8), &tcp(&[])], &["ether_node", "ipv4_node", "tcp_node"]);
    let names = ["ether_node", "vlan_node", "ipv4_node", "udp_node"];
    expect(&[&ethernet(0x8100), &vlan(0x800), &ipv4(17, 0), &UDP], &names);
    let names = ["ether_node", "vlan_node", "vlan_node", "ipv6_node", "tcp_node"];
    expect(&[&ethernet(0x88a8), &vlan(0x8100), &vlan(0x86dd), &ipv6(6), &tcp(&[1; 4])], &names);
}

#[test]
fn options_of_tcp_are_found() {
    let options = [2, 4, 5, 180, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 9, 9];
    let walk =
        expect(&[&ethernet(0x800), &ipv4(6, 0), &tcp(&options)], &["ether_node", "ipv4_node", "tcp_node"]);
    let found: Vec<_> = walk.steps[2].tlvs.iter().map(|tlv| (tlv.kind, tlv.offset, tlv.length)).collect();
    assert_eq!(found, [(2, 54, 4), (1, 58, 1), (1, 59, 1), (8, 60, 10)]);
}

#[test]
fn ipv6_extensions_and_fragments() {
    let names = ["ether_node", "ipv6_node", "ipv6_ext_node", "ipv6_ext_node", "udp_node"];
    expect(&[&ethernet(0x86dd), &ipv6(0), &extension(60, 8), &extension(17, 24), &UDP], &names);
    // Behind a fragment header nothing is looked at: the wildcard is a node without bytes.
    let names = ["ether_node", "ipv6_node", "ipv6_frag_node", "okay_node"];
    expect(&[&ethernet(0x86dd), &ipv6(44), &extension(6, 8), &[]], &names);
}

#[test]
fn gre_is_as_long_as_its_flags_say() {
    for (flags, length) in [(0_u16, 4), (0x8000, 8), (0x2000, 8), (0xb000, 16), (0x0001, 4)] {
        let mut gre = vec![0; length];
        gre[..2].copy_from_slice(&flags.to_be_bytes());
        gre[2..4].copy_from_slice(&[8, 0]);
        let names = ["ether_node", "ipv4_node", "gre_node", "ipv4_node", "udp_node"];
        expect(&[&ethernet(0x800), &ipv4(47, 0), &gre, &ipv4(17, 4), &UDP], &names);
    }
}

#[test]
fn walks_end_where_the_document_says() {
    let join = |parts: &[&[u8]]| walked(&parts.concat()).stop.why;
    assert_eq!(join(&[&ethernet(0x806), &[0; 28]]), Why::Unknown(0x806));
    assert_eq!(join(&[&ethernet(0x800), &ipv4(1, 0), &UDP]), Why::Unknown(1));
    assert_eq!(join(&[&ethernet(0x800), &ipv4(17, 0), &UDP[..7]]), Why::Truncated);
    let mut fragment = ipv4(17, 0);
    fragment[7] = 1;
    assert_eq!(join(&[&ethernet(0x800), &fragment, &UDP]), Why::Condition(1));
    let mut version = ipv4(17, 0);
    version[0] = 0x65;
    assert_eq!(join(&[&ethernet(0x800), &version, &UDP]), Why::Condition(0));
    let mut short = tcp(&[]);
    short[12] = 0x40;
    assert_eq!(join(&[&ethernet(0x800), &ipv4(6, 0), &short]), Why::Short);
    assert_eq!(join(&[&ethernet(0x800), &ipv4(6, 0), &tcp(&[2, 5, 0, 0])]), Why::Options);
    assert_eq!(join(&[&ethernet(0x8100), &vlan(0x8100).repeat(40)]), Why::Nodes);
    let gre = [0, 0, 8, 0];
    let nested = [ipv4(47, 0), gre.to_vec()].concat().repeat(3);
    assert_eq!(join(&[&ethernet(0x800), &nested, &ipv4(17, 0), &UDP]), Why::Encaps);
}

/// Node, key in it, value, and what the message must name.
#[test]
fn what_is_not_understood_is_refused_by_name() {
    let array = json!({"array-type": {"field-off": 0, "field-len": 1}, "table": "t"});
    let read_start = json!({"field-off": 1, "field-len": 1});
    for (place, value, words) in [
        ("/parse-nodes/9/array-parse-node", array, "\"array-parse-node\" is not understood here"),
        (
            "/parse-nodes/9/tlvs-parse-node/start-offset",
            read_start.clone(),
            "a \"start-offset\" of options that is read from the header is not understood here",
        ),
        (
            "/parse-nodes/9/tlvs-parse-node/tlv-start-offset",
            read_start,
            "\"tlv-start-offset\" is not understood here",
        ),
        (
            "/parse-nodes/9/tlvs-parse-node/tlv-length/multiplier",
            json!(8),
            "an option length that is not in bytes is not understood here",
        ),
        (
            "/parse-nodes/9/tlvs-parse-node/tlv-length/add",
            json!(2),
            "an option length that is not in bytes is not understood here",
        ),
        (
            "/parse-nodes/5/cond-exprs/list",
            json!("checks"),
            "a named list of conditions (\"list\") is not understood here",
        ),
        ("/parse-nodes/5/cond-exprs/entries/0/type", json!("in_range"), "\"in_range\" is none of equal"),
        ("/parse-nodes/5/cond-exprs/default-fail", json!("stop_node_okay"), "\"stop_node_okay\" is none of"),
        (
            "/parse-nodes/11/flag-fields-parse-node",
            json!({"get_flags": "gre_flags", "table": "gre_flags_table"}),
            "\"flags-offset\" is missing",
        ),
        (
            "/parse-nodes/7/hdr-length",
            json!("ipv6_ext_len"),
            "\"node ipv6_ext_node: hdr-length\" must be an object",
        ),
    ] {
        let mut document: Value = serde_json::from_str(OUTSIDE).unwrap();
        let (parent, key) = place.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.insert(key.to_owned(), value)),
            other => panic!("{place}: {other}"),
        }
        let Err(error) = Graph::read("outside.json", &document.to_string()) else {
            panic!("{place}: {words}")
        };
        let message = error.to_string();
        assert!(message.starts_with("outside.json: node ") && message.contains(words), "{place}: {message}");
    }
}

//! What the engine would not do as the document says does not become Rust.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_graph::{BUILT_IN, Graph, emit};
use serde_json::{Value, json};

/// A document in which things of a list are called by their name.
struct Document(Value);

impl Document {
    fn new() -> Self {
        Self(serde_json::from_str(BUILT_IN).unwrap())
    }

    fn at(&mut self, place: &str) -> &mut Value {
        let mut at = &mut self.0;
        for part in place.split('/') {
            at = match at {
                Value::Array(list) => list.iter_mut().find(|item| item["name"] == part).unwrap(),
                other => other.get_mut(part).unwrap(),
            };
        }
        at
    }

    fn field(&mut self, node: &str, field: &str) -> &mut Value {
        self.at(&format!("parse-nodes/{node}/gro/fields/{field}"))
    }

    fn emitted(&self) -> Result<String, String> {
        let (graph, _) = Graph::read("test.json", &self.0.to_string()).unwrap();
        emit::rust(&graph).map_err(|error| error.to_string())
    }

    fn rename(&mut self, from: &str, to: &str) {
        let text = self.0.to_string().replace(&json!(from).to_string(), &json!(to).to_string());
        self.0 = serde_json::from_str(&text).unwrap();
    }
}

#[test]
fn the_built_in_document_has_a_place() {
    assert!(Document::new().emitted().unwrap().contains("fn ipv4"));
}

/// A tunnel over UDP with options, as a user would write it: none of the refusals below is in the way.
#[test]
fn a_tunnel_of_ones_own_has_a_place() {
    let mut document = Document::new();
    for table in ["udp-ports", "udp-tunnels"] {
        let node = if table == "udp-ports" { "udp-tunnel" } else { "own" };
        let entries = document.at(&format!("proto-tables/{table}/ents")).as_array_mut().unwrap();
        entries.push(json!({"name": "own", "key": 5555, "node": node}));
    }
    document.0["parse-nodes"].as_array_mut().unwrap().push(json!({
        "name": "own", "min-hdr-length": 8, "encap": true,
        "hdr-length": {"field-off": 0, "field-len": 1, "mask": "0xf", "multiplier": 4, "add": 8},
        "next-proto": {"field-off": 2, "field-len": 2, "table": "geneve-protocols"},
        "cond-exprs": {"ents": [{"name": "version", "type": "equal", "field-off": 0, "field-len": 1, "mask": "0xf0", "value": 0}]},
        "gro": {
            "layer": "tunnel", "tunnel": "udp-tunnel", "rest": "identify", "mutants": {"identity": "TunnelHeader"},
            "bypass": {"unknown-next": "not_ip", "cond-exprs": {"version": "tunnel"}},
            "fields": [
                {"name": "all", "field-off": 0, "field-len": 8, "rule": "identify"}
            ]
        }
    }));
    assert!(document.emitted().unwrap().contains("fn own"));
    document.at("parse-nodes/own/gro/fields/all")["rule"] = "first".into();
    assert!(document.emitted().unwrap_err().contains("node own"));
}

/// Node, field, key, value, and what the message must say.
#[test]
fn a_field_that_nothing_would_compare_is_refused() {
    for (node, field, key, value, words) in [
        (
            "vxlan",
            "vni",
            "rule",
            json!("equal"),
            "node vxlan: \"vni\": the engine has the rule equal here only for",
        ),
        ("vxlan", "vni", "rule", json!("rewrite"), "only for length and checksum of UDP"),
        ("vxlan", "vni", "rule", json!("first"), "only for another kind of header"),
        ("udp-tunnel", "source-port", "rule", json!("presence"), "only for length and checksum of UDP"),
        ("vlan-outer", "tci", "rule", json!("equal"), "the rule equal here"),
        ("vlan-outer", "tci", "rule", json!("rewrite"), "only for the \"length\" under gro"),
        ("ipv4", "tos", "into", Value::Null, "only for \"into\" class, ack or control"),
        ("ipv4", "tos", "rule", json!("identify"), "only for what follows, or \"into\" label"),
        ("ipv4", "tos", "rule", json!("continue"), "only for another kind of header"),
        ("ipv4", "source", "rule", json!("equal"), "only for \"into\" class"),
        ("ipv4", "reserved", "rule", json!("equal"), "only for \"into\" class"),
        ("ipv4", "identification", "into-shift", json!(0), "shifted by 16"),
        ("tcp", "sequence", "into", json!("ack"), "only for \"into\" seq"),
        ("tcp", "psh", "into", Value::Null, "only for \"into\" control"),
        ("tcp", "destination-port", "into", json!("label"), "such a header has no \"label\""),
        ("ipv4", "tos", "into-shift", json!(25), "\"tos\" ends at bit 33 of \"class\", which has 32"),
        (
            "ipv4",
            "destination",
            "into-shift",
            json!(16),
            "\"destination\" and \"source\" share bits of \"addresses\"",
        ),
        ("ipv4", "ttl", "into-shift", json!(9), "\"ttl\" and \"tos\" share bits of \"class\""),
        ("vxlan", "vni", "rule", json!("checked"), "node vxlan: byte 4 has rule checked, and no condition"),
        ("ipv4", "dont-fragment", "rule", json!("checked"), "node ipv4: byte 6 has rule checked"),
        ("tcp", "window", "rule", json!("rewrite"), "only for the \"length\" and the \"checksum\" under gro"),
        ("ipv6", "hop-limit", "rule", json!("rewrite"), "only for the \"length\""),
        ("tcp", "acknowledgement", "rule", json!("first"), "no field with rule equal goes to \"ack\""),
    ] {
        let mut document = Document::new();
        let target = document.field(node, field);
        target[key] = value.clone();
        // A shift needs a word.
        if value.is_null() {
            target["into-shift"] = Value::Null;
        }
        let Err(message) = document.emitted() else { panic!("{node} {field} {key} {value} was emitted") };
        assert!(message.contains(words), "{node} {field} {key} {value}: {message}");
    }
}

#[test]
fn what_is_behind_a_header_of_varying_length_is_compared() {
    for (node, words) in [("geneve", "\"rest\" identify"), ("tcp", "\"rest\" equal")] {
        for rest in [Value::Null, json!("first")] {
            let mut document = Document::new();
            document.at(&format!("parse-nodes/{node}/gro"))["rest"] = rest;
            let message = document.emitted().unwrap_err();
            assert!(message.contains(node) && message.contains(words), "{message}");
        }
    }
}

/// Node, key under `gro`, value, and what the message must say.
#[test]
fn a_test_that_nothing_would_make_is_refused() {
    let length = json!({"field-off": 4, "field-len": 2, "unequal": "flush"});
    let flush = json!([{"name": "last", "field-off": 7, "field-len": 1, "mask": 1}]);
    let optional = json!([{"name": "x", "field-off": 0, "field-len": 4, "rule": "identify",
        "when": {"field-off": 0, "field-len": 1}}]);
    let sum = |offset: u32, covers: &str, bypass: &str, zero: bool| json!({"field-off": offset, "field-len": 2, "covers": covers, "bypass": bypass, "zero-is-none": zero});
    for (node, key, value, words) in [
        ("vxlan", "length", length.clone(), "node vxlan: the engine looks at a \"length\""),
        ("vxlan", "flush", flush, "and at \"flush\" in tags"),
        ("ipv6-extension", "length", length, "in tags, network and transport headers"),
        (
            "ipv4",
            "length",
            json!({"field-off": 2, "field-len": 2, "add": 21, "unequal": "flush"}),
            "node ipv4: \"length\" adds more",
        ),
        ("tcp", "optional-fields", optional, "node tcp: the engine looks at optional fields in tunnels"),
        ("udp-tunnel", "checksum", sum(6, "payload", "checksum", false), "does not verify such a checksum"),
        ("udp-tunnel", "checksum", sum(6, "payload", "tunnel", true), "does not verify such a checksum"),
        ("udp-tunnel", "checksum", sum(6, "rest", "checksum", true), "the engine has the rule rewrite here"),
        ("vxlan", "checksum", sum(6, "rest", "checksum", false), "does not verify such a checksum"),
        ("vlan-outer", "checksum", sum(0, "rest", "checksum", true), "does not verify such a checksum"),
        ("tcp", "checksum", sum(16, "rest", "checksum", false), "does not verify such a checksum"),
        ("ipv4", "checksum", sum(10, "header", "ip_checksum", true), "does not verify such a checksum"),
    ] {
        let mut document = Document::new();
        document.at(&format!("parse-nodes/{node}/gro"))[key] = value.clone();
        let Err(message) = document.emitted() else { panic!("{node} {key} {value} was emitted") };
        assert!(message.contains(words), "{node} {key} {value}: {message}");
    }
}

#[test]
fn names_that_are_one_in_rust_are_refused() {
    for (from, to, words) in [
        ("pppoe", "if", "node if: `if` is no name in the generated code"),
        ("pppoe", "First", "node First: `first` is no name"),
        ("ppp-protocols", "for", "table for: `for` is no name"),
        ("vlan-inner", "VLAN.outer", "node VLAN.outer: `vlan_outer` is also node vlan-outer"),
        ("ppp-protocols", "gre_protocols", "`gre_protocols` is also table"),
        ("ppp-protocols", "pppoe", "table pppoe: `pppoe` is also node pppoe"),
    ] {
        let mut document = Document::new();
        document.rename(from, to);
        let message = document.emitted().unwrap_err();
        assert!(message.contains(words), "{to}: {message}");
    }
}

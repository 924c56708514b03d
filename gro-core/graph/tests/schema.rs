//! `gro-core/parser.schema.json` says what the reader says, as far as a schema can.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_graph::{
    BUILT_IN, Comparison, Covers, FieldRule, Graph, Layer, PROFILES, REASONS, SWITCHES, TunnelKind, WORDS,
    emit,
};
use jsonschema::Validator;
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../parser.schema.json");
const PAGE: &str = include_str!("../../../docs/parse-graph.md");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn errors(document: &Value) -> Vec<String> {
    let validator = validator();
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn built_in() -> Value {
    serde_json::from_str(BUILT_IN).unwrap()
}

#[test]
fn the_schema_is_one() {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let broken = json!({"$schema": schema["$schema"], "type": "objekt"});
    assert!(!jsonschema::draft202012::meta::is_valid(&broken));
}

#[test]
fn documents_are_valid_as_written_and_as_written_again() {
    assert_eq!(errors(&built_in()), Vec::<String>::new());
    let graph = Graph::read("parser.json", BUILT_IN).unwrap().0;
    let again: Value = serde_json::from_str(&emit::json(&graph)).unwrap();
    assert_eq!(errors(&again), Vec::<String>::new());
    let outside: Value = serde_json::from_str(include_str!("outside/ethernet-to-udp.json")).unwrap();
    assert_eq!(errors(&outside), Vec::<String>::new());
}

/// Numbers may be strings, entries have two names, and so has the shift.
#[test]
fn spellings_of_the_family_are_valid() {
    let mut document = built_in();
    let node = document.pointer_mut("/parse-nodes/7").unwrap();
    node["hdr-length"]["shift"] = node["hdr-length"].as_object_mut().unwrap().remove("right-shift").unwrap();
    node["min-hdr-length"] = "0x14".into();
    node["handler"] = json!({"name": "f", "watchers": "0x1"});
    let table = document.pointer_mut("/proto-tables/0").unwrap().as_object_mut().unwrap();
    let entries = table.remove("ents").unwrap();
    table.insert("entries".to_owned(), entries);
    document["comment"] = "x".into();
    assert_eq!(errors(&document), Vec::<String>::new());
    assert!(Graph::read("spellings.json", &document.to_string()).is_ok());
}

/// Each of these the reader refuses, and so does the schema.
#[test]
fn broken_documents_are_refused_by_both() {
    for (place, value) in [
        ("/parsers", json!([])),
        ("/parsers/0/name", json!("a b")),
        ("/parsers/0/root-node", json!(7)),
        ("/parsers/0/max-nodes", json!(70_000)),
        ("/parsers/0/gro/bypass/max-encaps", json!("bored")),
        ("/parse-nodes/0", json!([])),
        ("/parse-nodes/0/min-hdr-length", json!(-1)),
        ("/parse-nodes/0/min-hdr-length", json!("0x")),
        ("/parse-nodes/0/next-node", json!("ipv4")),
        ("/parse-nodes/0/next-proto/field-len", json!(9)),
        ("/parse-nodes/0/next-proto/mask", json!(0)),
        ("/parse-nodes/0/next-proto/ents", json!([])),
        ("/parse-nodes/0/array-parse-node", json!({})),
        ("/parse-nodes/0/encap", json!("yes")),
        ("/parse-nodes/0/tlvs-parse-node", json!({"tlv-type": {"field-off": 0, "field-len": 1}})),
        ("/parse-nodes/0/gro/layer", json!("top")),
        ("/parse-nodes/0/gro/tunnel", json!("mpls")),
        ("/parse-nodes/0/gro/fields/0/rule", json!("same")),
        ("/parse-nodes/0/gro/fields/0/field-len", json!(0)),
        ("/parse-nodes/0/gro/fields/0/into", json!("word")),
        ("/parse-nodes/0/gro/fields/0/into-shift", json!(8)),
        ("/parse-nodes/0/gro/bypass/unknown-next", json!("unknown")),
        ("/parse-nodes/0/gro/requires", json!({"switch": "udp", "bypass": "udp_off"})),
        ("/parse-nodes/0/gro/mutants", json!({"identity": "in-band"})),
        ("/parse-nodes/4/cond-exprs/ents/0/type", json!("is")),
        ("/parse-nodes/4/cond-exprs/default-fail", json!("stop")),
        ("/parse-nodes/4/cond-exprs/list", json!("l")),
        ("/parse-nodes/4/hdr-length/add", json!(70_000)),
        ("/parse-nodes/4/gro/checksum/covers", json!("all")),
        ("/parse-nodes/4/gro/length/unequal", json!("ignore")),
        ("/parse-nodes/4/gro/flush/0/name", json!("")),
        ("/parse-nodes/13/flag-fields-parse-node/ents", json!([])),
        ("/parse-nodes/13/gro/optional-fields/0/when", json!(1)),
        ("/proto-tables/0/ents/0/key", json!("800x")),
        ("/proto-tables/0/ents/0/gro", json!({"if": "vlan"})),
        ("/proto-tables/0/ents/0/gro", json!({"since": "linux-5.0"})),
        ("/proto-tables/0/ents/0/gro", json!({"without": "fragment"})),
        ("/proto-tables/0/entries", json!([])),
        ("/flag-fields-tables/0/ents/0/field-len", json!(4)),
    ] {
        let mut document = built_in();
        let (parent, key) = place.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.insert(key.to_owned(), value.clone())),
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{place}: {other}"),
        }
        assert!(!errors(&document).is_empty(), "the schema takes {place} {value}");
        assert!(
            Graph::read("broken.json", &document.to_string()).is_err(),
            "the reader takes {place} {value}"
        );
    }
}

/// Under `gro` the schema is stricter: what is a note to the reader is a slip of the pen to whoever writes with the schema at hand.
#[test]
fn unknown_keys_are_refused_under_gro_alone() {
    for (place, refused) in [
        ("", false),
        ("/parsers/0", false),
        ("/parse-nodes/4", false),
        ("/parse-nodes/4/next-proto", false),
        ("/proto-tables/0/ents/0", false),
        ("/parsers/0/gro", true),
        ("/parsers/0/gro/bypass", true),
        ("/parse-nodes/4/gro", true),
        ("/parse-nodes/4/gro/checksum", true),
        ("/parse-nodes/4/gro/length", true),
        ("/parse-nodes/4/gro/flush/0", true),
        ("/parse-nodes/4/gro/fields/0", true),
        ("/parse-nodes/7/gro/closes", true),
        ("/parse-nodes/13/gro/optional-fields/0", true),
        ("/parse-nodes/13/gro/optional-fields/0/when", true),
        ("/proto-tables/0/ents/2/gro", true),
    ] {
        let mut document = built_in();
        document.pointer_mut(place).unwrap()["unheard-of"] = true.into();
        assert_eq!(!errors(&document).is_empty(), refused, "{place}");
        let notes = Graph::read("unknown.json", &document.to_string()).unwrap().1;
        assert_eq!(notes.len(), 1, "{place}: {notes:?}");
    }
}

#[test]
fn its_words_are_those_of_the_crate() {
    fn names<T>(all: &[(&'static str, T)]) -> Vec<&'static str> {
        all.iter().map(|(name, _)| *name).collect()
    }
    let schema = schema();
    for (definition, words) in [
        ("switch", SWITCHES.to_vec()),
        ("profile", PROFILES.to_vec()),
        ("reason", REASONS.to_vec()),
        ("word", WORDS.to_vec()),
        ("layer", names(&Layer::ALL)),
        ("rule", names(&FieldRule::ALL)),
        ("covers", names(&Covers::ALL)),
        ("tunnel", names(&TunnelKind::ALL)),
        ("comparison", names(&Comparison::ALL)),
    ] {
        assert_eq!(schema["$defs"][definition]["enum"], json!(words), "{definition}");
    }
}

/// The page has each key and each word, and its example is a document.
#[test]
fn the_page_explains_all_of_it() {
    let defs = &schema()["$defs"];
    let mut words: Vec<String> = Vec::new();
    for definition in defs.as_object().unwrap().values() {
        words.extend(
            definition["enum"].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()),
        );
        let is_understood = |value: &&Value| value["type"] != "null";
        let properties = definition["properties"].as_object().into_iter().flatten();
        words.extend(properties.filter(|(_, value)| is_understood(value)).map(|(key, _)| key.clone()));
    }
    assert!(words.len() > 100, "{words:?}");
    for word in words {
        let there = [format!("`{word}`"), format!("\"{word}\"")].iter().any(|word| PAGE.contains(word));
        assert!(there, "{word} is not in docs/parse-graph.md");
    }
    let example = PAGE.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(errors(&serde_json::from_str(example).unwrap()), Vec::<String>::new());
    assert_eq!(Graph::read("example.json", example).unwrap().1, Vec::<String>::new());
}

//! What a document says and the engine would not do: such a graph is refused before it becomes Rust, because a field that nothing
//! compares would merge frames that must stay apart.

use super::Unsupported;
use crate::gro::{Covers, FieldRule, GroField, Layer, Unequal};
use crate::model::{Comparison, Field, Graph, HeaderLength, Node, Test};
use std::collections::{BTreeMap, BTreeSet};

/// The words that the engine compares under their mask to join, and those that tell flows apart.
const EQUAL: [&str; 3] = ["class", "ack", "control"];
const IDENTIFY: [&str; 3] = ["label", "addresses", "ports"];
/// The words that a network header writes, and a transport header.
const NETWORK: [&str; 4] = ["label", "addresses", "class", "id_check"];
const TRANSPORT: [&str; 5] = ["ports", "seq", "ack", "control", "check_urgent"];
/// Bits of a word, and of the eight words of addresses.
const WORD: u32 = 32;
const ADDRESSES: u32 = 8 * WORD;

/// What is no name of a function or of a header in the generated code: words of Rust for which it has no other name, and its own.
const RESERVED: [&str; 48] = [
    "_", "abstract", "as", "async", "await", "become", "box", "break", "config", "const", "continue",
    "crate", "cursor", "do", "dyn", "else", "enum", "extern", "false", "final", "first", "for", "gen", "if",
    "impl", "in", "let", "macro", "mut", "override", "packet", "priv", "pub", "ref", "return", "static",
    "struct", "super", "trait", "true", "try", "unsafe", "unsized", "use", "virtual", "where", "while",
    "window",
];

/// Whether the engine does what is said of the headers that the first parser reaches.
pub(super) fn check(graph: &Graph) -> Result<(), Unsupported> {
    let nodes = reached(graph);
    names(graph, &nodes)?;
    for node in &nodes {
        let wrong = |why: String| Unsupported { place: format!("node {}", node.name), why };
        rules(node)
            .and_then(|()| checked(node))
            .and_then(|()| words(node))
            .and_then(|()| rest(node))
            .and_then(|()| tests(node))
            .map_err(wrong)?;
    }
    for word in EQUAL {
        let equal = |field: &GroField| {
            field.rule == FieldRule::Equal && into(field).is_some_and(|(to, _)| to == word)
        };
        if !nodes.iter().any(|node| node.gro.fields.iter().any(equal)) {
            let why = format!("no field with rule equal goes to \"{word}\", which the engine compares");
            return Err(Unsupported { place: "parse-nodes".to_owned(), why });
        }
    }
    Ok(())
}

fn reached(graph: &Graph) -> Vec<&Node> {
    let mut open: Vec<usize> = graph.parsers.first().map(|parser| parser.root).into_iter().collect();
    let mut reached: BTreeSet<usize> = open.iter().copied().collect();
    while let Some(node) = open.pop().and_then(|index| graph.nodes.get(index)) {
        open.extend(graph.edges(node).into_iter().map(|(_, next)| next).filter(|&next| reached.insert(next)));
    }
    reached.into_iter().filter_map(|index| graph.nodes.get(index)).collect()
}

/// Nodes and tables become functions, so that two names may be one.
fn names(graph: &Graph, nodes: &[&Node]) -> Result<(), Unsupported> {
    let tables: BTreeSet<usize> = nodes.iter().filter_map(|node| Some(node.next?.table)).collect();
    let tables = tables.into_iter().filter_map(|index| graph.tables.get(index)?.name.as_deref());
    let named =
        nodes.iter().map(|node| ("node", node.name.as_str())).chain(tables.map(|name| ("table", name)));
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (kind, name) in named {
        let place = format!("{kind} {name}");
        let plain = |sign: char| if sign.is_ascii_alphanumeric() { sign.to_ascii_lowercase() } else { '_' };
        let function: String = name.chars().map(plain).collect();
        if RESERVED.contains(&function.as_str()) {
            return Err(Unsupported { place, why: format!("`{function}` is no name in the generated code") });
        }
        if let Some(other) = seen.insert(function.clone(), place.clone()) {
            return Err(Unsupported {
                place,
                why: format!("`{function}` is also {other} in the generated code"),
            });
        }
    }
    Ok(())
}

/// Each rule is one that the engine has for such a header.
fn rules(node: &Node) -> Result<(), String> {
    for field in &node.gro.fields {
        let word = into(field).map(|(word, _)| word);
        let to = |words: &[&str]| word.is_some_and(|word| words.contains(&word));
        let is_length = node.gro.length.as_ref().is_some_and(|length| inside(field, length.field));
        let is_checksum = node.gro.checksum.as_ref().is_some_and(|sum| inside(field, sum.field));
        let is_key = node.next.is_some_and(|next| inside(field, next.field));
        let (has_place, wanted) = match (node.gro.layer, field.rule) {
            (None, _) | (_, FieldRule::Checked) | (Some(Layer::Link | Layer::Extension), _) => continue,
            (Some(Layer::Tag | Layer::Tunnel), FieldRule::Identify) => continue,
            (Some(Layer::Tag), FieldRule::Rewrite) => (is_length, "the \"length\" under gro"),
            (Some(Layer::Tunnel), FieldRule::Rewrite | FieldRule::Presence) => (
                is_udp(node) && matches!(field.offset, 4 | 6) && field.length == 2,
                "length and checksum of UDP",
            ),
            (Some(Layer::Network | Layer::Transport), FieldRule::Identify) => {
                (is_key || to(&IDENTIFY), "what follows, or \"into\" label, addresses or ports")
            }
            (Some(Layer::Network | Layer::Transport), FieldRule::Equal) => {
                (to(&EQUAL), "\"into\" class, ack or control")
            }
            (Some(Layer::Network), FieldRule::IncrementOrFixed) => (
                into(field) == Some(("id_check", 16)) && field.length == 2,
                "\"into\" id_check, shifted by 16",
            ),
            (Some(Layer::Network | Layer::Transport), FieldRule::Rewrite) => {
                (is_length || is_checksum, "the \"length\" and the \"checksum\" under gro")
            }
            (Some(Layer::Transport), FieldRule::Continue) => (to(&["seq"]), "\"into\" seq"),
            (Some(Layer::Transport), FieldRule::Join) => (to(&["control"]), "\"into\" control"),
            (Some(Layer::Transport), FieldRule::First) => continue,
            _ => (false, "another kind of header"),
        };
        if !has_place {
            let rule =
                FieldRule::ALL.iter().find(|(_, rule)| *rule == field.rule).map_or("", |(name, _)| name);
            return Err(format!("\"{}\": the engine has the rule {rule} here only for {wanted}", field.name));
        }
    }
    Ok(())
}

/// What is said to have one value already has it.
fn checked(node: &Node) -> Result<(), String> {
    let mut known = vec![0_u8; node.min_length as usize];
    let mut add = |field: Field| {
        let bytes = field.mask.to_be_bytes();
        let bytes = bytes.iter().skip(bytes.len().saturating_sub(field.length as usize));
        known.iter_mut().skip(field.offset as usize).zip(bytes).for_each(|(known, byte)| *known |= byte);
    };
    for condition in &node.conditions {
        if let Test::Compare { comparison: Comparison::Equal, field, .. } = condition.test {
            add(field);
        }
    }
    node.gro.length.iter().for_each(|length| add(length.field));
    node.gro.flush.iter().for_each(|bits| add(bits.field));
    let said = node.gro.mask(node.min_length, FieldRule::Checked);
    match said.iter().zip(&known).position(|(said, known)| said & !known != 0) {
        Some(byte) => {
            Err(format!("byte {byte} has rule checked, and no condition, length or flush bit checks it"))
        }
        None => Ok(()),
    }
}

/// Each field that goes to a word of the engine is there alone and as a whole.
fn words(node: &Node) -> Result<(), String> {
    let written: &[&str] = match node.gro.layer {
        Some(Layer::Network) => &NETWORK,
        Some(Layer::Transport) => &TRANSPORT,
        _ => &[],
    };
    let mut taken: Vec<(&str, u32, u32, &str)> = Vec::new();
    for field in &node.gro.fields {
        let Some((word, shift)) = into(field) else { continue };
        if !written.contains(&word) {
            return Err(format!("\"{}\": such a header has no \"{word}\"", field.name));
        }
        let bits = match field.mask {
            Some(mask) => u64::BITS - (mask >> mask.trailing_zeros()).leading_zeros(),
            None => 8 * field.length,
        };
        let (end, room) = (shift + bits, if word == "addresses" { ADDRESSES } else { WORD });
        if end > room {
            return Err(format!("\"{}\" ends at bit {end} of \"{word}\", which has {room}", field.name));
        }
        let overlaps =
            |&&(other, from, to, _): &&(&str, u32, u32, &str)| other == word && shift < to && from < end;
        if let Some((_, _, _, other)) = taken.iter().find(overlaps) {
            return Err(format!("\"{}\" and \"{other}\" share bits of \"{word}\"", field.name));
        }
        taken.push((word, shift, end, &field.name));
    }
    Ok(())
}

/// What lies behind the first bytes of a header is compared, too.
fn rest(node: &Node) -> Result<(), String> {
    let varies = matches!(node.length, Some(HeaderLength::Computed { .. }));
    let (rule, name) = match node.gro.layer {
        Some(Layer::Tunnel) => (FieldRule::Identify, "identify"),
        Some(Layer::Transport) => (FieldRule::Equal, "equal"),
        Some(Layer::Tag) if varies => return Err("a tag whose length varies".to_owned()),
        _ => return Ok(()),
    };
    if varies && node.gro.rest != Some(rule) {
        return Err(format!("its length varies, and what is behind is not \"rest\" {name}"));
    }
    Ok(())
}

/// Lengths, flush bits, optional fields and checksums are where the engine looks at them.
fn tests(node: &Node) -> Result<(), String> {
    let (gro, layer) = (&node.gro, node.gro.layer);
    let measured = matches!(layer, Some(Layer::Tag | Layer::Network | Layer::Transport));
    if !measured && (gro.length.is_some() || !gro.flush.is_empty()) {
        return Err(
            "the engine looks at a \"length\" and at \"flush\" in tags, network and transport headers"
                .to_owned(),
        );
    }
    // It is subtracted from the bytes that are there.
    if gro
        .length
        .as_ref()
        .is_some_and(|length| length.unequal == Unequal::Flush && length.add > node.min_length)
    {
        return Err("\"length\" adds more than \"min-hdr-length\"".to_owned());
    }
    if layer != Some(Layer::Tunnel) && !gro.optional.is_empty() {
        return Err("the engine looks at optional fields in tunnels".to_owned());
    }
    let Some(sum) = &gro.checksum else { return Ok(()) };
    let as_written = match layer {
        // How it is summed, and which word it is refused with, the emitter and the engine say themselves.
        Some(Layer::Network) => sum.when.is_none() && !sum.zero_is_none,
        Some(Layer::Transport) => {
            sum.covers == Covers::Payload && sum.when.is_none() && sum.bypass == "checksum"
        }
        Some(Layer::Tunnel) => {
            let udp = sum.covers == Covers::Payload && sum.when.is_none() && sum.zero_is_none && is_udp(node);
            let gre = sum.covers == Covers::Rest && sum.when.is_some() && !sum.zero_is_none;
            (udp || gre) && sum.bypass == "checksum"
        }
        _ => false,
    };
    if as_written { Ok(()) } else { Err("the engine does not verify such a checksum here".to_owned()) }
}

fn into(field: &GroField) -> Option<(&str, u32)> {
    field.into.as_ref().map(|(word, shift)| (word.as_str(), *shift))
}

/// Whether all of a field is in another.
fn inside(field: &GroField, whole: Field) -> bool {
    field.offset >= whole.offset && u64::from(field.offset) + u64::from(field.length) <= whole.end()
}

/// Whether it is the UDP header in front of a tunnel.
fn is_udp(node: &Node) -> bool {
    let checksum = node.gro.checksum.as_ref();
    checksum
        .is_some_and(|sum| sum.covers == Covers::Payload && (sum.field.offset, sum.field.length) == (6, 2))
}

//! P4-16, export only: header types, and a parser for each root.
//!
//! What a P4 parser cannot say stays out: equal fields, checksums, lengths against the frame, and the limits of a parser.

mod pieces;

use crate::model::{Comparison, Field, Graph, HeaderLength, Node, Test};
use pieces::{Piece, bits_of, identifier, pieces};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const PREFACE: &str = "\
// A P4-16 parser, exported from a parse graph of gro. Export only: nothing reads it back.
// Not in it, because a P4 parser has no word for it: which fields must be equal, checksums, IP and UDP lengths against the bytes
// of the frame, the longest header chain. Where a header is wrong in two ways, the error may be the other one.
#include <core.p4>

";

/// Most headers of one kind behind each other that P4 gets room for.
const STACK_MAX: u32 = 32;

/// The graph as P4-16 text.
pub fn p4(graph: &Graph) -> String {
    let mut text = PREFACE.to_owned();
    errors(graph, &mut text);
    for node in &graph.nodes {
        header_types(graph, node, &mut text);
    }
    let _ = writeln!(text, "struct headers_t {{");
    for node in &graph.nodes {
        let name = identifier(&node.name);
        let stack = if repeats(graph, node) { format!("[{}]", depth(graph)) } else { String::new() };
        if node.min_length > 0 {
            let _ = writeln!(text, "    {name}_h{stack} {name};");
        }
        if variable_bits(graph, node) > 0 {
            let _ = writeln!(text, "    {name}_rest_h{stack} {name}_rest;");
        }
    }
    text.push_str("}\n");
    for index in 0..graph.parsers.len() {
        parser(graph, index, &mut text);
    }
    text
}

/// The reasons for which the document refuses a frame.
fn errors(graph: &Graph, text: &mut String) {
    let mut reasons: BTreeSet<String> =
        BTreeSet::from(["condition".into(), "header_length".into(), "unknown_next".into()]);
    for gro in graph.nodes.iter().map(|node| &node.gro) {
        let requires = gro.requires.as_ref().map(|need| need.bypass.clone());
        reasons.extend(gro.unknown_next.clone().into_iter().chain(gro.short_header.clone()).chain(requires));
        reasons.extend(gro.refusals.iter().map(|(_, reason)| reason.clone()));
    }
    let reasons: Vec<String> = reasons.into_iter().collect();
    let _ = writeln!(text, "error {{\n    {}\n}}\n", reasons.join(",\n    "));
}

fn header_types(graph: &Graph, node: &Node, text: &mut String) {
    let name = identifier(&node.name);
    if node.min_length > 0 {
        let _ = writeln!(text, "header {name}_h {{");
        for piece in pieces(node) {
            let _ = writeln!(text, "    bit<{}> {};", piece.bits, piece.name);
        }
        text.push_str("}\n\n");
    }
    let bits = variable_bits(graph, node);
    if bits > 0 {
        let _ = writeln!(text, "header {name}_rest_h {{\n    varbit<{bits}> data;\n}}\n");
    }
}

fn parser(graph: &Graph, index: usize, text: &mut String) {
    let parser = &graph.parsers[index];
    let reachable = reachable(graph, parser.root);
    let switches: BTreeSet<String> = reachable
        .iter()
        .filter_map(|&node| graph.nodes[node].gro.requires.as_ref())
        .map(|need| format!(",\n    in bool {}", identifier(&need.switch)))
        .collect();
    let switches: String = switches.into_iter().collect();
    let name = identifier(&parser.name);
    let _ = writeln!(
        text,
        "\nparser {name}_parser(\n    packet_in packet,\n    out headers_t hdr{switches}\n) {{"
    );
    let root = identifier(&graph.nodes[parser.root].name);
    let _ = writeln!(text, "    state start {{\n        transition parse_{root};\n    }}");
    let mut unknown = BTreeSet::new();
    for &node in &reachable {
        state(graph, &graph.nodes[node], &mut unknown, text);
    }
    for reason in unknown {
        let _ = writeln!(
            text,
            "\n    state refuse_{reason} {{\n        verify(false, error.{reason});\n        transition reject;\n    }}"
        );
    }
    text.push_str("}\n");
}

fn state(graph: &Graph, node: &Node, unknown: &mut BTreeSet<String>, text: &mut String) {
    let name = identifier(&node.name);
    let stacked = repeats(graph, node);
    let (next, last) = if stacked { (".next", ".last") } else { ("", "") };
    let header = format!("hdr.{name}{last}");
    let pieces = pieces(node);
    let _ = writeln!(text, "\n    state parse_{name} {{");
    if let Some(need) = &node.gro.requires {
        let _ = writeln!(text, "        verify({}, error.{});", identifier(&need.switch), need.bypass);
    }
    if node.min_length > 0 && !node.overlay {
        let _ = writeln!(text, "        packet.extract(hdr.{name}{next});");
    } else if node.min_length > 0 {
        // Looked at, not taken.
        let _ = writeln!(text, "        hdr.{name}{next} = packet.lookahead<{name}_h>();");
    }
    for condition in &node.conditions {
        let reason = node.gro.refusals.iter().find(|(name, _)| Some(name) == condition.name.as_ref());
        let reason = reason.map_or("condition", |(_, reason)| reason);
        let _ =
            writeln!(text, "        verify({}, error.{reason});", test(&header, &pieces, &condition.test));
    }
    length(graph, node, &header, next, &pieces, text);
    match (node.next, node.next_node) {
        (Some(next), _) => {
            let reason = node.gro.unknown_next.as_deref().unwrap_or("unknown_next").to_owned();
            let value = select_value(&header, &pieces, next.field);
            let _ = writeln!(text, "        transition select({value}) {{");
            let width = (64 - next.field.most().leading_zeros()).max(1);
            for entry in graph.tables.get(next.table).map_or(&[][..], |table| &table.entries) {
                let target = identifier(&graph.nodes[entry.node].name);
                let _ = writeln!(text, "            {width}w{:#x}: parse_{target};", entry.key);
            }
            match next.wildcard.and_then(|node| graph.nodes.get(node)) {
                Some(node) => {
                    let _ = writeln!(text, "            default: parse_{};", identifier(&node.name));
                }
                None => {
                    let _ = writeln!(text, "            default: refuse_{reason};");
                    unknown.insert(reason);
                }
            }
            text.push_str("        }\n");
        }
        (None, Some(follower)) => {
            let _ = writeln!(text, "        transition parse_{};", identifier(&graph.nodes[follower].name));
        }
        (None, None) => text.push_str("        transition accept;\n"),
    }
    text.push_str("    }\n");
}

/// Takes the bytes behind the first `min-hdr-length`.
fn length(graph: &Graph, node: &Node, header: &str, next: &str, pieces: &[Piece], text: &mut String) {
    let name = identifier(&node.name);
    let reason = node.gro.short_header.as_deref().unwrap_or("header_length");
    let rest = variable_bits(graph, node) > 0 && !node.overlay;
    match node.length {
        Some(HeaderLength::Computed { field, multiplier, add }) => {
            let value = format!("(bit<32>)({})", select_value(header, pieces, field));
            let value = if multiplier == 1 { value } else { format!("{value} * {multiplier}") };
            let (value, least) = if add < 0 {
                (value, i64::from(node.min_length) - i64::from(add))
            } else {
                (if add == 0 { value } else { format!("{value} + {add}") }, i64::from(node.min_length))
            };
            let shortest = if add < 0 { 0 } else { i64::from(add) };
            if shortest < least {
                let _ = writeln!(text, "        verify({value} >= {least}, error.{reason});");
            }
            if rest {
                let _ =
                    writeln!(text, "        packet.extract(hdr.{name}_rest{next}, ({value} - {least}) * 8);");
            }
        }
        Some(HeaderLength::FlagFields) if rest => {
            let Some(flags) = node.flag_fields else { return };
            let value = select_value(header, pieces, flags.flags);
            let width = (64 - flags.flags.most().leading_zeros()).max(1);
            let fields = graph.flag_tables.get(flags.table).map_or(&[][..], |table| &table.fields);
            let part = |field: &crate::model::FlagField| {
                let (mask, flag) = (field.mask & flags.flags.mask, field.flag);
                format!(
                    "((({value}) & {width}w{mask:#x}) == {width}w{flag:#x} ? 32w{} : 32w0)",
                    8 * u64::from(field.size)
                )
            };
            let sum: Vec<String> = fields.iter().map(part).collect();
            let _ = writeln!(text, "        packet.extract(hdr.{name}_rest{next}, {});", sum.join(" + "));
        }
        _ => {}
    }
}

/// A field, masked and shifted, of exactly the bits that it can have.
fn select_value(header: &str, pieces: &[Piece], field: Field) -> String {
    let whole = bits_of(field);
    let parts = pieces.iter().filter(|piece| whole.contains(&piece.start));
    let parts: Vec<String> = parts.map(|piece| format!("{header}.{}", piece.name)).collect();
    let joined = parts.join(" ++ ");
    let contiguous = field.mask >> field.mask.trailing_zeros();
    if contiguous & contiguous.wrapping_add(1) == 0 && field.mask.trailing_zeros() == field.shift {
        // The pieces are cut at the mask, so they are the value.
        return joined;
    }
    // Not one run of bits, or not shifted to its end: mask and shift the bits from the first to the last.
    let (below, width) = (field.mask.trailing_zeros(), whole.len());
    let masked = format!("({joined}) & {width}w{:#x}", field.mask >> below);
    let wide = format!("(bit<64>)({masked})");
    let shifted = if field.shift >= below {
        format!("{wide} >> {}", field.shift - below)
    } else {
        format!("{wide} << {}", below - field.shift)
    };
    format!("(bit<{}>)({shifted})", (64 - field.most().leading_zeros()).max(1))
}

fn test(header: &str, pieces: &[Piece], test: &Test) -> String {
    let group = |parts: &[Test], sign: &str, empty: &str| {
        let parts: Vec<String> = parts.iter().map(|part| self::test(header, pieces, part)).collect();
        if parts.is_empty() { empty.to_owned() } else { format!("({})", parts.join(sign)) }
    };
    match test {
        Test::All(parts) => group(parts, " && ", "true"),
        Test::Any(parts) => group(parts, " || ", "false"),
        Test::Compare { comparison, field, value } => {
            let sign = match comparison {
                Comparison::Equal => "==",
                Comparison::NotEqual => "!=",
                Comparison::Greater => ">",
                Comparison::GreaterOrEqual => ">=",
                Comparison::Less => "<",
                Comparison::LessOrEqual => "<=",
            };
            format!("({}) {sign} {value:#x}", select_value(header, pieces, *field))
        }
    }
}

/// Bits that can stand behind the first `min-hdr-length` bytes.
fn variable_bits(graph: &Graph, node: &Node) -> u64 {
    if node.length.is_none() { 0 } else { 8 * graph.longest(node).saturating_sub(node.min_length.into()) }
}

/// Whether a header can stand behind one of its own kind.
fn repeats(graph: &Graph, node: &Node) -> bool {
    let Some(start) = graph.nodes.iter().position(|other| std::ptr::eq(other, node)) else { return false };
    graph.edges(node).into_iter().any(|(_, next)| reachable(graph, next).contains(&start))
}

fn depth(graph: &Graph) -> u32 {
    let most = graph.parsers.iter().filter_map(|parser| parser.max_nodes).max();
    most.unwrap_or(STACK_MAX).clamp(1, STACK_MAX)
}

/// Where one can get from a node, itself included, in the order of the document.
fn reachable(graph: &Graph, root: usize) -> Vec<usize> {
    let mut seen = vec![false; graph.nodes.len()];
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut seen[node], true) {
            open.extend(graph.edges(&graph.nodes[node]).into_iter().map(|(_, next)| next));
        }
    }
    (0..seen.len()).filter(|&node| seen[node]).collect()
}

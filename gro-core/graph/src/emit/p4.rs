//! P4-16, export only: header types, and a parser for each root.
//!
//! What a P4 parser cannot say stays out: equal fields, checksums, lengths against the frame, and most limits of a parser.

mod pieces;

use super::edges;
use crate::gro::EntryGro;
use crate::model::{Comparison, Field, Graph, HeaderLength, Node, Parser, Test};
use pieces::{Piece, bits_of, identifier, pieces};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const PREFACE: &str = "\
// A P4-16 parser, exported from a parse graph of gro. Export only: nothing reads it back.
// A header of which a frame can have several is a stack. Settings, and profiles from which on an entry is there, are parameters.
// Not in it, because a P4 parser has no word for it: which fields must be equal, checksums, IP, UDP and PPPoE lengths against the
// bytes of the frame, the longest header chain and the most headers of a frame. Where a header is wrong in two ways, the error may
// be the other one.
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
    for (index, node) in graph.nodes.iter().enumerate() {
        // What is only looked at is never taken.
        if node.overlay {
            continue;
        }
        let name = identifier(&node.name);
        let stack = match room(graph, index) {
            1 => String::new(),
            count => format!("[{count}]"),
        };
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
    if graph.nodes.iter().any(|node| node.encap) {
        reasons.extend(graph.parsers.iter().map(|parser| encaps_error(parser).to_owned()));
    }
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
    if bits > 0 && !node.overlay {
        let _ = writeln!(text, "header {name}_rest_h {{\n    varbit<{bits}> data;\n}}\n");
    }
}

/// What P4 calls more headers with `encap` than there may be.
fn encaps_error(parser: &Parser) -> &str {
    parser.gro.max_encaps.as_deref().unwrap_or("encaps")
}

/// The parameters without which an entry is not there.
fn guards(gro: Option<&EntryGro>) -> BTreeSet<String> {
    let Some(gro) = gro else { return BTreeSet::new() };
    let since = gro.since.as_deref().map(|profile| format!("since_{}", identifier(profile)));
    gro.only_if.as_deref().map(identifier).into_iter().chain(since).collect()
}

fn parser(graph: &Graph, index: usize, text: &mut String) {
    let parser = &graph.parsers[index];
    let reachable = reachable(graph, parser.root);
    let mut switches = BTreeSet::new();
    for node in reachable.iter().map(|&node| &graph.nodes[node]) {
        switches.extend(node.gro.requires.as_ref().map(|need| identifier(&need.switch)));
        switches.extend(edges(graph, node).iter().flat_map(|edge| guards(edge.gro)));
    }
    let switches: String = switches.iter().map(|name| format!(",\n    in bool {name}")).collect();
    let name = identifier(&parser.name);
    let _ = writeln!(
        text,
        "\nparser {name}_parser(\n    packet_in packet,\n    out headers_t hdr{switches}\n) {{"
    );
    let tunnels = reachable.iter().any(|&node| graph.nodes[node].encap);
    if tunnels {
        text.push_str("    bit<32> encaps;\n\n");
    }
    let root = identifier(&graph.nodes[parser.root].name);
    let begin = if tunnels { "        encaps = 0;\n" } else { "" };
    let _ = writeln!(text, "    state start {{\n{begin}        transition parse_{root};\n    }}");
    let mut unknown = BTreeSet::new();
    for &node in &reachable {
        state(graph, parser, node, &mut unknown, text);
    }
    for reason in unknown {
        let _ = writeln!(
            text,
            "\n    state refuse_{reason} {{\n        verify(false, error.{reason});\n        transition reject;\n    }}"
        );
    }
    text.push_str("}\n");
}

fn state(graph: &Graph, parser: &Parser, index: usize, unknown: &mut BTreeSet<String>, text: &mut String) {
    let node = &graph.nodes[index];
    let name = identifier(&node.name);
    let stacked = room(graph, index) > 1;
    let (next, last) = if stacked { (".next", ".last") } else { ("", "") };
    let header = if node.overlay { format!("{name}_seen") } else { format!("hdr.{name}{last}") };
    let pieces = pieces(node);
    let _ = writeln!(text, "\n    state parse_{name} {{");
    if node.encap {
        let _ = writeln!(
            text,
            "        encaps = encaps + 1;\n        verify(encaps <= {}, error.{});",
            parser.max_encaps,
            encaps_error(parser)
        );
    }
    if let Some(need) = &node.gro.requires {
        let _ = writeln!(text, "        verify({}, error.{});", identifier(&need.switch), need.bypass);
    }
    if node.min_length > 0 && !node.overlay {
        let _ = writeln!(text, "        packet.extract(hdr.{name}{next});");
    } else if node.min_length > 0 {
        // Looked at, not taken. `lookahead` does not move a stack, so this is a variable.
        let _ = writeln!(text, "        {name}_h {header} = packet.lookahead<{name}_h>();");
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
            let edges = edges(graph, node);
            let all: BTreeSet<String> = edges.iter().flat_map(|edge| guards(edge.gro)).collect();
            // A bool is no value to select by.
            let columns: String = all.iter().map(|name| format!(", (bit<1>){name}")).collect();
            let _ = writeln!(text, "        transition select({value}{columns}) {{");
            let width = (64 - next.field.most().leading_zeros()).max(1);
            for edge in &edges {
                let Some(key) = edge.key else { continue };
                let own = guards(edge.gro);
                let columns: String =
                    all.iter().map(|name| if own.contains(name) { ", 1w1" } else { ", _" }).collect();
                let key = format!("{width}w{key:#x}");
                let key = if all.is_empty() { key } else { format!("({key}{columns})") };
                let _ =
                    writeln!(text, "            {key}: parse_{};", identifier(&graph.nodes[edge.to].name));
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
            // The value without what it adds, where that is all of the least.
            let behind = match value.strip_suffix(&format!(" + {least}")) {
                Some(value) => format!("({value}) * 8"),
                None => format!("({value} - {least}) * 8"),
            };
            if rest {
                let _ = writeln!(text, "        packet.extract(hdr.{name}_rest{next}, {behind});");
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

/// How many headers of a kind a frame can have: one, one for each packet in it, or as many as a parser takes.
fn room(graph: &Graph, index: usize) -> u32 {
    let parsers = graph.parsers.iter();
    let least = |limit: Option<u32>| limit.unwrap_or(STACK_MAX).clamp(1, STACK_MAX);
    if returns(graph, index, false) {
        return least(parsers.filter_map(|parser| parser.max_nodes).max());
    }
    let encap = graph.nodes.get(index).is_some_and(|node| node.encap);
    let encaps = parsers.map(|parser| parser.max_encaps).max();
    match encaps.filter(|_| returns(graph, index, true)) {
        // A tunnel counts itself: there are no more of it than tunnels.
        Some(most) if encap => least(Some(most)),
        Some(most) => least(Some(most.saturating_add(1))),
        None => 1,
    }
}

/// Whether a header can stand behind one of its own kind, with or without a tunnel in between.
fn returns(graph: &Graph, index: usize, tunnels: bool) -> bool {
    let followers = |index: usize| -> Vec<usize> {
        match graph.nodes.get(index) {
            Some(node) if tunnels || !node.encap => edges(graph, node).iter().map(|edge| edge.to).collect(),
            _ => Vec::new(),
        }
    };
    let mut seen = vec![false; graph.nodes.len()];
    let mut open = followers(index);
    while let Some(node) = open.pop() {
        if node == index {
            return true;
        }
        if !std::mem::replace(&mut seen[node], true) {
            open.extend(followers(node));
        }
    }
    false
}

/// Where one can get from a node, itself included, in the order of the document.
fn reachable(graph: &Graph, root: usize) -> Vec<usize> {
    let mut seen = vec![false; graph.nodes.len()];
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut seen[node], true) {
            open.extend(edges(graph, &graph.nodes[node]).iter().map(|edge| edge.to));
        }
    }
    (0..seen.len()).filter(|&node| seen[node]).collect()
}

//! Is it sound? What a graph promises beyond being well-formed: fields inside their header, lengths that a frame can have,
//! keys that can be read, cycles with a bound, and a rule for each bit where GRO rules are given.

use crate::LENGTH_MAX;
use crate::error::Fault;
use crate::gro::{GroField, NodeGro, Tests};
use crate::model::{Field, Graph, HeaderLength, Node, Test};
use crate::read::{Result1, wrong};

pub(crate) fn check(graph: &Graph) -> Result1<()> {
    for node in &graph.nodes {
        let place = format!("node {}", node.name);
        lengths(graph, node).map_err(|fault| wrong(&place, fault))?;
        fields(graph, node).map_err(|fault| wrong(&place, fault))?;
        keys(graph, node).map_err(|fault| wrong(&place, fault))?;
        gro(node).map_err(|fault| wrong(&place, fault))?;
    }
    for parser in &graph.parsers {
        let place = format!("parser {}", parser.name);
        if parser.max_nodes.is_none()
            && let Some(way) = cycle(graph, parser.root)
        {
            return Err(wrong(&place, Fault::Cycle(way)));
        }
    }
    Ok(())
}

fn lengths(graph: &Graph, node: &Node) -> Result<(), Fault> {
    if let Some((shortest, longest)) = node.length.and_then(|length| length.range()) {
        let range = 0..=i128::from(LENGTH_MAX);
        if !range.contains(&longest) {
            return Err(Fault::Length(longest));
        }
        // Below zero is read as shorter than `min-hdr-length`, which must then be there to refuse it.
        if shortest < 0 && node.min_length == 0 {
            return Err(Fault::Length(shortest));
        }
    }
    if node.length == Some(HeaderLength::FlagFields) && node.flag_fields.is_none() {
        return Err(Fault::Missing("flag-fields-parse-node"));
    }
    let longest = graph.longest(node);
    if longest > LENGTH_MAX {
        return Err(Fault::Length(longest.into()));
    }
    Ok(())
}

/// Every field ends inside the bytes that are always there.
fn fields(graph: &Graph, node: &Node) -> Result<(), Fault> {
    let up_to = |key: &str, end: u64, header: u64| {
        let outside = Fault::Outside { key: key.to_owned(), end, header };
        if end > header { Err(outside) } else { Ok(()) }
    };
    let inside = |key: &str, end: u64| up_to(key, end, node.min_length.into());
    let within = |key: &str, end: u64| up_to(key, end, graph.longest(node));
    if let Some(HeaderLength::Computed { field, .. }) = node.length {
        inside("hdr-length", field.end())?;
    }
    if let Some(next) = node.next {
        inside("next-proto", next.field.end())?;
    }
    if let Some(flags) = node.flag_fields {
        inside("flag-fields-parse-node", flags.flags.end())?;
    }
    for condition in &node.conditions {
        let mut open = vec![&condition.test];
        while let Some(test) = open.pop() {
            match test {
                Test::Compare { field, .. } => inside("cond-exprs", field.end())?,
                Test::All(parts) | Test::Any(parts) => open.extend(parts),
            }
        }
    }
    if let Some(tlvs) = &node.tlvs {
        inside("start-offset", tlvs.start.into())?;
    }
    // Nodes without a length stand for options: what they extract is inside the option.
    for metadata in node.metadata.iter().filter(|_| node.min_length > 0) {
        if let (Some(offset), Some(length)) = (metadata.hdr_src_off, metadata.length) {
            inside("metadata", u64::from(offset) + u64::from(length))?;
        }
    }
    let gro = &node.gro;
    if let Some(length) = &gro.length {
        inside("gro: length", length.field.end())?;
    }
    if let Some(checksum) = &gro.checksum {
        match checksum.when {
            // Such a field may lie behind the bytes that are always there.
            Some(when) => {
                inside("gro: checksum: when", when.end())?;
                within("gro: checksum", checksum.field.end())?;
            }
            None => inside("gro: checksum", checksum.field.end())?,
        }
    }
    for field in &gro.optional {
        inside(&format!("gro: {}: when", field.name), field.when.end())?;
        within(&format!("gro: {}", field.name), field.field.end())?;
    }
    let tests = [&gro.never_joins, &gro.never_held, &gro.closes].map(|tests: &Tests| &tests.bits);
    for bits in tests.into_iter().chain([&gro.flush]).flatten() {
        inside(&format!("gro: {}", bits.name), bits.field.end())?;
    }
    for field in &gro.fields {
        inside(&format!("gro: {}", field.name), u64::from(field.offset) + u64::from(field.length))?;
    }
    Ok(())
}

/// Every key can be read.
fn keys(graph: &Graph, node: &Node) -> Result<(), Fault> {
    let reachable = |key: &'static str, value: u64, field: Field| {
        if value & !(field.mask.checked_shr(field.shift).unwrap_or(0)) != 0 {
            return Err(Fault::Unreachable { key, value, most: field.most() });
        }
        Ok(())
    };
    if let Some(next) = node.next {
        let entries = graph.tables.get(next.table).map_or(&[][..], |table| &table.entries);
        for entry in entries {
            reachable("key", entry.key, next.field)?;
        }
    }
    if let Some(flags) = node.flag_fields {
        let fields = graph.flag_tables.get(flags.table).map_or(&[][..], |table| &table.fields);
        for field in fields {
            reachable("flag", field.flag, Field { mask: field.mask & flags.flags.mask, ..flags.flags })?;
        }
    }
    if let Some(tlvs) = &node.tlvs {
        for key in tlvs.entries.iter().map(|entry| entry.key).chain(tlvs.pad1).chain(tlvs.eol) {
            reachable("key", key, tlvs.kind)?;
        }
    }
    Ok(())
}

/// What a test can switch off beside conditions and flush bits.
const TESTS: [&str; 5] = ["checksum", "length", "requires", "short-header", "identity"];

/// Names of conditions and of tests exist, and where there are rules there is one for each bit.
fn gro(node: &Node) -> Result<(), Fault> {
    for (index, condition) in node.conditions.iter().enumerate() {
        let name = condition.name.as_ref();
        let same = |other: &&crate::model::Condition| other.name.as_ref() == name;
        if let Some(name) = name
            && node.conditions.iter().take(index).any(|other| same(&other))
        {
            return Err(Fault::Duplicate { kind: "condition", name: format!("\"{name}\"") });
        }
    }
    for (name, _) in &node.gro.refusals {
        if !node.conditions.iter().any(|condition| condition.name.as_ref() == Some(name)) {
            return Err(Fault::Dangling { kind: "condition", name: name.clone() });
        }
    }
    for (name, _) in &node.gro.mutants {
        let is_condition = node.conditions.iter().any(|condition| condition.name.as_ref() == Some(name));
        let is_flush = node.gro.flush.iter().any(|bits| bits.name == *name);
        if !is_condition && !is_flush && !TESTS.contains(&name.as_str()) {
            return Err(Fault::Dangling { kind: "test", name: name.clone() });
        }
    }
    if node.gro.fields.is_empty() { Ok(()) } else { coverage(&node.gro, node.min_length) }
}

fn coverage(gro: &NodeGro, length: u32) -> Result<(), Fault> {
    let mut owners: Vec<[Option<&GroField>; 8]> = vec![[None; 8]; length as usize];
    for field in &gro.fields {
        for byte in (field.offset as usize..).take(field.length as usize) {
            for bit in (0..8).filter(|&bit| field.covers(byte, bit)) {
                // Fields end inside the header: that was the first thing to be checked.
                let Some(owner) = owners.get_mut(byte).map(|bits| &mut bits[bit]) else { continue };
                if let Some(other) = owner.replace(field) {
                    let what = format!("\"{}\" and in \"{}\"", other.name, field.name);
                    return Err(Fault::Coverage { byte, bit, what });
                }
            }
        }
    }
    for (byte, bits) in owners.iter().enumerate() {
        if let Some(bit) = bits.iter().position(Option::is_none) {
            return Err(Fault::Coverage { byte, bit, what: "no field".to_owned() });
        }
    }
    Ok(())
}

/// A way from a node that `root` leads to back to itself.
fn cycle(graph: &Graph, root: usize) -> Option<String> {
    // Per node: not seen, on the way, done. The way is a stack of its own, so that a long graph does not overflow ours.
    let mut state = vec![0_u8; graph.nodes.len()];
    let mut way: Vec<(usize, Vec<usize>)> = Vec::new();
    let followers = |index: usize| -> Vec<usize> {
        graph
            .nodes
            .get(index)
            .map_or_else(Vec::new, |node| graph.edges(node).into_iter().map(|edge| edge.1).collect())
    };
    *state.get_mut(root)? = 1;
    way.push((root, followers(root)));
    while let Some((node, open)) = way.last_mut() {
        let Some(next) = open.pop() else {
            state[*node] = 2;
            way.pop();
            continue;
        };
        match state[next] {
            0 => {
                state[next] = 1;
                way.push((next, followers(next)));
            }
            1 => {
                let start = way.iter().position(|(node, _)| *node == next).unwrap_or(0);
                let names = way[start..].iter().map(|(node, _)| *node).chain([next]);
                let names: Vec<&str> = names.map(|node| graph.nodes[node].name.as_str()).collect();
                return Some(names.join(" > "));
            }
            _ => {}
        }
    }
    None
}

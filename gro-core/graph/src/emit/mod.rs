//! A graph as text for others. Each emitter is a function of the graph alone: the same graph gives the same bytes.

mod dot;
mod json;
mod layout;
mod p4;
mod place;
mod rust;
mod svg;

pub use dot::dot;
pub use json::json;
pub use p4::p4;
pub use rust::Unsupported;
pub use svg::svg;

use crate::gro::EntryGro;
use crate::model::{Graph, Node};

/// The engine's parser, `gro-core/src/parse/generated.rs`, not yet formatted.
///
/// # Errors
/// [`Unsupported`] names what the engine has no place for, or would not do.
pub fn rust(graph: &Graph) -> Result<String, Unsupported> {
    let text = rust::rust(graph)?;
    place::check(graph)?;
    Ok(text)
}

/// All edges from one place to another.
struct Link {
    from: usize,
    to: usize,
    /// What the next-protocol field must say, for each of them, and when.
    keys: Vec<String>,
    /// Whether another packet begins there, in a header that is in the picture anyway.
    again: bool,
}

/// One edge of a node.
struct Edge<'a> {
    /// What the next-protocol field says; `None` for any other, or for a header that always follows.
    key: Option<u64>,
    /// Index of the node.
    to: usize,
    /// When it is there.
    gro: Option<&'a EntryGro>,
}

/// The edges of a node, but for those that only a test of the engine has.
fn edges<'a>(graph: &'a Graph, node: &Node) -> Vec<Edge<'a>> {
    let mut edges = Vec::new();
    if let Some(next) = node.next {
        let entries = graph.tables.get(next.table).map_or(&[][..], |table| &table.entries);
        let there = entries.iter().filter(|entry| entry.gro.without.is_none());
        edges.extend(there.map(|entry| Edge { key: Some(entry.key), to: entry.node, gro: Some(&entry.gro) }));
        edges.extend(next.wildcard.map(|to| Edge { key: None, to, gro: None }));
    }
    edges.extend(node.next_node.map(|to| Edge { key: None, to, gro: None }));
    edges
}

/// Places of a picture: first the parsers, then the nodes, in the order of the document.
fn links(graph: &Graph) -> Vec<Link> {
    let first = graph.parsers.len();
    let roots = graph.parsers.iter().enumerate();
    let mut links: Vec<Link> = roots
        .map(|(index, parser)| Link { from: index, to: first + parser.root, keys: Vec::new(), again: false })
        .collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        let start = links.len();
        for edge in edges(graph, node) {
            let (text, to) = (key_text(node, &edge), first + edge.to);
            match links[start..].iter_mut().find(|link| link.to == to) {
                Some(link) => link.keys.push(text),
                None => links.push(Link { from: first + index, to, keys: vec![text], again: false }),
            }
        }
    }
    again(graph, &mut links);
    links
}

/// Finds the links behind which a packet in a packet begins with a header that a packet outside can have, too: without them
/// the rest is the way of one packet.
fn again(graph: &Graph, links: &mut [Link]) {
    let first = graph.parsers.len();
    let encap = |place: usize| place.checked_sub(first).is_some_and(|node| graph.nodes[node].encap);
    let mut seen = vec![false; first + graph.nodes.len()];
    let mut open: Vec<usize> = (0..first).rev().collect();
    // Links out of a tunnel wait until nothing else leads on.
    let mut tunnels = Vec::new();
    loop {
        while let Some(place) = open.pop() {
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            for (index, link) in links.iter().enumerate().filter(|(_, link)| link.from == place) {
                if encap(place) {
                    tunnels.push(index);
                } else {
                    open.push(link.to);
                }
            }
        }
        let Some(link) = tunnels.pop().and_then(|index| links.get_mut(index)) else { break };
        link.again = seen[link.to];
        open.push(link.to);
    }
}

/// Protocol numbers in decimal, ethertypes and the like in hexadecimal, as they are known; then when the edge is there.
fn key_text(node: &Node, edge: &Edge<'_>) -> String {
    let key = match (edge.key, node.next.map_or(1, |next| next.field.length)) {
        (None, _) => "any".to_owned(),
        (Some(key), 1) => key.to_string(),
        (Some(key), length) => format!("0x{key:0width$x}", width = 2 * length as usize),
    };
    let Some(gro) = edge.gro else { return key };
    let when: Vec<&str> = gro.only_if.iter().chain(&gro.since).map(String::as_str).collect();
    if when.is_empty() { key } else { format!("{key} ({})", when.join(", ")) }
}

/// A header's length in words.
fn length_text(graph: &Graph, node: &Node) -> String {
    let longest = graph.longest(node);
    if longest == u64::from(node.min_length) {
        format!("{longest} bytes")
    } else {
        format!("{} to {longest} bytes", node.min_length)
    }
}

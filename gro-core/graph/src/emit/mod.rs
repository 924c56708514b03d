//! A graph as text for others. Each emitter is a function of the graph alone: the same graph gives the same bytes.

mod dot;
mod json;
mod layout;
mod p4;
mod rust;
mod svg;

pub use dot::dot;
pub use json::json;
pub use p4::p4;
pub use rust::{Unsupported, rust};
pub use svg::svg;

use crate::model::{Graph, Node};

/// All edges from one place to another.
struct Link {
    from: usize,
    to: usize,
    /// What the next-protocol field must say, for each of them.
    keys: Vec<String>,
}

/// Places of a picture: first the parsers, then the nodes, in the order of the document.
fn links(graph: &Graph) -> Vec<Link> {
    let first = graph.parsers.len();
    let roots = graph.parsers.iter().enumerate();
    let mut links: Vec<Link> = roots
        .map(|(index, parser)| Link { from: index, to: first + parser.root, keys: Vec::new() })
        .collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        let start = links.len();
        for (key, to) in graph.edges(node) {
            let (text, to) = (key_text(node, key), first + to);
            match links[start..].iter_mut().find(|link| link.to == to) {
                Some(link) => link.keys.push(text),
                None => links.push(Link { from: first + index, to, keys: vec![text] }),
            }
        }
    }
    links
}

/// Protocol numbers in decimal, ethertypes and the like in hexadecimal, as they are known.
fn key_text(node: &Node, key: Option<u64>) -> String {
    match (key, node.next.map_or(1, |next| next.field.length)) {
        (None, _) => "any".to_owned(),
        (Some(key), 1) => key.to_string(),
        (Some(key), length) => format!("0x{key:0width$x}", width = 2 * length as usize),
    }
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

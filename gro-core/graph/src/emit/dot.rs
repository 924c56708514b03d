//! Graphviz.

use super::{length_text, links};
use crate::model::Graph;
use std::fmt::Write as _;

/// The graph in the language of Graphviz: `dot -Tsvg`. Names need no escape; the reader refuses others.
pub fn dot(graph: &Graph) -> String {
    let mut text =
        String::from("digraph parser {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    let place = |index: usize| match index.checked_sub(graph.parsers.len()) {
        Some(index) => format!("\"node {}\"", graph.nodes[index].name),
        None => format!("\"parser {}\"", graph.parsers[index].name),
    };
    for (index, parser) in graph.parsers.iter().enumerate() {
        let _ = writeln!(text, "  {} [shape=oval, label=\"{}\"];", place(index), parser.name);
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let place = place(graph.parsers.len() + index);
        let _ = writeln!(text, "  {place} [label=\"{}\\n{}\"];", node.name, length_text(graph, node));
    }
    for link in links(graph) {
        let mut says = Vec::new();
        if !link.keys.is_empty() {
            says.push(format!("label=\"{}\"", link.keys.join("\\n")));
        }
        if link.again {
            // A packet in a packet: it does not move the headers of the one outside down.
            says.push("style=dashed, constraint=false".to_owned());
        }
        let says = if says.is_empty() { String::new() } else { format!(" [{}]", says.join(", ")) };
        let _ = writeln!(text, "  {} -> {}{says};", place(link.from), place(link.to));
    }
    text.push_str("}\n");
    text
}

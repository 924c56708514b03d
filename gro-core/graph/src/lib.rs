//! The parse graph as data: what headers there are, how long they are, what follows them, and what GRO asks of them.
//!
//! A document is JSON in the vocabulary of the *Parser IR* family (XDP2, the Common Parser Language), with what GRO adds under
//! one key, `gro`. [`Graph::read`] gives a graph without dangling names, unbounded cycles and fields outside their header, or
//! says what is wrong where. [`walk`] interprets a graph, slowly and obviously: it is the referee of the engine's parser.
//! [`emit`] writes a graph as Graphviz, SVG, normalised JSON and P4-16.
//!
//! The types of [`model`](Graph) and of [`NodeGro`] describe the vocabulary. Nothing here panics, whatever the document or the frame.
#![forbid(unsafe_code)]

// document -> graph
mod error;
mod json;
mod read;
// the graph
mod gro;
mod model;
// is it sound?
mod check;
// what it does, and how it looks
pub mod emit;
mod walk;

pub use error::{Fault, GraphError};
pub use gro::{
    Bits, Checksum, Covers, EntryGro, FieldRule, GroField, Layer, NodeGro, OptionalField, ParserGro,
    PresentLength, Requires, Settings, Tests, TunnelKind, Unequal,
};
pub use model::{
    Action, Comparison, Condition, Entry, Field, FlagField, FlagFields, FlagTable, Graph, HeaderLength,
    Metadata, Next, Node, Parser, Table, Test, TlvEntry, TlvNode, TlvTable, Tlvs,
};
pub use walk::{Step, Stop, Tlv, Walk, Why, walk};

/// The document of the engine in this repository, `gro-core/parser.json`.
pub const BUILT_IN: &str = include_str!("../../parser.json");

/// Most bytes of a document.
pub const DOCUMENT_MAX: usize = 1 << 20;
/// Most nodes, tables, or entries of a table.
pub const ENTRIES_MAX: usize = 4_096;
/// Most bytes of a header, of a frame, and of everything that a document measures in bytes.
pub const LENGTH_MAX: u64 = 65_535;
/// Most bytes of a name.
pub const NAME_MAX: usize = 64;
/// The reasons with which a document may refuse a frame: the names of the engine's `Bypass` that a parser can give.
pub const REASONS: [&str; 14] = [
    "not_ip",
    "truncated",
    "ip_options",
    "fragment",
    "ip_checksum",
    "protocol",
    "data_offset",
    "too_long",
    "checksum",
    "udp_off",
    "udp_no_checksum",
    "udp_length",
    "tunnel",
    "nested",
];
/// The settings of an engine that a document can ask for.
pub const SWITCHES: [&str; 6] = ["udp-forwarding", "vlan-in-band", "ip-in-ip", "gre", "vxlan", "geneve"];
/// The rule sets, oldest first.
pub const PROFILES: [&str; 3] = ["linux-6.12", "linux-6.18", "linux-7.x"];
/// The words of the engine's `Packet` that a field can go to.
pub const WORDS: [&str; 9] =
    ["label", "addresses", "class", "id_check", "ports", "seq", "ack", "control", "check_urgent"];

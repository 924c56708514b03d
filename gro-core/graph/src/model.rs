//! A graph: nodes are headers, edges are what their next-protocol field can say. References are indices into [`Graph`].

use crate::gro::{EntryGro, NodeGro, ParserGro, Settings};

/// A parse graph, checked: every index is in range and every field inside its header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// Where parsing starts; several parsers may share nodes.
    pub parsers: Vec<Parser>,
    /// The headers.
    pub nodes: Vec<Node>,
    /// Next-protocol tables.
    pub tables: Vec<Table>,
    /// Tables of optional fields.
    pub flag_tables: Vec<FlagTable>,
    /// Tables of options; other tools look into options, GRO compares their bytes.
    pub tlv_tables: Vec<TlvTable>,
    /// What stands for an option in [`Graph::tlv_tables`].
    pub tlv_nodes: Vec<TlvNode>,
}

/// A root and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parser {
    /// Its name.
    pub name: String,
    /// Index of the first node.
    pub root: usize,
    /// Name of the target of a parse that ended well; for other tools.
    pub okay_target: Option<String>,
    /// Name of the target of a parse that failed; for other tools.
    pub fail_target: Option<String>,
    /// Headers at most. A parser whose nodes form a cycle must have it.
    pub max_nodes: Option<u32>,
    /// Headers with `encap` at most.
    pub max_encaps: u32,
    /// What GRO adds.
    pub gro: ParserGro,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Bytes that are always there.
    pub min_length: u32,
    /// How long it is, if that varies.
    pub length: Option<HeaderLength>,
    /// How the header behind it is found. Without it, and without [`Node::next_node`], parsing ends here.
    pub next: Option<Next>,
    /// The header that always follows.
    pub next_node: Option<usize>,
    /// Whether another packet begins behind it.
    pub encap: bool,
    /// Whether it takes no bytes: the next header begins where it begins.
    pub overlay: bool,
    /// What must hold, in order, once the first `min_length` bytes are there.
    pub conditions: Vec<Condition>,
    /// What other tools extract.
    pub metadata: Vec<Metadata>,
    /// Type-length-value options in it.
    pub tlvs: Option<Tlvs>,
    /// Optional fields behind the first `min_length` bytes, announced by flags.
    pub flag_fields: Option<FlagFields>,
    /// What GRO adds.
    pub gro: NodeGro,
}

/// A big-endian number in a header: bytes, then mask, then shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// First byte, from the start of the header.
    pub offset: u32,
    /// Bytes, 1 to 8.
    pub length: u32,
    /// Which bits count.
    pub mask: u64,
    /// Bits to shift right after masking.
    pub shift: u32,
}

impl Field {
    /// The mask of all bits of `length` bytes.
    pub fn full_mask(length: u32) -> u64 {
        if length >= 8 { u64::MAX } else { (1 << (8 * length)) - 1 }
    }

    /// The largest value it can have.
    pub fn most(&self) -> u64 {
        self.mask.checked_shr(self.shift).unwrap_or(0)
    }

    /// Its value in a header, or `None` if the bytes are not there.
    pub fn read(&self, header: &[u8]) -> Option<u64> {
        let start = self.offset as usize;
        let bytes = header.get(start..start + self.length as usize)?;
        let value = bytes.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        Some((value & self.mask).checked_shr(self.shift).unwrap_or(0))
    }

    /// The byte behind it.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }
}

/// How long a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderLength {
    /// The value of a field times `multiplier` plus `add`, in bytes.
    Computed {
        /// The field.
        field: Field,
        /// Bytes per unit of the field.
        multiplier: u32,
        /// Bytes that the field does not count.
        add: i32,
    },
    /// `min_length` and the optional fields that are there.
    FlagFields,
}

impl HeaderLength {
    /// Shortest and longest length that a computed header can state.
    pub fn range(&self) -> Option<(i128, i128)> {
        match *self {
            Self::Computed { field, multiplier, add } => {
                let longest = i128::from(field.most()) * i128::from(multiplier) + i128::from(add);
                Some((i128::from(add), longest))
            }
            Self::FlagFields => None,
        }
    }
}

/// How the next header is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// What is looked up.
    pub field: Field,
    /// In which of [`Graph::tables`].
    pub table: usize,
    /// The header for all keys that are not in the table.
    pub wildcard: Option<usize>,
}

/// A next-protocol table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name; `None` for one written inside its node.
    pub name: Option<String>,
    /// Keys, each once.
    pub entries: Vec<Entry>,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, if the document gives one.
    pub name: Option<String>,
    /// What the field must say.
    pub key: u64,
    /// Index of the header that follows.
    pub node: usize,
    /// When the entry is there.
    pub gro: EntryGro,
}

/// What must hold for a header, or the parse ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its name, to which [`NodeGro::refusals`] refers.
    pub name: Option<String>,
    /// The test.
    pub test: Test,
    /// What a parse that ends here is called.
    pub otherwise: Action,
}

/// What becomes of a parse that a condition ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// It counts as done.
    #[default]
    StopOkay,
    /// It counts as failed.
    StopFail,
}

/// A condition without its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// A field compared with a number.
    Compare {
        /// How.
        comparison: Comparison,
        /// What.
        field: Field,
        /// With what.
        value: u64,
    },
    /// All must hold.
    All(Vec<Test>),
    /// One must hold.
    Any(Vec<Test>),
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
}

impl Comparison {
    /// Every one, with its name in documents.
    pub const ALL: [(&'static str, Self); 6] = [
        ("equal", Self::Equal),
        ("not_equal", Self::NotEqual),
        ("greater_than", Self::Greater),
        ("greater_or_equal", Self::GreaterOrEqual),
        ("less_than", Self::Less),
        ("less_or_equal", Self::LessOrEqual),
    ];

    /// Whether it holds.
    pub fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}

/// What other tools write into their metadata. GRO does not use it; it is kept so that nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// `extract`, `offset` and so on.
    pub kind: String,
    /// Where it goes.
    pub md_off: u32,
    /// Where it comes from, in the header.
    pub hdr_src_off: Option<u32>,
    /// Bytes.
    pub length: Option<u32>,
    /// Which bits.
    pub mask: Option<u64>,
}

/// Type-length-value options, from [`Tlvs::start`] to the end of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlvs {
    /// First byte in the header.
    pub start: u32,
    /// The type, from the start of the option.
    pub kind: Field,
    /// The length of the option, its type and length included, from the start of the option.
    pub length: Field,
    /// Type of one byte of padding.
    pub pad1: Option<u64>,
    /// Type after which there is none.
    pub eol: Option<u64>,
    /// Options at most.
    pub max: Option<u32>,
    /// Name of the table for the type: one of [`Graph::tlv_tables`] or of [`Graph::tables`].
    pub table: Option<String>,
    /// The same, written inside the node.
    pub entries: Vec<TlvEntry>,
}

/// A table of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvTable {
    /// Its name.
    pub name: String,
    /// Types, each once.
    pub entries: Vec<TlvEntry>,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvEntry {
    /// Its type.
    pub key: u64,
    /// Name of one of [`Graph::tlv_nodes`] or [`Graph::nodes`].
    pub node: String,
}

/// What other tools do with an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvNode {
    /// Its name.
    pub name: String,
    /// What they extract.
    pub metadata: Vec<Metadata>,
}

/// Optional fields, in the order of their table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagFields {
    /// The flags.
    pub flags: Field,
    /// Which of [`Graph::flag_tables`].
    pub table: usize,
}

/// A table of optional fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagTable {
    /// Its name; `None` for one written inside its node.
    pub name: Option<String>,
    /// The fields, in the order in which they stand in a header.
    pub fields: Vec<FlagField>,
}

/// An optional field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagField {
    /// Its name, if the document gives one.
    pub name: Option<String>,
    /// The flags that announce it.
    pub flag: u64,
    /// The flags that are looked at for it.
    pub mask: u64,
    /// Its bytes.
    pub size: u32,
}

impl Graph {
    /// The node of this name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The parser of this name.
    pub fn parser(&self, name: &str) -> Option<&Parser> {
        self.parsers.iter().find(|parser| parser.name == name)
    }

    /// Where one can get from a node: key (`None` for any other, or for a header that always follows) and index of the node.
    pub fn edges(&self, node: &Node) -> Vec<(Option<u64>, usize)> {
        let mut edges = Vec::new();
        if let Some(next) = node.next {
            let entries = self.tables.get(next.table).map_or(&[][..], |table| &table.entries);
            edges.extend(entries.iter().map(|entry| (Some(entry.key), entry.node)));
            edges.extend(next.wildcard.map(|node| (None, node)));
        }
        edges.extend(node.next_node.map(|node| (None, node)));
        edges
    }

    /// The entry for a key that is there under `settings`.
    pub fn entry(&self, table: usize, key: u64, settings: &Settings<'_>) -> Option<&Entry> {
        let entries = self.tables.get(table).map_or(&[][..], |table| &table.entries);
        entries.iter().find(|entry| entry.key == key && entry.gro.holds(settings))
    }

    /// The longest that a node's header can be, in bytes.
    pub fn longest(&self, node: &Node) -> u64 {
        let computed = node.length.and_then(|length| length.range());
        let longest = computed.map_or(0, |(_, longest)| u64::try_from(longest).unwrap_or(0));
        let optional = node.flag_fields.and_then(|flags| self.flag_tables.get(flags.table));
        let optional =
            optional.map_or(0, |table| table.fields.iter().map(|field| u64::from(field.size)).sum());
        longest.max(u64::from(node.min_length) + optional)
    }
}

//! What is wrong with a document, and where.

/// A document that is no graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {place}: {fault}")]
pub struct GraphError {
    /// The file, as the caller named it.
    pub file: String,
    /// The node, table or parser, and the key in it.
    pub place: String,
    /// The reason.
    pub fault: Fault,
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not JSON, or JSON in which an object has a key twice; with line and column.
    #[error("{0}")]
    Json(String),
    /// A value of another kind than the key needs.
    #[error("\"{key}\" must be {expected}")]
    Kind {
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A key that must be there is not.
    #[error("\"{0}\" is missing")]
    Missing(&'static str),
    /// Two keys of which one may be there.
    #[error("\"{0}\" and \"{1}\" exclude each other")]
    Both(&'static str, &'static str),
    /// A name that nothing has.
    #[error("there is no {kind} \"{name}\"")]
    Dangling {
        /// Node, table and so on.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A name that two things have, or a key that is twice in a table.
    #[error("{kind} {name} is there twice")]
    Duplicate {
        /// Node, table, key and so on.
        kind: &'static str,
        /// The name or number.
        name: String,
    },
    /// A name that is empty, too long, or of other signs than letters, digits, `_`, `-` and `.`.
    #[error("\"{0}\" is no name: 1 to 64 letters, digits, '_', '-' and '.'")]
    Name(String),
    /// A word that is none of those known here.
    #[error("\"{word}\" is none of {known}")]
    Word {
        /// The word.
        word: String,
        /// Those known.
        known: String,
    },
    /// A field that is not inside the header.
    #[error("{key} ends at byte {end}, behind the {header} bytes of the header that are always there")]
    Outside {
        /// Which field.
        key: String,
        /// Where it ends.
        end: u64,
        /// `min-hdr-length`.
        header: u64,
    },
    /// A number that is too large for what it measures.
    #[error("\"{key}\" is {value}; the most is {most}")]
    Large {
        /// The key.
        key: String,
        /// Its value.
        value: u64,
        /// The most it can be.
        most: u64,
    },
    /// A header length that can be longer than any frame, or shorter than nothing.
    #[error("hdr-length reaches {0} bytes; a header has 0 to 65535")]
    Length(i128),
    /// A field of 0 or of more than 8 bytes.
    #[error("{key} has {length} bytes; a number has 1 to 8")]
    Width {
        /// Which field.
        key: String,
        /// Its length.
        length: u64,
    },
    /// A mask that has bits outside its field, or none inside.
    #[error("mask {mask:#x} does not fit {key} of {length} bytes")]
    Mask {
        /// Which field.
        key: String,
        /// The mask.
        mask: u64,
        /// The field's length in bytes.
        length: u64,
    },
    /// A key, or a value to compare with, that the field can never have.
    #[error("{key} {value:#x} can never be read: the field has values up to {most:#x}")]
    Unreachable {
        /// Which key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The largest value of the field.
        most: u64,
    },
    /// A way from a node back to itself in a parser that does not say after how many nodes it ends.
    #[error("the way {0} is a cycle, and the parser has no \"max-nodes\" that bounds it")]
    Cycle(String),
    /// Fields under `gro` that overlap, or leave bits of the header without a rule.
    #[error("gro: bit {bit} of byte {byte} is in {what}")]
    Coverage {
        /// Byte in the header.
        byte: usize,
        /// Bit in the byte, 0 is the most significant.
        bit: usize,
        /// In two fields or in none.
        what: String,
    },
    /// Something that the vocabulary has and that this reader does not understand.
    #[error("{0} is not understood here")]
    Unsupported(&'static str),
    /// More of something than there is room for.
    #[error("{count} {what}; the most is {most}")]
    Many {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        most: usize,
    },
}

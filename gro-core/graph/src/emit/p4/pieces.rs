//! A header as the fields of a P4 header type: cut wherever a field of the document begins or ends, so that each of those is
//! one piece or several in a row.

use crate::model::{Field, HeaderLength, Node, Test};
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

/// Some bits of a header.
pub(super) struct Piece {
    pub(super) name: String,
    /// First bit; 0 is the most significant of the first byte.
    pub(super) start: usize,
    pub(super) bits: usize,
}

/// The bits of a header from the first to the last of a field's mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits(Range<usize>);

impl Bits {
    pub(super) fn contains(&self, bit: &usize) -> bool {
        self.0.contains(bit)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

pub(super) fn bits_of(field: Field) -> Bits {
    let (start, bits) = (8 * field.offset as usize, 8 * field.length as usize);
    let above = field.mask.leading_zeros() as usize + bits - 64;
    let below = field.mask.trailing_zeros() as usize;
    Bits(start + above..start + bits - below)
}

pub(super) fn pieces(node: &Node) -> Vec<Piece> {
    let end = 8 * node.min_length as usize;
    let mut named: Vec<(Range<usize>, &str)> = Vec::new();
    for field in &node.gro.fields {
        let range = 8 * field.offset as usize..8 * (field.offset + field.length) as usize;
        let range = match field.mask {
            Some(mask) => bits_of(Field { offset: field.offset, length: field.length, mask, shift: 0 }).0,
            None => range,
        };
        named.push((range, &field.name));
    }
    let mut cuts: BTreeSet<usize> = BTreeSet::from([0, end]);
    for range in named
        .iter()
        .map(|(range, _)| range.clone())
        .chain(read(node).into_iter().map(|field| bits_of(field).0))
    {
        cuts.extend([range.start, range.end]);
    }
    let cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut <= end).collect();
    let mut taken = HashSet::new();
    let mut pieces = Vec::new();
    for pair in cuts.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let owner = named.iter().find(|(range, _)| range.contains(&start));
        let name = owner.map_or_else(|| format!("bits_{start}"), |(_, name)| identifier(name));
        // A field in several pieces: all but the first say where they begin.
        let name = if taken.insert(name.clone()) { name } else { format!("{name}_{start}") };
        pieces.push(Piece { name, start, bits: end - start });
    }
    pieces
}

/// The fields that a parser looks at.
fn read(node: &Node) -> Vec<Field> {
    let mut fields: Vec<Field> = node.next.map(|next| next.field).into_iter().collect();
    fields.extend(node.flag_fields.map(|flags| flags.flags));
    if let Some(HeaderLength::Computed { field, .. }) = node.length {
        fields.push(field);
    }
    let mut open: Vec<&Test> = node.conditions.iter().map(|condition| &condition.test).collect();
    while let Some(test) = open.pop() {
        match test {
            Test::Compare { field, .. } => fields.push(*field),
            Test::All(parts) | Test::Any(parts) => open.extend(parts),
        }
    }
    fields
}

/// A name as P4 takes it. Names that differ only in `-`, `.` and `_` become one: such a graph is no P4.
pub(super) fn identifier(name: &str) -> String {
    const WORDS: [&str; 8] = ["packet", "hdr", "error", "header", "parser", "state", "bit", "default"];
    let text: String =
        name.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '_' }).collect();
    let first = text.chars().next().is_none_or(|sign| sign.is_ascii_digit());
    if first || WORDS.contains(&text.as_str()) { format!("n_{text}") } else { text }
}

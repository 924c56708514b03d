//! The equality masks: for each header its bits that must be equal, and for each of the engine's words likewise.

use super::constant;
use super::words::Place;
use crate::gro::{FieldRule, GroField};
use crate::model::{Field, Graph, Node};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The module `masks`.
pub(super) fn masks(graph: &Graph, order: &[usize]) -> String {
    let mut text = "\
/// Which bits must be equal. Of a header, words of 32 bits from its start: `IDENTIFY` tells flows apart, `EQUAL` must hold for
/// a segment to join. Of a word of [`Packet`], the bits in it that must be equal to join.
pub mod masks {
"
    .to_owned();
    for node in order.iter().map(|&index| &graph.nodes[index]) {
        for (suffix, rule) in [("IDENTIFY", FieldRule::Identify), ("EQUAL", FieldRule::Equal)] {
            let words = header_masks(node, rule);
            if words.iter().any(|&word| word != 0) {
                let list: Vec<String> = words.iter().map(|&word| hex(word)).collect();
                let _ = writeln!(
                    text,
                    "/// Of header `{}`.\npub const {}_{suffix}: [u32; {}] = [{}];",
                    node.name,
                    constant(&node.name),
                    words.len(),
                    list.join(", ")
                );
            }
        }
    }
    for (word, mask) in word_masks(graph, order) {
        let name = word.to_ascii_uppercase();
        let _ = writeln!(text, "/// Of `Packet::{word}`.\npub const {name}: u32 = {};", hex(mask));
    }
    text + "}\n\n"
}

/// A header's masks, a word each; the last may be cut.
pub(super) fn header_masks(node: &Node, rule: FieldRule) -> Vec<u32> {
    let bytes = node.gro.mask(node.min_length, rule);
    bytes
        .chunks(4)
        .map(|chunk| {
            chunk.iter().enumerate().fold(0, |word, (at, &byte)| word | u32::from(byte) << (24 - 8 * at))
        })
        .collect()
}

fn word_masks(graph: &Graph, order: &[usize]) -> BTreeMap<String, u32> {
    let mut masks = BTreeMap::new();
    for node in order.iter().map(|&index| &graph.nodes[index]) {
        for field in node.gro.fields.iter().filter(|field| field.rule == FieldRule::Equal) {
            let Some((word, shift)) = &field.into else { continue };
            let Some(place) = number(field).and_then(Place::of) else { continue };
            *masks.entry(word.clone()).or_default() |= place.mask.checked_shl(*shift).unwrap_or(0);
        }
    }
    masks
}

/// A field as a number: its bits, moved to the lowest place.
pub(super) fn number(field: &GroField) -> Option<Field> {
    if field.length > 4 {
        return None;
    }
    let mask = field.mask.unwrap_or(Field::full_mask(field.length));
    Some(Field { offset: field.offset, length: field.length, mask, shift: mask.trailing_zeros() })
}

fn hex(word: u32) -> String {
    match word {
        0 => "0".to_owned(),
        u32::MAX => "!0".to_owned(),
        word => format!("0x{:04x}_{:04x}", word >> 16, word & 0xffff),
    }
}

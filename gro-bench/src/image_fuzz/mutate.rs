//! Changes to an image file, made by somebody who knows the format.

use super::seal::{HEADER, Row, TOTAL, rows, word};
use crate::fuzz::Random;

/// Kinds of change, for the counts.
pub(super) const KINDS: [&str; 12] = [
    "bit flips",
    "byte sets",
    "word sets",
    "truncation",
    "insertion",
    "deletion",
    "header field",
    "table field",
    "swapped sections",
    "splice of two images",
    "copied range",
    "instructions",
];

/// Values that parsers stumble over, and some that mean something here.
const WORDS: [u32; 16] = [
    0,
    1,
    2,
    3,
    4,
    8,
    64,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_7ffe,
    0x8001_0000,
    0x8001_8000,
    0x9000_0000,
    0xffff_ff00,
    0xffff_ffc0,
    0xffff_ffff,
];

/// The kind of change to the program alone: whoever makes no other gets an image that loads, once it is sealed.
pub(super) const PROGRAM: usize = 11;

/// Makes one change of the kind, or of a random one, and says which. The file may come out as it was.
pub(super) fn mutate(
    file: &mut Vec<u8>,
    others: &[Vec<u8>],
    random: &mut Random,
    kind: Option<usize>,
) -> usize {
    let kind = kind.unwrap_or_else(|| random.below(KINDS.len()));
    if file.is_empty() {
        return kind;
    }
    match kind {
        0 => {
            for _ in 0..=random.below(8) {
                let at = place(file, random);
                file[at] ^= 1 << random.below(8);
            }
        }
        1 => {
            for _ in 0..=random.below(16) {
                let at = place(file, random);
                file[at] = random.word() as u8;
            }
        }
        2 => {
            let at = place(file, random) & !3;
            set(file, at, value(random));
        }
        3 => {
            let length = random.below(file.len());
            file.truncate(if random.once_in(2) { length } else { length & !63 });
        }
        4 => {
            let (at, length) = range(file, random);
            let bytes: Vec<u8> = if random.once_in(2) {
                vec![0; length]
            } else {
                (0..length).map(|_| random.word() as u8).collect()
            };
            file.splice(at..at, bytes);
        }
        5 => {
            let (at, length) = range(file, random);
            file.drain(at..(at + length).min(file.len()));
        }
        6 => {
            let at = random.below(HEADER) & !3;
            set(file, at, value(random));
        }
        7 => table_field(file, random),
        8 => swap(file, random),
        9 => splice(file, others, random),
        10 => {
            let (from, length) = range(file, random);
            let bytes = file[from..(from + length).min(file.len())].to_vec();
            let at = random.below(file.len() - bytes.len() + 1);
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        _ => instructions(file, random),
    }
    kind
}

/// Mostly in a section or in its padding, so that large sections do not get all.
fn place(file: &[u8], random: &mut Random) -> usize {
    let rows = rows(file);
    if rows.is_empty() || random.once_in(4) {
        return random.below(file.len());
    }
    let Row { start, size, .. } = rows[random.below(rows.len())];
    let size = size.next_multiple_of(64).max(1);
    start.saturating_add(random.below(size)).min(file.len() - 1)
}

/// A place and a length from it, often in lines of 64 bytes.
fn range(file: &[u8], random: &mut Random) -> (usize, usize) {
    let (at, length) = (place(file, random), 1 + random.below(256));
    if random.once_in(2) { (at, length) } else { (at & !63, length.next_multiple_of(64)) }
}

fn value(random: &mut Random) -> u32 {
    if random.once_in(2) { random.word() as u32 } else { random.of(&WORDS) }
}

fn set(file: &mut [u8], at: usize, value: u32) {
    if let Some(place) = file.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// A field of a table entry becomes something else: a neighbour's, a little more or less, or nonsense.
fn table_field(file: &mut [u8], random: &mut Random) {
    let rows = rows(file);
    if rows.is_empty() {
        return;
    }
    let (row, other) = (rows[random.below(rows.len())].entry, rows[random.below(rows.len())].entry);
    let field = 4 * random.below(16);
    let value = match random.below(4) {
        0 => word(file, other + field),
        1 => word(file, row + field).wrapping_add(random.of(&[1, 2, 4, 64])),
        2 => word(file, row + field).wrapping_sub(random.of(&[1, 2, 4, 64])),
        _ => value(random),
    };
    set(file, row + field, value);
}

/// Two entries of the table change places, or the bytes that they name, or both.
fn swap(file: &mut [u8], random: &mut Random) {
    let rows = rows(file);
    if rows.len() < 2 {
        return;
    }
    let first = random.below(rows.len());
    let second = (first + 1 + random.below(rows.len() - 1)) % rows.len();
    let (first, second) = (rows[first.min(second)], rows[first.max(second)]);
    let how = random.below(3);
    if how != 0 {
        for byte in 0..64 {
            file.swap(first.entry + byte, second.entry + byte);
        }
    }
    let length = first.size.min(second.size);
    if how != 1 && first.start + length <= second.start && second.start + length <= file.len() {
        let (before, behind) = file.split_at_mut(second.start);
        before[first.start..first.start + length].swap_with_slice(&mut behind[..length]);
    }
}

/// One image's start with another's end, or one section of another.
fn splice(file: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let other = &others[random.below(others.len())];
    if random.once_in(2) {
        let at = random.below(file.len());
        let from = if random.once_in(2) { at } else { random.below(other.len()) }.min(other.len());
        file.truncate(at);
        file.extend_from_slice(&other[from..]);
        let total = file.len() as u32;
        set(file, TOTAL, total);
        return;
    }
    let (own, theirs) = (rows(file), rows(other));
    if own.is_empty() {
        return;
    }
    let row = own[random.below(own.len())];
    let same = theirs.iter().find(|it| (it.kind, it.isa) == (row.kind, row.isa));
    if let Some(same) = same.filter(|same| same.start + same.size <= other.len()) {
        let length = same.size.min(row.size);
        if let Some(place) = file.get_mut(row.start..row.start + length) {
            place.copy_from_slice(&other[same.start..same.start + length]);
        }
        // With the other's table entry, too: right where both lie alike.
        if random.once_in(2) && row.entry + 64 <= file.len() {
            file[row.entry..row.entry + 64].copy_from_slice(&other[same.entry..same.entry + 64]);
        }
    }
}

/// Half words of the code: what a program does, and where it goes.
fn instructions(file: &mut [u8], random: &mut Random) {
    let rows = rows(file);
    let Some(code) = rows.iter().find(|row| (row.kind, row.isa) == (1, 1)).filter(|row| row.size >= 4) else {
        return;
    };
    for _ in 0..=random.below(4) {
        let at = code.start + 2 * random.below(code.size / 2 - 1);
        if at + 4 > file.len() {
            return;
        }
        let old = word(file, at);
        let new = match random.below(5) {
            // Bits of it; of a long one these are registers, immediates, operation.
            0 | 1 => old ^ (1 << random.below(32)),
            2 => random.word() as u32,
            // A jump to anywhere, `j .`, `wfi`, `c.nop`.
            3 => random.of(&[0x0000_006f, 0x1050_0073, 0x0001_0001, 0x0000_a001]),
            // An instruction from elsewhere.
            _ => word(file, code.start + 2 * random.below(code.size / 2 - 1)),
        };
        set(file, at, new);
    }
}

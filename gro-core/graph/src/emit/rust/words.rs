//! A header's fields as expressions over its 32-bit words.

use crate::model::Field;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

/// The words that a function reads, and which of their bytes. In a text that is not yet resolved a word stands in marks, with the
/// bytes that are used: `\u{1}word:start:length\u{1}`.
pub(super) struct Words {
    read: BTreeMap<u32, Range<u32>>,
    /// The header's name as a constant's, and its identity masks.
    header: String,
    identify: Vec<u32>,
}

const MARK: char = '\u{1}';

/// Bits of one word: its number, how far they are from the lowest bit, and the mask once they are there.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) word: u32,
    pub(super) shift: u32,
    pub(super) mask: u32,
}

impl Place {
    /// Where a field is, if it lies inside one word.
    pub(super) fn of(field: Field) -> Option<Self> {
        let start = field.offset % 4;
        if start + field.length > 4 {
            return None;
        }
        let below = 8 * (4 - start - field.length);
        Some(Self {
            word: field.offset / 4,
            shift: below + field.shift,
            mask: field.mask.checked_shr(field.shift)? as u32,
        })
    }
}

impl Words {
    /// No word yet.
    pub(super) fn of(header: &str, identify: Vec<u32>) -> Self {
        Self { read: BTreeMap::new(), header: header.to_owned(), identify }
    }

    /// A word, of which bytes `bytes` are used.
    pub(super) fn word(&mut self, word: u32, bytes: Range<u32>) -> String {
        let read = self.read.entry(word).or_insert(bytes.clone());
        *read = read.start.min(bytes.start)..read.end.max(bytes.end);
        format!("{MARK}{word}{MARK}")
    }

    /// The value of a field.
    pub(super) fn value(&mut self, field: Field) -> Option<String> {
        let place = Place::of(field)?;
        let start = field.offset % 4;
        let word = self.word(place.word, start..start + field.length);
        let narrow = field.length == 1 || field.length == 2 && start.is_multiple_of(2);
        if narrow && field.shift == 0 && field.mask == Field::full_mask(field.length) {
            return Some(format!("{MARK}{}:{start}:{}{MARK}", place.word, field.length));
        }
        Some(shifted(&word, place))
    }

    /// The word where it lies, masked.
    pub(super) fn masked(&mut self, word: u32, mask: u32) -> String {
        let bytes: Vec<u32> = (0..4).filter(|byte| mask >> (8 * (3 - byte)) & 0xff != 0).collect();
        let (first, last) = (bytes.first().copied().unwrap_or(0), bytes.last().copied().unwrap_or(3));
        let name = self.word(word, first..last + 1);
        if mask == u32::MAX {
            name
        } else if self.identify.get(word as usize) == Some(&mask) {
            format!("{name} & masks::{}_IDENTIFY[{word}]", self.header)
        } else {
            format!("{name} & {}", hex(mask))
        }
    }

    /// The text with its words: what is used once is read there, what is used more than once is read before and has a name, with the
    /// names of its fields beside it.
    pub(super) fn resolve(&self, text: &str, names: impl Fn(u32) -> String) -> String {
        let pieces: Vec<&str> = text.split(MARK).collect();
        // Every other piece is a mark.
        let marks = || pieces.iter().skip(1).step_by(2).filter_map(|mark| Mark::of(mark));
        let uses = |word: u32| marks().filter(|mark| mark.word == word).count();
        let mut bindings = String::new();
        for (&word, bytes) in self.read.iter().filter(|&(&word, _)| uses(word) > 1) {
            let _ = writeln!(bindings, "// {}\nlet w{word} = {};", names(word), read(word, bytes));
        }
        let body = pieces.iter().enumerate().map(|(number, piece)| match Mark::of(piece) {
            Some(mark) if number % 2 == 1 => match (uses(mark.word), mark.part) {
                (1, Some((start, 1))) => format!("(window.u8({}) as u32)", plus(4 * mark.word + start)),
                (1, Some((start, _))) => format!("(window.be16({}) as u32)", plus(4 * mark.word + start)),
                (1, None) => {
                    let bytes = self.read.get(&mark.word).cloned().unwrap_or(0..4);
                    let read = read(mark.word, &bytes);
                    if read.contains(' ') && !read.starts_with("window.be32") {
                        format!("({read})")
                    } else {
                        read
                    }
                }
                (_, Some((start, length))) => {
                    let shift = 8 * (4 - start - length);
                    let mask = Field::full_mask(length) as u32;
                    let value = shifted(&format!("w{}", mark.word), Place { word: mark.word, shift, mask });
                    if value.contains(" & ") { format!("({value})") } else { value }
                }
                (_, None) => format!("w{}", mark.word),
            },
            _ => (*piece).to_owned(),
        });
        bindings + &body.collect::<String>()
    }
}

/// A word in a text.
struct Mark {
    word: u32,
    /// First byte and bytes, of a field that is a number of its own.
    part: Option<(u32, u32)>,
}

impl Mark {
    fn of(text: &str) -> Option<Self> {
        let mut numbers = text.split(':').map(str::parse::<u32>);
        let word = numbers.next()?.ok()?;
        let part = match (numbers.next(), numbers.next()) {
            (Some(Ok(start)), Some(Ok(length))) => Some((start, length)),
            _ => None,
        };
        Some(Self { word, part })
    }
}

/// Reads a word, or of it the bytes that are used.
fn read(word: u32, bytes: &Range<u32>) -> String {
    let at = plus(4 * word + bytes.start);
    match (bytes.start, bytes.end - bytes.start) {
        (start, 1) => shifted_up(&format!("window.u8({at})"), 8 * (3 - start)),
        (start @ (0 | 2), 2) => shifted_up(&format!("window.be16({at})"), if start == 0 { 16 } else { 0 }),
        _ => format!("window.be32({})", plus(4 * word)),
    }
}

/// `at` and some bytes.
pub(super) fn plus(bytes: u32) -> String {
    if bytes == 0 { "at".to_owned() } else { format!("at + {bytes}") }
}

fn shifted_up(read: &str, bits: u32) -> String {
    if bits == 0 { format!("{read} as u32") } else { format!("({read} as u32) << {bits}") }
}

/// Bits moved to the lowest place.
fn shifted(word: &str, place: Place) -> String {
    let Place { shift, mask, .. } = place;
    let shifted = if shift == 0 { word.to_owned() } else { format!("{word} >> {shift}") };
    if mask == u32::MAX.checked_shr(shift).unwrap_or(0) {
        shifted
    } else {
        format!("{shifted} & {}", hex(mask))
    }
}

/// Long numbers in groups of four digits.
fn hex(mask: u32) -> String {
    if mask > 0xffff { format!("0x{:x}_{:04x}", mask >> 16, mask & 0xffff) } else { format!("{mask:#x}") }
}

/// Fields OR-ed together, each shifted left by its own bits from its lowest place.
pub(super) fn joined(words: &mut Words, fields: &[(Field, u32)]) -> Option<String> {
    // Bits of one word that move alike move together: word and distance, to their mask in the word.
    let mut groups: BTreeMap<(u32, i64), u32> = BTreeMap::new();
    for &(field, up) in fields {
        let place = Place::of(field)?;
        let key = (place.word, i64::from(up) - i64::from(place.shift));
        *groups.entry(key).or_default() |= place.mask.checked_shl(place.shift)?;
    }
    let mut terms = Vec::new();
    for ((word, distance), mask) in groups {
        let part = words.masked(word, mask);
        terms.push(match distance {
            0 => part,
            up if up > 0 => format!("({part}) << {up}"),
            // A shift down drops what the mask would.
            down if mask == u32::MAX << mask.trailing_zeros() && mask.trailing_zeros() == (-down) as u32 => {
                format!("{} >> {}", words.masked(word, mask).split(' ').next().unwrap_or_default(), -down)
            }
            down => format!("({part}) >> {}", -down),
        });
    }
    Some(if terms.is_empty() { "0".to_owned() } else { terms.join(" | ") })
}

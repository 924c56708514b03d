//! The section table: which bytes are which section, in the one form that a file can have.

use sha2::{Digest, Sha256};

use super::layout::{self, header, section};
use super::{ImageError, Isa};

/// A section table entry whose bytes lie in the file and match their hash.
pub(super) struct Section<'a> {
    pub(super) number: u32,
    pub(super) kind: u32,
    /// As in the table: 0 for a section without an instruction set.
    pub(super) isa: u32,
    pub(super) address: u32,
    pub(super) memory_size: u32,
    /// Where it starts in the file.
    pub(super) offset: usize,
    pub(super) sha256: [u8; 32],
    pub(super) bytes: &'a [u8],
}

/// Reads the table of a file whose header was checked. The sections follow each other in ascending order of kind and instruction set,
/// with zeros between them and nothing behind the last.
pub(super) fn read(file: &[u8], count: u32) -> Result<Vec<Section<'_>>, ImageError> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut expected = table_end(count);
    for number in 0..count {
        let at = header::SIZE + number as usize * section::SIZE;
        let section = entry(file, at, number, count)?;
        check_place(&section, &sections, expected)?;
        check_kind(file, at, &section, sections.last())?;
        let start = section.offset;
        let end = start + section.bytes.len();
        expected = end.next_multiple_of(layout::ALIGN);
        let padding = file
            .get(end..expected)
            .ok_or(ImageError::Truncated { needed: expected as u64, found: file.len() })?;
        if let Some(set) = padding.iter().position(|&byte| byte != 0) {
            return Err(ImageError::Padding { offset: end + set });
        }
        sections.push(section);
    }
    if file.len() != expected {
        return Err(ImageError::Trailing(file.len() - expected));
    }
    // The dear part, when nothing else is wrong.
    for section in &sections {
        let stated = match section.kind {
            layout::SIG => [0; 32],
            _ => Sha256::digest(section.bytes).into(),
        };
        if stated != section.sha256 {
            let kind = layout::kind_name(section.kind).unwrap_or_default();
            return Err(ImageError::SectionHash { section: section.number, kind });
        }
    }
    Ok(sections)
}

/// The entry at offset `at`, whose bytes are then known to lie behind the table and in the file.
fn entry(file: &[u8], at: usize, number: u32, count: u32) -> Result<Section<'_>, ImageError> {
    let field = |offset: usize| word(file, at + offset);
    let (offset, size) = (field(section::OFFSET), field(section::FILE_SIZE));
    if !(offset as usize).is_multiple_of(layout::ALIGN) {
        return Err(ImageError::Misaligned { section: number, field: "offset", value: offset });
    }
    let end = u64::from(offset) + u64::from(size);
    if (offset as usize) < table_end(count) || end > file.len() as u64 {
        return Err(ImageError::OutOfFile { section: number });
    }
    Ok(Section {
        number,
        kind: field(section::KIND),
        isa: field(section::ISA),
        address: field(section::ADDRESS),
        memory_size: field(section::MEMORY_SIZE),
        offset: offset as usize,
        sha256: bytes32(file, at + section::SHA256),
        bytes: &file[offset as usize..end as usize],
    })
}

fn check_place(section: &Section<'_>, before: &[Section<'_>], expected: usize) -> Result<(), ImageError> {
    let (start, end) = (section.offset, section.offset + section.bytes.len());
    let other = before.iter().find(|other| start < other.offset + other.bytes.len() && other.offset < end);
    if let Some(other) = other {
        return Err(ImageError::Overlap { first: other.number, second: section.number });
    }
    if start != expected {
        let (found, expected) = (start as u32, expected as u32);
        return Err(ImageError::Gap { section: section.number, found, expected });
    }
    Ok(())
}

fn check_kind(
    file: &[u8],
    at: usize,
    section: &Section<'_>,
    before: Option<&Section<'_>>,
) -> Result<(), ImageError> {
    let number = section.number;
    let Some(kind) = layout::kind_name(section.kind) else {
        return Err(ImageError::SectionKind { section: number, kind: section.kind });
    };
    if layout::is_of_member(section.kind) {
        if Isa::from_number(section.isa).is_none() {
            return Err(ImageError::Isa { section: number, isa: section.isa });
        }
    } else if section.isa != layout::ISA_NONE {
        return Err(ImageError::NotLoaded { section: number, kind });
    }
    let flags = layout::flags_of(section.kind);
    if flags & layout::flag::LOAD == 0 && (section.address, section.memory_size) != (0, 0) {
        return Err(ImageError::NotLoaded { section: number, kind });
    }
    let found = word(file, at + section::FLAGS);
    if found != flags {
        return Err(ImageError::Flags { section: number, kind, found, expected: flags });
    }
    if word(file, at + section::RESERVED) != 0 {
        return Err(ImageError::Reserved { offset: at + section::RESERVED });
    }
    match before.map(|before| (before.kind, before.isa).cmp(&(section.kind, section.isa))) {
        None | Some(std::cmp::Ordering::Less) => Ok(()),
        Some(std::cmp::Ordering::Equal) => Err(ImageError::Duplicate { section: number, kind }),
        Some(std::cmp::Ordering::Greater) => Err(ImageError::Order { section: number, kind }),
    }
}

pub(super) fn table_end(count: u32) -> usize {
    header::SIZE + count as usize * section::SIZE
}

/// Whether `[inner, inner + inner_size)` lies in `[base, base + size)`, in arithmetic that cannot wrap.
pub(super) fn contains(base: u32, size: u32, inner: u32, inner_size: u32) -> bool {
    inner >= base && u64::from(inner) + u64::from(inner_size) <= u64::from(base) + u64::from(size)
}

/// The word at `at`. Callers have checked the length.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn bytes32(bytes: &[u8], at: usize) -> [u8; 32] {
    bytes.get(at..at + 32).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 32])
}

/// The name in a zero padded field of 32 bytes: 1 to 31 printable ASCII characters without blanks.
pub(super) fn name32(field: &[u8]) -> Option<String> {
    let length = field.iter().position(|&byte| byte == 0)?;
    let (name, padding) = field.split_at(length);
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) || padding.iter().any(|&byte| byte != 0) {
        return None;
    }
    String::from_utf8(name.to_vec()).ok()
}

//! Reads an image, trusting nothing in it.

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::layout::{self, header, memmap, section};
use super::{Image, MemoryMap, Region, Segment, identity};
use crate::abi::memory;

/// Why a file is not an image that this device can run. `section` counts from 0 in table order.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// The file ends before what it announces.
    #[error("truncated: {needed} bytes needed, the file has {found}")]
    Truncated {
        /// Bytes that must be there.
        needed: u64,
        /// Bytes that are.
        found: usize,
    },
    /// The file is longer than its header says, or longer than any image.
    #[error("the file has {found} bytes, its header says {stated}")]
    TooLong {
        /// Bytes of the file.
        found: usize,
        /// Total length field.
        stated: u32,
    },
    /// Not an image at all.
    #[error("not a NIC image (bad magic)")]
    Magic,
    /// An image for another device contract.
    #[error(
        "image has ABI {found}, this device has {}; rebuild it with `cargo xtask images`",
        layout::IMAGE_ABI
    )]
    Abi {
        /// ABI field.
        found: u32,
    },
    /// A flag or reserved byte that this version gives no meaning to.
    #[error("reserved bits set at offset {offset:#x}")]
    Reserved {
        /// Offset in the file.
        offset: usize,
    },
    /// The profile name is empty, unterminated or not printable ASCII.
    #[error("the profile name is not 1 to 31 printable ASCII characters, zero padded")]
    Profile,
    /// More or fewer sections than the format has.
    #[error("{found} sections, 1 to {} allowed", layout::MAX_SECTIONS)]
    SectionCount {
        /// Section count field.
        found: u32,
    },
    /// The image id does not match the bytes.
    #[error("image id does not match the file's SHA-256")]
    Id,
    /// A section kind this version does not know.
    #[error("section {section} has unknown kind {kind}")]
    SectionKind {
        /// Section number.
        section: u32,
        /// Kind field.
        kind: u32,
    },
    /// The same kind twice.
    #[error("section {section} is a second {kind}")]
    Duplicate {
        /// Section number.
        section: u32,
        /// Name of the kind.
        kind: &'static str,
    },
    /// A needed section is not there.
    #[error("no {kind} section")]
    Missing {
        /// Name of the kind.
        kind: &'static str,
    },
    /// An instruction set that the device does not run.
    #[error("section {section} has instruction set {isa}; this device runs rv32imc")]
    Isa {
        /// Section number.
        section: u32,
        /// Instruction set field.
        isa: u32,
    },
    /// Offset or address not aligned as the format wants.
    #[error("section {section} is misaligned ({field} {value:#x})")]
    Misaligned {
        /// Section number.
        section: u32,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// Bytes outside the file or inside header and table.
    #[error("section {section} lies outside the file")]
    OutOfFile {
        /// Section number.
        section: u32,
    },
    /// Two sections share bytes of the file.
    #[error("sections {first} and {second} overlap in the file")]
    Overlap {
        /// The one section's number.
        first: u32,
        /// The other's.
        second: u32,
    },
    /// The bytes of a section do not have the hash that its table entry states.
    #[error("section {section} does not match its SHA-256")]
    SectionHash {
        /// Section number.
        section: u32,
    },
    /// File size, memory size and kind do not go together.
    #[error("section {section} has wrong sizes: {file} bytes in the file, {memory} in memory")]
    Sizes {
        /// Section number.
        section: u32,
        /// File size field.
        file: u32,
        /// Memory size field.
        memory: u32,
    },
    /// A memory map entry that is unknown, doubled, missing or malformed.
    #[error("memory map: {why}")]
    MemoryMap {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The readable rules are not what a host could show.
    #[error("rules: {why}")]
    Rules {
        /// What is wrong with them.
        why: &'static str,
    },
    /// The program wants memory that the device does not have.
    #[error("{what} takes {size} bytes at {base:#010x}, which the device does not have")]
    OutOfMemory {
        /// Section or memory.
        what: &'static str,
        /// First address wanted.
        base: u32,
        /// Bytes wanted.
        size: u32,
    },
    /// The entry address is odd or outside the code.
    #[error("entry {entry:#010x} is not an instruction of the code section")]
    Entry {
        /// Entry field.
        entry: u32,
    },
    /// The stack top is misaligned or not above the data.
    #[error("stack top {top:#010x} is not a 16-byte aligned address above the data")]
    Stack {
        /// Stack top field.
        top: u32,
    },
}

/// A section table entry whose bytes lie in the file and match their hash.
struct Section<'a> {
    number: u32,
    kind: u32,
    isa: u32,
    address: u32,
    memory_size: u32,
    bytes: &'a [u8],
}

pub(super) fn parse(file: &[u8]) -> Result<Image, ImageError> {
    let count = check_header(file)?;
    let sections = read_sections(file, count)?;
    if identity(file) != bytes32(file, header::ID) {
        return Err(ImageError::Id);
    }
    let code = only(&sections, layout::CODE)?;
    let data = only(&sections, layout::DATA)?;
    let memory = read_memory_map(only(&sections, layout::MEMMAP)?)?;
    let rules = read_rules(only(&sections, layout::RULES)?)?;

    if code.isa != layout::ISA_RV32IMC {
        return Err(ImageError::Isa { section: code.number, isa: code.isa });
    }
    if data.isa != layout::ISA_NONE {
        return Err(ImageError::Isa { section: data.number, isa: data.isa });
    }
    if code.bytes.is_empty() || code.bytes.len() as u64 != u64::from(code.memory_size) {
        return Err(wrong_sizes(code));
    }
    if data.bytes.len() as u64 > u64::from(data.memory_size) {
        return Err(wrong_sizes(data));
    }
    for (what, segment, region) in [("code", code, memory.imem), ("data", data, memory.dmem)] {
        if !segment.address.is_multiple_of(4) {
            let (section, value) = (segment.number, segment.address);
            return Err(ImageError::Misaligned { section, field: "address", value });
        }
        if !contains(region.base, region.size, segment.address, segment.memory_size) {
            return Err(ImageError::OutOfMemory { what, base: segment.address, size: segment.memory_size });
        }
    }
    let entry = word(file, header::ENTRY);
    if !entry.is_multiple_of(2) || !contains(code.address, code.memory_size, entry, 2) {
        return Err(ImageError::Entry { entry });
    }
    let top = memory.stack_top;
    let data_end = data.address + data.memory_size;
    if !top.is_multiple_of(16) || top <= data_end || top > memory.dmem.base + memory.dmem.size {
        return Err(ImageError::Stack { top });
    }
    Ok(Image {
        id: bytes32(file, header::ID),
        program_hash: bytes32(file, header::PROGRAM),
        source_hash: bytes32(file, header::SOURCE),
        profile: read_profile(file)?,
        entry,
        code: to_segment(code),
        data: to_segment(data),
        memory,
        rules,
    })
}

/// Checks the fixed part and returns the number of sections, whose table is then inside the file.
fn check_header(file: &[u8]) -> Result<u32, ImageError> {
    if file.len() < header::SIZE {
        return Err(ImageError::Truncated { needed: header::SIZE as u64, found: file.len() });
    }
    if file[..8] != layout::MAGIC {
        return Err(ImageError::Magic);
    }
    let abi = word(file, header::ABI);
    if abi != layout::IMAGE_ABI {
        return Err(ImageError::Abi { found: abi });
    }
    let total = word(file, header::TOTAL);
    if (file.len() as u64) < u64::from(total) {
        return Err(ImageError::Truncated { needed: u64::from(total), found: file.len() });
    }
    if file.len() as u64 > u64::from(total) || file.len() > layout::MAX_FILE {
        return Err(ImageError::TooLong { found: file.len(), stated: total });
    }
    for offset in [header::FLAGS, header::RESERVED] {
        if word(file, offset) != 0 {
            return Err(ImageError::Reserved { offset });
        }
    }
    if let Some(set) = file[header::TAIL..header::SIZE].iter().position(|&byte| byte != 0) {
        return Err(ImageError::Reserved { offset: header::TAIL + set });
    }
    let count = word(file, header::SECTIONS);
    if count == 0 || count > layout::MAX_SECTIONS {
        return Err(ImageError::SectionCount { found: count });
    }
    let needed = table_end(count);
    if file.len() < needed {
        return Err(ImageError::Truncated { needed: needed as u64, found: file.len() });
    }
    Ok(count)
}

fn read_sections(file: &[u8], count: u32) -> Result<Vec<Section<'_>>, ImageError> {
    let mut sections = Vec::new();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in 0..count {
        let at = header::SIZE + number as usize * section::SIZE;
        let field = |offset: usize| word(file, at + offset);
        let (offset, size) = (field(section::OFFSET), field(section::FILE_SIZE));
        if !(offset as usize).is_multiple_of(layout::ALIGN) {
            return Err(ImageError::Misaligned { section: number, field: "offset", value: offset });
        }
        let (start, end) = (u64::from(offset), u64::from(offset) + u64::from(size));
        if start < table_end(count) as u64 || end > file.len() as u64 {
            return Err(ImageError::OutOfFile { section: number });
        }
        if let Some(other) = ranges.iter().position(|&(from, to)| start < to && from < end) {
            return Err(ImageError::Overlap { first: other as u32, second: number });
        }
        ranges.push((start, end));
        for reserved in [section::FLAGS, section::RESERVED] {
            if field(reserved) != 0 {
                return Err(ImageError::Reserved { offset: at + reserved });
            }
        }
        let kind = field(section::KIND);
        let Some(name) = kind_name(kind) else {
            return Err(ImageError::SectionKind { section: number, kind });
        };
        if sections.iter().any(|other: &Section<'_>| other.kind == kind) {
            return Err(ImageError::Duplicate { section: number, kind: name });
        }
        let bytes = &file[start as usize..end as usize];
        if Sha256::digest(bytes)[..] != file[at + section::SHA256..at + section::SIZE] {
            return Err(ImageError::SectionHash { section: number });
        }
        sections.push(Section {
            number,
            kind,
            isa: field(section::ISA),
            address: field(section::ADDRESS),
            memory_size: field(section::MEMORY_SIZE),
            bytes,
        });
    }
    Ok(sections)
}

fn read_memory_map(section: &Section<'_>) -> Result<MemoryMap, ImageError> {
    let refuse = |why| Err(ImageError::MemoryMap { why });
    if section.isa != layout::ISA_NONE || section.address != 0 || section.memory_size != 0 {
        return refuse("it has no instruction set, address or memory of its own");
    }
    if section.bytes.len() != 3 * memmap::SIZE {
        return refuse("it has three entries of 32 bytes");
    }
    let mut regions = [None; 3];
    let mut stack_top = 0;
    for entry in section.bytes.chunks_exact(memmap::SIZE) {
        let (what, base, size) = match word(entry, memmap::KIND) {
            layout::IMEM => ("instruction memory", memory::IMEM_BASE, memory::IMEM_SIZE),
            layout::DMEM => ("data memory", memory::DMEM_BASE, memory::DMEM_SIZE),
            layout::PACKET => ("packet memory", memory::PACKET_BASE, memory::PACKET_SIZE),
            _ => return refuse("unknown kind of memory"),
        };
        let kind = word(entry, memmap::KIND);
        let region = Region {
            base: word(entry, memmap::BASE),
            size: word(entry, memmap::REGION_SIZE),
            wait_states: word(entry, memmap::WAIT_STATES),
        };
        if !contains(base, size, region.base, region.size) {
            return Err(ImageError::OutOfMemory { what, base: region.base, size: region.size });
        }
        // A region that starts elsewhere would need its own address translation; this device has none.
        if region.base != base || region.size == 0 {
            return refuse("a region is empty or does not start at the base of its memory");
        }
        if region.wait_states > 255 {
            return refuse("more than 255 wait states");
        }
        if entry[memmap::RESERVED..].iter().any(|&byte| byte != 0) {
            return refuse("reserved bytes set");
        }
        if kind == layout::DMEM {
            stack_top = word(entry, memmap::STACK_TOP);
        } else if word(entry, memmap::STACK_TOP) != 0 {
            return refuse("a stack outside data memory");
        }
        let slot = &mut regions[kind as usize - 1];
        if slot.replace(region).is_some() {
            return refuse("the same memory twice");
        }
    }
    let [Some(imem), Some(dmem), Some(packet)] = regions else {
        return refuse("a memory is missing");
    };
    Ok(MemoryMap { imem, dmem, packet, stack_top })
}

/// Text is all that is asked of the rules here: what they mean is the reader's matter, and the file's hashes say that they are the ones
/// that the builder put in.
fn read_rules(section: &Section<'_>) -> Result<String, ImageError> {
    let refuse = |why| Err(ImageError::Rules { why });
    if section.isa != layout::ISA_NONE || section.address != 0 || section.memory_size != 0 {
        return refuse("they have no instruction set, address or memory: a device does not load them");
    }
    if section.bytes.is_empty() {
        return refuse("there are none");
    }
    if section.bytes.len() > layout::RULES_MAX {
        return refuse("more than 256 KiB");
    }
    match std::str::from_utf8(section.bytes) {
        // JSON has none, and a terminal that shows the rules may obey them.
        Ok(text) if text.contains(is_unprintable) => refuse("a control character"),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => refuse("not UTF-8"),
    }
}

fn is_unprintable(sign: char) -> bool {
    sign.is_control() && !matches!(sign, '\t' | '\n' | '\r')
}

fn read_profile(file: &[u8]) -> Result<String, ImageError> {
    let field = &file[header::PROFILE..header::PROFILE + 32];
    let length = field.iter().position(|&byte| byte == 0).ok_or(ImageError::Profile)?;
    let (name, padding) = field.split_at(length);
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) || padding.iter().any(|&byte| byte != 0) {
        return Err(ImageError::Profile);
    }
    String::from_utf8(name.to_vec()).map_err(|_| ImageError::Profile)
}

fn only<'s, 'a>(sections: &'s [Section<'a>], kind: u32) -> Result<&'s Section<'a>, ImageError> {
    let name = kind_name(kind).unwrap_or_default();
    sections.iter().find(|section| section.kind == kind).ok_or(ImageError::Missing { kind: name })
}

fn kind_name(kind: u32) -> Option<&'static str> {
    match kind {
        layout::CODE => Some("CODE"),
        layout::DATA => Some("DATA"),
        layout::MEMMAP => Some("MEMMAP"),
        layout::RULES => Some("RULES"),
        _ => None,
    }
}

fn wrong_sizes(section: &Section<'_>) -> ImageError {
    ImageError::Sizes {
        section: section.number,
        file: section.bytes.len() as u32,
        memory: section.memory_size,
    }
}

fn to_segment(section: &Section<'_>) -> Segment {
    Segment { address: section.address, bytes: section.bytes.to_vec(), memory_size: section.memory_size }
}

fn table_end(count: u32) -> usize {
    header::SIZE + count as usize * section::SIZE
}

/// Whether `[inner, inner + inner_size)` lies in `[base, base + size)`, in arithmetic that cannot wrap.
fn contains(base: u32, size: u32, inner: u32, inner_size: u32) -> bool {
    inner >= base && u64::from(inner) + u64::from(inner_size) <= u64::from(base) + u64::from(size)
}

/// The word at `at`. Callers have checked the length.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn bytes32(bytes: &[u8], at: usize) -> [u8; 32] {
    bytes.get(at..at + 32).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 32])
}

//! Reads an image, trusting nothing in it.

use super::layout::{self, header};
use super::table::{self, Section, bytes32, contains, word};
use super::{
    Image, ImageError, Isa, Member, Segment, config, contract, identity, manifest, memory_map, rules,
    signature,
};

pub(super) fn parse(file: &[u8]) -> Result<Image, ImageError> {
    let count = check_header(file)?;
    let sections = table::read(file, count)?;
    let sig = host_section(&sections, layout::SIG)?;
    let id = bytes32(file, header::ID);
    if identity(file, sig.offset) != id {
        return Err(ImageError::Id);
    }
    let contract = host_section(&sections, layout::CONTRACT)?;
    contract::check(contract.bytes)?;
    if contract.sha256 != bytes32(file, header::CONTRACT) {
        return Err(ImageError::ContractHash);
    }
    let entry = word(file, header::ENTRY);
    let rv64imac = match sections.iter().any(|section| section.isa == Isa::Rv64imac as u32) {
        true => Some(read_member(&sections, Isa::Rv64imac, entry)?),
        false => None,
    };
    let Member { code, data, memory } = read_member(&sections, Isa::Rv32imc, entry)?;
    let image = Image {
        id,
        program_hash: bytes32(file, header::PROGRAM),
        source_hash: bytes32(file, header::SOURCE),
        profile: table::name32(&file[header::PROFILE..header::PROFILE + 32]).ok_or(ImageError::Profile)?,
        entry,
        code,
        data,
        memory,
        rv64imac,
        rules: rules::read(host_section(&sections, layout::RULES)?)?,
        config: config::read(host_section(&sections, layout::CONFIG)?.bytes)?,
        manifest: manifest::read(host_section(&sections, layout::MANIFEST)?.bytes)?,
        signer: signature::read(sig.bytes, &id)?,
    };
    manifest::check(&image)?;
    Ok(image)
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
    let count = word(file, header::SECTIONS);
    if count == 0 || count > layout::MAX_SECTIONS {
        return Err(ImageError::SectionCount { found: count });
    }
    let needed = table::table_end(count);
    if file.len() < needed {
        return Err(ImageError::Truncated { needed: needed as u64, found: file.len() });
    }
    Ok(count)
}

/// The program for one instruction set: it fits the device, and its parts fit each other.
fn read_member(sections: &[Section<'_>], isa: Isa, entry: u32) -> Result<Member, ImageError> {
    let code = section(sections, layout::CODE, Some(isa))?;
    let data = section(sections, layout::DATA, Some(isa))?;
    let memory = memory_map::read(section(sections, layout::MEMMAP, Some(isa))?)?;
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
    if !entry.is_multiple_of(2) || !contains(code.address, code.memory_size, entry, 2) {
        return Err(ImageError::Entry { entry });
    }
    let top = memory.stack_top;
    let data_end = data.address + data.memory_size;
    if !top.is_multiple_of(16) || top <= data_end || top > memory.dmem.base + memory.dmem.size {
        return Err(ImageError::Stack { top });
    }
    let (bound, room) = (memory.stack_bound, top - data_end);
    if bound > room {
        return Err(ImageError::StackBound { bound, room });
    }
    Ok(Member { code: to_segment(code), data: to_segment(data), memory })
}

fn host_section<'s, 'a>(sections: &'s [Section<'a>], kind: u32) -> Result<&'s Section<'a>, ImageError> {
    section(sections, kind, None)
}

fn section<'s, 'a>(
    sections: &'s [Section<'a>],
    kind: u32,
    isa: Option<Isa>,
) -> Result<&'s Section<'a>, ImageError> {
    let number = isa.map_or(layout::ISA_NONE, |isa| isa as u32);
    let found = sections.iter().find(|section| (section.kind, section.isa) == (kind, number));
    found.ok_or_else(|| ImageError::Missing {
        kind: layout::kind_name(kind).unwrap_or_default(),
        isa: isa.map_or("", Isa::name),
    })
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

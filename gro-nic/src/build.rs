//! From the firmware's ELF file to an image.

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use thiserror::Error;

use crate::abi::memory;
use crate::image::{ImageBuilder, ImageError, MemoryMap, Region, Segment};

/// Wait states that a program must expect of packet memory, which host and device share.
const PACKET_WAIT_STATES: u32 = 1;

/// Why an ELF file does not become an image.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Not an ELF file.
    #[error("not an ELF file: {0}")]
    Elf(#[from] object::Error),
    /// Not the firmware: a symbol that the builder reads is not there.
    #[error("the ELF file has no symbol `{0}` with what the image needs; was it stripped?")]
    Symbol(&'static str),
    /// No segment for a memory.
    #[error("the ELF file has no segment at {0:#010x}")]
    Segment(u32),
    /// A segment that no memory takes.
    #[error("the ELF file has a segment at {0:#x}, where the device has no memory for it")]
    StraySegment(u64),
    /// Panic code is in the file, so a panic may be reachable.
    #[error("the ELF file has panic code (`{0}`); a device program has no panic path")]
    Panic(String),
    /// The parts do not make an image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Builds the image of a linked firmware. `rules` is the document of the parse graph in the sources that it was compiled from: only
/// the caller can know that it is that one. Equal ELF files and documents give equal images; nothing but segments, entry and
/// symbols is read, so paths, section names and debug information of the ELF file do not matter.
///
/// # Errors
/// The file is not the firmware, or the firmware does not fit the device, or the document is none that an image holds.
pub fn image_from_elf(elf: &[u8], rules: &str) -> Result<Vec<u8>, BuildError> {
    let elf = object::File::parse(elf)?;
    let mut code = None;
    let mut data = None;
    for segment in elf.segments() {
        let part = match segment.address() {
            address if address == u64::from(memory::IMEM_BASE) => &mut code,
            address if address == u64::from(memory::DMEM_BASE) => &mut data,
            address => return Err(BuildError::StraySegment(address)),
        };
        // The ELF class is 32 bit for whatever runs on this device; a larger size fails the image's own check.
        let memory_size = u32::try_from(segment.size()).unwrap_or(u32::MAX);
        let address = segment.address() as u32;
        *part = Some(Segment { address, bytes: segment.data()?.to_vec(), memory_size });
    }
    let code = code.ok_or(BuildError::Segment(memory::IMEM_BASE))?;
    let data = data.ok_or(BuildError::Segment(memory::DMEM_BASE))?;

    for symbol in elf.symbols() {
        let name = symbol.name()?;
        if name.contains("panic") || name.contains("rust_begin_unwind") {
            return Err(BuildError::Panic(name.to_owned()));
        }
    }
    let profile = constant(&elf, &code, "GRO_PROFILE")?;
    let length = profile.iter().position(|&byte| byte == 0).unwrap_or(profile.len());
    let builder = ImageBuilder {
        program_hash: constant(&elf, &code, "GRO_PROGRAM_HASH")?,
        source_hash: constant(&elf, &code, "GRO_SOURCE_HASH")?,
        profile: String::from_utf8_lossy(&profile[..length]).into_owned(),
        entry: u32::try_from(elf.entry()).unwrap_or(u32::MAX),
        code,
        data,
        memory: MemoryMap {
            imem: Region { base: memory::IMEM_BASE, size: memory::IMEM_SIZE, wait_states: 0 },
            dmem: Region { base: memory::DMEM_BASE, size: memory::DMEM_SIZE, wait_states: 0 },
            packet: Region {
                base: memory::PACKET_BASE,
                size: memory::PACKET_SIZE,
                wait_states: PACKET_WAIT_STATES,
            },
            stack_top: address(&elf, "__stack_top")?,
        },
        rules: rules.to_owned(),
    };
    Ok(builder.build()?)
}

/// The 32 bytes that the program has under this name.
fn constant(elf: &object::File<'_>, code: &Segment, name: &'static str) -> Result<[u8; 32], BuildError> {
    let start = address(elf, name)?.wrapping_sub(code.address) as usize;
    let bytes = code.bytes.get(start..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(BuildError::Symbol(name))
}

fn address(elf: &object::File<'_>, name: &'static str) -> Result<u32, BuildError> {
    let symbol = elf.symbol_by_name(name).ok_or(BuildError::Symbol(name))?;
    u32::try_from(symbol.address()).map_err(|_| BuildError::Symbol(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_firmware_is_refused() {
        assert!(matches!(image_from_elf(b"hello", "{}"), Err(BuildError::Elf(_))));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(image_from_elf(&own, "{}").is_err());
    }
}

//! From the firmware's ELF files to an image.

mod stack;

use object::{Architecture, Object as _, ObjectSegment as _, ObjectSymbol as _};
use thiserror::Error;

use crate::abi::memory;
use crate::image::{ImageBuilder, ImageError, Isa, Member, MemoryMap, Provenance, Region, Segment};

pub use stack::StackError;

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
    /// Two files that are not the same program.
    #[error("the rv32imc and the rv64imac file differ in {0}; they are not of the same sources")]
    Members(&'static str),
    /// A file for another processor.
    #[error("the ELF file is not for {0}")]
    Isa(&'static str),
    /// The program's stack has no bound.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The parts do not make an image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// The linked firmware, one ELF file an instruction set.
#[derive(Clone, Copy, Debug)]
pub struct Firmware<'a> {
    /// For rv32imc, which every image has.
    pub rv32imc: &'a [u8],
    /// The same for rv64imac.
    pub rv64imac: Option<&'a [u8]>,
}

/// Builds the image of a linked firmware. `rules` is the document of the parse graph in the sources that it was compiled from, and
/// `provenance` says with what: only the caller can know. Equal input gives equal images; nothing but segments, entry and
/// symbols of the ELF files is read, so paths, section names and debug information do not matter.
///
/// # Errors
/// A file is not the firmware, or the firmware does not fit the device, or document or provenance is none that an image holds.
pub fn image_from_elf(
    firmware: &Firmware<'_>,
    rules: &str,
    provenance: Provenance,
) -> Result<Vec<u8>, BuildError> {
    let first = Linked::read(firmware.rv32imc, Isa::Rv32imc)?;
    let second = firmware.rv64imac.map(|elf| Linked::read(elf, Isa::Rv64imac)).transpose()?;
    if let Some(second) = &second {
        let different = [
            ("program hash", first.program_hash != second.program_hash),
            ("source hash", first.source_hash != second.source_hash),
            ("profile", first.profile != second.profile),
            ("entry", first.entry != second.entry),
        ];
        if let Some((what, _)) = different.into_iter().find(|(_, differs)| *differs) {
            return Err(BuildError::Members(what));
        }
    }
    let Linked { program_hash, source_hash, profile, entry, member } = first;
    let Member { code, data, memory } = member;
    let builder = ImageBuilder {
        program_hash,
        source_hash,
        profile,
        entry,
        code,
        data,
        memory,
        rv64imac: second.map(|second| second.member),
        rules: rules.to_owned(),
        config: ImageBuilder::parameters(),
        provenance,
    };
    Ok(builder.build()?)
}

/// What one ELF file says.
struct Linked {
    program_hash: [u8; 32],
    source_hash: [u8; 32],
    profile: String,
    entry: u32,
    member: Member,
}

impl Linked {
    fn read(elf: &[u8], isa: Isa) -> Result<Self, BuildError> {
        let elf = object::File::parse(elf)?;
        let architecture = match isa {
            Isa::Rv32imc => Architecture::Riscv32,
            Isa::Rv64imac => Architecture::Riscv64,
        };
        if elf.architecture() != architecture {
            return Err(BuildError::Isa(isa.name()));
        }
        for symbol in elf.symbols() {
            let name = symbol.name()?;
            if name.contains("panic") || name.contains("rust_begin_unwind") {
                return Err(BuildError::Panic(name.to_owned()));
            }
        }
        let (code, data) = segments(&elf)?;
        let profile = constant(&elf, &code, "GRO_PROFILE")?;
        let length = profile.iter().position(|&byte| byte == 0).unwrap_or(profile.len());
        Ok(Self {
            program_hash: constant(&elf, &code, "GRO_PROGRAM_HASH")?,
            source_hash: constant(&elf, &code, "GRO_SOURCE_HASH")?,
            profile: String::from_utf8_lossy(&profile[..length]).into_owned(),
            entry: u32::try_from(elf.entry()).unwrap_or(u32::MAX),
            member: Member {
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
                    stack_bound: stack::bound(&elf)?,
                },
            },
        })
    }
}

/// The segments of instruction memory and data memory; no other is allowed.
fn segments(elf: &object::File<'_>) -> Result<(Segment, Segment), BuildError> {
    let mut code = None;
    let mut data = None;
    for segment in elf.segments() {
        let part = match segment.address() {
            address if address == u64::from(memory::IMEM_BASE) => &mut code,
            address if address == u64::from(memory::DMEM_BASE) => &mut data,
            address => return Err(BuildError::StraySegment(address)),
        };
        // A size that does not fit 32 bits fails the image's own check.
        let memory_size = u32::try_from(segment.size()).unwrap_or(u32::MAX);
        let address = segment.address() as u32;
        *part = Some(Segment { address, bytes: segment.data()?.to_vec(), memory_size });
    }
    let code = code.ok_or(BuildError::Segment(memory::IMEM_BASE))?;
    let data = data.ok_or(BuildError::Segment(memory::DMEM_BASE))?;
    Ok((code, data))
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
        let build = |rv32imc: &[u8]| {
            let firmware = Firmware { rv32imc, rv64imac: None };
            image_from_elf(&firmware, "{}", Provenance::default())
        };
        assert!(matches!(build(b"hello"), Err(BuildError::Elf(_))));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(matches!(build(&own), Err(BuildError::Isa("rv32imc"))));
    }
}

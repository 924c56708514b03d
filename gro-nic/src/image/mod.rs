//! The image container `.nicimg`: what a NIC program looks like as a file.
//!
//! [`Image::parse`] accepts exactly what `docs/nicimg.md` describes and refuses everything else with its reason;
//! [`ImageBuilder`] writes it. There is no loader on the device: a section is copied to its address, the rest of
//! its memory is zeroed, and the core starts at the entry address.

mod layout;
mod parse;
mod writer;

pub use layout::{IMAGE_ABI, MAGIC, MAX_FILE, RULES_MAX};
pub use parse::ImageError;
pub use writer::ImageBuilder;

use sha2::{Digest, Sha256};

/// A checked image: every section lies inside the device's memory, every hash is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 over the whole file with this field zeroed: the name of the artefact.
    pub id: [u8; 32],
    /// Program hash of the engine compiled into the image, as the builder stated it.
    pub program_hash: [u8; 32],
    /// Hash of the engine's sources that the program hash is made from.
    pub source_hash: [u8; 32],
    /// Profile name, such as `linux-6.18`.
    pub profile: String,
    /// Address of the first instruction.
    pub entry: u32,
    /// Code and constants, copied to instruction memory.
    pub code: Segment,
    /// Initialised data, copied to data memory; the rest of `memory_size` is zeroed.
    pub data: Segment,
    /// What the program takes of each memory.
    pub memory: MemoryMap,
    /// The rules in readable form: the document of the parse graph that the engine was generated from, as it is in its repository. It
    /// is for the host; the device never sees it.
    pub rules: String,
}

/// Bytes with an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Device address of the first byte.
    pub address: u32,
    /// What the file holds of it.
    pub bytes: Vec<u8>,
    /// Bytes in memory, at least `bytes.len()`; what the file does not hold is zero.
    pub memory_size: u32,
}

/// The memories a program uses, one region of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    /// Instruction memory.
    pub imem: Region,
    /// Data memory.
    pub dmem: Region,
    /// Packet memory.
    pub packet: Region,
    /// Initial stack pointer: the end of the stack, which grows down to the end of the data section.
    pub stack_top: u32,
}

/// One region of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub base: u32,
    /// Bytes.
    pub size: u32,
    /// Cycles that an access takes beyond the first.
    pub wait_states: u32,
}

impl Image {
    /// Reads an image and checks all of it.
    ///
    /// # Errors
    /// Anything that is not exactly an image of this format for this device; the error says what and where.
    pub fn parse(file: &[u8]) -> Result<Self, ImageError> {
        parse::parse(file)
    }

    /// Bytes of stack the image leaves between its data and the stack top.
    pub fn stack_size(&self) -> u32 {
        self.memory.stack_top - (self.data.address + self.data.memory_size)
    }
}

/// The image id: SHA-256 over the file with the id field read as zero. `file` must hold a whole header.
fn identity(file: &[u8]) -> [u8; 32] {
    let (start, end) = (layout::header::ID, layout::header::ID + 32);
    let mut hash = Sha256::new();
    hash.update(file.get(..start).unwrap_or_default());
    hash.update([0; 32]);
    hash.update(file.get(end..).unwrap_or_default());
    hash.finalize().into()
}

#[cfg(test)]
mod tests;

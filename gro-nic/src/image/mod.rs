//! The image container `.nicimg`: what a NIC program looks like as a file.
//!
//! [`Image::parse`] accepts exactly what `docs/nicimg.md` describes and refuses everything else with its reason;
//! [`ImageBuilder`] writes it. There is no loader on the device: a section is copied to its address, the rest of
//! its memory is zeroed, and the core starts at the entry address.

mod config;
mod contract;
mod error;
mod layout;
mod manifest;
mod memory_map;
mod parse;
mod rules;
mod signature;
mod table;
mod writer;

pub use config::{Parameter, ParameterKind};
pub use contract::{contract, contract_hash};
pub use error::ImageError;
pub use layout::{IMAGE_ABI, MAGIC, MANIFEST_MAX, MAX_FILE, RULES_MAX};
pub use manifest::{CodeHashes, ExpectedTrace, Hex, Manifest, Provenance, Toolchain, Twin};
pub use memory_map::{MemoryMap, Region};
pub use signature::{SignatureError, public_key, sign};
pub use writer::ImageBuilder;

use sha2::{Digest, Sha256};

/// A checked image: every section lies inside the device's memory, every hash is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// SHA-256 over the whole file with this field and the signature read as zero: the name of the artefact.
    pub id: [u8; 32],
    /// Program hash of the engine compiled into the image, as the builder stated it.
    pub program_hash: [u8; 32],
    /// Hash of the engine's sources that the program hash is made from.
    pub source_hash: [u8; 32],
    /// Profile name, such as `linux-6.18`.
    pub profile: String,
    /// Address of the first instruction, the same for every instruction set.
    pub entry: u32,
    /// Code and constants of the rv32imc program, copied to instruction memory.
    pub code: Segment,
    /// Its initialised data, copied to data memory; the rest of `memory_size` is zeroed.
    pub data: Segment,
    /// What the rv32imc program takes of each memory.
    pub memory: MemoryMap,
    /// The same program for a 64-bit core, where the image has it.
    pub rv64imac: Option<Member>,
    /// The rules in readable form: the document of the parse graph that the engine was generated from, as it is in its repository. It
    /// is for the host; the device never sees it.
    pub rules: String,
    /// What the host may set, with types and limits.
    pub config: Vec<Parameter>,
    /// Where the image comes from and what its program is expected to do.
    pub manifest: Manifest,
    /// Public key (ed25519) that the image is signed with, if it is. Anybody can sign: [`Image::verify_signature`] says whether it is
    /// the key that was meant.
    pub signer: Option<[u8; 32]>,
}

/// Instruction sets that an image can hold a program for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// 32 bit; every image has it, and the simulated device runs it.
    Rv32imc = 1,
    /// 64 bit; a second program of the same sources.
    Rv64imac = 2,
}

impl Isa {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Rv32imc, Self::Rv64imac];

    /// As the compiler's target has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rv32imc => "rv32imc",
            Self::Rv64imac => "rv64imac",
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| *isa as u32 == number)
    }
}

/// The program for one instruction set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Code and constants.
    pub code: Segment,
    /// Initialised data and the memory behind it.
    pub data: Segment,
    /// What the program takes of each memory.
    pub memory: MemoryMap,
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

impl Image {
    /// Nothing but a program, of no origin, for a machine that is to be checked itself. Code starts instruction memory and is entered at
    /// its first byte; the stack is all that data leave.
    pub(crate) fn of_program(code: Vec<u8>, data: Vec<u8>, packet: Region) -> Self {
        use crate::abi::memory::{DMEM_BASE, DMEM_SIZE, IMEM_BASE, IMEM_SIZE};
        let segment = |address, bytes: Vec<u8>| Segment { address, memory_size: bytes.len() as u32, bytes };
        Self {
            id: [0; 32],
            program_hash: [0; 32],
            source_hash: [0; 32],
            profile: "none".to_owned(),
            entry: IMEM_BASE,
            code: segment(IMEM_BASE, code),
            data: segment(DMEM_BASE, data),
            memory: MemoryMap {
                imem: Region { base: IMEM_BASE, size: IMEM_SIZE, wait_states: 0 },
                dmem: Region { base: DMEM_BASE, size: DMEM_SIZE, wait_states: 0 },
                packet,
                stack_top: DMEM_BASE + DMEM_SIZE,
                stack_bound: 0,
            },
            rv64imac: None,
            rules: "{}".to_owned(),
            config: Vec::new(),
            manifest: Manifest::default(),
            signer: None,
        }
    }

    /// Reads an image and checks all of it. This is the dry run of a load as well: what is accepted fits the device.
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

    /// The program for an instruction set (copies).
    pub fn member(&self, isa: Isa) -> Option<Member> {
        match isa {
            Isa::Rv32imc => {
                Some(Member { code: self.code.clone(), data: self.data.clone(), memory: self.memory })
            }
            Isa::Rv64imac => self.rv64imac.clone(),
        }
    }

    /// What a device measures that has loaded the rv32imc program.
    pub fn measurement(&self) -> [u8; 32] {
        self.code.measurement(&self.memory.imem)
    }

    /// What devices measure that have loaded one of its programs, for whichever instruction set.
    pub fn measurements(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        let member = |isa| self.member(isa).map(|member| member.code.measurement(&member.memory.imem));
        Isa::ALL.into_iter().filter_map(member)
    }

    /// Whether the image is signed with the private half of `key`.
    ///
    /// # Errors
    /// It is not signed, or with another key. That the signature is one of this image is checked by [`Image::parse`].
    pub fn verify_signature(&self, key: &[u8; 32]) -> Result<(), SignatureError> {
        match &self.signer {
            None => Err(SignatureError::Unsigned),
            Some(signer) if signer == key => Ok(()),
            Some(signer) => Err(SignatureError::OtherKey { signer: Hex(*signer) }),
        }
    }
}

impl Segment {
    /// SHA-256 over the whole memory `region` with this segment in it and zeros elsewhere: what a device measures that has loaded it.
    pub fn measurement(&self, region: &Region) -> [u8; 32] {
        // A region that no device has is refused elsewhere; it is not worth its size in zeros here.
        let size = region.size.min(crate::abi::memory::PACKET_SIZE) as usize;
        let before = (self.address.wrapping_sub(region.base) as usize).min(size);
        let room = size - before;
        let bytes = &self.bytes[..self.bytes.len().min(room)];
        let mut hash = Sha256::new();
        hash.update(vec![0; before]);
        hash.update(bytes);
        hash.update(vec![0; room - bytes.len()]);
        hash.finalize().into()
    }
}

/// The image id: SHA-256 over the file with the id field, and the bytes from `sig` on, read as zero. `file` must hold a whole header,
/// and the SIG section is its last.
fn identity(file: &[u8], sig: usize) -> [u8; 32] {
    let (start, end) = (layout::header::ID, layout::header::ID + 32);
    let mut hash = Sha256::new();
    hash.update(file.get(..start).unwrap_or_default());
    hash.update([0; 32]);
    hash.update(file.get(end..sig).unwrap_or_default());
    hash.update(vec![0; file.len().saturating_sub(sig)]);
    hash.finalize().into()
}

#[cfg(test)]
mod tests;

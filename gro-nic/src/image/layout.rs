//! Byte offsets of the container. The prose is in `docs/nicimg.md`.

/// First eight bytes of every image; the line ends show a file that was mangled as text.
pub const MAGIC: [u8; 8] = *b"NICIMG\r\n";
/// Version of the container and of the device contract it is for.
pub const IMAGE_ABI: u32 = crate::abi::ABI;

/// Alignment of header, table and sections.
pub(super) const ALIGN: usize = 64;
/// Most sections an image may have.
pub(super) const MAX_SECTIONS: u32 = 16;
/// Most bytes of the RULES section.
pub const RULES_MAX: usize = 256 * 1024;
/// Largest file that is looked at.
pub const MAX_FILE: usize = 1024 * 1024;

/// Offsets in the file header.
pub(super) mod header {
    pub(in super::super) const ABI: usize = 8;
    pub(in super::super) const TOTAL: usize = 12;
    pub(in super::super) const SECTIONS: usize = 16;
    pub(in super::super) const FLAGS: usize = 20;
    pub(in super::super) const ENTRY: usize = 24;
    pub(in super::super) const RESERVED: usize = 28;
    pub(in super::super) const ID: usize = 32;
    pub(in super::super) const PROGRAM: usize = 64;
    pub(in super::super) const SOURCE: usize = 96;
    pub(in super::super) const PROFILE: usize = 128;
    pub(in super::super) const TAIL: usize = 160;
    pub(in super::super) const SIZE: usize = 192;
}

/// Offsets in a section table entry.
pub(super) mod section {
    pub(in super::super) const KIND: usize = 0;
    pub(in super::super) const ISA: usize = 4;
    pub(in super::super) const ADDRESS: usize = 8;
    pub(in super::super) const OFFSET: usize = 12;
    pub(in super::super) const FILE_SIZE: usize = 16;
    pub(in super::super) const MEMORY_SIZE: usize = 20;
    pub(in super::super) const FLAGS: usize = 24;
    pub(in super::super) const RESERVED: usize = 28;
    pub(in super::super) const SHA256: usize = 32;
    pub(in super::super) const SIZE: usize = 64;
}

/// Offsets in a memory map entry.
pub(super) mod memmap {
    pub(in super::super) const KIND: usize = 0;
    pub(in super::super) const BASE: usize = 4;
    pub(in super::super) const REGION_SIZE: usize = 8;
    pub(in super::super) const WAIT_STATES: usize = 12;
    pub(in super::super) const STACK_TOP: usize = 16;
    pub(in super::super) const RESERVED: usize = 20;
    pub(in super::super) const SIZE: usize = 32;
}

/// Section kinds.
pub(super) const CODE: u32 = 1;
pub(super) const DATA: u32 = 2;
pub(super) const MEMMAP: u32 = 3;
pub(super) const RULES: u32 = 4;

/// Instruction sets.
pub(super) const ISA_NONE: u32 = 0;
pub(super) const ISA_RV32IMC: u32 = 1;

/// Memory kinds.
pub(super) const IMEM: u32 = 1;
pub(super) const DMEM: u32 = 2;
pub(super) const PACKET: u32 = 3;

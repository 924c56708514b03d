//! Byte offsets and numbers of the container. The prose is in `docs/nicimg.md`.

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
/// Most bytes of the MANIFEST section.
pub const MANIFEST_MAX: usize = 64 * 1024;
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
    pub(in super::super) const CONTRACT: usize = 160;
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

/// Bits of a section's flags.
pub(super) mod flag {
    /// The device copies the section to its address.
    pub(in super::super) const LOAD: u32 = 1;
    /// The program may write there.
    pub(in super::super) const WRITE: u32 = 2;
    /// The program may execute there.
    pub(in super::super) const EXECUTE: u32 = 4;
}

/// Offsets in a memory map entry.
pub(super) mod memmap {
    pub(in super::super) const KIND: usize = 0;
    pub(in super::super) const BASE: usize = 4;
    pub(in super::super) const REGION_SIZE: usize = 8;
    pub(in super::super) const WAIT_STATES: usize = 12;
    pub(in super::super) const STACK_TOP: usize = 16;
    pub(in super::super) const STACK_BOUND: usize = 20;
    pub(in super::super) const RESERVED: usize = 24;
    pub(in super::super) const SIZE: usize = 32;
}

/// Offsets in an entry of the configuration schema.
pub(super) mod parameter {
    pub(in super::super) const NAME: usize = 0;
    pub(in super::super) const REGISTER: usize = 32;
    pub(in super::super) const KIND: usize = 36;
    pub(in super::super) const MIN: usize = 40;
    pub(in super::super) const MAX: usize = 44;
    pub(in super::super) const DEFAULT: usize = 48;
    pub(in super::super) const RESERVED: usize = 52;
    pub(in super::super) const SIZE: usize = 64;
}

/// Offsets in the SIG section.
pub(super) mod signature {
    pub(in super::super) const KEY: usize = 0;
    pub(in super::super) const SIGNATURE: usize = 32;
    pub(in super::super) const RESERVED: usize = 96;
    pub(in super::super) const SIZE: usize = 128;
}

/// Section kinds, in the order in which a file has them.
pub(super) const CODE: u32 = 1;
pub(super) const DATA: u32 = 2;
pub(super) const MEMMAP: u32 = 3;
pub(super) const RULES: u32 = 4;
pub(super) const CONTRACT: u32 = 5;
pub(super) const CONFIG: u32 = 6;
pub(super) const MANIFEST: u32 = 7;
pub(super) const SIG: u32 = 8;

/// Name of a section kind.
pub(super) fn kind_name(kind: u32) -> Option<&'static str> {
    const NAMES: [&str; 8] = ["CODE", "DATA", "MEMMAP", "RULES", "ABI", "CONFIG", "MANIFEST", "SIG"];
    NAMES.get((kind as usize).wrapping_sub(1)).copied()
}

/// What a section that the device loads is for; 0 for those that only the host reads.
pub(super) fn flags_of(kind: u32) -> u32 {
    match kind {
        CODE => flag::LOAD | flag::EXECUTE,
        DATA => flag::LOAD | flag::WRITE,
        _ => 0,
    }
}

/// Whether a kind comes once for each instruction set.
pub(super) fn is_of_member(kind: u32) -> bool {
    matches!(kind, CODE | DATA | MEMMAP)
}

/// Instruction set field of a section that has none.
pub(super) const ISA_NONE: u32 = 0;

/// Memory kinds.
pub(super) const IMEM: u32 = 1;
pub(super) const DMEM: u32 = 2;
pub(super) const PACKET: u32 = 3;

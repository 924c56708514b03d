//! Why a file is no image, in words that say where.

use thiserror::Error;

use super::layout;

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
    /// The image states another layout of registers and descriptors under the same ABI number.
    #[error(
        "the image's register and descriptor layout is another one: it has `{found}` where this device has `{expected}`"
    )]
    Contract {
        /// First row of the image's table that differs, or nothing if the table ends there.
        found: String,
        /// The row of this device's table.
        expected: String,
    },
    /// The header names another layout than the ABI section has.
    #[error("the header's layout hash is not that of the ABI section")]
    ContractHash,
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
    /// The same kind twice, of the same instruction set where it has one.
    #[error("section {section} is a second {kind}")]
    Duplicate {
        /// Section number.
        section: u32,
        /// Name of the kind.
        kind: &'static str,
    },
    /// The table is not in ascending order of kind and instruction set.
    #[error("section {section} ({kind}) stands behind one that comes after it")]
    Order {
        /// Section number.
        section: u32,
        /// Name of the kind.
        kind: &'static str,
    },
    /// A needed section is not there.
    #[error("no {kind} section{}{isa}", if isa.is_empty() { "" } else { " for " })]
    Missing {
        /// Name of the kind.
        kind: &'static str,
        /// Name of the instruction set, where the kind has one.
        isa: &'static str,
    },
    /// An instruction set that the format does not know.
    #[error("section {section} has instruction set {isa}; known are 1 (rv32imc) and 2 (rv64imac)")]
    Isa {
        /// Section number.
        section: u32,
        /// Instruction set field.
        isa: u32,
    },
    /// A section that the device does not load has an address or the like.
    #[error(
        "section {section} ({kind}) has an instruction set, address or memory; a device does not load it"
    )]
    NotLoaded {
        /// Section number.
        section: u32,
        /// Name of the kind.
        kind: &'static str,
    },
    /// Flags that do not go with the kind.
    #[error("section {section} has flags {found:#x}, a {kind} section has {expected:#x}")]
    Flags {
        /// Section number.
        section: u32,
        /// Name of the kind.
        kind: &'static str,
        /// Flags field.
        found: u32,
        /// What the kind has.
        expected: u32,
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
    /// A section does not follow the one before it.
    #[error("section {section} starts at {found:#x}, the one before it ends at {expected:#x}")]
    Gap {
        /// Section number.
        section: u32,
        /// Its offset.
        found: u32,
        /// Where it must start.
        expected: u32,
    },
    /// Bytes behind the last section.
    #[error("{0} bytes behind the last section")]
    Trailing(usize),
    /// A byte between two sections that is not zero.
    #[error("padding is not zero at offset {offset:#x}")]
    Padding {
        /// Offset in the file.
        offset: usize,
    },
    /// The bytes of a section do not have the hash that its table entry states.
    #[error("section {section} ({kind}) does not match its SHA-256")]
    SectionHash {
        /// Section number.
        section: u32,
        /// Name of the kind.
        kind: &'static str,
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
    /// The configuration schema contradicts itself, or this device's registers.
    #[error("configuration schema: {name}: {why}")]
    Schema {
        /// Name of the parameter.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The manifest is not one, or says something else than the image.
    #[error("manifest: {why}")]
    Manifest {
        /// What is wrong with it.
        why: String,
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
    /// The program may use more stack than there is.
    #[error("the program may use {bound} bytes of stack, between data and stack top are {room}")]
    StackBound {
        /// Stack bound field.
        bound: u32,
        /// Bytes there are.
        room: u32,
    },
    /// The signature slot has something else than a signature of this image, or nothing.
    #[error("signature: {why}")]
    Signature {
        /// What is wrong with it.
        why: &'static str,
    },
}

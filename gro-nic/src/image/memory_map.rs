//! MEMMAP: what a program takes of each memory.

use super::ImageError;
use super::layout::{self, memmap};
use super::table::{Section, contains, put, word};
use crate::abi::memory;

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
    /// Most bytes of stack that the program uses, by its builder's analysis; at most what lies between data and stack top.
    pub stack_bound: u32,
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

pub(super) fn read(section: &Section<'_>) -> Result<MemoryMap, ImageError> {
    let refuse = |why| Err(ImageError::MemoryMap { why });
    if section.bytes.len() != 3 * memmap::SIZE {
        return refuse("it has three entries of 32 bytes");
    }
    let mut regions = [None; 3];
    let mut stack = (0, 0);
    for (index, entry) in section.bytes.chunks_exact(memmap::SIZE).enumerate() {
        let kind = word(entry, memmap::KIND);
        let (what, base, size) = match kind {
            layout::IMEM => ("instruction memory", memory::IMEM_BASE, memory::IMEM_SIZE),
            layout::DMEM => ("data memory", memory::DMEM_BASE, memory::DMEM_SIZE),
            layout::PACKET => ("packet memory", memory::PACKET_BASE, memory::PACKET_SIZE),
            _ => return refuse("unknown kind of memory"),
        };
        if kind as usize != index + 1 {
            return refuse("its entries are not instruction, data and packet memory in this order");
        }
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
        if !region.size.is_multiple_of(4) {
            return refuse("a region is no whole number of words");
        }
        if region.wait_states > 255 {
            return refuse("more than 255 wait states");
        }
        if entry[memmap::RESERVED..].iter().any(|&byte| byte != 0) {
            return refuse("reserved bytes set");
        }
        let (top, bound) = (word(entry, memmap::STACK_TOP), word(entry, memmap::STACK_BOUND));
        if kind == layout::DMEM {
            stack = (top, bound);
        } else if (top, bound) != (0, 0) {
            return refuse("a stack outside data memory");
        }
        regions[index] = Some(region);
    }
    let [Some(imem), Some(dmem), Some(packet)] = regions else {
        return refuse("a memory is missing");
    };
    Ok(MemoryMap { imem, dmem, packet, stack_top: stack.0, stack_bound: stack.1 })
}

impl MemoryMap {
    /// The section's bytes.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let regions = [
            (layout::IMEM, self.imem, 0, 0),
            (layout::DMEM, self.dmem, self.stack_top, self.stack_bound),
            (layout::PACKET, self.packet, 0, 0),
        ];
        let mut bytes = Vec::new();
        for (kind, Region { base, size, wait_states }, stack_top, stack_bound) in regions {
            let mut entry = [0; memmap::SIZE];
            put(&mut entry, memmap::KIND, kind);
            put(&mut entry, memmap::BASE, base);
            put(&mut entry, memmap::REGION_SIZE, size);
            put(&mut entry, memmap::WAIT_STATES, wait_states);
            put(&mut entry, memmap::STACK_TOP, stack_top);
            put(&mut entry, memmap::STACK_BOUND, stack_bound);
            bytes.extend_from_slice(&entry);
        }
        bytes
    }
}

//! Memories and registers behind the core's loads and stores.

use crate::abi::memory::{self, MMIO_BASE, MMIO_DEVICE, MMIO_SIZE};
use crate::image::{Image, Region, Segment};

use super::WaitStates;
use super::cpu::Fault;

/// The device's memories. The core's accesses are checked for range, alignment and permission; the host's, which go
/// through the methods named after memories, are not slowed by wait states and may write everything.
#[derive(Debug)]
pub struct Bus {
    imem: Memory,
    dmem: Memory,
    packet: Memory,
    registers: [u32; (MMIO_SIZE / 4) as usize],
    register_wait: u64,
}

/// One memory with the time an access to it takes.
#[derive(Debug)]
struct Memory {
    base: u32,
    bytes: Vec<u8>,
    wait_states: u64,
}

impl Bus {
    /// Memories of the sizes that the image asks for, loaded with it.
    pub(super) fn new(image: &Image, wait: WaitStates) -> Self {
        let mut imem = Memory::new(image.memory.imem);
        let mut dmem = Memory::new(image.memory.dmem);
        imem.load(&image.code);
        dmem.load(&image.data);
        Self {
            imem,
            dmem,
            packet: Memory::new(Region { wait_states: wait.packet, ..image.memory.packet }),
            registers: [0; (MMIO_SIZE / 4) as usize],
            register_wait: u64::from(wait.registers.min(WaitStates::MAX)),
        }
    }

    /// Instruction memory, for the decoder and for measuring what was loaded.
    pub fn imem(&self) -> &[u8] {
        &self.imem.bytes
    }

    /// Data memory: the engine's state and the stack.
    pub fn dmem(&self) -> &[u8] {
        &self.dmem.bytes
    }

    /// Data memory, to be written.
    #[cfg(test)]
    pub(crate) fn dmem_mut(&mut self) -> &mut [u8] {
        &mut self.dmem.bytes
    }

    /// Packet memory: rings, scatter table, header entries.
    pub fn packet(&self) -> &[u8] {
        &self.packet.bytes
    }

    /// Packet memory, to be written.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        &mut self.packet.bytes
    }

    /// The register at byte `offset` of the register page; 0 outside the page.
    pub fn register(&self, offset: u32) -> u32 {
        self.registers.get(offset as usize / 4).copied().unwrap_or(0)
    }

    /// Writes the register at byte `offset`; nothing happens outside the page.
    pub fn set_register(&mut self, offset: u32, value: u32) {
        if let Some(register) = self.registers.get_mut(offset as usize / 4) {
            *register = value;
        }
    }

    /// A load of `SIZE` (1, 2 or 4) bytes, zero extended.
    #[inline(always)]
    pub(super) fn load<const SIZE: usize>(&self, address: u32) -> Result<(u32, u64), Fault> {
        if !(address as usize).is_multiple_of(SIZE) {
            return Err(Fault::Misaligned { address, size: SIZE as u32 });
        }
        for memory in [&self.dmem, &self.packet, &self.imem] {
            if let Some(bytes) = memory.get::<SIZE>(address) {
                let mut word = [0; 4];
                word[..SIZE].copy_from_slice(bytes);
                return Ok((u32::from_le_bytes(word), memory.wait_states));
            }
        }
        self.load_register(address, SIZE as u32)
    }

    /// A store of the low `SIZE` (1, 2 or 4) bytes of `value`.
    #[inline(always)]
    pub(super) fn store<const SIZE: usize>(&mut self, address: u32, value: u32) -> Result<u64, Fault> {
        if !(address as usize).is_multiple_of(SIZE) {
            return Err(Fault::Misaligned { address, size: SIZE as u32 });
        }
        for memory in [&mut self.dmem, &mut self.packet] {
            let wait_states = memory.wait_states;
            if let Some(bytes) = memory.get_mut::<SIZE>(address) {
                bytes.copy_from_slice(&value.to_le_bytes()[..SIZE]);
                return Ok(wait_states);
            }
        }
        self.store_register(address, SIZE as u32, value)
    }

    #[cold]
    #[inline(never)]
    fn load_register(&self, address: u32, size: u32) -> Result<(u32, u64), Fault> {
        let offset = address.wrapping_sub(MMIO_BASE);
        if size != 4 || offset >= MMIO_SIZE {
            return Err(Fault::Load { address, size });
        }
        Ok((self.register(offset), self.register_wait))
    }

    #[cold]
    #[inline(never)]
    fn store_register(&mut self, address: u32, size: u32, value: u32) -> Result<u64, Fault> {
        let offset = address.wrapping_sub(MMIO_BASE);
        if size != 4 || !(MMIO_DEVICE..MMIO_SIZE).contains(&offset) {
            return Err(Fault::Store { address, size });
        }
        self.set_register(offset, value);
        Ok(self.register_wait)
    }
}

impl Memory {
    fn new(region: Region) -> Self {
        Self {
            base: region.base,
            bytes: vec![0; region.size as usize],
            wait_states: u64::from(region.wait_states.min(WaitStates::MAX)),
        }
    }

    /// Copies a segment to its place. A parsed image lies inside its memories; what does not is left out.
    fn load(&mut self, segment: &Segment) {
        let start = segment.address.wrapping_sub(self.base) as usize;
        if let Some(place) = self.bytes.get_mut(start..).and_then(|rest| rest.get_mut(..segment.bytes.len()))
        {
            place.copy_from_slice(&segment.bytes);
        }
    }

    #[inline(always)]
    fn get<const SIZE: usize>(&self, address: u32) -> Option<&[u8; SIZE]> {
        let start = address.wrapping_sub(self.base) as usize;
        self.bytes.get(start..start.wrapping_add(SIZE))?.first_chunk()
    }

    #[inline(always)]
    fn get_mut<const SIZE: usize>(&mut self, address: u32) -> Option<&mut [u8; SIZE]> {
        let start = address.wrapping_sub(self.base) as usize;
        self.bytes.get_mut(start..start.wrapping_add(SIZE))?.first_chunk_mut()
    }
}

const _: () = assert!(memory::PACKET_BASE as u64 + memory::PACKET_SIZE as u64 <= u32::MAX as u64);

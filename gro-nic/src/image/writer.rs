//! Writes an image: header, section table, then the sections in a fixed order, so that equal input gives equal bytes.

use sha2::{Digest, Sha256};

use super::layout::{self, header, memmap, section};
use super::{Image, ImageError, MemoryMap, Region, Segment, identity};

/// The parts of an image, to be written as a file.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    /// Program hash of the engine in the code.
    pub program_hash: [u8; 32],
    /// Source hash of the engine in the code.
    pub source_hash: [u8; 32],
    /// Profile name, ASCII, 1 to 31 bytes.
    pub profile: String,
    /// Address of the first instruction.
    pub entry: u32,
    /// Code and constants.
    pub code: Segment,
    /// Initialised data and the memory behind it.
    pub data: Segment,
    /// Memories the program uses.
    pub memory: MemoryMap,
    /// The document of the parse graph, 1 byte to [`super::RULES_MAX`].
    pub rules: String,
}

impl ImageBuilder {
    /// The file's bytes.
    ///
    /// # Errors
    /// What [`Image::parse`] would say of the result: a builder cannot write what a loader refuses.
    pub fn build(&self) -> Result<Vec<u8>, ImageError> {
        if self.profile.len() > 31 {
            return Err(ImageError::Profile);
        }
        let memmap = self.memory_map();
        let sections = [
            (
                layout::CODE,
                layout::ISA_RV32IMC,
                self.code.address,
                &self.code.bytes[..],
                self.code.memory_size,
            ),
            (layout::DATA, layout::ISA_NONE, self.data.address, &self.data.bytes[..], self.data.memory_size),
            (layout::MEMMAP, layout::ISA_NONE, 0, &memmap[..], 0),
            (layout::RULES, layout::ISA_NONE, 0, self.rules.as_bytes(), 0),
        ];
        let mut table = Vec::new();
        let mut body = Vec::new();
        let start = header::SIZE + sections.len() * section::SIZE;
        for (kind, isa, address, bytes, memory_size) in sections {
            let mut entry = [0; section::SIZE];
            put(&mut entry, section::KIND, kind);
            put(&mut entry, section::ISA, isa);
            put(&mut entry, section::ADDRESS, address);
            put(&mut entry, section::OFFSET, (start + body.len()) as u32);
            put(&mut entry, section::FILE_SIZE, bytes.len() as u32);
            put(&mut entry, section::MEMORY_SIZE, memory_size);
            entry[section::SHA256..].copy_from_slice(&Sha256::digest(bytes));
            table.extend_from_slice(&entry);
            body.extend_from_slice(bytes);
            body.resize(body.len().next_multiple_of(layout::ALIGN), 0);
        }

        let mut file = vec![0; header::SIZE];
        file[..8].copy_from_slice(&layout::MAGIC);
        put(&mut file, header::ABI, layout::IMAGE_ABI);
        put(&mut file, header::TOTAL, (start + body.len()) as u32);
        put(&mut file, header::SECTIONS, sections.len() as u32);
        put(&mut file, header::ENTRY, self.entry);
        file[header::PROGRAM..header::PROGRAM + 32].copy_from_slice(&self.program_hash);
        file[header::SOURCE..header::SOURCE + 32].copy_from_slice(&self.source_hash);
        file[header::PROFILE..header::PROFILE + self.profile.len()].copy_from_slice(self.profile.as_bytes());
        file.extend_from_slice(&table);
        file.extend_from_slice(&body);
        let id = identity(&file);
        file[header::ID..header::ID + 32].copy_from_slice(&id);

        Image::parse(&file)?;
        Ok(file)
    }

    fn memory_map(&self) -> Vec<u8> {
        let memory = &self.memory;
        let regions = [
            (layout::IMEM, memory.imem, 0),
            (layout::DMEM, memory.dmem, memory.stack_top),
            (layout::PACKET, memory.packet, 0),
        ];
        let mut bytes = Vec::new();
        for (kind, Region { base, size, wait_states }, stack_top) in regions {
            let mut entry = [0; memmap::SIZE];
            put(&mut entry, memmap::KIND, kind);
            put(&mut entry, memmap::BASE, base);
            put(&mut entry, memmap::REGION_SIZE, size);
            put(&mut entry, memmap::WAIT_STATES, wait_states);
            put(&mut entry, memmap::STACK_TOP, stack_top);
            bytes.extend_from_slice(&entry);
        }
        bytes
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

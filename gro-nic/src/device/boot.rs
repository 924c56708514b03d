//! The boot ROM: reads an image that the host put into packet memory, refuses it with a number, or loads it.

use sha2::{Digest as _, Sha256};

use super::{Device, Place};
use crate::abi::{bar, core_state, load, memory};
use crate::image::{Image, ImageError};
use crate::machine::Core;

impl<C: Core> Device<C> {
    /// The doorbell of the boot ROM.
    pub(super) fn update(&mut self) -> u32 {
        if self.state >= core_state::RUNNING {
            return load::BUSY;
        }
        let (address, size) = (self.image_address, self.image_size);
        if !address.is_multiple_of(64)
            || address > memory::PACKET_SIZE
            || size > memory::PACKET_SIZE - address
        {
            return load::PLACE;
        }
        let mut file = vec![0; size as usize];
        self.read_packet(address, &mut file);
        let image = match Image::parse(&file) {
            Ok(image) => image,
            Err(error) => return refusal(&error),
        };
        match self.socket.as_mut().map(|socket| socket(&image)) {
            Some(Ok(core)) => {
                self.place = Place::Core(core);
                self.loaded(image);
                load::LOADED
            }
            Some(Err(_)) | None => load::CORE,
        }
    }

    pub(super) fn loaded(&mut self, image: Image) {
        self.used = false;
        if let Place::Core(core) = &self.place {
            self.measurement = measure(core, &image);
        }
        self.image = Some(image);
        self.state = core_state::RESET;
        self.load_status = load::LOADED;
    }

    /// Reset line of the core. In reset its memories can still be read; when it is released they are made what they were after the load.
    pub(super) fn control(&mut self, run: bool) {
        match self.state {
            core_state::EMPTY => {}
            core_state::RESET if run => self.release(),
            core_state::RESET => {}
            _ if run => {}
            _ => {
                self.state = core_state::RESET;
                // Rings and free list start anew.
                self.port.reset();
            }
        }
    }

    fn release(&mut self) {
        self.stop_pc = 0;
        self.state = core_state::RUNNING;
        if !std::mem::replace(&mut self.used, true) {
            return;
        }
        let page: Vec<u32> = (0..bar::START).step_by(4).map(|offset| self.read(offset)).collect();
        match (&mut self.socket, &self.image) {
            (Some(socket), Some(image)) => match socket(image) {
                Ok(mut core) => {
                    for (offset, value) in (0..).step_by(4).zip(page) {
                        core.set_register(offset, value);
                    }
                    self.place = Place::Core(core);
                }
                Err(_) => self.state = core_state::LOST,
            },
            // Loaded by other means, which are needed again.
            _ => self.state = core_state::LOST,
        }
    }
}

/// What the host reads when the image is refused.
pub(super) fn refusal(error: &ImageError) -> u32 {
    use ImageError as E;
    match error {
        E::Truncated { .. } => load::TRUNCATED,
        E::TooLong { .. } => load::TOO_LONG,
        E::Magic => load::MAGIC,
        E::Abi { .. } | E::Contract { .. } | E::ContractHash => load::ABI,
        E::Reserved { .. } => load::RESERVED,
        E::Id => load::ID,
        E::SectionHash { .. } => load::SECTION_HASH,
        E::SectionCount { .. }
        | E::SectionKind { .. }
        | E::Duplicate { .. }
        | E::Missing { .. }
        | E::Misaligned { .. }
        | E::OutOfFile { .. }
        | E::Overlap { .. }
        | E::Order { .. }
        | E::Flags { .. }
        | E::Gap { .. }
        | E::Trailing(_)
        | E::Padding { .. }
        | E::Sizes { .. } => load::SECTIONS,
        E::Isa { .. } | E::NotLoaded { .. } => load::ISA,
        E::MemoryMap { .. } | E::OutOfMemory { .. } => load::MEMORY,
        E::Entry { .. } | E::Stack { .. } | E::StackBound { .. } => load::START,
        // What the host reads and the core does not.
        E::Profile | E::Rules { .. } | E::Schema { .. } | E::Manifest { .. } | E::Signature { .. } => {
            load::DOCUMENTS
        }
    }
}

/// The number in words.
pub fn load_status(status: u32) -> &'static str {
    match status {
        load::NONE => "nothing was loaded",
        load::LOADED => "loaded",
        load::BUSY => "the core runs",
        load::PLACE => "address or size are not in packet memory",
        load::CORE => "the core did not take it",
        load::TRUNCATED => "the file is truncated",
        load::TOO_LONG => "the file is too long",
        load::MAGIC => "not a NIC image",
        load::ABI => "another ABI",
        load::RESERVED => "reserved bits are set",
        load::ID => "the image id is not that of the bytes",
        load::SECTION_HASH => "a section's hash is not that of its bytes",
        load::SECTIONS => "the section table is wrong",
        load::ISA => "an instruction set that the core does not run",
        load::MEMORY => "the memory map is wrong, or asks for more memory than there is",
        load::START => "entry or stack lie wrong",
        load::DOCUMENTS => "profile name, rules or another part for the host are wrong",
        _ => "unknown status",
    }
}

/// SHA-256 over the instruction memory of a core, as it reads back.
pub(super) fn measure<C: Core>(core: &C, image: &Image) -> [u8; 32] {
    let mut imem = vec![0; image.memory.imem.size as usize];
    core.read_code(0, &mut imem);
    Sha256::digest(&imem).into()
}

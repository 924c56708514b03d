//! Runs an image that somebody forged, and looks whether it stayed where it belongs.

use crate::fuzz::{Frames, Random, batch};
use crate::trace::Frame;
use gro_core::Meta;
use gro_nic::abi::{self, memory, packet, register};
use gro_nic::machine::{Core as _, CoreError, Fault, Machine, Trap};
use gro_nic::{Image, Nic, NicConfig, NicError};

/// Instructions after which a run is ended: about ten times what the frames below need.
const BUDGET: u64 = 100_000;

/// What an image is fed with.
pub(super) struct Feed {
    frames: Vec<Frame>,
    config: NicConfig,
}

impl Feed {
    /// The same frames in every run: TCP and UDP that merges, fragments, tunnels, nonsense.
    pub(super) fn new() -> Self {
        let mut random = Random(6);
        let mut frames = Vec::new();
        while frames.len() < 24 {
            frames.extend(batch(&mut random, Frames::Mixed));
        }
        frames.truncate(24);
        let config = NicConfig {
            rx_entries: 32,
            completion_entries: 8,
            buffers: 64,
            run_limit: BUDGET,
            ..NicConfig::default()
        };
        Self { frames, config }
    }

    /// The image behind the driver: how it ended, in a word or two.
    ///
    /// # Errors
    /// What an honest host may never see: a packet that was not posted.
    pub(super) fn drive(&self, image: &Image) -> Result<&'static str, String> {
        let mut nic = match Nic::new(image, &self.config) {
            Ok(nic) => nic,
            Err(error) => return Ok(ended(&error)),
        };
        let mut packets = 0;
        for poll in self.frames.chunks(12) {
            for frame in poll {
                let meta = Meta { hash: frame.hash, ..Meta::default() };
                nic.post(frame.bytes.clone(), meta);
            }
            nic.poll_end();
            let result = nic.deliver(&mut |delivered| {
                packets += delivered.segs as usize;
                // What a stack does with it: every slice is looked at.
                std::hint::black_box(delivered.to_vec());
            });
            if packets > self.frames.len() {
                return Err(format!("{packets} frames came out of {}", self.frames.len()));
            }
            if let Err(error) = result {
                return Ok(ended(&error));
            }
        }
        Ok("ran to the end")
    }

    /// The image on the bare machine, with descriptors and headers in its memory.
    ///
    /// # Errors
    /// It changed its code, or a register of the host.
    pub(super) fn run(&self, image: &Image) -> Result<(), String> {
        self.run_on(image).map(drop)
    }

    /// As [`Feed::run`]; gives the machine back.
    fn run_on(&self, image: &Image) -> Result<Machine, String> {
        let mut machine = Machine::new(image);
        let code = machine.bus().imem().to_vec();
        for (index, frame) in self.frames.iter().enumerate() {
            let at = (packet::HEADERS + packet::HEADER_STRIDE * index as u32 + packet::HEADER_START) as usize;
            let length = frame.bytes.len().min(packet::HEADER_BYTES as usize);
            write(&mut machine, at, &frame.bytes[..length]);
            let words =
                [abi::event::RX | (index as u32) << 16, frame.bytes.len() as u32 & 0xffff, frame.hash, 0];
            for (word, value) in words.into_iter().enumerate() {
                let at = packet::RX_RING as usize + packet::RX_STRIDE as usize * index + 4 * word;
                write(&mut machine, at, &value.to_le_bytes());
            }
        }
        for parameter in &image.config {
            machine.bus_mut().set_register(parameter.register, parameter.default);
        }
        for (register, value) in [
            (register::ABI, abi::ABI),
            (register::BUFFERS, self.config.buffers),
            (register::RX_BASE, packet::RX_RING),
            (register::COMPLETION_BASE, packet::COMPLETION_RING),
            (register::SCATTER_BASE, packet::SCATTER),
            (register::HEADERS_BASE, packet::HEADERS),
            (register::COALESCE, 1),
            (register::RX_PRODUCER, self.frames.len() as u32),
        ] {
            machine.bus_mut().set_register(register, value);
        }
        let host = |machine: &Machine| -> Vec<u32> {
            (0..memory::MMIO_DEVICE).step_by(4).map(|offset| machine.bus().register(offset)).collect()
        };
        let before = host(&machine);
        // A trap is the machine's way to contain a program; the budget ends what does not stop.
        let _ = machine.run(BUDGET);
        if machine.instructions() > BUDGET {
            return Err(format!("{} instructions retired, {BUDGET} allowed", machine.instructions()));
        }
        if machine.bus().imem() != code {
            return Err("the program changed its code".into());
        }
        if host(&machine) != before {
            return Err("the program changed a register of the host".into());
        }
        Ok(machine)
    }
}

fn write(machine: &mut Machine, at: usize, bytes: &[u8]) {
    if let Some(place) = machine.bus_mut().packet_mut().get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// How a run ended that the device spoiled.
fn ended(error: &NicError) -> &'static str {
    match error {
        NicError::Core(CoreError::Gone(_)) => "the machine is gone",
        NicError::Core(CoreError::Trap(Trap { fault, .. })) => match fault {
            Fault::Fetch => "trap: jump outside instruction memory",
            Fault::Illegal { .. } => "trap: illegal instruction",
            Fault::Load { .. } => "trap: load where no memory is",
            Fault::Store { .. } => "trap: store where none is allowed",
            Fault::Misaligned { .. } => "trap: misaligned access",
        },
        NicError::Wedged(_) | NicError::Slow(_) => "instruction budget",
        NicError::Parameter { .. } => "driver: a setting that the image does not take",
        NicError::Config { .. } | NicError::Memory { .. } => "driver: less memory than the rings take",
        NicError::Image(_) | NicError::Refused { .. } | NicError::ImageId | NicError::Measurement => {
            "boot ROM: refused"
        }
        NicError::NoCard(_) | NicError::CardAbi(_) => "driver: another card",
        NicError::Index { .. } => "driver: indices that cannot be true",
        NicError::Kept(_) => "driver: frames kept",
        NicError::NotReady(_) => "driver: not ready",
        NicError::ProgramHash => "driver: another program hash",
        NicError::NoBuffer(_) => "driver: no buffer comes back",
        NicError::Stalled => "driver: stalled",
        NicError::Completion { .. } => "driver: malformed completion",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_images_take_every_frame_and_stay_within_their_stack_bound() {
        for release in gro_core::Release::ALL {
            let image = Image::parse(gro_nic::committed(release)).unwrap();
            let feed = Feed::new();
            assert_eq!(feed.drive(&image), Ok("ran to the end"));
            let machine = feed.run_on(&image).unwrap();
            assert_eq!(machine.bus().register(register::RX_CONSUMER), feed.frames.len() as u32);
            let data_end = image.data.address + image.data.memory_size - image.memory.dmem.base;
            let stack = &machine.bus().dmem()[data_end as usize..];
            let unused = stack.iter().position(|&byte| byte != 0).unwrap_or(stack.len());
            let used = (stack.len() - unused) as u32;
            let bound = image.memory.stack_bound;
            assert!((64..=bound).contains(&used), "{}: {used} bytes, bound {bound}", release.name());
        }
    }
}

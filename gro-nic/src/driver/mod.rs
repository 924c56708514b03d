//! The host's driver: posts frames and other events, runs the machine, and turns completions into packets.
//!
//! Payload stays in the `Bytes` it came in. The device sees the first 256 bytes of a frame in a header entry, and the
//! sum over the whole frame that a MAC computes while it receives.

mod completion;
mod post;

use std::collections::VecDeque;

use bytes::Bytes;
use gro_core::user::Why;
use gro_core::{Config, Meta};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::abi::{self, memory, packet, register, status};
use crate::image::Image;
use crate::machine::{Core, CoreError, Machine, Stop};
use post::Event;

/// How the host sets a device up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicConfig {
    /// What the administrator sets; goes to the device's registers.
    pub engine: Config,
    /// Entries of the RX ring, a power of two up to 4096.
    pub rx_entries: u32,
    /// Entries of the completion ring, a power of two up to 1024.
    pub completion_entries: u32,
    /// Frames that the device may own at a time, a power of two up to 16,384.
    pub buffers: u32,
    /// `false`: the device passes every frame as it came, until [`Nic::configure`] says otherwise.
    pub coalesce: bool,
    /// Instructions after which the firmware must have waited for the host; the worst case of a whole RX ring is
    /// below a tenth of the default.
    pub run_limit: u64,
}

impl Default for NicConfig {
    fn default() -> Self {
        Self {
            engine: Config::DEFAULT,
            rx_entries: 256,
            completion_entries: 256,
            buffers: packet::BUFFERS,
            coalesce: true,
            run_limit: 100_000_000,
        }
    }
}

/// Why a device cannot be used, or can no longer.
#[derive(Debug, Error)]
pub enum NicError {
    /// The firmware broke a rule of the machine, or the machine is gone.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The firmware does not come to an end of what it does.
    #[error("the firmware did not wait for the host within {0} instructions")]
    Wedged(u64),
    /// A number in [`NicConfig`] that the device does not have.
    #[error("{name} is {value}; it must be {must}")]
    Config {
        /// Which number.
        name: &'static str,
        /// Its value.
        value: u32,
        /// What it must be.
        must: &'static str,
    },
    /// The firmware did not come up.
    #[error("the firmware refused to start (status {0}); rebuild the image with `cargo xtask images`")]
    NotReady(u32),
    /// Header and code of the image disagree.
    #[error("the image header states another program hash than its firmware reports")]
    ProgramHash,
    /// The device owns all buffers and gives none back.
    #[error("all {0} buffers are held by the device; raise `buffers` or end polls more often")]
    NoBuffer(u32),
    /// The firmware waits although there are events and room for completions.
    #[error("the firmware waits although it has work")]
    Stalled,
    /// The device wrote a completion that cannot be true.
    #[error("completion {id} is malformed: {why}")]
    Completion {
        /// Number of the completion.
        id: u32,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A packet that left the device: a frame as it came, or a merged packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// A single frame: all of it. A merged packet: its headers, rewritten.
    pub header: Bytes,
    /// Payload slices of a merged packet, in order; empty for a single frame.
    pub segments: Vec<Bytes>,
    /// Payload bytes of every segment but the last, 0 for a single frame.
    pub gso_size: u16,
    /// Segments, 1 for a single frame.
    pub segs: u32,
    /// The kernel's `SKB_GSO_*` bits ([`gro_core::Merged::gso_type`]), 0 for a single frame.
    pub gso_type: u32,
    /// Number of the first frame in it, from 0 in the order of posting, modulo 2^32.
    pub first: u32,
    /// Number of the last frame in it.
    pub last: u32,
    /// Hash and VLAN tag of the first frame.
    pub meta: Meta,
    /// Why it left.
    pub why: Why,
    /// Offset of the TCP header of a merged packet, where its checksum starts.
    pub l4: u16,
    /// Sum of the pseudo-header of a merged packet, for deliveries with an incomplete checksum.
    pub pseudo: u16,
}

impl Delivered {
    /// Bytes of the whole packet.
    pub fn len(&self) -> usize {
        self.header.len() + self.segments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether it has no byte, as an empty frame that came in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packet in one piece (copies).
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&self.header);
        for segment in &self.segments {
            bytes.extend_from_slice(segment);
        }
        bytes
    }
}

/// A NIC that runs an image, and its driver; on the simulator unless another core is given.
#[derive(Debug)]
pub struct Nic<C: Core = Machine> {
    core: C,
    config: NicConfig,
    program_hash: [u8; 32],
    measurement: [u8; 32],
    /// Frames that the device owns, by buffer.
    owned: Vec<Option<Owned>>,
    free: Vec<u16>,
    /// Events that the device has not got yet.
    pending: VecDeque<Event>,
    posted: u32,
    completed: u32,
    frames: u32,
}

/// A frame in the device's hands.
#[derive(Debug)]
struct Owned {
    frame: Bytes,
    number: u32,
    meta: Meta,
}

impl Nic {
    /// Loads an image into a simulated machine, measures it, and starts it with `config`.
    ///
    /// # Errors
    /// As [`Nic::on`].
    pub fn new(image: &Image, config: &NicConfig) -> Result<Self, NicError> {
        Self::on(Machine::new(image), image, config)
    }
}

impl<C: Core> Nic<C> {
    /// Measures what is loaded in `core`, which has not run yet, and starts it with `config`. `image` is what it should be.
    ///
    /// # Errors
    /// A ring size that the device does not have; firmware that does not come up, or whose program hash is not the
    /// one in the image header.
    pub fn on(core: C, image: &Image, config: &NicConfig) -> Result<Self, NicError> {
        check("rx_entries", config.rx_entries, packet::RX_MAX, "a power of two up to 4096")?;
        check(
            "completion_entries",
            config.completion_entries,
            packet::COMPLETION_MAX,
            "a power of two up to 1024",
        )?;
        check("buffers", config.buffers, packet::BUFFERS, "a power of two up to 16384")?;
        if image.memory.packet.size < memory::PACKET_SIZE {
            let (name, value) = ("packet memory", image.memory.packet.size);
            return Err(NicError::Config { name, value, must: "what rings and headers take, 6 MiB" });
        }
        let mut imem = vec![0; image.memory.imem.size as usize];
        core.read_code(0, &mut imem);
        let mut nic = Self {
            core,
            config: *config,
            program_hash: [0; 32],
            measurement: Sha256::digest(&imem).into(),
            owned: (0..config.buffers).map(|_| None).collect(),
            free: (0..config.buffers as u16).rev().collect(),
            pending: VecDeque::new(),
            posted: 0,
            completed: 0,
            frames: 0,
        };
        nic.start()?;
        if nic.program_hash != image.program_hash {
            return Err(NicError::ProgramHash);
        }
        Ok(nic)
    }

    /// Tells the firmware where its rings are, and waits until it takes events.
    fn start(&mut self) -> Result<(), NicError> {
        let config = self.config;
        for (offset, value) in [
            (register::ABI, abi::ABI),
            (register::RX_SIZE, config.rx_entries),
            (register::COMPLETION_SIZE, config.completion_entries),
            (register::BUFFERS, config.buffers),
            (register::RX_BASE, packet::RX_RING),
            (register::COMPLETION_BASE, packet::COMPLETION_RING),
            (register::SCATTER_BASE, packet::SCATTER),
            (register::HEADERS_BASE, packet::HEADERS),
        ] {
            self.core.set_register(offset, value);
        }
        self.write_config();
        self.run()?;
        let state = self.core.register(register::STATUS);
        if state != status::READY {
            return Err(NicError::NotReady(state));
        }
        for (index, word) in self.program_hash.chunks_exact_mut(4).enumerate() {
            let offset = register::PROGRAM_HASH + 4 * index as u32;
            word.copy_from_slice(&self.core.register(offset).to_le_bytes());
        }
        Ok(())
    }

    /// Writes the config page.
    fn write_config(&mut self) {
        let NicConfig { engine, coalesce, .. } = self.config;
        for (offset, value) in [
            (register::GRO_MAX_SIZE, engine.gro_max_size),
            (register::GRO_IPV4_MAX_SIZE, engine.gro_ipv4_max_size),
            (register::FLUSH_TIMEOUT, engine.flush_timeout),
            (register::UDP_FORWARDING, engine.udp as u32),
            (register::HZ, engine.hz),
            (register::VLAN_IN_BAND, engine.vlan as u32),
            (register::TUNNELS, engine.tunnels),
            (register::COALESCE, u32::from(coalesce)),
        ] {
            self.core.set_register(offset, value);
        }
    }

    /// Lets the firmware work until it waits.
    fn run(&mut self) -> Result<(), NicError> {
        match self.core.run(self.config.run_limit)? {
            Stop::Waiting => Ok(()),
            Stop::Budget => Err(NicError::Wedged(self.config.run_limit)),
        }
    }

    /// Runs the machine until it has taken every event, and hands out what leaves, in order.
    ///
    /// # Errors
    /// The firmware broke a rule, wrote nonsense, or holds every buffer. The device is of no use after that.
    pub fn deliver(&mut self, sink: &mut dyn FnMut(Delivered)) -> Result<(), NicError> {
        loop {
            let fed = self.feed();
            if fed {
                self.run()?;
            }
            loop {
                self.drain(sink)?;
                if !self.is_busy() {
                    break;
                }
                // A full completion ring stops the firmware within an event; now there is room again.
                let before = self.progress();
                self.run()?;
                if self.is_busy() && self.progress() == before {
                    return Err(NicError::Stalled);
                }
            }
            if self.pending.is_empty() {
                return Ok(());
            } else if !fed {
                return Err(NicError::NoBuffer(self.config.buffers));
            }
        }
    }

    /// What the firmware has taken and written so far.
    fn progress(&self) -> (u32, u32) {
        (self.core.register(register::RX_CONSUMER), self.core.register(register::COMPLETION_PRODUCER))
    }

    /// Whether events are in the RX ring.
    fn is_busy(&self) -> bool {
        self.core.register(register::RX_CONSUMER) != self.posted
    }

    /// The program hash that the running firmware reports.
    pub fn program_hash(&self) -> [u8; 32] {
        self.program_hash
    }

    /// SHA-256 over the whole instruction memory after loading, as the boot ROM of a device measures it.
    pub fn measurement(&self) -> [u8; 32] {
        self.measurement
    }

    /// The engine's counters.
    pub fn counters(&self) -> gro_core::stats::Counters {
        let mut words = (0..).map(|index| self.state(abi::state::COUNTERS + 8 * index));
        let mut next = || words.next().unwrap_or(0);
        gro_core::stats::Counters {
            wire_packets: next(),
            wire_bytes: next(),
            packets: next(),
            merged_packets: next(),
            merged_segments: next(),
            flush: std::array::from_fn(|_| next()),
            bypass: std::array::from_fn(|_| next()),
        }
    }

    /// The engine's decision digest.
    pub fn digest(&self) -> u64 {
        self.state(abi::state::DIGEST)
    }

    /// Cycles of the device so far, where the core has a clock.
    pub fn cycles(&self) -> Option<u64> {
        self.core.cycles()
    }

    /// Times the firmware waited for room in the completion ring so far, modulo 2^32.
    pub fn stalls(&self) -> u32 {
        self.core.register(register::STALLS)
    }

    /// Instructions that the device has retired so far.
    pub fn instructions(&self) -> u64 {
        self.core.instructions()
    }

    /// A 64-bit word of the engine's state; 0 if the firmware's address for it is wrong.
    fn state(&self, offset: u32) -> u64 {
        let start = self.core.register(register::STATE_ADDRESS).wrapping_sub(memory::DMEM_BASE);
        let mut bytes = [0; 8];
        self.core.read_data(start.wrapping_add(offset), &mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn check(name: &'static str, value: u32, most: u32, must: &'static str) -> Result<(), NicError> {
    if value.is_power_of_two() && value <= most {
        Ok(())
    } else {
        Err(NicError::Config { name, value, must })
    }
}

#[cfg(test)]
mod tests;

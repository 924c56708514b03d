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
use crate::machine::{Machine, Trap};
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
    /// Frames that the device may own at a time, up to 16,384.
    pub buffers: u32,
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
            run_limit: 100_000_000,
        }
    }
}

/// Why a device cannot be used, or can no longer.
#[derive(Debug, Error)]
pub enum NicError {
    /// The firmware broke a rule of the machine.
    #[error("the firmware stopped: {0}")]
    Trap(#[from] Trap),
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

/// A simulated NIC that runs an image.
#[derive(Debug)]
pub struct Nic {
    machine: Machine,
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
    /// Loads an image, measures it, and starts it with `config`.
    ///
    /// # Errors
    /// A ring size that the device does not have; firmware that does not come up, or whose program hash is not the
    /// one in the image header.
    pub fn new(image: &Image, config: &NicConfig) -> Result<Self, NicError> {
        check("rx_entries", config.rx_entries, packet::RX_MAX, "a power of two up to 4096")?;
        check(
            "completion_entries",
            config.completion_entries,
            packet::COMPLETION_MAX,
            "a power of two up to 1024",
        )?;
        if config.buffers == 0 || config.buffers > packet::BUFFERS {
            let (name, value) = ("buffers", config.buffers);
            return Err(NicError::Config { name, value, must: "1 to 16384" });
        }
        if image.memory.packet.size < memory::PACKET_SIZE {
            let (name, value) = ("packet memory", image.memory.packet.size);
            return Err(NicError::Config { name, value, must: "what rings and headers take, 6 MiB" });
        }
        let mut machine = Machine::new(image);
        let measurement = Sha256::digest(machine.bus().imem()).into();
        let registers = [
            (register::ABI, abi::ABI),
            (register::RX_SIZE, config.rx_entries),
            (register::COMPLETION_SIZE, config.completion_entries),
            (register::GRO_MAX_SIZE, config.engine.gro_max_size),
            (register::GRO_IPV4_MAX_SIZE, config.engine.gro_ipv4_max_size),
            (register::FLUSH_TIMEOUT, config.engine.flush_timeout),
            (register::UDP_FORWARDING, config.engine.udp as u32),
            (register::HZ, config.engine.hz),
            (register::VLAN_IN_BAND, config.engine.vlan as u32),
            (register::TUNNELS, config.engine.tunnels),
        ];
        for (offset, value) in registers {
            machine.bus_mut().set_register(offset, value);
        }
        machine.run(config.run_limit)?;
        let state = machine.bus().register(register::STATUS);
        if state != status::READY {
            return Err(NicError::NotReady(state));
        }
        let mut program_hash = [0; 32];
        for (index, word) in program_hash.chunks_exact_mut(4).enumerate() {
            let offset = register::PROGRAM_HASH + 4 * index as u32;
            word.copy_from_slice(&machine.bus().register(offset).to_le_bytes());
        }
        if program_hash != image.program_hash {
            return Err(NicError::ProgramHash);
        }
        Ok(Self {
            machine,
            config: *config,
            program_hash,
            measurement,
            owned: (0..config.buffers).map(|_| None).collect(),
            free: (0..config.buffers as u16).rev().collect(),
            pending: VecDeque::new(),
            posted: 0,
            completed: 0,
            frames: 0,
        })
    }

    /// Runs the machine until it has taken every event, and hands out what leaves, in order.
    ///
    /// # Errors
    /// The firmware broke a rule, wrote nonsense, or holds every buffer. The device is of no use after that.
    pub fn deliver(&mut self, sink: &mut dyn FnMut(Delivered)) -> Result<(), NicError> {
        loop {
            let fed = self.feed();
            if fed {
                self.machine.run(self.config.run_limit)?;
            }
            loop {
                self.drain(sink)?;
                if !self.is_busy() {
                    break;
                }
                // A full completion ring stops the firmware within an event; now there is room again.
                let before = self.progress();
                self.machine.run(self.config.run_limit)?;
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
        let bus = self.machine.bus();
        (bus.register(register::RX_CONSUMER), bus.register(register::COMPLETION_PRODUCER))
    }

    /// Whether events are in the RX ring.
    fn is_busy(&self) -> bool {
        self.machine.bus().register(register::RX_CONSUMER) != self.posted
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

    /// Cycles of the device so far, by the machine's timing model.
    pub fn cycles(&self) -> u64 {
        self.machine.cycles()
    }

    /// Instructions that the device has retired so far.
    pub fn instructions(&self) -> u64 {
        self.machine.instructions()
    }

    /// A 64-bit word of the engine's state; 0 if the firmware's address for it is wrong.
    fn state(&self, offset: u32) -> u64 {
        let bus = self.machine.bus();
        let start =
            bus.register(register::STATE_ADDRESS).wrapping_sub(memory::DMEM_BASE).wrapping_add(offset);
        let bytes = bus.dmem().get(start as usize..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |&bytes| u64::from_le_bytes(bytes))
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

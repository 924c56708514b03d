//! The host's driver of one lane: brings it up, posts frames and other events, lets it run, and turns completions into packets.
//!
//! Payload stays in the `Bytes` it came in. The device sees the first 256 bytes of a frame in a header entry, and the
//! sum over the whole frame that a MAC computes while it receives.

mod bring_up;
mod completion;
mod delivered;
mod post;
mod watchdog;

use std::collections::VecDeque;

use gro_core::Config;
use thiserror::Error;

use crate::abi::{self, bar, memory, packet, register};
use crate::device::{Buffers, Device};
use crate::image::{Image, ImageError, Parameter};
use crate::machine::{Core, CoreError, Machine};
pub use delivered::Delivered;
pub(crate) use post::{Event, Offer};
use watchdog::Flushed;
pub use watchdog::RING_RUNS;
pub use watchdog::{Failure, Health};

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
    /// Instructions within which the firmware must wait for the host, take an event or complete a packet; the worst case of a whole RX
    /// ring is below a tenth of the default. For all that was in the RX ring when it began, it has [`RING_RUNS`] times as many.
    pub run_limit: u64,
    /// `true`: when the device fails, or holds every buffer, the driver gives it up ([`Nic::give_up`]) and goes on without it;
    /// [`Nic::health`] tells. `false`: the failure is an error of [`Nic::deliver`].
    pub watchdog: bool,
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
            watchdog: false,
        }
    }
}

/// Why a device cannot be used, or can no longer.
#[derive(Debug, Error)]
pub enum NicError {
    /// The firmware broke a rule of the machine, or the machine is gone.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The file is no image.
    #[error(transparent)]
    Image(Box<ImageError>),
    /// Nothing that answers like a card.
    #[error("no card: its first register reads {0:#010x}")]
    NoCard(u32),
    /// A card of another contract.
    #[error("the card speaks ABI {0}, this driver {expected}", expected = abi::ABI)]
    CardAbi(u32),
    /// The image wants more memory than the card has.
    #[error("the image needs {needed} bytes of {name}, the card has {found}")]
    Memory {
        /// Which memory.
        name: &'static str,
        /// Bytes that the image asks for.
        needed: u32,
        /// Bytes that there are.
        found: u32,
    },
    /// The boot ROM did not load the image.
    #[error("the card refused the image: {why} (load status {status})")]
    Refused {
        /// [`crate::abi::load`].
        status: u32,
        /// The same in words.
        why: &'static str,
    },
    /// The boot ROM loaded another image.
    #[error("the card names another image than the one that was sent")]
    ImageId,
    /// What is in instruction memory is not the image.
    #[error("the card's measurement of its instruction memory is not that of the image")]
    Measurement,
    /// The firmware does not get on with what it does.
    #[error("the firmware did not get on within {0} instructions")]
    Wedged(u64),
    /// The firmware gets on, but not to the end of what it was given.
    #[error("the firmware is not through with what is in its RX ring after {0} instructions")]
    Slow(u64),
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
    /// A setting that the image does not let the host make.
    #[error("{name} is {value}; the image takes {limits}", name = parameter.name, limits = parameter.limits())]
    Parameter {
        /// Which setting, as the image describes it.
        parameter: Box<Parameter>,
        /// Its value.
        value: u32,
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
    /// The device's indices go back, or beyond what the host gave it.
    #[error("the device's indices cannot be true (RX consumer {consumed}, completion producer {produced})")]
    Index {
        /// RX consumer.
        consumed: u32,
        /// Completion producer.
        produced: u32,
    },
    /// Frames that the device should have delivered.
    #[error("the device kept {0} frames over a flush")]
    Kept(usize),
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

/// A lane that runs an image, and its driver; on the simulator unless another core is given.
#[derive(Debug)]
pub struct Nic<C: Core = Machine> {
    device: Device<C>,
    config: NicConfig,
    /// What the image lets the host set.
    schema: Vec<Parameter>,
    program_hash: [u8; 32],
    measurement: [u8; 32],
    /// Frames that the device owns.
    buffers: Buffers,
    /// Events that the device has not got yet.
    pending: VecDeque<Event>,
    /// What it was told, or will be.
    jiffies: u32,
    /// The device's indices when they were looked at last.
    consumed: u32,
    produced: u32,
    /// Completions taken.
    completed: u32,
    /// Frames posted, and those of them that the port took.
    frames: u32,
    next: u32,
    flushed: Option<Flushed>,
    health: Health,
}

impl Nic {
    /// A simulated lane with `image` already in its memories, started with `config`.
    ///
    /// # Errors
    /// As [`Nic::attach`].
    pub fn new(image: &Image, config: &NicConfig) -> Result<Self, NicError> {
        Self::on(Machine::new(image), image, config)
    }

    /// A simulated lane that loads the image file through its window, started with `config`.
    ///
    /// # Errors
    /// As [`Nic::attach`].
    pub fn load(file: &[u8], config: &NicConfig) -> Result<Self, NicError> {
        Self::attach(Device::simulated(), file, config)
    }
}

impl<C: Core> Nic<C> {
    /// Runs the device until it has taken every event, and hands out what leaves, in order.
    ///
    /// # Errors
    /// The firmware broke a rule, wrote nonsense, or holds every buffer, and there is no watchdog. The device is of no use after that.
    pub fn deliver(&mut self, sink: &mut dyn FnMut(Delivered)) -> Result<(), NicError> {
        match self.health {
            Health::Working => match self.work(sink) {
                Err(reason) if self.config.watchdog => self.give_up(reason, sink),
                result => return result,
            },
            Health::PassThrough(_) => {
                self.pass_pending(sink);
            }
        }
        Ok(())
    }

    fn work(&mut self, sink: &mut dyn FnMut(Delivered)) -> Result<(), NicError> {
        loop {
            let fed = self.feed();
            let mut spent = 0;
            if fed {
                self.run_until_waiting(&mut spent)?;
            }
            loop {
                self.drain(u32::MAX, sink)?;
                if !self.is_busy() {
                    break;
                }
                // A full completion ring stops the firmware within an event; now there is room again.
                let before = (self.consumed, self.produced);
                self.run_until_waiting(&mut spent)?;
                if self.is_busy() && (self.consumed, self.produced) == before {
                    return Err(NicError::Stalled);
                }
            }
            self.check_flush()?;
            if self.pending.is_empty() {
                return Ok(());
            } else if !fed {
                return Err(NicError::NoBuffer(self.config.buffers));
            }
        }
    }

    /// Events that the port has put into the RX ring.
    fn posted(&self) -> u32 {
        self.device.read(register::RX_PRODUCER)
    }

    /// Whether events are in the RX ring.
    pub(crate) fn is_busy(&self) -> bool {
        self.device.read(register::RX_CONSUMER) != self.posted()
    }

    /// Whether the completion ring is full.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= self.config.completion_entries
    }

    pub(crate) fn buffer_count(&self) -> u32 {
        self.config.buffers
    }

    pub(crate) fn rx_entries(&self) -> u32 {
        self.config.rx_entries
    }

    pub(crate) fn has_nothing_pending(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn run_limit(&self) -> u64 {
        self.config.run_limit
    }

    pub(crate) fn has_watchdog(&self) -> bool {
        self.config.watchdog
    }

    /// Whether frames wait on the wire, or are lost, while the port cannot take them.
    pub(crate) fn set_flow_control(&mut self, on: bool) {
        self.device.write(bar::FLOW_CONTROL, u32::from(on));
    }

    /// The lane behind its window.
    pub fn device(&self) -> &Device<C> {
        &self.device
    }

    /// The lane behind its window, to be changed behind the driver's back.
    pub fn device_mut(&mut self) -> &mut Device<C> {
        &mut self.device
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
        self.device.cycles()
    }

    /// Times the firmware waited for room in the completion ring so far, modulo 2^32.
    pub fn stalls(&self) -> u32 {
        self.device.read(register::STALLS)
    }

    /// Instructions that the device has retired so far.
    pub fn instructions(&self) -> u64 {
        self.device.instructions()
    }

    /// A 64-bit word of the engine's state; 0 if the firmware's address for it is wrong.
    fn state(&self, offset: u32) -> u64 {
        let start = self.device.read(register::STATE_ADDRESS).wrapping_sub(memory::DMEM_BASE);
        let mut bytes = [0; 8];
        self.device.read_data(start.wrapping_add(offset), &mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests;

//! The simulated NIC: one rv32imc core with its memories.
//!
//! Instructions are decoded once, when the image is loaded, and then interpreted. The machine counts retired
//! instructions exactly and cycles with the timing of CV32E40P (see `timing`). Nothing the program
//! does can harm the host: an access outside its memories, a misaligned one, an illegal instruction
//! stops the machine with a [`Trap`] that names the place, and an endless loop ends with the budget.

mod bus;
mod cpu;
pub(crate) mod decode;
mod timing;

pub use bus::Bus;
pub use cpu::{Fault, Trap};

use crate::image::Image;
use cpu::Cpu;
use thiserror::Error;

/// What runs the firmware of one lane: a core with its memories and registers. The driver works with any.
///
/// Offsets are from the start of the memory or register page; what lies outside reads as zero and is not written.
pub trait Core {
    /// Runs until the firmware waits for the host (`wfi`), or has retired `budget` instructions without waiting; the next call goes on
    /// from there.
    ///
    /// # Errors
    /// The program broke a rule of the machine, or the machine is gone.
    fn run(&mut self, budget: u64) -> Result<Stop, CoreError>;

    /// The register at byte `offset` of the register page.
    fn register(&self, offset: u32) -> u32;

    /// Writes the register at byte `offset`.
    fn set_register(&mut self, offset: u32, value: u32);

    /// Reads packet memory.
    fn read_packet(&self, offset: u32, bytes: &mut [u8]);

    /// Writes packet memory.
    fn write_packet(&mut self, offset: u32, bytes: &[u8]);

    /// Reads data memory: the engine's state.
    fn read_data(&self, offset: u32, bytes: &mut [u8]);

    /// Reads instruction memory, as the boot ROM does to measure it.
    fn read_code(&self, offset: u32, bytes: &mut [u8]);

    /// Instructions retired since the start.
    fn instructions(&self) -> u64;

    /// Cycles since the start, time asleep in `wfi` not included; `None` where there is no clock to count.
    fn cycles(&self) -> Option<u64>;
}

/// A core whose runs go through a function of the caller's, who measures them, looks at the core behind them, or has them fail.
#[derive(Debug)]
pub struct Watched<C, R> {
    core: C,
    run: R,
}

impl<C: Core, R: FnMut(&mut C, u64) -> Result<Stop, CoreError>> Watched<C, R> {
    /// `core`, of which `run` takes the place of [`Core::run`].
    pub fn new(core: C, run: R) -> Self {
        Self { core, run }
    }
}

impl<C: Core, R: FnMut(&mut C, u64) -> Result<Stop, CoreError>> Core for Watched<C, R> {
    fn run(&mut self, budget: u64) -> Result<Stop, CoreError> {
        (self.run)(&mut self.core, budget)
    }

    fn register(&self, offset: u32) -> u32 {
        self.core.register(offset)
    }

    fn set_register(&mut self, offset: u32, value: u32) {
        self.core.set_register(offset, value);
    }

    fn read_packet(&self, offset: u32, bytes: &mut [u8]) {
        self.core.read_packet(offset, bytes);
    }

    fn write_packet(&mut self, offset: u32, bytes: &[u8]) {
        self.core.write_packet(offset, bytes);
    }

    fn read_data(&self, offset: u32, bytes: &mut [u8]) {
        self.core.read_data(offset, bytes);
    }

    fn read_code(&self, offset: u32, bytes: &mut [u8]) {
        self.core.read_code(offset, bytes);
    }

    fn instructions(&self) -> u64 {
        self.core.instructions()
    }

    fn cycles(&self) -> Option<u64> {
        self.core.cycles()
    }
}

/// Why a core came back to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The firmware waits for the host.
    Waiting,
    /// The budget is used up; the firmware is in the midst of something.
    Budget,
}

/// Why a core is of no use any more.
#[derive(Debug, Error)]
pub enum CoreError {
    /// The program broke a rule.
    #[error("the firmware stopped: {0}")]
    Trap(#[from] Trap),
    /// The machine that runs it broke, as when its process ended.
    #[error("the machine is gone: {0}")]
    Gone(String),
}

/// Cycles that a data access takes beyond the first, by memory; those over [`WaitStates::MAX`] count as that. Instruction and data
/// memory have what the image says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitStates {
    /// Of packet memory.
    pub packet: u32,
    /// Of the register page.
    pub registers: u32,
}

impl WaitStates {
    /// Most wait states of a memory: keeps the cycle counter of a hostile image far from its end.
    pub const MAX: u32 = 1000;

    /// Those of the device that the image was made for.
    pub fn of(image: &Image) -> Self {
        Self { packet: image.memory.packet.wait_states, registers: 0 }
    }
}

/// A core with its program and memories.
#[derive(Debug)]
pub struct Machine {
    cpu: Cpu,
    bus: Bus,
}

impl Machine {
    /// A machine with `image` loaded, about to execute its entry; memories are zero where the image says nothing.
    pub fn new(image: &Image) -> Self {
        Self::with_wait_states(image, WaitStates::of(image))
    }

    /// The same in a device with other wait states.
    pub fn with_wait_states(image: &Image, wait: WaitStates) -> Self {
        let bus = Bus::new(image, wait);
        let cpu = Cpu::new(bus.imem(), image.entry, image.memory.stack_top);
        Self { cpu, bus }
    }

    /// Memories and registers as the host sees them.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Memories and registers as the host sees them, to be written.
    pub fn bus_mut(&mut self) -> &mut Bus {
        &mut self.bus
    }
}

impl Core for Machine {
    fn run(&mut self, budget: u64) -> Result<Stop, CoreError> {
        Ok(self.cpu.run(&mut self.bus, budget)?)
    }

    fn register(&self, offset: u32) -> u32 {
        self.bus.register(offset)
    }

    fn set_register(&mut self, offset: u32, value: u32) {
        self.bus.set_register(offset, value);
    }

    fn read_packet(&self, offset: u32, bytes: &mut [u8]) {
        read(self.bus.packet(), offset, bytes);
    }

    fn write_packet(&mut self, offset: u32, bytes: &[u8]) {
        let place =
            self.bus.packet_mut().get_mut(offset as usize..).and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }

    fn read_data(&self, offset: u32, bytes: &mut [u8]) {
        read(self.bus.dmem(), offset, bytes);
    }

    fn read_code(&self, offset: u32, bytes: &mut [u8]) {
        read(self.bus.imem(), offset, bytes);
    }

    fn instructions(&self) -> u64 {
        self.cpu.retired()
    }

    /// By the timing model, wait states included.
    fn cycles(&self) -> Option<u64> {
        Some(self.cpu.cycles())
    }
}

fn read(memory: &[u8], offset: u32, bytes: &mut [u8]) {
    match memory.get(offset as usize..).and_then(|rest| rest.get(..bytes.len())) {
        Some(place) => bytes.copy_from_slice(place),
        None => bytes.fill(0),
    }
}

#[cfg(test)]
mod tests;

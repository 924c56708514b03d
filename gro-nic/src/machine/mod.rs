//! The simulated NIC: one rv32imc core with its memories.
//!
//! Instructions are decoded once, when the image is loaded, and then interpreted. The machine counts retired
//! instructions exactly and cycles with the timing of CV32E40P (see `timing`). Nothing the program
//! does can harm the host: an access outside its memories, a misaligned one, an illegal instruction or an endless
//! loop stops the machine with a [`Trap`] that names the place.

mod bus;
mod cpu;
mod decode;
mod timing;

pub use bus::Bus;
pub use cpu::{Fault, Trap};

use crate::image::Image;
use cpu::Cpu;

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

    /// Runs until the program waits for the host (`wfi`); the next call goes on behind it.
    ///
    /// # Errors
    /// The program broke a rule, or retired `limit` instructions without waiting. After that the machine's state
    /// is that of the moment before the instruction named in the trap.
    pub fn run(&mut self, limit: u64) -> Result<(), Trap> {
        self.cpu.run(&mut self.bus, limit)
    }

    /// Memories and registers as the host sees them.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Memories and registers as the host sees them, to be written.
    pub fn bus_mut(&mut self) -> &mut Bus {
        &mut self.bus
    }

    /// Instructions retired since the start.
    pub fn instructions(&self) -> u64 {
        self.cpu.retired()
    }

    /// Cycles since the start by the timing model, wait states included, time spent waiting in `wfi` not.
    pub fn cycles(&self) -> u64 {
        self.cpu.cycles()
    }
}

#[cfg(test)]
mod tests;

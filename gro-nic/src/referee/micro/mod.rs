//! Micro-benchmarks: what one thing costs, on any machine that runs images.
//!
//! Each is a program that sets registers, waits, does the thing and waits again. The cycles between the two waits are its
//! cost, with waking up (the core leaves `wfi`) and going to sleep again; the empty one does nothing between.

mod asm;
mod branches;
mod data;
mod jumps;
mod random;

use crate::abi::memory::{DMEM_BASE, MMIO_BASE, MMIO_DEVICE, PACKET_BASE, PACKET_SIZE};
use crate::image::{Image, Region};
use crate::machine::{Core, CoreError, WaitStates};
use asm::{A1, A2, A3, Insn, NOP, WFI, set};

pub use random::random;

/// One benchmark.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is part of.
    pub group: &'static str,
    /// What is done, in assembly or close to it.
    pub name: String,
    /// Wait states of packet memory and registers.
    pub wait: WaitStates,
    setup: Vec<Insn>,
    body: Vec<Insn>,
}

impl Case {
    fn new(group: &'static str, name: impl Into<String>, setup: &[Insn], body: &[Insn]) -> Self {
        let (setup, body) = (setup.to_vec(), body.to_vec());
        Self { group, name: name.into(), wait: WaitStates::default(), setup, body }
    }

    /// The same with these wait states of packet memory and registers.
    fn waiting(mut self, wait: u32) -> Self {
        self.wait = WaitStates { packet: wait, registers: wait };
        self
    }

    /// The program: `a1` points to data memory, `a2` to packet memory, `a3` to the device's registers; `setup`, of which every short
    /// instruction moves what follows to the other half of a word; a wait; `body`; a wait.
    pub fn image(&self) -> Image {
        let mut code = Vec::new();
        let bases = [(A1, DMEM_BASE), (A2, PACKET_BASE), (A3, MMIO_BASE + MMIO_DEVICE)];
        let bases = bases.into_iter().flat_map(|(register, base)| set(register, base));
        for insn in bases.chain(self.setup.iter().copied()) {
            insn.append_to(&mut code);
        }
        WFI.append_to(&mut code);
        for insn in self.body.iter().copied().chain([WFI, NOP, NOP]) {
            insn.append_to(&mut code);
        }
        image(code)
    }
}

/// Every benchmark.
pub fn cases() -> Vec<Case> {
    let empty = Case::new("wait", "nothing", &[], &[]);
    [vec![empty], branches::cases(), jumps::cases(), data::cases()].concat()
}

/// What a benchmark took on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Instructions retired, the second wait among them.
    pub instructions: u64,
    /// Cycles from one wait to the other.
    pub cycles: u64,
}

/// Runs a benchmark on a core that has its image loaded.
///
/// # Errors
/// The program broke a rule, or the core is gone.
pub fn measure(core: &mut impl Core) -> Result<Measured, CoreError> {
    let mut stop = || {
        core.run(LIMIT)?;
        Ok::<_, CoreError>((core.instructions(), core.cycles().unwrap_or(0)))
    };
    let (first, last) = (stop()?, stop()?);
    Ok(Measured { instructions: last.0 - first.0, cycles: last.1 - first.1 })
}

/// No benchmark comes near.
const LIMIT: u64 = 1000;

/// An image of this code.
pub(super) fn image(code: Vec<u8>) -> Image {
    Image::of_program(code, Vec::new(), Region { base: PACKET_BASE, size: PACKET_SIZE, wait_states: 0 })
}

#[cfg(test)]
mod tests;

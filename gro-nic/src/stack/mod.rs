//! How much stack the built image takes at most, from its code alone; and that the code has nothing which a device program must not have.
//!
//! Every instruction that can be reached from the entry is followed, through branches, calls and jump tables (a table's length is
//! that of the compare before it, its entries are constants of the code). The walk refuses what it cannot follow: a call or
//! jump through an unknown register, recursion, a stack pointer that depends on anything but the path of calls. So a bound
//! that it gives is one of all runs. On its way it proves that no illegal instruction can be reached (CSR access, `ecall`
//! and `ebreak` count as such), and that from everywhere a return or a wait can: a panic ends in neither.
//!
//! It trusts the calling convention in one thing: a function that returns has kept s0 to s11.

mod code;
mod flow;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::image::{Image, Segment};
use code::Code;

/// The most that any run of a program takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackBound {
    /// Bytes below the stack top.
    pub bytes: u32,
    /// The calls that take it, from the entry on.
    pub chain: Vec<Frame>,
    /// Functions that can be reached.
    pub functions: usize,
    /// Instructions that can be reached.
    pub instructions: usize,
}

/// A function on the deepest chain of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its address.
    pub entry: u32,
    /// Bytes of stack that it has taken where it calls the next one.
    pub bytes: u32,
}

/// Why a program has no bound, or one that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StackError {
    /// Control leaves the code section.
    #[error("{from:#010x} leads to {to:#010x}, where there is no code")]
    Outside {
        /// Where it came from.
        from: u32,
        /// Where it would go on.
        to: u32,
    },
    /// An instruction that the device does not have.
    #[error(
        "the instruction at {0:#010x} can be reached, and no device has it (CSR access and calls to an environment included)"
    )]
    Illegal(u32),
    /// A jump or call that cannot be followed.
    #[error("the jump at {0:#010x} goes where a register says, and what that holds is not known")]
    Indirect(u32),
    /// A function that is called while it is active.
    #[error("the function at {0:#010x} is called while it runs; a stack of bounded size has no recursion")]
    Recursion(u32),
    /// A stack pointer that is not the same on every path, or is computed from data.
    #[error("the stack pointer at {0:#010x} is not known, or is not the same on each way there")]
    Pointer(u32),
    /// A return with a frame still on the stack.
    #[error("the function that returns at {0:#010x} has not given its stack back")]
    Unbalanced(u32),
    /// Code that never ends and never waits.
    #[error("from {0:#010x} neither a return nor a wait can be reached; is it a panic?")]
    Endless(u32),
    /// It does not fit.
    #[error("the program takes up to {bytes} bytes of stack, and its data leave {room}")]
    TooDeep {
        /// The bound.
        bytes: u32,
        /// What there is.
        room: u32,
    },
}

/// The stack bound of an image's rv32imc program.
///
/// # Errors
/// The program has none, or it is more than data memory has left; or the program can do what a device program must not.
pub fn bound(image: &Image) -> Result<StackBound, StackError> {
    let bound = bound_of(&image.code, image.entry, image.memory.stack_top)?;
    if bound.bytes > image.stack_size() {
        return Err(StackError::TooDeep { bytes: bound.bytes, room: image.stack_size() });
    }
    Ok(bound)
}

/// The stack bound of rv32imc code that starts at `entry` with the stack pointer at `stack_top`, whatever its data leave.
///
/// # Errors
/// As [`bound`], but for the room.
pub fn bound_of(code: &Segment, entry: u32, stack_top: u32) -> Result<StackBound, StackError> {
    let mut program = Program {
        code: Code::new(code),
        entry,
        stack_top,
        active: Vec::new(),
        functions: BTreeMap::new(),
        instructions: BTreeSet::new(),
    };
    let bytes = program.function(entry)?.depth;
    let mut chain = Vec::new();
    let mut next = Some(entry);
    while let Some((entry, function)) = next.and_then(|entry| Some((entry, program.functions.get(&entry)?))) {
        chain.push(Frame { entry, bytes: function.frame });
        next = function.deepest;
    }
    let (functions, instructions) = (program.functions.len(), program.instructions.len());
    Ok(StackBound { bytes, chain, functions, instructions })
}

/// What has been found out so far.
struct Program<'a> {
    code: Code<'a>,
    entry: u32,
    stack_top: u32,
    /// Functions that call each other to the one at hand.
    active: Vec<u32>,
    functions: BTreeMap<u32, Function>,
    instructions: BTreeSet<u32>,
}

/// A function that was walked.
#[derive(Clone, Copy, Debug)]
struct Function {
    /// Bytes that it takes with all it calls.
    depth: u32,
    /// Of them its own, where it is deepest.
    frame: u32,
    /// What it calls there.
    deepest: Option<u32>,
    /// Whether it ever comes back.
    returns: bool,
}

impl Program<'_> {
    /// The function at `entry`, walked if it has not been.
    fn function(&mut self, entry: u32) -> Result<Function, StackError> {
        if let Some(known) = self.functions.get(&entry) {
            return Ok(*known);
        }
        if self.active.contains(&entry) {
            return Err(StackError::Recursion(entry));
        }
        self.active.push(entry);
        let function = flow::walk(self, entry)?;
        self.active.pop();
        self.functions.insert(entry, function);
        Ok(function)
    }
}

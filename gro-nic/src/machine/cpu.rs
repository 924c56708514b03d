//! The core: registers, counters and the interpreter loop.

use thiserror::Error;

use super::Stop;
use super::bus::Bus;
use super::decode::{Kind, Op};
use super::timing::{Clock, MULTIPLY_HIGH, decode_program, signed_division, unsigned_division};
use crate::abi::memory::IMEM_BASE;

/// Why the machine stopped, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} at pc {pc:#010x}")]
pub struct Trap {
    /// Address of the instruction that could not be executed.
    pub pc: u32,
    /// What it did.
    pub fault: Fault,
}

/// A rule that the program broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// No instruction memory there.
    #[error("jump outside instruction memory")]
    Fetch,
    /// Not an rv32imc instruction, or one this core does not have (CSR, `ecall`, `ebreak`).
    #[error("illegal instruction {word:#010x}")]
    Illegal {
        /// The instruction and, if it is short, the half word behind it.
        word: u32,
    },
    /// A load from where no memory is, or of less than a word from a register.
    #[error("load of {size} bytes from {address:#010x}, where none are readable")]
    Load {
        /// Address of the access.
        address: u32,
        /// Its bytes.
        size: u32,
    },
    /// A store to where no memory is, to code, or to a register of the host.
    #[error("store of {size} bytes to {address:#010x}, where none are writable")]
    Store {
        /// Address of the access.
        address: u32,
        /// Its bytes.
        size: u32,
    },
    /// An address that is not a multiple of the size.
    #[error("misaligned access of {size} bytes at {address:#010x}")]
    Misaligned {
        /// Address of the access.
        address: u32,
        /// Its bytes.
        size: u32,
    },
}

#[derive(Debug)]
pub(super) struct Cpu {
    program: Vec<Op>,
    /// x0 to x31; x32 takes what is written to x0. Sized so that a number needs no check.
    registers: [u32; 256],
    /// The next instruction, in half words from the start of instruction memory.
    at: u32,
    /// The one executed before.
    before: u32,
    retired: u64,
    clock: Clock,
}

impl Cpu {
    pub(super) fn new(imem: &[u8], entry: u32, stack_top: u32) -> Self {
        let mut registers = [0; 256];
        registers[2] = stack_top;
        Self {
            program: decode_program(imem),
            registers,
            at: half_words(entry),
            before: u32::MAX,
            retired: 0,
            clock: Clock::START,
        }
    }

    pub(super) fn retired(&self) -> u64 {
        self.retired
    }

    pub(super) fn cycles(&self) -> u64 {
        self.clock.now()
    }

    #[cfg(test)]
    pub(super) fn register(&self, number: usize) -> u32 {
        self.registers[number]
    }

    /// Runs up to and including the next `wfi`, or `limit` instructions.
    pub(super) fn run(&mut self, bus: &mut Bus, limit: u64) -> Result<Stop, Trap> {
        // Locals, so that the loop keeps them in registers.
        let (mut at, mut before) = (self.at, self.before);
        let mut clock = self.clock;
        clock.wake();
        let mut left = limit;
        let x = &mut self.registers;
        let program = &self.program[..];
        let stop = loop {
            let Some(op) = program.get(at as usize) else {
                break Err(Fault::Fetch);
            };
            if left == 0 {
                break Ok(Stop::Budget);
            }
            let a = x[usize::from(op.rs1)];
            let b = x[usize::from(op.rs2)];
            let imm = op.imm as u32;
            let mut next = at.wrapping_add(u32::from(op.length / 2));
            // Every arm tells the clock what it did, and has a value: branches and stores have the sink as destination.
            macro_rules! single {
                ($value:expr) => {{
                    clock.execute(1);
                    $value
                }};
            }
            macro_rules! multiple {
                ($cycles:expr, $value:expr) => {{
                    clock.execute($cycles);
                    $value
                }};
            }
            macro_rules! branch {
                ($condition:expr) => {{
                    let behind = next as usize;
                    if $condition {
                        next = at.wrapping_add((op.imm >> 1) as u32);
                        clock.branch_taken(u64::from(op.late), || program.get(behind));
                    } else {
                        clock.branch_not_taken(|| program.get(behind));
                    }
                    0
                }};
            }
            macro_rules! load {
                ($size:literal) => {
                    match bus.load::<$size>(a.wrapping_add(imm)) {
                        Ok((value, wait)) => {
                            clock.load(wait, op.rd, op.stalls);
                            value
                        }
                        Err(fault) => break Err(fault),
                    }
                };
            }
            macro_rules! store {
                ($size:literal) => {
                    match bus.store::<$size>(a.wrapping_add(imm), b) {
                        Ok(wait) => {
                            clock.store(wait);
                            0
                        }
                        Err(fault) => break Err(fault),
                    }
                };
            }
            let value = match op.kind {
                Kind::Lui => single!(imm),
                Kind::Auipc => single!(address(at).wrapping_add(imm)),
                Kind::Jal => {
                    let link = address(next);
                    next = at.wrapping_add((op.imm >> 1) as u32);
                    clock.jump(u64::from(op.late));
                    link
                }
                Kind::Jalr => {
                    let link = address(next);
                    let target = a.wrapping_add(imm);
                    next = half_words(target);
                    let late = program.get(next as usize).is_some_and(|op| op.straddles(target));
                    let computed = program
                        .get(before as usize)
                        .is_some_and(|before| before.kind.is_computation() && before.rd == op.rs1);
                    clock.jump_register(u64::from(late), op.rs1, computed, op.rd == op.rs1);
                    link
                }
                Kind::Beq => branch!(a == b),
                Kind::Bne => branch!(a != b),
                Kind::Blt => branch!((a as i32) < b as i32),
                Kind::Bge => branch!(a as i32 >= b as i32),
                Kind::Bltu => branch!(a < b),
                Kind::Bgeu => branch!(a >= b),
                Kind::Lb => load!(1) as i8 as u32,
                Kind::Lh => load!(2) as i16 as u32,
                Kind::Lw => load!(4),
                Kind::Lbu => load!(1),
                Kind::Lhu => load!(2),
                Kind::Sb => store!(1),
                Kind::Sh => store!(2),
                Kind::Sw => store!(4),
                Kind::Addi => single!(a.wrapping_add(imm)),
                Kind::Slti => single!(u32::from((a as i32) < op.imm)),
                Kind::Sltiu => single!(u32::from(a < imm)),
                Kind::Xori => single!(a ^ imm),
                Kind::Ori => single!(a | imm),
                Kind::Andi => single!(a & imm),
                Kind::Slli => single!(a.wrapping_shl(imm)),
                Kind::Srli => single!(a.wrapping_shr(imm)),
                Kind::Srai => single!((a as i32).wrapping_shr(imm) as u32),
                Kind::Add => single!(a.wrapping_add(b)),
                Kind::Sub => single!(a.wrapping_sub(b)),
                Kind::Sll => single!(a.wrapping_shl(b)),
                Kind::Slt => single!(u32::from((a as i32) < b as i32)),
                Kind::Sltu => single!(u32::from(a < b)),
                Kind::Xor => single!(a ^ b),
                Kind::Srl => single!(a.wrapping_shr(b)),
                Kind::Sra => single!((a as i32).wrapping_shr(b) as u32),
                Kind::Or => single!(a | b),
                Kind::And => single!(a & b),
                Kind::Mul => single!(a.wrapping_mul(b)),
                Kind::Mulh => {
                    multiple!(MULTIPLY_HIGH, ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32)
                }
                Kind::Mulhsu => multiple!(MULTIPLY_HIGH, ((i64::from(a as i32) * i64::from(b)) >> 32) as u32),
                Kind::Mulhu => multiple!(MULTIPLY_HIGH, ((u64::from(a) * u64::from(b)) >> 32) as u32),
                Kind::Div | Kind::Rem => {
                    let (dividend, divisor) = (a as i32, b as i32);
                    multiple!(
                        signed_division(divisor),
                        match (op.kind, divisor) {
                            (Kind::Div, 0) => u32::MAX,
                            (Kind::Div, _) => dividend.wrapping_div(divisor) as u32,
                            (_, 0) => a,
                            _ => dividend.wrapping_rem(divisor) as u32,
                        }
                    )
                }
                Kind::Divu => multiple!(unsigned_division(b), a.checked_div(b).unwrap_or(u32::MAX)),
                Kind::Remu => multiple!(unsigned_division(b), a.checked_rem(b).unwrap_or(a)),
                Kind::Fence => {
                    clock.fence(u64::from(op.late));
                    0
                }
                Kind::Wfi => {
                    left -= 1;
                    clock.sleep();
                    (before, at) = (at, next);
                    break Ok(Stop::Waiting);
                }
                Kind::Illegal => break Err(Fault::Illegal { word: word_at(bus.imem(), at) }),
            };
            x[usize::from(op.rd)] = value;
            left -= 1;
            (before, at) = (at, next);
        };
        (self.at, self.before) = (at, before);
        self.clock = clock;
        self.retired += limit - left;
        stop.map_err(|fault| Trap { pc: address(at), fault })
    }
}

fn address(half_words: u32) -> u32 {
    IMEM_BASE.wrapping_add(half_words.wrapping_mul(2))
}

/// Its lowest bit is dropped.
fn half_words(address: u32) -> u32 {
    address.wrapping_sub(IMEM_BASE) >> 1
}

fn word_at(imem: &[u8], at: u32) -> u32 {
    let byte = |index: usize| u32::from(imem.get(at as usize * 2 + index).copied().unwrap_or(0));
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

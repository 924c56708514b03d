//! The core: registers, counters and the interpreter loop.

use thiserror::Error;

use super::Stop;
use super::bus::Bus;
use super::decode::{Kind, Op};
use super::timing::{decode_program, division_cycles};
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
    /// x0 to x31; x32 takes what is written to x0. Sized so that a masked number needs no check.
    registers: [u32; 64],
    pc: u32,
    retired: u64,
    cycles: u64,
}

impl Cpu {
    pub(super) fn new(imem: &[u8], entry: u32, stack_top: u32) -> Self {
        let mut registers = [0; 64];
        registers[2] = stack_top;
        Self { program: decode_program(imem), registers, pc: entry, retired: 0, cycles: 0 }
    }

    pub(super) fn retired(&self) -> u64 {
        self.retired
    }

    pub(super) fn cycles(&self) -> u64 {
        self.cycles
    }

    #[cfg(test)]
    pub(super) fn register(&self, number: usize) -> u32 {
        self.registers[number]
    }

    /// Runs up to and including the next `wfi`, or `limit` instructions.
    pub(super) fn run(&mut self, bus: &mut Bus, limit: u64) -> Result<Stop, Trap> {
        // Locals, so that the loop keeps them in registers.
        let (mut pc, mut cycles) = (self.pc, self.cycles);
        let mut left = limit;
        let x = &mut self.registers;
        let stop = loop {
            let Some(op) = self.program.get((pc.wrapping_sub(IMEM_BASE) >> 1) as usize) else {
                break Err(Fault::Fetch);
            };
            if left == 0 {
                break Ok(Stop::Budget);
            }
            let a = x[usize::from(op.rs1 & 63)];
            let b = x[usize::from(op.rs2 & 63)];
            let imm = op.imm as u32;
            let mut next = pc.wrapping_add(u32::from(op.length));
            let mut cost = u64::from(op.cycles);
            macro_rules! branch {
                ($condition:expr) => {{
                    if $condition {
                        next = pc.wrapping_add(imm);
                        cost += u64::from(op.taken);
                    }
                    0
                }};
            }
            macro_rules! access {
                ($result:expr) => {
                    match $result {
                        Ok(value) => value,
                        Err(fault) => break Err(fault),
                    }
                };
            }
            // Branches and stores have the sink as destination, so that every arm has a value.
            let value = match op.kind {
                Kind::Lui => imm,
                Kind::Auipc => pc.wrapping_add(imm),
                Kind::Jal => {
                    let link = next;
                    next = pc.wrapping_add(imm);
                    cost += u64::from(op.taken);
                    link
                }
                Kind::Jalr => {
                    let link = next;
                    next = a.wrapping_add(imm) & !1;
                    let target = self.program.get((next.wrapping_sub(IMEM_BASE) >> 1) as usize);
                    cost += u64::from(target.is_some_and(|target| target.straddles));
                    link
                }
                Kind::Beq => branch!(a == b),
                Kind::Bne => branch!(a != b),
                Kind::Blt => branch!((a as i32) < b as i32),
                Kind::Bge => branch!(a as i32 >= b as i32),
                Kind::Bltu => branch!(a < b),
                Kind::Bgeu => branch!(a >= b),
                Kind::Lb => access!(bus.load::<1>(a.wrapping_add(imm))) as i8 as u32,
                Kind::Lh => access!(bus.load::<2>(a.wrapping_add(imm))) as i16 as u32,
                Kind::Lw => access!(bus.load::<4>(a.wrapping_add(imm))),
                Kind::Lbu => access!(bus.load::<1>(a.wrapping_add(imm))),
                Kind::Lhu => access!(bus.load::<2>(a.wrapping_add(imm))),
                Kind::Sb => {
                    access!(bus.store::<1>(a.wrapping_add(imm), b));
                    0
                }
                Kind::Sh => {
                    access!(bus.store::<2>(a.wrapping_add(imm), b));
                    0
                }
                Kind::Sw => {
                    access!(bus.store::<4>(a.wrapping_add(imm), b));
                    0
                }
                Kind::Addi => a.wrapping_add(imm),
                Kind::Slti => u32::from((a as i32) < op.imm),
                Kind::Sltiu => u32::from(a < imm),
                Kind::Xori => a ^ imm,
                Kind::Ori => a | imm,
                Kind::Andi => a & imm,
                Kind::Slli => a.wrapping_shl(imm),
                Kind::Srli => a.wrapping_shr(imm),
                Kind::Srai => (a as i32).wrapping_shr(imm) as u32,
                Kind::Add => a.wrapping_add(b),
                Kind::Sub => a.wrapping_sub(b),
                Kind::Sll => a.wrapping_shl(b),
                Kind::Slt => u32::from((a as i32) < b as i32),
                Kind::Sltu => u32::from(a < b),
                Kind::Xor => a ^ b,
                Kind::Srl => a.wrapping_shr(b),
                Kind::Sra => (a as i32).wrapping_shr(b) as u32,
                Kind::Or => a | b,
                Kind::And => a & b,
                Kind::Mul => a.wrapping_mul(b),
                Kind::Mulh => ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32,
                Kind::Mulhsu => ((i64::from(a as i32) * i64::from(b)) >> 32) as u32,
                Kind::Mulhu => ((u64::from(a) * u64::from(b)) >> 32) as u32,
                Kind::Div | Kind::Rem => {
                    cost += division_cycles((b as i32).unsigned_abs());
                    let (a, b) = (a as i32, b as i32);
                    match (op.kind, b) {
                        (Kind::Div, 0) => u32::MAX,
                        (Kind::Div, _) => a.wrapping_div(b) as u32,
                        (_, 0) => a as u32,
                        _ => a.wrapping_rem(b) as u32,
                    }
                }
                Kind::Divu => {
                    cost += division_cycles(b);
                    a.checked_div(b).unwrap_or(u32::MAX)
                }
                Kind::Remu => {
                    cost += division_cycles(b);
                    a.checked_rem(b).unwrap_or(a)
                }
                Kind::Fence => 0,
                Kind::Wfi => {
                    left -= 1;
                    cycles += cost;
                    pc = next;
                    break Ok(Stop::Waiting);
                }
                Kind::Illegal => break Err(Fault::Illegal { word: word_at(bus.imem(), pc) }),
            };
            x[usize::from(op.rd & 63)] = value;
            left -= 1;
            cycles += cost;
            pc = next;
        };
        self.pc = pc;
        self.cycles = cycles;
        self.retired += limit - left;
        stop.map_err(|fault| Trap { pc, fault })
    }
}

fn word_at(imem: &[u8], pc: u32) -> u32 {
    let start = pc.wrapping_sub(IMEM_BASE) as usize;
    let byte = |index: usize| u32::from(imem.get(start.wrapping_add(index)).copied().unwrap_or(0));
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

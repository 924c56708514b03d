//! The core: registers, counters and the interpreter loop.

use thiserror::Error;

use super::Stop;
use super::bus::Bus;
use super::decode::{Kind, Op};
use super::timing::{Clock, decode_program, signed_division, unsigned_division};
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
    clock: Clock,
}

impl Cpu {
    pub(super) fn new(imem: &[u8], entry: u32, stack_top: u32) -> Self {
        let mut registers = [0; 64];
        registers[2] = stack_top;
        Self { program: decode_program(imem), registers, pc: entry, retired: 0, clock: Clock::START }
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
        let mut pc = self.pc;
        let mut clock = self.clock;
        clock.wake();
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
            // Every arm tells the clock what it did, and has a value: branches and stores have the sink as destination.
            macro_rules! single {
                ($value:expr) => {{
                    clock.execute(u64::from(op.cycles), op.stalls);
                    $value
                }};
            }
            macro_rules! branch {
                ($condition:expr) => {{
                    let behind = (next.wrapping_sub(IMEM_BASE) >> 1) as usize;
                    if $condition {
                        next = pc.wrapping_add(imm);
                        clock.branch_taken(op.late, || self.program.get(behind));
                    } else {
                        clock.branch_not_taken(|| self.program.get(behind));
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
            macro_rules! divide {
                ($cycles:expr, $value:expr) => {{
                    clock.execute($cycles, op.stalls);
                    $value
                }};
            }
            let value = match op.kind {
                Kind::Lui => single!(imm),
                Kind::Auipc => single!(pc.wrapping_add(imm)),
                Kind::Jal => {
                    let link = next;
                    next = pc.wrapping_add(imm);
                    clock.jump(op.late);
                    link
                }
                Kind::Jalr => {
                    let link = next;
                    next = a.wrapping_add(imm) & !1;
                    let target = self.program.get((next.wrapping_sub(IMEM_BASE) >> 1) as usize);
                    let late = target.is_some_and(|target| target.straddles);
                    clock.jump_register(u64::from(late), op.rs1, op.rd == op.rs1);
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
                Kind::Mulh => single!(((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
                Kind::Mulhsu => single!(((i64::from(a as i32) * i64::from(b)) >> 32) as u32),
                Kind::Mulhu => single!(((u64::from(a) * u64::from(b)) >> 32) as u32),
                Kind::Div | Kind::Rem => {
                    let (dividend, divisor) = (a as i32, b as i32);
                    divide!(
                        signed_division(divisor),
                        match (op.kind, divisor) {
                            (Kind::Div, 0) => u32::MAX,
                            (Kind::Div, _) => dividend.wrapping_div(divisor) as u32,
                            (_, 0) => a,
                            _ => dividend.wrapping_rem(divisor) as u32,
                        }
                    )
                }
                Kind::Divu => divide!(unsigned_division(b), a.checked_div(b).unwrap_or(u32::MAX)),
                Kind::Remu => divide!(unsigned_division(b), a.checked_rem(b).unwrap_or(a)),
                Kind::Fence => {
                    clock.fence(op.late);
                    0
                }
                Kind::Wfi => {
                    left -= 1;
                    clock.sleep();
                    pc = next;
                    break Ok(Stop::Waiting);
                }
                Kind::Illegal => break Err(Fault::Illegal { word: word_at(bus.imem(), pc) }),
            };
            x[usize::from(op.rd & 63)] = value;
            left -= 1;
            pc = next;
        };
        self.pc = pc;
        self.clock = clock;
        self.retired += limit - left;
        stop.map_err(|fault| Trap { pc, fault })
    }
}

fn word_at(imem: &[u8], pc: u32) -> u32 {
    let start = pc.wrapping_sub(IMEM_BASE) as usize;
    let byte = |index: usize| u32::from(imem.get(start.wrapping_add(index)).copied().unwrap_or(0));
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

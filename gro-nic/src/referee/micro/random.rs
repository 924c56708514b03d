//! Random programs: what nobody thought of when the benchmarks were written.

use super::Case;
use super::asm::*;
use crate::machine::WaitStates;

/// A program of random instructions, the same for the same seed: arithmetic of every length, loads and stores of every memory, and
/// jumps and branches forward over some of it. Its wait states are random, too.
pub fn random(seed: u64) -> Case {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
    let mut setup = Vec::new();
    for register in FREE {
        setup.extend(set(register, random.word()));
    }
    if random.below(2) == 1 {
        setup.push(C_NOP);
    }
    let mut items = Vec::new();
    for _ in 0..random.below(12) + 4 {
        random.item(&mut items);
    }
    let wait = WaitStates {
        packet: [0, 1, 3, 10][random.below(4) as usize],
        registers: [0, 1, 3, 10][random.below(4) as usize],
    };
    Case { wait, ..Case::new("random", format!("seed {seed}"), &setup, &layout(&items)) }
}

/// Registers that programs write; `t2` is the base of jumps.
const FREE: [u32; 6] = [T0, T1, A0, A4, A5, RA];
const T2: u32 = 7;

/// Part of a program before addresses are known.
#[derive(Clone, Copy)]
enum Item {
    Plain(Insn),
    /// Forward over so many items.
    Jump {
        link: u32,
        over: usize,
    },
    ShortJump {
        over: usize,
    },
    Branch {
        funct3: u32,
        rs1: u32,
        rs2: u32,
        over: usize,
    },
    ShortBranch {
        nonzero: bool,
        rs1: u32,
        over: usize,
    },
    /// `auipc t2`, the address that a later `JumpTo` takes.
    Here,
    /// By t2, the address of the youngest `Here`, over so many items.
    JumpTo {
        link: u32,
        over: usize,
    },
}

impl Item {
    fn size(self) -> i32 {
        match self {
            Self::Plain(insn) => insn.size(),
            Self::ShortJump { .. } | Self::ShortBranch { .. } => 2,
            _ => 4,
        }
    }
}

/// Puts offsets in. A jump to where it may not go goes further.
fn layout(items: &[(Item, bool)]) -> Vec<Insn> {
    let distance = |from: usize, to: usize| -> i32 {
        let to = (to..items.len()).find(|&to| items[to].1).unwrap_or(items.len());
        items[from..to].iter().map(|(item, _)| item.size()).sum()
    };
    let mut here = 0;
    let insns = items.iter().enumerate().map(|(index, &(item, _))| match item {
        Item::Plain(insn) => insn,
        Item::Jump { link, over } => jal(link, distance(index, index + 1 + over)),
        Item::ShortJump { over } => c_j(distance(index, index + 1 + over)),
        Item::Branch { funct3, rs1, rs2, over } => {
            branch(funct3, rs1, rs2, distance(index, index + 1 + over))
        }
        Item::ShortBranch { nonzero, rs1, over } => c_branch(nonzero, rs1, distance(index, index + 1 + over)),
        Item::Here => {
            here = index;
            auipc(T2, 0)
        }
        Item::JumpTo { link, over } => jalr(link, T2, distance(here, index + 1 + over)),
    });
    insns.collect()
}

struct Random(u64);

impl Random {
    fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Small numbers are as likely as large ones: a division's time depends on it.
        (self.0 >> 32) as u32 >> ((self.0 >> 20) % 32)
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(bound)) as u32
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    /// Appends an item or a few that belong together, of which only the first may be jumped to.
    fn item(&mut self, items: &mut Vec<(Item, bool)>) {
        let over = self.below(4) as usize;
        match self.below(12) {
            0 => items.push((Item::Jump { link: self.pick(&[ZERO, RA, T0]), over }, true)),
            1 => items.push((Item::ShortJump { over }, true)),
            2 | 3 => {
                let funct3 = self.pick(&[BEQ, BNE, BLT, BGE, BLTU, BGEU]);
                let (rs1, rs2) = (self.pick(&FREE), self.pick(&FREE));
                items.push((Item::Branch { funct3, rs1, rs2, over }, true));
            }
            4 => {
                let nonzero = self.below(2) == 1;
                items.push((Item::ShortBranch { nonzero, rs1: self.pick(&[A0, A4, A5]), over }, true));
            }
            5 => self.jump_by_register(items, over),
            _ => {
                let insn = self.insn();
                items.push((Item::Plain(insn), true));
            }
        }
    }

    /// `t2` is set, perhaps stored and loaded again, and jumped by.
    fn jump_by_register(&mut self, items: &mut Vec<(Item, bool)>, over: usize) {
        items.push((Item::Here, true));
        if self.below(2) == 1 {
            let base = self.pick(&[A1, A2]);
            items.push((Item::Plain(store(SW, base, T2, 512)), false));
            items.push((Item::Plain(load(LW, T2, base, 512)), false));
        }
        for _ in 0..self.below(4) {
            let insn = self.insn();
            items.push((Item::Plain(insn), false));
        }
        if self.below(4) == 0 {
            let (rs1, rs2) = (self.pick(&FREE), self.pick(&FREE));
            items.push((Item::Branch { funct3: self.pick(&[BEQ, BNE]), rs1, rs2, over: 1 }, false));
        }
        items.push((Item::JumpTo { link: self.pick(&[ZERO, RA, T0, T2]), over }, false));
    }

    /// One that goes on to the next.
    fn insn(&mut self) -> Insn {
        let (rd, rs1, rs2) = (self.pick(&FREE), self.pick(&FREE), self.pick(&FREE));
        let base = self.pick(&[A1, A1, A2, A2, A3]);
        let offset = 4 * self.below(64);
        match self.below(16) {
            0 => C_NOP,
            1 => c_mv(rd, rs2),
            2 => NOP,
            3 => addi(rd, rs1, self.below(64) as i32 - 32),
            4 => alu(self.pick(&[ADD, SLL, SLT]), rd, rs1, rs2),
            5 => alu(MUL, rd, rs1, rs2),
            6 => alu(self.pick(&[MULH, MULHU, MULHSU]), rd, rs1, rs2),
            7 => alu(self.pick(&[DIV, DIVU, REM, REMU]), rd, rs1, rs2),
            8 => lui(rd, self.word()),
            9 if self.below(4) == 0 => FENCE,
            9..=11 => load(LW, self.pick(&[rd, rd, rd, ZERO]), base, offset as i32),
            12 if base != A3 => load(self.pick(&[LB, LBU]), rd, base, (offset + self.below(4)) as i32),
            12 => c_lw(A4, A1),
            13 if base != A3 => store(self.pick(&[SB, SH]), base, rs2, offset),
            _ => store(SW, base, rs2, offset),
        }
    }
}

//! Encodings of the instructions that the micro-benchmarks are made of.

/// An instruction, of two or four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insn {
    /// Two bytes.
    Short(u16),
    /// Four bytes.
    Long(u32),
}

impl Insn {
    /// Bytes.
    pub(super) fn size(self) -> i32 {
        match self {
            Self::Short(_) => 2,
            Self::Long(_) => 4,
        }
    }

    pub(super) fn append_to(self, code: &mut Vec<u8>) {
        match self {
            Self::Short(half) => code.extend(half.to_le_bytes()),
            Self::Long(word) => code.extend(word.to_le_bytes()),
        }
    }
}

pub(super) const ZERO: u32 = 0;
pub(super) const RA: u32 = 1;
pub(super) const T0: u32 = 5;
pub(super) const T1: u32 = 6;
pub(super) const A0: u32 = 10;
pub(super) const A1: u32 = 11;
pub(super) const A2: u32 = 12;
pub(super) const A3: u32 = 13;
pub(super) const A4: u32 = 14;
pub(super) const A5: u32 = 15;

pub(super) const WFI: Insn = Insn::Long(0x1050_0073);
pub(super) const FENCE: Insn = Insn::Long(0x0ff0_000f);
pub(super) const NOP: Insn = Insn::Long(0x0000_0013);
pub(super) const C_NOP: Insn = Insn::Short(0x0001);

pub(super) fn lui(rd: u32, upper: u32) -> Insn {
    Insn::Long(upper & 0xffff_f000 | rd << 7 | 0x37)
}

pub(super) fn auipc(rd: u32, upper: u32) -> Insn {
    Insn::Long(upper & 0xffff_f000 | rd << 7 | 0x17)
}

pub(super) fn addi(rd: u32, rs1: u32, imm: i32) -> Insn {
    Insn::Long((imm as u32) << 20 | rs1 << 15 | rd << 7 | 0x13)
}

/// `lui` and `addi` that leave `value` in `rd`.
pub(super) fn set(rd: u32, value: u32) -> [Insn; 2] {
    [lui(rd, value.wrapping_add(0x800)), addi(rd, rd, (value << 20) as i32 >> 20)]
}

/// Register and register, by `funct7` and `funct3`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alu(pub(super) u32, pub(super) u32);

pub(super) const ADD: Alu = Alu(0, 0);
pub(super) const SLL: Alu = Alu(0, 1);
pub(super) const SLT: Alu = Alu(0, 2);
pub(super) const MUL: Alu = Alu(1, 0);
pub(super) const MULH: Alu = Alu(1, 1);
pub(super) const MULHSU: Alu = Alu(1, 2);
pub(super) const MULHU: Alu = Alu(1, 3);
pub(super) const DIV: Alu = Alu(1, 4);
pub(super) const DIVU: Alu = Alu(1, 5);
pub(super) const REM: Alu = Alu(1, 6);
pub(super) const REMU: Alu = Alu(1, 7);

pub(super) fn alu(op: Alu, rd: u32, rs1: u32, rs2: u32) -> Insn {
    Insn::Long(op.0 << 25 | rs2 << 20 | rs1 << 15 | op.1 << 12 | rd << 7 | 0x33)
}

/// Loads by `funct3`.
pub(super) const LB: u32 = 0;
pub(super) const LH: u32 = 1;
pub(super) const LW: u32 = 2;
pub(super) const LBU: u32 = 4;
pub(super) const LHU: u32 = 5;

pub(super) fn load(funct3: u32, rd: u32, rs1: u32, imm: i32) -> Insn {
    Insn::Long((imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x03)
}

/// Stores by `funct3`.
pub(super) const SB: u32 = 0;
pub(super) const SH: u32 = 1;
pub(super) const SW: u32 = 2;

pub(super) fn store(funct3: u32, rs1: u32, rs2: u32, imm: u32) -> Insn {
    Insn::Long(imm >> 5 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23)
}

/// Branches by `funct3`.
pub(super) const BEQ: u32 = 0;
pub(super) const BNE: u32 = 1;
pub(super) const BLT: u32 = 4;
pub(super) const BGE: u32 = 5;
pub(super) const BLTU: u32 = 6;
pub(super) const BGEU: u32 = 7;

pub(super) fn branch(funct3: u32, rs1: u32, rs2: u32, offset: i32) -> Insn {
    let offset = offset as u32;
    let bits = |from: u32, count: u32| offset >> from & ((1 << count) - 1);
    let high = bits(12, 1) << 31 | bits(5, 6) << 25;
    let low = bits(1, 4) << 8 | bits(11, 1) << 7;
    Insn::Long(high | rs2 << 20 | rs1 << 15 | funct3 << 12 | low | 0x63)
}

pub(super) fn jal(rd: u32, offset: i32) -> Insn {
    let offset = offset as u32;
    let bits = |from: u32, count: u32| offset >> from & ((1 << count) - 1);
    let imm = bits(20, 1) << 31 | bits(1, 10) << 21 | bits(11, 1) << 20 | bits(12, 8) << 12;
    Insn::Long(imm | rd << 7 | 0x6f)
}

pub(super) fn jalr(rd: u32, rs1: u32, imm: i32) -> Insn {
    Insn::Long((imm as u32) << 20 | rs1 << 15 | rd << 7 | 0x67)
}

pub(super) fn c_j(offset: i32) -> Insn {
    let offset = offset as u32;
    let bit = |from: u32, to: u32| (offset >> from & 1) << to;
    let imm = bit(11, 12)
        | bit(4, 11)
        | bit(9, 10)
        | bit(8, 9)
        | bit(10, 8)
        | bit(6, 7)
        | bit(7, 6)
        | bit(3, 5)
        | bit(2, 4)
        | bit(1, 3)
        | bit(5, 2);
    Insn::Short((imm | 0xa001) as u16)
}

/// `c.beqz` (or `c.bnez`) of one of x8 to x15.
pub(super) fn c_branch(nonzero: bool, rs1: u32, offset: i32) -> Insn {
    let offset = offset as u32;
    let bit = |from: u32, to: u32| (offset >> from & 1) << to;
    let imm =
        bit(8, 12) | bit(4, 11) | bit(3, 10) | bit(7, 6) | bit(6, 5) | bit(2, 4) | bit(1, 3) | bit(5, 2);
    let opcode = if nonzero { 0xe001 } else { 0xc001 };
    Insn::Short((imm | (rs1 - 8) << 7 | opcode) as u16)
}

/// `c.jr`, or `c.jalr` with the link in `ra`.
pub(super) fn c_jr(link: bool, rs1: u32) -> Insn {
    Insn::Short((if link { 0x9002 } else { 0x8002 } | rs1 << 7) as u16)
}

/// `c.lw` between two of x8 to x15.
pub(super) fn c_lw(rd: u32, rs1: u32) -> Insn {
    Insn::Short((0x4000 | (rs1 - 8) << 7 | (rd - 8) << 2) as u16)
}

/// `c.mv`.
pub(super) fn c_mv(rd: u32, rs2: u32) -> Insn {
    Insn::Short((0x8002 | rd << 7 | rs2 << 2) as u16)
}

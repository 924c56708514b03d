//! RV32IMC instructions, decoded to a form that executes without looking at encodings again.
//!
//! A compressed instruction decodes to the one it abbreviates. Everything that is not RV32IMC, or that only a
//! hosted core needs (CSR access, `ecall`, `ebreak`, `fence.i`), is [`Kind::Illegal`].

/// Register number that takes the results meant for `x0`.
pub(crate) const SINK: u8 = 32;

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[rustfmt::skip]
pub(crate) enum Kind {
    Illegal,
    Lui, Auipc, Jal, Jalr,
    Beq, Bne, Blt, Bge, Bltu, Bgeu,
    Lb, Lh, Lw, Lbu, Lhu,
    Sb, Sh, Sw,
    Addi, Slti, Sltiu, Xori, Ori, Andi, Slli, Srli, Srai,
    Add, Sub, Sll, Slt, Sltu, Xor, Srl, Sra, Or, And,
    Mul, Mulh, Mulhsu, Mulhu, Div, Divu, Rem, Remu,
    Fence, Wfi,
}

/// One decoded instruction. Fields an instruction does not have are 0 (`rd`: [`SINK`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) kind: Kind,
    pub(crate) rd: u8,
    pub(crate) rs1: u8,
    pub(crate) rs2: u8,
    /// Immediate, sign extended; the upper 20 bits in place for `lui` and `auipc`.
    pub(crate) imm: i32,
    /// Bytes of the instruction, 2 or 4.
    pub(crate) length: u8,
    /// Cycles more that its target takes to be fetched, if that is known.
    pub(crate) late: u8,
    /// A load that the instruction behind it waits for.
    pub(crate) stalls: bool,
}

impl Kind {
    pub(crate) fn is_branch(self) -> bool {
        (Self::Beq as u8..=Self::Bgeu as u8).contains(&(self as u8))
    }

    pub(crate) fn is_load(self) -> bool {
        (Self::Lb as u8..=Self::Lhu as u8).contains(&(self as u8))
    }

    /// Whether EX makes its result: of register or immediate, or the link of a jump.
    pub(super) fn is_computation(self) -> bool {
        (Self::Lui as u8..=Self::Jalr as u8).contains(&(self as u8))
            || (Self::Addi as u8..=Self::Remu as u8).contains(&(self as u8))
    }

    fn is_store(self) -> bool {
        (Self::Sb as u8..=Self::Sw as u8).contains(&(self as u8))
    }

    fn is_register_register(self) -> bool {
        (Self::Add as u8..=Self::Remu as u8).contains(&(self as u8))
    }
}

impl Op {
    /// Whether it reaches across a word boundary, so that a jump to it, at `address`, costs a cycle more.
    #[inline(always)]
    pub(super) fn straddles(&self, address: u32) -> bool {
        address & 2 != 0 && self.length == 4
    }

    /// Whether the instruction waits for a load of register `rd` that is not answered: it reads the register, or would write it at once.
    /// The core compares register numbers, so a load of `x0` delays what computes `x0`.
    pub(crate) fn waits_for_load_of(&self, rd: u8) -> bool {
        self.reads(rd) || (self.kind.is_computation() && self.rd == rd)
    }

    /// Whether the instruction reads register `number`; nothing reads [`SINK`].
    pub(crate) fn reads(&self, number: u8) -> bool {
        use Kind::{Auipc, Fence, Illegal, Jal, Lui, Wfi};
        let first = !matches!(self.kind, Illegal | Lui | Auipc | Jal | Fence | Wfi);
        let second = self.kind.is_branch() || self.kind.is_store() || self.kind.is_register_register();
        (first && self.rs1 == number) || (second && self.rs2 == number)
    }
}

/// Decodes the instruction whose first half word is in the low half of `word`; `word` is all of a long one.
pub(crate) fn decode(word: u32) -> Op {
    if word & 3 == 3 { decode_long(word) } else { decode_compressed(word & 0xffff) }
}

fn decode_long(word: u32) -> Op {
    use Kind::*;
    let (rd, rs1, rs2) = (bits(word, 7, 5), bits(word, 15, 5), bits(word, 20, 5));
    let (funct3, funct7) = (bits(word, 12, 3) as usize, bits(word, 25, 7));
    let upper = (word & 0xffff_f000) as i32;
    let immediate = word as i32 >> 20;
    match word & 0x7f {
        0x37 => long(Lui, rd, 0, 0, upper),
        0x17 => long(Auipc, rd, 0, 0, upper),
        0x6f => {
            let scattered = bits(word, 31, 1) << 20
                | bits(word, 12, 8) << 12
                | bits(word, 20, 1) << 11
                | bits(word, 21, 10) << 1;
            long(Jal, rd, 0, 0, extend(scattered, 21))
        }
        0x67 if funct3 == 0 => long(Jalr, rd, rs1, 0, immediate),
        0x63 => {
            let scattered = bits(word, 31, 1) << 12
                | bits(word, 7, 1) << 11
                | bits(word, 25, 6) << 5
                | bits(word, 8, 4) << 1;
            let kind = [Beq, Bne, Illegal, Illegal, Blt, Bge, Bltu, Bgeu][funct3];
            long(kind, 0, rs1, rs2, extend(scattered, 13))
        }
        0x03 => long([Lb, Lh, Lw, Illegal, Lbu, Lhu, Illegal, Illegal][funct3], rd, rs1, 0, immediate),
        0x23 => {
            let kind = [Sb, Sh, Sw, Illegal, Illegal, Illegal, Illegal, Illegal][funct3];
            long(kind, 0, rs1, rs2, extend(funct7 << 5 | rd, 12))
        }
        0x13 => match (funct3, funct7) {
            (1, 0) => long(Slli, rd, rs1, 0, rs2 as i32),
            (5, 0) => long(Srli, rd, rs1, 0, rs2 as i32),
            (5, 0x20) => long(Srai, rd, rs1, 0, rs2 as i32),
            (1 | 5, _) => ILLEGAL_LONG,
            _ => long([Addi, Illegal, Slti, Sltiu, Xori, Illegal, Ori, Andi][funct3], rd, rs1, 0, immediate),
        },
        0x33 => {
            let kind = match (funct7, funct3) {
                (0, _) => [Add, Sll, Slt, Sltu, Xor, Srl, Or, And][funct3],
                (1, _) => [Mul, Mulh, Mulhsu, Mulhu, Div, Divu, Rem, Remu][funct3],
                (0x20, 0) => Sub,
                (0x20, 5) => Sra,
                _ => Illegal,
            };
            long(kind, rd, rs1, rs2, 0)
        }
        0x0f if funct3 == 0 => long(Fence, 0, 0, 0, 0),
        0x73 if word == 0x1050_0073 => long(Wfi, 0, 0, 0, 0),
        _ => ILLEGAL_LONG,
    }
}

fn decode_compressed(half: u32) -> Op {
    use Kind::*;
    let full = bits(half, 7, 5); // rd or rs1 in full
    let second = bits(half, 2, 5); // rs2 in full, or a shift amount
    let (low, high) = (8 + bits(half, 2, 3), 8 + bits(half, 7, 3)); // x8 to x15
    let bit12 = bits(half, 12, 1);
    let immediate = extend(bit12 << 5 | second, 6);
    match (half & 3, half >> 13) {
        (0, 0) => {
            let offset = bits(half, 7, 4) << 6
                | bits(half, 11, 2) << 4
                | bits(half, 5, 1) << 3
                | bits(half, 6, 1) << 2;
            short(if offset == 0 { Illegal } else { Addi }, low, 2, 0, offset as i32)
        }
        (0, 2 | 6) => {
            let offset = (bits(half, 10, 3) << 3 | bits(half, 6, 1) << 2 | bits(half, 5, 1) << 6) as i32;
            if half >> 13 == 2 { short(Lw, low, high, 0, offset) } else { short(Sw, 0, high, low, offset) }
        }
        (1, 0) => short(Addi, full, full, 0, immediate),
        (1, 1 | 5) => {
            let scattered = bit12 << 11
                | bits(half, 11, 1) << 4
                | bits(half, 9, 2) << 8
                | bits(half, 8, 1) << 10
                | bits(half, 7, 1) << 6
                | bits(half, 6, 1) << 7
                | bits(half, 3, 3) << 1
                | bits(half, 2, 1) << 5;
            short(Jal, u32::from(half >> 13 == 1), 0, 0, extend(scattered, 12))
        }
        (1, 2) => short(Addi, full, 0, 0, immediate),
        (1, 3) if immediate == 0 => ILLEGAL_SHORT,
        (1, 3) if full == 2 => {
            let scattered = bit12 << 9
                | bits(half, 6, 1) << 4
                | bits(half, 5, 1) << 6
                | bits(half, 3, 2) << 7
                | bits(half, 2, 1) << 5;
            short(Addi, 2, 2, 0, extend(scattered, 10))
        }
        (1, 3) => short(Lui, full, 0, 0, immediate << 12),
        (1, 4) => match (bits(half, 10, 2), bit12) {
            (0, 0) => short(Srli, high, high, 0, second as i32),
            (1, 0) => short(Srai, high, high, 0, second as i32),
            (2, _) => short(Andi, high, high, 0, immediate),
            (3, 0) => short([Sub, Xor, Or, And][bits(half, 5, 2) as usize], high, high, low, 0),
            _ => ILLEGAL_SHORT,
        },
        (1, 6 | 7) => {
            let scattered = bit12 << 8
                | bits(half, 10, 2) << 3
                | bits(half, 5, 2) << 6
                | bits(half, 3, 2) << 1
                | bits(half, 2, 1) << 5;
            short(if half >> 13 == 6 { Beq } else { Bne }, 0, high, 0, extend(scattered, 9))
        }
        (2, 0) if bit12 == 0 => short(Slli, full, full, 0, second as i32),
        (2, 2) if full != 0 => {
            let offset = bit12 << 5 | bits(half, 4, 3) << 2 | bits(half, 2, 2) << 6;
            short(Lw, full, 2, 0, offset as i32)
        }
        (2, 4) => match (bit12, full, second) {
            (_, 0, 0) => ILLEGAL_SHORT, // a jump to x0, or `ebreak`
            (0, _, 0) => short(Jalr, 0, full, 0, 0),
            (1, _, 0) => short(Jalr, 1, full, 0, 0),
            (0, _, _) => short(Add, full, 0, second, 0),
            _ => short(Add, full, full, second, 0),
        },
        (2, 6) => {
            let offset = bits(half, 9, 4) << 2 | bits(half, 7, 2) << 6;
            short(Sw, 0, 2, second, offset as i32)
        }
        _ => ILLEGAL_SHORT,
    }
}

const ILLEGAL_LONG: Op = op(Kind::Illegal, 0, 0, 0, 0, 4);
const ILLEGAL_SHORT: Op = op(Kind::Illegal, 0, 0, 0, 0, 2);

fn long(kind: Kind, rd: u32, rs1: u32, rs2: u32, imm: i32) -> Op {
    op(kind, rd, rs1, rs2, imm, 4)
}

fn short(kind: Kind, rd: u32, rs1: u32, rs2: u32, imm: i32) -> Op {
    op(kind, rd, rs1, rs2, imm, 2)
}

const fn op(kind: Kind, rd: u32, rs1: u32, rs2: u32, imm: i32, length: u8) -> Op {
    let rd = if rd == 0 { SINK } else { rd as u8 };
    Op { kind, rd, rs1: rs1 as u8, rs2: rs2 as u8, imm, length, late: 0, stalls: false }
}

fn bits(word: u32, from: u32, count: u32) -> u32 {
    word >> from & ((1 << count) - 1)
}

/// Sign extends the low `count` bits.
fn extend(value: u32, count: u32) -> i32 {
    (value << (32 - count)) as i32 >> (32 - count)
}

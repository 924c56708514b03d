//! What an instruction costs: a model after the CV32E40P user manual, checked against its RTL in one workload only.
//!
//! | instruction | cycles |
//! |---|---|
//! | ALU, load, store, `mul` | 1 |
//! | the same behind a load of one of its operands | 1 more |
//! | `mulh`, `mulhsu`, `mulhu` | 5 |
//! | division, remainder | 3 + leading zeros of the divisor, so 3 to 35 |
//! | jump | 2 |
//! | `jalr` behind an instruction that writes its base | 2 more (the manual says 1, the RTL measured 2) |
//! | branch | 1 not taken, 3 taken |
//! | jump or taken branch to a long instruction at 2 mod 4 | 1 more |
//! | `fence` | 5 |
//! | access to a memory with wait states | that many more |
//!
//! All but division and the target of a `jalr` is known when the program is loaded: whatever stands behind a load
//! in memory also follows it in time. So the costs are stored with the decoded instructions.

use super::decode::{Kind, Op, SINK, decode};

/// Extra cycles of a `jalr` whose base the instruction before it writes.
const JUMP_REGISTER_STALL: u8 = 2;

/// Decodes every half word of instruction memory, whether an instruction starts there or not, and prices it.
pub(super) fn decode_program(imem: &[u8]) -> Vec<Op> {
    let half = |index: usize| {
        imem.get(index * 2..index * 2 + 2).map_or(0, |bytes| u32::from(bytes[0]) | u32::from(bytes[1]) << 8)
    };
    let mut program: Vec<Op> =
        (0..imem.len() / 2).map(|index| decode(half(index) | half(index + 1) << 16)).collect();

    for index in 0..program.len() {
        let mut op = program[index];
        op.straddles = index % 2 == 1 && op.length == 4;
        op.cycles = base_cycles(op.kind);
        let next = program.get(index + usize::from(op.length) / 2);
        if let Some(next) = next.filter(|next| op.rd != SINK && !transfers(op.kind) && next.reads(op.rd)) {
            op.cycles += u8::from(op.kind.is_load());
            op.cycles += if next.kind == Kind::Jalr { JUMP_REGISTER_STALL } else { 0 };
        }
        program[index] = op;
    }
    for index in 0..program.len() {
        let mut op = program[index];
        if op.kind == Kind::Jal || op.kind.is_branch() {
            let target = (index as i64 * 2 + i64::from(op.imm)) / 2;
            let late = usize::try_from(target).ok().and_then(|target| program.get(target));
            let late = u8::from(late.is_some_and(|target| target.straddles));
            op.taken = if op.kind == Kind::Jal { late } else { 2 + late };
        }
        program[index] = op;
    }
    program
}

/// Cycles of a division by `divisor`, of which a signed one is given the magnitude.
#[inline(always)]
pub(super) fn division_cycles(divisor: u32) -> u64 {
    3 + u64::from(divisor.leading_zeros())
}

fn base_cycles(kind: Kind) -> u8 {
    match kind {
        Kind::Jal | Kind::Jalr => 2,
        Kind::Mulh | Kind::Mulhsu | Kind::Mulhu | Kind::Fence => 5,
        // Priced by the divisor when it is known.
        Kind::Div | Kind::Divu | Kind::Rem | Kind::Remu => 0,
        _ => 1,
    }
}

/// Whether the instruction behind this one in memory is not the one that follows it in time.
fn transfers(kind: Kind) -> bool {
    matches!(kind, Kind::Jal | Kind::Jalr)
}

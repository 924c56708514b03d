//! Conditional branches: taken or not, forward or backward, from and to every alignment.

use super::Case;
use super::asm::*;

/// Where the instruction at a branch's target lies.
#[derive(Clone, Copy)]
pub(super) struct Landing {
    pub(super) name: &'static str,
    /// At 2 mod 4.
    pub(super) half: bool,
    pub(super) insn: Insn,
}

pub(super) const LANDINGS: [Landing; 4] = [
    Landing { name: "a short one at 0 mod 4", half: false, insn: C_NOP },
    Landing { name: "a short one at 2 mod 4", half: true, insn: C_NOP },
    Landing { name: "a long one at 0 mod 4", half: false, insn: NOP },
    Landing { name: "a long one at 2 mod 4", half: true, insn: NOP },
];

/// A body that comes through `before` to `transfer(offset)`, which lies at 2 mod 4 (`half`) or 0 mod 4, and goes from it to `landing`,
/// behind it or before it.
pub(super) fn body(
    half: bool,
    backward: bool,
    landing: Landing,
    before: &[Insn],
    transfer: &dyn Fn(i32) -> Insn,
) -> Vec<Insn> {
    let mut code = if backward {
        // jal to `before`; landing; jal to the end; before; transfer to landing; end.
        let mut island = if landing.half { vec![C_NOP] } else { Vec::new() };
        let start = 4 + size(&island);
        island.push(landing.insn);
        let leave = island.len();
        island.push(jal(ZERO, 0));
        align(&mut island, half, 4 + size(before));
        let end = 4 + size(&island) + size(before) + transfer(0).size();
        island[leave] = jal(ZERO, end - 4 - size(&island[..leave]));
        let from = end - transfer(0).size();
        [&[jal(ZERO, 4 + size(&island))], &island[..], before, &[transfer(start - from)]].concat()
    } else {
        // before; transfer; skipped; landing.
        let mut code = Vec::new();
        align(&mut code, half, size(before));
        code.extend(before);
        let from = size(&code);
        let mut skipped = vec![C_NOP, NOP];
        align(&mut skipped, landing.half, from + transfer(0).size());
        code.push(transfer(transfer(0).size() + size(&skipped)));
        code.extend(skipped);
        code.push(landing.insn);
        code
    };
    align(&mut code, false, 0);
    code
}

pub(super) fn size(insns: &[Insn]) -> i32 {
    insns.iter().map(|insn| insn.size()).sum()
}

/// Appends what brings its end, with `more` bytes beside it, to 2 mod 4 (`half`) or 0 mod 4.
fn align(code: &mut Vec<Insn>, half: bool, more: i32) {
    if ((size(code) + more) % 4 == 2) != half {
        code.push(C_NOP);
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, setup: &[Insn], body: &[Insn]| {
        cases.push(Case::new("branch", name, setup, body));
    };
    // a0 = -1, a4 = 1, a5 = 0.
    let setup = [addi(A0, ZERO, -1), addi(A4, ZERO, 1), addi(A5, ZERO, 0)];
    let kinds = [
        ("beq", BEQ, (A4, A4), (A4, A5)),
        ("bne", BNE, (A4, A5), (A4, A4)),
        ("blt", BLT, (A0, A4), (A4, A0)),
        ("bge", BGE, (A4, A0), (A0, A4)),
        ("bltu", BLTU, (A4, A0), (A0, A4)),
        ("bgeu", BGEU, (A0, A4), (A4, A0)),
    ];
    for (name, funct3, taken, not) in kinds {
        for backward in [false, true] {
            let way = if backward { "backward" } else { "forward" };
            for half in [false, true] {
                let from = if half { "2 mod 4" } else { "0 mod 4" };
                let skip =
                    body(half, backward, LANDINGS[2], &[], &|offset| branch(funct3, not.0, not.1, offset));
                add(format!("{name} at {from} {way}, not taken"), &setup, &skip);
                for landing in LANDINGS {
                    let code = body(half, backward, landing, &[], &|offset| {
                        branch(funct3, taken.0, taken.1, offset)
                    });
                    add(format!("{name} at {from} {way}, taken to {}", landing.name), &setup, &code);
                }
            }
        }
    }
    for (name, nonzero, taken, not) in [("c.beqz", false, A5, A4), ("c.bnez", true, A4, A5)] {
        for backward in [false, true] {
            let way = if backward { "backward" } else { "forward" };
            for half in [false, true] {
                let from = if half { "2 mod 4" } else { "0 mod 4" };
                let skip = body(half, backward, LANDINGS[2], &[], &|offset| c_branch(nonzero, not, offset));
                add(format!("{name} at {from} {way}, not taken"), &setup, &skip);
                for landing in LANDINGS {
                    let code = body(half, backward, landing, &[], &|offset| c_branch(nonzero, taken, offset));
                    add(format!("{name} at {from} {way}, taken to {}", landing.name), &setup, &code);
                }
            }
        }
    }
    let taken = |offset| branch(BEQ, A4, A4, offset);
    let not = |offset| branch(BNE, A4, A4, offset);
    let compare = [alu(SLT, A5, A0, A4)];
    let with =
        |before: &[Insn], transfer: &dyn Fn(i32) -> Insn| body(false, false, LANDINGS[2], before, transfer);
    add("slt; beq of its result, taken".into(), &setup, &with(&compare, &|to| branch(BEQ, A5, A4, to)));
    let word = [load(LW, A5, A1, 0)];
    add("lw; beq of its result, taken".into(), &setup, &with(&word, &|to| branch(BEQ, A5, ZERO, to)));
    add("lw; beq of its result, not taken".into(), &setup, &with(&word, &|to| branch(BNE, A5, ZERO, to)));
    add("two branches in a row, neither taken".into(), &setup, &with(&[not(8)], &not));
    add("two branches in a row, the second taken".into(), &setup, &with(&[not(8)], &taken));
    for (name, multi) in [("mulh", alu(MULH, T0, A0, A4)), ("div", alu(DIV, T0, A0, A4))] {
        add(format!("{name}; taken branch"), &setup, &with(&[multi], &taken));
        add(
            format!("{name}; branch of its result, not taken"),
            &setup,
            &with(&[multi], &|to| branch(BEQ, T0, A4, to)),
        );
    }
    // A loop of 10 rounds.
    let round = [addi(A4, A4, -1), branch(BNE, A4, ZERO, -4)];
    add("loop of 10 rounds: addi, bne".into(), &[addi(A4, ZERO, 10)], &round);
    let round = [C_NOP, addi(A4, A4, -1), branch(BNE, A4, ZERO, -4), C_NOP];
    add("loop of 10 rounds at 2 mod 4: addi, bne".into(), &[addi(A4, ZERO, 10)], &round);
    cases
}

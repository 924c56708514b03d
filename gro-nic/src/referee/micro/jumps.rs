//! Jumps, direct and by register.

use super::Case;
use super::asm::*;
use super::branches::{LANDINGS, body, size};

/// `auipc t0, 0` and `distance` instructions behind it, then a jump by t0 to behind what it skips.
fn by_register(between: &[Insn], jump: &dyn Fn(i32) -> Insn) -> Vec<Insn> {
    let from = 4 + size(between);
    let skipped = [NOP, NOP];
    let end = from + jump(0).size() + size(&skipped);
    let mut code = vec![auipc(T0, 0)];
    code.extend(between);
    code.push(jump(end));
    code.extend(skipped);
    code.push(NOP);
    code
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, setup: &[Insn], body: &[Insn]| {
        cases.push(Case::new("jump", name, setup, body));
    };
    for backward in [false, true] {
        let way = if backward { "backward" } else { "forward" };
        for half in [false, true] {
            let from = if half { "2 mod 4" } else { "0 mod 4" };
            for landing in LANDINGS {
                let code = body(half, backward, landing, &[], &|offset| jal(RA, offset));
                add(format!("jal at {from} {way} to {}", landing.name), &[], &code);
                let code = body(half, backward, landing, &[], &c_j);
                add(format!("c.j at {from} {way} to {}", landing.name), &[], &code);
            }
        }
    }
    let with =
        |before: &[Insn], transfer: &dyn Fn(i32) -> Insn| body(false, false, LANDINGS[2], before, transfer);
    let jump = |to| jal(ZERO, to);
    let straddling = |before: &[Insn]| body(false, false, LANDINGS[3], before, &|to| jal(ZERO, to));
    let ones = [addi(A0, ZERO, -1), addi(A4, ZERO, 3)];
    add("jal behind a branch that is not taken".into(), &ones, &with(&[branch(BEQ, A0, A4, 8)], &jump));
    add("jal behind a load".into(), &[], &with(&[load(LW, A5, A1, 0)], &jump));
    add("jal behind mul".into(), &ones, &with(&[alu(MUL, A5, A0, A4)], &jump));
    add("jal behind mulh".into(), &ones, &with(&[alu(MULH, A5, A0, A4)], &jump));
    add("jal behind mulh to a long one at 2 mod 4".into(), &ones, &straddling(&[alu(MULH, A5, A0, A4)]));
    add("jal behind div".into(), &ones, &with(&[alu(DIV, A5, A0, A4)], &jump));
    add("jal behind div to a long one at 2 mod 4".into(), &ones, &straddling(&[alu(DIV, A5, A0, A4)]));
    let top = [addi(A0, ZERO, -1), lui(A4, 0x8000_0000)];
    add("jal behind divu of 3 cycles".into(), &top, &with(&[alu(DIVU, A5, A0, A4)], &jump));
    add(
        "jal behind divu of 3 cycles to a long one at 2 mod 4".into(),
        &top,
        &straddling(&[alu(DIVU, A5, A0, A4)]),
    );
    add("jal; jal".into(), &[], &[jal(ZERO, 8), NOP, jal(ZERO, 8), NOP, NOP]);
    add(
        "jal to a long one at 2 mod 4, which is a jal".into(),
        &[],
        &[jal(ZERO, 6), C_NOP, jal(ZERO, 6), C_NOP],
    );

    // By register, the base of which was written some instructions before.
    let jalr_to = |to| jalr(RA, T0, to);
    add("jalr right behind the write of its base".into(), &[], &by_register(&[], &jalr_to));
    for distance in 1..=3 {
        let between = vec![NOP; distance];
        add(format!("jalr {distance} behind the write of its base"), &[], &by_register(&between, &jalr_to));
    }
    let own = |to| jalr(T0, T0, to);
    add("jalr with the link in its base, right behind the write of it".into(), &[], &by_register(&[], &own));
    add(
        "jalr with the link in its base, 3 behind the write of it".into(),
        &[],
        &by_register(&[NOP; 3], &own),
    );
    add(
        "jalr with the link in its base, behind mulh".into(),
        &ones,
        &by_register(&[NOP, alu(MULH, A5, A0, A4)], &own),
    );
    let linked = |to| jalr(ZERO, T0, to);
    add("jalr without link, 3 behind the write of its base".into(), &[], &by_register(&[NOP; 3], &linked));
    add(
        "jalr behind a load of another register".into(),
        &[],
        &by_register(&[NOP, NOP, load(LW, A5, A1, 0)], &jalr_to),
    );
    add(
        "jalr behind mulh of another register".into(),
        &ones,
        &by_register(&[NOP, NOP, alu(MULH, A5, A0, A4)], &jalr_to),
    );
    add(
        "jalr behind div of another register".into(),
        &ones,
        &by_register(&[NOP, NOP, alu(DIV, A5, A0, A4)], &jalr_to),
    );
    let moved = [C_NOP, C_NOP, c_mv(T1, T0)];
    add("c.mv; jalr by it".into(), &[], &by_register(&moved, &|to| jalr(RA, T1, to)));

    // By register, the base of which was loaded: a0 holds the address, which is also in data memory.
    let stored = [auipc(A0, 0), addi(A0, A0, 0), store(SW, A1, A0, 0)];
    let from_memory = |between: &[Insn], jump: &dyn Fn(i32) -> Insn| {
        // From the auipc of the set-up: three instructions, the wait, the load, and what is between and skipped.
        let target = 12 + 4 + 4 + size(between) + jump(0).size() + 4;
        let mut code = vec![load(LW, T0, A1, 0)];
        code.extend(between);
        code.extend([jump(target), NOP, NOP]);
        code
    };
    add("jalr right behind the load of its base".into(), &stored, &from_memory(&[], &jalr_to));
    for distance in 1..=3 {
        let between = vec![NOP; distance];
        add(
            format!("jalr {distance} behind the load of its base"),
            &stored,
            &from_memory(&between, &jalr_to),
        );
    }
    let other = [load(LW, A5, A1, 4)];
    add("lw of the base; lw; jalr".into(), &stored, &from_memory(&other, &jalr_to));
    let other = [store(SW, A1, A5, 4)];
    add("lw of the base; sw; jalr".into(), &stored, &from_memory(&other, &jalr_to));
    let two = [load(LW, A5, A1, 4), load(LW, A4, A1, 8)];
    add("lw of the base; lw; lw; jalr".into(), &stored, &from_memory(&two, &jalr_to));
    let skip = [jal(ZERO, 4)];
    add("lw of the base; jal; jalr".into(), &stored, &from_memory(&skip, &jalr_to));
    let no = [branch(BNE, ZERO, ZERO, 8)];
    add("lw of the base; branch not taken; jalr".into(), &stored, &from_memory(&no, &jalr_to));
    let long = [alu(MULH, A5, A0, A1)];
    add("lw of the base; mulh; jalr".into(), &stored, &from_memory(&long, &jalr_to));

    // To every alignment: four or six bytes behind the jump, which is one or two words behind the wait.
    for landing in LANDINGS {
        let skipped = if landing.half { vec![NOP, C_NOP] } else { vec![NOP] };
        let target = 12 + 4 + 4 + size(&skipped);
        let tail = [&skipped[..], &[landing.insn]].concat();
        let long = [&[jalr(RA, A0, target)], &tail[..]].concat();
        add(format!("jalr to {}", landing.name), &stored, &long);
        let set = [auipc(A0, 0), addi(A4, A0, target), NOP];
        let short = [&[C_NOP, c_jr(true, A4)], &tail[..]].concat();
        add(format!("c.jalr to {}", landing.name), &set, &short);
    }
    // Call and return.
    let call = [jal(RA, 12), NOP, jal(ZERO, 12), addi(A0, ZERO, 1), c_jr(false, RA), C_NOP, NOP];
    add("call and return".into(), &[], &call);
    add("fence".into(), &[], &[FENCE]);
    add("fence before a long one at 2 mod 4".into(), &[], &[C_NOP, FENCE, NOP, C_NOP]);
    add("fence; fence".into(), &[], &[FENCE, FENCE]);
    add("fence behind a load".into(), &[], &[load(LW, A0, A1, 0), FENCE]);
    add("fence behind mulh".into(), &ones, &[alu(MULH, A5, A0, A4), FENCE]);
    add("a long one at 2 mod 4 behind the wait".into(), &[C_NOP], &[NOP, C_NOP]);
    add("a short one at 2 mod 4 behind the wait".into(), &[C_NOP], &[C_NOP, NOP]);
    add("the wait at 2 mod 4, twice".into(), &[C_NOP], &[]);
    add("mulh before the wait".into(), &ones, &[alu(MULH, A5, A0, A4)]);
    add("load before the wait".into(), &[], &[load(LW, A0, A1, 0)]);
    add("store before the wait".into(), &[], &[store(SW, A1, A0, 0)]);
    add("short instruction before the wait".into(), &[], &[C_NOP]);
    add("jump before the wait".into(), &[], &[jal(ZERO, 4)]);
    add("taken branch before the wait".into(), &[], &[branch(BEQ, ZERO, ZERO, 4)]);
    cases
}

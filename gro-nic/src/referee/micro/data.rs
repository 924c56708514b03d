//! Arithmetic, loads and stores.

use super::Case;
use super::asm::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = arithmetic();
    cases.extend(loads());
    for wait in [0, 3, 10] {
        cases.extend(waits(wait));
    }
    cases
}

fn arithmetic() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, setup: &[Insn], body: &[Insn]| {
        cases.push(Case::new("arithmetic", name, setup, body));
    };
    add("addi".into(), &[], &[addi(A0, A0, 1)]);
    add("addi; addi of its result".into(), &[], &[addi(A0, A0, 1), addi(A0, A0, 1)]);
    add("long ones at 2 mod 4".into(), &[], &[C_NOP, NOP, NOP, NOP, C_NOP]);
    add("short ones".into(), &[], &[C_NOP; 8]);
    let operands = [addi(A4, ZERO, -7), addi(A5, ZERO, 3)];
    for (name, op) in [("sll", SLL), ("mul", MUL), ("mulh", MULH), ("mulhsu", MULHSU), ("mulhu", MULHU)] {
        add(name.into(), &operands, &[alu(op, A0, A4, A5)]);
        let chain = [alu(op, A0, A4, A5), alu(ADD, A0, A0, A4)];
        add(format!("{name}; add of its result"), &operands, &chain);
        add(format!("{name}; {name} of its result"), &operands, &[alu(op, A0, A4, A5), alu(op, A0, A0, A4)]);
    }
    let (min, ones) = (0x8000_0000, u32::MAX);
    let divisors = [
        0,
        1,
        2,
        3,
        7,
        255,
        256,
        65_535,
        65_536,
        0x4000_0000,
        0x7fff_ffff,
        min,
        0x8000_0001,
        0xffff_0000,
        ones - 1,
        ones,
    ];
    for (name, op) in [("div", DIV), ("divu", DIVU), ("rem", REM), ("remu", REMU)] {
        for divisor in divisors {
            let setup = [set(A4, 1_000_000), set(A5, divisor)].concat();
            add(format!("{name} 1000000 by {divisor:#x}"), &setup, &[alu(op, A0, A4, A5)]);
        }
        for dividend in [0, 1, min, ones] {
            let setup = [set(A4, dividend), set(A5, 10)].concat();
            add(format!("{name} {dividend:#x} by 10"), &setup, &[alu(op, A0, A4, A5)]);
        }
        let chain = [alu(op, A0, A4, A5), alu(ADD, A0, A0, A4)];
        add(format!("{name}; add of its result"), &operands, &chain);
    }
    cases
}

fn loads() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, setup: &[Insn], body: &[Insn]| {
        cases.push(Case::new("load and store", name, setup, body));
    };
    for (name, funct3) in [("lb", LB), ("lh", LH), ("lw", LW), ("lbu", LBU), ("lhu", LHU)] {
        add(name.into(), &[], &[load(funct3, A0, A1, 4)]);
        add(format!("{name}; addi of its result"), &[], &[load(funct3, A0, A1, 4), addi(A0, A0, 1)]);
    }
    for (name, funct3) in [("sb", SB), ("sh", SH), ("sw", SW)] {
        add(name.into(), &[], &[store(funct3, A1, A0, 4)]);
        add(format!("{name}; lw of it"), &[], &[store(funct3, A1, A0, 4), load(LW, A0, A1, 4)]);
    }
    let word = load(LW, A0, A1, 4);
    add("c.lw; addi of its result".into(), &[], &[c_lw(A0, A1), C_NOP, c_lw(A0, A1), addi(A4, A0, 1), C_NOP]);
    add("lw; nop; addi of its result".into(), &[], &[word, NOP, addi(A0, A0, 1)]);
    add("lw; add of its result as second operand".into(), &[], &[word, alu(ADD, A4, A5, A0)]);
    add("lw; sw of its result".into(), &[], &[word, store(SW, A1, A0, 8)]);
    add("lw; sw to the address loaded".into(), &[store(SW, A1, A1, 4)], &[word, store(SW, A0, A5, 8)]);
    add("lw; lw from the address loaded".into(), &[store(SW, A1, A1, 4)], &[word, load(LW, A4, A0, 8)]);
    add("lw; lw of the same register".into(), &[], &[word, load(LW, A0, A1, 8)]);
    add("lw; addi to the same register".into(), &[], &[word, addi(A0, A5, 1)]);
    add("lw; mul of its result".into(), &[], &[word, alu(MUL, A4, A0, A0)]);
    add("lw; mulh of its result".into(), &[], &[word, alu(MULH, A4, A0, A0)]);
    add("lw; div of its result".into(), &[], &[word, alu(DIV, A4, A1, A0)]);
    add("lw; div by another".into(), &[], &[word, alu(DIV, A4, A1, A5)]);
    add("lw of x0; nop of x0".into(), &[], &[load(LW, ZERO, A1, 4), NOP]);
    add("lw of x0; lw of x0".into(), &[], &[load(LW, ZERO, A1, 4), load(LW, ZERO, A1, 4)]);
    add(
        "four lw in a row".into(),
        &[],
        &[load(LW, A0, A1, 0), load(LW, A4, A1, 4), load(LW, A5, A1, 8), load(LW, T0, A1, 12)],
    );
    add(
        "four sw in a row".into(),
        &[],
        &[store(SW, A1, A0, 0), store(SW, A1, A0, 4), store(SW, A1, A0, 8), store(SW, A1, A0, 12)],
    );
    add("mulh; lw".into(), &[], &[alu(MULH, A0, A1, A1), word]);
    add("div; sw of its result".into(), &[], &[alu(DIV, A0, A1, A1), store(SW, A1, A0, 8)]);
    cases
}

/// Accesses that take `wait` cycles more, and what the core does meanwhile.
fn waits(wait: u32) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, body: &[Insn]| {
        // a0 holds its own address and that of the word behind the wait; the word is in packet memory, too.
        let setup = [auipc(A0, 0), addi(A0, A0, 0), store(SW, A2, A0, 64), addi(A4, ZERO, 3)];
        cases.push(
            Case::new("wait states", format!("{name}, {wait} wait states"), &setup, body).waiting(wait),
        );
    };
    let (fast, slow, page) = (load(LW, T1, A1, 4), load(LW, T0, A2, 4), load(LW, T0, A3, 4));
    let (fast_store, slow_store, page_store) =
        (store(SW, A1, A4, 8), store(SW, A2, A4, 8), store(SW, A3, A4, 64));
    let (mulh, div) = (alu(MULH, A5, A4, A4), alu(DIV, A5, A1, A4));
    let use_it = addi(A5, T0, 1);
    let not = branch(BNE, ZERO, ZERO, 8);
    let taken = [branch(BEQ, ZERO, ZERO, 8), NOP];
    let jump = [jal(ZERO, 8), NOP];
    let bodies: &[(&str, &[Insn])] = &[
        ("lw", &[slow]),
        ("lw of a register", &[page]),
        ("lw; nop", &[slow, NOP]),
        ("lw; 3 nop", &[slow, NOP, NOP, NOP]),
        ("lw; 12 nop", &[slow, NOP, NOP, NOP, NOP, NOP, NOP, NOP, NOP, NOP, NOP, NOP, NOP]),
        ("lw; addi of its result", &[slow, use_it]),
        ("lw; nop; addi of its result", &[slow, NOP, use_it]),
        ("lw; lw", &[slow, load(LW, A5, A2, 8)]),
        ("lw; lw of data memory", &[slow, fast]),
        ("lw of data memory; lw", &[fast, slow]),
        ("lw; lw of the same register", &[slow, load(LW, T0, A2, 8)]),
        ("lw; lw from data memory; addi of the first", &[slow, fast, use_it]),
        ("lw; lw; lw; addi", &[slow, load(LW, A5, A2, 8), load(LW, T1, A2, 8), addi(T1, T1, 1)]),
        ("lw; sw", &[slow, slow_store]),
        ("lw; sw of its result", &[slow, store(SW, A2, T0, 8)]),
        ("lw; sw to data memory", &[slow, fast_store]),
        ("sw", &[slow_store]),
        ("sw to a register", &[page_store]),
        ("sw; nop", &[slow_store, NOP]),
        ("sw; 3 nop", &[slow_store, NOP, NOP, NOP]),
        ("sw; sw", &[slow_store, slow_store]),
        ("sw; sw; sw; sw", &[slow_store; 4]),
        ("sw; lw", &[slow_store, slow]),
        ("sw; lw; addi of its result", &[slow_store, slow, use_it]),
        ("sw; lw of data memory", &[slow_store, fast]),
        ("lw; mulh", &[slow, mulh]),
        ("lw; mulh; nop", &[slow, mulh, NOP]),
        ("lw; nop; mulh", &[slow, NOP, mulh]),
        ("lw; div", &[slow, div]),
        ("lw; mulh of its result", &[slow, alu(MULH, A5, T0, T0)]),
        ("mulh; lw", &[mulh, slow]),
        ("div; lw", &[div, slow]),
        ("lw; mulh; lw", &[slow, mulh, slow]),
        ("lw; div; sw", &[slow, div, slow_store]),
        ("lw; branch not taken", &[slow, not]),
        ("lw; branch not taken; nop", &[slow, not, NOP]),
        ("lw; branch not taken; lw", &[slow, not, slow]),
        ("lw; branch not taken; branch not taken; nop", &[slow, not, not, NOP]),
        ("lw; branch of its result, not taken", &[slow, branch(BNE, T0, T0, 8)]),
        ("lw; taken branch", &[slow, taken[0], NOP]),
        ("lw; taken branch; lw", &[slow, taken[0], NOP, slow]),
        ("lw; taken branch; taken branch", &[slow, taken[0], NOP, taken[0], NOP]),
        ("lw; nop; taken branch", &[slow, NOP, taken[0], NOP]),
        ("lw; nop; branch not taken; nop", &[slow, NOP, not, NOP]),
        ("sw; taken branch", &[slow_store, taken[0], NOP]),
        ("lw; jal", &[slow, jump[0], NOP]),
        ("lw; jal; lw", &[slow, jump[0], NOP, slow]),
        ("lw; jal to a long one at 2 mod 4", &[slow, jal(ZERO, 6), C_NOP, NOP, C_NOP]),
        ("lw; jal; jal", &[slow, jump[0], NOP, jump[0], NOP]),
        ("lw; nop; jal", &[slow, NOP, jump[0], NOP]),
        ("lw; lw; jal", &[slow, slow, jump[0], NOP]),
        ("lw; lw; jal to a long one at 2 mod 4", &[slow, slow, jal(ZERO, 6), C_NOP, NOP, C_NOP]),
        ("lw; taken branch to a long one at 2 mod 4", &[slow, branch(BEQ, ZERO, ZERO, 6), C_NOP, NOP, C_NOP]),
        (
            "lw; nop; taken branch to a long one at 2 mod 4",
            &[slow, NOP, branch(BEQ, ZERO, ZERO, 6), C_NOP, NOP, C_NOP],
        ),
        ("lw; nop; jal to a long one at 2 mod 4", &[slow, NOP, jal(ZERO, 6), C_NOP, NOP, C_NOP]),
        ("lw; mulh; jal to a long one at 2 mod 4", &[slow, mulh, jal(ZERO, 6), C_NOP, NOP, C_NOP]),
        ("lw; jal; lw; jal; lw", &[slow, jump[0], NOP, slow, jump[0], NOP, slow]),
        ("lw; nop; lw; nop; sw; nop", &[slow, NOP, slow, NOP, slow_store, NOP]),
        ("lw; addi to the same register", &[slow, addi(T0, A4, 1)]),
        ("lw; jal with link to the register loaded", &[slow, jal(T0, 8), NOP]),
        ("lw; mulh; mulh", &[slow, mulh, mulh]),
        ("lw; mulh; branch not taken; nop", &[slow, mulh, not, NOP]),
        ("lw; branch not taken; mulh; nop", &[slow, not, mulh, NOP]),
        ("lw; branch not taken; jal", &[slow, not, jump[0], NOP]),
        ("lw; branch not taken; taken branch", &[slow, not, taken[0], NOP]),
        ("lw; branch not taken; div; sw", &[slow, not, div, slow_store]),
        ("lw; jal; branch not taken; nop", &[slow, jump[0], NOP, not, NOP]),
        ("lw; taken branch; jal", &[slow, taken[0], NOP, jump[0], NOP]),
        ("sw; jal", &[slow_store, jump[0], NOP]),
        ("sw; mulh; jal", &[slow_store, mulh, jump[0], NOP]),
        ("lw; mulh; jal", &[slow, mulh, jump[0], NOP]),
        ("lw; fence", &[slow, FENCE]),
        ("sw; fence", &[slow_store, FENCE]),
        ("sw; nop; fence", &[slow_store, NOP, FENCE]),
    ];
    for &(name, body) in bodies {
        add(name.to_owned(), body);
    }
    // The base of a jump comes from slow memory: from the auipc of the set-up, four instructions and the wait.
    let base = load(LW, T0, A2, 64);
    let jalr_cases: &[(&str, &[Insn])] = &[
        ("lw of the base; jalr", &[]),
        ("lw of the base; nop; jalr", &[NOP]),
        ("lw of the base; nop; nop; jalr", &[NOP, NOP]),
        ("lw of the base; lw; jalr", &[load(LW, A5, A2, 8)]),
        ("lw of the base; lw of data memory; jalr", &[fast]),
        ("lw of the base; sw to data memory; jalr", &[fast_store]),
        ("lw of the base; branch not taken; jalr", &[branch(BNE, ZERO, ZERO, 8)]),
        ("lw of the base; jal; jalr", &[jal(ZERO, 4)]),
        ("lw of the base; mulh; jalr", &[mulh]),
    ];
    for &(name, between) in jalr_cases {
        let target = 16 + 4 + 4 + 4 * between.len() as i32 + 4 + 4;
        let mut code = vec![base];
        code.extend(between);
        code.extend([jalr(ZERO, T0, target), NOP, NOP]);
        add(name.to_owned(), &code);
    }
    // The base is written behind a slow access, or long before.
    let target = |between: i32| 16 + 4 + 4 * between + 4 + 4;
    add("lw; addi of the base; jalr".into(), &[slow, addi(T1, A0, 0), jalr(ZERO, T1, target(2)), NOP, NOP]);
    add("lw; jalr".into(), &[slow, jalr(ZERO, A0, target(1)), NOP, NOP]);
    add(
        "lw; jalr to a long one at 2 mod 4".into(),
        &[slow, jalr(ZERO, A0, target(1) - 2), C_NOP, NOP, C_NOP],
    );
    add("lw; nop; jalr".into(), &[slow, NOP, jalr(ZERO, A0, target(2)), NOP, NOP]);
    add(
        "sw; addi of the base; jalr".into(),
        &[slow_store, addi(T1, A0, 0), jalr(ZERO, T1, target(2)), NOP, NOP],
    );
    cases
}

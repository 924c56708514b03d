use super::decode::{Kind, Kind::*, SINK, decode};
use super::*;
use crate::abi::memory::{DMEM_BASE, DMEM_SIZE, IMEM_BASE, IMEM_SIZE, MMIO_BASE, PACKET_BASE};
use crate::image::Region;

/// Encodings as LLVM's assembler writes them: word, source, and what it must decode to (rd, rs1, rs2, immediate).
#[rustfmt::skip]
const ENCODINGS: &[(u32, &str, Kind, u8, u8, u8, i32)] = &[
    (0x1234_5537, "lui a0, 0x12345", Lui, 10, 0, 0, 305418240),
    (0xffff_f597, "auipc a1, 0xfffff", Auipc, 11, 0, 0, -4096),
    (0x0010_00ef, "jal ra, .+2048", Jal, 1, 0, 0, 2048),
    (0xff1f_f06f, "jal zero, .-16", Jal, 32, 0, 0, -16),
    (0xffc5_00e7, "jalr ra, -4(a0)", Jalr, 1, 10, 0, -4),
    (0x00b5_0863, "beq a0, a1, .+16", Beq, 32, 10, 11, 16),
    (0xfeb5_18e3, "bne a0, a1, .-16", Bne, 32, 10, 11, -16),
    (0x7ff4_4fe3, "blt s0, t6, .+4094", Blt, 32, 8, 31, 4094),
    (0x80b5_5063, "bge a0, a1, .-4096", Bge, 32, 10, 11, -4096),
    (0x00b5_6463, "bltu a0, a1, .+8", Bltu, 32, 10, 11, 8),
    (0x00b5_7463, "bgeu a0, a1, .+8", Bgeu, 32, 10, 11, 8),
    (0xfff5_8503, "lb a0, -1(a1)", Lb, 10, 11, 0, -1),
    (0x0025_9503, "lh a0, 2(a1)", Lh, 10, 11, 0, 2),
    (0x7ff5_a503, "lw a0, 2047(a1)", Lw, 10, 11, 0, 2047),
    (0x8005_c503, "lbu a0, -2048(a1)", Lbu, 10, 11, 0, -2048),
    (0x0045_d503, "lhu a0, 4(a1)", Lhu, 10, 11, 0, 4),
    (0xfea5_8fa3, "sb a0, -1(a1)", Sb, 32, 11, 10, -1),
    (0x7ea5_9f23, "sh a0, 2046(a1)", Sh, 32, 11, 10, 2046),
    (0x80a5_a023, "sw a0, -2048(a1)", Sw, 32, 11, 10, -2048),
    (0xff9f_0f93, "addi t6, t5, -7", Addi, 31, 30, 0, -7),
    (0xfff5_a513, "slti a0, a1, -1", Slti, 10, 11, 0, -1),
    (0x0015_b513, "sltiu a0, a1, 1", Sltiu, 10, 11, 0, 1),
    (0xfff5_c513, "xori a0, a1, -1", Xori, 10, 11, 0, -1),
    (0x0055_e513, "ori a0, a1, 5", Ori, 10, 11, 0, 5),
    (0x0ff5_f513, "andi a0, a1, 255", Andi, 10, 11, 0, 255),
    (0x01f5_9513, "slli a0, a1, 31", Slli, 10, 11, 0, 31),
    (0x0015_d513, "srli a0, a1, 1", Srli, 10, 11, 0, 1),
    (0x4115_d513, "srai a0, a1, 17", Srai, 10, 11, 0, 17),
    (0x00c5_8533, "add a0, a1, a2", Add, 10, 11, 12, 0),
    (0x40c5_8533, "sub a0, a1, a2", Sub, 10, 11, 12, 0),
    (0x00c5_9533, "sll a0, a1, a2", Sll, 10, 11, 12, 0),
    (0x00c5_a533, "slt a0, a1, a2", Slt, 10, 11, 12, 0),
    (0x00c5_b533, "sltu a0, a1, a2", Sltu, 10, 11, 12, 0),
    (0x00c5_c533, "xor a0, a1, a2", Xor, 10, 11, 12, 0),
    (0x00c5_d533, "srl a0, a1, a2", Srl, 10, 11, 12, 0),
    (0x40c5_d533, "sra a0, a1, a2", Sra, 10, 11, 12, 0),
    (0x00c5_e533, "or a0, a1, a2", Or, 10, 11, 12, 0),
    (0x00c5_f533, "and a0, a1, a2", And, 10, 11, 12, 0),
    (0x02c5_8533, "mul a0, a1, a2", Mul, 10, 11, 12, 0),
    (0x02c5_9533, "mulh a0, a1, a2", Mulh, 10, 11, 12, 0),
    (0x02c5_a533, "mulhsu a0, a1, a2", Mulhsu, 10, 11, 12, 0),
    (0x02c5_b533, "mulhu a0, a1, a2", Mulhu, 10, 11, 12, 0),
    (0x02c5_c533, "div a0, a1, a2", Div, 10, 11, 12, 0),
    (0x02c5_d533, "divu a0, a1, a2", Divu, 10, 11, 12, 0),
    (0x02c5_e533, "rem a0, a1, a2", Rem, 10, 11, 12, 0),
    (0x02c5_f533, "remu a0, a1, a2", Remu, 10, 11, 12, 0),
    (0x0ff0_000f, "fence", Fence, 32, 0, 0, 0),
    (0x1050_0073, "wfi", Wfi, 32, 0, 0, 0),
    (0x1fe0, "c.addi4spn s0, sp, 1020", Addi, 8, 2, 0, 1020),
    (0x005c, "c.addi4spn a5, sp, 4", Addi, 15, 2, 0, 4),
    (0x5fe4, "c.lw s1, 124(a5)", Lw, 9, 15, 0, 124),
    (0x41c8, "c.lw a0, 4(a1)", Lw, 10, 11, 0, 4),
    (0xc3a4, "c.sw s1, 64(a5)", Sw, 32, 15, 9, 64),
    (0x1d81, "c.addi s11, -32", Addi, 27, 27, 0, -32),
    (0x0001, "c.nop", Addi, 32, 0, 0, 0),
    (0x2ffd, "c.jal .+2046", Jal, 1, 0, 0, 2046),
    (0x3001, "c.jal .-2048", Jal, 1, 0, 0, -2048),
    (0xbffd, "c.j .-2", Jal, 32, 0, 0, -2),
    (0xa019, "c.j .+6", Jal, 32, 0, 0, 6),
    (0x557d, "c.li a0, -1", Addi, 10, 0, 0, -1),
    (0x4ffd, "c.li t6, 31", Addi, 31, 0, 0, 31),
    (0x7101, "c.addi16sp sp, -512", Addi, 2, 2, 0, -512),
    (0x617d, "c.addi16sp sp, 496", Addi, 2, 2, 0, 496),
    (0x657d, "c.lui a0, 31", Lui, 10, 0, 0, 126976),
    (0x7501, "c.lui a0, 0xfffe0", Lui, 10, 0, 0, -131072),
    (0x807d, "c.srli s0, 31", Srli, 8, 8, 0, 31),
    (0x8785, "c.srai a5, 1", Srai, 15, 15, 0, 1),
    (0x9901, "c.andi a0, -32", Andi, 10, 10, 0, -32),
    (0x8c05, "c.sub s0, s1", Sub, 8, 8, 9, 0),
    (0x8c25, "c.xor s0, s1", Xor, 8, 8, 9, 0),
    (0x8c45, "c.or s0, s1", Or, 8, 8, 9, 0),
    (0x8c65, "c.and s0, s1", And, 8, 8, 9, 0),
    (0xcd7d, "c.beqz a0, .+254", Beq, 32, 10, 0, 254),
    (0xf101, "c.bnez a0, .-256", Bne, 32, 10, 0, -256),
    (0x0ffe, "c.slli t6, 31", Slli, 31, 31, 0, 31),
    (0x5ffe, "c.lwsp t6, 252(sp)", Lw, 31, 2, 0, 252),
    (0xdffe, "c.swsp t6, 252(sp)", Sw, 32, 2, 31, 252),
    (0xc202, "c.swsp zero, 4(sp)", Sw, 32, 2, 0, 4),
    (0x8082, "c.jr ra", Jalr, 32, 1, 0, 0),
    (0x9282, "c.jalr t0", Jalr, 1, 5, 0, 0),
    (0x857e, "c.mv a0, t6", Add, 10, 0, 31, 0),
    (0x957e, "c.add a0, t6", Add, 10, 10, 31, 0),
];

#[test]
fn every_instruction_decodes() {
    for &(word, source, kind, rd, rs1, rs2, imm) in ENCODINGS {
        let op = decode(word);
        assert_eq!((op.kind, op.rd, op.rs1, op.rs2, op.imm), (kind, rd, rs1, rs2, imm), "{source}");
        assert_eq!(op.length, if word & 3 == 3 { 4 } else { 2 }, "{source}");
    }
}

#[test]
fn what_is_not_rv32imc_is_illegal() {
    let words = [
        0x0000_0000, // the defined illegal instruction
        0x3000_9073, // csrw mstatus
        0x0000_0073, // ecall
        0x0010_0073, // ebreak
        0x0000_100f, // fence.i
        0x9002,      // c.ebreak
        0x8002,      // c.jr x0
        0x4002,      // c.lwsp x0
        0x6101,      // c.addi16sp 0
        0x6501,      // c.lui 0
        0x9101,      // c.srli with a shift of 32 or more
        0x9c01,      // c.subw
        0x2000,      // c.fld
        0x0205_9513, // slli with a shift of 32 or more
        0x4005_9533, // funct7 of sub with funct3 of sll
        0x0005_a067, // jalr with another funct3
        0x0000_b003, // ld
        0x0000_3023, // sd
        0x0000_2063, // branch with funct3 2
        0x1000_202f, // lr.w
        0xffff_ffff,
    ];
    for word in words {
        assert_eq!(decode(word).kind, Illegal, "{word:#010x}");
    }
    // Whatever the bits, decoding ends with registers the interpreter has.
    let mut word = 1_u32;
    for _ in 0..200_000 {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let op = decode(word);
        assert!(op.rd <= SINK && op.rs1 < 32 && op.rs2 < 32);
    }
}

/// A machine with `words` as its program; a word whose low bits are not 11 is a short instruction.
fn machine(words: &[u32]) -> Machine {
    let mut bytes = Vec::new();
    for word in words {
        let length = if word & 3 == 3 { 4 } else { 2 };
        bytes.extend_from_slice(&word.to_le_bytes()[..length]);
    }
    let packet = Region { base: PACKET_BASE, size: 4096, wait_states: 3 };
    Machine::new(&Image::of_program(bytes, vec![0x80, 0x90, 0xa0, 0xb0], packet))
}

fn trap(machine: &mut Machine, budget: u64) -> Trap {
    match machine.run(budget) {
        Err(CoreError::Trap(trap)) => trap,
        other => panic!("{other:?}"),
    }
}

const WFI: u32 = 0x1050_0073;

fn lui(rd: u32, upper: u32) -> u32 {
    upper & 0xffff_f000 | rd << 7 | 0x37
}

fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | rd << 7 | 0x13
}

fn alu(funct7: u32, funct3: u32) -> u32 {
    funct7 << 25 | 12 << 20 | 11 << 15 | funct3 << 12 | 10 << 7 | 0x33 // a0 = a1 op a2
}

fn load(funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x03
}

fn store(funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23
}

fn branch(funct3: u32, offset: u32) -> u32 {
    12 << 20 | 11 << 15 | funct3 << 12 | (offset >> 1 & 15) << 8 | 0x63 // a1, a2, forward up to 30
}

/// `lui` and `addi` that leave `value` in `rd`.
fn set(rd: u32, value: u32) -> [u32; 2] {
    [lui(rd, value.wrapping_add(0x800)), addi(rd, rd, (value << 20) as i32 >> 20)]
}

/// a0 after `word` with a1 and a2 set.
fn compute(word: u32, a1: u32, a2: u32) -> u32 {
    let program = [&set(11, a1)[..], &set(12, a2), &[word, WFI]].concat();
    let mut machine = machine(&program);
    machine.run(100).unwrap();
    machine.cpu.register(10)
}

#[test]
fn arithmetic_is_that_of_the_manual() {
    let (min, max) = (0x8000_0000, u32::MAX);
    let cases: &[(u32, u32, u32, u32, u32)] = &[
        (0, 0, max, 2, 1),
        (0x20, 0, 1, 2, max),
        (0, 1, 1, 33, 2),
        (0, 2, max, 0, 1),
        (0, 3, max, 0, 0),
        (0, 4, 0xf0f0, 0x0ff0, 0xff00),
        (0, 5, min, 31, 1),
        (0x20, 5, min, 31, max),
        (0, 6, 0xf0, 0x0f, 0xff),
        (0, 7, 0xf0, 0x3c, 0x30),
        (1, 0, 0x1_0001, 0x1_0001, 0x2_0001),
        (1, 1, max, max, 0),
        (1, 1, min, min, 0x4000_0000),
        (1, 2, max, max, max),
        (1, 2, min, 2, max),
        (1, 3, max, max, max - 1),
        (1, 4, 7, max - 1, (-3_i32) as u32),
        (1, 4, 7, 0, max),
        (1, 4, min, max, min),
        (1, 5, max, 2, 0x7fff_ffff),
        (1, 5, 7, 0, max),
        (1, 6, (-7_i32) as u32, 2, max),
        (1, 6, 7, 0, 7),
        (1, 6, min, max, 0),
        (1, 7, 7, 4, 3),
        (1, 7, 7, 0, 7),
    ];
    for &(funct7, funct3, a1, a2, expected) in cases {
        assert_eq!(compute(alu(funct7, funct3), a1, a2), expected, "{funct7} {funct3} {a1:#x} {a2:#x}");
    }
    let immediates = [
        (0xfff5_a513, 0, 0),              // slti a0, a1, -1
        (0x0015_b513, 0, 1),              // sltiu a0, a1, 1
        (0xfff5_c513, 5, !5),             // xori a0, a1, -1
        (0x0055_e513, 8, 13),             // ori a0, a1, 5
        (0x0ff5_f513, 0x1234, 0x34),      // andi a0, a1, 255
        (0x01f5_9513, 1, min),            // slli a0, a1, 31
        (0x0015_d513, max, 0x7fff_ffff),  // srli a0, a1, 1
        (0x4115_d513, min, 0xffff_c000),  // srai a0, a1, 17
        (0x0000_0517, 0, IMEM_BASE + 16), // auipc a0, 0 behind four instructions
    ];
    for (word, a1, expected) in immediates {
        assert_eq!(compute(word, a1, 0), expected, "{word:#010x}");
    }
}

#[test]
fn loads_extend_and_stores_keep_neighbours() {
    let program = [
        lui(11, DMEM_BASE),
        load(0, 10, 11, 1),
        load(4, 12, 11, 1),
        load(1, 13, 11, 2),
        load(5, 14, 11, 2),
        load(2, 15, 11, 0),
        store(2, 11, 15, 8),
        store(0, 11, 13, 9),
        store(1, 11, 12, 10),
        load(2, 16, 11, 8),
        addi(0, 11, 1), // writes to x0 are lost
        WFI,
    ];
    let mut machine = machine(&program);
    machine.run(100).unwrap();
    let x = |number| machine.cpu.register(number);
    assert_eq!((x(10), x(12)), (0xffff_ff90, 0x90));
    assert_eq!((x(13), x(14)), (0xffff_b0a0, 0xb0a0));
    assert_eq!((x(15), x(16), x(0)), (0xb0a0_9080, 0x0090_a080, 0));
}

#[test]
fn branches_and_jumps_go_where_they_should() {
    let (one, minus) = (1, u32::MAX);
    let taken =
        [(0, one, one), (1, one, minus), (4, minus, one), (5, one, minus), (6, one, minus), (7, minus, one)];
    for (funct3, a1, a2) in taken {
        // Over an instruction that would leave 0 in a0.
        let run = |a1, a2| {
            let program = [
                &[addi(10, 0, 7)][..],
                &set(11, a1),
                &set(12, a2),
                &[branch(funct3, 8), addi(10, 0, 0), WFI],
            ];
            let mut machine = machine(&program.concat());
            machine.run(100).unwrap();
            machine.cpu.register(10)
        };
        assert_eq!(run(a1, a2), 7, "{funct3} taken");
        let (b1, b2) = if funct3 == 0 {
            (a1, minus)
        } else if funct3 == 1 {
            (a1, a1)
        } else {
            (a2, a1)
        };
        assert_eq!(run(b1, b2), 0, "{funct3} not taken");
    }
    // jal ra over a wfi; jalr back to it with an odd target, whose lowest bit is dropped.
    let mut machine = machine(&[0x0080_00ef, WFI, 0x0010_80e7]);
    machine.run(10).unwrap();
    assert_eq!((machine.instructions(), machine.cpu.register(1)), (3, IMEM_BASE + 12));
    // After the wait it goes on behind it: the jump again, now to what `ra` holds.
    assert_eq!(trap(&mut machine, 10).pc, IMEM_BASE + 12);
}

#[test]
fn cycles_follow_the_model() {
    let cycles = |program: &[u32]| {
        let mut machine = machine(&[program, &[WFI]].concat());
        machine.run(100).unwrap();
        machine.cycles().unwrap() - 4 // the wfi
    };
    let base = lui(11, DMEM_BASE);
    assert_eq!(cycles(&[base]), 1);
    assert_eq!(cycles(&[base, load(2, 10, 11, 0), addi(12, 0, 1)]), 3);
    assert_eq!(cycles(&[base, load(2, 10, 11, 0), addi(12, 10, 1)]), 4, "load-use");
    assert_eq!(cycles(&[base, load(2, 0, 11, 0), addi(12, 0, 1)]), 3, "a load to x0 delays nobody");
    assert_eq!(cycles(&[base, load(2, 12, 11, 0), store(2, 11, 12, 4)]), 4, "load-use of a store");
    assert_eq!(cycles(&[alu(1, 0)]), 1, "mul");
    assert_eq!(cycles(&[alu(1, 1)]), 5, "mulh");
    assert_eq!(cycles(&[alu(1, 5)]), 35, "divu by 0");
    assert_eq!(cycles(&[lui(12, 0x8000_0000), alu(1, 5)]), 1 + 3, "divu by 2^31");
    assert_eq!(cycles(&[addi(12, 0, -1), alu(1, 4)]), 1 + 34, "div by -1");
    assert_eq!(cycles(&[0x0040_006f]), 2, "jal to the next instruction");
    assert_eq!(cycles(&[branch(0, 4)]), 3, "taken branch");
    assert_eq!(cycles(&[branch(1, 4)]), 1, "branch not taken");
    assert_eq!(cycles(&[0xa011, 0x0001]), 2, "c.j over a c.nop");
    assert_eq!(cycles(&[0x0001, 0xa011, 0x0001]), 1 + 3, "c.j to a long instruction at 2 mod 4");
    assert_eq!(cycles(&[lui(11, PACKET_BASE), load(2, 10, 11, 0)]), 1 + 1 + 3, "wait states");
    let jump = [0x0000_0597, addi(12, 0, 0), 0x00c5_8067]; // auipc a1; ...; jalr x0, 12(a1)
    assert_eq!(cycles(&jump), 1 + 1 + 2);
    let dependent = [addi(12, 0, 0), 0x0000_0597, 0x0085_8067]; // ...; auipc a1; jalr x0, 8(a1)
    assert_eq!(cycles(&dependent), 1 + 1 + 1 + 2, "jalr behind the write of its base");
}

#[test]
fn waiting_costs_what_falling_asleep_and_waking_up_do() {
    let mut machine = machine(&[WFI, WFI, addi(10, 0, 1), WFI]);
    let mut stops = [0; 3];
    for stop in &mut stops {
        machine.run(10).unwrap();
        *stop = machine.cycles().unwrap();
    }
    assert_eq!(stops, [4, 4 + 6, 4 + 6 + 7]);
}

#[test]
fn a_broken_rule_stops_the_machine_and_names_the_place() {
    let fault = |program: &[u32]| trap(&mut machine(program), 1000);
    let at = |index: u32, fault| Trap { pc: IMEM_BASE + 4 * index, fault };
    let (code, data) = (lui(11, IMEM_BASE), lui(11, DMEM_BASE));

    assert_eq!(fault(&[data, 0x3000_9073]), at(1, Fault::Illegal { word: 0x3000_9073 }));
    assert_eq!(fault(&[0x0000_0067]), Trap { pc: 0, fault: Fault::Fetch });
    assert_eq!(fault(&[lui(11, IMEM_BASE + IMEM_SIZE), 0x0005_8067]).fault, Fault::Fetch);
    assert_eq!(fault(&[load(2, 10, 0, 0)]), at(0, Fault::Load { address: 0, size: 4 }));
    assert_eq!(fault(&[load(0, 10, 0, -1)]), at(0, Fault::Load { address: u32::MAX, size: 1 }));
    let end = DMEM_BASE + DMEM_SIZE;
    assert_eq!(fault(&[lui(11, end), load(2, 10, 11, 0)]), at(1, Fault::Load { address: end, size: 4 }));
    assert_eq!(
        fault(&[lui(11, PACKET_BASE + 4096), store(1, 11, 10, 0)]),
        at(1, Fault::Store { address: PACKET_BASE + 4096, size: 2 })
    );
    assert_eq!(fault(&[code, store(2, 11, 10, 0)]), at(1, Fault::Store { address: IMEM_BASE, size: 4 }));
    assert_eq!(
        fault(&[data, load(2, 10, 11, 2)]),
        at(1, Fault::Misaligned { address: DMEM_BASE + 2, size: 4 })
    );
    assert_eq!(
        fault(&[data, store(1, 11, 10, 1)]),
        at(1, Fault::Misaligned { address: DMEM_BASE + 1, size: 2 })
    );
    // Registers: whole words only; the host's are read-only.
    let page = lui(11, MMIO_BASE);
    assert_eq!(fault(&[page, load(0, 10, 11, 0)]), at(1, Fault::Load { address: MMIO_BASE, size: 1 }));
    assert_eq!(fault(&[page, store(2, 11, 10, 4)]), at(1, Fault::Store { address: MMIO_BASE + 4, size: 4 }));
    let beyond = MMIO_BASE + 0x1000;
    assert_eq!(
        fault(&[lui(11, beyond), load(2, 10, 11, 0)]),
        at(1, Fault::Load { address: beyond, size: 4 })
    );

    // The trap leaves the machine where it was: running again says the same.
    let mut machine = machine(&[data, 0x0000_0073]);
    let first = trap(&mut machine, 10);
    assert_eq!(trap(&mut machine, 10), first);
    assert_eq!(machine.instructions(), 1);
    assert_eq!(first.to_string(), "illegal instruction 0x00000073 at pc 0x80000004");
}

#[test]
fn a_budget_is_a_pause_and_not_an_end() {
    let program = [addi(10, 10, 1), addi(10, 10, 1), addi(10, 10, 1), WFI];
    let (mut whole, mut slices) = (machine(&program), machine(&program));
    assert_eq!(whole.run(100).unwrap(), Stop::Waiting);
    for _ in 0..3 {
        assert_eq!(slices.run(1).unwrap(), Stop::Budget);
    }
    assert_eq!(slices.run(1).unwrap(), Stop::Waiting);
    assert_eq!((whole.cpu.register(10), slices.cpu.register(10)), (3, 3));
    assert_eq!((whole.instructions(), whole.cycles()), (slices.instructions(), slices.cycles()));
    assert_eq!(machine(&[0x0000_006f]).run(1000).unwrap(), Stop::Budget, "an endless loop");
}

#[test]
fn registers_pass_words_both_ways() {
    let program = [
        &[lui(11, MMIO_BASE), load(2, 10, 11, 8)][..],
        &set(12, MMIO_BASE + 0x800),
        &[store(2, 12, 10, 4), WFI],
    ];
    let mut machine = machine(&program.concat());
    machine.bus_mut().set_register(8, 77);
    machine.run(10).unwrap();
    assert_eq!((machine.bus().register(0x804), machine.bus().register(0x1000)), (77, 0));
}

#[test]
fn random_code_never_harms_the_host() {
    let mut state = 7_u64;
    for _ in 0..2_000 {
        let words: Vec<u32> = (0..64)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 32) as u32 | if state & 1024 == 0 { 3 } else { 0 }
            })
            .collect();
        let _ = machine(&words).run(500);
    }
}

//! Small programs, each with one thing that the walk has to see; and the images that ship.

use super::*;
use crate::abi::memory::{DMEM_BASE, DMEM_SIZE, IMEM_BASE};
use crate::machine::decode::Kind;

const TOP: u32 = DMEM_BASE + DMEM_SIZE;
const RET: u32 = 0x0000_8067;
const WFI: u32 = 0x1050_0073;
const SP: u32 = 2;
const A0: u32 = 10;
const A1: u32 = 11;

fn of(words: &[u32]) -> Result<StackBound, StackError> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let memory_size = bytes.len() as u32;
    bound_of(&Segment { address: IMEM_BASE, bytes, memory_size }, IMEM_BASE, TOP)
}

fn at(index: u32) -> u32 {
    IMEM_BASE + 4 * index
}

fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | rd << 7 | 0x13
}

fn push(bytes: i32) -> u32 {
    addi(SP, SP, -bytes)
}

fn lui(rd: u32, upper: u32) -> u32 {
    upper & 0xffff_f000 | rd << 7 | 0x37
}

fn jal(rd: u32, offset: i32) -> u32 {
    let offset = offset as u32;
    (offset >> 20 & 1) << 31
        | (offset >> 1 & 0x3ff) << 21
        | (offset >> 11 & 1) << 20
        | (offset >> 12 & 0xff) << 12
        | rd << 7
        | 0x6f
}

fn branch(funct3: u32, rs1: u32, rs2: u32, offset: i32) -> u32 {
    let offset = offset as u32;
    (offset >> 12 & 1) << 31
        | (offset >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (offset >> 1 & 15) << 8
        | (offset >> 11 & 1) << 7
        | 0x63
}

/// Waits for ever.
const IDLE: [u32; 2] = [WFI, 0xffdf_f06f];

#[test]
fn the_deepest_chain_counts() {
    // 16 bytes, then f (32, which calls g with 64) or g; then idle.
    let words = [
        push(16),
        jal(1, 12), // f
        jal(1, 28), // g
        jal(0, 36), // idle
        push(32),   // f
        jal(1, 16),
        addi(SP, SP, 32),
        RET,
        0,
        push(64), // g
        addi(SP, SP, 64),
        RET,
        IDLE[0],
        IDLE[1],
    ];
    let bound = of(&words).unwrap();
    let frame = |index, bytes| Frame { entry: at(index), bytes };
    assert_eq!(bound.chain, [frame(0, 16), frame(4, 32), frame(9, 64)]);
    assert_eq!((bound.bytes, bound.functions, bound.instructions), (112, 3, 13));
}

#[test]
fn frames_of_any_size_tail_calls_and_the_start_are_followed() {
    // la sp, top; lui t0, 1; sub sp, sp, t0; a tail call; there 16 bytes more.
    let sub = 0x4051_0133;
    let words = [lui(SP, TOP), lui(5, 4096), sub, jal(0, 8), 0, push(16), WFI, jal(0, -4)];
    assert_eq!(of(&words).unwrap().bytes, 4096 + 16);
    // auipc ra, 0; jalr ra, 16(ra): a call by address, of what takes 48.
    let words = [0x0000_0097, 0x0100_80e7, IDLE[0], IDLE[1], push(48), addi(SP, SP, 48), RET];
    assert_eq!(of(&words).unwrap().bytes, 48);
    // What is deepest need not be at a call.
    let words = [jal(1, 16), push(80), WFI, jal(0, -4), push(64), addi(SP, SP, 64), RET];
    let bound = of(&words).unwrap();
    assert_eq!((bound.bytes, bound.chain.len()), (80, 1));
}

/// `lw a0`, an index below 3, `jr` through a table of three.
fn table(check: u32, entries: [u32; 3]) -> Vec<u32> {
    vec![
        0x0005_2503, // lw a0, 0(a0)
        addi(A1, 0, 2),
        check,
        0x0025_1513, // slli a0, a0, 2
        lui(A1, at(0)),
        addi(A1, A1, 12 * 4),
        0x00b5_0533, // add a0, a0, a1
        0x0005_2503, // lw a0, 0(a0)
        0x0005_0067, // jr a0
        push(32),
        IDLE[0],
        jal(0, -4),
        entries[0],
        entries[1],
        entries[2],
    ]
}

#[test]
fn a_jump_table_is_followed_as_far_as_its_compare_goes() {
    let good = [at(9), at(10), at(10)];
    // bltu a1, a0: out of range, at 10. At 10 the stack is at two depths then: so all go to 10 or all to 9.
    let outside = branch(6, A1, A0, 32);
    assert_eq!(of(&table(outside, good)), Err(StackError::Pointer(at(10))));
    assert_eq!(of(&table(outside, [at(10); 3])).unwrap().bytes, 0);
    let bound = of(&table(branch(6, A1, A0, 28), [at(9); 3])).unwrap();
    assert_eq!(bound.bytes, 32);
    // bgeu a1, a0: in range if taken, over a wait.
    let bgeu = [&table(0, [at(9); 3])[..2], &[branch(7, A1, A0, 4)], &table(0, [at(9); 3])[3..]].concat();
    assert_eq!(of(&bgeu), Err(StackError::Indirect(at(8))), "both ways lead to the table");
    // Without a compare nothing is known; and an entry may lead out of the code.
    assert_eq!(of(&table(addi(0, 0, 0), good)), Err(StackError::Indirect(at(8))));
    let stray = StackError::Outside { from: at(8), to: 0x8000_1000 };
    assert_eq!(of(&table(branch(6, A1, A0, 28), [at(9), at(9), 0x8000_1000])), Err(stray));
}

#[test]
fn what_has_no_bound_is_refused() {
    let fails = |words: &[u32]| of(words).unwrap_err();
    assert_eq!(fails(&[0x3000_9073]), StackError::Illegal(at(0)), "csrw");
    assert_eq!(fails(&[addi(A0, 0, 1), 0x0000_0073]), StackError::Illegal(at(1)), "ecall");
    assert_eq!(fails(&[0x0005_0067]), StackError::Indirect(at(0)), "jr a0");
    assert_eq!(fails(&[0x0005_00e7]), StackError::Indirect(at(0)), "jalr a0");
    assert_eq!(fails(&[jal(5, 4), WFI]), StackError::Indirect(at(0)), "a link in t0");
    assert_eq!(fails(&[addi(A0, 0, 1)]), StackError::Outside { from: at(0), to: at(1) });
    let endless = StackError::Endless(at(0));
    assert_eq!(fails(&[jal(0, 0)]), endless);
    assert_eq!(fails(&[branch(0, A0, 0, 8), 0x0000_0073, jal(0, 0)]), StackError::Illegal(at(1)));
    assert_eq!(
        fails(&[branch(0, A0, 0, 8), WFI, jal(0, 0)]),
        StackError::Endless(at(2)),
        "a panic beside a wait"
    );
    // A call of itself, and of two functions of each other.
    let recursion = [jal(1, 12), IDLE[0], IDLE[1], push(16), jal(1, -4), RET];
    assert_eq!(fails(&recursion), StackError::Recursion(at(3)));
    let mutual = [jal(1, 12), IDLE[0], IDLE[1], jal(1, 8), RET, jal(1, -8), RET];
    assert_eq!(fails(&mutual), StackError::Recursion(at(3)));
    // A stack pointer by data, by path, from elsewhere, in a loop.
    assert_eq!(fails(&[0x00a1_0133, WFI]), StackError::Pointer(at(0)), "add sp, sp, a0");
    assert_eq!(fails(&[addi(SP, 8, -16), WFI]), StackError::Pointer(at(0)), "addi sp, s0, -16");
    assert_eq!(fails(&[branch(0, A0, 0, 8), push(16), WFI]), StackError::Pointer(at(2)));
    assert_eq!(fails(&[push(16), WFI, jal(0, -8)]), StackError::Pointer(at(0)));
    assert_eq!(fails(&[addi(SP, SP, 16), WFI]), StackError::Pointer(at(0)), "above its start");
    let set = [jal(1, 12), IDLE[0], IDLE[1], lui(SP, TOP), RET];
    assert_eq!(fails(&set), StackError::Pointer(at(3)), "only the entry sets it");
    assert_eq!(fails(&[lui(SP, TOP - 4096), jal(1, 8), WFI, RET]), StackError::Pointer(at(1)), "another top");
    let kept = [jal(1, 12), IDLE[0], IDLE[1], push(16), RET];
    assert_eq!(fails(&kept), StackError::Unbalanced(at(4)));
}

#[test]
fn the_images_that_ship_have_a_bound_that_fits() {
    for release in gro_core::Release::ALL {
        let image = Image::parse(crate::committed(release)).unwrap();
        let bound = bound(&image).unwrap();
        eprintln!("{}: {bound:x?}", release.name());
        assert_eq!(bound.bytes, bound.chain.iter().map(|frame| frame.bytes).sum::<u32>());
        assert_eq!(bound.chain[0].entry, image.entry);
        assert!(bound.bytes >= 256 && bound.functions >= 5 && bound.instructions > 5_000, "{bound:?}");

        // It sees a frame that is given back but not taken, and a place that is too small.
        let mut other = image.clone();
        let mut pc = bound.chain.last().unwrap().entry;
        let length = loop {
            let op = Code::new(&image.code).op(pc).unwrap();
            if (op.kind, op.rd, op.rs1) == (Kind::Addi, 2, 2) {
                break usize::from(op.length);
            }
            pc += u32::from(op.length);
        };
        let start = (pc - image.code.address) as usize;
        for nop in other.code.bytes[start..start + length].chunks_mut(2) {
            nop.copy_from_slice(&[1, 0]);
        }
        assert!(matches!(super::bound(&other), Err(StackError::Pointer(_) | StackError::Unbalanced(_))));
        let mut full = image.clone();
        full.data.memory_size += image.stack_size() - bound.bytes;
        assert_eq!(super::bound(&full).unwrap(), bound);
        full.data.memory_size += 1;
        let (bytes, room) = (bound.bytes, bound.bytes - 1);
        assert_eq!(super::bound(&full), Err(StackError::TooDeep { bytes, room }));
    }
}

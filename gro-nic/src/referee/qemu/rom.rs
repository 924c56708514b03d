//! The boot ROM of a QEMU lane: some instructions in machine mode that start the image in user mode, and are entered again when it
//! executes `wfi`, breaks a rule or has used up its budget.
//!
//! It is encoded here, because a host build has no assembler for RISC-V. Addresses are relative to the pc or below 2^31, so that
//! the same code does for 32 and 64 bits; only the width of a saved register differs.

use super::Isa;
use super::board::Guest as _;

/// Where the ROM lies: RAM of QEMU's `virt` board that is none of the image's memories.
pub(super) const BASE: u32 = 0x8100_0000;
/// Bytes of the ROM, mailbox included.
pub(super) const SIZE: u32 = 0x1000;

/// Instructions between [`mailbox::ENTERED`] and [`mailbox::LEFT`] that are not the image's: three loads and stores, two swaps, two
/// counter reads (of which one counts) and the `mret`.
pub(super) const OVERHEAD: u32 = 8;

/// Nanoseconds of a tick of the board's timer; with `-icount shift=0`, instructions.
pub(super) const TICK: u64 = 100;

/// How ROM and host tell each other things: byte offsets from [`BASE`], eight bytes each. What the ROM writes has the width of a
/// register.
pub(super) mod mailbox {
    /// ROM: low word of the counter of retired instructions when the image was left.
    pub(in super::super) const LEFT: u32 = 0x400;
    /// ROM: the same when it was entered.
    pub(in super::super) const ENTERED: u32 = 0x408;
    /// ROM: `mcause` of what ended the run.
    pub(in super::super) const CAUSE: u32 = 0x410;
    /// ROM: its `mepc`.
    pub(in super::super) const PC: u32 = 0x418;
    /// ROM: its `mtval`.
    pub(in super::super) const VALUE: u32 = 0x420;
    /// Host: address to go on at.
    pub(in super::super) const RESUME: u32 = 0x428;
    /// Host: ticks of the timer after which the image is interrupted.
    pub(in super::super) const BUDGET: u32 = 0x430;
    /// Host, before the start: stack pointer.
    pub(super) const STACK: u32 = 0x438;
    /// The image's t1 and t2 while the ROM uses them; its t0 is in `mscratch`.
    pub(super) const SAVED_T1: u32 = 0x440;
    pub(super) const SAVED_T2: u32 = 0x448;
    /// Host, before the start: values of the control registers.
    pub(super) const CONTROL: u32 = 0x480;
}

/// A piece of memory that the image may read and, if it says so, write or execute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) base: u32,
    pub(super) size: u32,
    pub(super) write: bool,
    pub(super) execute: bool,
}

const X0: u32 = 0;
const SP: u32 = 2;
const T0: u32 = 5;
const T1: u32 = 6;
const T2: u32 = 7;

const MSTATUS: u32 = 0x300;
const MIE: u32 = 0x304;
const MTVEC: u32 = 0x305;
const MSCRATCH: u32 = 0x340;
const MEPC: u32 = 0x341;
const MCAUSE: u32 = 0x342;
const MTVAL: u32 = 0x343;
const PMPCFG: u32 = 0x3a0;
const PMPADDR: u32 = 0x3b0;
const MINSTRET: u32 = 0xb02;

/// `mstatus`: `wfi` in user mode is an exception, and `mret` leads to user mode.
const WFI_TRAPS: u64 = 1 << 21;
/// `mie`, and the same bits of `mip`: the board's timer, its interrupt controller.
const TIMER: u32 = 1 << 7;
const EXTERNAL: u32 = 1 << 11;

/// The board's serial port (16550), its interrupt controller and its timer.
const UART: u32 = 0x1000_0000;
const UART_SOURCE: u32 = 10;
const PLIC_PRIORITY: u32 = 0x0c00_0000;
const PLIC_ENABLE: u32 = 0x0c00_2000;
const PLIC_CONTEXT: u32 = 0x0c20_0000;
const TIMER_COMPARE: u32 = 0x0200_4000;
/// The counter is eight bytes below this address, which `lui` can load.
const TIMER_END: u32 = 0x0200_c000;

/// ROM and mailbox for a start with this stack pointer. The image reaches the memory of `grants`, at most eight, and no other.
pub(super) fn rom(isa: Isa, stack_top: u32, grants: &[Grant]) -> Vec<u8> {
    let control = control(isa, grants);
    let words = code(isa, &control);
    debug_assert!(words.len() * 4 <= mailbox::LEFT as usize);
    let mut rom: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    rom.resize(SIZE as usize, 0);
    let mut put = |offset: u32, value: u64| {
        if let Some(place) = rom.get_mut(offset as usize..).and_then(|rest| rest.first_chunk_mut()) {
            *place = value.to_le_bytes();
        }
    };
    put(mailbox::STACK, u64::from(stack_top));
    for (index, (_, value)) in control.into_iter().enumerate() {
        put(mailbox::CONTROL + 8 * index as u32, value);
    }
    rom
}

/// Control registers and their values: what `wfi` does, and which memory the image reaches.
fn control(isa: Isa, grants: &[Grant]) -> Vec<(u32, u64)> {
    let mut control = vec![(MSTATUS, WFI_TRAPS)];
    let mut config = [0_u8; 16];
    for (grant, pair) in grants.iter().zip(config.chunks_exact_mut(2)) {
        // "Top of range": from the address of the entry before, which grants nothing itself, to that of this one.
        pair[1] = 1 | u8::from(grant.write) << 1 | u8::from(grant.execute) << 2 | 1 << 3;
        for address in [grant.base, grant.base + grant.size] {
            control.push((PMPADDR + control.len() as u32 - 1, u64::from(address >> 2)));
        }
    }
    let bytes = isa.bytes();
    for (index, part) in config.chunks_exact(bytes).enumerate() {
        let value = part.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        control.push((PMPCFG + (index * bytes / 4) as u32, value));
    }
    control
}

fn code(isa: Isa, control: &[(u32, u64)]) -> Vec<u32> {
    use mailbox::*;
    let load = |rd, base, offset| load(isa.bytes(), rd, base, offset);
    let store = |source, base, offset| store(isa.bytes(), source, base, offset);

    let mut code = vec![auipc(T0)];
    for (index, &(register, _)) in control.iter().enumerate() {
        code.extend([load(T1, T0, CONTROL + 8 * index as u32), csr_write(register, T1)]);
    }
    code.extend([csr_write(MSCRATCH, X0), csr_write(MIE, X0)]);
    // The serial port interrupts when the host has sent a byte.
    code.extend([lui(T1, UART), addi(T2, X0, 1), store_byte(T2, T1, 1)]);
    code.extend([lui(T1, PLIC_PRIORITY), store_word(T2, T1, 4 * UART_SOURCE)]);
    code.extend([lui(T1, PLIC_ENABLE), addi(T2, X0, 1 << UART_SOURCE), store_word(T2, T1, 0)]);
    // Registers start as zero, as in the simulator. The ROM's own three are taken from the zeros of the mailbox and `mscratch`.
    code.extend((1..32).filter(|register| ![SP, T0, T1, T2].contains(register)).map(|rd| addi(rd, X0, 0)));
    code.push(load(SP, T0, STACK));

    // The image was left: what did it do, and how many instructions was it?
    let mut left = vec![csr_swap(T0, MSCRATCH, T0), store(T1, T0, SAVED_T1), csr_read(T1, MINSTRET)];
    left.extend([store_word(T1, T0, LEFT), store(T2, T0, SAVED_T2)]);
    for (register, place) in [(MCAUSE, CAUSE), (MEPC, PC), (MTVAL, VALUE)] {
        left.extend([csr_read(T1, register), store(T1, T0, place)]);
    }

    let handler = 4 * (code.len() as u32 + 3);
    code.extend([addi(T1, T0, handler), csr_write(MTVEC, T1), jump(4 * (left.len() as u32 + 1))]);
    code.extend(left);

    // Tell the host, and wait for its byte.
    code.extend([lui(T1, UART), store_byte(X0, T1, 0)]);
    code.extend([lui(T2, EXTERNAL + 0x800), addi(T2, T2, -0x800_i32 as u32), csr_write(MIE, T2)]);
    code.extend([WFI, load_byte(T2, T1, 5), andi(T2, T2, 1), branch_if_zero(T2, -12_i32 as u32)]);
    code.extend([load_byte(T2, T1, 0), lui(T1, PLIC_CONTEXT), load_word(T2, T1, 4), store_word(T2, T1, 4)]);
    // The timer starts at zero and interrupts at the end of the budget.
    code.extend([lui(T1, TIMER_END), store_word(X0, T1, -8_i32 as u32), store_word(X0, T1, -4_i32 as u32)]);
    code.push(lui(T1, TIMER_COMPARE));
    for half in [0, 4] {
        code.extend([load_word(T2, T0, BUDGET + half), store_word(T2, T1, half)]);
    }
    code.extend([addi(T1, X0, TIMER), csr_write(MIE, T1), load(T1, T0, RESUME), csr_write(MEPC, T1)]);
    // Into the image.
    code.extend([csr_read(T1, MINSTRET), store_word(T1, T0, ENTERED)]);
    code.extend([load(T1, T0, SAVED_T1), load(T2, T0, SAVED_T2), csr_swap(T0, MSCRATCH, T0), MRET]);
    code
}

/// `wfi`, which is how the image waits.
pub(super) const WFI: u32 = 0x1050_0073;
const MRET: u32 = 0x3020_0073;

fn lui(rd: u32, value: u32) -> u32 {
    value & 0xffff_f000 | rd << 7 | 0x37
}

/// The address of the instruction.
fn auipc(rd: u32) -> u32 {
    rd << 7 | 0x17
}

fn addi(rd: u32, source: u32, value: u32) -> u32 {
    value << 20 | source << 15 | rd << 7 | 0x13
}

fn andi(rd: u32, source: u32, value: u32) -> u32 {
    addi(rd, source, value) | 7 << 12
}

/// A load of `bytes` (1, 4 or 8).
fn load(bytes: usize, rd: u32, base: u32, offset: u32) -> u32 {
    offset << 20 | base << 15 | bytes.trailing_zeros() << 12 | rd << 7 | 0x03
}

fn load_word(rd: u32, base: u32, offset: u32) -> u32 {
    load(4, rd, base, offset)
}

fn load_byte(rd: u32, base: u32, offset: u32) -> u32 {
    load(1, rd, base, offset)
}

/// A store of `bytes` (1, 4 or 8).
fn store(bytes: usize, source: u32, base: u32, offset: u32) -> u32 {
    let (high, low) = (offset >> 5 & 0x7f, offset & 31);
    high << 25 | source << 20 | base << 15 | bytes.trailing_zeros() << 12 | low << 7 | 0x23
}

fn store_word(source: u32, base: u32, offset: u32) -> u32 {
    store(4, source, base, offset)
}

fn store_byte(source: u32, base: u32, offset: u32) -> u32 {
    store(1, source, base, offset)
}

fn csr_swap(rd: u32, register: u32, source: u32) -> u32 {
    register << 20 | source << 15 | 1 << 12 | rd << 7 | 0x73
}

fn csr_write(register: u32, source: u32) -> u32 {
    csr_swap(X0, register, source)
}

fn csr_read(rd: u32, register: u32) -> u32 {
    register << 20 | 2 << 12 | rd << 7 | 0x73
}

/// `jal x0`, forward by less than 2 KiB.
fn jump(offset: u32) -> u32 {
    (offset >> 1 & 0x3ff) << 21 | 0x6f
}

/// `beq rs, x0`, within 4 KiB.
fn branch_if_zero(source: u32, offset: u32) -> u32 {
    (offset >> 12 & 1) << 31
        | (offset >> 5 & 0x3f) << 25
        | source << 15
        | (offset >> 1 & 15) << 8
        | (offset >> 11 & 1) << 7
        | 0x63
}

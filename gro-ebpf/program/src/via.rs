//! Leads the frames of an interface to userspace, and what became of them back to it: the kernel's side of `gro attach --via-tap`.
//!
//! ```text
//!   frame ─► packet socket: via_filter ─► tc ingress: via_ingress ─► dropped if via_filter took it, else on to the stack
//!                  └─► ring ─► engine ─► TAP ─► its tc ingress: via_tap ─► marked, to tc ingress: via_ingress ─► stack
//! ```
//!
//! The kernel gives a frame to packet sockets first and to tc next, on one CPU and without another frame in between. So
//! `via_filter` notes which packet it took, and `via_ingress` drops that one and no other. Where nobody takes frames nothing is
//! dropped: no matter how the agent ends, its sockets end with it, and traffic flows.
#![no_std]
#![no_main]

#[path = "../../src/via_tap/abi.rs"]
pub mod abi;

use abi::{ALREADY_MERGED, Gate, NOT_IP, PATIENCE_NS, PROTOCOL, Passed, REASONS, UDP_OFF};
use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_redirect, bpf_skb_load_bytes};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use core::mem::offset_of;
use core::ptr::{read_volatile, write_volatile};

/// `skb->mark` of a packet on its way from the TAP device to the interface, set by the loader. A random number, so that no two
/// attachments take each other's packets for their own.
#[unsafe(no_mangle)]
static MAGIC: u32 = 0;

/// Index of the interface, set by the loader; not 0.
#[unsafe(no_mangle)]
static INTERFACE: u32 = 0;

#[map]
static GATE: Array<Gate> = Array::with_max_entries(1, 0);
/// Address of the packet that `via_filter` took on this CPU, 0 for none.
#[map]
static TAKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
static PASSED: PerCpuArray<Passed> = PerCpuArray::with_max_entries(REASONS, 0);

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Filter of the packet sockets: bytes to take, all or none.
///
/// Not with aya's macros, here and below: see `forward.rs`.
#[unsafe(link_section = "socket")]
#[unsafe(no_mangle)]
extern "C" fn via_filter(packet: *mut u8) -> u32 {
    let Some(taken) = TAKEN.get_ptr_mut(0) else { return 0 };
    let takes = takes(packet);
    // SAFETY: this CPU's own value, and BH is off.
    unsafe { write_volatile(taken, if takes { packet as u64 } else { 0 }) };
    if takes { u32::MAX } else { 0 }
}

/// At the interface: drops what userspace took, lets everything else pass to the next program.
#[unsafe(link_section = "classifier")]
#[unsafe(no_mangle)]
extern "C" fn via_ingress(packet: *mut u8) -> i32 {
    if word(packet, MARK) == magic() {
        set_mark(packet, 0);
        return TC_ACT_UNSPEC;
    }
    let Some(taken) = TAKEN.get_ptr_mut(0) else { return TC_ACT_UNSPEC };
    // SAFETY: as in `via_filter`.
    if unsafe { read_volatile(taken) } != packet as u64 {
        return TC_ACT_UNSPEC;
    }
    // SAFETY: as above.
    unsafe { write_volatile(taken, 0) };
    // TCX delivers packets in spite of STOLEN, but honours SHOT.
    TC_ACT_SHOT as i32
}

/// At the TAP device: sends what userspace made to the interface.
#[unsafe(link_section = "classifier")]
#[unsafe(no_mangle)]
extern "C" fn via_tap(packet: *mut u8) -> i32 {
    // SAFETY: the loader writes the global before the program is loaded, so the compiler must not assume its initial value;
    // it never changes afterwards.
    let interface = unsafe { read_volatile(&INTERFACE) };
    set_mark(packet, magic());
    // SAFETY: the helper takes plain words; it refuses an interface that is not there.
    unsafe { bpf_redirect(interface, u64::from(BPF_F_INGRESS)) as i32 }
}

/// Whether userspace gets the packet. What no engine would merge stays in the kernel, counted: its way is shorter, and it has
/// no place in the order of a flow that is merged.
#[inline(always)]
fn takes(packet: *mut u8) -> bool {
    if word(packet, MARK) == magic() {
        return false;
    }
    let Some(gate) = GATE.get_ptr(0) else { return false };
    // SAFETY: plain words of a map value, which userspace may write meanwhile.
    let (open, udp, beat) = unsafe {
        (read_volatile(&raw const (*gate).open), (*gate).udp, read_volatile(&raw const (*gate).beat))
    };
    // SAFETY: the helper takes nothing. Signed, as this clock lags behind the one that the beat is of.
    let silent = unsafe { bpf_ktime_get_coarse_ns() }.wrapping_sub(beat) as i64;
    if open == 0 || silent > PATIENCE_NS as i64 {
        return false;
    }
    const ETHERNET: u32 = 14;
    let protocol = match (word(packet, PROTOCOL_WORD) as u16).to_be() {
        0x0800 => byte(packet, ETHERNET + 9),
        0x86dd => byte(packet, ETHERNET + 6),
        _ => return passes(packet, NOT_IP),
    };
    let is_merged = word(packet, GSO_SIZE) != 0;
    match protocol {
        Some(6) => true,
        // Options of IPv6, behind which there may be TCP.
        Some(0 | 43 | 60) if (word(packet, PROTOCOL_WORD) as u16).to_be() == 0x86dd => true,
        _ if is_merged => passes(packet, ALREADY_MERGED),
        Some(17) if udp != 0 => true,
        Some(17) => passes(packet, UDP_OFF),
        _ => passes(packet, PROTOCOL),
    }
}

#[inline(always)]
fn passes(packet: *mut u8, reason: u32) -> bool {
    if let Some(passed) = PASSED.get_ptr_mut(reason) {
        // SAFETY: this CPU's own value, and BH is off.
        unsafe {
            (*passed).packets += 1;
            (*passed).bytes += u64::from(word(packet, LEN));
        }
    }
    false
}

const LEN: usize = offset_of!(__sk_buff, len);
const MARK: usize = offset_of!(__sk_buff, mark);
const PROTOCOL_WORD: usize = offset_of!(__sk_buff, protocol);
const GSO_SIZE: usize = offset_of!(__sk_buff, gso_size);

/// A field of `struct __sk_buff`. Its type is not named in what is compiled: see `forward.rs`.
#[inline(always)]
fn word(packet: *mut u8, offset: usize) -> u32 {
    // SAFETY: a word of the context; the verifier knows its bounds.
    unsafe { read_volatile(packet.add(offset).cast::<u32>()) }
}

#[inline(always)]
fn set_mark(packet: *mut u8, mark: u32) {
    // SAFETY: the context's mark is writable in a classifier.
    unsafe { write_volatile(packet.add(MARK).cast::<u32>(), mark) }
}

#[inline(always)]
fn magic() -> u32 {
    // SAFETY: as for `INTERFACE`.
    unsafe { read_volatile(&MAGIC) }
}

#[inline(always)]
fn byte(packet: *mut u8, offset: u32) -> Option<u8> {
    let mut byte = 0_u8;
    // SAFETY: one byte is written to `byte`; the helper checks the offset.
    let result = unsafe { bpf_skb_load_bytes(packet.cast(), offset, (&raw mut byte).cast(), 1) };
    (result == 0).then_some(byte)
}

/// Never reached: nothing here panics, and the verifier would refuse a program that could.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

//! A wire that loses and reorders: leads what comes in at one interface out of another, with a seeded generator. There is no
//! `netem` on every machine, and this one is in front of the receiver, whose own hooks stay free.
//!
//! A frame that is to arrive late comes in once more, or a few times: it queues behind everything that already waits in this
//! CPU's backlog, which overtakes it. Its mark counts the laps that are left; frames from another network namespace have none.
#![no_std]
#![no_main]

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

/// Index of the interface that it is attached to, set by the loader; not 0.
#[unsafe(no_mangle)]
static INPUT: u32 = 0;

/// Index of the interface to send out of, set by the loader; not 0.
#[unsafe(no_mangle)]
static OUTPUT: u32 = 0;

/// Frames lost of 65,536, set by the loader.
#[unsafe(no_mangle)]
static LOSS: u32 = 0;

/// Frames that arrive late of 65,536, set by the loader.
#[unsafe(no_mangle)]
static LATE: u32 = 0;

/// Start of the generator, set by the loader; not 0.
#[unsafe(no_mangle)]
static SEED: u64 = 1;

/// The generator's state, frames seen, lost, late. Updates by two CPUs at once may lose one, which harms nobody: what TCP sends
/// depends on timing anyway.
#[map]
static COUNTERS: Array<u64> = Array::with_max_entries(4, 0);

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// `BPF_F_INGRESS`
const INGRESS: u64 = 1;

/// The mark's word in `struct __sk_buff`, which is not named here for the reason that `forward` gives.
const MARK: usize = 2;

/// Loses a frame, sends it on, or lets others overtake it.
#[unsafe(link_section = "classifier")]
#[unsafe(no_mangle)]
extern "C" fn impair(frame: *mut u32) -> i32 {
    // SAFETY: the loader writes the globals before the program is loaded, so the compiler must not assume their initial
    // values; they never change afterwards.
    let (input, output) = unsafe { (core::ptr::read_volatile(&INPUT), core::ptr::read_volatile(&OUTPUT)) };
    if input == 0 || output == 0 {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: the context has that word, which a classifier may read and write.
    let laps = match unsafe { core::ptr::read_volatile(frame.add(MARK)) } {
        0 => match draw() {
            Some(laps) => laps,
            // TCX delivers frames in spite of STOLEN, but honours SHOT.
            None => return TC_ACT_SHOT as i32,
        },
        left => left - 1,
    };
    // SAFETY: as above.
    unsafe { core::ptr::write_volatile(frame.add(MARK), laps) };
    // SAFETY: the helper takes plain words; it refuses an interface that is not there.
    unsafe { if laps == 0 { bpf_redirect(output, 0) as i32 } else { bpf_redirect(input, INGRESS) as i32 } }
}

/// What becomes of a new frame: `None` when it is lost, otherwise the laps it takes.
#[inline(always)]
fn draw() -> Option<u32> {
    let state = COUNTERS.get_ptr_mut(0)?;
    let (seen, lost, late) = (COUNTERS.get_ptr_mut(1)?, COUNTERS.get_ptr_mut(2)?, COUNTERS.get_ptr_mut(3)?);
    // SAFETY: as in `impair`.
    let (seed, loss, rate) = unsafe {
        (core::ptr::read_volatile(&SEED), core::ptr::read_volatile(&LOSS), core::ptr::read_volatile(&LATE))
    };
    // SAFETY: array map values are 8 bytes, aligned, and live as long as the map.
    unsafe {
        let mut x = if *state == 0 { seed } else { *state };
        // Marsaglia's xorshift64.
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        *state = x;
        *seen += 1;
        // The high bits are the better ones.
        let drawn = (x >> 48) as u32;
        if drawn < loss {
            *lost += 1;
            return None;
        }
        if drawn < loss + rate {
            *late += 1;
            return Some(1 + (x >> 32) as u32 % 3);
        }
    }
    Some(0)
}

/// Never reached: nothing here panics, and the verifier would refuse a program that could.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

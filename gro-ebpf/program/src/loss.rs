//! Drops frames at tc ingress with a seeded generator: the loss in recorded traces.
//!
//! Attached by `cargo xtask traces` to the forwarder's devices, ahead of the sockets that are bound to one protocol.
#![no_std]
#![no_main]

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::TcContext;

/// Start of the generator, set by the loader; not 0.
#[unsafe(no_mangle)]
static SEED: u64 = 1;

/// Frames dropped of 65,536, set by the loader.
#[unsafe(no_mangle)]
static RATE: u32 = 0;

/// The generator's state, frames seen, frames dropped. Updates by two CPUs at once may lose one, which harms nobody:
/// what TCP sends depends on timing anyway.
#[map]
static COUNTERS: Array<u64> = Array::with_max_entries(3, 0);

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Lets a frame pass or drops it.
#[classifier]
fn loss(_frame: TcContext) -> i32 {
    let (Some(state), Some(seen), Some(dropped)) =
        (COUNTERS.get_ptr_mut(0), COUNTERS.get_ptr_mut(1), COUNTERS.get_ptr_mut(2))
    else {
        return TC_ACT_OK as i32;
    };
    // SAFETY: the loader writes both globals before the program is loaded, so the compiler must not assume their
    // initial values; they never change afterwards.
    let (seed, rate) = unsafe { (core::ptr::read_volatile(&SEED), core::ptr::read_volatile(&RATE)) };
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
        if (x >> 48) as u32 >= rate {
            return TC_ACT_OK as i32;
        }
        *dropped += 1;
    }
    // TCX delivers frames in spite of STOLEN, but honours SHOT.
    TC_ACT_SHOT as i32
}

/// Never reached: nothing here panics, and the verifier would refuse a program that could.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

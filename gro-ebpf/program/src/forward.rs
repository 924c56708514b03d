//! Sends everything that comes in at one interface out of another: the harness's way to have the kernel's own GSO cut a
//! packet.
#![no_std]
#![no_main]

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::{macros::classifier, programs::TcContext};

/// Index of the interface to send out of, set by the loader; not 0.
#[unsafe(no_mangle)]
static OUTPUT: u32 = 0;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Forwards a packet.
#[classifier]
fn forward(_packet: TcContext) -> i32 {
    // SAFETY: the loader writes the global before the program is loaded, so the compiler must not assume its initial value;
    // it never changes afterwards.
    let output = unsafe { core::ptr::read_volatile(&OUTPUT) };
    if output == 0 {
        return TC_ACT_SHOT as i32;
    }
    // SAFETY: the helper takes plain words; it refuses an interface that is not there.
    unsafe { bpf_redirect(output, 0) as i32 }
}

/// Never reached: nothing here panics, and the verifier would refuse a program that could.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

//! Sends everything that comes in at one interface out of another: the harness's way to have the kernel's own GSO cut a
//! packet.
#![no_std]
#![no_main]

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::generated::bpf_redirect;

/// Index of the interface to send out of, set by the loader; not 0.
#[unsafe(no_mangle)]
static OUTPUT: u32 = 0;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Forwards a packet.
///
/// Not with aya's macro: it names `__sk_buff`, and the two types that one points to (`bpf_sock`, `bpf_flow_keys`) were put into
/// this object's BTF in another order by a build in another folder. The object would not be reproducible.
#[unsafe(link_section = "classifier")]
#[unsafe(no_mangle)]
extern "C" fn forward(_packet: *mut u8) -> i32 {
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

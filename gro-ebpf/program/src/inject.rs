//! The harness's injector: sends a batch of frames to one interface inside one BH-disabled section, so that one NAPI poll
//! sees all of it. Run through BPF_PROG_TEST_RUN. Its receiver must drop everything: a test-run skb has a socket, and
//! growing it would corrupt that socket's accounting.
#![no_std]
#![no_main]

#[path = "../../src/abi.rs"]
pub mod abi;

use abi::{BATCH_MAX, Batch, FRAME_MAX, Injected};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_set_hash, bpf_skb_change_tail, bpf_skb_store_bytes, bpf_skb_vlan_pop,
    bpf_skb_vlan_push,
};
use aya_ebpf::{
    EbpfContext as _,
    macros::{classifier, map},
    maps::Array,
    programs::TcContext,
};

#[map]
static FRAMES: Array<Injected> = Array::with_max_entries(BATCH_MAX, 0);
#[map]
static BATCH: Array<Batch> = Array::with_max_entries(1, 0);

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Sends the batch.
#[classifier]
fn inject(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.as_ptr().cast();
    let Some(batch) = BATCH.get_ptr_mut(0) else { return TC_ACT_OK as i32 };
    // SAFETY: the value of an array map with one entry.
    let (count, ifindex) = unsafe { ((*batch).count, (*batch).ifindex) };
    for index in 0..BATCH_MAX {
        if index >= count {
            break;
        }
        if let Some(frame) = FRAMES.get(index)
            && send(skb, frame, ifindex).is_none()
        {
            // SAFETY: as above.
            unsafe { (*batch).lost += 1 };
        }
    }
    TC_ACT_OK as i32
}

#[inline(always)]
fn send(skb: *mut __sk_buff, frame: &Injected, ifindex: u32) -> Option<()> {
    // SAFETY: a read of a map value; volatile keeps the bounds check that the verifier needs.
    let len = unsafe { core::ptr::read_volatile(&frame.len) };
    if !(14..=FRAME_MAX).contains(&len) {
        return None;
    }
    let mut result = 0;
    // SAFETY: `skb` is the context; `bytes` is longer than `len`; helpers check the rest.
    unsafe {
        result |= bpf_skb_change_tail(skb, len, 0);
        result |= bpf_skb_store_bytes(skb.cast(), 0, frame.bytes.as_ptr().cast(), len, 0);
        bpf_set_hash(skb, frame.hash);
        (*skb).mark = frame.mark;
        if frame.vlan != 0 {
            result |= bpf_skb_vlan_push(skb, ((frame.vlan >> 16) as u16).to_be(), frame.vlan as u16);
        }
        result |= bpf_clone_redirect(skb, ifindex, 0);
        // A pop moves the next tag of the bytes into the metadata.
        for _ in 0..3 {
            if (*skb).vlan_present != 0 {
                result |= bpf_skb_vlan_pop(skb);
            }
        }
    }
    (result == 0).then_some(())
}

/// Ends the way of everything that was captured.
#[classifier]
fn sink(_ctx: TcContext) -> i32 {
    TC_ACT_SHOT as i32
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

//! Watches one interface's GRO: the verdict on every frame that enters it and the metadata of every packet that leaves it.
//! It only reads.
//!
//! Fields are read at offsets that the loader looks up in the running kernel's type information: Rust emits no CO-RE
//! relocations.
#![no_std]
#![no_main]

#[path = "../../src/abi.rs"]
pub mod abi;

use abi::{Offsets, Seen, Target};
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use aya_ebpf::programs::RawTracePointContext;

/// Set by the loader.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets {
    dev: 0,
    len: 0,
    hash: 0,
    head: 0,
    end: 0,
    mac_header: 0,
    csum_start: 0,
    csum_offset: 0,
    ip_summed: 0,
    ip_summed_bit: 0,
    gso_size: 0,
    gso_segs: 0,
    gso_type: 0,
    ifindex: 0,
    net: 0,
    inode: 0,
};

/// Set by the loader; no interface has the index 0.
#[unsafe(no_mangle)]
static TARGET: Target = Target { ifindex: 0, netns: 0 };

#[map]
static SEEN: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// 1 while GRO has a frame of the target in hand on this CPU.
#[map]
static PENDING: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// `napi_gro_receive_entry(const struct sk_buff *skb)`
#[raw_tracepoint(tracepoint = "napi_gro_receive_entry")]
fn enter(ctx: RawTracePointContext) -> Option<()> {
    let ours = is_ours(ctx.arg::<*const u8>(0)).is_some();
    // SAFETY: this CPU's own value; BH is off while GRO has a frame in hand.
    unsafe { *PENDING.get_ptr_mut(0)? = u32::from(ours) };
    Some(())
}

/// `napi_gro_receive_exit(int ret)`: GRO may have freed the frame, so `enter` remembered whose it was.
#[raw_tracepoint(tracepoint = "napi_gro_receive_exit")]
fn leave(ctx: RawTracePointContext) -> Option<()> {
    let pending = PENDING.get_ptr_mut(0)?;
    // SAFETY: as in `enter`.
    if unsafe { core::mem::take(&mut *pending) } == 0 {
        return None;
    }
    report(Seen { kind: Seen::VERDICT, verdict: ctx.arg(0), ..NOTHING })
}

/// `netif_receive_skb(struct sk_buff *skb)`: after GRO, before packet sockets and tc.
#[raw_tracepoint(tracepoint = "netif_receive_skb")]
fn deliver(ctx: RawTracePointContext) -> Option<()> {
    let skb = ctx.arg::<*const u8>(0);
    is_ours(skb)?;
    let at = offsets();
    let head: u64 = read(skb, at.head)?;
    let end: u32 = read(skb, at.end)?;
    let shared = (head + u64::from(end)) as *const u8;
    let mac_header: u16 = read(skb, at.mac_header)?;
    let csum_start: u16 = read(skb, at.csum_start)?;
    let ip_summed: u8 = read(skb, at.ip_summed)?;
    report(Seen {
        kind: Seen::PACKET,
        verdict: 0,
        len: read(skb, at.len)?,
        hash: read(skb, at.hash)?,
        ip_summed: u32::from(ip_summed) >> (at.ip_summed_bit & 7) & 3,
        // Both count from `head`. Without CHECKSUM_PARTIAL the field means something else.
        csum_start: u32::from(csum_start.wrapping_sub(mac_header)),
        csum_offset: u32::from(read::<u16>(skb, at.csum_offset)?),
        gso_size: u32::from(read::<u16>(shared, at.gso_size)?),
        gso_segs: u32::from(read::<u16>(shared, at.gso_segs)?),
        gso_type: read(shared, at.gso_type)?,
    })
}

const NOTHING: Seen = Seen {
    kind: 0,
    verdict: 0,
    len: 0,
    hash: 0,
    ip_summed: 0,
    csum_start: 0,
    csum_offset: 0,
    gso_size: 0,
    gso_segs: 0,
    gso_type: 0,
};

/// `Some` for a frame of the target.
#[inline(always)]
fn is_ours(skb: *const u8) -> Option<()> {
    // SAFETY: the loader writes the global before the program is loaded, so the compiler must not assume its initial value.
    let target = unsafe { core::ptr::read_volatile(&TARGET) };
    let at = offsets();
    let device = read::<u64>(skb, at.dev)? as *const u8;
    if read::<u32>(device, at.ifindex)? != target.ifindex {
        return None;
    }
    let net = read::<u64>(device, at.net)? as *const u8;
    (read::<u32>(net, at.inode)? == target.netns).then_some(())
}

#[inline(always)]
fn offsets() -> Offsets {
    // SAFETY: as for `TARGET`.
    unsafe { core::ptr::read_volatile(&OFFSETS) }
}

/// A plain word at a kernel address, or `None` where nothing is mapped.
#[inline(always)]
fn read<T>(base: *const u8, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address; every bit pattern of the integers that are read is a value.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()) }.ok()
}

/// The loader polls, so nobody is woken. When the buffer is full, the loader misses it and says so.
#[inline(always)]
fn report(seen: Seen) -> Option<()> {
    let mut entry = SEEN.reserve::<Seen>(0)?;
    entry.write(seen);
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    Some(())
}

/// Never reached: nothing here panics, and the verifier would refuse a program that could.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

//! The datapath: payload moves through map values. In redirect mode packets leave as clones of the skb in hand; in in-place mode they
//! stay in their map value until their carrier comes round.

use super::abi::{FAULT_MISSING as MISSING, FRAME_MAX, Faults, Record, Round, mode};
use super::maps::{self, Backup, Held, OFFSET_MAX};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_csum_diff, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    bpf_skb_vlan_pop, bpf_skb_vlan_push,
};
use core::ops::Range;
use gro_core::complete::{OUTER_PATCHES, PATCHES};
use gro_core::{Bypass, Datapath, FlushReason, Merged, Packet, Patch, Payload, Slot};

/// A mask over every length and offset of a frame.
const LEN_MASK: u32 = 0x3fff;

/// The skb in hand. What it carries is in the map value of [`maps::backup`]: a stack has no room for it.
pub(crate) struct Tc {
    pub(crate) skb: *mut __sk_buff,
    /// What went wrong.
    pub(crate) faults: &'static mut Faults,
}

impl Datapath for Tc {
    /// The skb itself is the frame; there is one at a time.
    type Frame = ();

    #[inline(always)]
    fn admits(&mut self, (): &(), _packet: &Packet) -> bool {
        // Whatever the mode: a branch here would double what the verifier walks.
        super::gro_admit(self.skb) != 0
    }

    #[inline(always)]
    fn sum(&mut self, (): &(), range: Range<u32>) -> Option<u16> {
        /// Older kernels take no more in one call.
        const CHUNK: u32 = 512;
        const CHUNKS: u32 = FRAME_MAX.div_ceil(CHUNK);
        let backup = maps::backup()?;
        let end = range.end;
        let mut sum = 0_i64;
        let mut start = range.start;
        for _ in 0..CHUNKS {
            if start >= end {
                break;
            }
            let left = end - start;
            let len = opaque(if left > CHUNK { CHUNK } else { (left + 3) & !3 }) & (2 * CHUNK - 1);
            let at = (opaque(start) & LEN_MASK) as usize;
            if len > CHUNK {
                return None;
            }
            // SAFETY: `at` is below 16,384 and `len` at most 512, the slack behind it.
            let from = unsafe { backup.bytes.as_ptr().add(at) };
            // SAFETY: the helper reads `len` bytes at `from`.
            sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from.cast_mut().cast(), len, sum as u32) };
            if sum < 0 {
                return None;
            }
            start += CHUNK;
        }
        // The helper sums words in host order; a ones'-complement sum only swaps its bytes for that.
        Some(gro_core::checksum::fold(sum as u32).swap_bytes())
    }

    #[inline(always)]
    fn hold(&mut self, slot: Slot, (): (), _payload: Payload) {
        let (Some(backup), Some(round)) = (maps::backup(), maps::round()) else {
            return self.faults.helper |= MISSING;
        };
        let slot = slot.index() as u32;
        // Without a branch, for the verifier's sake: in redirect mode each place of the table has its own buffer.
        let own = u32::from(round.in_place == 0).wrapping_neg();
        let index = slot & own | round.free & !own;
        round.buffers[slot as usize & (Slot::COUNT - 1)] = index;
        round.todo = Round::HOLD;
        let partial = u32::from(round.ip_summed == CHECKSUM_PARTIAL);
        let Some(held) = maps::buffer(index) else { return self.faults.helper |= MISSING };
        let len = opaque_in(&backup.len);
        held.slot = slot;
        held.state = Held::OPEN;
        held.segs = 1;
        held.first_len = len;
        held.partial = partial;
        held.len = len;
        held.hash = backup.hash;
        held.vlan = backup.vlan;
        held.first = backup.number;
        held.last = backup.number;
        // SAFETY: a frame is at most 16,383 bytes.
        self.faults.helper |= unsafe { load(self.skb, 0, held.bytes.as_mut_ptr(), len) };
    }

    #[inline(always)]
    fn append(&mut self, slot: Slot, (): (), payload: Payload) {
        let (Some(backup), Some(round)) = (maps::backup(), maps::round()) else {
            return self.faults.helper |= MISSING;
        };
        round.todo = Round::DROP;
        round.counters.saved_bytes += u64::from(payload.at);
        let Some(held) = maps::held(slot) else { return self.faults.helper |= MISSING };
        let at = opaque(held.len);
        if at > OFFSET_MAX {
            return self.faults.helper |= MISSING;
        }
        held.last = backup.number;
        held.len += payload.len;
        // SAFETY: `at` plus 16,383 stays inside the value.
        let to = unsafe { held.bytes.as_mut_ptr().add(at as usize) };
        // SAFETY: as above.
        self.faults.helper |= unsafe { load(self.skb, payload.at, to, payload.len) };
    }

    #[inline(always)]
    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason) {
        let Some(held) = maps::held(slot) else { return self.faults.helper |= MISSING };
        close(held, merged, why);
        super::gro_deliver(self.skb, slot.index() as u32);
    }

    #[inline(always)]
    fn pass(&mut self, (): (), why: Bypass) {
        super::gro_pass(self.skb, why as u32);
    }
}

/// Redirect mode: delivers the packet of a place of the table, by rewriting the skb in hand, and makes that what it was. In-place
/// mode: nothing, the packet waits for its carrier.
#[inline(always)]
pub(crate) fn deliver_held(skb: *mut __sk_buff, index: u32) -> Option<()> {
    let (settings, faults, backup) = (maps::settings()?, maps::faults()?, maps::backup()?);
    if settings.mode != mode::REDIRECT {
        return None;
    }
    let held = maps::buffer(index)?;
    faults.helper |= rewrite(skb, held.bytes.as_ptr(), held.len, held.vlan);
    faults.helper |= deliver(skb, settings.capture);
    let sent = maps::record(|record| {
        record.kind = Record::PACKET;
        record.segs = held.segs;
        record.gso_size = held.gso_size;
        record.gso_type = held.gso_type;
        record.len = held.len;
        record.hash = held.hash;
        record.vlan = held.vlan;
        record.why = held.why;
        record.first = held.first;
        record.last = held.last;
    });
    faults.record += u64::from(!sent);
    let len = opaque_in(&backup.len);
    if len != 0 {
        faults.helper |= rewrite(skb, backup.bytes.as_ptr(), len, backup.vlan);
    }
    Some(())
}

/// Redirect mode: delivers the frame in hand. In-place mode: makes a note that it passes.
#[inline(always)]
pub(crate) fn deliver_frame(skb: *mut __sk_buff, why: u32) -> Option<()> {
    let (settings, faults, backup, round) =
        (maps::settings()?, maps::faults()?, maps::backup()?, maps::round()?);
    (round.todo, round.why) = (Round::PASS, why);
    if settings.mode != mode::REDIRECT {
        return None;
    }
    faults.helper |= deliver(skb, settings.capture);
    let sent = maps::record(|record| {
        record.kind = Record::PACKET;
        record.segs = 1;
        record.len = backup.len;
        record.hash = backup.hash;
        record.vlan = backup.vlan;
        record.why = 256 + why;
        record.first = backup.number;
        record.last = backup.number;
    });
    faults.record += u64::from(!sent);
    Some(())
}

/// The datapath of in-place mode when there is no frame in hand: a packet's carrier came round.
pub(crate) struct Closing;

impl Datapath for Closing {
    type Frame = ();

    #[inline(always)]
    fn sum(&mut self, (): &(), _: Range<u32>) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn hold(&mut self, _: Slot, (): (), _: Payload) {}

    #[inline(always)]
    fn append(&mut self, _: Slot, (): (), _: Payload) {}

    #[inline(always)]
    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason) {
        if let Some(held) = maps::held(slot) {
            close(held, merged, why);
        }
    }

    #[inline(always)]
    fn pass(&mut self, (): (), _: Bypass) {}
}

/// `CHECKSUM_PARTIAL` (include/linux/skbuff.h): the checksum field holds the sum of the pseudo-header.
pub(crate) const CHECKSUM_PARTIAL: u32 = 3;

/// Makes the packet in a buffer whole.
#[inline(always)]
fn close(held: &mut Held, merged: &Merged, why: FlushReason) {
    held.state = Held::CLOSED;
    held.segs = merged.segs;
    held.gso_size = u32::from(merged.gso_size);
    held.gso_type = merged.gso_type;
    held.why = why as u32;
    held.header_len = u32::from(merged.header_len);
    if merged.segs > 1 {
        for index in 0..PATCHES {
            write(held, merged.patch(index));
        }
        if merged.has_outer() {
            for index in 0..OUTER_PATCHES {
                write(held, merged.outer_patch(index));
            }
        }
        // Without a branch, for the verifier's sake.
        let (complete, pseudo) = (merged.patch(PATCHES - 1).value, merged.pseudo);
        let value = complete ^ (complete ^ pseudo) & (held.partial as u16).wrapping_neg();
        write(held, Patch { offset: merged.check, value });
    }
}

/// Writes a word of a merged packet's header.
#[inline(always)]
fn write(held: &mut Held, patch: Patch) {
    let at = (opaque(u32::from(patch.offset)) & 0x1ff) as usize;
    let [high, low] = patch.value.to_be_bytes();
    held.bytes[at] = high;
    held.bytes[at + 1] = low;
}

/// Copies the first `part` bytes of the frame into its map value. When that is all of it, it clears what the last word of a
/// checksum would reach behind it.
#[inline(always)]
pub(crate) fn back_up(skb: *mut __sk_buff, len: u32, part: u32) -> Option<&'static mut Backup> {
    let backup = maps::backup()?;
    // SAFETY: the value has room for 16,383 bytes.
    if unsafe { load(skb, 0, backup.bytes.as_mut_ptr(), part) } != 0 {
        return None;
    }
    let end = opaque(len) & LEN_MASK;
    for byte in 0..4 {
        backup.bytes[(end + byte) as usize] = 0;
    }
    backup.len = len;
    Some(backup)
}

/// Reads a word of a map value anew.
#[inline(always)]
pub(crate) fn opaque_in(word: &u32) -> u32 {
    // SAFETY: a read of a live value.
    unsafe { core::ptr::read_volatile(word) }
}

/// Copies `len` bytes of the skb at `offset` to `to`. 0, or an error.
///
/// # Safety
/// `to` must have room for 16,383 bytes.
#[inline(always)]
unsafe fn load(skb: *mut __sk_buff, offset: u32, to: *mut u8, len: u32) -> u64 {
    let len = opaque(len) & LEN_MASK;
    if len == 0 {
        return MISSING;
    }
    // SAFETY: the helper writes `len` bytes, which the caller vouches for.
    unsafe { bpf_skb_load_bytes(skb.cast(), offset, to.cast(), len) as u64 }
}

/// 0, or an error.
#[inline(always)]
fn deliver(skb: *mut __sk_buff, capture: u32) -> u64 {
    // SAFETY: `skb` is the context; the helper checks the interface.
    unsafe { bpf_clone_redirect(skb, capture, 0) as u64 }
}

/// Makes the skb in hand carry `len` bytes at `from` and this VLAN tag. 0, or an error.
#[inline(always)]
pub(crate) fn rewrite(skb: *mut __sk_buff, from: *const u8, len: u32, vlan: u32) -> u64 {
    let len = opaque(len) & LEN_MASK;
    if len == 0 {
        return MISSING;
    }
    let mut errors = 0;
    if tag(skb) != vlan {
        errors |= retag(skb, vlan);
    }
    // SAFETY: `skb` is the context; `from` has at least 16,383 bytes; helpers check the rest.
    unsafe {
        errors |= bpf_skb_change_tail(skb, len, 0) as u64;
        errors |= bpf_skb_store_bytes(skb.cast(), 0, from.cast(), len, 0) as u64;
    }
    errors
}

/// As [`rewrite`], of a merged packet of whose bytes the first `there` are in the skb, but for changes in the headers. 0, or an error.
#[inline(always)]
pub(crate) fn become_packet(skb: *mut __sk_buff, held: &Held, there: u32) -> u64 {
    let there = opaque(there);
    let headers = opaque(held.header_len) & 0x1ff;
    if there == 0 || there > OFFSET_MAX || headers == 0 {
        return rewrite(skb, held.bytes.as_ptr(), held.len, held.vlan);
    }
    let rest = opaque(held.len.wrapping_sub(there)) & LEN_MASK;
    if rest == 0 {
        return MISSING;
    }
    let mut errors = 0;
    // SAFETY: `skb` is the context; the value has room for two times 16,383 bytes; helpers check the rest.
    unsafe {
        errors |= bpf_skb_change_tail(skb, held.len, 0) as u64;
        errors |= bpf_skb_store_bytes(skb.cast(), 0, held.bytes.as_ptr().cast(), headers, 0) as u64;
        let from = held.bytes.as_ptr().add(there as usize);
        errors |= bpf_skb_store_bytes(skb.cast(), there, from.cast(), rest, 0) as u64;
    }
    errors
}

/// Replaces the tag in the metadata. What that does to the bytes does not matter: they are written next.
#[inline(always)]
fn retag(skb: *mut __sk_buff, vlan: u32) -> u64 {
    let mut errors = 0;
    // SAFETY: `skb` is the context.
    unsafe {
        // A pop moves the next tag of the bytes into the metadata.
        for _ in 0..3 {
            if (*skb).vlan_present != 0 {
                errors |= bpf_skb_vlan_pop(skb) as u64;
            }
        }
        if vlan != 0 {
            errors |= bpf_skb_vlan_push(skb, ((vlan >> 16) as u16).to_be(), vlan as u16) as u64;
        }
    }
    errors
}

/// TPID (high half) and TCI of the tag in the metadata, 0 for none.
#[inline(always)]
pub(crate) fn tag(skb: *mut __sk_buff) -> u32 {
    // SAFETY: `skb` is the context; the fields are plain words.
    unsafe {
        if (*skb).vlan_present == 0 {
            return 0;
        }
        u32::from(u16::from_be((*skb).vlan_proto as u16)) << 16 | (*skb).vlan_tci & 0xffff
    }
}

/// Hides a value's range from LLVM, which would otherwise remove the bounds check that the verifier needs.
#[inline(always)]
pub(crate) fn opaque(value: u32) -> u32 {
    // SAFETY: a read of a live local.
    unsafe { core::ptr::read_volatile(&value) }
}

//! The way of a frame: it joins the packet of its flow, or is held as the first of one; all else goes the core's way.

use super::core_way::long;
use super::follow::follow;
use super::frame::{Check, Frame};
use super::held::{
    HEAD, Head, IPV4, IPV6, Keeper, be32, header_len, is_right, long as long_at, stated_length, word,
};
use super::isa::Code;
use super::leave::{emit, pass};
use super::prefetch::{AHEAD, PAYLOAD_AHEAD, prefetch, prefetch_payload};
use super::store::{Memory, Side};
use super::tags::classify;
use super::{Core, Packet};
use crate::checksum::fold;
use crate::coalesce::{Action, CLOSING};
use crate::parse::{L3_UNTAGGED, TCP_HEADER};
use crate::table::DEPTH;
use crate::{Bypass, FlushReason, Profile, Slot, Table};

/// Nothing left for the frame.
const NOT_FLUSHED: (FlushReason, Slot) = (FlushReason::None, Slot { bucket: 0, way: 0 });

/// Takes frames, one after the other.
#[inline(always)]
pub(super) fn receive<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    frames: &[Frame<'_>],
    sink: &mut impl FnMut(&Packet<'_>),
) {
    for frame in frames.iter().take(AHEAD) {
        prefetch(frame);
    }
    let mut short = [0; HEAD];
    let mut index = 0;
    while let Some(frame) = frames.get(index) {
        if let Some(frame) = frames.get(index + AHEAD) {
            prefetch(frame);
        }
        if let Some(frame) = frames.get(index + PAYLOAD_AHEAD)
            && frame.check == Check::None
        {
            prefetch_payload(frame);
        }
        let head = frame.bytes.first_chunk().unwrap_or_else(|| copied(frame.bytes, &mut short));
        match locate::<I, CHUNKS>(memory, frame, head) {
            Place::Held(slot, tag) => {
                index = follow::<P, I, CHUNKS>(core, memory, (frames, index, slot), (head, tag), sink);
                continue;
            }
            Place::Nowhere(IPV4, tag) if is_plain::<I, IPV4>(frame, head) => {
                start::<P, IPV4, CHUNKS>(core, memory, (frame, head, tag), NOT_FLUSHED, sink);
            }
            Place::Nowhere(IPV6, tag) if is_plain::<I, IPV6>(frame, head) => {
                start::<P, IPV6, CHUNKS>(core, memory, (frame, head, tag), NOT_FLUSHED, sink);
            }
            Place::Nowhere(..) | Place::Unknown => long::<P, CHUNKS>(core, memory, (frame, 0), sink),
        }
        index += 1;
    }
}

/// The first bytes of a frame that has fewer than are compared.
#[cold]
#[inline(never)]
fn copied<'a>(bytes: &[u8], short: &'a mut Head) -> &'a Head {
    let present = bytes.len().min(HEAD);
    short[..present].copy_from_slice(&bytes[..present]);
    short
}

/// Where the packet of a frame's flow is held.
enum Place {
    /// Here, if anywhere, by its tag.
    Held(usize, u32),
    /// Nowhere, if the frame is plain: the offset of its TCP header, and its tag.
    Nowhere(u32, u32),
    Unknown,
}

#[inline(always)]
fn locate<I: Code, const CHUNKS: usize>(memory: &Memory<CHUNKS>, frame: &Frame<'_>, head: &Head) -> Place {
    let Some((l4, tag)) = classify(head) else { return Place::Unknown };
    let bucket = bucket_of(frame);
    match memory.side.tags.way::<I>(bucket, tag) {
        // Two with one tag are as good as never; what does not join the first one then goes the core's way.
        Some(way) => Place::Held(bucket as usize * DEPTH + way, tag),
        None => Place::Nowhere(l4, tag),
    }
}

/// Whether it is a TCP segment behind one plain IP header, right and as long as that says.
#[inline(always)]
pub(super) fn is_plain<I: Code, const L4: u32>(frame: &Frame<'_>, head: &Head) -> bool {
    let (header_len, len) = (header_len::<L4>(head), frame.bytes.len());
    let is_tcp = if L4 == IPV4 { is_plain_v4(head) } else { head[20] == TCP };
    let fits = stated_length::<L4>(head) as usize == len
        && len < 1 << 16
        && header_len >= L4 + TCP_HEADER
        && header_len as usize <= len;
    is_tcp && fits && is_right::<I, L4>(frame, head)
}

/// A plain frame of a flow of which nothing is held, not any more if there is a reason in `flushed`, and where that was: it is held, or
/// passes if it cannot be.
#[inline(always)]
pub(super) fn start<P: Profile, const L4: u32, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, head, tag): (&Frame<'_>, &Head, u32),
    flushed: (FlushReason, Slot),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let len = frame.bytes.len();
    let bucket = bucket_of(frame);
    let Some((list, _)) = memory.table.bucket(bucket) else { return };
    let seq = be32(head, L4 as usize + 4);
    core.state.counters.arrived(len as u32);
    let frames = core.state.frames();
    let is_closing = head[L4 as usize + 13] & (CLOSING >> 16) as u8 != 0;
    if is_closing || len as u32 == header_len::<L4>(head) {
        let why = if is_closing { Bypass::Flags } else { Bypass::Empty };
        let word = Action::Normal as u32 | (flushed.0 as u32) << 8 | (why as u32) << 24;
        let slot = match flushed.0 {
            FlushReason::None => Slot { bucket: bucket as u8, way: list.oldest() },
            _ => flushed.1,
        };
        core.state.digest.mix(word ^ (slot.index() as u32) << 2, frames ^ seq);
        core.state.counters.passed(why);
        return pass(frame, (frames.wrapping_sub(1), why), sink);
    }
    let mut word = Action::Hold as u32 | (flushed.0 as u32) << 8;
    if list.count() >= DEPTH as u32 {
        word |= (FlushReason::Evicted as u32) << 8;
        let slot = Slot { bucket: bucket as u8, way: list.oldest() };
        emit::<P, CHUNKS>(core, memory, (slot, FlushReason::Evicted), sink);
    }
    let Some((list, _)) = memory.table.bucket(bucket) else { return };
    let way = list.insert();
    let slot = bucket as usize * DEPTH + usize::from(way) % DEPTH;
    core.state.digest.mix(word ^ (slot as u32) << 2, frames ^ seq);
    let Side { holding, held, tags, store, .. } = &mut memory.side;
    *holding += 1;
    tags.0[bucket as usize][usize::from(way) % DEPTH] = tag;
    let held = &mut held[slot];
    held.key = frame.key;
    held.age = core.now;
    held.first = frames.wrapping_sub(1);
    held.last = held.first;
    held.segs = 1;
    held.keeper = Keeper::Nobody;
    held.verified = frame.is_verified();
    held.l4 = L4 as u8;
    store.hold(slot, frame.bytes);
}

/// The protocol number.
const TCP: u8 = 6;

/// Whether the header is right, has no options, and is of no fragment, and TCP follows.
#[inline(always)]
fn is_plain_v4(head: &Head) -> bool {
    let mut wide = 0;
    for at in 0..5 {
        wide += u64::from(word(head, L3_UNTAGGED as usize + 4 * at));
    }
    let wide = (wide & 0xffff_ffff) + (wide >> 32);
    let sum = fold(((wide & 0xffff) + (wide >> 16)) as u32);
    // Version and length of the header, and fragment: eight bytes, of which three count.
    let counts = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, 0xbf, 0xff]);
    u64::from_le(long_at(head, 14)) & counts == 0x45 && head[23] == TCP && sum == 0xffff
}

#[inline(always)]
pub(super) fn bucket_of(frame: &Frame<'_>) -> u32 {
    frame.key as u32 & (crate::BUCKETS as u32 - 1)
}

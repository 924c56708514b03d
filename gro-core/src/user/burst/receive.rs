//! The way of a frame: it joins the packet of its flow, or is held as the first of one; all else goes the core's way.

use super::follow::follow;
use super::frame::{Check, Frame};
use super::fresh::{evict, insert};
use super::held::{HALF, HEAD, Head, byte, is_right, long as long_at, seq, word};
use super::isa::Code;
use super::leave::pass;
use super::prefetch::{AHEAD, PAYLOAD_AHEAD, prefetch, prefetch_payload};
use super::shape::{
    IPV4, IPV6, Shape, TCP6, Tcp4, Tcp6, Udp4, Udp6, header_len, is_udp_right, is_whole, protocol,
};
use super::store::Memory;
use super::tags::classify;
use super::udp;
use super::{Core, Packet};
use crate::coalesce::{Action, CLOSING};
use crate::parse::{L3_UNTAGGED, PROTOCOL_TCP, PROTOCOL_UDP, TCP_HEADER};
use crate::table::DEPTH;
use crate::{Bypass, FlushReason, Profile, Slot, Table, UdpMode};

/// Nothing left for the frame.
pub(super) const NOT_FLUSHED: (FlushReason, Slot) = (FlushReason::None, Slot { bucket: 0, way: 0 });

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
        if !is_enough(frame.bytes) {
            copy(frame.bytes, &mut short);
        }
        let seen = seen(frame.bytes, &short);
        match locate::<I, CHUNKS>(memory, frame, seen) {
            Place::Held(slot, tag) => {
                index = follow::<P, I, CHUNKS>(core, memory, (frames, index, slot), (&short, tag), sink);
                continue;
            }
            Place::Nowhere(l4, tag) => {
                let coalesces_udp = core.config.udp == UdpMode::Forwarding;
                let end = match (l4, protocol(seen, l4)) {
                    (IPV4, PROTOCOL_TCP) => I::fast::<P, Tcp4, CHUNKS>((core, memory), frames, index, sink),
                    (_, PROTOCOL_TCP) => I::fast::<P, Tcp6, CHUNKS>((core, memory), frames, index, sink),
                    (IPV4, PROTOCOL_UDP) if coalesces_udp => {
                        I::fast::<P, Udp4, CHUNKS>((core, memory), frames, index, sink)
                    }
                    (_, PROTOCOL_UDP) if coalesces_udp => {
                        I::fast::<P, Udp6, CHUNKS>((core, memory), frames, index, sink)
                    }
                    _ => {
                        udp::begin::<P, I, CHUNKS>(core, memory, (frame, seen), sink);
                        index + 1
                    }
                };
                if end > index {
                    index = end;
                    continue;
                }
                alone::<P, I, CHUNKS>(core, memory, (frame, seen), (l4, tag), sink);
            }
            Place::Unknown => udp::begin::<P, I, CHUNKS>(core, memory, (frame, seen), sink),
        }
        index += 1;
    }
}

/// A frame of a flow of which nothing is held, that may not be held.
#[inline(never)]
fn alone<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, seen): (&Frame<'_>, &[u8]),
    (l4, tag): (u32, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    if l4 == IPV4
        && let Some(head) = Tcp4::head(seen)
        && is_plain::<I, Tcp4>(frame, head)
    {
        start::<P, Tcp4, CHUNKS>(core, memory, (frame, head, tag), NOT_FLUSHED, sink);
    } else if l4 == IPV6
        && let Some(head) = Tcp6::head(seen)
        && is_plain::<I, Tcp6>(frame, head)
    {
        start::<P, Tcp6, CHUNKS>(core, memory, (frame, head, tag), NOT_FLUSHED, sink);
    } else {
        udp::begin::<P, I, CHUNKS>(core, memory, (frame, seen), sink);
    }
}

/// Whether a frame has as many bytes as are looked at.
#[inline(always)]
fn is_enough(bytes: &[u8]) -> bool {
    bytes.len() >= TCP6 || bytes.len() >= HALF && bytes[12] == 0x08
}

/// Of a frame that has fewer a copy; what is behind it may be anything.
#[cold]
#[inline(never)]
fn copy(bytes: &[u8], short: &mut Head) {
    let present = bytes.len().min(HEAD);
    short[..present].copy_from_slice(&bytes[..present]);
}

/// What is looked at: the frame, or its copy.
#[inline(always)]
pub(super) fn seen<'a>(bytes: &'a [u8], short: &'a Head) -> &'a [u8] {
    if is_enough(bytes) { bytes } else { short }
}

/// Where the packet of a frame's flow is held.
enum Place {
    /// Here, if anywhere, by its tag.
    Held(usize, u32),
    /// Nowhere, if the frame is plain: the offset of its transport header, and its tag.
    Nowhere(u32, u32),
    Unknown,
}

#[inline(always)]
fn locate<I: Code, const CHUNKS: usize>(memory: &Memory<CHUNKS>, frame: &Frame<'_>, seen: &[u8]) -> Place {
    let Some((l4, tag)) = seen.first_chunk().and_then(classify) else { return Place::Unknown };
    let bucket = bucket_of(frame);
    match memory.side.tags.way::<I>(bucket, tag) {
        // Two with one tag are as good as never; what does not join the first one then goes the core's way.
        Some(way) => Place::Held(bucket as usize * DEPTH + way, tag),
        None => Place::Nowhere(l4, tag),
    }
}

/// Whether it is a segment behind one plain IP header, right and as long as that says.
#[inline(always)]
pub(super) fn is_plain<I: Code, S: Shape>(frame: &Frame<'_>, head: &S::Head) -> bool {
    let (header_len, len) = (header_len::<S>(head) as usize, frame.bytes.len());
    let fits = if S::IS_UDP {
        is_udp_right::<S>(head, len)
    } else {
        header_len >= S::L4 + TCP_HEADER as usize && header_len <= len
    };
    is_network_plain::<S>(head) && is_whole::<S>(head, len) && fits && is_right::<I, S>(frame, head)
}

/// Whether the IP header is right, has no options or extension headers, and is of no fragment, and whether TCP or UDP follows.
#[inline(always)]
pub(super) fn is_network_plain<S: Shape>(head: &S::Head) -> bool {
    byte(head, S::PROTOCOL_AT) == S::PROTOCOL && (!S::IS_V4 || is_plain_v4(head))
}

/// A plain frame of a flow of which nothing is held, not any more if there is a reason in `flushed`, and where that was: it is held, or
/// passes if it cannot be.
#[inline(always)]
pub(super) fn start<P: Profile, S: Shape, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, head, tag): (&Frame<'_>, &S::Head, u32),
    flushed: (FlushReason, Slot),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let len = frame.bytes.len();
    let bucket = bucket_of(frame);
    let Some((list, _)) = memory.table.bucket(bucket) else { return };
    let seq = seq::<S>(head);
    core.state.counters.arrived(len as u32);
    let frames = core.frames();
    let is_closing = !S::IS_UDP && byte(head, S::L4 + 13) & (CLOSING >> 16) as u8 != 0;
    if is_closing || len as u32 == header_len::<S>(head) {
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
        evict::<P, CHUNKS>(core, memory, bucket, sink);
    }
    let slot = insert::<S, CHUNKS>(memory, (frame, tag), (frames.wrapping_sub(1), core.now));
    core.state.digest.mix(word ^ (slot as u32) << 2, frames ^ seq);
}

/// Whether the header is right, has no options, and is of no fragment.
#[inline(always)]
fn is_plain_v4(head: &(impl AsRef<[u8]> + ?Sized)) -> bool {
    let mut wide = 0;
    for at in 0..5 {
        wide += u64::from(word(head, L3_UNTAGGED as usize + 4 * at));
    }
    // Version and length of the header, and fragment: eight bytes, of which three count.
    let counts = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, 0xbf, 0xff]);
    u64::from_le(long_at(head, 14)) & counts == 0x45 && wide % 0xffff == 0
}

#[inline(always)]
pub(super) fn bucket_of(frame: &Frame<'_>) -> u32 {
    frame.key as u32 & (crate::BUCKETS as u32 - 1)
}

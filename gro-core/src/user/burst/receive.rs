//! The way of a frame: it joins the packet in hand, or another one, or is held itself; all else goes the core's way.

use super::frame::Frame;
use super::held::{
    HEAD, Head, Held, IPV4, IPV6, Segment, be16, classify, is_right, mask, network_sum, stated_length, word,
};
use super::leave::{Path, emit, pass};
use super::store::{Memory, SEGMENTS_MAX, Side};
use super::{Core, Packet};
use crate::checksum::fold;
use crate::coalesce::{Action, CLOSING};
use crate::datapath::{self, Input};
use crate::flow::FIXED;
use crate::parse::{L3_UNTAGGED, Parsed, TCP_HEADER};
use crate::table::DEPTH;
use crate::user::load;
use crate::{Bypass, FlushReason, GroResult, Plain, Profile, Slot, Table, Window};

/// How many frames ahead the first bytes are fetched: far enough for a frame that lies in memory, near enough for the first cache.
const AHEAD: usize = 10;
/// No place of the table.
const NOWHERE: usize = Slot::COUNT;

/// Takes frames, one after the other.
#[inline(always)]
pub(super) fn receive<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    frames: &[Frame<'_>],
    sink: &mut impl FnMut(&Packet<'_>),
) {
    for frame in frames.iter().take(AHEAD) {
        prefetch(frame);
    }
    let mut short = [0; HEAD];
    // The packet that the frame before joined or started: the next one mostly does, too.
    let mut current = NOWHERE;
    for (index, frame) in frames.iter().enumerate() {
        if let Some(frame) = frames.get(index + AHEAD) {
            prefetch(frame);
        }
        let head = frame.bytes.first_chunk().unwrap_or_else(|| {
            short[..frame.bytes.len()].copy_from_slice(frame.bytes);
            &short
        });
        core.state.counters.arrived(frame.bytes.len().min(u32::MAX as usize) as u32);
        if let Some(held) = memory.side.held.get(current)
            && !held.end.is_full()
            && let Some(segment) = following(held, frame, head)
        {
            if append::<P, CHUNKS>(core, memory, (current, frame, &segment), sink) {
                current = NOWHERE;
            }
            continue;
        }
        current = place::<P, CHUNKS>(core, memory, (frame, head), sink);
    }
}

/// The first bytes come into the cache while others are looked at.
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "no other way to fetch; the biggest gain of all")
)]
fn prefetch(frame: &Frame<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = frame.bytes.as_ptr();
        // SAFETY: fetching is a hint: it reads nothing and faults nowhere, whatever the address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = frame;
}

#[inline(always)]
fn following(held: &Held, frame: &Frame<'_>, head: &Head) -> Option<Segment> {
    let mask = mask(held.l4, held.header_len);
    if held.l4 == IPV4 {
        held.following::<IPV4>(frame, head, mask)
    } else {
        held.following::<IPV6>(frame, head, mask)
    }
}

/// Has a segment join; `true` if the packet left with it.
#[inline(always)]
fn append<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame, segment): (usize, &Frame<'_>, &Segment),
    sink: &mut impl FnMut(&Packet<'_>),
) -> bool {
    let Side { held, store, .. } = &mut memory.side;
    let held = &mut held[slot % NOWHERE];
    let frames = core.state.frames();
    held.join(segment, frames.wrapping_sub(1));
    store.push(&mut held.end, frame.bytes.get(usize::from(held.header_len)..).unwrap_or(&[]));
    let close = if segment.push != 0 {
        FlushReason::Push
    } else if segment.len < held.gso_size {
        FlushReason::Short
    } else {
        FlushReason::None
    };
    let word = Action::Merge as u32 | (close as u32) << 16;
    core.state.digest.mix(word ^ (slot as u32) << 2, frames ^ segment.seq);
    core.state.counters.merged_segments += 1;
    if close == FlushReason::None {
        return false;
    }
    emit::<P, CHUNKS>(core, memory, (slot_of(slot), close), sink);
    true
}

/// A frame that does not join the packet in hand. Gives the place of the packet that then is in hand.
#[inline(always)]
fn place<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, head): (&Frame<'_>, &Head),
    sink: &mut impl FnMut(&Packet<'_>),
) -> usize {
    let Some((l4, tag)) = classify(head) else {
        return long::<P, CHUNKS>(core, memory, (frame, None), sink);
    };
    let bucket = bucket_of(frame);
    let ways = memory.side.tags.ways(bucket, tag);
    if ways == 0 {
        let started = if l4 == IPV4 {
            start::<P, IPV4, CHUNKS>(core, memory, (frame, head, tag), sink)
        } else {
            start::<P, IPV6, CHUNKS>(core, memory, (frame, head, tag), sink)
        };
        return started.unwrap_or_else(|| long::<P, CHUNKS>(core, memory, (frame, None), sink));
    }
    // Two flows with one tag are as good as never, and both then go the core's way.
    let slot = bucket as usize * DEPTH + ways.trailing_zeros() as usize % DEPTH;
    let held = &memory.side.held[slot];
    let is_alone = ways & (ways - 1) == 0 && held.l4 == l4 && held.is_of(frame);
    if is_alone
        && (!held.in_core || from_core::<P, CHUNKS>(core, memory, slot))
        && make_room::<P, CHUNKS>(core, memory, slot, sink)
        && let Some(segment) = following(&memory.side.held[slot], frame, head)
    {
        let left = append::<P, CHUNKS>(core, memory, (slot, frame, &segment), sink);
        return if left { NOWHERE } else { slot };
    }
    long::<P, CHUNKS>(core, memory, (frame, Some(tag)), sink)
}

/// A frame of a flow of which nothing is held: it is held, or passes if it is empty. `None` if that is for the core to decide.
#[inline(always)]
fn start<P: Profile, const L4: u32, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, head, tag): (&Frame<'_>, &Head, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) -> Option<usize> {
    let tcp = L4 as usize;
    let header_len = L4 + u32::from(head[tcp + 12] >> 4) * 4;
    let len = frame.bytes.len() as u32;
    let is_plain = if L4 == IPV4 { is_plain_v4(head) } else { head[20] == TCP };
    let closing = head[tcp + 13] & (CLOSING >> 16) as u8;
    let fits = stated_length::<L4>(head) == len && header_len >= L4 + TCP_HEADER && header_len <= len;
    if !(is_plain && closing == 0 && fits && frame.bytes.len() < 1 << 16 && is_right::<L4>(frame, head)) {
        return None;
    }
    let bucket = bucket_of(frame);
    let segment = Segment::of::<L4>(head, len - header_len);
    let (list, _) = memory.table.bucket(bucket)?;
    let frames = core.state.frames();
    if segment.len == 0 {
        let slot = Slot { bucket: bucket as u8, way: list.oldest() };
        let word = Action::Normal as u32 | (Bypass::Empty as u32) << 24;
        core.state.digest.mix(word ^ (slot.index() as u32) << 2, frames ^ segment.seq);
        core.state.counters.passed(Bypass::Empty);
        pass(frame, (frames.wrapping_sub(1), Bypass::Empty), sink);
        return Some(NOWHERE);
    }
    let mut word = Action::Hold as u32;
    if list.count() >= DEPTH as u32 {
        word |= (FlushReason::Evicted as u32) << 8;
        let slot = Slot { bucket: bucket as u8, way: list.oldest() };
        emit::<P, CHUNKS>(core, memory, (slot, FlushReason::Evicted), sink);
    }
    let (list, _) = memory.table.bucket(bucket)?;
    let way = list.insert();
    let slot = bucket as usize * DEPTH + usize::from(way) % DEPTH;
    core.state.digest.mix(word ^ (slot as u32) << 2, frames ^ segment.seq);
    let Side { held, tags, store, .. } = &mut memory.side;
    tags.0[bucket as usize][usize::from(way) % DEPTH] = tag;
    let held = &mut held[slot];
    held.head = *head;
    held.meta = frame.meta();
    held.age = core.now;
    held.first = frames.wrapping_sub(1);
    held.last = held.first;
    held.end = store.start(slot, frame.bytes, header_len as usize);
    held.l4 = L4;
    held.in_core = false;
    held.fixed_id = false;
    held.push = 0;
    held.header_len = header_len as u8;
    held.next_id = be16(head, 18).wrapping_add(1);
    held.network_sum = network_sum(head);
    held.segs = 1;
    held.gso_size = segment.len;
    held.bytes = segment.len;
    held.room = room::<P, L4>(core, held);
    held.next_seq = segment.seq.wrapping_add(segment.len);
    held.sum = segment.sum;
    Some(slot)
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
    head[14] == 0x45 && be16(head, 20) & 0xbfff == 0 && head[23] == TCP && sum == 0xffff
}

/// See [`Held::room`]. A segment of odd length would turn the sums of those behind it, and one with CWR never joins where the
/// profile says so.
#[inline(always)]
fn room<P: Profile, const L4: u32>(core: &Core, held: &Held) -> u32 {
    let control = u32::from(held.head[L4 as usize + 13]) << 16;
    if held.gso_size & 1 != 0 || control & P::CONTROL_ALONE != 0 {
        return 0;
    }
    let limit = if L4 == IPV4 { core.config.gro_ipv4_max_size } else { core.config.gro_max_size };
    limit.saturating_sub(u32::from(held.header_len) - L3_UNTAGGED + held.bytes)
}

/// Sees that a segment may be added to the list of a held packet. `false` if there was no room and the packet left early.
#[inline(always)]
fn make_room<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    slot: usize,
    sink: &mut impl FnMut(&Packet<'_>),
) -> bool {
    let Side { held, store, .. } = &mut memory.side;
    let held = &mut held[slot];
    if !held.end.is_full() || held.segs < SEGMENTS_MAX && store.grow(&mut held.end) {
        return true;
    }
    core.early += 1;
    emit::<P, CHUNKS>(core, memory, (slot_of(slot), FlushReason::Requested), sink);
    false
}

/// The core's way. `tag` is that of a plain packet that may be of the frame's flow.
#[cold]
#[inline(never)]
fn long<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, tag): (&Frame<'_>, Option<u32>),
    sink: &mut impl FnMut(&Packet<'_>),
) -> usize {
    let bucket = bucket_of(frame);
    for way in 0..DEPTH {
        let slot = bucket as usize * DEPTH + way;
        if memory.side.held[slot].segs == 0 {
            continue;
        }
        let Some((list, _)) = memory.table.bucket(bucket) else { continue };
        let leaves = list.count() >= DEPTH as u32 && usize::from(list.oldest()) == way;
        let is_same = tag.is_some_and(|tag| memory.side.tags.0[bucket as usize][way] == tag);
        if !memory.side.held[slot].in_core {
            if leaves || is_same {
                to_core::<P, CHUNKS>(core, memory, slot);
            } else {
                // Its `Flow` is not written: it must not be found.
                list.flow_mut(way as u8).hash = !frame.hash;
            }
        }
        if memory.side.held[slot].in_core {
            make_room::<P, CHUNKS>(core, memory, slot, sink);
        }
    }
    let len = frame.bytes.len().min(u32::MAX as usize) as u32;
    let Memory { table, side, scratch } = memory;
    load(scratch.bytes_mut(), frame.bytes);
    let mut path = Path::new(core, side, sink);
    let input =
        Input { window: Window::new(scratch, len), meta: frame.meta(), now: core.now, config: &core.config };
    core.state.counters.went_elsewhere(len);
    let _: GroResult = datapath::receive::<Plain<P>, _, _>(&mut core.state, table, &mut path, *frame, &input);
    NOWHERE
}

/// Writes the core's `Flow` of a packet that the shortcut held.
#[cold]
#[inline(never)]
pub(super) fn to_core<P: Profile, const CHUNKS: usize>(
    core: &Core,
    memory: &mut Memory<CHUNKS>,
    slot: usize,
) {
    let Memory { table, side, scratch } = memory;
    let held = &mut side.held[slot];
    scratch.bytes_mut()[..HEAD].copy_from_slice(&held.head);
    let window = Window::new(scratch, u32::from(held.header_len) + held.gso_size);
    let input = Input { window, meta: held.meta, now: held.age, config: &core.config };
    let parsed = table.parse::<Plain<P>>(&input, true);
    debug_assert_eq!(parsed, Some(Parsed::Whole), "a plain frame");
    let place = slot_of(slot);
    let Some((list, hand)) = table.bucket(u32::from(place.bucket)) else { return };
    let flow = list.flow_mut(place.way);
    flow.start::<Plain<P>>(&hand.packet, &input);
    flow.fixed_id = u32::from(held.fixed_id) * FIXED;
    flow.segs = held.segs;
    flow.bytes = held.bytes;
    flow.next_seq = held.next_seq;
    flow.payload_sum = u32::from(!fold(
        u32::from(super::held::in_host_order(held.sum)) + others(flow, held) + u32::from(held.push),
    ));
    flow.control |= u32::from(held.push) << 16;
    held.in_core = true;
}

/// The same the other way round; `false` if the packet is not plain.
#[cold]
#[inline(never)]
fn from_core<P: Profile, const CHUNKS: usize>(core: &Core, memory: &mut Memory<CHUNKS>, slot: usize) -> bool {
    let Memory { table, side, .. } = memory;
    let held = &mut side.held[slot];
    let place = slot_of(slot);
    let Some((list, _)) = table.bucket(u32::from(place.bucket)) else { return false };
    let flow = list.flow(place.way);
    if flow.udp | flow.outer.places | flow.chain_len | (flow.l4 ^ held.l4) != 0
        || flow.payload as usize > HEAD
    {
        return false;
    }
    held.header_len = flow.payload as u8;
    held.fixed_id = flow.fixed_id & FIXED != 0;
    held.segs = flow.segs;
    held.gso_size = flow.gso_size;
    held.bytes = flow.bytes;
    held.next_seq = flow.next_seq;
    held.push = 0;
    let counted = if held.fixed_id { 0 } else { flow.segs };
    held.next_id = ((flow.id_check >> 16) + counted) as u16;
    held.network_sum = network_sum(&held.head);
    held.room = if flow.l4 == IPV4 { room::<P, IPV4>(core, held) } else { room::<P, IPV6>(core, held) };
    held.sum = u64::from((!fold(u32::from(fold(flow.payload_sum)) + others(flow, held))).to_be());
    held.in_core = held.room == 0;
    !held.in_core
}

/// What, with [`Held::sum`] and the payload of all segments, sums to zero.
fn others(flow: &crate::flow::Flow, held: &Held) -> u32 {
    let lengths = held.segs * (flow.payload - flow.l4) + held.bytes;
    u32::from(fold(held.segs * (flow.common_sum + (flow.control >> 16)))) + u32::from(fold(lengths))
}

#[inline(always)]
fn bucket_of(frame: &Frame<'_>) -> u32 {
    frame.hash & (crate::BUCKETS as u32 - 1)
}

#[inline(always)]
pub(super) fn slot_of(slot: usize) -> Slot {
    Slot { bucket: (slot / DEPTH) as u8, way: (slot % DEPTH) as u8 }
}

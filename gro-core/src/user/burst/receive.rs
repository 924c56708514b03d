//! The way of a frame: it joins the packet in hand, or another one, or is held itself; all else goes the core's way.

use super::frame::{Check, Frame, Iov};
use super::held::{
    HEAD, Head, ID_STEP, IPV4, IPV6, Keeper, Lane, Next, Segment, be32, classify, differ, id_sum,
    in_host_order, is_right, long as long_at, mask, stated_length, word,
};
use super::isa::Code;
use super::leave::{Path, emit, pass};
use super::store::{Memory, SEGMENTS_MAX, Side};
use super::{Core, Packet};
use crate::checksum::fold;
use crate::coalesce::{Action, CLOSING};
use crate::datapath::{self, Input};
use crate::flow::{FIXED, Flow};
use crate::parse::{L3_UNTAGGED, Parsed, TCP_HEADER};
use crate::table::DEPTH;
use crate::user::load;
use crate::{Bypass, FlushReason, GroResult, Plain, Profile, Slot, Table, Window};

/// How many frames ahead the first bytes are fetched: far enough for a frame that lies in memory, near enough for the first cache.
const AHEAD: usize = 10;
/// The same for the payload of frames whose checksum is verified here, each of which takes longer.
const PAYLOAD_AHEAD: usize = 3;
/// No place of the table.
const NOWHERE: usize = Slot::COUNT;

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
            Place::Nowhere(IPV4, tag) if is_first::<I, IPV4>(frame, head) => {
                start::<P, IPV4, CHUNKS>(core, memory, (frame, head, tag, FlushReason::None), sink);
            }
            Place::Nowhere(IPV6, tag) if is_first::<I, IPV6>(frame, head) => {
                start::<P, IPV6, CHUNKS>(core, memory, (frame, head, tag, FlushReason::None), sink);
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

/// Frames from `index` on, the first of which is probably of the packet in `slot`. Gives the index of the first that is still to be
/// taken.
#[inline(always)]
fn follow<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frames, index, slot): (&[Frame<'_>], usize, usize),
    (head, tag): (&Head, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) -> usize {
    let is_ipv4 = u32::from(memory.side.held[slot % NOWHERE].l4) == IPV4;
    if memory.side.held[slot % NOWHERE].keeper == Keeper::Nobody {
        if is_ipv4 {
            learn::<P, IPV4, CHUNKS>(core, &mut memory.side, slot);
        } else {
            learn::<P, IPV6, CHUNKS>(core, &mut memory.side, slot);
        }
    }
    let held = &memory.side.held[slot % NOWHERE];
    let is_ready = held.keeper == Keeper::Lane && held.end.room() > 0;
    let Some(frame) = frames.get(index) else { return index };
    if !(is_ready || get_ready::<P, CHUNKS>(core, memory, slot, sink)) {
        long::<P, CHUNKS>(core, memory, (frame, tag), sink);
        return index + 1;
    }
    let end = if is_ipv4 {
        I::run::<IPV4, CHUNKS>((core, memory), frames, (slot, index))
    } else {
        I::run::<IPV6, CHUNKS>((core, memory), frames, (slot, index))
    };
    if end > index {
        return end;
    }
    if is_ipv4 {
        join::<P, I, IPV4, CHUNKS>(core, memory, (slot, frame, head, tag), sink);
    } else {
        join::<P, I, IPV6, CHUNKS>(core, memory, (slot, frame, head, tag), sink);
    }
    index + 1
}

/// Sees that the packet in `slot` can take a segment here: that the shortcut knows it, and that its list has room. `false` if it
/// cannot.
#[cold]
#[inline(never)]
fn get_ready<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    slot: usize,
    sink: &mut impl FnMut(&Packet<'_>),
) -> bool {
    let held = &memory.side.held[slot % NOWHERE];
    let is_known = held.keeper != Keeper::Core || from_core::<P, CHUNKS>(core, memory, slot);
    is_known && make_room::<P, CHUNKS>(core, memory, slot, sink)
}

/// What followers of a single plain frame are compared with.
fn learn<P: Profile, const L4: u32, const CHUNKS: usize>(core: &Core, side: &mut Side<CHUNKS>, slot: usize) {
    let Side { held, store, .. } = side;
    let held = &mut held[slot % NOWHERE];
    let frame = store.first(slot);
    held.keep_head(frame);
    // Not from the copy, which is still on its way.
    let head = frame.first_chunk().unwrap_or(&held.head);
    let header_len = header_len::<L4>(head);
    let segment = Segment::of::<L4>(head, (frame.len() as u32).wrapping_sub(header_len));
    held.lane = Lane {
        sum: segment.sum,
        next_seq: segment.seq.wrapping_add(segment.len),
        next_id: be32(head, 18).wrapping_add(ID_STEP),
        bytes: segment.len,
        limit: limit::<P, L4>(core, head, (header_len, segment.len)),
        id_sum: id_sum(be32(head, 18), head),
        gso_size: segment.len as u16,
        header_len: header_len as u8,
        push: 0,
        fixed_id: false,
    };
    held.end = store.start(slot, header_len as usize);
    held.keeper = Keeper::Lane;
}

#[inline(always)]
fn header_len<const L4: u32>(head: &Head) -> u32 {
    L4 + u32::from(head[L4 as usize + 12] >> 4) * 4
}

/// As [`run`]: in one way or the other, as the first frame has its checksum.
#[inline(always)]
pub(super) fn any_run<I: Code, const L4: u32, const CHUNKS: usize>(
    (core, memory): (&mut Core, &mut Memory<CHUNKS>),
    frames: &[Frame<'_>],
    (slot, index): (usize, usize),
) -> usize {
    if frames.get(index).is_some_and(Frame::is_verified) {
        run::<I, L4, false, CHUNKS>((core, memory), frames, (slot, index))
    } else {
        run::<I, L4, true, CHUNKS>((core, memory), frames, (slot, index))
    }
}

/// Has frames from `index` on join the packet in `slot`, for as long as they are what its first frame lets expect: equally long, with
/// the same flags, in order. Gives the index of the first that is not. Checksums are verified, or all vouched for.
#[inline(always)]
fn run<I: Code, const L4: u32, const VERIFIES: bool, const CHUNKS: usize>(
    (core, memory): (&mut Core, &mut Memory<CHUNKS>),
    frames: &[Frame<'_>],
    (slot, index): (usize, usize),
) -> usize {
    let Side { held, store, .. } = &mut memory.side;
    let held = &mut held[slot % NOWHERE];
    let Lane { mut sum, mut next_seq, mut next_id, bytes, limit, gso_size, header_len, fixed_id, .. } =
        held.lane;
    let (header_len, gso_size) = (usize::from(header_len), u32::from(gso_size));
    let frame_len = header_len + gso_size as usize;
    let mask = mask::<L4>(header_len as u32, true);
    let id_step = if fixed_id { 0 } else { ID_STEP };
    let (mut digest, before) = (core.state.digest, core.state.frames());
    let word = Action::Merge as u32 ^ (slot as u32) << 2;
    let rest = frames.get(index..).unwrap_or(&[]);
    // As many as the list has room for, and the packet.
    let mut most = held.end.room();
    if bytes + most * gso_size >= limit {
        most = limit.saturating_sub(bytes + 1) / gso_size.max(1);
    }
    let mut joined = 0;
    for (frame, place) in rest.iter().zip(store.room(held.end, most)) {
        if frame.key != held.key || frame.bytes.len() != frame_len {
            break;
        }
        if !VERIFIES && !frame.is_verified() {
            break;
        }
        let (Some(head), Some(payload)) = (frame.bytes.first_chunk(), frame.bytes.get(header_len..)) else {
            break;
        };
        let (seq, id) = (be32(head, L4 as usize + 4), be32(head, 18));
        if seq != next_seq || L4 == IPV4 && (id != next_id || id_sum(id, head) != held.lane.id_sum) {
            break;
        }
        if differ(head, &held.head, mask) || VERIFIES && !is_right::<I, L4>(frame, head) {
            break;
        }
        if let Some(frame) = rest.get(joined + AHEAD) {
            prefetch(frame);
        }
        if VERIFIES && let Some(frame) = rest.get(joined + PAYLOAD_AHEAD) {
            prefetch_payload(frame);
        }
        joined += 1;
        *place = Iov::new(payload).erase();
        next_seq = next_seq.wrapping_add(gso_size);
        next_id = next_id.wrapping_add(id_step);
        sum += Segment::of::<L4>(head, gso_size).sum;
        digest.mix(word, before.wrapping_add(joined as u32) ^ seq);
    }
    if joined > 0 {
        let all = joined as u32 * gso_size;
        (held.lane.sum, held.lane.next_seq, held.lane.next_id) = (sum, next_seq, next_id);
        held.lane.bytes = bytes + all;
        core.state.digest = digest;
        let counters = &mut core.state.counters;
        counters.wire_packets += joined as u64;
        counters.wire_bytes += (joined * header_len) as u64 + u64::from(all);
        counters.merged_segments += joined as u64;
        held.end.advance(joined as u32);
        held.segs += joined as u32;
        held.last = counters.wire_packets as u32 - 1;
    }
    index + joined
}

/// A frame that is not the usual next one of the packet in `slot`: with PSH, or shorter, with which the packet leaves, or one more
/// than fit. All else goes the core's way.
#[inline(never)]
fn join<P: Profile, I: Code, const L4: u32, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame, head, tag): (usize, &Frame<'_>, &Head, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let Side { held, store, .. } = &mut memory.side;
    let held = &mut held[slot % NOWHERE];
    let next =
        if held.key == frame.key { held.lane.next::<I, L4>(frame, head, &held.head) } else { Next::Differs };
    match next {
        Next::Joins(segment) => {
            held.lane.join(&segment);
            held.lane.push = segment.push;
            store.push(&mut held.end, frame.bytes.get(usize::from(held.lane.header_len)..).unwrap_or(&[]));
            core.state.counters.arrived(frame.len());
            core.state.counters.merged_segments += 1;
            let frames = core.state.frames();
            held.segs += 1;
            held.last = frames.wrapping_sub(1);
            let close = if segment.push != 0 {
                FlushReason::Push
            } else if segment.len < u32::from(held.lane.gso_size) {
                FlushReason::Short
            } else {
                FlushReason::None
            };
            let word = Action::Merge as u32 | (close as u32) << 16;
            core.state.digest.mix(word ^ (slot as u32) << 2, frames ^ segment.seq);
            if close != FlushReason::None {
                emit::<P, CHUNKS>(core, memory, (slot_of(slot), close), sink);
            }
        }
        Next::TooMuch if held.lane.limit > 0 && is_first::<I, L4>(frame, head) => {
            emit::<P, CHUNKS>(core, memory, (slot_of(slot), FlushReason::Size), sink);
            start::<P, L4, CHUNKS>(core, memory, (frame, head, tag, FlushReason::Size), sink);
        }
        Next::TooMuch | Next::Differs => long::<P, CHUNKS>(core, memory, (frame, tag), sink),
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

/// All but the first bytes.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "as above"))]
fn prefetch_payload(frame: &Frame<'_>) {
    #[cfg(target_arch = "x86_64")]
    for line in frame.bytes.chunks(64).skip(2) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = frame;
}

/// Whether a frame can be held as the first of a packet, or could with a payload.
#[inline(always)]
fn is_first<I: Code, const L4: u32>(frame: &Frame<'_>, head: &Head) -> bool {
    let (header_len, len) = (header_len::<L4>(head), frame.bytes.len());
    let is_plain = if L4 == IPV4 { is_plain_v4(head) } else { head[20] == TCP };
    let closing = head[L4 as usize + 13] & (CLOSING >> 16) as u8;
    let fits = stated_length::<L4>(head) as usize == len
        && len < 1 << 16
        && header_len >= L4 + TCP_HEADER
        && header_len as usize <= len;
    is_plain && closing == 0 && fits && is_right::<I, L4>(frame, head)
}

/// A frame that can be first, of a flow of which nothing is held: it is held, or passes if it is empty. `flush` is why the packet of
/// its flow has just left, if one has.
#[inline(always)]
fn start<P: Profile, const L4: u32, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, head, tag, flush): (&Frame<'_>, &Head, u32, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let len = frame.bytes.len();
    let bucket = bucket_of(frame);
    let Some((list, _)) = memory.table.bucket(bucket) else { return };
    let seq = be32(head, L4 as usize + 4);
    core.state.counters.arrived(len as u32);
    let frames = core.state.frames();
    if len as u32 == header_len::<L4>(head) {
        let slot = Slot { bucket: bucket as u8, way: list.oldest() };
        let word = Action::Normal as u32 | (Bypass::Empty as u32) << 24;
        core.state.digest.mix(word ^ (slot.index() as u32) << 2, frames ^ seq);
        core.state.counters.passed(Bypass::Empty);
        pass(frame, (frames.wrapping_sub(1), Bypass::Empty), sink);
        return;
    }
    let mut word = Action::Hold as u32 | (flush as u32) << 8;
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

/// See [`Lane::limit`]. A segment of odd length would turn the sums of those behind it, and one with CWR never joins where the profile
/// says so.
#[inline(always)]
fn limit<P: Profile, const L4: u32>(core: &Core, head: &Head, (header_len, gso_size): (u32, u32)) -> u32 {
    let control = u32::from(head[L4 as usize + 13]) << 16;
    let is_alone = gso_size & 1 != 0 || control & P::CONTROL_ALONE != 0;
    let max_size = if L4 == IPV4 { core.config.gro_ipv4_max_size } else { core.config.gro_max_size };
    if is_alone { 0 } else { max_size.saturating_sub(header_len - L3_UNTAGGED) }
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
    if held.end.room() > 0 || held.segs < SEGMENTS_MAX && store.grow(&mut held.end) {
        return true;
    }
    core.early += 1;
    emit::<P, CHUNKS>(core, memory, (slot_of(slot), FlushReason::Requested), sink);
    false
}

/// The core's way. `tag` is not 0 if a plain packet may be of the frame's flow.
#[cold]
#[inline(never)]
fn long<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, tag): (&Frame<'_>, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let bucket = bucket_of(frame);
    for way in 0..DEPTH {
        let slot = bucket as usize * DEPTH + way;
        if memory.side.held[slot].segs == 0 {
            continue;
        }
        let Some((list, _)) = memory.table.bucket(bucket) else { continue };
        let leaves = list.count() >= DEPTH as u32 && usize::from(list.oldest()) == way;
        let is_same = tag != 0 && memory.side.tags.0[bucket as usize][way] == tag;
        if memory.side.held[slot].keeper != Keeper::Core {
            if leaves || is_same {
                to_core::<P, CHUNKS>(core, memory, slot);
            } else {
                // Its `Flow` is not written: it must not be found.
                list.flow_mut(way as u8).hash = !frame.meta().hash;
            }
        }
        if memory.side.held[slot].keeper == Keeper::Core {
            make_room::<P, CHUNKS>(core, memory, slot, sink);
        }
    }
    let Memory { table, side, scratch } = memory;
    load(scratch.bytes_mut(), frame.bytes);
    let mut path = Path::new(core, side, sink);
    let input = Input {
        window: Window::new(scratch, frame.len()),
        meta: frame.meta(),
        now: core.now,
        config: &core.config,
    };
    let _: GroResult = datapath::receive::<Plain<P>, _, _>(&mut core.state, table, &mut path, *frame, &input);
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
    let Side { held, store, .. } = side;
    let held = &mut held[slot];
    let frame = store.first(slot);
    load(scratch.bytes_mut(), frame);
    let window = Window::new(scratch, frame.len() as u32);
    let input = Input { window, meta: held.meta(), now: held.age, config: &core.config };
    let parsed = table.parse::<Plain<P>>(&input, true);
    debug_assert_eq!(parsed, Some(Parsed::Whole), "a plain frame");
    let place = slot_of(slot);
    let Some((list, hand)) = table.bucket(u32::from(place.bucket)) else { return };
    let flow = list.flow_mut(place.way);
    flow.start::<Plain<P>>(&hand.packet, &input);
    match held.keeper {
        Keeper::Core => {}
        Keeper::Nobody => held.end = store.start(slot, flow.payload as usize),
        Keeper::Lane => {
            let lane = &held.lane;
            flow.fixed_id = u32::from(lane.fixed_id) * FIXED;
            flow.segs = held.segs;
            flow.bytes = lane.bytes;
            flow.next_seq = lane.next_seq;
            let others = others(flow) + u32::from(lane.push);
            flow.payload_sum = u32::from(!fold(u32::from(in_host_order(lane.sum)) + others));
            flow.control |= u32::from(lane.push) << 16;
        }
    }
    held.keeper = Keeper::Core;
}

/// The same the other way round; `false` if the packet is not plain.
#[cold]
#[inline(never)]
fn from_core<P: Profile, const CHUNKS: usize>(core: &Core, memory: &mut Memory<CHUNKS>, slot: usize) -> bool {
    let Memory { table, side, .. } = memory;
    let Side { held, store, .. } = side;
    let held = &mut held[slot];
    let place = slot_of(slot);
    let Some((list, _)) = table.bucket(u32::from(place.bucket)) else { return false };
    let flow = list.flow(place.way);
    if flow.udp | flow.outer.places | flow.chain_len | (flow.l4 ^ u32::from(held.l4)) != 0
        || flow.payload as usize > HEAD
    {
        return false;
    }
    held.keep_head(store.first(slot));
    let sizes = (flow.payload, flow.gso_size);
    let limit = if flow.l4 == IPV4 {
        limit::<P, IPV4>(core, &held.head, sizes)
    } else {
        limit::<P, IPV6>(core, &held.head, sizes)
    };
    if limit == 0 {
        return false;
    }
    let fixed_id = flow.fixed_id & FIXED != 0;
    let counted = if fixed_id { 0 } else { flow.segs.wrapping_mul(ID_STEP) };
    held.lane = Lane {
        sum: u64::from((!fold(u32::from(fold(flow.payload_sum)) + others(flow))).to_be()),
        next_seq: flow.next_seq,
        next_id: be32(&held.head, 18).wrapping_add(counted),
        bytes: flow.bytes,
        limit,
        id_sum: id_sum(be32(&held.head, 18), &held.head),
        gso_size: flow.gso_size as u16,
        header_len: flow.payload as u8,
        push: 0,
        fixed_id,
    };
    held.keeper = Keeper::Lane;
    true
}

/// What, with [`Lane::sum`] and the payload of all segments, sums to zero.
fn others(flow: &Flow) -> u32 {
    let lengths = flow.segs * (flow.payload - flow.l4) + flow.bytes;
    u32::from(fold(flow.segs * (flow.common_sum + (flow.control >> 16)))) + u32::from(fold(lengths))
}

#[inline(always)]
fn bucket_of(frame: &Frame<'_>) -> u32 {
    frame.key as u32 & (crate::BUCKETS as u32 - 1)
}

#[inline(always)]
pub(super) fn slot_of(slot: usize) -> Slot {
    Slot { bucket: (slot / DEPTH) as u8, way: (slot % DEPTH) as u8 }
}

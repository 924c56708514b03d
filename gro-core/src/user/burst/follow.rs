//! Frames that continue a held packet.

use super::core_way::{from_core, long};
use super::frame::{Frame, Iov};
use super::held::{
    Fate, HEAD, Head, Held, ID_STEP, Keeper, Lane, Segment, UDP_SEGMENTS_MAX, be32, byte, differ_if,
    is_right, seq,
};
use super::isa::Code;
use super::leave::emit;
use super::mismatch::{max_size, why_not};
use super::prefetch::{AHEAD, PAYLOAD_AHEAD, prefetch, prefetch_payload};
use super::receive::{is_plain, seen, start};
use super::shape::{Shape, Tcp4, Tcp6, Udp4, Udp6, has_checksum, header_len, mask};
use super::stacked::elsewhere;
use super::store::{Memory, SEGMENTS_MAX, Side, Store, slot_of};
use super::sums::{id_sum, turns};
use super::{Core, Packet};
use crate::coalesce::Action;
use crate::parse::L3_UNTAGGED;
use crate::{FlushReason, Profile, Slot};

/// Frames from `index` on, the first of which is probably of the packet in `slot`, and has a copy in `short` if it is short itself. Gives
/// the index of the first that is still to be taken.
#[inline(always)]
pub(super) fn follow<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frames, index, slot): (&[Frame<'_>], usize, usize),
    (short, tag): (&Head, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) -> usize {
    match memory.side.held[slot % Slot::COUNT].shape {
        Tcp4::NUMBER => {
            follow_as::<P, I, Tcp4, CHUNKS>(core, memory, (frames, index, slot), (short, tag), sink)
        }
        Tcp6::NUMBER => {
            follow_as::<P, I, Tcp6, CHUNKS>(core, memory, (frames, index, slot), (short, tag), sink)
        }
        0 => {
            let Some(frame) = frames.get(index) else { return index };
            if let Some(ahead) = frames.get(index + PAYLOAD_AHEAD)
                && ahead.is_verified()
            {
                // In a tunnel it is read, whatever somebody vouched for.
                prefetch_payload(ahead);
            }
            elsewhere::<P, I, CHUNKS>(core, memory, (slot, tag), frame, sink);
            index + 1
        }
        _ => {
            let rest = frames.get(index..).unwrap_or(&[]);
            index + follow_udp::<P, I, CHUNKS>(core, memory, rest, (slot, tag), short, sink)
        }
    }
}

/// The same for UDP, out of the way of TCP: how many of `frames` were taken.
#[inline(never)]
fn follow_udp<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    frames: &[Frame<'_>],
    (slot, tag): (usize, u32),
    short: &Head,
    sink: &mut impl FnMut(&Packet<'_>),
) -> usize {
    if memory.side.held[slot % Slot::COUNT].shape == Udp4::NUMBER {
        follow_as::<P, I, Udp4, CHUNKS>(core, memory, (frames, 0, slot), (short, tag), sink)
    } else {
        follow_as::<P, I, Udp6, CHUNKS>(core, memory, (frames, 0, slot), (short, tag), sink)
    }
}

#[inline(always)]
fn follow_as<P: Profile, I: Code, S: Shape, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frames, index, slot): (&[Frame<'_>], usize, usize),
    (short, tag): (&Head, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) -> usize {
    let Some(frame) = frames.get(index) else { return index };
    if memory.side.held[slot % Slot::COUNT].keeper == Keeper::Nobody {
        learn::<P, S, CHUNKS>(core, &mut memory.side, slot);
    }
    let held = &memory.side.held[slot % Slot::COUNT];
    let is_ready = held.keeper == Keeper::Lane && held.end.room() > 0;
    if !(is_ready || get_ready::<P, CHUNKS>(core, memory, slot, sink)) {
        elsewhere::<P, I, CHUNKS>(core, memory, (slot, tag), frame, sink);
        return index + 1;
    }
    let Lane { header_len, gso_size, .. } = memory.side.held[slot % Slot::COUNT].lane;
    let is_long = frame.bytes.len() >= HEAD;
    if frame.bytes.len() != usize::from(header_len) + usize::from(gso_size) {
    } else if gso_size & 1 != 0 {
        if is_long && one_odd::<I, S, CHUNKS>(core, memory, (slot, frame)) {
            return index + 1;
        }
    } else if is_next_likely::<S>(frames, index) {
        let end = if is_long {
            I::run::<S, false, CHUNKS>((core, memory), frames, (slot, index))
        } else {
            I::run::<S, true, CHUNKS>((core, memory), frames, (slot, index))
        };
        if end > index {
            return end;
        }
    } else if is_long && one::<I, S, false, CHUNKS>(core, memory, (slot, frame)) {
        return index + 1;
    }
    join::<P, I, S, CHUNKS>(core, memory, (slot, frame, seen(frame.bytes, short), tag), sink);
    index + 1
}

/// Whether the frame behind this one has its hash, length and ports, so that a run of several is to be expected.
#[inline(always)]
fn is_next_likely<S: Shape>(frames: &[Frame<'_>], index: usize) -> bool {
    let ports = S::L4..S::L4 + 4;
    let (Some(this), Some(next)) = (frames.get(index), frames.get(index + 1)) else { return false };
    this.key == next.key
        && this.bytes.len() == next.bytes.len()
        && this.bytes.get(ports.clone()) == next.bytes.get(ports)
}

/// As [`run`], of one frame that is as long as it must be and no shorter than a head: without what a loop keeps at hand. `ODD`: that
/// length turns the sum of the next one.
#[inline(always)]
fn one<I: Code, S: Shape, const ODD: bool, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame): (usize, &Frame<'_>),
) -> bool {
    let Some(head) = S::head(frame.bytes) else { return false };
    let held = &memory.side.held[slot % Slot::COUNT];
    let lane = &held.lane;
    let (header_len, gso_size) = (usize::from(lane.header_len), u32::from(lane.gso_size));
    let Some(payload) = frame.bytes.get(header_len..) else { return false };
    // Before the comparison: out of what that has in vector registers they come dear.
    let segment = Segment { push: 0, ..Segment::of::<S>(head, gso_size) };
    let id = be32(head, 18);
    if frame.key != held.key
        || lane.bytes + gso_size >= lane.limit
        || segment.seq != lane.next_seq
        || S::IS_UDP && held.segs + 1 >= UDP_SEGMENTS_MAX
        || !has_checksum::<S>(head)
        || S::IS_V4 && (id != lane.next_id || id_sum(id, head) != lane.id_sum)
        || differ_if::<false>(frame.bytes, &held.head, mask::<S>(header_len as u32, true))
        || !is_right::<I, S>(frame, head)
    {
        return false;
    }
    append::<S, ODD, CHUNKS>(core, &mut memory.side, (slot, payload, &segment), FlushReason::None);
    true
}

/// As [`one`], out of the way.
#[inline(never)]
fn one_odd<I: Code, S: Shape, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame): (usize, &Frame<'_>),
) -> bool {
    one::<I, S, true, CHUNKS>(core, memory, (slot, frame))
}

/// What a segment that joins changes; `close` is why the packet then leaves.
#[inline(always)]
fn append<S: Shape, const ODD: bool, const CHUNKS: usize>(
    core: &mut Core,
    side: &mut Side<CHUNKS>,
    (slot, payload, segment): (usize, &[u8], &Segment),
    close: FlushReason,
) {
    let Side { held, store, .. } = side;
    let held = &mut held[slot % Slot::COUNT];
    held.lane.join::<S, ODD>(segment);
    let len = u32::from(held.lane.header_len) + segment.len;
    joined(core, (held, store), (slot, payload, len, segment.seq), close);
}

/// What a frame that joined changes, whoever keeps the packet: `len` is that of the frame.
#[inline(always)]
pub(super) fn joined<const CHUNKS: usize>(
    core: &mut Core,
    (held, store): (&mut Held, &mut Store<CHUNKS>),
    (slot, payload, len, seq): (usize, &[u8], u32, u32),
    close: FlushReason,
) {
    store.push(&mut held.end, payload);
    core.state.counters.arrived(len);
    core.state.counters.merged_segments += 1;
    let frames = core.frames();
    held.segs += 1;
    held.last = frames.wrapping_sub(1);
    let word = Action::Merge as u32 | (close as u32) << 16;
    core.state.digest.mix(word ^ (slot as u32) << 2, frames ^ seq);
}

/// As [`run`]: in one way or the other, as the first frame has its checksum.
#[inline(always)]
pub(super) fn any_run<I: Code, S: Shape, const SHORT: bool, const CHUNKS: usize>(
    (core, memory): (&mut Core, &mut Memory<CHUNKS>),
    frames: &[Frame<'_>],
    (slot, index): (usize, usize),
) -> usize {
    if frames.get(index).is_some_and(Frame::is_verified) {
        run::<I, S, false, SHORT, CHUNKS>((core, memory), frames, (slot, index))
    } else {
        run::<I, S, true, SHORT, CHUNKS>((core, memory), frames, (slot, index))
    }
}

/// Has frames from `index` on join the packet in `slot`, for as long as they are what its first frame lets expect: equally long, with
/// the same flags, in order. Gives the index of the first that is not. Checksums are verified, or all vouched for; the length is even, so
/// that no sum is turned.
#[inline(always)]
fn run<I: Code, S: Shape, const VERIFIES: bool, const SHORT: bool, const CHUNKS: usize>(
    (core, memory): (&mut Core, &mut Memory<CHUNKS>),
    frames: &[Frame<'_>],
    (slot, index): (usize, usize),
) -> usize {
    let Side { held, store, .. } = &mut memory.side;
    let held = &mut held[slot % Slot::COUNT];
    let Lane { mut sum, mut next_seq, mut next_id, bytes, limit, gso_size, header_len, fixed_id, .. } =
        held.lane;
    let (header_len, gso_size) = (usize::from(header_len), u32::from(gso_size));
    let frame_len = header_len + gso_size as usize;
    let mask = mask::<S>(header_len as u32, true);
    let seq_step = if S::IS_UDP { 0 } else { gso_size };
    let id_step = if fixed_id { 0 } else { ID_STEP };
    let (mut digest, before) = (core.state.digest, core.frames());
    let word = Action::Merge as u32 ^ (slot as u32) << 2;
    let rest = frames.get(index..).unwrap_or(&[]);
    // As many as the list has room for, and the packet.
    let mut most = held.end.room();
    if bytes + most * gso_size >= limit {
        most = limit.saturating_sub(bytes + 1) / gso_size.max(1);
    }
    if S::IS_UDP {
        // With the last one it leaves.
        most = most.min((UDP_SEGMENTS_MAX - 1).saturating_sub(held.segs));
    }
    let mut joined = 0;
    for (frame, place) in rest.iter().zip(store.room(held.end, most)) {
        if frame.key != held.key || frame.bytes.len() != frame_len {
            break;
        }
        if !VERIFIES && !frame.is_verified() {
            break;
        }
        let (Some(head), Some(payload)) = (S::head(frame.bytes), frame.bytes.get(header_len..)) else {
            break;
        };
        let (seq, id) = (seq::<S>(head), be32(head, 18));
        if seq != next_seq
            || !has_checksum::<S>(head)
            || S::IS_V4 && (id != next_id || id_sum(id, head) != held.lane.id_sum)
        {
            break;
        }
        if differ_if::<SHORT>(frame.bytes, &held.head, mask) || VERIFIES && !is_right::<I, S>(frame, head) {
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
        next_seq = next_seq.wrapping_add(seq_step);
        next_id = next_id.wrapping_add(id_step);
        sum += Segment::of::<S>(head, gso_size).sum;
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

/// A frame that is not the usual next one of the packet in `slot`: it joins with PSH, or is shorter, and the packet leaves with it, or it
/// does not join, and the packet leaves before it.
#[inline(never)]
fn join<P: Profile, I: Code, S: Shape, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame, seen, tag): (usize, &Frame<'_>, &[u8], u32),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let Some(head) = S::head(seen) else { return long::<P, CHUNKS>(core, memory, (frame, tag), sink) };
    let held = &memory.side.held[slot % Slot::COUNT];
    if held.key != frame.key {
        return long::<P, CHUNKS>(core, memory, (frame, tag), sink);
    }
    match held.lane.judge::<I, S>(frame, seen, &held.head) {
        Fate::Joins(segment) => {
            let close = held.lane.closes::<S>(&segment, held.segs);
            let payload = frame.bytes.get(usize::from(held.lane.header_len)..).unwrap_or(&[]);
            append::<S, true, CHUNKS>(core, &mut memory.side, (slot, payload, &segment), close);
            if close != FlushReason::None {
                emit::<P, CHUNKS>(core, memory, (slot_of(slot), close), sink);
            }
        }
        Fate::Leaves(why) => {
            emit::<P, CHUNKS>(core, memory, (slot_of(slot), why), sink);
            start::<P, S, CHUNKS>(core, memory, (frame, head, tag), (why, slot_of(slot)), sink);
        }
        Fate::Unknown => mismatch::<P, I, S, CHUNKS>(core, memory, (slot, frame, seen, tag), sink),
    }
}

/// A frame that differs in more than lengths and places.
#[inline(never)]
fn mismatch<P: Profile, I: Code, S: Shape, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame, seen, tag): (usize, &Frame<'_>, &[u8], u32),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let held = &memory.side.held[slot % Slot::COUNT];
    if let Some(head) = S::head(seen)
        && is_plain::<I, S>(frame, head)
        && let len = frame.len() - header_len::<S>(head)
        && let why = why_not::<P, S>(held, (frame, seen, head), len, &core.config)
        && why != FlushReason::None
    {
        emit::<P, CHUNKS>(core, memory, (slot_of(slot), why), sink);
        start::<P, S, CHUNKS>(core, memory, (frame, head, tag), (why, slot_of(slot)), sink);
    } else {
        long::<P, CHUNKS>(core, memory, (frame, tag), sink);
    }
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
    let held = &memory.side.held[slot % Slot::COUNT];
    let is_known = held.keeper != Keeper::Core || from_core::<P, CHUNKS>(core, memory, slot);
    is_known && make_room::<P, CHUNKS>(core, memory, slot, sink)
}

/// Sees that a segment may be added to the list of a held packet. `false` if there was no room and the packet left early.
#[inline(always)]
pub(super) fn make_room<P: Profile, const CHUNKS: usize>(
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

/// What followers of a single plain frame are compared with.
#[inline(always)]
fn learn<P: Profile, S: Shape, const CHUNKS: usize>(core: &Core, side: &mut Side<CHUNKS>, slot: usize) {
    let Side { held, store, .. } = side;
    let held = &mut held[slot % Slot::COUNT];
    let frame = store.first(slot);
    held.keep_head(frame);
    // Not from the copy, which is still on its way.
    let Some(head) = S::head(frame).or_else(|| S::head(&held.head)) else { return };
    let header_len = header_len::<S>(head);
    let segment = Segment::of::<S>(head, (frame.len() as u32).wrapping_sub(header_len));
    held.lane = Lane {
        sum: segment.sum,
        next_seq: segment.next_seq::<S>(),
        next_id: be32(head, 18).wrapping_add(ID_STEP),
        bytes: segment.len,
        limit: limit::<P, S>(core, head, header_len),
        id_sum: id_sum(be32(head, 18), head),
        gso_size: segment.len as u16,
        header_len: header_len as u8,
        push: 0,
        fixed_id: false,
        turn: turns(segment.len),
    };
    held.end = store.start(slot, header_len as usize);
    held.keeper = Keeper::Lane;
}

/// See [`Lane::limit`]. A segment with CWR never joins where the profile says so.
#[inline(always)]
pub(super) fn limit<P: Profile, S: Shape>(core: &Core, head: &S::Head, header_len: u32) -> u32 {
    let control = if S::IS_UDP { 0 } else { u32::from(byte(head, S::L4 + 13)) << 16 };
    if control & P::CONTROL_ALONE != 0 {
        return 0;
    }
    max_size::<S>(&core.config).saturating_sub(header_len - L3_UNTAGGED)
}

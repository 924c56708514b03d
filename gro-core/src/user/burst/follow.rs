//! Frames that continue a held packet.

use super::core_way::{from_core, long};
use super::frame::{Frame, Iov};
use super::held::{Fate, Head, Held, ID_STEP, Keeper, Lane, Segment, byte, identity};
use super::isa::Code;
use super::leave::emit;
use super::mismatch::{max_size, why_not};
use super::prefetch::{PAYLOAD_AHEAD, prefetch_payload};
use super::receive::{is_plain, seen, start};
use super::shape::{Shape, Tcp4, Tcp6, Udp4, Udp6, header_len};
use super::stacked::elsewhere;
use super::store::{Memory, SEGMENTS_MAX, Side, Store, slot_of};
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
    match memory.side.held[slot % Slot::COUNT].origin.shape {
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
    if memory.side.held[slot % Slot::COUNT].origin.shape == Udp4::NUMBER {
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
    let held = &memory.side.held[slot % Slot::COUNT];
    let first_len = usize::from(held.lane.header_len) + usize::from(held.lane.gso_size);
    if held.origin.keeper != Keeper::Lane || frame.bytes.len() == first_len {
        let end = I::fast::<P, S, CHUNKS>((core, memory), frames, index, sink);
        if end > index {
            return end;
        }
    }
    if !get_ready::<P, S, CHUNKS>(core, memory, slot, sink) {
        elsewhere::<P, I, CHUNKS>(core, memory, (slot, tag), frame, sink);
    } else {
        join::<P, I, S, CHUNKS>(core, memory, (slot, frame, seen(frame.bytes, short), tag), sink);
    }
    index + 1
}

/// What a frame that joined changes, whoever keeps the packet: its payload is behind `header_len` bytes.
#[inline(always)]
pub(super) fn joined<const CHUNKS: usize>(
    core: &mut Core,
    (held, store): (&mut Held, &mut Store<CHUNKS>),
    (slot, frame, header_len, seq): (usize, &Frame<'_>, u32, u32),
    close: FlushReason,
) {
    let lane = &mut held.lane;
    store.push(&mut lane.list, Iov::behind(frame.bytes, header_len as usize));
    core.state.counters.arrived(frame.len());
    core.state.counters.merged_segments += 1;
    let frames = core.frames();
    held.origin.last = frames.wrapping_sub(1);
    let word = Action::Merge as u32 | (close as u32) << 16;
    core.state.digest.mix(word ^ (slot as u32) << 2, frames ^ seq);
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
    if held.origin.key != frame.key {
        return long::<P, CHUNKS>(core, memory, (frame, tag), sink);
    }
    match held.lane.judge::<I, S>(frame, seen, &held.head) {
        Fate::Joins(segment) => {
            let close = held.lane.closes::<S>(&segment);
            let Side { held, store, .. } = &mut memory.side;
            let held = &mut held[slot % Slot::COUNT];
            held.lane.join::<S>(&segment);
            let header_len = u32::from(held.lane.header_len);
            joined(core, (held, store), (slot, frame, header_len, segment.seq), close);
            if close != FlushReason::None {
                emit::<P, CHUNKS>(core, memory, (slot, close), sink);
            }
        }
        Fate::Leaves(why) => {
            emit::<P, CHUNKS>(core, memory, (slot, why), sink);
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
        emit::<P, CHUNKS>(core, memory, (slot, why), sink);
        start::<P, S, CHUNKS>(core, memory, (frame, head, tag), (why, slot_of(slot)), sink);
    } else {
        long::<P, CHUNKS>(core, memory, (frame, tag), sink);
    }
}

/// Sees that the packet in `slot` can take a segment here: that the shortcut knows it, and that its list has room. `false` if it
/// cannot.
#[inline(never)]
fn get_ready<P: Profile, S: Shape, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    slot: usize,
    sink: &mut impl FnMut(&Packet<'_>),
) -> bool {
    let is_known = match memory.side.held[slot % Slot::COUNT].origin.keeper {
        Keeper::Nobody => {
            learn::<P, S, CHUNKS>(core, &mut memory.side, slot);
            true
        }
        Keeper::Lane => true,
        Keeper::Core => from_core::<P, CHUNKS>(core, memory, slot),
    };
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
    if has_room(&mut memory.side, slot) {
        return true;
    }
    core.early += 1;
    emit::<P, CHUNKS>(core, memory, (slot, FlushReason::Requested), sink);
    false
}

/// The same; `false` if there is none to be had.
#[inline(always)]
pub(super) fn has_room<const CHUNKS: usize>(side: &mut Side<CHUNKS>, slot: usize) -> bool {
    let Side { held, store, .. } = side;
    let lane = &mut held[slot % Slot::COUNT].lane;
    lane.list.room() > 0 || lane.list.segs() < SEGMENTS_MAX && store.grow(&mut lane.list)
}

/// Learns what followers of a single plain frame are compared with.
#[inline(always)]
pub(super) fn learn<P: Profile, S: Shape, const CHUNKS: usize>(
    core: &Core,
    side: &mut Side<CHUNKS>,
    slot: usize,
) {
    // Copied where the caller's instruction set is, with the widest stores there are: the first follower is compared with the widest
    // loads, which wait for stores of less.
    side.held[slot % Slot::COUNT].keep_head(side.store.first(slot));
    learn_rest::<P, S, CHUNKS>(core, side, slot);
}

#[inline(never)]
fn learn_rest<P: Profile, S: Shape, const CHUNKS: usize>(core: &Core, side: &mut Side<CHUNKS>, slot: usize) {
    let Side { held, store, .. } = side;
    let held = &mut held[slot % Slot::COUNT];
    let frame = store.first(slot);
    // Not from the copy, which is still on its way.
    let Some(head) = S::head(frame).or_else(|| S::head(&held.head)) else { return };
    let header_len = header_len::<S>(head);
    let segment = Segment::of::<S>(head, (frame.len() as u32).wrapping_sub(header_len));
    let lane = Lane {
        next_id: identity(head).wrapping_add(ID_STEP),
        id_step: ID_STEP,
        next_seq: segment.next_seq::<S>(),
        bytes: segment.len,
        limit: limit::<P, S>(core, head, header_len),
        list: store.start(slot, header_len as usize),
        gso_size: segment.len as u16,
        header_len: header_len as u8,
        push: 0,
    };
    held.lane = Lane { list: lane.list.with_left(lane.left::<S>()), ..lane };
    held.origin.keeper = Keeper::Lane;
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

//! Frames that are what the packets in hand let expect: each joins by comparison alone.

use super::follow::{has_room, learn};
use super::frame::{Frame, Iov};
use super::fresh::hold;
use super::held::{HEAD, Keeper, differ, identity, is_right, seq};
use super::isa::Code;
use super::prefetch::{AHEAD, PAYLOAD_AHEAD, prefetch, prefetch_payload};
use super::receive::bucket_of;
use super::shape::{Shape, has_checksum, mask};
use super::store::{Memory, Side};
use super::tags::tag_as;
use super::{Core, Sink};
use crate::coalesce::Action;
use crate::digest::Digest;
use crate::table::DEPTH;
use crate::{Profile, Slot};

/// Takes frames from `index` on, for as long as each is of this shape, and what the first frame of its packet lets expect, equally long, with
/// the same flags, in order, or the first of a flow. Gives the index of the first frame that
/// is none of that. Checksums are verified, or all vouched for.
#[inline(always)]
pub(super) fn any<P: Profile, I: Code, S: Shape, const CHUNKS: usize>(
    memory: (&mut Core, &mut Memory<CHUNKS>),
    frames: &[Frame<'_>],
    index: usize,
    sink: Sink<'_>,
) -> usize {
    let rest = frames.get(index..).unwrap_or(&[]);
    let taken = if rest.first().is_some_and(Frame::is_verified) {
        run::<P, I, S, false, CHUNKS>(memory, rest, sink)
    } else {
        run::<P, I, S, true, CHUNKS>(memory, rest, sink)
    };
    index + taken
}

/// As [`any`], one way or the other; how many were taken.
#[inline(always)]
fn run<P: Profile, I: Code, S: Shape, const VERIFIES: bool, const CHUNKS: usize>(
    (core, memory): (&mut Core, &mut Memory<CHUNKS>),
    frames: &[Frame<'_>],
    sink: Sink<'_>,
) -> usize {
    let (mut rest, mut held) = (frames, 0);
    let mut taken = Taken { digest: core.state.digest, number: core.frames(), bytes: 0 };
    while let Some((frame, after)) = rest.split_first() {
        let Some(head) = S::head(frame.bytes) else { break };
        let Some(tag) = tag_as::<S>(head) else { break };
        let bucket = bucket_of(frame);
        let Some(way) = memory.side.tags.way::<I>(bucket, tag) else {
            if !VERIFIES && !frame.is_verified()
                || !hold::<P, I, S, CHUNKS>((core, memory), (frame, head, tag), &mut taken, sink)
            {
                break;
            }
            fetch::<VERIFIES>(rest);
            held += 1;
            rest = after;
            continue;
        };
        let slot = bucket as usize * DEPTH + way;
        let side = &mut memory.side;
        let lane = &side.held[slot % Slot::COUNT].lane;
        if side.held[slot % Slot::COUNT].origin.shape != S::NUMBER
            || lane.list.left() == 0 && !is_ready::<P, S, CHUNKS>(core, side, slot)
        {
            break;
        }
        let lane = &side.held[slot % Slot::COUNT].lane;
        let after = if usize::from(lane.header_len) + usize::from(lane.gso_size) >= HEAD {
            join::<I, S, VERIFIES, false, CHUNKS>(side, rest, slot, &mut taken)
        } else {
            join::<I, S, VERIFIES, true, CHUNKS>(side, rest, slot, &mut taken)
        };
        if after.len() == rest.len() {
            break;
        }
        rest = after;
    }
    let all = frames.len() - rest.len();
    core.state.digest = taken.digest;
    let counters = &mut core.state.counters;
    counters.wire_packets += all as u64;
    counters.wire_bytes += taken.bytes;
    counters.merged_segments += (all - held) as u64;
    all
}

/// What the frames that were taken come to.
pub(super) struct Taken {
    pub(super) digest: Digest,
    /// Frames so far, modulo 2^32.
    pub(super) number: u32,
    /// Bytes of these frames.
    pub(super) bytes: u64,
}

impl Taken {
    /// One more frame, with a decision.
    #[inline(always)]
    pub(super) fn count(&mut self, decision: u32, seq: u32) {
        self.number = self.number.wrapping_add(1);
        self.digest.mix(decision, self.number ^ seq);
    }
}

/// Fetches what comes behind the first one of `frames`.
#[inline(always)]
fn fetch<const VERIFIES: bool>(frames: &[Frame<'_>]) {
    if let Some(frame) = frames.get(AHEAD) {
        prefetch(frame);
    }
    if VERIFIES && let Some(frame) = frames.get(PAYLOAD_AHEAD) {
        prefetch_payload(frame);
    }
}

/// Has the first ones of `frames` join the packet in `slot`, and gives the others. `SHORT`: they are shorter than a head.
#[inline(always)]
fn join<'a, 'f, I: Code, S: Shape, const VERIFIES: bool, const SHORT: bool, const CHUNKS: usize>(
    side: &mut Side<CHUNKS>,
    frames: &'a [Frame<'f>],
    slot: usize,
    taken: &mut Taken,
) -> &'a [Frame<'f>] {
    let Side { held, store, .. } = side;
    let held = &mut held[slot % Slot::COUNT];
    let (header_len, gso_size) = (usize::from(held.lane.header_len), u32::from(held.lane.gso_size));
    let len = header_len + gso_size as usize;
    let mask = mask::<S>(header_len as u32, true);
    let word = Action::Merge as u32 ^ (slot as u32) << 2;
    let mut rest = frames;
    while let Some((frame, after)) = rest.split_first() {
        let bytes = frame.bytes;
        // All of it, or enough for any head.
        let Some(seen) = bytes.get(..if SHORT { bytes.len() } else { HEAD }) else { break };
        let Some(head) = S::head(seen) else { break };
        if bytes.len() != len || frame.key != held.origin.key || !VERIFIES && !frame.is_verified() {
            break;
        }
        let seq = seq::<S>(head);
        if seq != held.lane.next_seq
            || S::IS_V4 && identity(head) != held.lane.next_id
            || !has_checksum::<S>(head)
            || differ(seen, &held.head, mask)
            || VERIFIES && !is_right::<I, S>(frame, head)
        {
            break;
        }
        fetch::<VERIFIES>(rest);
        let lane = &mut held.lane;
        let Some(place) = store.place(lane.list) else { break };
        *place = Iov::behind(bytes, header_len).erase();
        rest = after;
        held.origin.last = taken.number;
        taken.count(word, seq);
        lane.bytes += gso_size;
        if !S::IS_UDP {
            lane.next_seq = seq.wrapping_add(gso_size);
        }
        if S::IS_V4 {
            lane.next_id = lane.next_id.wrapping_add(lane.id_step);
        }
        lane.list.count();
        if lane.list.left() == 0 {
            break;
        }
    }
    taken.bytes += ((frames.len() - rest.len()) * len) as u64;
    rest
}

/// Sees that a segment like the first one may join the packet in `slot`, which is of this shape, if nothing stands against that, and says so in
/// [`super::store::List::left`].
#[inline(always)]
fn is_ready<P: Profile, S: Shape, const CHUNKS: usize>(
    core: &Core,
    side: &mut Side<CHUNKS>,
    slot: usize,
) -> bool {
    match side.held[slot % Slot::COUNT].origin.keeper {
        Keeper::Nobody => learn::<P, S, CHUNKS>(core, side, slot),
        Keeper::Lane => go_on::<S, CHUNKS>(side, slot),
        Keeper::Core => return false,
    }
    side.held[slot % Slot::COUNT].lane.list.left() > 0
}

#[inline(never)]
fn go_on<S: Shape, const CHUNKS: usize>(side: &mut Side<CHUNKS>, slot: usize) {
    if has_room(side, slot) {
        let lane = &mut side.held[slot % Slot::COUNT].lane;
        lane.list = lane.list.with_left(lane.left::<S>());
    }
}

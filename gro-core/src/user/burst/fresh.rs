//! The first frame of a flow: it is held, as the first of a packet.

use super::fast::Taken;
use super::frame::Frame;
use super::held::{Keeper, Origin, byte, is_right, seq};
use super::isa::Code;
use super::leave::emit;
use super::receive::{bucket_of, is_network_plain};
use super::shape::{Shape, header_len, is_whole};
use super::store::{List, Memory};
use super::udp::{Look, look};
use super::{Core, Sink};
use crate::coalesce::{Action, CLOSING};
use crate::parse::TCP_HEADER;
use crate::table::DEPTH;
use crate::{FlushReason, Profile, Slot, Table};

/// Holds a frame of whose flow nothing is held, and has the oldest packet of a full bucket leave for it. `false` if it is not plain, or may
/// not be held.
#[inline(always)]
pub(super) fn hold<P: Profile, I: Code, S: Shape, const CHUNKS: usize>(
    (core, memory): (&mut Core, &mut Memory<CHUNKS>),
    (frame, head, tag): (&Frame<'_>, &S::Head, u32),
    taken: &mut Taken,
    sink: Sink<'_>,
) -> bool {
    let may_be_held = if S::IS_UDP {
        matches!(look::<I, S>(&core.config, frame, head), Look::Plain)
    } else {
        is_segment::<S>(frame, head) && is_right::<I, S>(frame, head)
    };
    if !may_be_held {
        return false;
    }
    let mut word = Action::Hold as u32;
    let bucket = bucket_of(frame);
    let Some((list, _)) = memory.table.bucket(bucket) else { return false };
    if list.count() >= DEPTH as u32 {
        word |= (FlushReason::Evicted as u32) << 8;
        core.state.digest = taken.digest;
        evict::<P, CHUNKS>(core, memory, bucket, sink);
        taken.digest = core.state.digest;
    }
    let slot = insert::<S, CHUNKS>(memory, (frame, tag), (taken.number, core.now));
    taken.count(word ^ (slot as u32) << 2, seq::<S>(head));
    taken.bytes += frame.bytes.len() as u64;
    true
}

/// Puts a frame into its bucket, which has room, as the newest packet; gives its slot.
#[inline(always)]
pub(super) fn insert<S: Shape, const CHUNKS: usize>(
    memory: &mut Memory<CHUNKS>,
    (frame, tag): (&Frame<'_>, u32),
    (number, now): (u32, u32),
) -> usize {
    let Memory { table, side, .. } = memory;
    let bucket = bucket_of(frame);
    let way = table.bucket(bucket).map_or(0, |(list, _)| usize::from(list.insert()) % DEPTH);
    let slot = bucket as usize * DEPTH + way;
    side.holding += 1;
    side.tags.set(bucket, way, tag);
    let held = &mut side.held[slot % Slot::COUNT];
    held.origin = Origin::of(frame, number, now, Keeper::Nobody, S::NUMBER);
    held.lane.list = List::SINGLE;
    side.store.hold(slot, frame.bytes);
    slot
}

/// Has the oldest packet of a bucket leave.
#[inline(never)]
pub(super) fn evict<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    bucket: u32,
    mut sink: Sink<'_>,
) {
    let Some((list, _)) = memory.table.bucket(bucket) else { return };
    let slot = bucket as usize * DEPTH + usize::from(list.oldest());
    emit::<P, CHUNKS>(core, memory, (slot, FlushReason::Evicted), &mut sink);
}

/// Whether a frame is a TCP segment with payload, none of the flags that close a packet, and all else that `is_plain` asks but for the
/// checksum.
#[inline(always)]
fn is_segment<S: Shape>(frame: &Frame<'_>, head: &S::Head) -> bool {
    let (len, least) = (frame.bytes.len(), S::L4 + TCP_HEADER as usize);
    // Both bounds at once.
    let has_payload = (header_len::<S>(head) as usize).wrapping_sub(least) < len.wrapping_sub(least);
    let is_closing = byte(head, S::L4 + 13) & (CLOSING >> 16) as u8 != 0;
    is_whole::<S>(head, len) && has_payload && !is_closing && is_network_plain::<S>(head)
}

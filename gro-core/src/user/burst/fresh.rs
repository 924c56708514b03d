//! The first frame of a flow: it is held, as the first of a packet.

use super::fast::Taken;
use super::frame::Frame;
use super::held::{Held, IP, Keeper, Origin, be16, byte, is_right, seq};
use super::isa::Code;
use super::leave::emit;
use super::receive::{bucket_of, is_network_plain};
use super::shape::{Shape, header_len, is_udp_right, stated_length};
use super::store::{List, Memory};
use super::{Core, Sink};
use crate::coalesce::{Action, CLOSING};
use crate::parse::{L3_UNTAGGED, TCP_HEADER, is_udp_tunnel};
use crate::table::DEPTH;
use crate::{Config, FlushReason, Profile, Slot, Table, UdpMode};

/// Holds a frame of whose flow nothing is held, and has the oldest packet of a full bucket leave for it. `false` if it is not plain, or may
/// not be held.
#[inline(always)]
pub(super) fn hold<P: Profile, I: Code, S: Shape, const CHUNKS: usize>(
    (core, memory): (&mut Core, &mut Memory<CHUNKS>),
    (frame, head, tag): (&Frame<'_>, &S::Head, u32),
    taken: &mut Taken,
    sink: Sink<'_>,
) -> bool {
    let bucket = bucket_of(frame);
    let may_be_held =
        if S::IS_UDP { is_datagram::<S>(&core.config, frame, head) } else { is_segment::<S>(frame, head) };
    if !may_be_held || !is_right::<I, S>(frame, head) {
        return false;
    }
    let mut word = Action::Hold as u32;
    let Some((list, _)) = memory.table.bucket(bucket) else { return false };
    if list.count() >= DEPTH as u32 {
        word |= (FlushReason::Evicted as u32) << 8;
        core.state.digest = taken.digest;
        evict::<P, CHUNKS>(core, memory, bucket, sink);
        taken.digest = core.state.digest;
    }
    let Memory { table, side, .. } = memory;
    let Some((list, _)) = table.bucket(bucket) else { return false };
    let way = usize::from(list.insert()) % DEPTH;
    let slot = bucket as usize * DEPTH + way;
    side.holding += 1;
    side.tags.set(bucket, way, tag);
    let origin = Origin::of(frame, taken.number, core.now, Keeper::Nobody, S::NUMBER);
    side.held[slot % Slot::COUNT].begin(origin);
    side.store.hold(slot, frame.bytes);
    taken.count(word ^ (slot as u32) << 2, seq::<S>(head));
    taken.bytes += frame.bytes.len() as u64;
    true
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
    let (length, before) = if S::IS_V4 { (IP + 2, L3_UNTAGGED as usize) } else { (IP + 4, S::L4) };
    let is_whole = len >> 16 == 0 && be16(head, length) == len.wrapping_sub(before) as u16;
    let is_closing = byte(head, S::L4 + 13) & (CLOSING >> 16) as u8 != 0;
    is_whole && has_payload && !is_closing && is_network_plain::<S>(head)
}

/// Whether it is a datagram that UDP GRO takes, and all else that `udp::look` asks but for the checksum.
#[inline(always)]
fn is_datagram<S: Shape>(config: &Config, frame: &Frame<'_>, head: &S::Head) -> bool {
    let len = frame.bytes.len();
    config.udp == UdpMode::Forwarding
        && len >> 16 == 0
        && stated_length::<S>(head) as usize == len
        && is_udp_right::<S>(head, len)
        && is_network_plain::<S>(head)
        && !is_udp_tunnel(be16(head, S::L4 + 2), config)
}

impl Held {
    /// A single frame.
    #[inline(always)]
    pub(super) fn begin(&mut self, origin: Origin) {
        self.origin = origin;
        self.lane.list = List::SINGLE;
    }
}

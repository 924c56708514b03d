//! The way of the core: for every frame that the shortcut does not know what to do with. A packet is known to one of the two, and changes
//! hands when the other needs it.

use super::follow::{limit, make_room};
use super::frame::Frame;
use super::held::{HEAD, ID_STEP, Keeper, Lane, be32};
use super::leave::Path;
use super::receive::bucket_of;
use super::shape::{Shape, Tcp4, Tcp6, UDP, Udp4, Udp6};
use super::store::{Memory, Side, slot_of};
use super::sums::{id_sum, in_host_order, length_sum, turns, weight};
use super::{Core, Packet};
use crate::checksum::fold;
use crate::datapath::{self, Input};
use crate::flow::{FIXED, Flow};
use crate::parse::Parsed;
use crate::table::DEPTH;
use crate::user::load;
use crate::{GroResult, Plain, Profile, Table, Window};

/// The core's way. `tag` is not 0 if a plain packet may be of the frame's flow.
#[cold]
#[inline(never)]
pub(super) fn long<P: Profile, const CHUNKS: usize>(
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
    flow.start(&hand.packet, &input);
    match held.keeper {
        Keeper::Core => {}
        Keeper::Nobody => held.end = store.start(slot, flow.payload as usize),
        Keeper::Lane => {
            let lane = &held.lane;
            flow.fixed_id = u32::from(lane.fixed_id) * FIXED;
            flow.segs = held.segs;
            flow.bytes = lane.bytes;
            flow.next_seq = lane.next_seq;
            let others = others(flow) + lane.push_sum();
            flow.payload_sum = u32::from(!fold(u32::from(in_host_order(lane.sum)) + others));
            flow.control |= u32::from(lane.push) << 16;
        }
    }
    held.keeper = Keeper::Core;
}

/// The same the other way round; `false` if the packet is not plain.
#[cold]
#[inline(never)]
pub(super) fn from_core<P: Profile, const CHUNKS: usize>(
    core: &Core,
    memory: &mut Memory<CHUNKS>,
    slot: usize,
) -> bool {
    let Memory { table, side, .. } = memory;
    let Side { held, store, .. } = side;
    let held = &mut held[slot];
    let place = slot_of(slot);
    let Some((list, _)) = table.bucket(u32::from(place.bucket)) else { return false };
    let flow = list.flow(place.way);
    let shape = flow.l4 | if flow.udp != 0 { u32::from(UDP) } else { 0 };
    if flow.outer.places | flow.chain_len | (shape ^ u32::from(held.shape)) != 0
        || flow.payload as usize > HEAD
    {
        // It will not be plain for the next frame either.
        held.shape = 0;
        return false;
    }
    held.keep_head(store.first(slot));
    let limit = match held.shape {
        Tcp4::NUMBER => Tcp4::head(&held.head).map_or(0, |head| limit::<P, Tcp4>(core, head, flow.payload)),
        Tcp6::NUMBER => Tcp6::head(&held.head).map_or(0, |head| limit::<P, Tcp6>(core, head, flow.payload)),
        Udp4::NUMBER => Udp4::head(&held.head).map_or(0, |head| limit::<P, Udp4>(core, head, flow.payload)),
        Udp6::NUMBER => Udp6::head(&held.head).map_or(0, |head| limit::<P, Udp6>(core, head, flow.payload)),
        _ => 0,
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
        turn: turns(flow.segs & flow.gso_size),
    };
    held.keeper = Keeper::Lane;
    true
}

/// What, with [`Lane::sum`] and the payload of all segments, sums to zero.
fn others(flow: &Flow) -> u32 {
    let common = u32::from(fold(flow.common_sum + (flow.control >> 16)));
    let lengths = length_sum(flow.segs, (flow.payload - flow.l4, flow.gso_size, flow.bytes));
    // UDP has its length in its header once more.
    u32::from(fold(weight(flow.segs, flow.gso_size) * common)) + (lengths << flow.udp)
}

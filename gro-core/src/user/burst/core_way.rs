//! The way of the core: for every frame that the shortcut does not know what to do with. A packet is known to one of the two, and changes
//! hands when the other needs it.

use super::follow::{limit, make_room};
use super::frame::Frame;
use super::held::{HEAD, ID_STEP, Keeper, Lane, identity};
use super::leave::Path;
use super::receive::bucket_of;
use super::shape::{Shape, Tcp4, Tcp6, UDP, Udp4, Udp6};
use super::store::{Memory, Side, slot_of};
use super::sums::payload_sum;
use super::{Core, Packet};
use crate::datapath::{self, Input};
use crate::flow::FIXED;
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
        if memory.side.held[slot].lane.list.segs() == 0 {
            continue;
        }
        let Some((list, _)) = memory.table.bucket(bucket) else { continue };
        let leaves = list.count() >= DEPTH as u32 && usize::from(list.oldest()) == way;
        let is_same = tag != 0 && memory.side.tags.0[bucket as usize][way] == tag;
        if memory.side.held[slot].origin.keeper != Keeper::Core {
            if leaves || is_same {
                to_core::<P, CHUNKS>(core, memory, slot);
            } else {
                // Its `Flow` is not written: it must not be found.
                list.flow_mut(way as u8).hash = !frame.meta().hash;
            }
        }
        if memory.side.held[slot].origin.keeper == Keeper::Core {
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
    let input = Input { window, meta: held.origin.meta(), now: held.origin.age, config: &core.config };
    let parsed = table.parse::<Plain<P>>(&input, true);
    debug_assert_eq!(parsed, Some(Parsed::Whole), "a plain frame");
    let place = slot_of(slot);
    let Some((list, hand)) = table.bucket(u32::from(place.bucket)) else { return };
    let flow = list.flow_mut(place.way);
    flow.start(&hand.packet, &input);
    match held.origin.keeper {
        Keeper::Core => {}
        Keeper::Nobody => held.lane.list = store.start(slot, flow.payload as usize),
        Keeper::Lane => {
            let lane = &held.lane;
            flow.fixed_id = u32::from(lane.id_step == 0) * FIXED;
            flow.segs = lane.list.segs();
            flow.bytes = lane.bytes;
            flow.next_seq = lane.next_seq;
            flow.payload_sum = match held.origin.shape {
                Tcp4::NUMBER => payload_sum::<Tcp4, CHUNKS>(held, (store, slot, flow.segs)),
                Tcp6::NUMBER => payload_sum::<Tcp6, CHUNKS>(held, (store, slot, flow.segs)),
                Udp4::NUMBER => payload_sum::<Udp4, CHUNKS>(held, (store, slot, flow.segs)),
                _ => payload_sum::<Udp6, CHUNKS>(held, (store, slot, flow.segs)),
            };
            flow.control |= u32::from(lane.push) << 16;
        }
    }
    held.lane.list = held.lane.list.with_left(0);
    held.origin.keeper = Keeper::Core;
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
    if flow.outer.places | flow.chain_len | (shape ^ u32::from(held.origin.shape)) != 0
        || flow.payload as usize > HEAD
    {
        // It will not be plain for the next frame either.
        held.origin.shape = 0;
        return false;
    }
    held.keep_head(store.first(slot));
    let limit = match held.origin.shape {
        Tcp4::NUMBER => Tcp4::head(&held.head).map_or(0, |head| limit::<P, Tcp4>(core, head, flow.payload)),
        Tcp6::NUMBER => Tcp6::head(&held.head).map_or(0, |head| limit::<P, Tcp6>(core, head, flow.payload)),
        Udp4::NUMBER => Udp4::head(&held.head).map_or(0, |head| limit::<P, Udp4>(core, head, flow.payload)),
        Udp6::NUMBER => Udp6::head(&held.head).map_or(0, |head| limit::<P, Udp6>(core, head, flow.payload)),
        _ => 0,
    };
    if limit == 0 {
        return false;
    }
    let id_step = if flow.fixed_id & FIXED != 0 { 0 } else { ID_STEP };
    held.lane = Lane {
        next_id: identity(&held.head).wrapping_add(u64::from(flow.segs).wrapping_mul(id_step)),
        id_step,
        next_seq: flow.next_seq,
        bytes: flow.bytes,
        limit,
        gso_size: flow.gso_size as u16,
        header_len: flow.payload as u8,
        push: 0,
        list: held.lane.list,
    };
    held.origin.keeper = Keeper::Lane;
    true
}

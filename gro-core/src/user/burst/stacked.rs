//! Frames that continue a packet of the core's: in a tunnel, or behind IPv6 extension headers. The core parsed the first frame; a
//! follower whose headers are the same, but for what may differ, needs no parser. All but joining is left to the core.

use super::core_way::long;
use super::follow::{joined, make_room};
use super::frame::Frame;
use super::held::{HEAD, Head, Keeper, PSH, be16, be32, byte, closes, differ, verifies};
use super::isa::Code;
use super::leave::emit;
use super::store::{Memory, Side, slot_of};
use super::sums::network_sum;
use super::{Core, Packet};
use crate::checksum::{fold, halves};
use crate::coalesce::DONT_FRAGMENT;
use crate::flow::{FIXED, FIXED_OUTER, Flow};
use crate::parse::IPV6_HEADER;
use crate::profile::LEGACY_MAX_SIZE;
use crate::table::{BUCKETS, DEPTH};
use crate::{FlushReason, Profile, Slot, Table};

/// A frame of which a packet that the shortcut cannot know may be held in `slot`, or behind it in the bucket: many tunnels have the same
/// where ports would be.
#[inline(never)]
pub(super) fn elsewhere<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, tag): (usize, u32),
    frame: &Frame<'_>,
    sink: &mut impl FnMut(&Packet<'_>),
) {
    if !(joins_core::<P, I, CHUNKS>(core, memory, (slot, frame), sink)
        || joins_later::<P, I, CHUNKS>(core, memory, (slot, frame, tag), sink))
    {
        long::<P, CHUNKS>(core, memory, (frame, tag), sink);
    }
}

#[cold]
#[inline(never)]
fn joins_later<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame, tag): (usize, &Frame<'_>, u32),
    sink: &mut impl FnMut(&Packet<'_>),
) -> bool {
    let bucket = slot / DEPTH;
    (slot + 1..(bucket + 1) * DEPTH).any(|slot| {
        memory.side.tags.0[bucket % BUCKETS][slot % DEPTH] == tag
            && joins_core::<P, I, CHUNKS>(core, memory, (slot, frame), sink)
    })
}

/// Has a frame join a packet that the core keeps, if it is the next one.
#[inline(always)]
fn joins_core<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame): (usize, &Frame<'_>),
    sink: &mut impl FnMut(&Packet<'_>),
) -> bool {
    let held = &memory.side.held[slot % Slot::COUNT];
    held.lane.list.segs() > 0
        && held.origin.keeper == Keeper::Core
        && make_room::<P, CHUNKS>(core, memory, slot, sink)
        && join::<P, I, CHUNKS>(core, memory, (slot, frame), sink)
}

/// Which bits of the headers must be equal in packets whose headers lie as they did in the last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Where they lie; 0 before the first.
    key: u64,
    mask: Head,
}

impl Layout {
    pub(super) const NONE: Self = Self { key: 0, mask: [0; HEAD] };

    /// The mask for the packet of `flow`.
    #[inline(always)]
    fn mask(&mut self, flow: &Flow) -> &Head {
        let places = flow.l3 << 1 | flow.ipv6 | flow.l4 << 8 | flow.payload << 16;
        let key = u64::from(flow.outer.places) << 32 | u64::from(places);
        if self.key != key {
            *self = Self { key, mask: mask_of(flow) };
        }
        &self.mask
    }
}

#[cold]
#[inline(never)]
fn mask_of(flow: &Flow) -> Head {
    let mut mask = [0; HEAD];
    mask[..flow.payload as usize].fill(0xff);
    let (outer, l4) = (&flow.outer, flow.l4 as usize);
    let mut forget = |at: usize, len: usize| mask[at..at + len].fill(0);
    for (l3, is_ipv6) in [(outer.l3() as usize, outer.ipv6() != 0), (flow.l3 as usize, flow.ipv6 != 0)] {
        match (l3, is_ipv6) {
            (0, _) => {}
            (_, true) => forget(l3 + 4, 2),
            (_, false) => {
                // Total length and identification, checksum.
                forget(l3 + 2, 4);
                forget(l3 + 10, 2);
            }
        }
    }
    if outer.is_udp() {
        forget(outer.checked() as usize + 4, 2);
    }
    // Sequence number, checksum and urgent pointer.
    forget(l4 + 4, 4);
    forget(l4 + 16, 4);
    mask[l4 + 13] = !PSH;
    mask
}

/// Has a frame join the packet in `slot`, which has room; `false` if that is for the core to decide.
#[inline(always)]
pub(super) fn join<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, frame): (usize, &Frame<'_>),
    sink: &mut impl FnMut(&Packet<'_>),
) -> bool {
    let Memory { table, side, .. } = memory;
    let Side { held, store, layout, .. } = side;
    let held = &mut held[slot % Slot::COUNT];
    let place = slot_of(slot);
    let Some((list, _)) = table.bucket(u32::from(place.bucket)) else { return false };
    let flow = list.flow_mut(place.way);
    let (Some(first), Some(head)) = (store.first(slot).first_chunk(), frame.bytes.first_chunk()) else {
        return false;
    };
    let is_known = held.origin.keeper == Keeper::Core && flow.udp == 0 && flow.payload as usize <= HEAD;
    if !is_known || frame.key != held.origin.key || flow.outer.has_check() || flow.outer.pppoe() != 0 {
        return false;
    }
    if flow.control & P::CONTROL_ALONE != 0 || differ(frame.bytes, first, layout.mask(flow)) {
        return false;
    }
    let Some(fixed_id) = network::<P>(flow, frame, (head, first)) else { return false };
    let (l4, len) = (flow.l4 as usize, (frame.bytes.len() as u32).wrapping_sub(flow.payload));
    let (seq, check_urgent) = (be32(head, l4 + 4), be32(head, l4 + 16));
    // What may be longer the core knows.
    let max_size = core.config.gro_max_size.min(core.config.gro_ipv4_max_size).min(LEGACY_MAX_SIZE);
    if seq != flow.next_seq
        || len.wrapping_sub(1) >= flow.gso_size
        || flow.held_len() + len >= max_size
        || !is_right::<I>(flow, frame)
    {
        return false;
    }
    let push = byte(head, l4 + 13) & PSH;
    let close = closes(push, len, flow.gso_size);
    // As `Flow::join`.
    let control = be32(head, l4 + 12);
    let own = (frame.len() - flow.l4) + halves(seq) + (control >> 16) + halves(check_urgent);
    flow.add(!fold(flow.common_sum + own), u32::from(push) << 16, len);
    flow.fixed_id = fixed_id;
    flow.next_seq = seq.wrapping_add(len);
    joined(core, (held, store), (slot, frame, flow.payload, seq), close);
    if close != FlushReason::None {
        emit::<P, CHUNKS>(core, memory, (slot, close), sink);
    }
    true
}

/// Whether the IP headers are right, state the frame's length and have the next identifications; which of these are fixed
/// (gro-core/src/coalesce/ip.rs).
#[inline(always)]
fn network<P: Profile>(flow: &Flow, frame: &Frame<'_>, heads: (&Head, &Head)) -> Option<u32> {
    let (outer, segs) = (&flow.outer, flow.segs & 0xffff);
    let is_second = flow.segs == 1;
    let expected = |fixed: u32| if fixed != 0 { 0 } else { segs };
    let mut fixed = flow.fixed_id;
    let inner = id_offset(flow.l3 as usize, flow.ipv6 != 0, frame, heads)?;
    if let Some(offset) = inner {
        let allows_fixed = !P::FIXED_ID_NEEDS_DF || flow.class & DONT_FRAGMENT != 0;
        fixed |= FIXED * u32::from(is_second && offset == 0 && allows_fixed);
    }
    if outer.l3() != 0
        && let Some(offset) = id_offset(outer.l3() as usize, outer.ipv6() != 0, frame, heads)?
    {
        let is_next = if P::FIXED_ID_NEEDS_DF {
            outer.class & DONT_FRAGMENT != 0 || offset == expected(flow.fixed_id & FIXED)
        } else {
            fixed |= FIXED_OUTER * u32::from(is_second && offset == 0);
            offset == expected(fixed & FIXED_OUTER)
        };
        if !is_next {
            return None;
        }
    }
    inner.is_none_or(|offset| offset == expected(fixed & FIXED)).then_some(fixed)
}

/// The identification of the IPv4 header at `l3`, relative to the first frame's; nothing for IPv6. `None` if the header is not right, or
/// of another length.
#[inline(always)]
#[expect(clippy::option_option, reason = "a header that is wrong, and one that has no identification")]
fn id_offset(
    l3: usize,
    is_ipv6: bool,
    frame: &Frame<'_>,
    (head, first): (&Head, &Head),
) -> Option<Option<u32>> {
    let len = frame.bytes.len().wrapping_sub(l3);
    if is_ipv6 {
        return (usize::from(be16(head, l3 + 4)) + IPV6_HEADER as usize == len).then_some(None);
    }
    let is_right = usize::from(be16(head, l3 + 2)) == len && network_sum(head, l3) == network_sum(first, l3);
    let offset = be16(head, l3 + 4).wrapping_sub(be16(first, l3 + 4));
    is_right.then_some(Some(u32::from(offset)))
}

/// Whether the TCP checksum is right. Who vouched for a checksum vouched for that of an outer UDP header, if there is one.
#[inline(always)]
fn is_right<I: Code>(flow: &Flow, frame: &Frame<'_>) -> bool {
    frame.is_verified() && !flow.outer.is_udp() || verifies::<I>(frame, flow.l4 as usize, flow.pseudo_sum)
}

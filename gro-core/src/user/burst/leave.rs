//! Packets that leave: of the shortcut, and of the core, which sees a [`Datapath`].

use super::core_way::to_core;
use super::frame::{Check, Facts, Frame, Packet};
use super::held::{HALF, Held, Keeper, word};
use super::isa::{Isa, sum_with};
use super::shape::{IPV6, Shape, Tcp4, Tcp6, Udp4, Udp6, pseudo_sum, shape_of};
use super::store::{Memory, Side, Store};
use super::sums::{in_host_order, length_sum, weight};
use super::tags::classify;
use super::{Core, Summed};
use crate::checksum::{field, fold, replace};
use crate::coalesce::CWR;
use crate::complete::{
    GSO_TCP_FIXEDID, GSO_TCPV4, GSO_TCPV6, GSO_TUNNELS, GSO_UDP_L4, is_many, jumbo_header,
};
use crate::datapath::{self, Datapath};
use crate::parse::L3_UNTAGGED;
use crate::table::DEPTH;
use crate::user::Why;
use crate::{Bypass, FlushReason, HEADER_MAX, Merged, Payload, Plain, Profile, Slot, Table};
use core::marker::PhantomData;
use core::ops::Range;

/// Room for the longest header, and for a jumbo header in it.
pub(super) const HEADER_ROOM: usize = HEADER_MAX + JUMBO;
const JUMBO: usize = 8;

/// Has the packet in `slot` leave.
#[inline(always)]
pub(super) fn emit<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, why): (Slot, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let Side { holding, tags, held, store, .. } = &mut memory.side;
    let held = &mut held[slot.index()];
    let len = match held.keeper {
        Keeper::Nobody => store.first(slot.index()).len() as u32,
        Keeper::Lane => u32::from(held.lane.header_len) + held.lane.bytes,
        Keeper::Core => u32::MAX,
    };
    if len > 0xffff {
        return emit_from_core::<P, CHUNKS>(core, memory, (slot, why), sink);
    }
    let segs = held.segs;
    core.state.counters.flushed(why as u32, is_many(segs));
    core.state.digest.mix((why as u32) << 8 | slot.index() as u32, segs << 16 ^ len);
    if let Some((list, _)) = memory.table.bucket(u32::from(slot.bucket)) {
        if list.oldest() == slot.way {
            list.remove_oldest();
        } else {
            list.remove(slot.way);
        }
    }
    *holding -= 1;
    tags.0[usize::from(slot.bucket)][usize::from(slot.way) % DEPTH] = 0;
    held.segs = 0;
    if segs == 1 {
        deliver(store, slot, held, None, (Facts::SINGLE, why), sink);
        return;
    }
    let facts = if held.shape == Tcp4::NUMBER {
        complete::<P, Tcp4>(held, segs, core.summed)
    } else {
        complete_other::<P>(held, segs, core.summed)
    };
    let held = &*held;
    deliver(store, slot, held, held.head.get(..usize::from(held.lane.header_len)), (facts, why), sink);
}

#[inline(always)]
fn deliver<const CHUNKS: usize>(
    store: &mut Store<CHUNKS>,
    slot: Slot,
    held: &Held,
    head: Option<&[u8]>,
    (facts, why): (Facts, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let (first, last, meta) = (held.first, held.last, held.meta());
    let why = Why::Flush(why);
    store.take(slot.index(), held.end, facts.segs, head, |iov| {
        sink(&Packet { iov, facts, first, last, meta, why })
    });
}

#[inline(never)]
fn complete_other<P: Profile>(held: &mut Held, segs: u32, summed: Summed) -> Facts {
    match held.shape {
        Udp4::NUMBER => complete::<P, Udp4>(held, segs, summed),
        Udp6::NUMBER => complete::<P, Udp6>(held, segs, summed),
        _ => complete::<P, Tcp6>(held, segs, summed),
    }
}

/// Writes the header of a merged packet below 65,536 bytes over that of its first frame, as [`Merged`] says.
#[inline(always)]
fn complete<P: Profile, S: Shape>(held: &mut Held, segs: u32, summed: Summed) -> Facts {
    let (l4, l3) = (S::L4, L3_UNTAGGED as usize);
    let header_len = u32::from(held.lane.header_len);
    let len = header_len + held.lane.bytes;
    let l4_len = len - S::L4 as u32;
    let pseudo = pseudo_sum::<S>(&held.head);
    let partial = fold(pseudo + l4_len);
    let check = match summed {
        Summed::Partial => partial,
        Summed::Complete => whole_sum::<S>(held, segs, pseudo),
    };
    let head = &mut held.head;
    let mut write = |at: usize, value: u16| head[at..at + 2].copy_from_slice(&value.to_be_bytes());
    if S::IS_V4 {
        let (old, new) =
            ((header_len + u32::from(held.lane.gso_size) - L3_UNTAGGED) as u16, (len - L3_UNTAGGED) as u16);
        write(l3 + 2, new);
        let was = u16::from_be_bytes([head[l3 + 10], head[l3 + 11]]);
        head[l3 + 10..l3 + 12].copy_from_slice(&replace(was, old, new).to_be_bytes());
    } else {
        write(l3 + 4, (len - IPV6) as u16);
    }
    let head = &mut held.head;
    let lane = &held.lane;
    if S::IS_UDP {
        head[l4 + 4..l4 + 6].copy_from_slice(&(l4_len as u16).to_be_bytes());
    } else {
        head[l4 + 13] |= lane.push;
    }
    head[l4 + S::CHECK..l4 + S::CHECK + 2].copy_from_slice(&check.to_be_bytes());
    let gso_type = if S::IS_UDP {
        GSO_UDP_L4
    } else {
        let fixed = GSO_TCP_FIXEDID * u32::from(lane.fixed_id);
        let cwr = u32::from(u32::from(head[l4 + 13]) << 16 & CWR != 0);
        let version = if S::IS_V4 { GSO_TCPV4 + fixed } else { GSO_TCPV6 };
        version + P::CWR_TYPE * cwr
    };
    Facts {
        segs,
        gso_size: lane.gso_size,
        gso_type,
        header_len: header_len as u16,
        l4: l4 as u16,
        check_at: S::CHECK as u16,
        summed,
    }
}

/// The complete checksum of the merged packet, composed of those of the segments: of each, all but the payload is known, and that
/// sums to what is missing.
fn whole_sum<S: Shape>(held: &Held, segs: u32, pseudo: u32) -> u16 {
    let (l4, lane) = (S::L4, &held.lane);
    // What all have in common: not the sequence number, the length of UDP, and checksum and urgent pointer.
    let mut wide = 0;
    for at in (l4..usize::from(lane.header_len)).step_by(4) {
        if at != l4 + 4 && at != l4 + 16 {
            wide += u64::from(word(&held.head, at));
        }
    }
    let common = fold(pseudo + u32::from(in_host_order(wide)));
    let header = u32::from(lane.header_len) - l4 as u32;
    let gso_size = u32::from(lane.gso_size);
    let all = u32::from(in_host_order(lane.sum)) + lane.push_sum();
    // UDP has its length in its header once more.
    let lengths = length_sum(segs, (header, gso_size, lane.bytes)) << u32::from(S::IS_UDP);
    let payload = !fold(u32::from(fold(weight(segs, gso_size) * u32::from(common))) + lengths + all);
    let length = u32::from(fold(header + lane.bytes)) << u32::from(S::IS_UDP);
    let mut own = u32::from(common) + length;
    if !S::IS_UDP {
        let first = u64::from(word(&held.head, l4 + 4))
            + u64::from(u16::from_ne_bytes([held.head[l4 + 18], held.head[l4 + 19]]));
        own += u32::from(in_host_order(first)) + u32::from(lane.push);
    }
    let check = field(own + u32::from(payload));
    if S::IS_UDP && check == 0 { 0xffff } else { check }
}

#[cold]
#[inline(never)]
fn emit_from_core<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, why): (Slot, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    if memory.side.held[slot.index()].keeper != Keeper::Core {
        to_core::<P, CHUNKS>(core, memory, slot.index());
    }
    let Memory { table, side, .. } = memory;
    let Some((list, _)) = table.bucket(u32::from(slot.bucket)) else { return };
    let mut path = Path::new(core, side, sink);
    datapath::emit::<Plain<P>, _>(&mut core.state, list, &mut path, (slot, why as u32));
}

/// What the core tells of a frame or packet.
pub(super) struct Path<'q, 'f, S, const CHUNKS: usize> {
    isa: Isa,
    now: u32,
    summed: Summed,
    number: u32,
    side: &'q mut Side<CHUNKS>,
    sink: &'q mut S,
    frames: PhantomData<&'f [u8]>,
}

impl<'q, S, const CHUNKS: usize> Path<'q, '_, S, CHUNKS> {
    pub(super) fn new(core: &Core, side: &'q mut Side<CHUNKS>, sink: &'q mut S) -> Self {
        Self {
            isa: core.isa,
            now: core.now,
            summed: core.summed,
            number: core.frames(),
            side,
            sink,
            frames: PhantomData,
        }
    }
}

impl<'f, S: FnMut(&Packet<'_>), const CHUNKS: usize> Datapath for Path<'_, 'f, S, CHUNKS> {
    type Frame = Frame<'f>;

    fn frame_sum(&mut self, frame: &Frame<'f>) -> Option<u16> {
        match frame.check {
            Check::Complete(all) => Some(all),
            Check::None | Check::Unnecessary => None,
        }
    }

    fn sum(&mut self, frame: &Frame<'f>, range: Range<u32>) -> Option<u16> {
        let bytes = frame.bytes.get(range.start as usize..range.end as usize)?;
        Some(sum_with(self.isa, bytes))
    }

    fn hold(&mut self, slot: Slot, frame: Frame<'f>, payload: Payload) {
        let Side { holding, tags, held, store, .. } = &mut *self.side;
        let (shape, tag) = classify_any(frame.bytes);
        tags.0[usize::from(slot.bucket)][usize::from(slot.way) % DEPTH] = tag;
        *holding += 1;
        let held = &mut held[slot.index()];
        held.key = frame.key;
        held.age = self.now;
        held.first = self.number;
        held.last = self.number;
        held.segs = 1;
        held.keeper = Keeper::Core;
        held.verified = frame.meta().verified;
        held.shape = shape;
        store.hold(slot.index(), frame.bytes);
        held.end = store.start(slot.index(), payload.at as usize);
    }

    fn append(&mut self, slot: Slot, frame: Frame<'f>, payload: Payload) {
        let held = &mut self.side.held[slot.index()];
        held.last = self.number;
        held.segs += 1;
        self.side.store.push(&mut held.end, frame.bytes.get(payload.at as usize..).unwrap_or(&[]));
    }

    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason) {
        let Side { holding, tags, held, store, header, .. } = &mut *self.side;
        *holding -= 1;
        let held = &mut held[slot.index()];
        tags.0[usize::from(slot.bucket)][usize::from(slot.way) % DEPTH] = 0;
        held.segs = 0;
        if merged.segs <= 1 {
            return deliver(store, slot, held, None, (Facts::SINGLE, why), self.sink);
        }
        let facts = write(header, store.first(slot.index()), merged, self.summed);
        deliver(store, slot, held, header.get(..usize::from(facts.header_len)), (facts, why), self.sink);
    }

    fn pass(&mut self, frame: Frame<'f>, why: Bypass) {
        pass(&frame, (self.number, why), self.sink);
    }
}

/// As [`classify`], for any frame: no shape and no tag for what is not IP.
fn classify_any(bytes: &[u8]) -> (u8, u32) {
    let mut short = [0; HALF];
    let head = bytes.first_chunk().unwrap_or_else(|| {
        short[..bytes.len()].copy_from_slice(bytes);
        &short
    });
    classify(head).map_or((0, 0), |(l4, tag)| (shape_of(head, l4), tag))
}

/// Delivers a frame as it came.
#[inline(always)]
pub(super) fn pass(frame: &Frame<'_>, (number, why): (u32, Bypass), sink: &mut impl FnMut(&Packet<'_>)) {
    let iov = &[super::Iov::new(frame.bytes)];
    let (first, last, meta, why) = (number, number, frame.meta(), Why::Bypass(why));
    sink(&Packet { iov, facts: Facts::SINGLE, first, last, meta, why });
}

/// Writes the header of a merged packet; its length, and what a device takes before it.
fn write(header: &mut [u8; HEADER_ROOM], first: &[u8], merged: &Merged, summed: Summed) -> Facts {
    let mut len = usize::from(merged.header_len).min(HEADER_MAX).min(first.len());
    header[..len].copy_from_slice(&first[..len]);
    let mut put = |at: u16, value: u16| {
        if let Some(word) = header.get_mut(usize::from(at)..usize::from(at) + 2) {
            word.copy_from_slice(&value.to_be_bytes());
        }
    };
    for patch in merged.patches() {
        put(patch.offset, patch.value);
    }
    let summed = if merged.gso_type & GSO_TUNNELS == 0 { summed } else { Summed::Complete };
    if summed == Summed::Partial {
        put(merged.check, merged.pseudo);
    }
    let mut l4 = merged.l4;
    let (next_at, at) = (usize::from(merged.l3) + 6, usize::from(merged.l3) + 40);
    if merged.jumbo != 0 && at <= len {
        header.copy_within(at..len, at + JUMBO);
        let next = core::mem::take(&mut header[next_at]);
        header[at..at + JUMBO].copy_from_slice(&jumbo_header(next, merged.jumbo));
        len += JUMBO;
        l4 += JUMBO as u16;
    }
    Facts {
        segs: merged.segs,
        gso_size: merged.gso_size,
        gso_type: merged.gso_type,
        header_len: len as u16,
        l4,
        check_at: merged.check - merged.l4,
        summed,
    }
}

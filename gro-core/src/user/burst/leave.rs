//! Packets that leave: of the shortcut, and of the core, which sees a [`Datapath`].

use super::core_way::to_core;
use super::frame::{Check, Facts, Frame, Iov, Packet};
use super::held::{HALF, Held, Keeper, Origin};
use super::isa::{Isa, sum_with};
use super::shape::{IPV6, Shape, Tcp4, Tcp6, Udp4, Udp6, pseudo_words, shape_of};
use super::store::{List, Memory, Side, Store, slot_of};
use super::sums::whole_sum;
use super::tags::classify;
use super::{Core, Summed};
use crate::coalesce::CWR;
use crate::complete::{GSO_TCP_FIXEDID, GSO_TCPV4, GSO_TCPV6, GSO_TUNNELS, GSO_UDP_L4, jumbo_header};
use crate::datapath::{self, Datapath};
use crate::parse::L3_UNTAGGED;
use crate::stats::FLUSH_COUNTERS;
use crate::table::DEPTH;
use crate::user::{Why, fold_wide};
use crate::{Bypass, FlushReason, HEADER_MAX, Merged, Payload, Plain, Profile, Slot, Table};
use core::marker::PhantomData;
use core::ops::Range;

/// Room for the longest header, and for a jumbo header in it.
pub(super) const HEADER_ROOM: usize = HEADER_MAX + JUMBO;
const JUMBO: usize = 8;

/// Has all packets of a bucket leave, the oldest first, but those of the age `kept` and all behind them.
#[inline(always)]
pub(super) fn flush<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (bucket, why): (usize, FlushReason),
    kept: Age,
    sink: &mut impl FnMut(&Packet<'_>),
) {
    loop {
        let (mut gone, mut many) = (0, 0);
        let Some((list, _)) = memory.table.bucket(bucket as u32) else { return };
        let Side { holding, tags, held, store, .. } = &mut memory.side;
        let mut of_core = None;
        while list.count() > 0 {
            let way = usize::from(list.oldest());
            let slot = bucket * DEPTH + way;
            let held = &mut held[slot % Slot::COUNT];
            if Age::from(held.origin.age) == kept {
                break;
            }
            let Some(len) = plain_len(held, store, slot) else {
                of_core = Some(slot);
                break;
            };
            // Before the visitor sees it, so that one that panics sees none twice.
            list.remove_oldest();
            *holding -= 1;
            tags.set(bucket as u32, way, 0);
            gone += 1;
            many += depart::<P, CHUNKS>(core, (held, store), (slot, len, why), sink);
        }
        count_flushed(core, why, gone, many);
        let Some(slot) = of_core else { return };
        emit_from_core::<P, CHUNKS>(core, memory, (slot, why), sink);
    }
}

/// Has the packet in `slot` leave.
#[inline(always)]
pub(super) fn emit<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, why): (usize, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let Side { holding, tags, held, store, .. } = &mut memory.side;
    let held = &mut held[slot % Slot::COUNT];
    let Some(len) = plain_len(held, store, slot) else {
        return emit_from_core::<P, CHUNKS>(core, memory, (slot, why), sink);
    };
    let place = slot_of(slot);
    if let Some((list, _)) = memory.table.bucket(u32::from(place.bucket)) {
        if list.oldest() == place.way {
            list.remove_oldest();
        } else {
            list.remove(place.way);
        }
    }
    *holding -= 1;
    tags.set(place.bucket.into(), place.way.into(), 0);
    let many = depart::<P, CHUNKS>(core, (held, store), (slot, len, why), sink);
    count_flushed(core, why, 1, many);
}

/// As `Counters::flushed`, of several packets.
#[inline(always)]
fn count_flushed(core: &mut Core, why: FlushReason, packets: u32, many: u32) {
    let counters = &mut core.state.counters;
    counters.packets += u64::from(packets);
    counters.merged_packets += u64::from(many);
    counters.flush[why as usize % FLUSH_COUNTERS] += u64::from(packets);
}

/// Length of a packet that the shortcut holds, if it has no jumbo header.
#[inline(always)]
fn plain_len<const CHUNKS: usize>(held: &Held, store: &Store<CHUNKS>, slot: usize) -> Option<u32> {
    let len = match held.origin.keeper {
        Keeper::Nobody => store.first(slot).len() as u32,
        Keeper::Lane => u32::from(held.lane.header_len) + held.lane.bytes,
        Keeper::Core => return None,
    };
    (len <= 0xffff).then_some(len)
}

/// A jiffy, and values that are none.
pub(super) type Age = u64;

/// Delivers a packet of the shortcut's; 1 if it is of several segments.
#[inline(always)]
fn depart<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    (held, store): (&mut Held, &mut Store<CHUNKS>),
    (slot, len, why): (usize, u32, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) -> u32 {
    let list = core::mem::replace(&mut held.lane.list, List::NONE);
    let segs = list.segs();
    core.state.digest.mix((why as u32) << 8 | slot as u32, segs << 16 ^ len);
    if segs == 1 {
        deliver((store, list), slot, &held.origin, None, (Facts::SINGLE, why), sink);
        return 0;
    }
    let facts = if held.origin.shape == Tcp4::NUMBER {
        complete::<P, Tcp4, CHUNKS>(held, (store, slot, segs), core.summed)
    } else {
        complete_other::<P, CHUNKS>(held, (store, slot, segs), core.summed)
    };
    let head = held.head.get(..usize::from(held.lane.header_len));
    deliver((store, list), slot, &held.origin, head, (&facts, why), sink);
    1
}

#[inline(always)]
fn deliver<const CHUNKS: usize>(
    (store, list): (&mut Store<CHUNKS>, List),
    slot: usize,
    origin: &Origin,
    head: Option<&[u8]>,
    (facts, why): (&Facts, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let why = Why::Flush(why);
    store.take(slot, list, head, |iov| sink(&Packet { iov, facts, origin, why }));
}

#[inline(never)]
fn complete_other<P: Profile, const CHUNKS: usize>(
    held: &mut Held,
    list: (&Store<CHUNKS>, usize, u32),
    summed: Summed,
) -> Facts {
    match held.origin.shape {
        Udp4::NUMBER => complete::<P, Udp4, CHUNKS>(held, list, summed),
        Udp6::NUMBER => complete::<P, Udp6, CHUNKS>(held, list, summed),
        _ => complete::<P, Tcp6, CHUNKS>(held, list, summed),
    }
}

/// Writes the header of a merged packet below 65,536 bytes over that of its first frame, as [`Merged`] says.
#[inline(always)]
fn complete<P: Profile, S: Shape, const CHUNKS: usize>(
    held: &mut Held,
    (store, slot, segs): (&Store<CHUNKS>, usize, u32),
    summed: Summed,
) -> Facts {
    let (l4, l3) = (S::L4, L3_UNTAGGED as usize);
    let header_len = u32::from(held.lane.header_len);
    let len = header_len + held.lane.bytes;
    let l4_len = len - S::L4 as u32;
    // As it lies in memory.
    let check = match summed {
        Summed::Partial => fold_wide(pseudo_words::<S>(&held.head, l4_len)),
        Summed::Complete => whole_sum::<S, CHUNKS>(held, (store, slot, segs)).to_be(),
    };
    let head = &mut held.head;
    let mut write = |at: usize, value: u16| head[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    if S::IS_V4 {
        let old = (header_len + u32::from(held.lane.gso_size) - L3_UNTAGGED) as u16;
        let new = ((len - L3_UNTAGGED) as u16).to_be();
        write(l3 + 2, new);
        // As `checksum::replace`.
        let was = u16::from_ne_bytes([head[l3 + 10], head[l3 + 11]]);
        let sum = u64::from(!was) + u64::from(!old.to_be()) + u64::from(new);
        head[l3 + 10..l3 + 12].copy_from_slice(&(!fold_wide(sum)).to_ne_bytes());
    } else {
        write(l3 + 4, ((len - IPV6) as u16).to_be());
    }
    let head = &mut held.head;
    let lane = &held.lane;
    if S::IS_UDP {
        head[l4 + 4..l4 + 6].copy_from_slice(&(l4_len as u16).to_be_bytes());
    } else {
        head[l4 + 13] |= lane.push;
    }
    head[l4 + S::CHECK..l4 + S::CHECK + 2].copy_from_slice(&check.to_ne_bytes());
    let gso_type = if S::IS_UDP {
        GSO_UDP_L4
    } else {
        let fixed = GSO_TCP_FIXEDID * u32::from(lane.id_step == 0);
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

#[cold]
#[inline(never)]
fn emit_from_core<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (slot, why): (usize, FlushReason),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    if memory.side.held[slot % Slot::COUNT].origin.keeper != Keeper::Core {
        to_core::<P, CHUNKS>(core, memory, slot);
    }
    let Memory { table, side, .. } = memory;
    let slot = slot_of(slot);
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
        tags.set(slot.bucket.into(), slot.way.into(), tag);
        *holding += 1;
        let held = &mut held[slot.index()];
        held.origin = Origin::of(&frame, self.number, self.now, Keeper::Core, shape);
        store.hold(slot.index(), frame.bytes);
        held.lane.list = store.start(slot.index(), payload.at as usize);
    }

    fn append(&mut self, slot: Slot, frame: Frame<'f>, payload: Payload) {
        let held = &mut self.side.held[slot.index()];
        held.origin.last = self.number;
        self.side.store.push(&mut held.lane.list, Iov::behind(frame.bytes, payload.at as usize));
    }

    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason) {
        let Side { holding, tags, held, store, header, .. } = &mut *self.side;
        *holding -= 1;
        let held = &mut held[slot.index()];
        tags.set(slot.bucket.into(), slot.way.into(), 0);
        let list = core::mem::replace(&mut held.lane.list, List::NONE);
        if merged.segs <= 1 {
            return deliver((store, list), slot.index(), &held.origin, None, (Facts::SINGLE, why), self.sink);
        }
        let facts = write(header, store.first(slot.index()), merged, self.summed);
        let head = header.get(..usize::from(facts.header_len));
        deliver((store, list), slot.index(), &held.origin, head, (&facts, why), self.sink);
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
    let iov = &[Iov::new(frame.bytes)];
    let origin = &Origin::of(frame, number, 0, Keeper::Nobody, 0);
    sink(&Packet { iov, facts: Facts::SINGLE, origin, why: Why::Bypass(why) });
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

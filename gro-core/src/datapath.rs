//! What a backend must offer, and the one driver that all backends run.
//!
//! Order is part of the contract: for one frame at most one held packet leaves, before the frame is held or delivered
//! (a mismatch or an eviction), or after it joined (a segment that closes). Every frame is moved into exactly one of
//! `hold`, `append` and `pass`, and every held frame leaves by exactly one `emit`.

use crate::checksum::{fold, halves};
use crate::coalesce::{Action, Verdict, alone, decide, decide_apart};
use crate::complete::Merged;
use crate::parse::{self, Packet, Parsed};
use crate::profile::{Config, Profile};
use crate::reason::{Bypass, FlushReason};
use crate::rule::Rule;
use crate::shortcut;
use crate::table::{BUCKETS, Bucket, DEPTH, Hand, Slot, Table};
use crate::window::Window;
use core::ops::Range;

pub(crate) use crate::leave::emit;
pub use crate::leave::{EVENT_STEPS, Event, begin, event, release, step};
pub use crate::state::State;

/// Moves bytes. A frame is a slice, an skb, a descriptor.
pub trait Datapath {
    /// Moved, not borrowed, so that it cannot be delivered twice.
    type Frame;

    /// Whether a packet of this flow may be merged here. A frame that may not bypasses ([`Bypass::Declined`]) and is not looked at
    /// further. Every frame may, unless the datapath knows where merged packets go: a tc program must not merge what is forwarded.
    #[inline(always)]
    fn admits(&mut self, _frame: &Self::Frame, _packet: &Packet) -> bool {
        true
    }

    /// Whether plain frames may take the shortcut now, which asks [`Datapath::admits`] nothing; asked where [`Datapath::LEARNS_LATE`].
    #[inline(always)]
    fn takes_shortcuts(&self) -> bool {
        true
    }

    /// Whether plain frames take the shortcut, which holds them with no more worked out than that takes ([`crate::follow`]). Not on a target
    /// where the verifier would walk what is left for later once for every place that may need it.
    const LEARNS_LATE: bool = false;

    /// The ones'-complement sum of the whole frame, folded, where a device supplies it.
    #[inline(always)]
    fn frame_sum(&mut self, _frame: &Self::Frame) -> Option<u16> {
        None
    }

    /// The ones'-complement sum of bytes `range` of the frame, folded to 16 bits, when nobody vouched for its checksum.
    /// `None` when it cannot be had: the frame then bypasses.
    fn sum(&mut self, frame: &Self::Frame, range: Range<u32>) -> Option<u16>;

    /// Keeps the whole frame in an empty slot.
    fn hold(&mut self, slot: Slot, frame: Self::Frame, payload: Payload);

    /// Appends the frame's payload to the packet in `slot`.
    fn append(&mut self, slot: Slot, frame: Self::Frame, payload: Payload);

    /// Delivers the packet in `slot`, its header rewritten by `merged`, and empties the slot.
    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason);

    /// Delivers a frame as it came.
    fn pass(&mut self, frame: Self::Frame, why: Bypass);
}

/// Where the payload is in a frame, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Offset, which is the length of all headers.
    pub at: u32,
    /// Length.
    pub len: u32,
}

/// What came with a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// RSS hash, 0 where no NIC set one.
    pub hash: u32,
    /// Outer VLAN tag taken off by the device: TPID (high half) and TCI, 0 for none.
    pub vlan: u32,
    /// Somebody vouched for the TCP or UDP checksum (CHECKSUM_UNNECESSARY).
    pub verified: bool,
}

/// One frame's headers and circumstances. One argument, because BPF functions take five at most.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The headers.
    pub window: Window<'a>,
    /// What came with them.
    pub meta: Meta,
    /// The current jiffy; only compared for equality.
    pub now: u32,
    /// What the administrator set.
    pub config: &'a Config,
}

/// What became of a frame, as the kernel's `gro_result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GroResult {
    /// It joined a held packet.
    Merged = 0,
    /// It is held.
    Held = 2,
    /// It was delivered at once.
    Normal = 3,
}

/// Takes one frame (`dev_gro_receive`, net/core/gro.c).
#[inline(always)]
pub fn receive<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> GroResult {
    state.arrived::<D>(input.window.len());

    let frame = match shortcut::receive::<P, T, D>(state, table, datapath, frame, input) {
        Ok(result) => return result,
        Err(frame) => frame,
    };
    if D::LEARNS_LATE {
        receive_apart::<P, T, D>(state, table, datapath, frame, input)
    } else {
        receive_any::<P, T, D>(state, table, datapath, frame, input)
    }
}

/// A function of its own, so that plain frames need not save what it takes in registers.
#[inline(never)]
fn receive_apart<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> GroResult {
    receive_any::<P, T, D>(state, table, datapath, frame, input)
}

/// The long way: a parse, and every rule.
#[inline(always)]
fn receive_any<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> GroResult {
    match look::<P, T, D>(table, datapath, &frame, input) {
        Ok(()) => place::<P, T, D>(state, table, datapath, frame, input),
        Err(why) => {
            state.digest.mix((why as u32) << 24, state.frames());
            pass(state, datapath, frame, why)
        }
    }
}

/// Reads the headers, verifies the checksum and finds the flow: everything that may end in a bypass. The bucket is fetched anew
/// for each step, for the verifier's sake (see [`Bucket`]); elsewhere that is free.
#[inline(always)]
fn look<P: Profile, T: Table, D: Datapath>(
    table: &mut T,
    datapath: &mut D,
    frame: &D::Frame,
    input: &Input<'_>,
) -> Result<(), Bypass> {
    let index = bucket_index::<P>(input);
    let mut parsed = table.parse::<P>(input, true).ok_or(Bypass::NoTable)?;
    if parsed == Parsed::Part {
        for _ in 1..parse::PARTS {
            if parsed != Parsed::Part {
                break;
            }
            parsed = table.parse::<P>(input, false).ok_or(Bypass::NoTable)?;
        }
        if parsed == Parsed::Whole {
            let (_, hand) = table.bucket(index).ok_or(Bypass::NoTable)?;
            parse::finish(&input.window, &mut hand.packet)?;
        }
    }
    let (_, hand) = table.bucket(index).ok_or(Bypass::NoTable)?;
    match parsed {
        Parsed::Whole => {}
        Parsed::Refused => return Err(hand.packet.why_refused()),
        Parsed::Part => return Err(Bypass::TooLong),
    }
    if !datapath.admits(frame, &hand.packet) {
        return Err(Bypass::Declined);
    }
    let (_, hand) = table.bucket(index).ok_or(Bypass::NoTable)?;
    hand.to_verify = to_verify::<P>(&hand.packet, input)?;
    if hand.to_verify != 0 {
        let range = hand.packet.l4..hand.packet.frame_len();
        hand.sum = datapath.sum(frame, range).ok_or(Bypass::Checksum)? as u32;
        let (_, hand) = table.bucket(index).ok_or(Bypass::NoTable)?;
        if !is_valid(hand) {
            return Err(Bypass::Checksum);
        }
    }
    let (bucket, hand) = table.bucket(index).ok_or(Bypass::NoTable)?;
    hand.found = bucket.find::<P>(&hand.packet, input);
    if D::LEARNS_LATE && hand.found > 0 {
        bucket.flow_mut((hand.found - 1) as u8).learn();
    }
    Ok(())
}

/// The innermost checksum is to be verified.
const INNER: u32 = 1;
/// That of an outer UDP header or of GRE is.
const OUTER: u32 = 2;

/// Which checksums of a segment that may join are to be verified (`skb_gro_checksum_validate`, include/net/gro.h). Who vouched
/// for a checksum vouched for one, the first; that of a UDP tunnel which has none counts.
#[inline(always)]
fn to_verify<P: Profile>(packet: &Packet, input: &Input<'_>) -> Result<u32, Bypass> {
    let outer = &packet.outer;
    let counts = outer.is_udp() || outer.has_check();
    let vouched = input.meta.verified && !counts;
    let mut checksums = if !vouched && is_to_verify::<P>(packet) { INNER } else { 0 };
    if outer.has_check() && !input.meta.verified {
        if !packet.outer_mismatch {
            checksums |= Rule::OuterChecksum.of::<P>(OUTER);
        } else if outer.is_udp() && P::on(Rule::OuterUnverified) {
            // Nobody looked at it (`udp_gro_receive`).
            return Err(Bypass::Checksum);
        }
    }
    Ok(checksums)
}

/// Whether the innermost checksum counts.
#[inline(always)]
fn is_to_verify<P: Profile>(packet: &Packet) -> bool {
    let rule = if packet.udp != 0 { Rule::UdpChecksum } else { Rule::TcpChecksum };
    let mismatch = packet.mismatch && P::on(Rule::LengthFirst);
    let none = packet.udp != 0 && packet.check_urgent >> 16 == 0 && !P::on(Rule::UdpNoChecksum);
    P::on(rule) && !mismatch && !none
}

/// Whether they are right, from the sum over the innermost transport header and its payload.
#[inline(always)]
fn is_valid(hand: &Hand) -> bool {
    let Hand { packet, to_verify, sum, .. } = hand;
    let (outer, len) = (&packet.outer, packet.frame_len());
    if to_verify & INNER != 0 && fold(packet.pseudo_sum() + halves(len - packet.l4) + sum) != 0xffff {
        return false;
    }
    let length = if outer.is_udp() { halves(len - outer.checked()) } else { 0 };
    to_verify & OUTER == 0 || fold(outer.pseudo_sum + length + packet.between + sum) == 0xffff
}

#[inline(always)]
pub(crate) fn bucket_index<P: Profile>(input: &Input<'_>) -> u32 {
    Rule::Bucket.of::<P>(input.meta.hash & (BUCKETS as u32 - 1))
}

/// Decides. The verdict goes to where the frame in hand is.
#[inline(always)]
fn judge<P: Profile, D: Datapath>(list: &Bucket, hand: &mut Hand, input: &Input<'_>) {
    let Hand { packet, found, .. } = &*hand;
    let (way, verdict) = if *found > 0 {
        let way = (*found - 1) as u8;
        let held = list.flow(way);
        let difference = held.difference(packet, &input.window);
        let max_size = input.config.max_size::<P>(packet);
        let verdict = if D::LEARNS_LATE {
            decide_apart::<P>(held, difference, packet, max_size)
        } else {
            decide::<P>(held, difference, packet, max_size)
        };
        (way, verdict)
    } else {
        let evicted = if P::on(Rule::Eviction) { list.oldest() } else { list.newest() };
        (evicted, alone::<P>(packet))
    };
    let Verdict { mut flush, action, close, pass, fixed_id } = verdict;
    // The oldest leaves where a new flow finds no place.
    if flush == FlushReason::None && action == Action::Hold && list.count() >= DEPTH as u32 {
        flush = FlushReason::Evicted;
    }
    hand.way = way as u32;
    hand.fixed_id = fixed_id;
    hand.verdict = action as u32 | (flush as u32) << 8 | (close as u32) << 16 | (pass as u32) << 24;
}

/// Has `judge` decide, and tells the datapath in the order of the contract.
#[inline(always)]
fn place<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> GroResult {
    let index = bucket_index::<P>(input);
    let Some((list, hand)) = table.bucket(index) else {
        return pass(state, datapath, frame, Bypass::NoTable);
    };
    judge::<P, D>(list, hand, input);
    let Some((list, hand)) = table.bucket(index) else {
        return pass(state, datapath, frame, Bypass::NoTable);
    };
    let word = hand.verdict;
    let (action, flush, close, why) = (word & 0xff, word >> 8 & 0xff, word >> 16 & 0xff, word >> 24);
    let mut way = hand.way as u8;

    // Before the action: the held packet of the flow, or the oldest.
    if flush != FlushReason::None as u32 {
        let slot = Slot { bucket: index as u8, way };
        emit::<P, D>(state, list, datapath, (slot, flush));
    }
    if action == Action::Hold as u32 {
        way = list.insert();
    }
    let slot = Slot { bucket: index as u8, way };
    state.digest.mix(word ^ (slot.index() as u32) << 2, state.frames() ^ hand.packet.seq);
    if action == Action::Merge as u32 {
        list.flow_mut(way).join::<P>(&hand.packet, hand.fixed_id);
        state.counters.merged_segments += 1;
        datapath.append(slot, frame, hand.packet.payload());
        if close != FlushReason::None as u32 {
            emit::<P, D>(state, list, datapath, (slot, close));
        }
        GroResult::Merged
    } else if action == Action::Hold as u32 {
        let flow = list.flow_mut(way);
        flow.start(&hand.packet, input);
        if !D::LEARNS_LATE {
            flow.find_plain::<P>(&input.window);
        }
        datapath.hold(slot, frame, hand.packet.payload());
        GroResult::Held
    } else {
        pass(state, datapath, frame, Bypass::of_word(why))
    }
}

#[inline(always)]
pub(crate) fn pass<D: Datapath>(
    state: &mut State,
    datapath: &mut D,
    frame: D::Frame,
    why: Bypass,
) -> GroResult {
    state.counters.passed(why);
    datapath.pass(frame, why);
    GroResult::Normal
}

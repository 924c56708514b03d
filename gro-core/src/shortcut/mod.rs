//! The shortcut of plain frames: Ethernet, one IPv4 header without options or one IPv6 header without extension headers, TCP.
//!
//! It decides what the core decides, for frames that join the packet of their flow, and for frames of a flow that is not held: those
//! are held as the first of a packet or, if empty, pass; where a datapath learns late also for frames for which the held packet of their
//! flow leaves. It takes one comparison of header words in the order in which they lie in memory. Whatever else a frame is, it goes the long way: the shortcut may give a frame back, but must not decide otherwise. Backend
//! `user-plain` is the engine without it.

mod first;
mod late;
mod learn;
mod mismatch;
mod template;

use crate::checksum::{fold, halves, is_complete};
use crate::coalesce::{Action, PSH};
use crate::datapath::{Datapath, GroResult, Input, Payload, State, bucket_index, emit, pass};
use crate::flow::{FIXED, Flow, OPTION_WORDS};
use crate::parse::{IPV6_HEADER, L3_UNTAGGED, PROTOCOL_TCP, TCP_HEADER};
use crate::profile::Profile;
use crate::reason::{Bypass, FlushReason};
use crate::table::{Bucket, DEPTH, Slot, Table};
use crate::window::{ALIGN, Window};
use first::{First, sum};
pub use late::follow;

/// Offset of the TCP header behind an IPv4 header, and behind an IPv6 header.
const IPV4: u32 = L3_UNTAGGED + 20;
const IPV6: u32 = L3_UNTAGGED + IPV6_HEADER;

/// Words of a [`Window`]: the last with a part of the MAC addresses, which has the ethertype in its upper half, and the IP header.
const LINK_END: usize = 2;
const IP: usize = index_of(L3_UNTAGGED);
const ETHERTYPE_IPV4: u32 = 0x0800_u16.to_be() as u32;
const ETHERTYPE_IPV6: u32 = 0x86dd_u16.to_be() as u32;

const fn index_of(offset: u32) -> usize {
    (offset as usize - ALIGN) / 4
}

/// Whether a frame may be held, or join, by its words alone: what is held so is known late, which only such a datapath's packets are.
#[inline(always)]
fn allows_late<P: Profile, D: Datapath>(datapath: &D) -> bool {
    P::SHORTCUT && D::LEARNS_LATE && cfg!(target_endian = "little") && datapath.takes_shortcuts()
}

/// Takes a frame if it is plain and nothing unusual happens to it; else gives it back.
#[inline(always)]
pub(crate) fn receive<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> Result<GroResult, D::Frame> {
    if !allows_late::<P, D>(datapath) {
        return Err(frame);
    }
    let bucket = bucket_index::<P>(input);
    let Some((list, _)) = table.bucket(bucket) else { return Err(frame) };
    let (frame, held) = match place(list, input) {
        Place::Held(way) => {
            let slot = Slot { bucket: bucket as u8, way };
            match join::<P, D>(state, list, datapath, frame, (slot, input)) {
                Ok(result) => return Ok(result),
                Err(frame) => (frame, Some(slot)),
            }
        }
        Place::Nowhere => (frame, None),
        Place::Unknown => return Err(frame),
    };
    start::<P, T, D>(state, table, datapath, frame, (held, input))
}

/// The part of [`crate::receive`] for frames that join the packet of their flow, with less work; gives back every other frame, of which it
/// leaves no trace. For a datapath that asks of a frame what [`Datapath::admits`] asks before it is held, and no more of its
/// followers.
#[inline(always)]
pub fn receive_follower<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> Result<GroResult, D::Frame> {
    if !P::SHORTCUT || cfg!(target_endian = "big") {
        return Err(frame);
    }
    let bucket = bucket_index::<P>(input);
    let Some((list, _)) = table.bucket(bucket) else { return Err(frame) };
    let Place::Held(way) = place(list, input) else { return Err(frame) };
    let slot = Slot { bucket: bucket as u8, way };
    state.counters.arrived(input.window.len());
    let result = join::<P, D>(state, list, datapath, frame, (slot, input));
    if result.is_err() {
        state.counters.went_elsewhere(input.window.len());
    }
    result
}

/// A frame that starts a packet, or, if empty, passes: one of a flow of which nothing is held, or of which the packet in `held` leaves for
/// it. Effects in the order of the long way.
#[inline(always)]
fn start<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    (held, input): (Option<Slot>, &Input<'_>),
) -> Result<GroResult, D::Frame> {
    let ethertype = input.window.word(LINK_END) >> 16;
    let (l4, first) = if ethertype == ETHERTYPE_IPV4 {
        (IPV4, First::of::<D, IPV4>(datapath, &frame, input))
    } else if ethertype == ETHERTYPE_IPV6 {
        (IPV6, First::of::<D, IPV6>(datapath, &frame, input))
    } else {
        return Err(frame);
    };
    let Some(first) = first else { return Err(frame) };
    let bucket = bucket_index::<P>(input);
    let Some((list, hand)) = table.bucket(bucket) else { return Err(frame) };
    let mut word = 0;
    let mut slot = Slot { bucket: bucket as u8, way: list.oldest() };
    if let Some(held) = held {
        let flow = list.flow_mut(held.way);
        let Some(why) = flow.leaves_for::<P>(l4, &mut hand.packet, &first, input) else { return Err(frame) };
        emit::<P, D>(state, list, datapath, (held, why));
        word = why << 8;
        slot = held;
    }
    if first.payload.len == 0 {
        word |= Action::Normal as u32 | (Bypass::Empty as u32) << 24;
        state.digest.mix(word ^ (slot.index() as u32) << 2, state.frames() ^ first.seq);
        return Ok(pass(state, datapath, frame, Bypass::Empty));
    }
    if list.count() >= DEPTH as u32 {
        word |= (FlushReason::Evicted as u32) << 8;
        emit::<P, D>(state, list, datapath, (slot, FlushReason::Evicted as u32));
    }
    slot.way = list.insert();
    word |= Action::Hold as u32;
    state.digest.mix(word ^ (slot.index() as u32) << 2, state.frames() ^ first.seq);
    let sum = datapath.frame_sum(&frame);
    let flow = list.flow_mut(slot.way);
    if l4 == IPV4 {
        flow.begin::<P, IPV4>(&first, sum, input);
    } else {
        flow.begin::<P, IPV6>(&first, sum, input);
    }
    datapath.hold(slot, frame, first.payload);
    Ok(GroResult::Held)
}

/// [`crate::parse::Key::protocol`] of a plain frame.
const PROTOCOL_V4: u32 = 0x0800 << 16 | PROTOCOL_TCP as u32;
const PROTOCOL_V6: u32 = 0x86dd << 16 | PROTOCOL_TCP as u32;

/// PSH in the fourth word of a TCP header as it lies in memory.
const PSH_IN_ORDER: u32 = PSH.to_be();

/// The don't-fragment bit in the second word of an IPv4 header as it lies in memory.
const DONT_FRAGMENT_IN_ORDER: u32 = 0x4000_u32.to_be();

/// [`crate::Packet::class`] from the first three words of a header as they lie in memory.
#[inline(always)]
fn class_v4(w0: u32, w1: u32, w2: u32) -> u32 {
    w0 & 0xff00 | w2 & 0xff | w1 >> 6 & 0x1_0000
}

/// The same of IPv6.
#[inline(always)]
fn class_v6(w0: u32, w1: u32) -> u32 {
    (in_host_order(w0) & 0xff0_0000) >> 12 | w1 >> 24
}

/// Where the packet of a frame's flow is held, provided that the frame is plain.
enum Place {
    /// Here, if anywhere: hash, VLAN tag and ports are equal.
    Held(u8),
    Nowhere,
    /// That is for others to find out.
    Unknown,
}

#[inline(always)]
fn place(list: &Bucket, input: &Input<'_>) -> Place {
    let behind_ipv4 = input.window.word(index_of(IPV4));
    let behind_ipv6 = input.window.word(index_of(IPV6));
    for position in 0..DEPTH as u32 {
        if position >= list.count() {
            break;
        }
        let way = list.way_at(position);
        let flow = list.flow(way);
        if flow.hash != input.meta.hash || flow.vlan != input.meta.vlan {
            continue;
        }
        if flow.plain == 0 {
            return Place::Unknown;
        }
        let ports = if flow.plain == IPV4 { behind_ipv4 } else { behind_ipv6 };
        if flow.key.ports == ports {
            return Place::Held(way);
        }
    }
    Place::Nowhere
}

/// What a segment adds to its packet.
struct Segment {
    payload: Payload,
    seq: u32,
    /// PSH in its place, or 0.
    push: u32,
    /// [`Flow::payload_sum`] of it alone; not worked out for a packet that is known late.
    sum: u16,
    /// It is the second and has the identification of the first; asked only for a packet that is known late.
    fixed: bool,
}

impl Segment {
    /// The segment, if it joins `flow`. Asked in parts: a small core has no registers for all at once.
    #[inline(always)]
    fn following<P: Profile, D: Datapath, const L4: u32>(
        flow: &Flow,
        datapath: &mut D,
        frame: &D::Frame,
        input: &Input<'_>,
    ) -> Option<Self> {
        use template::{CONTROL, END, FRAME_SUM, SEGMENT_SUM, START};
        let (window, template, key) = (&input.window, &flow.chain, &flow.key);
        let (len, tcp) = (window.len(), index_of(L4));
        let link = window.word(0) ^ key.macs[0] | window.word(1) ^ key.macs[1];
        if link | window.word(LINK_END) ^ template[END] | window.start() ^ template[START] != 0 {
            return None;
        }
        let fixed = D::LEARNS_LATE && L4 == IPV4 && is_fixed::<P>(flow, window);
        let differs =
            if L4 == IPV4 { network_v4::<D>(flow, window, fixed) } else { network_v6(flow, window) };
        if differs | len >> 16 != 0 {
            return None;
        }
        let control = window.word(tcp + 3);
        let mut differs = (control & !PSH_IN_ORDER) ^ template[CONTROL] | window.word(tcp + 2) ^ flow.ack;
        // Equal headers are equally long.
        differs |= options_differ(flow, window, (L4, flow.payload));
        let seq = in_host_order(window.word(tcp + 1));
        let next_seq = if D::LEARNS_LATE { flow.first_seq.wrapping_add(flow.bytes) } else { flow.next_seq };
        if differs | seq ^ next_seq != 0 {
            return None;
        }
        let payload = Payload { at: flow.payload, len: len.wrapping_sub(flow.payload) };
        let limit = if L4 == IPV4 { input.config.gro_ipv4_max_size } else { input.config.gro_max_size };
        if payload.len.wrapping_sub(1) >= flow.gso_size || flow.held_len() + payload.len >= limit {
            return None;
        }
        if !is_right::<D, L4>((flow.pseudo_sum, template[FRAME_SUM]), datapath, frame, input) {
            return None;
        }
        let push = in_host_order(control & PSH_IN_ORDER);
        if D::LEARNS_LATE {
            return Some(Self { payload, seq, push, sum: 0, fixed });
        }
        let l4_len = len - L4;
        let check_urgent = turned(fold(halves(window.word(tcp + 4))) as u32);
        let sum = !fold(template[SEGMENT_SUM] + l4_len + halves(seq) + (push >> 16) + check_urgent);
        Some(Self { payload, seq, push, sum, fixed })
    }
}

/// Zero if the options of a TCP header at `l4`, which ends at `payload`, are those of `flow`.
#[inline(always)]
fn options_differ(flow: &Flow, window: &Window<'_>, (l4, payload): (u32, u32)) -> u32 {
    let words = (payload - l4 - TCP_HEADER) as usize / 4;
    let mut differs = 0;
    for index in 0..OPTION_WORDS {
        if index >= words {
            break;
        }
        differs |= window.word(index_of(l4) + 5 + index) ^ flow.options[index];
    }
    differs
}

/// Whether this is the second frame of a packet and has the identification of the first, which then stays (`inet_gro_flush`,
/// include/net/gro.h).
#[inline(always)]
fn is_fixed<P: Profile>(flow: &Flow, window: &Window<'_>) -> bool {
    let w1 = window.word(IP + 1);
    let equal = (w1 ^ flow.chain[template::ID_CHECK]) & 0xffff == 0;
    flow.segs == 1 && equal && (!P::FIXED_ID_NEEDS_DF || w1 & DONT_FRAGMENT_IN_ORDER != 0)
}

/// Whether the TCP checksum is right, or somebody vouched for it. `sums` are those of [`Flow::pseudo_sum`] and
/// [`template::FRAME_SUM`].
#[inline(always)]
fn is_right<D: Datapath, const L4: u32>(
    sums: (u32, u32),
    datapath: &mut D,
    frame: &D::Frame,
    input: &Input<'_>,
) -> bool {
    let len = input.window.len();
    let l4_len = len - L4;
    if !input.meta.verified {
        let sum = match datapath.frame_sum(frame) {
            // The IPv6 header has the length once more.
            Some(sum) => sum as u32 + sums.1 + if L4 == IPV4 { l4_len } else { 0 },
            None => match datapath.sum(frame, L4..len) {
                Some(sum) => sum as u32 + sums.0 + l4_len,
                None => return false,
            },
        };
        return is_complete(sum);
    }
    true
}

/// Zero if the IPv4 header is right and lets the frame join.
#[inline(always)]
fn network_v4<D: Datapath>(flow: &Flow, window: &Window<'_>, fixed: bool) -> u32 {
    use template::{ID, NETWORK};
    let (w0, w1, w2) = (window.word(IP), window.word(IP + 1), window.word(IP + 2));
    let (source, destination) = (window.word(IP + 3), window.word(IP + 4));
    let template = &flow.chain;
    let sum = sum([w0, w1, w2, source, destination]);
    // All but total length, identification and checksum.
    let lower = (w0 ^ template[NETWORK] | w2 ^ template[NETWORK + 2]) << 16;
    let upper = (w1 ^ template[NETWORK + 1]) >> 16;
    let addresses = source ^ flow.key.addresses[0] | destination ^ flow.key.addresses[4];
    let id = if !D::LEARNS_LATE {
        turned(w1) ^ template[ID]
    } else if fixed {
        0
    } else {
        (w1 ^ template[NETWORK + 1]) & 0xffff
    };
    lower
        | upper
        | addresses
        | id
        | turned(w0 >> 16) ^ window.len().wrapping_sub(L3_UNTAGGED)
        | !is_complete(sum) as u32
}

/// Zero if the IPv6 header lets the frame join.
#[inline(always)]
fn network_v6(flow: &Flow, window: &Window<'_>) -> u32 {
    use template::NETWORK;
    let (w0, w1) = (window.word(IP), window.word(IP + 1));
    let mut differs = w0 ^ flow.chain[NETWORK]
        | (w1 ^ flow.chain[NETWORK + 1]) >> 16
        | turned(w1) ^ window.len().wrapping_sub(IPV6);
    for index in 0..flow.key.addresses.len() {
        differs |= window.word(IP + 2 + index) ^ flow.key.addresses[index];
    }
    differs
}

/// A frame of which, if it is plain, the flow is held. Effects in the order of the long way.
#[inline(always)]
fn join<P: Profile, D: Datapath>(
    state: &mut State,
    list: &mut Bucket,
    datapath: &mut D,
    frame: D::Frame,
    (slot, input): (Slot, &Input<'_>),
) -> Result<GroResult, D::Frame> {
    let flow = list.flow_mut(slot.way);
    let segment = if flow.plain == IPV4 {
        Segment::following::<P, D, IPV4>(flow, datapath, &frame, input)
    } else {
        Segment::following::<P, D, IPV6>(flow, datapath, &frame, input)
    };
    let Some(segment) = segment else { return Err(frame) };
    // As `closes` says of a segment without FIN; asking it costs a small core 20 cycles more.
    let close = if segment.push != 0 {
        FlushReason::Push as u32
    } else if segment.payload.len < flow.gso_size {
        FlushReason::Short as u32
    } else {
        FlushReason::None as u32
    };
    let word = Action::Merge as u32 | close << 16;
    state.digest.mix(word ^ (slot.index() as u32) << 2, state.frames() ^ segment.seq);
    if D::LEARNS_LATE {
        flow.add_late(&input.window, &segment);
    } else {
        flow.add(segment.sum, segment.push, segment.payload.len);
        flow.next_seq = segment.seq.wrapping_add(segment.payload.len);
        let counts = flow.fixed_id & FIXED ^ FIXED;
        flow.chain[template::ID] = (flow.chain[template::ID] + counts) & 0xffff;
    }
    state.counters.merged_segments += 1;
    datapath.append(slot, frame, segment.payload);
    if close != FlushReason::None as u32 {
        emit::<P, D>(state, list, datapath, (slot, close));
    }
    Ok(GroResult::Merged)
}

/// A word of the window as a number.
#[inline(always)]
fn in_host_order(word: u32) -> u32 {
    u32::from_be(word)
}

/// The low half of a word with its two bytes turned: a 16-bit field of the window as a number, or the sum of such fields.
#[inline(always)]
fn turned(half: u32) -> u32 {
    (half as u16).swap_bytes() as u32
}

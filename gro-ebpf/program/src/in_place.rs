//! In-place mode: carrier deferral, which needs no timer and no agent.
//!
//! The first frame of a merged packet, its *carrier*, is sent round: back to the ingress of its interface, behind everything that
//! already waits in this CPU's backlog. Frames that join meanwhile are copied to a buffer and dropped. When the carrier comes round
//! it becomes the merged packet. One pass of the backlog is what the end of a NAPI poll is to the kernel: nothing is held longer.
//!
//! Whoever may not overtake what goes round goes round itself, and each gets a *turn*: packets are delivered in the order of their
//! turns. The backlog is a queue, so skbs come back in the order of their numbers; a number that is passed over is lost. What a lost
//! one carried is delivered when its turn comes, by the skb that is in hand then; that one's own packet goes round once more as a
//! clone, and so does whatever comes back before its turn.
//!
//! An skb that a socket owns is never grown: its socket's memory accounting would not follow, which ends in a division by zero in the
//! receiver's TCP. Over veth that is every skb of a local sender, so such a carrier is a clone, which nobody owns.

use super::abi::{FLOWS, FRAME_MAX, Flight, Round, Turn, mode, round};
use super::maps::{self, Held};
use super::tc::{self, CHECKSUM_PARTIAL};
use super::{gro_release, gro_return, show};
use aya_ebpf::bindings::{
    __sk_buff, BPF_CSUM_LEVEL_INC, BPF_CSUM_LEVEL_QUERY, BPF_F_CURRENT_NETNS, BPF_F_INGRESS, TC_ACT_SHOT,
    TC_ACT_UNSPEC,
};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_csum_level, bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_jiffies64,
    bpf_probe_read_kernel, bpf_redirect, bpf_set_hash, bpf_sk_release, bpf_skb_change_proto,
    bpf_skc_lookup_tcp,
};
use gro_core::{Bypass, Packet, STORAGE};

/// [`came_round`] says so of a frame that did not go round.
pub(crate) const NOT_OURS: i32 = -2;
/// [`arrive`] says so of a frame that the engine is to see.
const TO_ENGINE: i32 = -3;
/// No buffer is free.
const NO_BUFFER: u32 = u32::MAX;
const DROP: i32 = TC_ACT_SHOT as i32;
/// On to the next program, or up the stack.
const PASS: i32 = TC_ACT_UNSPEC;

/// A frame at the ingress, in two parts around the engine.
#[inline(always)]
pub(crate) fn run(skb: *mut __sk_buff) -> Option<i32> {
    let action = arrive(skb)?;
    if action != TO_ENGINE {
        return Some(action);
    }
    if !show(skb) {
        return None;
    }
    leave(skb)
}

/// Before the engine: what becomes of the frame, or [`TO_ENGINE`].
#[inline(always)]
fn arrive(skb: *mut __sk_buff) -> Option<i32> {
    // SAFETY: `skb` is the context the kernel passed.
    let (mark, len, gso_size, protocol) =
        unsafe { ((*skb).mark, (*skb).len, (*skb).gso_size, (*skb).protocol) };
    if mark >> round::MAGIC_SHIFT == round::MAGIC {
        let action = gro_return(skb);
        if action != NOT_OURS {
            return Some(action);
        }
    }
    let (settings, round) = (maps::settings()?, maps::round()?);
    round.flow = FLOWS;
    round.in_place = 1;
    round.ip_summed = 0;
    let draining = settings.mode == mode::DRAINING;
    if draining && mark == round::KICK && protocol as u16 == round::KICK_PROTOCOL.to_be() {
        return Some(go_round(skb, 0, FLOWS, Turn::KICK).unwrap_or(DROP));
    }
    if draining || gso_size != 0 || len > FRAME_MAX {
        round.counters.already_merged += u64::from(gso_size != 0);
        round.counters.too_long += u64::from(gso_size == 0 && len > FRAME_MAX);
        round.counters.aside_packets += 1;
        round.counters.aside_bytes += u64::from(len);
        return in_order(skb, mark, Bypass::None as u32);
    }
    round.ip_summed = ip_summed(skb, round, settings.in_place.ip_summed, settings.in_place.ip_summed_bit);
    round.free = free_buffer(round, settings.in_place.buffers, settings.in_place.flights);
    Some(TO_ENGINE)
}

/// Behind it: what becomes of the frame.
#[inline(always)]
fn leave(skb: *mut __sk_buff) -> Option<i32> {
    let round = maps::round()?;
    // SAFETY: `skb` is the context the kernel passed.
    let mark = unsafe { (*skb).mark };
    match round.todo {
        Round::DROP => Some(DROP),
        Round::HOLD => {
            let buffer = round.free;
            if round.freed != 0 {
                round.freed = maps::buffer(buffer)?.next;
            } else {
                round.used += 1;
            }
            round.counters.carriers += 1;
            // `admits` saw to it that there is a number.
            go_round(skb, mark, round.flow, buffer + 1)
        }
        _ => in_order(skb, mark, round.why),
    }
}

/// Lets a frame pass, or sends it round where it would overtake what it must not.
#[inline(always)]
fn in_order(skb: *mut __sk_buff, mark: u32, why: u32) -> Option<i32> {
    let round = maps::round()?;
    let (turns, done, flow) = (round.turns, round.done, round.flow);
    // Of these protocols nothing is ever held.
    let free = why == Bypass::NotIp as u32
        || why == Bypass::Protocol as u32
        || why == Bypass::UdpOff as u32
        || why == Bypass::UdpNoChecksum as u32
        || why == Bypass::UdpLength as u32;
    if free || turns == done {
        return Some(PASS);
    }
    if let Some(entry) = maps::flow(flow)
        && entry.last.wrapping_sub(done).cast_signed() <= 0
    {
        return Some(PASS);
    }
    round.counters.ordered += 1;
    Some(go_round(skb, mark, flow, 0).unwrap_or(PASS))
}

/// Gives the skb in hand the last turn and sends it round. `None` when there is no turn or no number for it.
#[inline(always)]
fn go_round(skb: *mut __sk_buff, mark: u32, flow: u32, carries: u32) -> Option<i32> {
    let (settings, round) = (maps::settings()?, maps::round()?);
    let flights = settings.in_place.flights;
    let next = round.turns.wrapping_add(1);
    if next.wrapping_sub(round.done) > flights || round.issued.wrapping_sub(round.returned) >= flights {
        round.counters.no_number += 1;
        return None;
    }
    // SAFETY: `skb` is the context the kernel passed.
    let (hash, tc_index) = unsafe { ((*skb).hash, (*skb).tc_index) };
    *maps::turn(next & flights.wrapping_sub(1))? =
        Turn { mark, hash, flow, carries, state: Turn::FLYING, tc_index };
    round.turns = next;
    if let Some(entry) = maps::flow(flow) {
        entry.last = next;
    }
    send(skb, next, false)
}

/// Sends the skb in hand round, or a clone of it. `None` when there is no number for it.
#[inline(always)]
fn send(skb: *mut __sk_buff, turn: u32, clone: bool) -> Option<i32> {
    let (settings, round) = (maps::settings()?, maps::round()?);
    let (ifindex, flights) = (settings.in_place.ifindex, settings.in_place.flights);
    let number = round.issued.wrapping_add(1);
    if number.wrapping_sub(round.returned) > flights {
        round.counters.no_number += 1;
        return None;
    }
    let flight = maps::flight(number & flights.wrapping_sub(1))?;
    // SAFETY: `skb` is the context the kernel passed; the helpers check the rest.
    unsafe {
        *flight = Flight { turn, len: (*skb).len };
        round.issued = number;
        let cpu = bpf_get_smp_processor_id() & round::CPU_MASK;
        (*skb).mark =
            round::MAGIC << round::MAGIC_SHIFT | cpu << round::CPU_SHIFT | number & round::NUMBER_MASK;
        (*skb).tc_index = round::tc_index(number);
        // Receive packet steering leaves a packet whose hash is 0 on this CPU (`get_rps_cpu`, net/core/dev.c).
        bpf_set_hash(skb, 0);
        if !clone && (*skb).__bindgen_anon_2.sk.is_null() {
            return Some(bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) as i32);
        }
        // A full backlog is an error here, too: the next that comes back shows that this one is lost.
        bpf_clone_redirect(skb, ifindex, u64::from(BPF_F_INGRESS));
    }
    Some(DROP)
}

/// A frame that came round. `None` for one that did not: its mark is the user's.
#[inline(always)]
pub(crate) fn came_round(skb: *mut __sk_buff) -> Option<i32> {
    let (settings, round) = (maps::settings()?, maps::round()?);
    // SAFETY: `skb` is the context the kernel passed.
    let (mark, len, tc_index) = unsafe { ((*skb).mark, (*skb).len, (*skb).tc_index) };
    // SAFETY: a plain helper.
    let here = unsafe { bpf_get_smp_processor_id() } & round::CPU_MASK;
    let mask = settings.in_place.flights.wrapping_sub(1);
    let cpu = mark >> round::CPU_SHIFT & round::CPU_MASK;
    if cpu != here {
        return astray(skb, cpu, mask, len);
    }
    let ahead = mark.wrapping_sub(round.returned) & round::NUMBER_MASK;
    if ahead == 0 || ahead > round.issued.wrapping_sub(round.returned) {
        return None;
    }
    let number = round.returned.wrapping_add(ahead);
    let Flight { turn: own, len: sent } = *maps::flight(number & mask)?;
    if sent != len || tc_index != round::tc_index(number) {
        return None;
    }
    let Turn { carries, .. } = *maps::turn(own & mask)?;
    let lose = settings.in_place.lose;
    // SAFETY: a plain helper.
    if lose != 0 && carries != 0 && unsafe { bpf_get_prandom_u32() } % lose == 0 {
        return Some(DROP);
    }
    note_lost(round, number, mask);
    pass_over(round, mask);

    let next = round.done.wrapping_add(1);
    let Turn { state, carries: lost, .. } = *maps::turn(next & mask)?;
    if round.returned != number {
        // More was lost than can be looked at in one go. This one is not.
        maps::flight(number & mask)?.len = Flight::GONE;
        round.counters.requeued += 1;
        return again(skb, own, mask, false);
    }
    if own.wrapping_sub(round.done).cast_signed() <= 0 {
        // Never: it would go round for ever.
        round.counters.helper_errors += 1;
        return Some(DROP);
    }
    // It is another one's turn.
    if next != own && state != Turn::LOST {
        round.counters.requeued += 1;
        return again(skb, own, mask, false);
    }
    if next == own {
        return deliver(skb, own, carries, true);
    }
    // SAFETY: `skb` is the context.
    if unsafe { !(*skb).__bindgen_anon_2.sk.is_null() } {
        // It is not to be grown. A clone can be.
        round.counters.socket += 1;
        return again(skb, own, mask, false);
    }
    round.counters.requeued += 1;
    again(skb, own, mask, true);
    round.counters.recovered += 1;
    deliver(skb, next, lost, false)
}

/// Notes what is lost before `number` came back.
#[inline(always)]
fn note_lost(round: &mut Round, number: u32, mask: u32) {
    /// For more, `number` does not count as come back.
    const STEPS: u32 = 32;
    for _ in 0..STEPS {
        let next = round.returned.wrapping_add(1);
        round.returned = next;
        if next == number {
            return;
        }
        let Some(flight) = maps::flight(next & mask) else { return };
        if flight.len == Flight::GONE {
            continue;
        }
        let Some(turn) = maps::turn(flight.turn & mask) else { return };
        if turn.carries == 0 || turn.carries == Turn::KICK {
            round.counters.lost_frames += 1;
            turn.state = Turn::DONE;
        } else {
            round.counters.lost += 1;
            turn.state = Turn::LOST;
        }
    }
}

/// Passes over turns that are done.
#[inline(always)]
fn pass_over(round: &mut Round, mask: u32) {
    /// The rest is passed over by the next that comes back.
    const STEPS: u32 = 32;
    for _ in 0..STEPS {
        let next = round.done.wrapping_add(1);
        let is_done = next.wrapping_sub(round.turns).cast_signed() <= 0
            && maps::turn(next & mask).is_some_and(|turn| turn.state == Turn::DONE);
        if !is_done {
            break;
        }
        round.done = next;
    }
}

/// Sends the skb in hand, or a clone of it, round with the turn that it has. When there is no number, it is lost like one for which the
/// backlog has no room.
#[inline(always)]
fn again(skb: *mut __sk_buff, own: u32, mask: u32, clone: bool) -> Option<i32> {
    let action = send(skb, own, clone);
    if action.is_none() {
        let turn = maps::turn(own & mask)?;
        let is_packet = turn.carries != 0 && turn.carries != Turn::KICK;
        turn.state = if is_packet { Turn::LOST } else { Turn::DONE };
    }
    action.or(Some(DROP))
}

/// Delivers what has its turn by the skb in hand. `own`: it is that turn's own skb.
#[inline(always)]
fn deliver(skb: *mut __sk_buff, number: u32, carries: u32, own: bool) -> Option<i32> {
    let (settings, round) = (maps::settings()?, maps::round()?);
    let mask = settings.in_place.flights.wrapping_sub(1);
    let turn = maps::turn(number & mask)?;
    let (mark, hash, tc_index) = (turn.mark, turn.hash, turn.tc_index);
    if carries != 0 && carries != Turn::KICK {
        round.counters.returned += u64::from(own);
        match fill(skb, carries.wrapping_sub(1), own)? {
            Filled::Whole => {}
            // It is not grown, or not yet what the stack can take it for: it comes in once more.
            Filled::Again => {
                maps::turn(number & mask)?.state = Turn::FLYING;
                return again(skb, number, mask, false);
            }
        }
    }
    maps::turn(number & mask)?.state = Turn::DONE;
    let round = maps::round()?;
    round.done = number;
    if carries == Turn::KICK {
        return Some(DROP);
    }
    // SAFETY: `skb` is the context.
    unsafe {
        (*skb).mark = mark;
        (*skb).tc_index = tc_index;
        bpf_set_hash(skb, hash);
    }
    Some(PASS)
}

/// What [`fill`] came to.
#[derive(PartialEq, Eq)]
enum Filled {
    Whole,
    Again,
}

/// Makes the skb in hand the packet of a buffer.
#[inline(always)]
fn fill(skb: *mut __sk_buff, index: u32, own: bool) -> Option<Filled> {
    let held = maps::buffer(index)?;
    if held.state == Held::OPEN {
        gro_release(held.slot);
    }
    let held = maps::buffer(index)?;
    let round = maps::round()?;
    if own && held.segs <= 1 {
        free(round, held, index);
        return Some(Filled::Whole);
    }
    // SAFETY: `skb` is the context.
    if unsafe { !(*skb).__bindgen_anon_2.sk.is_null() } {
        // Somebody gave it to a socket on its way.
        round.counters.socket += 1;
        return Some(Filled::Again);
    }
    // The stack goes by what the skb says that it is: IPv4 and IPv6 can be told, before the bytes are written.
    // SAFETY: `skb` is the context; the helper checks the rest.
    let differs = unsafe {
        let is = u16::from_ne_bytes([held.bytes[12], held.bytes[13]]);
        (*skb).protocol as u16 != is && bpf_skb_change_proto(skb, is, 0) != 0
    };
    // Its first frame is in its own carrier already.
    let there = if own { held.first_len } else { 0 };
    let errors = tc::become_packet(skb, held, there);
    round.counters.helper_errors += u64::from(errors != 0);
    if differs {
        // It was neither, as the frame of a drain.
        return Some(Filled::Again);
    }
    free(round, held, index);
    // SAFETY: `skb` is the context.
    unsafe {
        // The engine verified the checksums of all segments, or the device did.
        if bpf_csum_level(skb, u64::from(BPF_CSUM_LEVEL_QUERY)) < 0 {
            bpf_csum_level(skb, u64::from(BPF_CSUM_LEVEL_INC));
        }
    }
    Some(Filled::Whole)
}

#[inline(always)]
fn free(round: &mut Round, held: &mut Held, index: u32) {
    held.state = Held::FREE;
    held.next = round.freed;
    round.freed = index + 1;
}

/// An skb of another CPU. It goes up as it is; what joined it is delivered there, when something else comes back.
#[inline(always)]
fn astray(skb: *mut __sk_buff, cpu: u32, mask: u32, len: u32) -> Option<i32> {
    // SAFETY: `skb` is the context.
    let (mark, tc_index) = unsafe { ((*skb).mark, (*skb).tc_index) };
    let flight = maps::flight_of(cpu, mark & mask)?;
    if flight.len != len || (tc_index ^ round::tc_index(mark)) & round::NUMBER_MASK != 0 {
        return None;
    }
    let turn = maps::turn_of(cpu, flight.turn & mask)?;
    maps::round()?.counters.astray += 1;
    // SAFETY: `skb` is the context.
    unsafe {
        (*skb).mark = turn.mark;
        (*skb).tc_index = turn.tc_index;
        bpf_set_hash(skb, turn.hash);
    }
    Some(if turn.carries == Turn::KICK { DROP } else { PASS })
}

/// Whether the frame in hand may be merged: it ends here, a second one would fit, and there is room to hold it.
#[inline(always)]
pub(crate) fn admits(skb: *mut __sk_buff) -> Option<bool> {
    let (settings, round, hand) = (maps::settings()?, maps::round()?, maps::hand()?);
    if settings.mode == mode::REDIRECT {
        return Some(true);
    }
    let packet = &hand.packet;
    let (index, tag) = hash(packet);
    round.flow = index;
    let config = &settings.config;
    let max_size = if packet.is_ipv6() { config.gro_max_size } else { config.gro_ipv4_max_size };
    if packet.payload + 2 * packet.payload_len >= max_size {
        round.counters.no_room += 1;
        return Some(false);
    }
    if packet.payload > round.part {
        round.counters.scattered += 1;
        return Some(false);
    }
    if settings.in_place.forwarding == 0 {
        // SAFETY: a plain helper.
        let now = unsafe { bpf_jiffies64() } as u32;
        let entry = maps::flow(index)?;
        if entry.tag != tag || entry.jiffy != now {
            let local = is_local(skb, packet, round);
            let entry = maps::flow(index)?;
            (entry.tag, entry.jiffy, entry.local) = (tag, now, u32::from(local));
        }
        if maps::flow(index)?.local == 0 {
            round.counters.not_local += 1;
            return Some(false);
        }
    }
    Some(round.free != NO_BUFFER)
}

/// A buffer for the frame in hand, should it be held, or [`NO_BUFFER`]. It needs a number, too.
#[inline(always)]
fn free_buffer(round: &mut Round, buffers: u32, flights: u32) -> u32 {
    if round.turns.wrapping_sub(round.done) >= flights || round.issued.wrapping_sub(round.returned) >= flights
    {
        round.counters.no_number += 1;
        return NO_BUFFER;
    }
    if round.freed != 0 {
        return round.freed - 1;
    }
    if round.used < buffers {
        return round.used;
    }
    round.counters.no_buffer += 1;
    NO_BUFFER
}

/// A place in `FLOWS`, and a tag that tells most flows in one place apart.
#[inline(always)]
fn hash(packet: &Packet) -> (u32, u32) {
    // A sum of products, which do not wait for each other.
    let mut factor = 0x9e37_79b1_u32;
    let mut hash = packet.key.ports.wrapping_mul(factor);
    for word in packet.key.addresses {
        factor = factor.wrapping_mul(5);
        hash = hash.wrapping_add(word.wrapping_mul(factor));
    }
    let mixed = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca77);
    (mixed >> 22 & (FLOWS - 1), hash | 1)
}

/// Whether a segment belongs to an established connection of this host.
#[inline(always)]
fn is_local(skb: *mut __sk_buff, packet: &Packet, round: &mut Round) -> bool {
    /// `TCP_ESTABLISHED` (include/net/tcp_states.h).
    const ESTABLISHED: u32 = 1;
    let (from, to) = packet.key.addresses.split_at(4);
    // struct bpf_sock_tuple, in network order.
    let size = if packet.is_ipv6() {
        for word in 0..4 {
            round.tuple[word] = from[word].to_be();
            round.tuple[4 + word] = to[word].to_be();
        }
        round.tuple[8] = packet.key.ports.to_be();
        36
    } else {
        round.tuple[0] = from[0].to_be();
        round.tuple[1] = to[0].to_be();
        round.tuple[2] = packet.key.ports.to_be();
        12
    };
    // SAFETY: the tuple is a map value and longer than `size`; the socket is given back.
    unsafe {
        let tuple = round.tuple.as_mut_ptr().cast();
        let socket = bpf_skc_lookup_tcp(skb.cast(), tuple, size, BPF_F_CURRENT_NETNS as u64, 0);
        if socket.is_null() {
            return false;
        }
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        state == ESTABLISHED
    }
}

/// `CHECKSUM_*` of the skb in hand; `CHECKSUM_NONE` when that is not known, so that its checksum is verified.
#[inline(always)]
fn ip_summed(skb: *mut __sk_buff, round: &mut Round, offset: u32, bit: u32) -> u32 {
    if offset == 0 {
        return 0;
    }
    // The context is the skb itself. Through memory it becomes a number, with which the verifier lets us calculate.
    // SAFETY: a write and a read of a live value.
    let address = unsafe {
        core::ptr::write_volatile(&raw mut round.skb, skb as u64);
        core::ptr::read_volatile(&raw const round.skb)
    };
    let from = address.wrapping_add(u64::from(offset - 1)) as *const core::ffi::c_void;
    round.ip_summed = 0;
    // SAFETY: the helper writes one byte of a word that lives on, and checks what it reads.
    let result = unsafe { bpf_probe_read_kernel((&raw mut round.ip_summed).cast(), 1, from) };
    // The first byte of the word, whatever the byte order.
    let byte = u32::from(round.ip_summed.to_ne_bytes()[0]);
    if result == 0 { byte >> (bit & 7) & 3 } else { 0 }
}

/// Whether the checksum needs no look: the device saw to it (`CHECKSUM_UNNECESSARY`), or the packet never was on a wire
/// (`CHECKSUM_PARTIAL`).
#[inline(always)]
pub(crate) fn is_vouched(ip_summed: u32) -> bool {
    const CHECKSUM_UNNECESSARY: u32 = 1;
    ip_summed == CHECKSUM_UNNECESSARY || ip_summed == CHECKSUM_PARTIAL
}

/// How much of a frame is looked at: what lies in one piece, which is quick to copy, if headers may be all of that. Drivers put them
/// there; `admits` declines what has more.
#[inline(always)]
pub(crate) fn header_part(skb: *mut __sk_buff, len: u32) -> u32 {
    /// Ethernet, IPv4 and TCP without options.
    const LEAST: u32 = 54;
    // SAFETY: `skb` is the context; the fields are plain words.
    let linear = unsafe { (*skb).data_end.wrapping_sub((*skb).data) };
    let most = if linear >= LEAST { linear } else { len };
    let most = if most < len { most } else { len };
    if most < STORAGE as u32 { most } else { STORAGE as u32 }
}

/// Keeps frames with a checksum and frames without one in flows of their own: they must not be in one packet. It is no bit by which a
/// bucket is chosen.
#[inline(always)]
pub(crate) fn hash_bit(ip_summed: u32) -> u32 {
    u32::from(ip_summed == CHECKSUM_PARTIAL) << 31
}

/// Sends the skb in hand to the ingress, marked for a drain.
#[inline(always)]
pub(crate) fn kick(skb: *mut __sk_buff) -> Option<i32> {
    maps::notes()?;
    let ifindex = maps::settings()?.in_place.ifindex;
    // SAFETY: `skb` is the context the kernel passed; the helper checks the rest.
    unsafe {
        (*skb).mark = round::KICK;
        bpf_clone_redirect(skb, ifindex, u64::from(BPF_F_INGRESS));
    }
    Some(DROP)
}

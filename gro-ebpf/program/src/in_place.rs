//! In-place mode: carrier deferral, which needs no timer and no agent.
//!
//! The first frame of a merged packet, its *carrier*, is sent round: back to the ingress of its interface, behind everything that
//! already waits in this CPU's backlog. Frames that join meanwhile are copied to a buffer and dropped. When the carrier comes round
//! it becomes the merged packet. One pass of the backlog is what the end of a NAPI poll is to the kernel: nothing is held longer.
//!
//! Whoever may not overtake what goes round goes round itself. The backlog is a queue, so frames come back in the order of their
//! numbers; a number that is passed over is lost, and what it carried is delivered in its place by the frame that showed it.
//!
//! An skb that a socket owns is never grown: its socket's memory accounting would not follow, which ends in a division by zero in the
//! receiver's TCP. Over veth that is every skb of a local sender, so such a carrier is a clone, which nobody owns.

use super::abi::{FLOWS, FRAME_MAX, Flight, Round, mode, round};
use super::maps::{self, Held};
use super::tc::{self, CHECKSUM_PARTIAL};
use super::{gro_release, gro_return};
use aya_ebpf::bindings::{
    __sk_buff, BPF_CSUM_LEVEL_INC, BPF_CSUM_LEVEL_QUERY, BPF_F_CURRENT_NETNS, BPF_F_INGRESS, TC_ACT_SHOT,
    TC_ACT_UNSPEC,
};
use aya_ebpf::helpers::generated::{
    bpf_clone_redirect, bpf_csum_level, bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_jiffies64,
    bpf_probe_read_kernel, bpf_redirect, bpf_set_hash, bpf_sk_release, bpf_skc_lookup_tcp,
};
use gro_core::{Bypass, Packet};

/// [`came_round`] says so of a frame that did not go round.
pub(crate) const NOT_OURS: i32 = -2;
/// [`arrive`] says so of a frame that the engine is to see.
const TO_ENGINE: i32 = -3;
/// No buffer is free.
const NO_BUFFER: u32 = u32::MAX;
const DROP: i32 = TC_ACT_SHOT as i32;
/// On to the next program, or up the stack.
const PASS: i32 = TC_ACT_UNSPEC;

/// A frame at the ingress. In two parts around the engine, each a function of its own: their stacks do not add up with its.
#[inline(always)]
pub(crate) fn run(skb: *mut __sk_buff) -> Option<i32> {
    let action = arrive(skb);
    if action != TO_ENGINE {
        return Some(action);
    }
    // SAFETY: `skb` is the context the kernel passed.
    super::frame(skb, unsafe { (*skb).len })?;
    Some(leave(skb))
}

/// Before the engine: what becomes of the frame, or [`TO_ENGINE`].
#[inline(never)]
fn arrive(skb: *mut __sk_buff) -> i32 {
    arrived(skb).unwrap_or(PASS)
}

/// Behind it: what becomes of the frame.
#[inline(never)]
fn leave(skb: *mut __sk_buff) -> i32 {
    decided(skb).unwrap_or(PASS)
}

#[inline(always)]
fn arrived(skb: *mut __sk_buff) -> Option<i32> {
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
        return Some(go_round(skb, 0, FLOWS, Flight::KICK).unwrap_or(DROP));
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

#[inline(always)]
fn decided(skb: *mut __sk_buff) -> Option<i32> {
    let round = maps::round()?;
    // SAFETY: `skb` is the context the kernel passed.
    let mark = unsafe { (*skb).mark };
    match round.todo {
        Round::DROP => Some(DROP),
        Round::HOLD => {
            let buffer = round.free;
            round.buffer = buffer;
            maps::buffer(buffer)?.mark = mark;
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
    let (issued, returned, flow) = (round.issued, round.returned, round.flow);
    // Of these protocols nothing is ever held.
    let free = why == Bypass::NotIp as u32
        || why == Bypass::Protocol as u32
        || why == Bypass::UdpOff as u32
        || why == Bypass::UdpNoChecksum as u32
        || why == Bypass::UdpLength as u32;
    if free || issued == returned {
        return Some(PASS);
    }
    if let Some(entry) = maps::flow(flow)
        && entry.last.wrapping_sub(returned).cast_signed() <= 0
    {
        return Some(PASS);
    }
    round.counters.ordered += 1;
    Some(go_round(skb, mark, flow, 0).unwrap_or(PASS))
}

/// Sends the skb in hand round. `None` when there is no number for it.
#[inline(always)]
fn go_round(skb: *mut __sk_buff, mark: u32, flow: u32, carries: u32) -> Option<i32> {
    let (settings, round) = (maps::settings()?, maps::round()?);
    let (ifindex, flights) = (settings.in_place.ifindex, settings.in_place.flights);
    let number = round.issued.wrapping_add(1);
    if number.wrapping_sub(round.returned) > flights {
        round.counters.no_number += 1;
        return None;
    }
    let flight = maps::flight(number & flights.wrapping_sub(1))?;
    // SAFETY: `skb` is the context the kernel passed.
    let (len, hash, sk) = unsafe { ((*skb).len, (*skb).hash, (*skb).__bindgen_anon_2.sk) };
    *flight = Flight { mark, len, hash, flow, carries };
    round.issued = number;
    if let Some(entry) = maps::flow(flow) {
        entry.last = number;
    }
    // SAFETY: `skb` is the context the kernel passed; the helpers check the rest.
    unsafe {
        let cpu = bpf_get_smp_processor_id() & round::CPU_MASK;
        (*skb).mark =
            round::MAGIC << round::MAGIC_SHIFT | cpu << round::CPU_SHIFT | number & round::NUMBER_MASK;
        // Receive packet steering leaves a packet whose hash is 0 on this CPU (`get_rps_cpu`, net/core/dev.c).
        bpf_set_hash(skb, 0);
        if sk.is_null() {
            return Some(bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) as i32);
        }
        // A full backlog is an error here, too: the next frame that comes back shows that this one is lost.
        bpf_clone_redirect(skb, ifindex, u64::from(BPF_F_INGRESS));
    }
    Some(DROP)
}

/// A frame that came round. `None` for one that did not: its mark is the user's.
#[inline(always)]
pub(crate) fn came_round(skb: *mut __sk_buff) -> Option<i32> {
    let (settings, round) = (maps::settings()?, maps::round()?);
    // SAFETY: `skb` is the context the kernel passed.
    let (mark, len, sk) = unsafe { ((*skb).mark, (*skb).len, (*skb).__bindgen_anon_2.sk) };
    // SAFETY: a plain helper.
    let here = unsafe { bpf_get_smp_processor_id() } & round::CPU_MASK;
    let mask = settings.in_place.flights.wrapping_sub(1);
    let cpu = mark >> round::CPU_SHIFT & round::CPU_MASK;
    if cpu != here {
        return astray(skb, cpu, mark & mask, len);
    }
    let ahead = mark.wrapping_sub(round.returned) & round::NUMBER_MASK;
    if ahead == 0 || ahead > round.issued.wrapping_sub(round.returned) {
        return None;
    }
    let number = round.returned.wrapping_add(ahead);
    let Flight { mark, len: sent, hash, flow, carries } = *maps::flight(number & mask)?;
    if sent != len {
        return None;
    }
    let lose = settings.in_place.lose;
    // SAFETY: a plain helper.
    if lose != 0 && carries != 0 && unsafe { bpf_get_prandom_u32() } % lose == 0 {
        return Some(DROP);
    }

    let lost = skip_lost(round, number, mask);
    if round.returned.wrapping_add(1) == number {
        round.returned = number;
        if carries == Flight::KICK {
            return Some(DROP);
        }
        // SAFETY: `skb` is the context.
        unsafe { bpf_set_hash(skb, hash) };
        if carries == 0 {
            // SAFETY: as above.
            unsafe { (*skb).mark = mark };
            return Some(PASS);
        }
        round.counters.returned += 1;
        return fill(skb, carries.wrapping_sub(1), true, flow);
    }

    // Another one's turn: this one goes round once more, and its skb is delivered as that one's packet.
    if !sk.is_null() {
        round.counters.socket += 1;
    }
    let deliver = lost != 0 && sk.is_null();
    let mut flow_of_lost = FLOWS;
    if deliver {
        round.returned = round.returned.wrapping_add(1);
        round.counters.lost += 1;
        round.counters.recovered += 1;
        flow_of_lost = maps::flight(round.returned & mask)?.flow;
    }
    if clone_round(skb, (mark, hash), flow, carries).is_some() {
        maps::flight(number & mask)?.carries = 0;
    }
    if deliver { fill(skb, lost.wrapping_sub(1), false, flow_of_lost) } else { Some(DROP) }
}

/// Passes over what is lost up to `number` and carried nothing. Gives what the next lost one carries, or 0.
#[inline(always)]
fn skip_lost(round: &mut Round, number: u32, mask: u32) -> u32 {
    /// More are passed over by the next that comes back.
    const STEPS: u32 = 32;
    for _ in 0..STEPS {
        let next = round.returned.wrapping_add(1);
        if next == number {
            break;
        }
        let Some(flight) = maps::flight(next & mask) else { break };
        if flight.carries != 0 && flight.carries != Flight::KICK {
            return flight.carries;
        }
        round.counters.lost_frames += 1;
        round.returned = next;
    }
    0
}

/// Sends a clone of the skb in hand, which came round, round once more, as what it was. When there is no number for it, it is lost
/// like one that the backlog had no room for.
#[inline(always)]
fn clone_round(skb: *mut __sk_buff, (mark, hash): (u32, u32), flow: u32, carries: u32) -> Option<()> {
    let (settings, round) = (maps::settings()?, maps::round()?);
    let (ifindex, flights) = (settings.in_place.ifindex, settings.in_place.flights);
    let number = round.issued.wrapping_add(1);
    if number.wrapping_sub(round.returned) > flights {
        round.counters.no_number += 1;
        return None;
    }
    round.counters.requeued += 1;
    let flight = maps::flight(number & flights.wrapping_sub(1))?;
    // SAFETY: `skb` is the context the kernel passed; the helper checks the rest.
    unsafe {
        *flight = Flight { mark, len: (*skb).len, hash, flow, carries };
        round.issued = number;
        if let Some(entry) = maps::flow(flow) {
            entry.last = number;
        }
        let cpu = bpf_get_smp_processor_id() & round::CPU_MASK;
        (*skb).mark =
            round::MAGIC << round::MAGIC_SHIFT | cpu << round::CPU_SHIFT | number & round::NUMBER_MASK;
        bpf_clone_redirect(skb, ifindex, u64::from(BPF_F_INGRESS));
    }
    Some(())
}

/// Makes the skb in hand the packet of a buffer, and passes it. `own`: it is the packet's carrier.
#[inline(always)]
fn fill(skb: *mut __sk_buff, index: u32, own: bool, flow: u32) -> Option<i32> {
    let held = maps::buffer(index)?;
    if held.state == Held::OPEN {
        gro_release(held.slot);
    }
    let held = maps::buffer(index)?;
    let round = maps::round()?;
    if own && held.segs <= 1 {
        held.state = Held::FREE;
        // SAFETY: `skb` is the context.
        unsafe { (*skb).mark = held.mark };
        return Some(PASS);
    }
    // SAFETY: `skb` is the context.
    if unsafe { !(*skb).__bindgen_anon_2.sk.is_null() } {
        // Somebody gave it to a socket on its way. A clone has none.
        round.counters.socket += 1;
        clone_round(skb, (held.mark, held.hash), flow, index + 1);
        return Some(DROP);
    }
    // SAFETY: `skb` is the context.
    let protocol = unsafe { (*skb).protocol } as u16;
    let errors = tc::rewrite(skb, held.bytes.as_ptr(), held.len, held.vlan);
    round.counters.helper_errors += u64::from(errors != 0);
    let is = u16::from_ne_bytes([held.bytes[12], held.bytes[13]]);
    if !own && protocol != is {
        // The stack would take it for what the skb was. Coming in once more it is looked at anew.
        return Some(go_round(skb, held.mark, flow, index + 1).unwrap_or(DROP));
    }
    held.state = Held::FREE;
    // SAFETY: `skb` is the context.
    unsafe {
        (*skb).mark = held.mark;
        bpf_set_hash(skb, held.hash ^ hash_bit(if held.partial != 0 { CHECKSUM_PARTIAL } else { 0 }));
        // The engine verified the checksums of all segments, or the device did.
        if bpf_csum_level(skb, u64::from(BPF_CSUM_LEVEL_QUERY)) < 0 {
            bpf_csum_level(skb, u64::from(BPF_CSUM_LEVEL_INC));
        }
    }
    Some(PASS)
}

/// A frame of another CPU. It goes up as it is; what joined it is delivered there, when the next one comes back.
#[inline(always)]
fn astray(skb: *mut __sk_buff, cpu: u32, index: u32, len: u32) -> Option<i32> {
    let flight = maps::flight_of(cpu, index)?;
    if flight.len != len {
        return None;
    }
    maps::round()?.counters.astray += 1;
    // SAFETY: `skb` is the context.
    unsafe {
        (*skb).mark = flight.mark;
        bpf_set_hash(skb, flight.hash);
    }
    Some(if flight.carries == Flight::KICK { DROP } else { PASS })
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
    if round.issued.wrapping_sub(round.returned) >= flights {
        round.counters.no_number += 1;
        return NO_BUFFER;
    }
    /// Buffers come back in the order in which they were given out, but for those of lost carriers.
    const STEPS: u32 = 4;
    for step in 1..=STEPS {
        let index = (round.buffer.wrapping_add(step)) % buffers.max(1);
        if maps::buffer(index).is_some_and(|held| held.state == Held::FREE) {
            return index;
        }
    }
    round.counters.no_buffer += 1;
    NO_BUFFER
}

/// A place in `FLOWS`, and a tag that tells most flows in one place apart.
#[inline(always)]
fn hash(packet: &Packet) -> (u32, u32) {
    let mut hash = packet.key.ports;
    for word in packet.key.addresses {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b1).rotate_left(13);
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

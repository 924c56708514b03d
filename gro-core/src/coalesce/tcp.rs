//! What two TCP segments of one flow must share (`tcp_gro_receive`, net/ipv4/tcp_offload.c). A UDP datagram, whose TCP fields
//! are all 0, shares them.

use super::{FIN, PSH, RST, SYN, URG};
use crate::flow::{Difference, Flow};
use crate::parse::Packet;
use crate::profile::Profile;
use crate::reason::{Bypass, FlushReason};

/// Flags with which a segment never waits for a follower.
const CLOSING: u32 = URG | PSH | RST | SYN | FIN;
const WINDOW: u32 = 0x0000_ffff;
/// `UDP_GRO_CNT_MAX` (net/ipv4/udp_offload.c).
const UDP_SEGMENTS_MAX: u32 = 64;

/// Zero when the headers may be merged.
#[inline(always)]
pub(super) fn differs<P: Profile>(held: &Flow, difference: Difference, packet: &Packet) -> u32 {
    (packet.control & P::CONTROL_ALONE)
        | (held.control ^ packet.control) & P::CONTROL_EQUAL
        | (held.ack ^ packet.ack)
        | (held.next_seq ^ packet.seq)
        | difference.0
}

/// The reason, without the sequence number, which the kernel tests after the IP header.
#[inline(always)]
pub(super) fn why_not<P: Profile>(held: &Flow, difference: Difference, packet: &Packet) -> FlushReason {
    let control = (held.control ^ packet.control) & P::CONTROL_EQUAL;
    if packet.control & P::CONTROL_ALONE != 0 {
        FlushReason::Cwr
    } else if control & !WINDOW != 0 {
        FlushReason::Flags
    } else if control != 0 {
        FlushReason::Window
    } else if held.ack != packet.ack {
        FlushReason::Ack
    } else if difference.0 != 0 {
        FlushReason::Options
    } else {
        FlushReason::None
    }
}

/// A segment that joins has 1 to MSS bytes.
#[inline(always)]
pub(super) fn fits(held: &Flow, packet: &Packet) -> bool {
    packet.payload_len.wrapping_sub(1) < held.gso_size
}

/// Why the merged packet leaves with this segment in it. URG, RST and SYN cannot get here: no held packet carries one.
#[inline(always)]
pub(super) fn closes(held: &Flow, packet: &Packet) -> FlushReason {
    if packet.control & FIN != 0 {
        FlushReason::Fin
    } else if packet.control & PSH != 0 {
        FlushReason::Push
    } else if packet.payload_len < held.gso_size {
        FlushReason::Short
    } else if packet.udp != 0 && held.segs + 1 >= UDP_SEGMENTS_MAX {
        FlushReason::Segments
    } else {
        FlushReason::None
    }
}

/// Why a segment cannot be held as the first of a merged packet.
#[inline(always)]
pub(super) fn refuses_hold(packet: &Packet) -> Bypass {
    if packet.mismatch {
        Bypass::Length
    } else if packet.control & CLOSING != 0 {
        Bypass::Flags
    } else if packet.payload_len == 0 {
        Bypass::Empty
    } else {
        Bypass::None
    }
}

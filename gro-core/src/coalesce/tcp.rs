//! What two TCP segments of one flow must share (`tcp_gro_receive`, net/ipv4/tcp_offload.c). A UDP datagram, whose TCP fields
//! are all 0, shares them.

use super::{FIN, PSH, RST, SYN, URG};
use crate::flow::{Difference, Flow, in_frame_order};
use crate::parse::{Packet, masks};
use crate::profile::Profile;
use crate::reason::{Bypass, FlushReason};
use crate::rule::Rule;

/// Flags with which a segment never waits for a follower.
pub(crate) const CLOSING: u32 = URG | PSH | RST | SYN | FIN;
const ACK: u32 = 0x0010_0000;
const WINDOW: u32 = 0x0000_ffff;
const FLAGS: u32 = 0x0fff_0000;
const DATA_OFFSET: u32 = 0xf000_0000;
// All of the acknowledgement number, so in whatever order.
const _: () = assert!(masks::ACK == !0);
/// `UDP_GRO_CNT_MAX` (net/ipv4/udp_offload.c).
const UDP_SEGMENTS_MAX: u32 = 64;

/// Zero when the headers may be merged.
#[inline(always)]
pub(super) fn differs<P: Profile>(held: &Flow, difference: Difference, packet: &Packet) -> u32 {
    Rule::Cwr.of::<P>(packet.control & P::CONTROL_ALONE)
        | control_difference::<P>(held, packet)
        | Rule::Ack.of::<P>(held.ack ^ in_frame_order(packet.ack))
        | Rule::Sequence.of::<P>(held.next_seq ^ packet.seq)
        | Rule::Options.of::<P>(difference.0)
        | if P::on(Rule::UrgentDiffers) { 0 } else { held.urgent ^ packet.check_urgent & 0xffff }
        | if P::on(Rule::NoAckFlag) || packet.udp != 0 { 0 } else { !packet.control & ACK }
}

/// How the flag words differ: window, flags, and the data offset, which is the options' length.
#[inline(always)]
fn control_difference<P: Profile>(held: &Flow, packet: &Packet) -> u32 {
    let ignored = if P::on(Rule::FinPushDiffer) { 0 } else { FIN | PSH };
    let control = (held.control ^ packet.control) & (P::CONTROL_EQUAL | ignored);
    control & DATA_OFFSET | Rule::Window.of::<P>(control & WINDOW) | Rule::Flags.of::<P>(control & FLAGS)
}

/// The reason, without the sequence number, which the kernel tests after the IP header.
#[inline(always)]
pub(super) fn why_not<P: Profile>(held: &Flow, difference: Difference, packet: &Packet) -> FlushReason {
    let control = control_difference::<P>(held, packet);
    if packet.control & P::CONTROL_ALONE != 0 {
        FlushReason::Cwr
    } else if control & !WINDOW != 0 {
        FlushReason::Flags
    } else if control != 0 {
        FlushReason::Window
    } else if held.ack != in_frame_order(packet.ack) {
        FlushReason::Ack
    } else if difference.0 != 0 {
        FlushReason::Options
    } else {
        FlushReason::None
    }
}

/// A segment that joins has 1 to MSS bytes.
#[inline(always)]
pub(super) fn fits<P: Profile>(held: &Flow, packet: &Packet) -> bool {
    if !P::on(Rule::Empty) && packet.payload_len == 0 {
        return true;
    }
    if !P::on(Rule::Larger) && packet.payload_len != 0 {
        return true;
    }
    packet.payload_len.wrapping_sub(1) < held.gso_size
}

/// Why the merged packet leaves with this segment in it. URG, RST and SYN cannot get here: no held packet carries one.
#[inline(always)]
pub(super) fn closes<P: Profile>(held: &Flow, packet: &Packet) -> FlushReason {
    if packet.control & FIN != 0 && P::on(Rule::Fin) {
        FlushReason::Fin
    } else if packet.control & PSH != 0 && P::on(Rule::Push) {
        FlushReason::Push
    } else if packet.payload_len < held.gso_size && P::on(Rule::Short) {
        FlushReason::Short
    } else if packet.udp != 0 && held.segs + 1 >= UDP_SEGMENTS_MAX && P::on(Rule::UdpSegments) {
        FlushReason::Segments
    } else {
        FlushReason::None
    }
}

/// Why a segment cannot be held as the first of a merged packet.
#[inline(always)]
pub(super) fn refuses_hold<P: Profile>(packet: &Packet) -> Bypass {
    if packet.mismatch {
        Bypass::Length
    } else if packet.control & CLOSING != 0 && P::on(Rule::FlagsAlone) {
        Bypass::Flags
    } else if packet.payload_len == 0 && P::on(Rule::EmptyAlone) {
        Bypass::Empty
    } else {
        Bypass::None
    }
}

//! What happens to a segment and to the held packet of its flow: the whole policy, by value, without effects.
//!
//! [`decide`] and [`alone`] see plain words only; they have no loop and no store, so that a solver can compare their
//! object code across targets.

mod ip;
mod tcp;

#[cfg(feature = "burst")]
pub(crate) use ip::DONT_FRAGMENT;
pub(crate) use tcp::CLOSING;

use crate::flow::{Difference, Flow};
use crate::parse::Packet;
use crate::profile::Profile;
use crate::reason::{Bypass, FlushReason};
use crate::rule::Rule;

/// FIN in the TCP flag word ([`Packet::control`]).
pub const FIN: u32 = 0x0001_0000;
/// SYN.
pub const SYN: u32 = 0x0002_0000;
/// RST.
pub const RST: u32 = 0x0004_0000;
/// PSH.
pub const PSH: u32 = 0x0008_0000;
/// URG.
pub const URG: u32 = 0x0020_0000;
/// CWR.
pub const CWR: u32 = 0x0080_0000;

/// What to do with the segment itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Deliver it at once.
    Normal = 0,
    /// Hold it as the first of a merged packet.
    Hold,
    /// Append it to the held packet of its flow.
    Merge,
}

/// At most one held packet leaves for a segment: before the action (`flush`) or after it (`close`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why the held packet of the flow leaves first.
    pub flush: FlushReason,
    /// What happens to the segment.
    pub action: Action,
    /// Why the merged packet leaves with the segment in it.
    pub close: FlushReason,
    /// Why the segment is delivered at once.
    pub pass: Bypass,
    /// Which identifications stay the same, for a segment that joins: bits of [`Flow::fixed_id`].
    pub fixed_id: u32,
}

/// A segment whose flow is not held (`out_check_final` of `tcp_gro_receive`).
#[inline(always)]
pub fn alone<P: Profile>(packet: &Packet) -> Verdict {
    let pass = tcp::refuses_hold::<P>(packet);
    let action = if pass as u8 == Bypass::None as u8 { Action::Hold } else { Action::Normal };
    Verdict { flush: FlushReason::None, action, close: FlushReason::None, pass, fixed_id: 0 }
}

/// A segment whose flow is held. `max_size` is what the packet stays below.
#[inline(always)]
pub fn decide<P: Profile>(held: &Flow, difference: Difference, packet: &Packet, max_size: u32) -> Verdict {
    let fixed_id = ip::fixed_id::<P>(held, packet);
    let joins = tcp::differs::<P>(held, difference, packet) == 0
        && ip::differs::<P>(held, packet, fixed_id) == 0
        && tcp::fits::<P>(held, packet)
        && held.held_len() + packet.payload_len < max_size
        && !packet.mismatch;
    if joins {
        let close = tcp::closes::<P>(held, packet);
        return Verdict {
            flush: FlushReason::None,
            action: Action::Merge,
            close,
            pass: Bypass::None,
            fixed_id,
        };
    }
    let flush = if P::on(Rule::FlushFirst) {
        why_not::<P>(held, difference, packet, fixed_id, max_size)
    } else {
        FlushReason::None
    };
    Verdict { flush, ..alone::<P>(packet) }
}

/// The same as a function of its own, for targets on which several places need it and memory is small.
#[inline(never)]
pub(crate) fn decide_apart<P: Profile>(
    held: &Flow,
    difference: Difference,
    packet: &Packet,
    max_size: u32,
) -> Verdict {
    decide::<P>(held, difference, packet, max_size)
}

/// Names the first test that failed, in the kernel's order. Only for a segment that does not join.
#[inline(always)]
fn why_not<P: Profile>(
    held: &Flow,
    difference: Difference,
    packet: &Packet,
    fixed_id: u32,
    max_size: u32,
) -> FlushReason {
    let tcp = tcp::why_not::<P>(held, difference, packet);
    if tcp as u8 != FlushReason::None as u8 {
        return tcp;
    }
    let ip = ip::why_not::<P>(held, packet, fixed_id);
    if ip as u8 != FlushReason::None as u8 {
        return ip;
    }
    if packet.payload_len == 0 {
        FlushReason::Empty
    } else if packet.payload_len > held.gso_size {
        FlushReason::Larger
    } else if packet.seq != held.next_seq {
        FlushReason::Sequence
    } else if held.held_len() + packet.payload_len >= max_size {
        FlushReason::Size
    } else {
        FlushReason::Length
    }
}

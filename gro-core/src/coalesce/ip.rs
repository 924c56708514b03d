//! What two network headers of one flow must share, the outer one and the inner one each (`gro_receive_network_flush`,
//! `inet_gro_flush` and `ipv6_gro_flush`, include/net/gro.h).

use crate::flow::{FIXED, FIXED_OUTER, Flow};
use crate::parse::{Packet, masks};
use crate::profile::Profile;
use crate::reason::FlushReason;
use crate::rule::Rule;

const TTL: u32 = 0xff;
const TOS: u32 = 0xff00;
/// In [`Packet::class`].
pub(crate) const DONT_FRAGMENT: u32 = 0x1_0000;

/// Which identifications are fixed: the second segment decides by repeating the first one's.
#[inline(always)]
pub(super) fn fixed_id<P: Profile>(held: &Flow, packet: &Packet) -> u32 {
    let in_time = held.segs == 1 || !P::on(Rule::SecondDecides);
    let mut fixed = held.fixed_id;
    if in_time && P::on(Rule::FixedIpId) {
        let inner = id_offset::<P>(held.id_check, packet.id_check) == 0
            && allows_fixed::<P>(packet.class)
            && !packet.is_ipv6();
        fixed |= FIXED * inner as u32;
        // Of a header in front of a tunnel, Linux 6.12 asks this not at all.
        if packet.is_encapsulated() && !P::FIXED_ID_NEEDS_DF {
            let outer = id_offset::<P>(held.outer.id_check, packet.outer.id_check) == 0;
            fixed |= FIXED_OUTER * (outer as u32 & !packet.outer.ipv6());
        }
    }
    fixed
}

#[inline(always)]
fn allows_fixed<P: Profile>(class: u32) -> bool {
    !P::FIXED_ID_NEEDS_DF && P::on(Rule::FixedIdWithoutDf) || class & DONT_FRAGMENT != 0
}

/// Zero when the headers may be merged.
#[inline(always)]
pub(super) fn differs<P: Profile>(held: &Flow, packet: &Packet, fixed_id: u32) -> u32 {
    let class = (held.class ^ packet.class) & masks::CLASS;
    let class = Rule::Ttl.of::<P>(class & TTL)
        | Rule::Tos.of::<P>(class & TOS)
        | Rule::DontFragment.of::<P>(class & DONT_FRAGMENT);
    let id = if packet.is_ipv6() {
        0
    } else {
        id_offset::<P>(held.id_check, packet.id_check) ^ id_expected(held, fixed_id & FIXED)
    };
    class | Rule::IpId.of::<P>(id) | outer_differs::<P>(held, packet, fixed_id)
}

#[inline(always)]
fn outer_differs<P: Profile>(held: &Flow, packet: &Packet, fixed_id: u32) -> u32 {
    if !packet.is_encapsulated() {
        return 0;
    }
    let class = Rule::OuterClass.of::<P>((held.outer.class ^ packet.outer.class) & masks::CLASS);
    let offset = id_offset::<P>(held.outer.id_check, packet.outer.id_check);
    let id = if packet.outer.ipv6() != 0 {
        0
    } else if P::FIXED_ID_NEEDS_DF {
        // Linux 6.12: with the don't-fragment bit it is not looked at, without it what the inner header decided before counts.
        if packet.outer.class & DONT_FRAGMENT != 0 {
            0
        } else {
            offset ^ id_expected(held, held.fixed_id & FIXED)
        }
    } else {
        offset ^ id_expected(held, fixed_id & FIXED_OUTER)
    };
    class | Rule::OuterIpId.of::<P>(id)
}

#[inline(always)]
pub(super) fn why_not<P: Profile>(held: &Flow, packet: &Packet, fixed_id: u32) -> FlushReason {
    let outer = if packet.is_encapsulated() { held.outer.class ^ packet.outer.class } else { 0 };
    let class = (held.class ^ packet.class) | outer;
    if class & TTL != 0 {
        FlushReason::Ttl
    } else if class & TOS != 0 {
        FlushReason::Tos
    } else if class != 0 {
        FlushReason::DontFragment
    } else if differs::<P>(held, packet, fixed_id) != 0 {
        FlushReason::IpId
    } else {
        FlushReason::None
    }
}

/// The identification relative to the first segment's, modulo 2^16.
#[inline(always)]
fn id_offset<P: Profile>(held: u32, new: u32) -> u32 {
    let offset = (new >> 16).wrapping_sub(held >> 16);
    if P::on(Rule::IpIdWraps) { offset & 0xffff } else { offset }
}

#[inline(always)]
fn id_expected(held: &Flow, fixed: u32) -> u32 {
    if fixed != 0 { 0 } else { held.segs & 0xffff }
}

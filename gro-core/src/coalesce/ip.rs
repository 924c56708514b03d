//! What two network headers of one flow must share (`inet_gro_flush` and `ipv6_gro_flush`, include/net/gro.h).

use crate::flow::Flow;
use crate::parse::Packet;
use crate::profile::Profile;
use crate::reason::FlushReason;
use crate::rule::Rule;

/// Whether the identification is fixed: the second segment decides by repeating the first one's.
#[inline(always)]
pub(super) fn fixed_id<P: Profile>(held: &Flow, packet: &Packet) -> bool {
    let without_df = !P::FIXED_ID_NEEDS_DF && P::on(Rule::FixedIdWithoutDf);
    let allowed = without_df || packet.dont_fragment != 0;
    let in_time = held.segs == 1 || !P::on(Rule::SecondDecides);
    held.fixed_id != 0 || allowed && in_time && id_offset::<P>(held, packet) == 0 && P::on(Rule::FixedIpId)
}

/// Zero when the headers may be merged.
#[inline(always)]
pub(super) fn differs<P: Profile>(held: &Flow, packet: &Packet, fixed_id: bool) -> u32 {
    let class = held.class ^ packet.class;
    let class = Rule::Ttl.of::<P>(class & 0xff)
        | Rule::Tos.of::<P>(class & 0xff00)
        | Rule::DontFragment.of::<P>(held.dont_fragment ^ packet.dont_fragment);
    let id = if packet.is_ipv6() { 0 } else { id_offset::<P>(held, packet) ^ id_expected(held, fixed_id) };
    class | Rule::IpId.of::<P>(id)
}

#[inline(always)]
pub(super) fn why_not<P: Profile>(held: &Flow, packet: &Packet, fixed_id: bool) -> FlushReason {
    if (held.class ^ packet.class) & 0xff != 0 {
        FlushReason::Ttl
    } else if held.class != packet.class {
        FlushReason::Tos
    } else if held.dont_fragment != packet.dont_fragment {
        FlushReason::DontFragment
    } else if differs::<P>(held, packet, fixed_id) != 0 {
        FlushReason::IpId
    } else {
        FlushReason::None
    }
}

/// The identification relative to the first segment's, modulo 2^16.
#[inline(always)]
fn id_offset<P: Profile>(held: &Flow, packet: &Packet) -> u32 {
    let offset = (packet.id_check >> 16).wrapping_sub(held.id_check >> 16);
    if P::on(Rule::IpIdWraps) { offset & 0xffff } else { offset }
}

#[inline(always)]
fn id_expected(held: &Flow, fixed_id: bool) -> u32 {
    if fixed_id { 0 } else { held.segs & 0xffff }
}

//! IPv6 (RFC 8200) with its hop-by-hop, routing and destination-options headers, as `ipv6_gro_receive` and
//! `ipv6_gro_pull_exthdrs` (net/ipv6/ip6_offload.c) read them.

use super::{IPV6_HEADER, Packet, fits};
use gro_core::Bypass;
use gro_core::Profile;
use gro_core::Rule;
use gro_core::Window;

/// Version and flow label of the first word; the traffic class between them may differ within a flow.
const IDENTITY: u32 = 0xf00f_ffff;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const FRAGMENT: u8 = 44;
/// Extension headers are at least eight bytes, and the window ends the chain.
const EXTENSIONS_MAX: u32 = 26;

/// Gives the protocol behind the last header.
#[inline(always)]
pub(super) fn parse<P: Profile>(window: &Window<'_>, packet: &mut Packet) -> Result<u8, Bypass> {
    let l3 = packet.l3;
    fits(window, l3 + IPV6_HEADER)?;
    let first = window.be32(l3);
    let second = window.be32(l3 + 4);
    let first_next = (second >> 8) as u8;

    let mut next = first_next;
    let mut offset = l3 + IPV6_HEADER;
    for _ in 0..EXTENSIONS_MAX {
        let skipped = next == HOP_BY_HOP || next == ROUTING || next == DESTINATION;
        if !skipped && (P::on(Rule::Ipv6Fragment) || next != FRAGMENT) {
            break;
        }
        fits(window, offset + 8)?;
        next = window.u8(offset);
        offset += (window.u8(offset + 1) as u32 + 1) * 8;
        fits(window, offset)?;
    }

    packet.key.protocol |= first_next as u32;
    packet.key.label = first & IDENTITY;
    for (index, word) in packet.key.addresses.iter_mut().enumerate() {
        *word = window.be32(l3 + 8 + 4 * index as u32);
    }
    packet.class = (first >> 12) & 0xff00 | second & 0xff;
    packet.id_check = 0;
    packet.dont_fragment = 0;
    packet.l4 = offset;
    packet.mismatch = second >> 16 != window.len() - l3 - IPV6_HEADER && P::on(Rule::Ipv6Length);
    Ok(next)
}

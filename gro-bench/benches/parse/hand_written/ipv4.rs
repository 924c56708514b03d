//! IPv4 (RFC 791), as `inet_gro_receive` (net/ipv4/af_inet.c) reads it.

use super::{PROTOCOL_TCP, PROTOCOL_UDP, Packet, fits};
use gro_core::Bypass;
use gro_core::Profile;
use gro_core::Rule;
use gro_core::Window;
use gro_core::checksum::{fold, halves};

const HEADER: u32 = 20;
const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// Gives the protocol behind the header.
#[inline(always)]
pub(super) fn parse<P: Profile>(window: &Window<'_>, packet: &mut Packet) -> Result<u8, Bypass> {
    let l3 = packet.l3;
    fits(window, l3 + HEADER)?;
    let protocol = window.u8(l3 + 9);
    if protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP {
        return Err(Bypass::Protocol);
    }
    let first = window.be32(l3);
    if first >> 24 != 0x45 && P::on(Rule::Ipv4Options) {
        return Err(Bypass::IpOptions);
    }
    let id_fragment = window.be32(l3 + 4);
    let fragment = id_fragment as u16;
    if fragment & FRAGMENT != 0 && P::on(Rule::Ipv4Fragment) {
        return Err(Bypass::Fragment);
    }
    let ttl_check = window.be32(l3 + 8);
    let (source, destination) = (window.be32(l3 + 12), window.be32(l3 + 16));
    let sum = halves(first) + halves(id_fragment) + halves(ttl_check) + halves(source) + halves(destination);
    if fold(sum) != 0xffff && P::on(Rule::Ipv4Checksum) {
        return Err(Bypass::IpChecksum);
    }

    packet.key.protocol |= protocol as u32;
    packet.key.label = 0;
    packet.key.addresses = [source, 0, 0, 0, destination, 0, 0, 0];
    packet.class = (first >> 8) & 0xff00 | ttl_check >> 24;
    packet.id_check = id_fragment & 0xffff_0000 | ttl_check & 0xffff;
    packet.dont_fragment = (fragment & DONT_FRAGMENT) as u32;
    packet.l4 = l3 + HEADER;
    packet.mismatch = first & 0xffff != window.len() - l3 && P::on(Rule::Ipv4Length)
        || fragment & RESERVED != 0 && P::on(Rule::Ipv4Reserved);
    Ok(protocol)
}

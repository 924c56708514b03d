//! Written by hand for now.

use super::{Cursor, Packet, Parsed, TunnelKind, fits, sum};
use crate::profile::{Config, Profile, Release, UdpMode, VlanMode, tunnel};
use crate::reason::Bypass;
use crate::rule::Rule;
use crate::window::Window;

/// Bits of headers that must be equal: for each header, words of 32 bits from its start.
pub mod masks {
    /// `ipv6`: bits of a flow's identity.
    pub const IPV6_IDENTIFY: [u32; 10] = [0xf00f_ffff, 0x0000_ff00, !0, !0, !0, !0, !0, !0, !0, !0];
    /// `tcp`: bits that must be equal to join.
    pub const TCP_EQUAL: [u32; 5] = [0, 0, 0xffff_ffff, 0xfff6_ffff, 0];
}

/// The headers by number.
pub(super) struct Header;

impl Header {
    pub(super) const FIRST: u32 = Self::ETHERNET;
    const ETHERNET: u32 = 0;
    const VLAN_OUTER: u32 = 1;
    const VLAN_INNER: u32 = 2;
    const PPPOE: u32 = 3;
    const IPV4: u32 = 4;
    const IPV6: u32 = 5;
    const IPV6_EXTENSION: u32 = 6;
    const TCP: u32 = 7;
    const UDP: u32 = 8;
    const UDP_DATAGRAM: u32 = 9;
    const UDP_TUNNEL: u32 = 10;
    const VXLAN: u32 = 11;
    const GENEVE: u32 = 12;
    const GRE: u32 = 13;
    const IPV4_IN_IP: u32 = 14;
    const IPV6_IN_IP: u32 = 15;
}

const FRAME_MAX: u32 = super::FRAME_MAX;

#[inline(always)]
pub(super) fn headers<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    mut cursor: Cursor,
    mut next: u32,
) -> Result<Parsed, Bypass> {
    let cursor = &mut cursor;
    if next == Header::ETHERNET {
        next = ethernet::<P>(window, config, packet, cursor)?;
    }
    if next == Header::VLAN_OUTER {
        next = vlan_outer::<P>(window, config, packet, cursor)?;
    }
    if next == Header::VLAN_INNER {
        next = vlan_inner::<P>(window, config, packet, cursor)?;
    }
    if next == Header::PPPOE {
        next = pppoe::<P>(window, config, packet, cursor)?;
    }
    if next == Header::IPV4 {
        next = ipv4::<P>(window, config, packet, cursor)?;
    }
    if next == Header::IPV6 {
        next = ipv6::<P>(window, config, packet, cursor)?;
    }
    if next == Header::IPV6_EXTENSION {
        let start = cursor.at;
        for _ in 0..26 {
            next = ipv6_extension::<P>(window, config, packet, cursor)?;
            if next != Header::IPV6_EXTENSION {
                break;
            }
        }
        return Ok(packet.pause::<P>(Rule::Extensions, start, cursor.at, next));
    }
    if next == Header::TCP {
        return tcp::<P>(window, packet, cursor);
    }
    if next == Header::UDP {
        next = udp::<P>(window, config, packet, cursor)?;
    }
    if next == Header::UDP_DATAGRAM {
        return udp_datagram::<P>(window, config, packet, cursor);
    }
    if packet.is_encapsulated() {
        return Err(Bypass::Nested);
    }
    if next == Header::UDP_TUNNEL {
        next = udp_tunnel::<P>(window, config, packet, cursor)?;
    }
    if next == Header::VXLAN {
        return vxlan::<P>(window, config, packet, cursor);
    }
    if next == Header::GENEVE {
        return geneve::<P>(window, config, packet, cursor);
    }
    if next == Header::GRE {
        return gre::<P>(window, config, packet, cursor);
    }
    if next == Header::IPV4_IN_IP {
        packet.encapsulate::<P>(TunnelKind::IpInIp);
        return Ok(packet.goes_on(cursor.at, Header::IPV4));
    }
    if next == Header::IPV6_IN_IP {
        packet.encapsulate::<P>(TunnelKind::IpInIp);
        return Ok(packet.goes_on(cursor.at, Header::IPV6));
    }
    Err(Bypass::Protocol)
}

#[inline(always)]
fn ethernet<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 14)?;
    if window.len() > FRAME_MAX {
        return Err(Bypass::TooLong);
    }
    let key = window.be16(at + 12) as u32;
    packet.link::<P>(at, [window.be32(at), window.be32(at + 4), window.be32(at + 8)]);
    *cursor = Cursor { at: at + 14, key };
    Ok(match key {
        0x0800 => Header::IPV4,
        0x86dd => Header::IPV6,
        0x8100 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        0x88a8 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return Err(Bypass::NotIp),
    })
}

#[inline(always)]
fn vlan_outer<P: Profile>(
    window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 4)?;
    let key = window.be16(at + 2) as u32;
    packet.chain.push(Rule::InBandVlan.of::<P>(cursor.key << 16 | window.be16(at) as u32));
    *cursor = Cursor { at: at + 4, key };
    Ok(match key {
        0x0800 => Header::IPV4,
        0x86dd => Header::IPV6,
        0x8100 => Header::VLAN_INNER,
        0x88a8 => Header::VLAN_INNER,
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return Err(Bypass::NotIp),
    })
}

#[inline(always)]
fn vlan_inner<P: Profile>(
    window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 4)?;
    let key = window.be16(at + 2) as u32;
    packet.chain.push(Rule::InBandVlan.of::<P>(cursor.key << 16 | window.be16(at) as u32));
    *cursor = Cursor { at: at + 4, key };
    Ok(match key {
        0x0800 => Header::IPV4,
        0x86dd => Header::IPV6,
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return Err(Bypass::NotIp),
    })
}

#[inline(always)]
fn pppoe<P: Profile>(
    window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    let key = window.be16(at + 6) as u32;
    if window.be16(at) != 0x1100 {
        return Err(Bypass::Tunnel);
    }
    packet.chain.push(window.be32(at));
    packet.chain.push(window.be32(at + 4) & 0x0000_ffff);
    packet.session(at);
    *cursor = Cursor { at: at + 8, key };
    Ok(match key {
        0x0021 => Header::IPV4,
        0x0057 => Header::IPV6,
        _ => return Err(Bypass::NotIp),
    })
}

#[inline(always)]
fn ipv4<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 20)?;
    let word = |index: u32| window.be32(at + 4 * index);
    let words = [word(0), word(1), word(2), word(3), word(4)];
    let key = words[2] >> 16 & 0xff;
    if words[0] >> 24 != 0x45 && P::on(Rule::Ipv4Options) {
        return Err(Bypass::IpOptions);
    }
    if words[1] & 0x3fff != 0 && P::on(Rule::Ipv4Fragment) {
        return Err(Bypass::Fragment);
    }
    if sum(&words) != 0xffff && P::on(Rule::Ipv4Checksum) {
        return Err(Bypass::IpChecksum);
    }
    packet.key.protocol = 0x0800 << 16 | key;
    packet.key.label = 0;
    packet.key.addresses = [words[3], 0, 0, 0, words[4], 0, 0, 0];
    packet.class = (words[0] >> 16 & 0xff) << 8 | words[2] >> 24 | (words[1] & 0x4000) << 2;
    packet.id_check = words[1] & 0xffff_0000 | words[2] & 0xffff;
    packet.mismatch |= words[0] & 0xffff != window.len() - at && P::on(Rule::Ipv4Length)
        || words[1] & 0x8000 != 0 && P::on(Rule::Ipv4Reserved);
    packet.l3 = at;
    packet.l4 = at + 20;
    *cursor = Cursor { at: at + 20, key };
    Ok(match key {
        6 => Header::TCP,
        17 => Header::UDP,
        4 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV4_IN_IP,
        41 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV6_IN_IP,
        47 if config.tunnels & tunnel::GRE != 0 => Header::GRE,
        _ => return Err(Bypass::Protocol),
    })
}

#[inline(always)]
fn ipv6<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 40)?;
    let word = |index: u32| window.be32(at + 4 * index);
    let words = [word(0), word(1)];
    let key = words[1] >> 8 & 0xff;
    packet.key.protocol = 0x86dd << 16 | key;
    packet.key.label = words[0] & masks::IPV6_IDENTIFY[0];
    for index in 0..8 {
        packet.key.addresses[index] = window.be32(at + 8 + 4 * index as u32);
    }
    packet.class = (words[0] >> 20 & 0xff) << 8 | words[1] & 0xff;
    packet.id_check = 0;
    packet.mismatch |= words[1] >> 16 != window.len() - at - 40 && P::on(Rule::Ipv6Length);
    packet.l3 = at;
    packet.l4 = at + 40;
    *cursor = Cursor { at: at + 40, key };
    Ok(ipv6_next::<P>(key, config)?)
}

#[inline(always)]
fn ipv6_next<P: Profile>(key: u32, config: &Config) -> Result<u32, Bypass> {
    Ok(match key {
        0 | 43 | 60 => Header::IPV6_EXTENSION,
        44 if !P::on(Rule::Ipv6Fragment) => Header::IPV6_EXTENSION,
        6 => Header::TCP,
        17 => Header::UDP,
        4 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV4_IN_IP,
        41 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV6_IN_IP,
        47 if config.tunnels & tunnel::GRE != 0 => Header::GRE,
        _ => return Err(Bypass::Protocol),
    })
}

#[inline(always)]
fn ipv6_extension<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    let end = at + window.u8(at + 1) as u32 * 8 + 8;
    fits(window, end)?;
    let key = window.u8(at) as u32;
    packet.l4 = end;
    *cursor = Cursor { at: end, key };
    Ok(ipv6_next::<P>(key, config)?)
}

#[inline(always)]
fn tcp<P: Profile>(window: &Window<'_>, packet: &mut Packet, cursor: &mut Cursor) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    fits(window, at + 20)?;
    packet.udp = 0;
    packet.key.ports = window.be32(at);
    packet.seq = window.be32(at + 4);
    packet.ack = window.be32(at + 8);
    packet.control = window.be32(at + 12);
    packet.check_urgent = window.be32(at + 16);
    let length = (packet.control >> 28) * 4;
    if length < 20 && P::on(Rule::DataOffset) {
        return Err(Bypass::DataOffset);
    }
    packet.payload = at + length;
    fits(window, packet.payload)?;
    packet.payload_len = window.len() - packet.payload;
    Ok(Parsed::Whole)
}

#[inline(always)]
fn udp<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    _packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    Ok(match window.be16(at + 2) as u32 {
        4789 if config.tunnels & tunnel::VXLAN != 0 => Header::UDP_TUNNEL,
        6081 if config.tunnels & tunnel::GENEVE != 0 => Header::UDP_TUNNEL,
        _ => Header::UDP_DATAGRAM,
    })
}

#[inline(always)]
fn udp_datagram<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    if config.udp as u32 == UdpMode::Off as u32 && P::on(Rule::UdpOff) {
        return Err(Bypass::UdpOff);
    }
    let at = cursor.at;
    fits(window, at + 8)?;
    let words = [window.be32(at), window.be32(at + 4)];
    let check = words[1] & 0xffff;
    if check == 0 && P::on(Rule::UdpNoChecksum) {
        return Err(Bypass::UdpNoChecksum);
    }
    let length = words[1] >> 16;
    if length <= 8 && P::on(Rule::UdpLength) {
        return Err(Bypass::UdpLength);
    }
    if length != window.len() - at && P::on(Rule::UdpLength) {
        return Err(Bypass::UdpLength);
    }
    packet.udp = 1;
    packet.key.ports = words[0];
    packet.seq = 0;
    packet.ack = 0;
    packet.control = 0;
    packet.check_urgent = check << 16;
    packet.payload = at + 8;
    packet.payload_len = window.len() - packet.payload;
    Ok(Parsed::Whole)
}

#[inline(always)]
fn udp_tunnel<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    let key = window.be16(at + 2) as u32;
    packet.chain.push(Rule::TunnelHeader.of::<P>(window.be32(at)));
    packet.checked(at, true, window.be16(at + 6) != 0);
    *cursor = Cursor { at: at + 8, key };
    Ok(match key {
        4789 if config.tunnels & tunnel::VXLAN != 0 => Header::VXLAN,
        6081 if config.tunnels & tunnel::GENEVE != 0 => Header::GENEVE,
        _ => return Err(Bypass::Protocol),
    })
}

#[inline(always)]
fn vxlan<P: Profile>(
    window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    packet.chain.push(Rule::TunnelHeader.of::<P>(window.be32(at)));
    packet.chain.push(Rule::TunnelHeader.of::<P>(window.be32(at + 4)));
    packet.encapsulate::<P>(TunnelKind::Udp);
    Ok(packet.goes_on(at + 8, Header::ETHERNET))
}

#[inline(always)]
fn geneve<P: Profile>(
    window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    if window.u8(at) & 0xc0 != 0 && P::on(Rule::TunnelRefused) {
        return Err(Bypass::Tunnel);
    }
    if window.u8(at + 1) & 0x80 != 0 && P::on(Rule::TunnelRefused) {
        return Err(Bypass::Tunnel);
    }
    let end = at + (window.u8(at) as u32 & 0x3f) * 4 + 8;
    fits(window, end)?;
    let next = match window.be16(at + 2) as u32 {
        0x6558 => Header::ETHERNET,
        0x0800 => Header::IPV4,
        0x86dd => Header::IPV6,
        _ => return Err(Bypass::NotIp),
    };
    packet.encapsulate::<P>(TunnelKind::Udp);
    Ok(packet.pause::<P>(Rule::TunnelHeader, at, end, next))
}

#[inline(always)]
fn gre<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    fits(window, at + 4)?;
    let flags = window.be16(at) as u32;
    if flags & 0x5fff != 0 && P::on(Rule::TunnelRefused) {
        return Err(Bypass::Tunnel);
    }
    let mut end = at + 4;
    if flags & 0x8000 != 0 {
        end += 4;
    }
    if flags & 0x2000 != 0 {
        end += 4;
    }
    fits(window, end)?;
    let next = match window.be16(at + 2) as u32 {
        0x6558 => Header::ETHERNET,
        0x0800 => Header::IPV4,
        0x86dd => Header::IPV6,
        0x8100 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        0x88a8 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        _ => return Err(Bypass::NotIp),
    };
    packet.chain.push(Rule::TunnelHeader.of::<P>(window.be32(at)));
    if flags & 0x2000 != 0 {
        packet.chain.push(Rule::TunnelHeader.of::<P>(window.be32(at + 4)));
    }
    packet.checked(at, false, flags & 0x8000 != 0);
    packet.encapsulate::<P>(TunnelKind::Gre);
    Ok(packet.goes_on(end, next))
}

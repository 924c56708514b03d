//! Generated from `gro-core/parser.json` by `cargo xtask codegen`: change that, not this.
//!
//! One function a header, in the order in which a frame has them. A function checks that its header is there and acceptable, writes
//! what the engine compares into the packet, and says which header follows. `w0`, `w1` and so on are a header's 32-bit words;
//! of some only the bytes that are used are read.

use super::{Cursor, Packet, Parsed, TunnelKind, fits, sum};
use crate::profile::{Config, Profile, Release, UdpMode, VlanMode, tunnel};
use crate::reason::Bypass;
use crate::rule::Rule;
use crate::window::Window;

/// Which bits must be equal. Of a header, words of 32 bits from its start: `IDENTIFY` tells flows apart, `EQUAL` must hold for
/// a segment to join. Of a word of [`Packet`], the bits in it that must be equal to join.
pub mod masks {
    /// Of header `ethernet`.
    pub const ETHERNET_IDENTIFY: [u32; 4] = [!0, !0, !0, 0xffff_0000];
    /// Of header `vlan-outer`.
    pub const VLAN_OUTER_IDENTIFY: [u32; 1] = [!0];
    /// Of header `vlan-inner`.
    pub const VLAN_INNER_IDENTIFY: [u32; 1] = [!0];
    /// Of header `pppoe`.
    pub const PPPOE_IDENTIFY: [u32; 2] = [0x0000_ffff, 0x0000_ffff];
    /// Of header `ipv4`.
    pub const IPV4_IDENTIFY: [u32; 5] = [0, 0, 0x00ff_0000, !0, !0];
    /// Of header `ipv4`.
    pub const IPV4_EQUAL: [u32; 5] = [0x00ff_0000, 0x0000_4000, 0xff00_0000, 0, 0];
    /// Of header `ipv6`.
    pub const IPV6_IDENTIFY: [u32; 10] = [0xf00f_ffff, 0x0000_ff00, !0, !0, !0, !0, !0, !0, !0, !0];
    /// Of header `ipv6`.
    pub const IPV6_EQUAL: [u32; 10] = [0x0ff0_0000, 0x0000_00ff, 0, 0, 0, 0, 0, 0, 0, 0];
    /// Of header `ipv6-extension`.
    pub const IPV6_EXTENSION_IDENTIFY: [u32; 2] = [!0, !0];
    /// Of header `tcp`.
    pub const TCP_IDENTIFY: [u32; 5] = [!0, 0, 0, 0, 0];
    /// Of header `tcp`.
    pub const TCP_EQUAL: [u32; 5] = [0, 0, !0, 0xfff6_ffff, 0];
    /// Of header `udp-datagram`.
    pub const UDP_DATAGRAM_IDENTIFY: [u32; 2] = [!0, 0];
    /// Of header `udp-tunnel`.
    pub const UDP_TUNNEL_IDENTIFY: [u32; 2] = [!0, 0];
    /// Of header `vxlan`.
    pub const VXLAN_IDENTIFY: [u32; 2] = [!0, !0];
    /// Of header `geneve`.
    pub const GENEVE_IDENTIFY: [u32; 2] = [!0, !0];
    /// Of header `gre`.
    pub const GRE_IDENTIFY: [u32; 1] = [!0];
    /// Of `Packet::ack`.
    pub const ACK: u32 = !0;
    /// Of `Packet::class`.
    pub const CLASS: u32 = 0x0001_ffff;
    /// Of `Packet::control`.
    pub const CONTROL: u32 = 0xfff6_ffff;
}

/// The headers by number.
pub(super) struct Header;

impl Header {
    /// The one that a frame begins with.
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

/// Parses headers from `next` on, up to the payload or up to where another part begins.
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
        next = pppoe(window, config, packet, cursor)?;
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
        return tcp::<P>(window, config, packet, cursor);
    }
    if next == Header::UDP {
        next = udp(window, config, packet, cursor)?;
    }
    if next == Header::UDP_DATAGRAM {
        return udp_datagram::<P>(window, config, packet, cursor);
    }
    // From here on a tunnel.
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
        return ipv4_in_ip::<P>(window, config, packet, cursor);
    }
    if next == Header::IPV6_IN_IP {
        return ipv6_in_ip::<P>(window, config, packet, cursor);
    }
    // No header has another number.
    Err(Bypass::Protocol)
}

/// Header `ethernet`.
#[inline(always)]
fn ethernet<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 14)?;
    if window.len() > 65535 {
        return Err(Bypass::TooLong);
    }
    packet.link::<P>(at, [window.be32(at), window.be32(at + 4), window.be32(at + 8)]);
    let key = window.be16(at + 12) as u32;
    *cursor = Cursor { at: at + 14, key };
    ethertypes::<P>(key, config).ok_or(Bypass::NotIp)
}

/// Header `vlan-outer`.
#[inline(always)]
fn vlan_outer<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 4)?;
    // tci, ethertype
    let w0 = window.be32(at);
    packet.chain.push(Rule::InBandVlan.of::<P>(cursor.key << 16 | w0 >> 16));
    let key = w0 & 0xffff;
    *cursor = Cursor { at: at + 4, key };
    ethertypes_behind_a_tag::<P>(key, config).ok_or(Bypass::NotIp)
}

/// Header `vlan-inner`.
#[inline(always)]
fn vlan_inner<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 4)?;
    // tci, ethertype
    let w0 = window.be32(at);
    packet.chain.push(Rule::InBandVlan.of::<P>(cursor.key << 16 | w0 >> 16));
    let key = w0 & 0xffff;
    *cursor = Cursor { at: at + 4, key };
    ethertypes_behind_two_tags::<P>(key, config).ok_or(Bypass::NotIp)
}

/// Header `pppoe`.
#[inline(always)]
fn pppoe(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    packet.session(cursor.at)?;
    let at = cursor.at;
    fits(window, at + 8)?;
    // version-type-code, session
    let w0 = window.be32(at);
    // length, protocol
    let w1 = window.be32(at + 4);
    if w0 >> 16 != 0x1100 {
        return Err(Bypass::Tunnel);
    }
    if (w1 >> 16) + 6 != window.len() - at {
        return Err(Bypass::Tunnel);
    }
    packet.chain.push(cursor.key << 16);
    packet.chain.push(w0 & masks::PPPOE_IDENTIFY[0]);
    let key = w1 & 0xffff;
    *cursor = Cursor { at: at + 8, key };
    ppp_protocols(key, config).ok_or(Bypass::NotIp)
}

/// Header `ipv4`.
#[inline(always)]
fn ipv4<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 20)?;
    // version, ihl, tos, total-length
    let w0 = window.be32(at);
    // identification, reserved, dont-fragment, fragment
    let w1 = window.be32(at + 4);
    // ttl, protocol, checksum
    let w2 = window.be32(at + 8);
    // source
    let w3 = window.be32(at + 12);
    // destination
    let w4 = window.be32(at + 16);
    if w0 >> 24 != 0x45 && P::on(Rule::Ipv4Options) {
        return Err(Bypass::IpOptions);
    }
    if w1 & 0x3fff != 0 && P::on(Rule::Ipv4Fragment) {
        return Err(Bypass::Fragment);
    }
    if sum(&[w0, w1, w2, w3, w4]) != 0xffff && P::on(Rule::Ipv4Checksum) {
        return Err(Bypass::IpChecksum);
    }
    packet.key.protocol = 0x0800 << 16 | (w2 >> 16 & 0xff);
    packet.key.label = 0;
    packet.key.addresses = [w3, 0, 0, 0, w4, 0, 0, 0];
    packet.class = (w0 & 0xff_0000) >> 8 | (w1 & 0x4000) << 2 | w2 >> 24;
    packet.id_check = w1 & 0xffff_0000 | w2 & 0xffff;
    packet.mismatch |= (w0 & 0xffff) != window.len() - at && P::on(Rule::Ipv4Length)
        || w1 >> 8 & 0x80 != 0 && P::on(Rule::Ipv4Reserved);
    packet.l3 = at;
    packet.l4 = at + 20;
    let key = w2 >> 16 & 0xff;
    *cursor = Cursor { at: at + 20, key };
    ipv4_protocols(key, config).ok_or(Bypass::Protocol)
}

/// Header `ipv6`.
#[inline(always)]
fn ipv6<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 40)?;
    // version, traffic-class, flow-label
    let w0 = window.be32(at);
    // payload-length, next-header, hop-limit
    let w1 = window.be32(at + 4);
    packet.key.protocol = 0x86dd << 16 | (w1 >> 8 & 0xff);
    packet.key.label = w0 & masks::IPV6_IDENTIFY[0];
    packet.key.addresses[0] = window.be32(at + 8);
    packet.key.addresses[1] = window.be32(at + 12);
    packet.key.addresses[2] = window.be32(at + 16);
    packet.key.addresses[3] = window.be32(at + 20);
    packet.key.addresses[4] = window.be32(at + 24);
    packet.key.addresses[5] = window.be32(at + 28);
    packet.key.addresses[6] = window.be32(at + 32);
    packet.key.addresses[7] = window.be32(at + 36);
    packet.class = (w0 & 0xff0_0000) >> 12 | w1 & 0xff;
    packet.id_check = 0;
    packet.mismatch |= w1 >> 16 != window.len() - at - 40 && P::on(Rule::Ipv6Length);
    packet.l3 = at;
    packet.l4 = at + 40;
    let key = w1 >> 8 & 0xff;
    *cursor = Cursor { at: at + 40, key };
    ipv6_next_headers::<P>(key, config).ok_or(Bypass::Protocol)
}

/// Header `ipv6-extension`.
#[inline(always)]
fn ipv6_extension<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    // next-header, length, data
    let w0 = (window.be16(at) as u32) << 16;
    let length = (w0 >> 16 & 0xff) * 8;
    let end = at + length + 8;
    fits(window, end)?;
    packet.l4 = end;
    let key = w0 >> 24;
    *cursor = Cursor { at: end, key };
    ipv6_next_headers::<P>(key, config).ok_or(Bypass::Protocol)
}

/// Header `tcp`.
#[inline(always)]
fn tcp<P: Profile>(
    window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    fits(window, at + 20)?;
    // data-offset, reserved, cwr-ece-urg-ack, psh, rst-syn, fin, window
    let w3 = window.be32(at + 12);
    packet.udp = 0;
    packet.key.ports = window.be32(at);
    packet.seq = window.be32(at + 4);
    packet.ack = window.be32(at + 8);
    packet.control = w3;
    packet.check_urgent = window.be32(at + 16);
    let length = (w3 >> 28) * 4;
    if length < 20 && P::on(Rule::DataOffset) {
        return Err(Bypass::DataOffset);
    }
    let end = at + length;
    fits(window, end)?;
    packet.payload = end;
    packet.payload_len = window.len() - packet.payload;
    Ok(Parsed::Whole)
}

/// Header `udp`.
#[inline(always)]
fn udp(
    window: &Window<'_>,
    config: &Config,
    _packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    let key = window.be16(at + 2) as u32;
    Ok(udp_ports(key, config).unwrap_or(Header::UDP_DATAGRAM))
}

/// Header `udp-datagram`.
#[inline(always)]
fn udp_datagram<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    if config.udp as u32 != UdpMode::Forwarding as u32 && P::on(Rule::UdpOff) {
        return Err(Bypass::UdpOff);
    }
    let at = cursor.at;
    fits(window, at + 8)?;
    // length, checksum
    let w1 = window.be32(at + 4);
    if (w1 & 0xffff) == 0 && P::on(Rule::UdpNoChecksum) {
        return Err(Bypass::UdpNoChecksum);
    }
    if w1 >> 16 <= 8 && P::on(Rule::UdpLength) {
        return Err(Bypass::UdpLength);
    }
    if w1 >> 16 != window.len() - at && P::on(Rule::UdpLength) {
        return Err(Bypass::UdpLength);
    }
    packet.udp = 1;
    packet.key.ports = window.be32(at);
    packet.seq = 0;
    packet.ack = 0;
    packet.control = 0;
    packet.check_urgent = (w1 & 0xffff) << 16;
    packet.payload = at + 8;
    packet.payload_len = window.len() - packet.payload;
    Ok(Parsed::Whole)
}

/// Header `udp-tunnel`.
#[inline(always)]
fn udp_tunnel<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<u32, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    // source-port, destination-port
    let w0 = window.be32(at);
    packet.chain.push(Rule::TunnelHeader.of::<P>(w0));
    packet.checked(at, true, (window.be16(at + 6) as u32) != 0);
    let key = w0 & 0xffff;
    *cursor = Cursor { at: at + 8, key };
    udp_tunnels(key, config).ok_or(Bypass::Tunnel)
}

/// Header `vxlan`.
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
    let next = Header::ETHERNET;
    Ok(packet.goes_on(at + 8, next))
}

/// Header `geneve`.
#[inline(always)]
fn geneve<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    fits(window, at + 8)?;
    // version, options-length, flags, protocol
    let w0 = window.be32(at);
    if w0 >> 24 & 0xc0 != 0 && P::on(Rule::TunnelRefused) {
        return Err(Bypass::Tunnel);
    }
    if w0 >> 16 & 0x80 != 0 && P::on(Rule::TunnelRefused) {
        return Err(Bypass::Tunnel);
    }
    let length = (w0 >> 24 & 0x3f) * 4;
    let end = at + length + 8;
    fits(window, end)?;
    packet.encapsulate::<P>(TunnelKind::Udp);
    let key = w0 & 0xffff;
    let next = geneve_protocols::<P>(key, config).ok_or(Bypass::NotIp)?;
    Ok(packet.pause::<P>(Rule::TunnelHeader, at, end, next))
}

/// Header `gre`.
#[inline(always)]
fn gre<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    fits(window, at + 4)?;
    // flags, protocol
    let w0 = window.be32(at);
    if w0 >> 16 & 0x5fff != 0 && P::on(Rule::TunnelRefused) {
        return Err(Bypass::Tunnel);
    }
    let mut end = at + 4;
    // checksum
    if w0 >> 16 & 0x8000 != 0 {
        end += 4;
    }
    // key
    if w0 >> 16 & 0x2000 != 0 {
        end += 4;
    }
    fits(window, end)?;
    packet.chain.push(Rule::TunnelHeader.of::<P>(w0));
    // key
    if w0 >> 16 & 0x2000 != 0 {
        packet.chain.push(Rule::TunnelHeader.of::<P>(window.be32(at + 4)));
    }
    packet.checked(at, false, w0 >> 16 & 0x8000 != 0);
    packet.encapsulate::<P>(TunnelKind::Gre);
    let key = w0 & 0xffff;
    let next = gre_protocols::<P>(key, config).ok_or(Bypass::NotIp)?;
    Ok(packet.goes_on(end, next))
}

/// Header `ipv4-in-ip`.
#[inline(always)]
fn ipv4_in_ip<P: Profile>(
    _window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    packet.encapsulate::<P>(TunnelKind::IpInIp);
    let next = Header::IPV4;
    Ok(packet.goes_on(at, next))
}

/// Header `ipv6-in-ip`.
#[inline(always)]
fn ipv6_in_ip<P: Profile>(
    _window: &Window<'_>,
    _config: &Config,
    packet: &mut Packet,
    cursor: &mut Cursor,
) -> Result<Parsed, Bypass> {
    let at = cursor.at;
    packet.encapsulate::<P>(TunnelKind::IpInIp);
    let next = Header::IPV6;
    Ok(packet.goes_on(at, next))
}

/// Table `ethertypes`.
#[inline(always)]
pub(super) fn ethertypes<P: Profile>(key: u32, config: &Config) -> Option<u32> {
    Some(match key {
        // ipv4
        0x0800 => Header::IPV4,
        // ipv6
        0x86dd => Header::IPV6,
        // 802.1q
        0x8100 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        // 802.1ad
        0x88a8 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        // pppoe-session
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return None,
    })
}

/// Table `ethertypes-behind-a-tag`.
#[inline(always)]
pub(super) fn ethertypes_behind_a_tag<P: Profile>(key: u32, _config: &Config) -> Option<u32> {
    Some(match key {
        // ipv4
        0x0800 => Header::IPV4,
        // ipv6
        0x86dd => Header::IPV6,
        // 802.1q
        0x8100 => Header::VLAN_INNER,
        // 802.1ad
        0x88a8 => Header::VLAN_INNER,
        // pppoe-session
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return None,
    })
}

/// Table `ethertypes-behind-two-tags`.
#[inline(always)]
pub(super) fn ethertypes_behind_two_tags<P: Profile>(key: u32, _config: &Config) -> Option<u32> {
    Some(match key {
        // ipv4
        0x0800 => Header::IPV4,
        // ipv6
        0x86dd => Header::IPV6,
        // pppoe-session
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return None,
    })
}

/// Table `ppp-protocols`.
#[inline(always)]
pub(super) fn ppp_protocols(key: u32, _config: &Config) -> Option<u32> {
    Some(match key {
        // ipv4
        0x0021 => Header::IPV4,
        // ipv6
        0x0057 => Header::IPV6,
        _ => return None,
    })
}

/// Table `ipv4-protocols`.
#[inline(always)]
pub(super) fn ipv4_protocols(key: u32, config: &Config) -> Option<u32> {
    Some(match key {
        // tcp
        6 => Header::TCP,
        // udp
        17 => Header::UDP,
        // ipip
        4 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV4_IN_IP,
        // sit
        41 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV6_IN_IP,
        // gre
        47 if config.tunnels & tunnel::GRE != 0 => Header::GRE,
        _ => return None,
    })
}

/// Table `ipv6-next-headers`.
#[inline(always)]
pub(super) fn ipv6_next_headers<P: Profile>(key: u32, config: &Config) -> Option<u32> {
    Some(match key {
        // tcp
        6 => Header::TCP,
        // udp
        17 => Header::UDP,
        // hop-by-hop
        0 => Header::IPV6_EXTENSION,
        // routing
        43 => Header::IPV6_EXTENSION,
        // destination-options
        60 => Header::IPV6_EXTENSION,
        // fragment
        44 if !P::on(Rule::Ipv6Fragment) => Header::IPV6_EXTENSION,
        // 4in6
        4 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV4_IN_IP,
        // 6in6
        41 if config.tunnels & tunnel::IP_IN_IP != 0 => Header::IPV6_IN_IP,
        // gre
        47 if config.tunnels & tunnel::GRE != 0 => Header::GRE,
        _ => return None,
    })
}

/// Table `udp-ports`.
#[inline(always)]
pub(super) fn udp_ports(key: u32, config: &Config) -> Option<u32> {
    if config.tunnels & (tunnel::GENEVE | tunnel::VXLAN) == 0 {
        return None;
    }
    Some(match key {
        // vxlan
        4789 if config.tunnels & tunnel::VXLAN != 0 => Header::UDP_TUNNEL,
        // geneve
        6081 if config.tunnels & tunnel::GENEVE != 0 => Header::UDP_TUNNEL,
        _ => return None,
    })
}

/// Table `udp-tunnels`.
#[inline(always)]
pub(super) fn udp_tunnels(key: u32, config: &Config) -> Option<u32> {
    if config.tunnels & (tunnel::GENEVE | tunnel::VXLAN) == 0 {
        return None;
    }
    Some(match key {
        // vxlan
        4789 if config.tunnels & tunnel::VXLAN != 0 => Header::VXLAN,
        // geneve
        6081 if config.tunnels & tunnel::GENEVE != 0 => Header::GENEVE,
        _ => return None,
    })
}

/// Table `geneve-protocols`.
#[inline(always)]
pub(super) fn geneve_protocols<P: Profile>(key: u32, config: &Config) -> Option<u32> {
    Some(match key {
        // ethernet
        0x6558 => Header::ETHERNET,
        // ipv4
        0x0800 => Header::IPV4,
        // ipv6
        0x86dd => Header::IPV6,
        // 802.1q
        0x8100 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        // 802.1ad
        0x88a8 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        // pppoe-session
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return None,
    })
}

/// Table `gre-protocols`.
#[inline(always)]
pub(super) fn gre_protocols<P: Profile>(key: u32, config: &Config) -> Option<u32> {
    Some(match key {
        // ipv4
        0x0800 => Header::IPV4,
        // ipv6
        0x86dd => Header::IPV6,
        // ethernet
        0x6558 => Header::ETHERNET,
        // 802.1q
        0x8100 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        // 802.1ad
        0x88a8 if config.vlan as u32 == VlanMode::InBand as u32 => Header::VLAN_OUTER,
        // pppoe-session
        0x8864 if P::RELEASE as u32 >= Release::Linux7 as u32 => Header::PPPOE,
        _ => return None,
    })
}

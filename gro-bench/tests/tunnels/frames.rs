//! Three segments in a tunnel, and what may be different or wrong with one of them.

use super::every_backend::tunnels::{Kind, Tunnel};
use etherparse::{IpHeaders, Ipv4Header, PacketBuilder};

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// Payload bytes of a frame.
pub(crate) const PAYLOAD: usize = 100;
/// IPv4 in IPv4, as most tunnels here are.
pub(crate) const IPIP: Tunnel = Tunnel { v6: false, kind: Kind::Ip, number: 3, fragment: 0x4000, ttl: 64 };
/// Three segments in a tunnel.
pub(crate) fn segments(tunnel: &Tunnel) -> Vec<Vec<u8>> {
    (0..3).map(|number| tunnel.wrap(&tcp(false, number, 500 + number), 100 + number)).collect()
}

/// One of them is another frame.
pub(crate) fn with(tunnel: &Tunnel, which: usize, frame: Vec<u8>) -> Vec<Vec<u8>> {
    let mut frames = segments(tunnel);
    frames[which] = frame;
    frames
}

/// One of them is edited, and the tunnel's checksums are right again.
pub(crate) fn edited(tunnel: &Tunnel, which: usize, edit: &dyn Fn(&mut Vec<u8>)) -> Vec<Vec<u8>> {
    let mut frames = segments(tunnel);
    edit(&mut frames[which]);
    tunnel.complete(&mut frames[which], false);
    frames
}

/// The same tunnel with other flags.
pub(crate) fn other_gre(tunnel: &Tunnel) -> Tunnel {
    match tunnel.kind {
        Kind::Gre { check, key, ethernet } => {
            Tunnel { kind: Kind::Gre { check, key: !key, ethernet: !ethernet }, ..*tunnel }
        }
        _ => *tunnel,
    }
}

/// Where the tunnel's own headers end.
pub(crate) fn header_end(tunnel: &Tunnel) -> usize {
    tunnel.l4()
        + match tunnel.kind {
            Kind::Ip => 0,
            Kind::Gre { check, key, .. } => 4 + 4 * usize::from(check) + 4 * usize::from(key),
            Kind::Vxlan { .. } => 16,
            Kind::Geneve { options, .. } => 16 + 4 * usize::from(options),
        }
}

/// Where the inner IP header starts.
pub(crate) fn inner_l3(tunnel: &Tunnel) -> usize {
    let ethernet = match tunnel.kind {
        Kind::Ip => false,
        Kind::Vxlan { .. } => true,
        Kind::Gre { ethernet, .. } | Kind::Geneve { ethernet, .. } => ethernet,
    };
    header_end(tunnel) + if ethernet { ETHERNET } else { 0 }
}

/// `SKB_GSO_*` of the tunnel alone.
pub(crate) fn tunnel_type(tunnel: &Tunnel) -> u32 {
    match tunnel.kind {
        Kind::Ip if tunnel.v6 => 0x200,
        Kind::Ip => 0x100,
        Kind::Gre { .. } => 0x40,
        Kind::Vxlan { check: false } | Kind::Geneve { check: false, .. } => 0x400,
        Kind::Vxlan { .. } | Kind::Geneve { .. } => 0x800,
    }
}

/// A segment of a flow, by its number.
pub(crate) fn tcp(v6: bool, number: u16, identification: u16) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let network = if v6 { link.ipv6([0xfd; 16], [0xfe; 16], 64) } else { link.ip(ipv4(identification)) };
    let sequence = 1 + u32::from(number) * PAYLOAD as u32;
    let mut frame = Vec::new();
    network.tcp(4_608, 80, sequence, 500).ack(1).write(&mut frame, &payload(number)).unwrap();
    frame
}

/// A datagram of a flow, by its number.
pub(crate) fn udp(number: u16, check: bool) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut frame = Vec::new();
    link.ip(ipv4(500 + number)).udp(4_608, 53).write(&mut frame, &payload(number)).unwrap();
    if !check {
        frame[40..42].fill(0);
    }
    frame
}

fn ipv4(identification: u16) -> IpHeaders {
    let mut header = Ipv4Header::new(0, 64, 0.into(), [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
    header.identification = identification;
    header.dont_fragment = true;
    IpHeaders::Ipv4(header, Default::default())
}

/// Letters by which the segment is found again.
fn payload(number: u16) -> [u8; PAYLOAD] {
    [b'a' + number as u8; PAYLOAD]
}

/// The frame with another byte behind the packet.
pub(crate) fn long(mut frame: Vec<u8>) -> Vec<u8> {
    frame.push(0);
    frame
}

/// The frame with a wrong checksum.
pub(crate) fn bad(mut frame: Vec<u8>) -> Vec<u8> {
    frame[50] ^= 1;
    frame
}

/// The frame with a VLAN tag.
pub(crate) fn tagged(mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, 5]);
    frame
}

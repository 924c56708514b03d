//! What stands in front of a segment in a tunnel: an outer IP header and, behind it, nothing more, GRE, or UDP and VXLAN.

use super::frames::{Ip, Random, checksum, sum};

/// Headers in front of a segment. Lengths and checksums are right unless a field says otherwise.
#[derive(Clone, Debug)]
pub(super) struct Outer {
    ip: Ip,
    kind: Kind,
    /// A tunnel in this one.
    within: Option<Box<Self>>,
    /// XOR-ed into the right values.
    length: u16,
    ip_sum: u16,
    sum: u16,
}

#[derive(Clone, Debug)]
enum Kind {
    Ip,
    Gre {
        checksum: bool,
        key: Option<[u8; 4]>,
        ethernet: Option<[u8; 12]>,
        /// XOR-ed into the right values.
        flags: u16,
        protocol: u16,
    },
    Vxlan {
        ports: [u8; 4],
        checksum: bool,
        header: [u8; 8],
        ethernet: [u8; 12],
        /// XOR-ed into the right value.
        length: u16,
    },
}

/// Where VXLAN is expected (RFC 7348 section 8).
const PORT: [u8; 2] = [0x12, 0xb5];
/// Ethernet in GRE (`ETH_P_TEB`).
const ETHERNET: u16 = 0x6558;

impl Outer {
    /// Around IPv6, or IPv4.
    pub(super) fn random(random: &mut Random, ipv6: bool) -> Self {
        let kind = match random.below(5) {
            0 | 1 => Kind::Ip,
            2 | 3 => Kind::Gre {
                checksum: random.once_in(3),
                key: random.once_in(2).then(|| [0, 0, 0, random.below(2) as u8]),
                ethernet: random.once_in(2).then(|| macs(random)),
                flags: 0,
                protocol: 0,
            },
            _ => Kind::Vxlan {
                ports: [0xc0, random.below(2) as u8, PORT[0], PORT[1]],
                checksum: random.once_in(2),
                header: [8, 0, 0, 0, 0, 0, random.below(2) as u8, 0],
                ethernet: macs(random),
                length: 0,
            },
        };
        let outer = Self { ip: Ip::random(random), kind, within: None, length: 0, ip_sum: 0, sum: 0 };
        outer.around(ipv6)
    }

    /// With the protocol of what it is around.
    fn around(mut self, ipv6: bool) -> Self {
        *self.ip.protocol() = match self.kind {
            Kind::Ip if ipv6 => 41,
            Kind::Ip => 4,
            Kind::Gre { .. } => 47,
            Kind::Vxlan { .. } => 17,
        };
        self
    }

    /// To the next packet of the tunnel.
    pub(super) fn advance(&mut self) {
        self.ip.advance();
        if let Some(within) = &mut self.within {
            within.advance();
        }
    }

    /// Without extension headers, and directly around IPv6, or IPv4.
    pub(super) fn shorten(&mut self, ipv6: bool) {
        self.ip.shorten();
        if self.within.take().is_some() {
            *self = self.clone().around(ipv6);
        }
    }

    pub(super) fn mutate(&mut self, random: &mut Random) {
        let bit = 1 << random.below(16);
        match random.below(16) {
            0..6 => self.ip.mutate(random),
            6 => self.length = random.of(&[1, 2, 4, 0x100, 0xffff, bit]),
            7 => self.ip_sum = random.of(&[bit, 0xffff]),
            8 => self.sum = random.of(&[bit, 0xffff]),
            9 => {
                let mut ip = self.ip.clone();
                let inner_ipv6 = *ip.protocol() == 41;
                let within = Self::random(random, inner_ipv6);
                let ipv6 = within.ip.is_ipv6();
                *self = Self { within: Some(Box::new(within)), ..self.clone() }.around(ipv6);
            }
            _ => self.kind.mutate(random),
        }
    }

    /// The packet in the tunnel, and whether that is IPv6.
    pub(super) fn wrap(&self, packet: Vec<u8>, ipv6: bool) -> (Vec<u8>, bool) {
        let (packet, ipv6) = match &self.within {
            Some(within) => within.wrap(packet, ipv6),
            None => (packet, ipv6),
        };
        let body = match &self.kind {
            Kind::Ip => packet,
            Kind::Gre { checksum: has_checksum, key, ethernet, flags, protocol } => {
                let kind = if ethernet.is_some() { ETHERNET } else { ethertype(ipv6) };
                let right = u16::from(*has_checksum) << 15 | u16::from(key.is_some()) << 13;
                let mut gre = [(right ^ flags).to_be_bytes(), (kind ^ protocol).to_be_bytes()].concat();
                if *has_checksum {
                    gre.extend([0; 4]);
                }
                gre.extend(key.iter().flatten());
                if let Some(macs) = ethernet {
                    gre.extend(frame(macs, ipv6));
                }
                gre.extend(packet);
                if *has_checksum {
                    let check = checksum(sum(&gre)) ^ self.sum;
                    gre[4..6].copy_from_slice(&check.to_be_bytes());
                }
                gre
            }
            Kind::Vxlan { ports, checksum: has_checksum, header, ethernet, length } => {
                let right = (8 + header.len() + 14 + packet.len()) as u16;
                let mut udp = ports.to_vec();
                udp.extend((right ^ length).to_be_bytes());
                udp.extend([0, 0]);
                udp.extend(header);
                udp.extend(frame(ethernet, ipv6));
                udp.extend(packet);
                if *has_checksum {
                    let check = match checksum(self.ip.pseudo(udp.len()) + sum(&udp)) ^ self.sum {
                        0 => 0xffff,
                        check => check,
                    };
                    udp[6..8].copy_from_slice(&check.to_be_bytes());
                }
                udp
            }
        };
        let mut bytes = self.ip.header(&body, (self.length, self.ip_sum));
        bytes.extend(body);
        (bytes, self.ip.is_ipv6())
    }
}

impl Kind {
    fn mutate(&mut self, random: &mut Random) {
        let bit = 1 << random.below(8);
        let any = 1 << random.below(16);
        match self {
            Self::Ip => {}
            Self::Gre { checksum, key, ethernet, flags, protocol } => match random.below(7) {
                0 => *checksum = !*checksum,
                1 => *key = if key.is_some() { None } else { Some([0; 4]) },
                2 => *key = key.map(|key| (u32::from_be_bytes(key) ^ 1 << random.below(32)).to_be_bytes()),
                3 => *ethernet = if ethernet.is_some() { None } else { Some(macs(random)) },
                4 => *flags ^= random.of(&[0x1000, 0x8000, 0x2000, 0x4000, any]),
                5 => *protocol ^= any,
                _ => {
                    if let Some(macs) = ethernet {
                        macs[random.below(12)] ^= bit;
                    }
                }
            },
            Self::Vxlan { ports, checksum, header, ethernet, length } => match random.below(6) {
                0 => ports[random.below(4)] ^= bit,
                1 => *checksum = !*checksum,
                2 | 3 => header[random.below(8)] ^= bit,
                4 => ethernet[random.below(12)] ^= bit,
                _ => *length ^= random.of(&[1, 8, 0x100, any]),
            },
        }
    }
}

fn macs(random: &mut Random) -> [u8; 12] {
    [2, 0, 0, 1, 0, 2, 2, 0, 0, 1, 0, random.below(2) as u8]
}

pub(super) fn ethertype(ipv6: bool) -> u16 {
    if ipv6 { 0x86dd } else { 0x0800 }
}

/// An Ethernet header.
fn frame(macs: &[u8; 12], ipv6: bool) -> Vec<u8> {
    [&macs[..], &ethertype(ipv6).to_be_bytes()].concat()
}

/// An IP header as a frame has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IpHeader {
    pub(super) ipv6: bool,
    /// Bytes of hop-by-hop, routing and destination-options headers.
    pub(super) extensions: usize,
}

/// The IP headers of a frame, the outer one first. What is behind the last one may be no IP at all.
pub(super) fn ip_headers(frame: &[u8]) -> Vec<IpHeader> {
    let mut found = Vec::new();
    let mut next = behind_ethernet(frame, 0);
    while let Some((ipv6, at)) = next {
        let (mut extensions, protocol) = (0, frame.get(at + if ipv6 { 6 } else { 9 }));
        let (mut protocol, end) = (protocol.copied(), at + if ipv6 { 40 } else { 20 });
        while let (true, Some(0 | 43 | 60)) = (ipv6, protocol) {
            let header = end + extensions;
            protocol = frame.get(header).copied();
            extensions += (usize::from(frame.get(header + 1).copied().unwrap_or(0)) + 1) * 8;
        }
        found.push(IpHeader { ipv6, extensions });
        next = protocol.and_then(|protocol| behind_ip(frame, protocol, end + extensions));
    }
    found
}

/// Whether an IP header is IPv6, and where it is.
fn behind_ethernet(frame: &[u8], at: usize) -> Option<(bool, usize)> {
    Some((is_ipv6(frame.get(at + 12..at + 14)?)?, at + 14))
}

fn behind_ip(frame: &[u8], protocol: u8, at: usize) -> Option<(bool, usize)> {
    match protocol {
        4 => Some((false, at)),
        41 => Some((true, at)),
        47 => {
            let flags = *frame.get(at)?;
            let behind = at + 4 + 4 * usize::from(flags >> 7 & 1) + 4 * usize::from(flags >> 5 & 1);
            let kind = frame.get(at + 2..at + 4)?;
            if kind == ETHERNET.to_be_bytes() {
                behind_ethernet(frame, behind)
            } else {
                Some((is_ipv6(kind)?, behind))
            }
        }
        17 if frame.get(at + 2..at + 4)? == PORT => behind_ethernet(frame, at + 16),
        _ => None,
    }
}

fn is_ipv6(ethertype: &[u8]) -> Option<bool> {
    match ethertype {
        [0x08, 0x00] => Some(false),
        [0x86, 0xdd] => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::UserBackend;
    use crate::fuzz::{Frames, batch, trace};
    use crate::{Backend as _, EngineConfig};
    use gro_core::complete::{
        GSO_GRE, GSO_IPXIP4, GSO_IPXIP6, GSO_TUNNELS, GSO_UDP_TUNNEL, GSO_UDP_TUNNEL_CSUM,
    };
    use gro_core::profile::tunnel;
    use gro_core::{Config, UdpMode};
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_merges_and_every_reason_to_refuse_a_tunnel_comes() {
        let mut random = Random(1);
        let batches = (0..500).map(|_| batch(&mut random, Frames::Encapsulated)).collect();
        let tunnels = Config::DEFAULT.tunnels | tunnel::VXLAN;
        let config = Config { tunnels, udp: UdpMode::Forwarding, ..Config::DEFAULT };
        let trace = trace(batches);
        let outcome = UserBackend.run(&trace, &EngineConfig::of(config)).unwrap();
        let kinds: BTreeSet<u32> =
            outcome.records.iter().map(|record| record.gso_type & GSO_TUNNELS).collect();
        let all = [0, GSO_GRE, GSO_IPXIP4, GSO_IPXIP6, GSO_UDP_TUNNEL, GSO_UDP_TUNNEL_CSUM];
        assert_eq!(kinds, BTreeSet::from(all));
        let reasons: BTreeSet<&str> =
            outcome.records.iter().filter_map(|record| Some(record.why?.name())).collect();
        assert!(
            ["nested", "tunnel", "checksum", "length"].iter().all(|why| reasons.contains(why)),
            "{reasons:?}"
        );
        let merged = outcome.records.iter().filter(|record| record.gso_type & GSO_TUNNELS != 0);
        assert!(merged.clone().all(|record| ip_headers(&record.bytes).len() == 2));
    }

    #[test]
    fn finds_the_headers_of_a_tunnel() {
        let header = |ipv6, extensions| IpHeader { ipv6, extensions };
        let mut frame = vec![0; 14 + 40 + 16 + 8 + 14 + 20];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        // Destination options of 16 bytes, GRE with a key, Ethernet, IPv4.
        (frame[20], frame[54], frame[55], frame[70]) = (60, 47, 1, 0x20);
        frame[72..74].copy_from_slice(&ETHERNET.to_be_bytes());
        frame[90..92].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(ip_headers(&frame), [header(true, 16), header(false, 0)]);
        assert_eq!(ip_headers(&frame[..60]), [header(true, 16)]);
        assert_eq!(ip_headers(&frame[..13]), []);
    }
}

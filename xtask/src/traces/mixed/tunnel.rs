//! What a segment may be in: IP in IP, GRE, VXLAN, Geneve. Right by default, and edits that break the headers.

use etherparse::checksum::Sum16BitWords;
use etherparse::{EtherType, IpNumber, Ipv4Header, Ipv6Header, UdpHeader};

use super::segment::{Edit, Ip, Layout};

/// A tunnel of a case: its kind, and whether the outer header is IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Via {
    pub(super) kind: Kind,
    pub(super) v6: bool,
}

/// The kinds of tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPIP, SIT, 4in6, 6in6.
    Ip,
    Gre,
    GreKey,
    GreSum,
    GreSumKey,
    /// Ethernet in GRE.
    Tap,
    /// With an outer UDP checksum of zero, like the next but one.
    Vxlan,
    VxlanSum,
    Geneve,
    GeneveSum,
    /// IP in Geneve, without Ethernet.
    GeneveIp,
}

impl Kind {
    /// Those that the running kernel can be asked about.
    pub(super) const ASKED: [Self; 8] = [
        Self::Ip,
        Self::Gre,
        Self::GreKey,
        Self::GreSum,
        Self::GreSumKey,
        Self::Tap,
        Self::Vxlan,
        Self::VxlanSum,
    ];
    pub(super) const GENEVE: [Self; 3] = [Self::Geneve, Self::GeneveSum, Self::GeneveIp];

    /// As it is in the names of cases.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Gre => "gre",
            Self::GreKey => "gre_key",
            Self::GreSum => "gre_sum",
            Self::GreSumKey => "gre_sum_key",
            Self::Tap => "gretap",
            Self::Vxlan => "vxlan",
            Self::VxlanSum => "vxlan_sum",
            Self::Geneve => "geneve",
            Self::GeneveSum => "geneve_sum",
            Self::GeneveIp => "geneve_ip",
        }
    }

    /// Whether the frame is in it with its Ethernet header.
    pub(super) fn has_ethernet(self) -> bool {
        matches!(self, Self::Tap | Self::Vxlan | Self::VxlanSum | Self::Geneve | Self::GeneveSum)
    }

    /// Whether it is behind a UDP header.
    pub(super) fn is_udp(self) -> bool {
        matches!(self.header(), Header::Udp(_))
    }

    /// Whether it has a checksum of its own.
    pub(super) fn has_sum(self) -> bool {
        matches!(self, Self::GreSum | Self::GreSumKey | Self::VxlanSum | Self::GeneveSum)
    }

    fn header(self) -> Header {
        let gre = |flags| Header::Gre(Gre { flags, key: IDENTIFIER });
        let udp =
            |port, checksum, bytes| Header::Udp(Udp { source: 55_555, port, checksum, excess: 0, bytes });
        let [_, high, middle, low] = IDENTIFIER.to_be_bytes();
        match self {
            Self::Ip => Header::Ip,
            Self::Gre | Self::Tap => gre(0),
            Self::GreKey => gre(GRE_KEY),
            Self::GreSum => gre(GRE_CHECKSUM),
            Self::GreSumKey => gre(GRE_CHECKSUM | GRE_KEY),
            Self::Vxlan | Self::VxlanSum => {
                udp(4_789, self == Self::VxlanSum, vec![8, 0, 0, 0, high, middle, low, 0])
            }
            // The ethertype follows when the frame is built. One option of four bytes (experimental class).
            Self::Geneve | Self::GeneveSum | Self::GeneveIp => {
                let option = [0xff, 0xff, 1, 1, 0, 0, 0, 9];
                let header = [2, 0, 0, 0, high, middle, low, 0];
                udp(6_081, self == Self::GeneveSum, [header, option].concat())
            }
        }
    }
}

/// Key of GRE, network identifier of VXLAN and Geneve.
const IDENTIFIER: u32 = 7;
/// Flags of GRE (RFC 2890).
pub(super) const GRE_CHECKSUM: u16 = 0x8000;
pub(super) const GRE_ROUTING: u16 = 0x4000;
pub(super) const GRE_KEY: u16 = 0x2000;
pub(super) const GRE_SEQUENCE: u16 = 0x1000;
/// Transparent Ethernet bridging.
const ETHERNET: EtherType = EtherType(0x6558);

impl Via {
    /// Bytes from the outer IP header to the inner one.
    pub(super) fn headers(self) -> usize {
        let ethernet = if self.kind.has_ethernet() { 14 } else { 0 };
        let ip = if self.v6 { 40 } else { 20 };
        ip + self.kind.header().len() + ethernet
    }

    /// The tunnel of a frame; `identification` is that of an outer IPv4 header.
    pub(super) fn tunnel(self, identification: u16) -> Tunnel {
        let ip = if self.v6 {
            let mut header = Ipv6Header { hop_limit: 63, ..Default::default() };
            header.source = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            header.destination = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
            Ip::V6(header, Vec::new())
        } else {
            Ip::V4(Ipv4Header {
                identification,
                dont_fragment: true,
                time_to_live: 63,
                source: [192, 0, 2, 1],
                destination: [192, 0, 2, 2],
                ..Default::default()
            })
        };
        Tunnel {
            vlan: None,
            ip,
            header: self.kind.header(),
            has_ethernet: self.kind.has_ethernet(),
            holds: None,
            edits: Vec::new(),
        }
    }
}

/// What is in front of a segment.
#[derive(Clone)]
pub(super) struct Tunnel {
    /// The identifier of an 802.1Q tag.
    pub(super) vlan: Option<u16>,
    pub(super) ip: Ip,
    pub(super) header: Header,
    has_ethernet: bool,
    /// What its header says that it holds, if not the truth.
    pub(super) holds: Option<EtherType>,
    /// Damage done to the finished frame, in order.
    edits: Vec<Edit>,
}

/// What is between the IP headers.
#[derive(Clone)]
pub(super) enum Header {
    Ip,
    Gre(Gre),
    Udp(Udp),
}

#[derive(Clone)]
pub(super) struct Gre {
    /// Version included.
    pub(super) flags: u16,
    pub(super) key: u32,
}

#[derive(Clone)]
pub(super) struct Udp {
    pub(super) source: u16,
    port: u16,
    /// Whether it has one.
    pub(super) checksum: bool,
    /// By how much the length is too large.
    pub(super) excess: u16,
    /// The tunnel's own header.
    pub(super) bytes: Vec<u8>,
}

impl Header {
    fn len(&self) -> usize {
        match self {
            Self::Ip => 0,
            Self::Gre(gre) => {
                let words = (gre.flags & (GRE_CHECKSUM | GRE_KEY | GRE_SEQUENCE)).count_ones();
                4 + 4 * words as usize
            }
            Self::Udp(udp) => UdpHeader::LEN + udp.bytes.len(),
        }
    }
}

impl Tunnel {
    /// The GRE header. Only for recipes of GRE.
    pub(super) fn gre(&mut self) -> &mut Gre {
        match &mut self.header {
            Header::Gre(gre) => gre,
            _ => unreachable!("a recipe for GRE only runs with GRE"),
        }
    }

    /// The UDP header and what follows. Only for recipes of UDP tunnels.
    pub(super) fn udp(&mut self) -> &mut Udp {
        match &mut self.header {
            Header::Udp(udp) => udp,
            _ => unreachable!("a recipe for UDP tunnels only runs with one"),
        }
    }

    /// Breaks the finished frame, whose transport header, to `edit`, is that of the tunnel.
    pub(super) fn damage(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    /// The frame with `frame` in it.
    pub(super) fn wrap(mut self, frame: Vec<u8>) -> Vec<u8> {
        let truth = EtherType(u16::from_be_bytes([frame[12], frame[13]]));
        let (truth, inner) = if self.has_ethernet { (ETHERNET, &frame[..]) } else { (truth, &frame[14..]) };
        let holds = self.holds.unwrap_or(truth);
        let (protocol, checksum, mut behind) = match self.header {
            Header::Ip if holds == EtherType::IPV4 => (IpNumber::IPV4, 0, Vec::new()),
            Header::Ip => (IpNumber::IPV6, 0, Vec::new()),
            Header::Gre(ref gre) => (IpNumber::GRE, 4, gre.bytes(holds)),
            Header::Udp(ref mut udp) => (IpNumber::UDP, 6, udp.header(holds, inner.len())),
        };
        behind.extend_from_slice(inner);
        let sum = match self.header {
            Header::Gre(Gre { flags, .. }) if flags & GRE_CHECKSUM != 0 => Some(Sum16BitWords::new()),
            Header::Udp(Udp { checksum: true, .. }) => Some(pseudo(&self.ip, behind.len())),
            _ => None,
        };
        if let Some(sum) = sum {
            let sum = sum.add_slice(&behind).ones_complement().to_be();
            let sum = if sum == 0 && protocol == IpNumber::UDP { 0xffff } else { sum };
            behind[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
        }
        match &mut self.ip {
            Ip::V4(header) => header.protocol = protocol,
            Ip::V6(header, _) => header.next_header = protocol,
        }
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        if let Some(identifier) = self.vlan {
            frame.extend_from_slice(&[0x81, 0x00]);
            frame.extend_from_slice(&identifier.to_be_bytes());
        }
        let ip = frame.len() + 2;
        let v6 = self.ip.write(&mut frame, behind.len());
        let layout = Layout { ip, transport: frame.len(), checksum, v6 };
        frame.extend_from_slice(&behind);
        for edit in self.edits {
            edit(&mut frame, &layout);
        }
        frame
    }
}

impl Gre {
    /// With a checksum of zero.
    fn bytes(&self, holds: EtherType) -> Vec<u8> {
        let mut bytes = [self.flags.to_be_bytes(), holds.0.to_be_bytes()].concat();
        if self.flags & GRE_CHECKSUM != 0 {
            bytes.extend_from_slice(&[0; 4]);
        }
        if self.flags & GRE_KEY != 0 {
            bytes.extend_from_slice(&self.key.to_be_bytes());
        }
        if self.flags & GRE_SEQUENCE != 0 {
            bytes.extend_from_slice(&[0, 0, 0, 1]);
        }
        bytes
    }
}

impl Udp {
    /// With a checksum of zero, in front of `inner` bytes.
    fn header(&mut self, holds: EtherType, inner: usize) -> Vec<u8> {
        // Geneve says what it holds.
        if self.port == 6_081 {
            self.bytes[2..4].copy_from_slice(&holds.0.to_be_bytes());
        }
        let header = UdpHeader {
            source_port: self.source,
            destination_port: self.port,
            length: (UdpHeader::LEN + self.bytes.len() + inner) as u16 + self.excess,
            checksum: 0,
        };
        [&header.to_bytes()[..], &self.bytes].concat()
    }
}

/// The pseudo-header of a UDP datagram of `length` bytes.
fn pseudo(ip: &Ip, length: usize) -> Sum16BitWords {
    let sum = Sum16BitWords::new().add_2bytes((length as u16).to_be_bytes()).add_2bytes([0, IpNumber::UDP.0]);
    match ip {
        Ip::V4(header) => sum.add_slice(&header.source).add_slice(&header.destination),
        Ip::V6(header, _) => sum.add_slice(&header.source).add_slice(&header.destination),
    }
}

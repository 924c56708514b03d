//! One TCP segment or UDP datagram in its frame: headers as etherparse has them, right by default, and edits that break them.

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

use super::tunnel::Tunnel;

/// A frame to be: change fields freely, [`Segment::bytes`] makes lengths and checksums fit.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) ethernet: Ethernet2Header,
    /// The identifier of an 802.1Q tag in front of the type.
    pub(super) vlan: Option<u16>,
    /// The type of that tag.
    pub(super) tpid: u16,
    pub(super) ip: Ip,
    pub(super) transport: Transport,
    pub(super) payload: Vec<u8>,
    /// Damage done to the finished frame, in order; in a tunnel to what it would be without.
    pub(super) edits: Vec<Edit>,
    /// What it is in, the innermost first.
    pub(super) tunnels: Vec<Tunnel>,
}

/// The network header.
#[derive(Clone)]
pub(super) enum Ip {
    V4(Ipv4Header),
    /// The fixed header and the extension headers (kind, bytes from the length field on, without the next header).
    V6(Ipv6Header, Vec<(IpNumber, Vec<u8>)>),
}

/// The transport header.
#[derive(Clone)]
pub(super) enum Transport {
    Tcp(TcpHeader),
    Udp(UdpHeader),
}

/// Damage to a finished frame.
pub(super) type Edit = fn(&mut Vec<u8>, &Layout);

/// Where the headers of a finished frame start.
pub(super) struct Layout {
    pub(super) ip: usize,
    pub(super) transport: usize,
    /// Where the checksum is in the transport header.
    pub(super) checksum: usize,
    pub(super) v6: bool,
}

impl Segment {
    /// The IPv4 header. Only for recipes that run for IPv4 alone.
    pub(super) fn v4(&mut self) -> &mut Ipv4Header {
        self.ip.v4()
    }

    /// The IPv6 header. Only for recipes that run for IPv6 alone.
    pub(super) fn v6(&mut self) -> &mut Ipv6Header {
        self.ip.v6()
    }

    /// What it is in. Only for recipes of tunnels.
    pub(super) fn outer(&mut self) -> &mut Tunnel {
        self.tunnels.first_mut().expect("a recipe for tunnels only runs in one")
    }

    /// The TCP header. Only for recipes of TCP.
    pub(super) fn tcp(&mut self) -> &mut TcpHeader {
        match &mut self.transport {
            Transport::Tcp(header) => header,
            Transport::Udp(_) => unreachable!("a recipe for TCP only runs with TCP"),
        }
    }

    /// Source and destination port.
    pub(super) fn ports(&mut self) -> [&mut u16; 2] {
        match &mut self.transport {
            Transport::Tcp(header) => [&mut header.source_port, &mut header.destination_port],
            Transport::Udp(header) => [&mut header.source_port, &mut header.destination_port],
        }
    }

    /// The protocol behind the IP headers.
    pub(super) fn set_protocol(&mut self, protocol: IpNumber) {
        match &mut self.ip {
            Ip::V4(header) => header.protocol = protocol,
            Ip::V6(header, _) => header.next_header = protocol,
        }
    }

    /// Puts an extension header of `8 + body` bytes, filled by `body` from its third byte on, behind those there are.
    pub(super) fn extend(&mut self, kind: IpNumber, body: &[u8]) {
        self.ip.extend(kind, body);
    }

    pub(super) fn damage(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    /// Chooses the first two payload bytes so that the checksum comes out as zero: 0x0000 with TCP, 0xffff with UDP.
    pub(super) fn zero_checksum(&mut self) {
        self.payload[..2].fill(0);
        let sum = self.checksum();
        self.payload[..2].copy_from_slice(&sum.to_be_bytes());
    }

    /// The frame, without FCS.
    pub(super) fn bytes(mut self) -> Vec<u8> {
        let tunnels = std::mem::take(&mut self.tunnels);
        tunnels.into_iter().fold(self.inner(), |frame, tunnel| tunnel.wrap(frame))
    }

    /// The same without tunnels.
    fn inner(mut self) -> Vec<u8> {
        let length = self.payload.len() as u16;
        if let Transport::Udp(header) = &mut self.transport {
            header.length = 8 + length;
        }
        let sum = self.checksum();
        let transport_header = match &mut self.transport {
            Transport::Tcp(header) => {
                header.checksum = sum;
                header.to_bytes().to_vec()
            }
            Transport::Udp(header) => {
                header.checksum = sum;
                header.to_bytes().to_vec()
            }
        };
        let mut frame = Vec::new();
        frame.extend_from_slice(&self.ethernet.destination);
        frame.extend_from_slice(&self.ethernet.source);
        if let Some(identifier) = self.vlan {
            frame.extend_from_slice(&self.tpid.to_be_bytes());
            frame.extend_from_slice(&identifier.to_be_bytes());
        }
        let ip = frame.len() + 2;
        let v6 = self.ip.write(&mut frame, transport_header.len() + self.payload.len());
        let checksum = if matches!(self.transport, Transport::Tcp(_)) { 16 } else { 6 };
        let layout = Layout { ip, transport: frame.len(), checksum, v6 };
        frame.extend_from_slice(&transport_header);
        frame.extend_from_slice(&self.payload);
        for edit in self.edits {
            edit(&mut frame, &layout);
        }
        frame
    }

    fn checksum(&self) -> u16 {
        let payload = &self.payload[..];
        let sum = match (&self.ip, &self.transport) {
            (Ip::V4(ip), Transport::Tcp(header)) => {
                header.calc_checksum_ipv4_raw(ip.source, ip.destination, payload)
            }
            (Ip::V6(ip, _), Transport::Tcp(header)) => {
                header.calc_checksum_ipv6_raw(ip.source, ip.destination, payload)
            }
            (Ip::V4(ip), Transport::Udp(header)) => {
                header.calc_checksum_ipv4_raw(ip.source, ip.destination, payload)
            }
            (Ip::V6(ip, _), Transport::Udp(header)) => {
                header.calc_checksum_ipv6_raw(ip.source, ip.destination, payload)
            }
        };
        sum.expect("payloads are a few kilobytes")
    }
}

impl Ip {
    /// The IPv4 header. Only for recipes that run for IPv4 alone.
    pub(super) fn v4(&mut self) -> &mut Ipv4Header {
        match self {
            Self::V4(header) => header,
            Self::V6(..) => unreachable!("a recipe for IPv4 only runs with IPv4"),
        }
    }

    /// The IPv6 header. Only for recipes that run for IPv6 alone.
    pub(super) fn v6(&mut self) -> &mut Ipv6Header {
        match self {
            Self::V6(header, _) => header,
            Self::V4(_) => unreachable!("a recipe for IPv6 only runs with IPv6"),
        }
    }

    /// See [`Segment::extend`].
    pub(super) fn extend(&mut self, kind: IpNumber, body: &[u8]) {
        let Self::V6(_, extensions) = self else { unreachable!("extension headers are IPv6") };
        let units = (body.len() + 2).div_ceil(8);
        let mut bytes = vec![(units - 1) as u8];
        bytes.extend_from_slice(body);
        bytes.resize(units * 8 - 1, 0);
        extensions.push((kind, bytes));
    }

    /// Writes the ethertype and the headers in front of `behind` bytes; true for IPv6.
    pub(super) fn write(self, frame: &mut Vec<u8>, behind: usize) -> bool {
        match self {
            Self::V4(mut header) => {
                frame.extend_from_slice(&EtherType::IPV4.0.to_be_bytes());
                header.total_len = (header.header_len() + behind) as u16;
                header.header_checksum = header.calc_header_checksum();
                frame.extend_from_slice(&header.to_bytes());
                false
            }
            Self::V6(mut header, extensions) => {
                frame.extend_from_slice(&EtherType::IPV6.0.to_be_bytes());
                let kinds: Vec<IpNumber> =
                    extensions.iter().map(|(kind, _)| *kind).chain([header.next_header]).collect();
                let length = extensions.iter().map(|(_, bytes)| bytes.len() + 1).sum::<usize>() + behind;
                header.payload_length = length as u16;
                header.next_header = kinds[0];
                frame.extend_from_slice(&header.to_bytes());
                for ((_, bytes), next) in extensions.iter().zip(&kinds[1..]) {
                    frame.push(next.0);
                    frame.extend_from_slice(bytes);
                }
                true
            }
        }
    }
}

/// Adds `change` to the IP length field; an IPv4 header checksum stays right.
pub(super) fn change_length(frame: &mut [u8], layout: &Layout, change: i16) {
    let at = layout.ip + if layout.v6 { 4 } else { 2 };
    let length = u16::from_be_bytes([frame[at], frame[at + 1]]).wrapping_add_signed(change);
    frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
    repair_ipv4(frame, layout);
}

/// Makes the IPv4 header checksum fit the header again.
pub(super) fn repair_ipv4(frame: &mut [u8], layout: &Layout) {
    if layout.v6 {
        return;
    }
    let header = &mut frame[layout.ip..layout.ip + 20];
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Changes a 16-bit word of the transport header by `change` (xor) and its checksum by the opposite, so that it verifies.
pub(super) fn change_word(frame: &mut [u8], layout: &Layout, offset: usize, change: u16) {
    let at = layout.transport + offset;
    let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let new = old ^ change;
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
    let at = layout.transport + layout.checksum;
    let field = u16::from_be_bytes([frame[at], frame[at + 1]]);
    // RFC 1624: HC' = ~(~HC + ~m + m').
    let mut sum = u32::from(!field) + u32::from(!old) + u32::from(new);
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

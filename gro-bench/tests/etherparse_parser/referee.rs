//! A frame as etherparse takes it apart, in the words of the engine's packet.
//!
//! Each header of Ethernet, VLAN, IPv4, IPv6 with its extension headers, TCP and UDP is etherparse's, and so is every field of it.
//! What it does not know is read here in a few explicit lines: GRE, VXLAN, Geneve, PPPoE, and three reserved bits.

use etherparse::checksum::Sum16BitWords;
use etherparse::err::{ipv4, ipv6, tcp};
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4Header, Ipv4HeaderSlice, Ipv6Header, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, NetSlice, SingleVlanHeaderSlice, SlicedPacket, TcpHeaderSlice, TransportSlice,
    UdpHeaderSlice,
};
use gro_core::parse::Key;
use gro_core::{Bypass, Config, HEADER_MAX, Packet, Release, UdpMode, VlanMode, tunnel};

/// What both parsers say about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    key: Key,
    len: u32,
    udp: u32,
    outer_l3: u32,
    l3: u32,
    l4: u32,
    payload: u32,
    payload_len: u32,
    seq: u32,
    ack: u32,
    control: u32,
    check_urgent: u32,
    class: u32,
    id_check: u32,
    mismatch: bool,
}

impl From<&Packet> for Headers {
    fn from(packet: &Packet) -> Self {
        Self {
            key: packet.key,
            len: packet.len,
            udp: packet.udp,
            outer_l3: packet.outer_l3(),
            l3: packet.l3,
            l4: packet.l4,
            payload: packet.payload,
            payload_len: packet.payload_len,
            seq: packet.seq,
            ack: packet.ack,
            control: packet.control,
            check_urgent: packet.check_urgent,
            class: packet.class,
            id_check: packet.id_check,
            mismatch: packet.mismatch,
        }
    }
}

impl Headers {
    pub(crate) fn has_payload(&self) -> bool {
        self.payload_len > 0
    }

    /// Whether an IP length differs from the bytes present, or a reserved bit is set.
    pub(crate) fn mismatches(&self) -> bool {
        self.mismatch
    }

    /// Whether the ethertype says IPv6 and the header another version.
    pub(crate) fn has_other_version(&self) -> bool {
        self.key.protocol >> 16 == u32::from(EtherType::IPV6.0) && self.key.label >> 28 != 6
    }

    /// Bytes of all headers without TCP options.
    pub(crate) fn fixed_len(&self) -> usize {
        (self.l4 + if self.udp != 0 { 8 } else { 20 }) as usize
    }
}

/// What became of a frame.
#[derive(Debug)]
pub(crate) struct Said {
    /// The innermost headers, or why GRO cannot look at the frame.
    pub(crate) headers: Result<Headers, Bypass>,
    /// The headers in the order of the frame, by name, up to where it was refused. Those of a run count once.
    pub(crate) path: String,
}

/// Takes a frame apart.
pub(crate) fn dissect(frame: &[u8], config: &Config, release: Release) -> Said {
    let headers = Headers { len: frame.len() as u32, ..Headers::default() };
    let mut walk =
        Walk { frame, config, release, headers, identity: Identity::default(), path: String::new() };
    let headers = walk.link(0).map(|()| Headers { key: walk.identity.key(), ..walk.headers });
    Said { headers, path: walk.path }
}

/// etherparse's own way through a packet that it takes as a whole: whether IP, transport header and payload begin where
/// `headers` says. `None` where it has no such way: it wants lengths that are right and a hop-by-hop header to be the first.
pub(crate) fn agrees(frame: &[u8], headers: &Headers) -> Option<bool> {
    let at = |slice: &[u8]| (slice.as_ptr() as usize - frame.as_ptr() as usize) as u32;
    let whole = match headers.outer_l3 {
        0 => SlicedPacket::from_ethernet(frame),
        _ => SlicedPacket::from_ip(&frame[headers.l3 as usize..]),
    };
    let whole = whole.ok()?;
    let l3 = match whole.net? {
        NetSlice::Ipv4(ip) => at(ip.header().slice()),
        NetSlice::Ipv6(ip) => at(ip.header().slice()),
        NetSlice::Arp(_) => return Some(false),
    };
    let (l4, payload) = match whole.transport? {
        TransportSlice::Tcp(tcp) => (at(tcp.slice()), tcp.payload()),
        TransportSlice::Udp(udp) => (at(udp.slice()), udp.payload()),
        _ => return Some(false),
    };
    let said = (headers.l3, headers.l4, headers.payload, headers.payload_len);
    Some((l3, l4, at(payload), payload.len() as u32) == said)
}

/// Who talks to whom.
#[derive(Default)]
struct Identity {
    /// Destination and source.
    macs: [[u8; 6]; 2],
    ether_type: EtherType,
    protocol: IpNumber,
    label: u32,
    source: [u8; 16],
    destination: [u8; 16],
    /// Source and destination.
    ports: [u16; 2],
}

impl Identity {
    fn key(&self) -> Key {
        let [destination, source] = self.macs;
        let (macs, addresses) = ([destination, source].concat(), [self.source, self.destination].concat());
        let word = |bytes: &[u8], index: usize| {
            bytes[4 * index..4 * index + 4].iter().fold(0, |word, &byte| word << 8 | u32::from(byte))
        };
        Key {
            macs: std::array::from_fn(|index| word(&macs, index)),
            protocol: u32::from(self.ether_type.0) << 16 | u32::from(self.protocol.0),
            label: self.label,
            addresses: std::array::from_fn(|index| word(&addresses, index)),
            ports: u32::from(self.ports[0]) << 16 | u32::from(self.ports[1]),
        }
    }
}

struct Walk<'a> {
    frame: &'a [u8],
    config: &'a Config,
    release: Release,
    headers: Headers,
    identity: Identity,
    path: String,
}

type Step = Result<(), Bypass>;

impl<'a> Walk<'a> {
    /// The header at an offset, and all behind it.
    fn header(&mut self, name: &str, at: usize) -> &'a [u8] {
        let again = RUNS.contains(&name) && self.path.ends_with(name);
        if !again {
            if !self.path.is_empty() {
                self.path.push(' ');
            }
            self.path.push_str(name);
        }
        self.frame.get(at..).unwrap_or_default()
    }

    /// The first `length` bytes of such a header that etherparse does not know.
    fn unknown(&mut self, name: &str, at: usize, length: usize) -> Result<&'a [u8], Bypass> {
        let header = self.header(name, at).get(..length).ok_or(Bypass::Truncated)?;
        self.in_window(at + length).map(|()| header)
    }

    /// The engine's window is part of its contract: headers that are there but end beyond it are too long.
    fn in_window(&self, end: usize) -> Step {
        if end > HEADER_MAX && end <= self.frame.len() { Err(Bypass::TooLong) } else { Ok(()) }
    }

    fn link(&mut self, at: usize) -> Step {
        let header = self.header("ethernet", at);
        let header = Ethernet2HeaderSlice::from_slice(header).or(Err(Bypass::Truncated))?;
        self.in_window(at + 14)?;
        if self.frame.len() > usize::from(u16::MAX) {
            return Err(Bypass::TooLong);
        }
        if at == 0 {
            self.identity.macs = [header.destination(), header.source()];
        }
        self.tagged(header.ether_type(), at + header.slice().len())
    }

    /// Up to two tags, where they are in the bytes.
    fn tagged(&mut self, mut ether_type: EtherType, mut at: usize) -> Step {
        let tags = if self.config.vlan == VlanMode::InBand { 2 } else { 0 };
        for _ in 0..tags {
            if !matches!(ether_type, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
                break;
            }
            let tag =
                SingleVlanHeaderSlice::from_slice(self.header("vlan", at)).or(Err(Bypass::Truncated))?;
            self.in_window(at + 4)?;
            ether_type = tag.ether_type();
            at += tag.slice().len();
        }
        match ether_type {
            PPPOE_SESSION if self.release >= Release::Linux7 => self.pppoe(at),
            _ => self.network(ether_type, at),
        }
    }

    /// RFC 2516: version, type, code, session, length, then the protocol of PPP.
    fn pppoe(&mut self, at: usize) -> Step {
        let header = self.unknown("pppoe", at, 8)?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[..2] != [0x11, 0] || at + 6 + length != self.frame.len() {
            return Err(Bypass::Tunnel);
        }
        match header[6..] {
            [0x00, 0x21] => self.network(EtherType::IPV4, at + 8),
            [0x00, 0x57] => self.network(EtherType::IPV6, at + 8),
            _ => Err(Bypass::NotIp),
        }
    }

    fn network(&mut self, ether_type: EtherType, at: usize) -> Step {
        match ether_type {
            EtherType::IPV4 => self.ipv4(at),
            EtherType::IPV6 => self.ipv6(at),
            _ => Err(Bypass::NotIp),
        }
    }

    fn ipv4(&mut self, at: usize) -> Step {
        let bytes = self.header("ipv4", at);
        self.in_window(at + Ipv4Header::MIN_LEN)?;
        let ip = match Ipv4HeaderSlice::from_slice(bytes) {
            Ok(ip) => ip,
            Err(ipv4::HeaderSliceError::Len(error)) if error.required_len == Ipv4Header::MIN_LEN => {
                return Err(Bypass::Truncated);
            }
            // Another version or length of the header.
            Err(_) => return Err(Bypass::IpOptions),
        };
        if !ip.options().is_empty() {
            return Err(Bypass::IpOptions);
        }
        if ip.is_fragmenting_payload() {
            return Err(Bypass::Fragment);
        }
        if Sum16BitWords::new().add_slice(ip.slice()).ones_complement() != 0 {
            return Err(Bypass::IpChecksum);
        }
        let identity = &mut self.identity;
        (identity.ether_type, identity.protocol, identity.label) = (EtherType::IPV4, ip.protocol(), 0);
        (identity.source, identity.destination) = (widened(ip.source()), widened(ip.destination()));
        let tos = ip.dcp().value() << 2 | ip.ecn().value();
        let headers = &mut self.headers;
        headers.class = u32::from(ip.dont_fragment()) << 16 | u32::from(tos) << 8 | u32::from(ip.ttl());
        headers.id_check = u32::from(ip.identification()) << 16 | u32::from(ip.header_checksum());
        // The reserved bit has no name in etherparse.
        headers.mismatch |= usize::from(ip.total_len()) != self.frame.len() - at || bytes[6] & 0x80 != 0;
        headers.l3 = at as u32;
        self.transport(ip.protocol(), at + ip.slice().len())
    }

    fn ipv6(&mut self, at: usize) -> Step {
        let bytes = self.header("ipv6", at);
        // Neither the engine nor the kernel looks at the version: the ethertype has said it.
        let mut copy = [0; Ipv6Header::LEN];
        let ip = match Ipv6HeaderSlice::from_slice(bytes) {
            Err(ipv6::HeaderSliceError::Content(_)) => {
                copy.copy_from_slice(&bytes[..Ipv6Header::LEN]);
                copy[0] = 0x60 | copy[0] & 0x0f;
                Ipv6HeaderSlice::from_slice(&copy)
            }
            parsed => parsed,
        };
        let ip = ip.or(Err(Bypass::Truncated))?;
        let mut end = at + ip.slice().len();
        self.in_window(end)?;
        let identity = &mut self.identity;
        (identity.ether_type, identity.protocol) = (EtherType::IPV6, ip.next_header());
        identity.label = u32::from(bytes[0] >> 4) << 28 | ip.flow_label().value();
        (identity.source, identity.destination) = (ip.source(), ip.destination());
        self.headers.class = u32::from(ip.traffic_class()) << 8 | u32::from(ip.hop_limit());
        self.headers.id_check = 0;
        self.headers.mismatch |= usize::from(ip.payload_length()) != self.frame.len() - end;
        self.headers.l3 = at as u32;
        let mut next = ip.next_header();
        while matches!(
            next,
            IpNumber::IPV6_HEADER_HOP_BY_HOP
                | IpNumber::IPV6_ROUTE_HEADER
                | IpNumber::IPV6_DESTINATION_OPTIONS
        ) {
            let bytes = self.header("extension", end);
            self.in_window(end + 8)?;
            let extension = Ipv6RawExtHeaderSlice::from_slice(bytes).or(Err(Bypass::Truncated))?;
            end += extension.slice().len();
            self.in_window(end)?;
            next = extension.next_header();
        }
        self.transport(next, end)
    }

    fn transport(&mut self, protocol: IpNumber, at: usize) -> Step {
        self.headers.l4 = at as u32;
        let has = |tunnel| self.config.tunnels & tunnel != 0;
        match protocol {
            IpNumber::TCP => self.tcp(at),
            IpNumber::UDP => self.udp(at),
            IpNumber::IPV4 if has(tunnel::IP_IN_IP) => self.enter().and_then(|()| self.ipv4(at)),
            IpNumber::IPV6 if has(tunnel::IP_IN_IP) => self.enter().and_then(|()| self.ipv6(at)),
            IpNumber::GRE if has(tunnel::GRE) => self.enter().and_then(|()| self.gre(at)),
            _ => Err(Bypass::Protocol),
        }
    }

    /// The IP header so far is an outer one. GRO looks into one tunnel.
    fn enter(&mut self) -> Step {
        if self.headers.outer_l3 != 0 {
            return Err(Bypass::Nested);
        }
        self.headers.outer_l3 = self.headers.l3;
        Ok(())
    }

    fn tcp(&mut self, at: usize) -> Step {
        let bytes = self.header("tcp", at);
        self.in_window(at + 20)?;
        let tcp = match TcpHeaderSlice::from_slice(bytes) {
            Ok(tcp) => tcp,
            Err(tcp::HeaderSliceError::Len(_)) => return Err(Bypass::Truncated),
            Err(tcp::HeaderSliceError::Content(_)) => return Err(Bypass::DataOffset),
        };
        self.in_window(at + tcp.slice().len())?;
        self.identity.ports = [tcp.source_port(), tcp.destination_port()];
        // From bit 24 down; three reserved bits have no name in etherparse.
        let flags = [
            tcp.ns(),
            tcp.cwr(),
            tcp.ece(),
            tcp.urg(),
            tcp.ack(),
            tcp.psh(),
            tcp.rst(),
            tcp.syn(),
            tcp.fin(),
        ];
        let flags = flags.into_iter().fold(0, |flags, flag| flags << 1 | u32::from(flag));
        let headers = &mut self.headers;
        headers.udp = 0;
        (headers.seq, headers.ack) = (tcp.sequence_number(), tcp.acknowledgment_number());
        headers.control = u32::from(tcp.data_offset()) << 28
            | u32::from(bytes[12] & 0x0e) << 24
            | flags << 16
            | u32::from(tcp.window_size());
        headers.check_urgent = u32::from(tcp.checksum()) << 16 | u32::from(tcp.urgent_pointer());
        self.payload(at + tcp.slice().len());
        Ok(())
    }

    fn udp(&mut self, at: usize) -> Step {
        let udp = UdpHeaderSlice::from_slice(self.header("udp", at)).or(Err(Bypass::Truncated))?;
        let behind = at + udp.slice().len();
        self.in_window(behind)?;
        let has = |tunnel| self.config.tunnels & tunnel != 0;
        match udp.destination_port() {
            4789 if has(tunnel::VXLAN) => return self.enter().and_then(|()| self.vxlan(behind)),
            6081 if has(tunnel::GENEVE) => return self.enter().and_then(|()| self.geneve(behind)),
            _ => {}
        }
        if self.config.udp == UdpMode::Off {
            return Err(Bypass::UdpOff);
        }
        if udp.checksum() == 0 {
            return Err(Bypass::UdpNoChecksum);
        }
        let length = usize::from(udp.length());
        if length <= 8 || length != self.frame.len() - at {
            return Err(Bypass::UdpLength);
        }
        self.identity.ports = [udp.source_port(), udp.destination_port()];
        let headers = &mut self.headers;
        (headers.udp, headers.seq, headers.ack, headers.control) = (1, 0, 0, 0);
        headers.check_urgent = u32::from(udp.checksum()) << 16;
        self.payload(behind);
        Ok(())
    }

    fn payload(&mut self, at: usize) {
        self.headers.payload = at as u32;
        self.headers.payload_len = (self.frame.len() - at) as u32;
    }

    /// RFC 2784 and RFC 2890: flags, the ethertype, then a word for the checksum and one for the key.
    fn gre(&mut self, at: usize) -> Step {
        let header = self.unknown("gre", at, 4)?;
        let (checksum, key, others) = (header[0] & 0x80, header[0] & 0x20, header[0] & 0x5f);
        if others != 0 || header[1] != 0 {
            return Err(Bypass::Tunnel);
        }
        let length = 4 + if checksum != 0 { 4 } else { 0 } + if key != 0 { 4 } else { 0 };
        self.unknown("gre", at, length)?;
        let ether_type = EtherType(u16::from_be_bytes([header[2], header[3]]));
        match ether_type {
            ETHERNET => self.link(at + length),
            // A tunnel has no session behind GRE: only Ethernet leads to PPPoE.
            PPPOE_SESSION => Err(Bypass::NotIp),
            _ => self.tagged(ether_type, at + length),
        }
    }

    /// RFC 7348: flags and identifier, 8 bytes.
    fn vxlan(&mut self, at: usize) -> Step {
        self.unknown("vxlan", at, 8)?;
        self.link(at + 8)
    }

    /// RFC 8926: version and words of options, OAM, the ethertype, identifier, options.
    fn geneve(&mut self, at: usize) -> Step {
        let header = self.unknown("geneve", at, 8)?;
        if header[0] >> 6 != 0 || header[1] & 0x80 != 0 {
            return Err(Bypass::Tunnel);
        }
        let length = 8 + 4 * usize::from(header[0] & 0x3f);
        self.unknown("geneve", at, length)?;
        match EtherType(u16::from_be_bytes([header[2], header[3]])) {
            ETHERNET => self.link(at + length),
            ether_type => self.network(ether_type, at + length),
        }
    }
}

/// Headers of which several follow each other, or that are looked at twice.
const RUNS: [&str; 4] = ["vlan", "extension", "gre", "geneve"];

/// Transparent Ethernet bridging.
const ETHERNET: EtherType = EtherType(0x6558);
const PPPOE_SESSION: EtherType = EtherType(0x8864);

/// An IPv4 address in the first word of an IPv6 address' place.
fn widened(address: [u8; 4]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..4].copy_from_slice(&address);
    wide
}

//! Segments of packets in a tunnel of each kind, and in PPPoE.

use super::*;
use etherparse::UdpHeader;
use gro_core::complete::{GSO_GRE, GSO_IPXIP4, GSO_IPXIP6, GSO_UDP_L4, GSO_UDP_TUNNEL, GSO_UDP_TUNNEL_CSUM};

/// What is between an outer and an inner IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    /// Flags; an Ethernet header behind it or not.
    Gre(u16, bool),
    /// Port, bytes behind the UDP header, an Ethernet header, a checksum.
    Udp(u16, &'static [u8], bool, bool),
}

/// How frames are built; everything else is equal in all of them.
#[derive(Clone, Copy, Debug)]
struct Shape {
    outer_v6: bool,
    inner_v6: bool,
    between: Between,
    /// Tags in front of the inner IP header.
    tags: usize,
    session: bool,
    /// Whether identifications count: outer, inner.
    counts: [bool; 2],
    udp: bool,
}

const VXLAN: &[u8] = &[8, 0, 0, 0, 0, 0, 42, 0];
const GENEVE: &[u8] = &[0, 0, 0x65, 0x58, 0, 0, 42, 0];
const GENEVE_IPV4: &[u8] = &[0, 0, 8, 0, 0, 0, 42, 0];
const GENEVE_OPTIONS: &[u8] = &[2, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 1, 9, 9, 9, 9];
/// Version and flags, next protocol, identifier.
const MADE_UP: &[u8] = &[0x10, 0, 0x65, 0x58, 0, 0, 0, 42];
const MADE_UP_IPV4: &[u8] = &[0x10, 0, 8, 0, 0, 0, 0, 42];

/// Every kind of tunnel with IPv4 and IPv6 on both sides.
fn shapes() -> Vec<Shape> {
    let kinds = [
        Between::Nothing,
        Between::Gre(0, false),
        Between::Gre(0x8000, false),
        Between::Gre(0x2000, true),
        Between::Gre(0xa000, true),
        Between::Udp(4_789, VXLAN, true, false),
        Between::Udp(4_789, VXLAN, true, true),
        Between::Udp(6_081, GENEVE, true, true),
        Between::Udp(6_081, GENEVE_IPV4, false, false),
        Between::Udp(6_081, GENEVE_OPTIONS, true, false),
        Between::Udp(7_777, MADE_UP, true, true),
        Between::Udp(7_777, MADE_UP_IPV4, false, true),
    ];
    let mut shapes = Vec::new();
    for between in kinds {
        for [outer_v6, inner_v6] in [[false, false], [false, true], [true, false], [true, true]] {
            let says_ipv4 = matches!(between, Between::Udp(_, GENEVE_IPV4 | MADE_UP_IPV4, ..));
            if inner_v6 && says_ipv4 {
                continue;
            }
            let plain =
                Shape { outer_v6, inner_v6, between, tags: 0, session: false, counts: [true; 2], udp: false };
            shapes.extend([plain, Shape { session: true, ..plain }, Shape { udp: true, ..plain }]);
            shapes.extend([[true, false], [false, true], [false; 2]].map(|counts| Shape { counts, ..plain }));
            if has_ethernet(between) {
                shapes.extend([Shape { tags: 1, ..plain }, Shape { tags: 2, ..plain }]);
            }
        }
    }
    shapes
}

fn has_ethernet(between: Between) -> bool {
    matches!(between, Between::Gre(_, true) | Between::Udp(_, _, true, _))
}

#[test]
fn every_tunnel_comes_back() {
    for shape in shapes() {
        comes_back(shape, record(shape));
    }
}

fn comes_back(shape: Shape, record: Record) {
    let segs = record.segs;
    let got = segment(&record).unwrap_or_else(|why| panic!("{shape:?}: {why}"));
    assert_eq!(got.len(), segs as usize, "{shape:?}");
    for (number, got) in got.iter().enumerate() {
        assert_eq!(got[..], frame(shape, number), "{shape:?}, frame {number}");
    }
}

/// As long as they are, a packet in a tunnel may be over 65,535 bytes: then with a jumbo header, if it is IPv6.
#[test]
fn a_jumbo_header_in_a_tunnel_is_taken_out() {
    for shape in shapes().into_iter().filter(|shape| shape.inner_v6 && !shape.udp) {
        let mut record = record(shape);
        let layout = Layout::of(&record.bytes, record.segs, record.gso_type).unwrap();
        let mut bytes = record.bytes.to_vec();
        let header = [bytes[layout.ip.at + 6], 0, 0xc2, 4, 0, 1, 0, 0];
        bytes[layout.ip.at + 4..layout.ip.at + 7].fill(0);
        bytes.splice(layout.ip.at + 40..layout.ip.at + 40, header);
        record.bytes = bytes.into();
        comes_back(shape, record);
    }
}

#[test]
fn without_a_tunnel_an_outer_header_is_not_looked_behind() {
    for shape in shapes().into_iter().filter(|shape| !matches!(shape.between, Between::Udp(..))) {
        let mut record = record(shape);
        record.gso_type &= !(GSO_GRE | GSO_IPXIP4 | GSO_IPXIP6);
        assert_eq!(segment(&record), Err(SegmentError::NotMergeable { segs: 3 }), "{shape:?}");
    }
}

#[test]
fn a_type_that_is_not_the_headers_is_refused() {
    for shape in shapes() {
        let record = record(shape);
        let bits = [GSO_IPXIP4, GSO_GRE, GSO_UDP_TUNNEL];
        let own = match shape.between {
            Between::Nothing => GSO_IPXIP4,
            Between::Gre(..) => GSO_GRE,
            Between::Udp(..) => GSO_UDP_TUNNEL,
        };
        for bit in bits.into_iter().filter(|&bit| bit != own) {
            let wrong = Record { gso_type: bit, ..record.clone() };
            assert_eq!(segment(&wrong), Err(SegmentError::Header("tunnel")), "{shape:?}");
        }
    }
}

#[test]
fn every_cut_and_every_changed_byte_in_a_tunnel_ends_in_a_result() {
    for shape in shapes().into_iter().filter(|shape| shape.counts == [true; 2]) {
        let whole = record(shape);
        for at in 0..whole.bytes.len() {
            let cut = Record { bytes: whole.bytes.slice(..at), ..whole.clone() };
            assert!(segment(&cut).is_err() || at > whole.bytes.len() - SIZES[2], "{shape:?} {at}");
            for value in [0, 0x0f, 0xff] {
                let mut bytes = whole.bytes.to_vec();
                bytes[at] = value;
                drop(segment(&Record { bytes: bytes.into(), ..whole.clone() }));
            }
        }
    }
}

const SIZES: [usize; 3] = [50, 50, 33];

/// The frames as one packet: the first header, all payload; lengths and checksums do not matter to GSO.
fn record(shape: Shape) -> Record {
    let mut bytes = frame(shape, 0);
    for (number, &size) in SIZES.iter().enumerate().skip(1) {
        bytes.extend(payload(number, size));
    }
    let tunnel = match shape.between {
        Between::Nothing if shape.outer_v6 => GSO_IPXIP6,
        Between::Nothing => GSO_IPXIP4,
        Between::Gre(..) => GSO_GRE,
        Between::Udp(.., false) => GSO_UDP_TUNNEL,
        Between::Udp(.., true) => GSO_UDP_TUNNEL_CSUM,
    };
    let inner = match (shape.udp, shape.inner_v6) {
        (true, _) => GSO_UDP_L4,
        (_, true) => GSO_TCPV6,
        (_, false) => GSO_TCPV4,
    };
    let fixed = [GSO_TCP_FIXEDID, GSO_TCP_FIXEDID_INNER];
    let fixed: u32 = (0..2).filter(|&which| !shape.counts[which]).map(|which| fixed[which]).sum();
    Record {
        bytes: bytes.into(),
        gso_size: SIZES[0] as u32,
        segs: SIZES.len() as u32,
        gso_type: tunnel | inner | fixed,
        vlan: 0,
        first: None,
        last: None,
        why: None,
    }
}

/// From the inside out, each header with etherparse's own lengths and checksums.
fn frame(shape: Shape, number: usize) -> Vec<u8> {
    let payload = payload(number, SIZES[number]);
    let before: usize = SIZES[..number].iter().sum();
    let mut tcp = TcpHeader::new(80, 443, u32::MAX - 60, 500);
    tcp.sequence_number = tcp.sequence_number.wrapping_add(before as u32);
    let inner = if shape.udp {
        transport_udp(shape.inner_v6, [1, 2], (80, 443), &payload, true)
    } else {
        let mut segment = Vec::new();
        tcp.checksum = if shape.inner_v6 {
            tcp.calc_checksum_ipv6_raw([1; 16], [2; 16], &payload).unwrap()
        } else {
            tcp.calc_checksum_ipv4_raw([1; 4], [2; 4], &payload).unwrap()
        };
        tcp.write(&mut segment).unwrap();
        segment.extend(&payload);
        segment
    };
    let protocol = if shape.udp { IpNumber::UDP } else { IpNumber::TCP };
    let count = |which: usize| if shape.counts[which] { number as u16 } else { 0 };
    let packet = ip(shape.inner_v6, [1, 2], protocol, 65_535_u16.wrapping_add(count(1)), &inner);
    let (protocol, packet) = encapsulated(shape, packet);
    let packet = ip(shape.outer_v6, [3, 4], protocol, 65_534_u16.wrapping_add(count(0)), &packet);
    let mut frame = Vec::new();
    let ether_type = if shape.session { EtherType(0x8864) } else { ether_type(shape.outer_v6) };
    Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type }.write(&mut frame).unwrap();
    if shape.session {
        frame.extend([0x11, 0, 0, 9]);
        frame.extend((packet.len() as u16 + 2).to_be_bytes());
        frame.extend([0, if shape.outer_v6 { 0x57 } else { 0x21 }]);
    }
    frame.extend(packet);
    frame
}

/// What the outer IP header has behind it, and its protocol number.
fn encapsulated(shape: Shape, packet: Vec<u8>) -> (IpNumber, Vec<u8>) {
    let v6 = shape.outer_v6;
    let mut inside = Vec::new();
    if has_ethernet(shape.between) {
        inside.extend([6; 12]);
        for tag in 0..shape.tags as u8 {
            inside.extend([0x81, 0, 0, tag]);
        }
        inside.extend(ether_type(shape.inner_v6).0.to_be_bytes());
    }
    inside.extend(packet);
    match shape.between {
        Between::Nothing if shape.inner_v6 => (IpNumber::IPV6, inside),
        Between::Nothing => (IpNumber::IPV4, inside),
        Between::Gre(flags, ethernet) => {
            let protocol = if ethernet { 0x6558 } else { ether_type(shape.inner_v6).0 };
            let mut gre = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
            if flags & 0x8000 != 0 {
                gre.extend([0; 4]);
            }
            if flags & 0x2000 != 0 {
                gre.extend([0, 0, 0, 42]);
            }
            gre.extend(inside);
            if flags & 0x8000 != 0 {
                let check = Sum16BitWords::new().add_slice(&gre).ones_complement().to_be();
                put(&mut gre, 4, check);
            }
            (IpNumber::GRE, gre)
        }
        Between::Udp(port, header, _, check) => {
            let inside = [header, &inside].concat();
            (IpNumber::UDP, transport_udp(v6, [3, 4], (50_000, port), &inside, check))
        }
    }
}

fn transport_udp(v6: bool, [from, to]: [u8; 2], ports: (u16, u16), payload: &[u8], check: bool) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut udp = UdpHeader { source_port: ports.0, destination_port: ports.1, length, checksum: 0 };
    if check && v6 {
        udp.checksum = udp.calc_checksum_ipv6_raw([from; 16], [to; 16], payload).unwrap();
    } else if check {
        udp.checksum = udp.calc_checksum_ipv4_raw([from; 4], [to; 4], payload).unwrap();
    }
    [&udp.to_bytes()[..], payload].concat()
}

fn ip(v6: bool, [from, to]: [u8; 2], protocol: IpNumber, id: u16, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    let mut packet = Vec::new();
    if v6 {
        let ip = Ipv6Header {
            payload_length: length,
            next_header: protocol,
            hop_limit: 64,
            source: [from; 16],
            destination: [to; 16],
            ..Default::default()
        };
        ip.write(&mut packet).unwrap();
    } else {
        let mut ip = Ipv4Header::new(length, 64, protocol, [from; 4], [to; 4]).unwrap();
        ip.identification = id;
        ip.write(&mut packet).unwrap();
    }
    packet.extend(payload);
    packet
}

fn ether_type(v6: bool) -> EtherType {
    if v6 { EtherType::IPV6 } else { EtherType::IPV4 }
}

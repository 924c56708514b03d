//! Random frames, built from the inside out with etherparse's headers: most of them whole, some with a field that is wrong, some
//! damaged or cut afterwards.

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    SingleVlanHeader, TcpHeader, UdpHeader, VlanId, VlanPcp,
};
use gro_bench::fuzz::Random;

/// A frame.
pub(crate) fn frame(random: &mut Random) -> Vec<u8> {
    let (mut ether_type, mut packet) = transport(random, 0);
    for tunnels in 1..=random.of(&[0, 0, 0, 0, 1, 1, 1, 1, 1, 2]) {
        (ether_type, packet) = tunnel(random, ether_type, packet, tunnels);
    }
    let mut frame = link(random, ether_type, packet);
    damage(random, &mut frame);
    frame
}

/// A TCP segment, a UDP datagram or something else in an IP packet.
fn transport(random: &mut Random, outer: usize) -> (EtherType, Vec<u8>) {
    let length = random.of(&[0, 1, 6, 40]);
    let payload: Vec<u8> = (0..length).map(|_| random.word() as u8).collect();
    let (protocol, bytes) = match random.below(10) {
        0..6 => (IpNumber::TCP, tcp(random, payload)),
        6..9 => {
            let port = if random.once_in(8) { random.of(&[VXLAN, GENEVE]) } else { random.word() as u16 };
            (IpNumber::UDP, udp(random, port, payload))
        }
        _ => (random.of(&OTHERS), payload),
    };
    network(random, protocol, bytes, outer)
}

/// Protocols without headers: noise follows, and the end of the frame.
const OTHERS: [IpNumber; 9] = [
    IpNumber::ICMP,
    IpNumber::IPV6_ICMP,
    IpNumber::ENCAPSULATING_SECURITY_PAYLOAD,
    IpNumber::AUTHENTICATION_HEADER,
    IpNumber::IPV6_FRAGMENTATION_HEADER,
    IpNumber::IPV6_NO_NEXT_HEADER,
    IpNumber::GRE,
    IpNumber::IPV4,
    IpNumber::IPV6,
];

fn tcp(random: &mut Random, payload: Vec<u8>) -> Vec<u8> {
    let numbers = random.word();
    let mut tcp = TcpHeader::new(random.word() as u16, numbers as u16, random.word() as u32, 0);
    tcp.acknowledgment_number = (numbers >> 32) as u32;
    let bits = random.word();
    let flag = |bit: u32| bits >> bit & 1 != 0;
    (tcp.ns, tcp.cwr, tcp.ece, tcp.urg, tcp.ack) = (flag(0), flag(1), flag(2), flag(3), flag(4));
    (tcp.psh, tcp.rst, tcp.syn, tcp.fin) = (flag(5), flag(6), flag(7), flag(8));
    (tcp.window_size, tcp.checksum) = ((bits >> 16) as u16, (bits >> 32) as u16);
    tcp.urgent_pointer = (bits >> 48) as u16;
    let options = [1; 40];
    if let Some(options) = options.get(..4 * random.of(&[0, 0, 0, 3, 5, 10])) {
        tcp.set_options_raw(options).unwrap();
    }
    let mut bytes = [&tcp.to_bytes()[..], &payload].concat();
    if random.once_in(30) {
        // Data offset and reserved bits.
        bytes[12] = random.word() as u8;
    }
    bytes
}

fn udp(random: &mut Random, port: u16, payload: Vec<u8>) -> Vec<u8> {
    let right = 8 + payload.len() as u16;
    let length = if random.once_in(20) { random.of(&[0, 8, right - 1, right + 1]) } else { right };
    let checksum = if random.once_in(10) { 0 } else { random.word() as u16 };
    let header = UdpHeader { source_port: random.word() as u16, destination_port: port, length, checksum };
    [&header.to_bytes()[..], &payload].concat()
}

/// An IP packet, in `outer` tunnels or around them.
fn network(random: &mut Random, protocol: IpNumber, packet: Vec<u8>, outer: usize) -> (EtherType, Vec<u8>) {
    // Whatever is wrong with one of several headers is wrong with the frame.
    let rare = 40 * (outer + 1);
    if random.once_in(2) {
        (EtherType::IPV4, ipv4(random, protocol, packet, rare))
    } else {
        (EtherType::IPV6, ipv6(random, protocol, packet, rare))
    }
}

fn ipv4(random: &mut Random, protocol: IpNumber, packet: Vec<u8>, rare: usize) -> Vec<u8> {
    let bits = random.word();
    let mut ip = Ipv4Header {
        identification: bits as u16,
        dont_fragment: bits >> 16 & 1 != 0,
        more_fragments: random.once_in(rare),
        time_to_live: (bits >> 24) as u8,
        dscp: IpDscp::try_new((bits >> 32) as u8 & 0x3f).unwrap(),
        ecn: IpEcn::try_new((bits >> 40) as u8 & 3).unwrap(),
        protocol,
        source: (random.word() as u32).to_be_bytes(),
        destination: (random.word() as u32).to_be_bytes(),
        ..Ipv4Header::default()
    };
    if random.once_in(rare) {
        ip.fragment_offset = IpFragOffset::try_new(bits as u16 & 0x1fff).unwrap();
    }
    if random.once_in(rare) {
        ip.options = [1, 1, 1, 0].into();
    }
    ip.total_len = wrong(random, (ip.header_len() + packet.len()) as u16);
    let mut header = ip.to_bytes().to_vec();
    if random.once_in(rare) {
        header[6] |= 0x80;
    }
    if random.once_in(rare) {
        header[0] = random.word() as u8;
    }
    header[10..12].fill(0);
    let check = Sum16BitWords::new().add_slice(&header).ones_complement().to_be().to_be_bytes();
    header[10..12].copy_from_slice(&check);
    match random.below(rare) {
        0 => header[11] ^= 1 << (bits & 7),
        // The other zero of ones' complement.
        1 if check == [0, 0] => header[10..12].fill(0xff),
        _ => {}
    }
    [header, packet].concat()
}

fn ipv6(random: &mut Random, mut next: IpNumber, mut packet: Vec<u8>, rare: usize) -> Vec<u8> {
    let extensions = if random.once_in(3) { random.of(&[1, 1, 1, 2, 3, 5, 9, 27]) } else { 0 };
    for _ in 0..extensions {
        let words = if random.once_in(50) { 30 } else { random.of(&[0, 0, 0, 0, 0, 1, 2, 3]) };
        // etherparse's header of this kind holds 2,048 bytes.
        let mut header = vec![next.0, words as u8, 1, 4, 0, 0, 0, 0];
        header.resize(8 + 8 * words, random.word() as u8);
        packet = [header, packet].concat();
        next = random.of(&[
            IpNumber::IPV6_HEADER_HOP_BY_HOP,
            IpNumber::IPV6_ROUTE_HEADER,
            IpNumber::IPV6_DESTINATION_OPTIONS,
        ]);
    }
    if random.once_in(rare) {
        next = random.of(&OTHERS);
    }
    let bits = random.word();
    let mut ip = Ipv6Header {
        traffic_class: bits as u8,
        flow_label: Ipv6FlowLabel::try_new((bits >> 8) as u32 & 0xf_ffff).unwrap(),
        payload_length: wrong(random, packet.len() as u16),
        next_header: next,
        hop_limit: (bits >> 32) as u8,
        ..Ipv6Header::default()
    };
    for half in [&mut ip.source, &mut ip.destination] {
        half[..8].copy_from_slice(&random.word().to_be_bytes());
        half[8..].copy_from_slice(&random.word().to_be_bytes());
    }
    let mut header = ip.to_bytes();
    if random.once_in(rare) {
        header[0] ^= 0x10 << (bits & 3);
    }
    [&header[..], &packet].concat()
}

/// A length that is seldom not the right one.
fn wrong(random: &mut Random, length: u16) -> u16 {
    match random.below(40) {
        0 => length.wrapping_add(1),
        1 => length.wrapping_sub(4),
        2 => random.word() as u16,
        _ => length,
    }
}

/// Puts a packet into a tunnel, and that into an IP packet.
fn tunnel(random: &mut Random, inner: EtherType, packet: Vec<u8>, outer: usize) -> (EtherType, Vec<u8>) {
    let ethernet = random.once_in(2);
    let (protocol, bytes) = match random.below(5) {
        0 | 1 => (if inner == EtherType::IPV4 { IpNumber::IPV4 } else { IpNumber::IPV6 }, packet),
        2 => (IpNumber::GRE, gre(random, inner, packet, ethernet)),
        3 => {
            // Flags with the bit that says that the identifier is valid, and the identifier.
            let header = [8, 0, 0, 0, 0, 0, random.word() as u8, 0];
            let packet = [&header[..], &link(random, inner, packet)].concat();
            (IpNumber::UDP, udp(random, VXLAN, packet))
        }
        _ => {
            let packet = geneve(random, inner, packet, ethernet);
            (IpNumber::UDP, udp(random, GENEVE, packet))
        }
    };
    network(random, protocol, bytes, outer)
}

fn gre(random: &mut Random, inner: EtherType, packet: Vec<u8>, ethernet: bool) -> Vec<u8> {
    let mut flags = random.of(&[0, 0, 0x80, 0x20, 0xa0]);
    let mut version = 0;
    if random.once_in(20) {
        (flags, version) = (random.word() as u8, random.of(&[0, 1, 7]));
    }
    let (protocol, packet) = in_tunnel(random, inner, packet, ethernet);
    let mut header = vec![flags, version];
    header.extend(protocol.0.to_be_bytes());
    let words = (flags & 0xa0).count_ones() as usize;
    header.resize(4 + 4 * words, random.word() as u8);
    [header, packet].concat()
}

fn geneve(random: &mut Random, inner: EtherType, packet: Vec<u8>, ethernet: bool) -> Vec<u8> {
    let words = if random.once_in(30) { 63 } else { random.of(&[0, 0, 0, 1, 2, 3, 7]) };
    let version = if random.once_in(40) { random.word() as u8 & 0xc0 } else { 0 };
    let oam = if random.once_in(40) { 0x80 } else { random.of(&[0, 0x40]) };
    let (protocol, packet) = in_tunnel(random, inner, packet, ethernet);
    let mut header = vec![version | words as u8, oam];
    header.extend(protocol.0.to_be_bytes());
    header.extend([0, 0, random.word() as u8, 0]);
    header.resize(8 + 4 * words, random.word() as u8);
    [header, packet].concat()
}

/// What a tunnel with an ethertype holds: a frame, or a packet, seldom one that it calls by a wrong name.
fn in_tunnel(random: &mut Random, inner: EtherType, packet: Vec<u8>, ethernet: bool) -> (EtherType, Vec<u8>) {
    if ethernet {
        return (EtherType(0x6558), link(random, inner, packet));
    }
    let name = if random.once_in(20) { random.of(&ETHER_TYPES) } else { inner };
    if name == inner && random.once_in(10) {
        return tags(random, inner, packet);
    }
    (name, packet)
}

/// An Ethernet frame.
fn link(random: &mut Random, mut ether_type: EtherType, mut packet: Vec<u8>) -> Vec<u8> {
    if random.once_in(40) {
        ether_type = random.of(&ETHER_TYPES);
    }
    if random.once_in(16) {
        let protocol = match ether_type {
            EtherType::IPV4 => [0x00, 0x21],
            EtherType::IPV6 => [0x00, 0x57],
            _ => [0xc0, 0x21],
        };
        let length = wrong(random, packet.len() as u16 + 2).to_be_bytes();
        let version = if random.once_in(20) { 0x12 } else { 0x11 };
        let code = if random.once_in(20) { 9 } else { 0 };
        let header = [version, code, 0, 7, length[0], length[1], protocol[0], protocol[1]];
        packet = [&header[..], &packet].concat();
        ether_type = EtherType(0x8864);
    }
    let (ether_type, packet) = tags(random, ether_type, packet);
    let [_, _, source @ ..] = random.word().to_be_bytes();
    let [_, _, destination @ ..] = random.word().to_be_bytes();
    let header = Ethernet2Header { source, destination, ether_type };
    [&header.to_bytes()[..], &packet].concat()
}

/// No to three VLAN tags in front.
fn tags(random: &mut Random, mut ether_type: EtherType, mut packet: Vec<u8>) -> (EtherType, Vec<u8>) {
    for _ in 0..random.of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3]) {
        let bits = random.word();
        let tag = SingleVlanHeader {
            pcp: VlanPcp::try_new(bits as u8 & 7).unwrap(),
            drop_eligible_indicator: bits >> 8 & 1 != 0,
            vlan_id: VlanId::try_new((bits >> 16) as u16 & 0xfff).unwrap(),
            ether_type,
        };
        packet = [&tag.to_bytes()[..], &packet].concat();
        ether_type = random.of(&[EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING]);
    }
    (ether_type, packet)
}

const ETHER_TYPES: [EtherType; 6] = [
    EtherType::IPV4,
    EtherType::IPV6,
    EtherType::ARP,
    EtherType::VLAN_TAGGED_FRAME,
    EtherType(0x9100),
    EtherType(0x8864),
];
const VXLAN: u16 = 4_789;
const GENEVE: u16 = 6_081;

/// Cuts, lengthens or changes a frame, or leaves it as it is.
fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    match random.below(16) {
        0 | 1 => frame.truncate(random.below(frame.len() + 1)),
        2 => frame.resize(frame.len() + random.below(60), 0),
        3 => {
            for _ in 0..1 + random.below(3) {
                let at = random.below(frame.len());
                frame[at] ^= 1 << random.below(8);
            }
        }
        4 if random.once_in(100) => frame.resize(65_533 + random.below(6), 0),
        _ => {}
    }
}

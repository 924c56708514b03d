//! Each exception, said beforehand and then shown by the kernel.

use super::*;
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

/// What the frames of a case are made of; everything else is what merges.
#[derive(Clone, Copy)]
struct Shape {
    ipv6: bool,
    udp: bool,
    dont_fragment: bool,
    /// IPv4 identification of the first frame.
    id: u16,
    /// What the next one has more.
    step: u16,
    urgent: [u16; 3],
    /// Whether the second frame's checksum is made to come out as zero.
    zero: bool,
}

const PLAIN: Shape =
    Shape { ipv6: false, udp: false, dont_fragment: true, id: 65_535, step: 1, urgent: [0; 3], zero: false };

/// A name, frames that merge, and the exceptions that they must show.
type Case = (&'static str, Vec<Vec<u8>>, Vec<Exception>);

fn cases() -> Vec<Case> {
    use Exception::{FixedIdentification, NegativeZero, UrgentPointer};
    let v6 = Shape { ipv6: true, ..PLAIN };
    let udp = Shape { udp: true, ..PLAIN };
    let fixed = Shape { step: 0, ..PLAIN };
    let urgent = Shape { urgent: [0, 5, 0], ..PLAIN };
    let zero = Shape { zero: true, ..PLAIN };
    vec![
        ("TCP", frames(PLAIN), vec![]),
        ("TCP over IPv6", frames(v6), vec![]),
        ("UDP", frames(udp), vec![]),
        ("UDP over IPv6", frames(Shape { udp: true, ..v6 }), vec![]),
        ("equal urgent pointers", frames(Shape { urgent: [5; 3], ..PLAIN }), vec![]),
        ("checksum 0", frames(zero), vec![]),
        ("UDP checksum 0xFFFF", frames(Shape { zero: true, ..udp }), vec![]),
        ("fixed, DF", frames(fixed), vec![FixedIdentification]),
        ("fixed, no DF", frames(Shape { dont_fragment: false, ..fixed }), vec![FixedIdentification]),
        ("fixed, UDP", frames(Shape { step: 0, ..udp }), vec![FixedIdentification]),
        ("urgent pointer", frames(urgent), vec![UrgentPointer]),
        ("urgent pointer, IPv6", frames(Shape { ipv6: true, ..urgent }), vec![UrgentPointer]),
        ("TCP checksum 0xFFFF", negative(frames(zero), 50), vec![NegativeZero]),
        ("TCP checksum 0xFFFF, IPv6", negative(frames(Shape { zero: true, ..v6 }), 70), vec![NegativeZero]),
        ("IPv4 checksum 0xFFFF", negative(frames(zero_header(PLAIN)), 24), vec![NegativeZero]),
        ("two reasons", frames(Shape { step: 0, ..urgent }), vec![FixedIdentification, UrgentPointer]),
    ]
}

#[test]
fn what_must_come_back_is_known_beforehand() {
    for (name, frames, exceptions) in cases() {
        let (came, reasons) = expected(&slices(&frames)).unwrap();
        assert_eq!(Vec::from_iter(reasons), exceptions, "{name}");
        // An exception is one: other bytes come back.
        assert_eq!(came == frames, exceptions.is_empty(), "{name}");
        assert_eq!(came[0], frames[0], "{name}");
    }
}

#[test]
fn what_is_expected_has_good_checksums() {
    for (name, frames, _) in cases() {
        for frame in expected(&slices(&frames)).unwrap().0 {
            let layout = Layout::of(&frame, 1, 0).unwrap();
            assert_eq!(sum(&layout, &frame), 0, "{name}");
            let header = &frame[layout.ip.at..layout.ip.l4];
            assert!(
                layout.ip.ipv6 || Sum16BitWords::new().add_slice(header).ones_complement() == 0,
                "{name}"
            );
        }
    }
}

#[test]
fn a_frame_that_cannot_be_in_a_packet_is_refused() {
    let frames = frames(PLAIN);
    assert!(expected(&[&frames[0], &frames[1][..53]]).is_err());
    assert!(expected(&[&frames[0][..20], &frames[1]]).is_err());
    assert_eq!(expected(&[]), Ok((Vec::new(), BTreeSet::new())));
}

/// The list is neither too short nor too long: the kernel does all of it, and nothing else.
#[test]
#[cfg(target_os = "linux")]
fn the_kernel_shows_each_exception() {
    for (name, frames, exceptions) in cases() {
        let counted = exceptions.first().map(|&exception| (exception, 1));
        let wanted = RoundTrip {
            packets: 1,
            frames: 3,
            identical: usize::from(exceptions.is_empty()),
            exceptions: counted.into_iter().collect(),
            ..RoundTrip::default()
        };
        let Some(result) = through_kernel(frames, None) else { return };
        assert_eq!(result, wanted, "{name}");
    }
}

/// A packet in IPv4, one without a tunnel behind it: the first is counted, the second comes back.
#[test]
#[cfg(target_os = "linux")]
fn a_packet_in_a_tunnel_is_counted_and_not_sent() {
    let mut all = Vec::new();
    for (number, frame) in frames(PLAIN).into_iter().enumerate() {
        let length = (frame.len() - 14) as u16;
        let mut ip = Ipv4Header::new(length, 64, IpNumber::IPV4, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
        ip.identification = number as u16;
        let mut bytes = frame[..14].to_vec();
        ip.write(&mut bytes).unwrap();
        bytes.extend(&frame[14..]);
        all.push(bytes);
    }
    all.extend(frames(PLAIN));
    let Some(result) = through_kernel(all, None) else { return };
    let exceptions = BTreeMap::from([(Exception::Tunnel, 1)]);
    let wanted = RoundTrip { packets: 2, frames: 6, identical: 1, exceptions, ..RoundTrip::default() };
    assert_eq!(result, wanted);
    assert!(result.holds());
}

/// 65,535 bytes of IPv4, and 18 of Ethernet with a tag.
#[test]
#[cfg(target_os = "linux")]
fn the_longest_packet_comes_back() {
    const MOST: usize = 1_455;
    let mut frames: Vec<_> = (0..45).map(|number| frame(PLAIN, number, number * MOST, MOST)).collect();
    frames.push(frame(PLAIN, 45, 45 * MOST, 65_535 - 40 - 45 * MOST));
    let tag = crate::trace::Vlan { tpid: 0x88a8, tci: 0x2fff };
    let Some(result) = through_kernel(frames, Some(tag)) else { return };
    assert_eq!(result, RoundTrip { packets: 1, frames: 46, identical: 1, ..RoundTrip::default() });
}

/// `None`, said aloud, where the kernel cannot be asked.
#[cfg(target_os = "linux")]
fn through_kernel(frames: Vec<Vec<u8>>, vlan: Option<crate::trace::Vlan>) -> Option<RoundTrip> {
    use gro_core::{Config, UdpMode};
    let frame = |bytes: Vec<u8>| crate::trace::Frame { time_ns: 0, bytes: bytes.into(), hash: 0, vlan };
    let trace = crate::fuzz::trace(vec![frames.into_iter().map(frame).collect()]);
    let config = Config { udp: UdpMode::Forwarding, ..Config::DEFAULT };
    match round_trip(&trace, &config) {
        Err(crate::BackendError::Skipped(why)) => {
            eprintln!("round trip skipped: {why}");
            None
        }
        result => Some(result.unwrap()),
    }
}

fn slices(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(|frame| &frame[..]).collect()
}

/// Three frames that merge.
fn frames(shape: Shape) -> Vec<Vec<u8>> {
    (0..3).map(|number| frame(shape, number, number * PAYLOAD, PAYLOAD)).collect()
}

/// Frame `number`, with `payload` bytes behind `before` others.
fn frame(shape: Shape, number: usize, before: usize, payload: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let ether_type = if shape.ipv6 { EtherType::IPV6 } else { EtherType::IPV4 };
    Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type }.write(&mut frame).unwrap();
    let protocol = if shape.udp { IpNumber::UDP } else { IpNumber::TCP };
    let length = payload as u16 + if shape.udp { 8 } else { 20 };
    if shape.ipv6 {
        let ip = Ipv6Header {
            payload_length: length,
            next_header: protocol,
            hop_limit: 64,
            source: [1; 16],
            destination: [2; 16],
            ..Default::default()
        };
        ip.write(&mut frame).unwrap();
    } else {
        let mut ip = Ipv4Header::new(length, 64, protocol, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        ip.identification = shape.id.wrapping_add(shape.step * number as u16);
        ip.dont_fragment = shape.dont_fragment;
        ip.write(&mut frame).unwrap();
    }
    if shape.udp {
        let udp = UdpHeader { source_port: 80, destination_port: 443, length, checksum: 0 };
        udp.write(&mut frame).unwrap();
    } else {
        let mut tcp = TcpHeader::new(80, 443, before as u32, 500);
        tcp.ack = true;
        tcp.urgent_pointer = shape.urgent[number.min(2)];
        tcp.write(&mut frame).unwrap();
    }
    frame.extend((0..payload).map(|at| (at * 7 + number * 31) as u8));
    complete(&mut frame);
    if shape.zero && number == 1 {
        // The word that the sum lacks, in place of payload that is zero.
        let at = frame.len() - 2;
        put(&mut frame, at, 0);
        complete(&mut frame);
        let layout = Layout::of(&frame, 1, 0).unwrap();
        let lacking = word(&frame, check(&layout));
        put(&mut frame, at, lacking);
        complete(&mut frame);
        assert_eq!(word(&frame, check(&layout)), if shape.udp { 0xffff } else { 0 });
    }
    frame
}

const PAYLOAD: usize = 100;

/// Identifications so that the second frame's header checksum is zero.
fn zero_header(shape: Shape) -> Shape {
    let lacking = word(&frame(Shape { id: 0, step: 0, ..shape }, 1, PAYLOAD, PAYLOAD), 24);
    Shape { id: lacking.wrapping_sub(1), step: 1, ..shape }
}

/// With the other zero in the second frame, where the checksum at `at` is zero.
fn negative(mut frames: Vec<Vec<u8>>, at: usize) -> Vec<Vec<u8>> {
    assert_eq!(word(&frames[1], at), 0);
    put(&mut frames[1], at, 0xffff);
    frames
}

fn check(layout: &Layout) -> usize {
    layout.ip.l4 + if layout.udp { 6 } else { 16 }
}

fn complete(frame: &mut [u8]) {
    let layout = Layout::of(frame, 1, 0).unwrap();
    put(frame, check(&layout), 0);
    let sum = sum(&layout, frame);
    put(frame, check(&layout), if layout.udp && sum == 0 { 0xffff } else { sum });
}

/// The complement of the sum over pseudo-header and segment.
fn sum(layout: &Layout, frame: &[u8]) -> u16 {
    let addresses = if layout.ip.ipv6 {
        layout.ip.at + 8..layout.ip.at + 40
    } else {
        layout.ip.at + 12..layout.ip.at + 20
    };
    let protocol = if layout.udp { IpNumber::UDP } else { IpNumber::TCP };
    let length = (frame.len() - layout.ip.l4) as u16;
    let pseudo = Sum16BitWords::new()
        .add_slice(&frame[addresses])
        .add_2bytes([0, protocol.0])
        .add_2bytes(length.to_be_bytes());
    pseudo.add_slice(&frame[layout.ip.l4..]).ones_complement().to_be()
}

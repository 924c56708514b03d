//! Segments of packets without a tunnel, against frames with etherparse's own lengths and checksums.

mod tunnels;

use super::*;
use etherparse::{EtherType, Ethernet2Header, Ipv4Header, Ipv4HeaderSlice, Ipv6Header, TcpHeader};
use gro_core::complete::{GSO_TCPV4, GSO_TCPV6};

/// A complete frame with etherparse's own lengths and checksums.
fn frame(v6: bool, number: usize, change: impl FnOnce(&mut TcpHeader), payload: &[u8]) -> Vec<u8> {
    let sequence = u32::MAX - 150;
    let mut tcp = TcpHeader::new(80, 443, sequence.wrapping_add(100 * number as u32), 500);
    tcp.ack = true;
    change(&mut tcp);
    let ether_type = if v6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let mut frame = Vec::new();
    Ethernet2Header { source: [2; 6], destination: [4; 6], ether_type }.write(&mut frame).unwrap();
    if v6 {
        let mut ip = Ipv6Header {
            payload_length: (8 + 20 + payload.len()) as u16,
            next_header: IpNumber::IPV6_DESTINATION_OPTIONS,
            hop_limit: 64,
            ..Default::default()
        };
        (ip.source, ip.destination) = ([1; 16], [2; 16]);
        tcp.checksum = tcp.calc_checksum_ipv6_raw(ip.source, ip.destination, payload).unwrap();
        ip.write(&mut frame).unwrap();
        frame.extend([IpNumber::TCP.0, 0, 1, 4, 0, 0, 0, 0]);
    } else {
        let length = 20 + payload.len() as u16;
        let mut ip = Ipv4Header::new(length, 64, IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        ip.identification = 65_534_u16.wrapping_add(number as u16);
        tcp.checksum = tcp.calc_checksum_ipv4_raw(ip.source, ip.destination, payload).unwrap();
        ip.write(&mut frame).unwrap();
    }
    tcp.write(&mut frame).unwrap();
    frame.extend(payload);
    frame
}

fn payload(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + number * 31) as u8).collect()
}

/// `sizes` as one packet: the first header, all payload; lengths and checksums do not matter to GSO.
fn merged(v6: bool, sizes: &[usize], flags: fn(&mut TcpHeader)) -> Record {
    let mut bytes = frame(v6, 0, flags, &payload(0, sizes[0]));
    for (number, &size) in sizes.iter().enumerate().skip(1) {
        bytes.extend(payload(number, size));
    }
    Record {
        bytes: bytes.into(),
        gso_size: sizes[0] as u32,
        segs: sizes.len() as u32,
        gso_type: if v6 { GSO_TCPV6 } else { GSO_TCPV4 },
        vlan: 0,
        first: None,
        last: None,
        why: None,
    }
}

#[test]
fn counters_lengths_and_checksums_are_those_of_the_segments() {
    for v6 in [false, true] {
        let got = segment(&merged(v6, &[100, 100, 33], |_| ())).unwrap();
        for (number, size) in [100, 100, 33].into_iter().enumerate() {
            assert_eq!(got[number], frame(v6, number, |_| (), &payload(number, size)), "{v6} {number}");
        }
    }
}

#[test]
fn a_session_states_the_length_of_each_segment() {
    for v6 in [false, true] {
        let in_session = |bytes: &[u8]| {
            let length = (bytes.len() - 14 + 2) as u16;
            let header =
                [&[0x88, 0x64, 0x11, 0, 0, 9], &length.to_be_bytes()[..], &[0, if v6 { 0x57 } else { 0x21 }]];
            [&bytes[..12], &header.concat(), &bytes[14..]].concat()
        };
        let mut record = merged(v6, &[100, 100, 33], |_| ());
        record.bytes = in_session(&record.bytes).into();
        let got = segment(&record).unwrap();
        for (number, size) in [100, 100, 33].into_iter().enumerate() {
            assert_eq!(
                got[number],
                in_session(&frame(v6, number, |_| (), &payload(number, size))),
                "{v6} {number}"
            );
        }
    }
}

#[test]
fn closing_flags_are_the_last_segments_and_cwr_the_firsts() {
    for v6 in [false, true] {
        let flags = |tcp: &mut TcpHeader| (tcp.fin, tcp.psh, tcp.cwr, tcp.ece) = (true, true, true, true);
        let got = segment(&merged(v6, &[100, 100, 100], flags)).unwrap();
        let at = got[0].len() - 100 - 20 + 13;
        assert_eq!([got[0][at], got[1][at], got[2][at]], [0xd0, 0x50, 0x59]);
    }
}

#[test]
fn a_fixed_identification_stays() {
    let mut record = merged(false, &[100, 100], |_| ());
    record.gso_type |= GSO_TCP_FIXEDID;
    let got = segment(&record).unwrap();
    assert_eq!((&got[0][18..20], &got[1][18..20]), (&[0xff, 0xfe][..], &[0xff, 0xfe][..]));
    let header = Ipv4HeaderSlice::from_slice(&got[1][14..]).unwrap().to_header();
    assert_eq!(header.calc_header_checksum(), header.header_checksum);
}

#[test]
fn the_zero_of_a_checksum_is_0000() {
    let whole = merged(false, &[100, 100], |_| ());
    // Make the second segment's checksum what the sum lacks: the field becomes zero.
    let check = |bytes: &[u8]| u16::from_be_bytes([bytes[50], bytes[51]]);
    let mut bytes = whole.bytes.to_vec();
    bytes[154..156].copy_from_slice(&[0, 0]);
    let record = Record { bytes: bytes.clone().into(), ..whole.clone() };
    let lacking = check(&segment(&record).unwrap()[1]);
    bytes[154..156].copy_from_slice(&lacking.to_be_bytes());
    let record = Record { bytes: bytes.into(), ..whole };
    assert_eq!(check(&segment(&record).unwrap()[1]), 0);
}

#[test]
fn a_single_frame_comes_back_and_a_false_claim_is_refused() {
    let whole = merged(false, &[100, 100, 33], |_| ());
    let single = Record { segs: 1, gso_size: 0, ..whole.clone() };
    assert_eq!(segment(&single), Ok(vec![whole.bytes.clone()]));
    for (segs, gso_size) in [(2, 100), (3, 0), (3, 300), (u32::MAX, 1), (4, 33)] {
        let wrong = Record { segs, gso_size, ..whole.clone() };
        assert_eq!(segment(&wrong), Err(SegmentError::Count { payload: 233, segs, gso_size }));
    }
    let long = merged(true, &[70_000, 70_000], |_| ());
    assert_eq!(segment(&long), Err(SegmentError::TooLong(70_028)));
}

#[test]
fn every_cut_and_every_changed_byte_ends_in_a_result() {
    for v6 in [false, true] {
        let whole = merged(v6, &[100, 100, 33], |_| ());
        for at in 0..whole.bytes.len() {
            let cut = Record { bytes: whole.bytes.slice(..at), ..whole.clone() };
            // The last segment may be shorter than it was, the headers and the others may not.
            assert!(segment(&cut).is_err() || at > whole.bytes.len() - 33, "{at}");
            for value in [0, 0x0f, 0xff] {
                let mut bytes = whole.bytes.to_vec();
                bytes[at] = value;
                drop(segment(&Record { bytes: bytes.into(), ..whole.clone() }));
            }
        }
    }
    let mut other = merged(false, &[100, 100], |_| ()).bytes.to_vec();
    other[23] = 50;
    let record = Record { bytes: other.into(), ..merged(false, &[100, 100], |_| ()) };
    assert_eq!(segment(&record), Err(SegmentError::NotMergeable { segs: 2 }));
}

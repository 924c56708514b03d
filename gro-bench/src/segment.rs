//! The way back: a merged packet cut into segments, as the kernel's GSO does it.
//!
//! GRO is an offload, and not LRO, because this exists: `segment(merge(frames))` are the frames again, byte for byte. The rules
//! are those of `tcp_gso_segment` (net/ipv4/tcp_offload.c), `__udp_gso_segment` (net/ipv4/udp_offload.c), `inet_gso_segment` (net/ipv4/af_inet.c) and `ipv6_gso_segment`
//! (net/ipv6/ip6_offload.c); sums and headers are etherparse's and not the engine's, so that a mistake cannot cancel itself out.
//!
//! What the first segment's header cannot carry is lost in a merge and does not come back: urgent pointers of later segments
//! without URG, which of the two zeros of ones' complement a sender wrote, and that UDP datagrams all had one identification
//! (the kernel has a GSO type for that with TCP only).

use crate::Record;
use bytes::{Bytes, BytesMut};
use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, TcpHeaderSlice,
    UdpHeaderSlice,
};
use gro_core::complete::{GSO_TCP_ACCECN, GSO_TCP_FIXEDID};

/// Why a record cannot be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Its headers are cut off or contradict themselves.
    #[error("the {0} header is malformed")]
    Header(&'static str),
    /// Only TCP and UDP over IPv4 and IPv6 are merged.
    #[error("{segs} segments of something that is neither TCP nor UDP over IPv4 or IPv6")]
    NotMergeable {
        /// Segments that the record claims.
        segs: u32,
    },
    /// The payload does not fall into that many segments.
    #[error("{payload} payload bytes are not {segs} segments of {gso_size}")]
    Count {
        /// Bytes behind the headers.
        payload: usize,
        /// Segments that the record claims.
        segs: u32,
        /// Bytes of each but the last.
        gso_size: u32,
    },
    /// A segment would exceed the 16 bits of an IP length.
    #[error("a segment of {0} bytes has no IP length")]
    TooLong(usize),
}

/// The frames that a record was merged from. A single frame comes back as it is.
///
/// # Errors
/// [`SegmentError`] when the record is not a merged packet of the form that GRO delivers.
pub fn segment(record: &Record) -> Result<Vec<Bytes>, SegmentError> {
    if record.segs <= 1 {
        return Ok(vec![record.bytes.clone()]);
    }
    let bytes = without_jumbo(&record.bytes);
    let layout = Layout::of(&bytes, record.segs)?;
    let (header, payload) = bytes.split_at(layout.payload);
    let gso_size = record.gso_size as usize;
    let pieces = if gso_size == 0 { 0 } else { payload.len().div_ceil(gso_size) };
    if pieces != record.segs as usize {
        let (segs, gso_size) = (record.segs, record.gso_size);
        return Err(SegmentError::Count { payload: payload.len(), segs, gso_size });
    }
    let fixed = record.gso_type & GSO_TCP_FIXEDID != 0;
    let mut segments = Vec::with_capacity(pieces);
    for (number, piece) in payload.chunks(gso_size).enumerate() {
        let mut frame = BytesMut::with_capacity(header.len() + piece.len());
        frame.extend_from_slice(header);
        frame.extend_from_slice(piece);
        layout.number(&mut frame, number, gso_size, fixed);
        if !layout.udp && number > 0 && record.gso_type & GSO_TCP_ACCECN == 0 {
            frame[layout.l4 + 13] &= !CWR;
        }
        if !layout.udp && number + 1 < pieces {
            frame[layout.l4 + 13] &= !(FIN | PSH);
        }
        layout.complete(&mut frame)?;
        segments.push(frame.freeze());
    }
    Ok(segments)
}

/// Takes out the hop-by-hop header that GRO put into a packet over 65,535 bytes to state its length (RFC 2675), as
/// `ipv6_hopopt_jumbo_remove` (include/net/ipv6.h) does.
fn without_jumbo(frame: &Bytes) -> Bytes {
    let (_, ip) = behind_tags(frame);
    let header = frame.get(ip..).unwrap_or_default();
    match header {
        // Version 6, payload length 0, a hop-by-hop header of eight bytes with nothing but the jumbo option.
        [0x60..=0x6f, _, _, _, 0, 0, 0, ..] if matches!(header.get(40..44), Some([_, 0, 0xc2, 4])) => {
            let mut bytes = BytesMut::from(&frame[..ip + 40]);
            bytes[ip + 6] = header[40];
            bytes.extend_from_slice(&header[48.min(header.len())..]);
            bytes.freeze()
        }
        _ => frame.clone(),
    }
}

/// The ethertype behind in-band VLAN tags, and the offset of what it names.
pub(crate) fn behind_tags(frame: &[u8]) -> (u16, usize) {
    let mut at = 14;
    loop {
        match frame.get(at - 2..at) {
            Some(&[0x81, 0x00] | &[0x88, 0xa8]) => at += 4,
            Some(&[high, low]) => return (u16::from_be_bytes([high, low]), at),
            _ => return (0, at),
        }
    }
}

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Where the headers of a packet lie, in bytes from the start of the frame.
pub(crate) struct Layout {
    pub(crate) ip: usize,
    pub(crate) ipv6: bool,
    pub(crate) udp: bool,
    pub(crate) l4: usize,
    pub(crate) payload: usize,
}

impl Layout {
    pub(crate) fn of(frame: &[u8], segs: u32) -> Result<Self, SegmentError> {
        let (ethertype, ip) = behind_tags(frame);
        let packet = frame.get(ip..).ok_or(SegmentError::Header("Ethernet"))?;
        let (ipv6, protocol, l4) = match EtherType(ethertype) {
            EtherType::IPV4 => {
                let header = Ipv4HeaderSlice::from_slice(packet).or(Err(SegmentError::Header("IPv4")))?;
                (false, header.protocol(), ip + header.slice().len())
            }
            EtherType::IPV6 => {
                let header = Ipv6HeaderSlice::from_slice(packet).or(Err(SegmentError::Header("IPv6")))?;
                let (next, chain) = behind_extensions(header.next_header(), &packet[header.slice().len()..])?;
                (true, next, ip + header.slice().len() + chain)
            }
            _ => return Err(SegmentError::NotMergeable { segs }),
        };
        let rest = &frame[l4..];
        let header = match protocol {
            IpNumber::TCP => TcpHeaderSlice::from_slice(rest).or(Err(SegmentError::Header("TCP")))?.slice(),
            IpNumber::UDP => UdpHeaderSlice::from_slice(rest).or(Err(SegmentError::Header("UDP")))?.slice(),
            _ => return Err(SegmentError::NotMergeable { segs }),
        };
        Ok(Self { ip, ipv6, udp: protocol == IpNumber::UDP, l4, payload: l4 + header.len() })
    }

    /// Sequence number and identification of segment `number`.
    fn number(&self, frame: &mut [u8], number: usize, gso_size: usize, fixed: bool) {
        if !self.udp {
            let at = self.l4 + 4;
            let first = u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
            // Both counters wrap.
            let sequence = first.wrapping_add((number * gso_size) as u32);
            frame[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        }
        if !self.ipv6 && !fixed {
            let at = self.ip + 4;
            let first = u16::from_be_bytes([frame[at], frame[at + 1]]);
            put(frame, at, first.wrapping_add(number as u16));
        }
    }

    /// Lengths and checksums, when everything else stands.
    fn complete(&self, frame: &mut [u8]) -> Result<(), SegmentError> {
        let length = |from: usize| {
            let length = frame.len() - from;
            u16::try_from(length).or(Err(SegmentError::TooLong(length)))
        };
        let addresses = if self.ipv6 {
            let value = length(self.ip + IPV6_HEADER)?;
            put(frame, self.ip + 4, value);
            self.ip + 8..self.ip + 40
        } else {
            let value = length(self.ip)?;
            put(frame, self.ip + 2, value);
            put(frame, self.ip + 10, 0);
            let check = field(Sum16BitWords::new().add_slice(&frame[self.ip..self.l4]));
            put(frame, self.ip + 10, check);
            self.ip + 12..self.ip + 20
        };
        // The length fits: that of the IP packet does.
        let length = (frame.len() - self.l4) as u16;
        let (protocol, at) =
            if self.udp { (IpNumber::UDP, self.l4 + 6) } else { (IpNumber::TCP, self.l4 + 16) };
        if self.udp {
            put(frame, self.l4 + 4, length);
        }
        put(frame, at, 0);
        let pseudo = Sum16BitWords::new()
            .add_slice(&frame[addresses])
            .add_2bytes([0, protocol.0])
            .add_2bytes(length.to_be_bytes());
        let check = match field(pseudo.add_slice(&frame[self.l4..])) {
            // None at all, in UDP.
            0 if self.udp => 0xffff,
            check => check,
        };
        put(frame, at, check);
        Ok(())
    }
}

const IPV6_HEADER: usize = 40;

/// The protocol behind the extension headers that GRO merges over, and their bytes.
fn behind_extensions(mut next: IpNumber, chain: &[u8]) -> Result<(IpNumber, usize), SegmentError> {
    let mut at = 0;
    while matches!(
        next,
        IpNumber::IPV6_HEADER_HOP_BY_HOP | IpNumber::IPV6_ROUTE_HEADER | IpNumber::IPV6_DESTINATION_OPTIONS
    ) {
        let header = Ipv6RawExtHeaderSlice::from_slice(&chain[at..])
            .or(Err(SegmentError::Header("IPv6 extension")))?;
        next = header.next_header();
        at += header.slice().len();
    }
    Ok((next, at))
}

/// A checksum field. The IP version and the protocol number keep every sum from being zero, so it is never 0xFFFF.
fn field(sum: Sum16BitWords) -> u16 {
    sum.ones_complement().to_be()
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ethernet2Header, Ipv4Header, Ipv6Header, TcpHeader};
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
}

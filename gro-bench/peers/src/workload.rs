//! The frames: flows that take turns in runs of segments, with valid checksums, the same bytes for every engine.

use gro_bench::trace::rss;

/// Frames of a burst, and of a NAPI poll.
pub(crate) const BURST: usize = 64;

/// What the frames of a cell are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) shape: Shape,
    pub(crate) payload: Payload,
    /// Flows, round robin.
    pub(crate) flows: u32,
    /// Segments of a flow's turn.
    pub(crate) run: u32,
    /// Whether a NIC hashed them; 0 for every frame otherwise.
    pub(crate) hashed: bool,
}

/// Which headers they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Ethernet, IPv4, TCP with timestamps.
    Ipv4,
    /// Ethernet, IPv6, TCP with timestamps.
    Ipv6,
    /// As `Ipv4`, with a VLAN tag that the NIC took off into metadata.
    Vlan,
    /// As `Ipv4`, behind Ethernet, IPv4, UDP without a checksum and VXLAN.
    Vxlan,
    /// Ethernet, IPv4, UDP.
    Udp,
}

/// Payload of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// This many bytes in all of them.
    Bytes(usize),
    /// Of twelve frames seven with 12 bytes, four with 528 and one with 1,448, shuffled.
    Imix,
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made {
    pub(crate) len: usize,
    pub(crate) hash: u32,
    pub(crate) vlan: u32,
}

const TAG: u32 = 0x8100_0064;
const ETHERNET: usize = 14;
const TCP: usize = 32;
const UDP: usize = 8;
/// Ethernet, IPv4, UDP and VXLAN.
const OUTER: usize = ETHERNET + 20 + UDP + 8;

impl Shape {
    /// Bytes of all headers.
    pub(crate) fn header(self) -> usize {
        match self {
            Self::Ipv4 | Self::Vlan => ETHERNET + 20 + TCP,
            Self::Ipv6 => ETHERNET + 40 + TCP,
            Self::Vxlan => OUTER + ETHERNET + 20 + TCP,
            Self::Udp => ETHERNET + 20 + UDP,
        }
    }

    /// As it is named in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "TCP/IPv4",
            Self::Ipv6 => "TCP/IPv6",
            Self::Vlan => "TCP/IPv4, VLAN tag in metadata",
            Self::Vxlan => "TCP/IPv4 in VXLAN",
            Self::Udp => "UDP/IPv4",
        }
    }
}

impl Payload {
    /// The most there is in a frame.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Imix => 1_448,
        }
    }

    /// As it is named in the report.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Bytes(bytes) => format!("{bytes}"),
            Self::Imix => "imix".to_owned(),
        }
    }

    fn of(self, frame: u64) -> usize {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Imix => match mix(frame) % 12 {
                0..7 => 12,
                7..11 => 528,
                _ => 1_448,
            },
        }
    }
}

/// Writes the frames of a stream, one after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    stream: Stream,
    next: u64,
    /// Of each flow: bytes and segments sent.
    sent: Vec<(u32, u16)>,
}

impl Writer {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, next: 0, sent: vec![(0, 0); stream.flows as usize] }
    }

    /// Bytes that the longest frame takes.
    pub(crate) fn most(&self) -> usize {
        self.stream.shape.header() + self.stream.payload.most()
    }

    /// Writes the next frame to the start of `frame`, which has room for [`Writer::most`].
    pub(crate) fn write(&mut self, frame: &mut [u8]) -> Made {
        let Stream { shape, payload, flows, run, hashed } = self.stream;
        let number = self.next;
        self.next += 1;
        let flow = (number / u64::from(run) % u64::from(flows)) as u32;
        let payload = payload.of(number);
        let (bytes, segments) = &mut self.sent[flow as usize];
        let segment = Segment { flow, bytes: *bytes, segments: *segments, number };
        *bytes = bytes.wrapping_add(payload as u32);
        *segments = segments.wrapping_add(1);

        let len = shape.header() + payload;
        let frame = &mut frame[..len];
        match shape {
            Shape::Ipv4 | Shape::Vlan => segment.tcp4(frame),
            Shape::Ipv6 => segment.tcp6(frame),
            Shape::Udp => segment.udp4(frame),
            Shape::Vxlan => segment.vxlan(frame),
        }
        let hash = if hashed { hash(frame) } else { 0 };
        Made { len, hash, vlan: if shape == Shape::Vlan { TAG } else { 0 } }
    }
}

/// One frame to write.
struct Segment {
    flow: u32,
    bytes: u32,
    segments: u16,
    number: u64,
}

impl Segment {
    /// A number that is the flow's own.
    fn own(&self) -> u64 {
        mix(u64::from(self.flow) + 1_000)
    }

    fn ports(&self) -> (u16, u16) {
        (443, 1_024 + (self.own() >> 24) as u16 % 60_000)
    }

    fn addresses4(&self) -> ([u8; 4], [u8; 4]) {
        let [_, a, b, c] = (self.own() as u32).to_be_bytes();
        ([10, a, b, c], [192, 168, 0, 1])
    }

    fn tcp4(&self, frame: &mut [u8]) {
        ethernet(frame, 0x0800);
        let id = (self.own() >> 48) as u16;
        self.ipv4(&mut frame[ETHERNET..], 6, id.wrapping_add(self.segments), self.addresses4());
        let pseudo = sum(&frame[26..34]) + 6 + (frame.len() - 34) as u64;
        self.tcp(&mut frame[34..], pseudo);
    }

    fn tcp6(&self, frame: &mut [u8]) {
        ethernet(frame, 0x86dd);
        let len = frame.len() - 54;
        let ip = &mut frame[ETHERNET..54];
        ip[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        put16(ip, 4, len as u16);
        ip[6..8].copy_from_slice(&[6, 61]);
        ip[8..40].fill(0);
        ip[8] = 0xfd;
        ip[16..24].copy_from_slice(&self.own().to_be_bytes());
        ip[24] = 0xfd;
        ip[39] = 1;
        let pseudo = sum(&frame[22..54]) + 6 + len as u64;
        self.tcp(&mut frame[54..], pseudo);
    }

    fn udp4(&self, frame: &mut [u8]) {
        ethernet(frame, 0x0800);
        let id = (self.own() >> 48) as u16;
        self.ipv4(&mut frame[ETHERNET..], 17, id.wrapping_add(self.segments), self.addresses4());
        let len = frame.len() - 34;
        let pseudo = sum(&frame[26..34]) + 17 + len as u64;
        let udp = &mut frame[34..];
        let (from, to) = self.ports();
        put16(udp, 0, from);
        put16(udp, 2, to);
        put16(udp, 4, len as u16);
        put16(udp, 6, 0);
        self.fill(&mut udp[UDP..]);
        // 0 would say that there is none.
        let check = !fold(sum(udp) + pseudo);
        put16(udp, 6, if check == 0 { 0xffff } else { check });
    }

    fn vxlan(&self, frame: &mut [u8]) {
        ethernet(frame, 0x0800);
        let udp_len = frame.len() - 34;
        self.ipv4(&mut frame[ETHERNET..], 17, self.segments, ([172, 16, 0, 2], [172, 16, 0, 1]));
        let udp = &mut frame[34..];
        // The source port tells flows apart for who hashes the outer headers only (RFC 7348, section 5).
        put16(udp, 0, 49_152 + (self.own() >> 8) as u16 % 16_384);
        put16(udp, 2, 4_789);
        put16(udp, 4, udp_len as u16);
        put16(udp, 6, 0);
        udp[8..16].copy_from_slice(&[8, 0, 0, 0, 0, 0, 42, 0]);
        self.tcp4(&mut frame[OUTER..]);
    }

    fn ipv4(&self, packet: &mut [u8], protocol: u8, id: u16, (from, to): ([u8; 4], [u8; 4])) {
        let len = packet.len();
        packet[0] = 0x45;
        packet[1] = 0;
        put16(packet, 2, len as u16);
        put16(packet, 4, id);
        put16(packet, 6, 0x4000);
        packet[8] = 61;
        packet[9] = protocol;
        put16(packet, 10, 0);
        packet[12..16].copy_from_slice(&from);
        packet[16..20].copy_from_slice(&to);
        let check = !fold(sum(&packet[..20]));
        put16(packet, 10, check);
    }

    /// Header, payload and checksum.
    fn tcp(&self, tcp: &mut [u8], pseudo: u64) {
        let (from, to) = self.ports();
        put16(tcp, 0, from);
        put16(tcp, 2, to);
        let first = (self.own() >> 32) as u32;
        tcp[4..8].copy_from_slice(&first.wrapping_add(self.bytes).to_be_bytes());
        tcp[8..12].copy_from_slice(&(self.own() as u32).wrapping_mul(7).to_be_bytes());
        tcp[12] = (TCP as u8 / 4) << 4;
        tcp[13] = 0x10;
        put16(tcp, 14, 502);
        put16(tcp, 16, 0);
        put16(tcp, 18, 0);
        tcp[20..24].copy_from_slice(&[1, 1, 8, 10]);
        tcp[24..28].copy_from_slice(&(0x1234_5678 + self.flow).to_be_bytes());
        tcp[28..32].copy_from_slice(&(0x9abc_0000 + self.flow).to_be_bytes());
        self.fill(&mut tcp[TCP..]);
        let check = !fold(sum(tcp) + pseudo);
        put16(tcp, 16, check);
    }

    fn fill(&self, payload: &mut [u8]) {
        let mut state = mix(self.number * 31 + 7);
        for chunk in payload.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&state.to_be_bytes()[..chunk.len()]);
        }
    }
}

fn ethernet(frame: &mut [u8], ethertype: u16) {
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    put16(frame, 12, ethertype);
}

/// Toeplitz over outer addresses and ports, of UDP too, where the ports are all that tells tunnelled flows apart.
fn hash(frame: &[u8]) -> u32 {
    if frame[12] == 0x08 {
        rss::toeplitz(&rss::KEY, &frame[26..38])
    } else {
        rss::toeplitz(&rss::KEY, &frame[22..58])
    }
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Sum of 16-bit words, not folded; an odd last byte is the high half of a word.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words: u64 = words.iter().map(|&word| u64::from(u16::from_be_bytes(word))).sum();
    words + rest.first().map_or(0, |&byte| u64::from(byte) << 8)
}

pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Splitmix64: the same numbers in every run.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(shape: Shape, payload: Payload) -> Stream {
        Stream { shape, payload, flows: 3, run: 2, hashed: true }
    }

    fn valid4(packet: &[u8], protocol: u8) -> bool {
        let pseudo = sum(&packet[12..20]) + u64::from(protocol) + (packet.len() - 20) as u64;
        fold(sum(&packet[..20])) == 0xffff && fold(sum(&packet[20..]) + pseudo) == 0xffff
    }

    #[test]
    fn every_shape_has_valid_checksums_and_lengths() {
        for payload in [Payload::Bytes(1_448), Payload::Bytes(101), Payload::Imix] {
            for shape in [Shape::Ipv4, Shape::Ipv6, Shape::Vlan, Shape::Vxlan, Shape::Udp] {
                let mut writer = Writer::new(stream(shape, payload));
                let mut frame = vec![0xee; writer.most()];
                for _ in 0..20 {
                    let made = writer.write(&mut frame);
                    let frame = &frame[..made.len];
                    assert_ne!(made.hash, 0);
                    match shape {
                        Shape::Ipv4 | Shape::Vlan => assert!(valid4(&frame[14..], 6)),
                        Shape::Udp => assert!(valid4(&frame[14..], 17)),
                        Shape::Vxlan => {
                            assert_eq!(fold(sum(&frame[14..34])), 0xffff);
                            assert!(valid4(&frame[64..], 6));
                        }
                        Shape::Ipv6 => {
                            let pseudo = sum(&frame[22..54]) + 6 + (made.len - 54) as u64;
                            assert_eq!(fold(sum(&frame[54..]) + pseudo), 0xffff);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn flows_take_turns_in_runs_and_go_on_where_they_were() {
        let mut writer = Writer::new(stream(Shape::Ipv4, Payload::Bytes(100)));
        let mut frame = vec![0; writer.most()];
        let mut made = Vec::new();
        for _ in 0..8 {
            let hash = writer.write(&mut frame).hash;
            made.push((hash, u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]])));
        }
        assert_eq!(made[0].0, made[1].0);
        assert_ne!(made[1].0, made[2].0);
        assert_eq!(made[0].0, made[6].0);
        assert_eq!(made[6].1, made[0].1.wrapping_add(200));
    }
}

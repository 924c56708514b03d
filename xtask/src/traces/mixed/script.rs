//! Writing a case down: segments one after the other, and what the kernel makes of them.

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};
use gro_bench::trace::payload;

use super::segment::{Ip, Segment, Transport};
use super::tunnel::Via;

/// What a case is built with: its family, payload size and options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Of UDP instead of TCP.
    pub(super) udp: bool,
    pub(super) v6: bool,
    pub(super) mss: usize,
    pub(super) timestamps: bool,
    /// The tunnel that it is in.
    pub(super) via: Option<Via>,
}

/// A frame of a case.
pub(super) struct Sent {
    /// The silence before it, in nanoseconds.
    pub(super) gap: u64,
    pub(super) bytes: Vec<u8>,
    /// The receive hash; none is zero.
    pub(super) hash: Option<u32>,
}

/// The state of one flow's sender while a recipe runs.
pub(super) struct Script {
    /// Bytes of a full segment.
    pub(super) mss: usize,
    pub(super) shape: Shape,
    case: u16,
    flow: u16,
    first: u32,
    sequence: u32,
    identification: u16,
    outer_identification: u16,
    gap: u64,
    hash: Option<u32>,
    pub(super) frames: Vec<Sent>,
    /// Payload bytes of the packets that leave.
    pub(super) delivered: Vec<u32>,
}

/// Between frames of a case.
pub(super) const STEP_NS: u64 = 1_000;

impl Script {
    /// `case` gives the case its ports, `flow` tells flows of one case apart, `seed` chooses its numbers.
    pub(super) fn new(shape: Shape, case: u16, flow: u16, seed: u64) -> Self {
        let numbers = mix(seed ^ u64::from(case) << 16 ^ u64::from(flow));
        let first = numbers as u32;
        let identification = (numbers >> 32) as u16;
        let outer_identification = (numbers >> 48) as u16;
        Self {
            mss: shape.mss,
            shape,
            case,
            flow,
            first,
            sequence: first,
            identification,
            outer_identification,
            gap: STEP_NS,
            hash: None,
            frames: Vec::new(),
            delivered: Vec::new(),
        }
    }

    /// `count` full segments, in order.
    pub(super) fn full(&mut self, count: usize) {
        for _ in 0..count {
            self.data(self.mss);
        }
    }

    /// A segment with `length` bytes of payload, in order.
    pub(super) fn data(&mut self, length: usize) {
        self.with(length, |_| ());
    }

    /// A changed segment; the sender goes on behind it.
    pub(super) fn with(&mut self, length: usize, change: impl FnOnce(&mut Segment)) {
        self.extra(length, change);
        self.sequence = self.sequence.wrapping_add(length as u32);
    }

    /// A changed segment that does not count: the sender goes on as if it had not been sent.
    pub(super) fn extra(&mut self, length: usize, change: impl FnOnce(&mut Segment)) {
        let mut segment = self.segment(length);
        change(&mut segment);
        self.identification = self.identification.wrapping_add(1);
        self.outer_identification = self.outer_identification.wrapping_add(1);
        self.raw(segment.bytes());
    }

    /// A frame that is no segment of this flow.
    pub(super) fn raw(&mut self, frame: Vec<u8>) {
        let gap = std::mem::replace(&mut self.gap, STEP_NS);
        self.frames.push(Sent { gap, bytes: frame, hash: self.hash });
    }

    /// The receive hash of the frames that follow.
    pub(super) fn hash(&mut self, hash: u32) {
        self.hash = Some(hash);
    }

    /// Silence before the next frame, in nanoseconds.
    pub(super) fn pause(&mut self, ns: u64) {
        self.gap = ns;
    }

    /// Skips `bytes` of the stream: a segment was lost.
    pub(super) fn lose(&mut self, bytes: usize) {
        self.sequence = self.sequence.wrapping_add(bytes as u32);
    }

    /// Goes back: a retransmission follows.
    pub(super) fn rewind(&mut self, bytes: usize) {
        self.sequence = self.sequence.wrapping_sub(bytes as u32);
    }

    /// Starts the stream at another sequence number.
    pub(super) fn start_at(&mut self, sequence: u32) {
        self.first = sequence;
        self.sequence = sequence;
    }

    /// Takes the last IPv4 identification back: whoever follows an [`Script::extra`] joins its predecessor.
    pub(super) fn forget_identification(&mut self) {
        self.identification = self.identification.wrapping_sub(1);
        self.outer_identification = self.outer_identification.wrapping_sub(1);
    }

    /// Sets the next IPv4 identification; it counts up from there.
    pub(super) fn identify(&mut self, identification: u16) {
        self.identification = identification;
    }

    /// The same for the header in front of the tunnel.
    pub(super) fn identify_outer(&mut self, identification: u16) {
        self.outer_identification = identification;
    }

    /// Bytes of the IP and transport headers of a plain segment, and of what is in front of it in a tunnel.
    pub(super) fn headers(&self) -> usize {
        let ip = if self.shape.v6 { 40 } else { 20 };
        self.shape.via.map_or(0, Via::headers)
            + ip
            + match (self.shape.udp, self.shape.timestamps) {
                (true, _) => 8,
                (false, true) => 32,
                (false, false) => 20,
            }
    }

    /// States what leaves, in order.
    pub(super) fn deliver(&mut self, payloads: &[usize]) {
        self.delivered.extend(payloads.iter().map(|&payload| payload as u32));
    }

    /// Payload bytes of the frame at `index`, by its headers.
    pub(super) fn payload_of(&self, index: usize) -> usize {
        payload(&self.frames[index].bytes) as usize
    }

    /// A right segment at the sender's place.
    pub(super) fn segment(&self, length: usize) -> Segment {
        let (source_port, destination_port) = (40_000 + self.flow, 1_024 + self.case);
        let (transport, protocol) = if self.shape.udp {
            let header = UdpHeader { source_port, destination_port, ..Default::default() };
            (Transport::Udp(header), IpNumber::UDP)
        } else {
            (Transport::Tcp(self.tcp(source_port, destination_port)), IpNumber::TCP)
        };
        let ethernet = Ethernet2Header {
            destination: [2, 0, 0, 0, 0, 2],
            source: [2, 0, 0, 0, 0, 1],
            ether_type: EtherType::IPV4,
        };
        let ip = if self.shape.v6 {
            let mut header = Ipv6Header { hop_limit: 64, next_header: protocol, ..Default::default() };
            header.source = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            header.destination = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
            Ip::V6(header, Vec::new())
        } else {
            Ip::V4(Ipv4Header {
                identification: self.identification,
                dont_fragment: true,
                time_to_live: 64,
                protocol,
                source: [10, 0, 0, 1],
                destination: [10, 0, 0, 2],
                ..Default::default()
            })
        };
        // The pattern follows the place in the stream, so that bytes in the wrong place show, and compresses.
        let place = self.sequence.wrapping_sub(self.first) as usize;
        let payload = (place..place + length).map(|at| b'a' + (at % 23) as u8).collect();
        let mut segment = Segment {
            ethernet,
            vlan: None,
            tpid: 0x8100,
            ip,
            transport,
            payload,
            edits: Vec::new(),
            tunnels: Vec::new(),
        };
        if let Some(via) = self.shape.via {
            // A host behind the end of the tunnel.
            segment.ethernet.destination[4] = 1;
            segment.ethernet.source[4] = 1;
            segment.tunnels.push(via.tunnel(self.outer_identification));
        }
        segment
    }

    /// A right TCP header at the sender's place, also in a script of UDP.
    pub(super) fn tcp(&self, source_port: u16, destination_port: u16) -> TcpHeader {
        let mut tcp = TcpHeader::new(source_port, destination_port, self.sequence, 501);
        tcp.ack = true;
        tcp.acknowledgment_number = self.first ^ 0x5555_0000;
        if self.shape.timestamps {
            timestamps(&mut tcp, 1_000, 2_000);
        }
        tcp
    }
}

/// The option block of every common stack: two NOPs and the timestamps.
pub(super) fn timestamps(tcp: &mut TcpHeader, value: u32, echo: u32) {
    let mut options = vec![1, 1, 8, 10];
    options.extend_from_slice(&value.to_be_bytes());
    options.extend_from_slice(&echo.to_be_bytes());
    set_options(tcp, &options);
}

/// Sets the options, a multiple of 4 and at most 40 bytes.
pub(super) fn set_options(tcp: &mut TcpHeader, options: &[u8]) {
    tcp.set_options_raw(options).expect("at most 40 bytes");
}

/// SplitMix64: numbers that look random from numbers that do not.
pub(in crate::traces) fn mix(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

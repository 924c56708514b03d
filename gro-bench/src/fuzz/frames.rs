//! Random batches of frames: a few flows, most of whose segments could merge, and a mutation of one field here and there.

use super::tunnel::{Outer, ethertype};
use crate::trace::{Frame, Vlan};
use bytes::Bytes;
use gro_core::HEADER_MAX;

/// SplitMix64: small, seeded, good enough to choose mutations.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.word() % limit as u64) as usize
    }

    /// One of the choices.
    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn byte(&mut self) -> u8 {
        self.word() as u8
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// Which frames are in the batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frames {
    /// No tunnels.
    Plain,
    /// One batch in three is one of tunnels.
    #[default]
    Mixed,
    /// Every batch is one of tunnels.
    Encapsulated,
}

/// A batch of one poll.
pub fn batch(random: &mut Random, which: Frames) -> Vec<Frame> {
    let encapsulated = match which {
        Frames::Plain => false,
        Frames::Mixed => random.once_in(3),
        Frames::Encapsulated => true,
    };
    let frames = random.of(&[1, 2, 3, 5, 8, 20, 40, 64]);
    let flows = random.of(&[1, 1, 2, 3, 5, 9, 12]);
    let mut flows: Vec<Segment> = (0..flows).map(|_| Segment::random(random)).collect();
    if encapsulated {
        for flow in &mut flows {
            // Now and then a plain one among them.
            if !random.once_in(8) {
                flow.outer = Some(Outer::random(random, flow.ip.is_ipv6()));
                flow.ports[0] = TUNNEL_PORT;
                // BIG TCP in each kind of tunnel comes seldom enough.
                if random.once_in(4) {
                    flow.payload = 15_000;
                }
            }
        }
    }
    // How rarely a frame is mutated: a batch that only merges finds what a batch of mutants does not.
    let rate = random.of(&[2, 5, 20, 1000]);
    let mut sent: Vec<Frame> = Vec::with_capacity(frames);
    while sent.len() < frames {
        if !sent.is_empty() && random.once_in(40) {
            let again = sent[random.below(sent.len())].clone();
            sent.push(again);
            continue;
        }
        let at = random.below(flows.len());
        let flow = &mut flows[at];
        let mut segment = flow.clone();
        flow.advance();
        let mut mutations = 0;
        while mutations < 3 && random.once_in(rate) {
            segment.mutate(random);
            mutations += 1;
        }
        if random.once_in(rate * 10) {
            // From here on the flow is another one.
            flow.mutate(random);
        }
        sent.push(segment.frame(random, rate));
    }
    sent
}

/// All pairs of segments in which the first has another IPv4 identification and urgent pointer: the sums of their headers take
/// every value, and the checksums both zeros.
pub fn pairs() -> Vec<Vec<Frame>> {
    const PAIRS: u32 = 32;
    let mut random = Random(1);
    let base = loop {
        let segment = Segment::random(&mut random);
        if segment.udp.is_none() && matches!(segment.ip, Ip::V4 { step: 1, .. }) && segment.payload == 101 {
            break Segment { zero: false, ..segment };
        }
    };
    let pair = |number: u32| {
        let mut first = Segment { hash: number, urgent: number as u16, ..base.clone() };
        if let Ip::V4 { id, .. } = &mut first.ip {
            *id = number as u16;
        }
        let mut second = first.clone();
        second.advance();
        [first, second].map(|segment| segment.frame(&mut random, usize::MAX / 16))
    };
    let frames: Vec<Frame> = (0..1 << 16).flat_map(pair).collect();
    frames.chunks(2 * PAIRS as usize).map(<[Frame]>::to_vec).collect()
}

/// One segment, field by field. Lengths and checksums are right unless a field says otherwise.
#[derive(Clone, Debug)]
struct Segment {
    macs: [u8; 12],
    vlan: Option<Vlan>,
    hash: u32,
    /// The tunnel that it is in. A frame whose headers the engine's window does not hold is sent without extension headers and
    /// with one tunnel.
    outer: Option<Outer>,
    ip: Ip,
    ports: [u8; 4],
    /// A UDP datagram: what is XOR-ed into its length.
    udp: Option<u16>,
    seq: u32,
    ack: u32,
    /// Data offset and reserved bits beyond what the options need, XOR-ed in.
    offset: u8,
    flags: u8,
    window: u16,
    urgent: u16,
    options: Vec<u8>,
    payload: usize,
    fill: u8,
    /// The urgent pointer, which no rule looks at, makes the TCP checksum 0x0000. UDP is sent without checksum.
    zero: bool,
    /// XOR-ed into the right values.
    tcp_sum: u16,
    ip_sum: u16,
    length: u16,
    /// Bytes behind the packet.
    padding: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Ip {
    V4 { first: u8, tos: u8, id: u16, step: u16, fragment: u16, ttl: u8, protocol: u8, addresses: [u8; 8] },
    V6 { class: u32, next: u8, hops: u8, addresses: [u8; 32], extensions: Vec<(u8, Vec<u8>)> },
}

/// First byte of the ports in tunnels, some bits away from that of others: a datagram with the outer addresses of a held UDP
/// tunnel makes the kernel look for its ports in the held packet's inner header (`udp_gro_receive_segment`,
/// net/ipv4/udp_offload.c), which no engine follows.
const TUNNEL_PORT: u8 = 0x21;

/// What an IP header may say is behind it, where it is not.
const PROTOCOLS: [u8; 9] = [1, 4, 17, 41, 47, 50, 58, 132, 253];

impl Segment {
    fn random(random: &mut Random) -> Self {
        let udp = random.once_in(4).then_some(0);
        let mut ip = Ip::random(random);
        if udp.is_some() {
            match &mut ip {
                Ip::V4 { protocol, .. } => *protocol = 17,
                Ip::V6 { next, extensions, .. } => {
                    *next = 17;
                    // The longest chains that fit the engine's window.
                    if random.once_in(6) {
                        let eights = random.of(&[22, 23]);
                        let mut body = vec![eights as u8];
                        body.extend(random.bytes(6 + 8 * eights));
                        *extensions = vec![(60, body)];
                    }
                }
            }
        }
        let stamps = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];
        let options = match random.below(4) {
            0 | 1 => Vec::new(),
            2 => stamps.to_vec(),
            _ => {
                let words = 1 + random.below(10);
                random.bytes(words * 4)
            }
        };
        Self {
            macs: [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1],
            vlan: random.once_in(4).then(|| tag(random)),
            outer: None,
            hash: random.of(&[0, 8, 0x1234_5678, 0xffff_ffff]) ^ random.of(&[0, 0, 1, 2, 7]),
            ip,
            ports: [0x12, random.below(2) as u8, 0, 80],
            udp,
            seq: random.of(&[1, 0xffff_f000, 0x7fff_ff00]),
            ack: 1,
            offset: 0,
            flags: 0x10,
            window: random.of(&[0, 500, 0xffff]),
            urgent: 0,
            options,
            payload: random.of(&[1, 2, 5, 6, 7, 100, 101, 536, 1000, 1448, 1448, 1461, 8948, 15_000]),
            fill: random.of(&[0, 0xff, b'a']),
            zero: random.once_in(8),
            tcp_sum: 0,
            ip_sum: 0,
            length: 0,
            padding: 0,
        }
    }

    /// To the next segment of the flow.
    fn advance(&mut self) {
        self.seq = self.seq.wrapping_add(self.payload as u32);
        self.ip.advance();
        if let Some(outer) = &mut self.outer {
            outer.advance();
        }
    }

    fn mutate(&mut self, random: &mut Random) {
        if let Some(outer) = &mut self.outer
            && random.once_in(2)
        {
            return outer.mutate(random);
        }
        let bit = 1 << random.below(16);
        match random.below(27) {
            0..3 => self.flags ^= 1 << random.below(8),
            3 => self.flags = random.byte(),
            4 => self.offset ^= random.of(&[1, 2, 4, 8, 0x10, 0x10, 0x20, 0x40, 0x50]),
            5 => self.window ^= bit,
            6 => self.ack = self.ack.wrapping_add(random.of(&[1, 1000, 1 << 31])),
            7 => self.urgent ^= bit,
            8 => self.seq = self.seq.wrapping_add(random.of(&[1, u32::MAX, self.payload as u32, 1 << 31])),
            9..11 => match random.below(3) {
                0 if !self.options.is_empty() => {
                    let at = random.below(self.options.len());
                    self.options[at] ^= 1 << random.below(8);
                }
                1 => self.options.truncate(self.options.len() / 8 * 4),
                _ if self.options.len() < 40 => self.options.extend([1; 4]),
                _ => self.options.clear(),
            },
            11..13 => self.payload = random.of(&[0, 0, 1, self.payload / 2, self.payload + 1, 200, 9000]),
            13 => self.tcp_sum = random.of(&[bit, 0xffff]),
            14 => self.ip_sum = random.of(&[bit, 0xffff]),
            15 => self.length = random.of(&[1, 2, 4, 0x100, 0xffff, bit]),
            16 => self.padding = random.of(&[1, 2, 3, 6, 40]),
            17 => self.hash ^= 1 << random.below(32),
            18 => self.vlan = if self.vlan.is_some() && random.once_in(2) { None } else { Some(tag(random)) },
            19 => self.macs[random.below(12)] ^= 1 << random.below(8),
            20 => self.ports[random.below(4)] ^= 1 << random.below(8),
            21 => self.fill = random.byte(),
            22 => self.zero = !self.zero,
            23 => self.udp = self.udp.map(|_| random.of(&[0, 1, 4, 0x100, 8 + self.payload as u16, bit])),
            _ => self.ip.mutate(random),
        }
    }

    fn frame(&self, random: &mut Random, rate: usize) -> Frame {
        let mut packet = self.packet();
        // A data offset may say more than the options have.
        let more = usize::from(self.offset >> 4) * 4;
        if self.outer.is_some() && 14 + packet.0.len() - self.payload + more > HEADER_MAX {
            let mut short = self.clone();
            short.ip.shorten();
            short.outer.iter_mut().for_each(|outer| outer.shorten(short.ip.is_ipv6()));
            packet = short.packet();
        }
        let (packet, ipv6) = packet;
        let mut bytes = self.macs.to_vec();
        bytes.extend(ethertype(ipv6).to_be_bytes());
        bytes.extend(packet);
        bytes.resize(bytes.len() + self.padding, 0);
        // Now and then something that no field above stands for.
        if random.once_in(rate * 10) {
            let at = random.below(bytes.len().min(120));
            bytes[at] ^= 1 << random.below(8);
        }
        if random.once_in(rate * 10) {
            bytes.truncate(14 + random.below(bytes.len() - 14));
        }
        Frame { time_ns: 0, bytes: Bytes::from(bytes), hash: self.hash, vlan: self.vlan }
    }

    /// Behind the Ethernet header, and whether it is IPv6.
    fn packet(&self) -> (Vec<u8>, bool) {
        let l4 = self.udp.map_or_else(|| self.tcp(), |error| self.udp(error));
        let mut packet = self.ip.header(&l4, (self.length, self.ip_sum));
        packet.extend(l4);
        let ipv6 = self.ip.is_ipv6();
        match &self.outer {
            Some(outer) => outer.wrap(packet, ipv6),
            None => (packet, ipv6),
        }
    }

    fn udp(&self, length_error: u16) -> Vec<u8> {
        let mut udp = self.ports.to_vec();
        udp.extend(((8 + self.payload as u16) ^ length_error).to_be_bytes());
        udp.extend([0, 0]);
        udp.resize(udp.len() + self.payload, self.fill);
        let check = match checksum(self.ip.pseudo(udp.len()) + sum(&udp)) ^ self.tcp_sum {
            _ if self.zero => 0,
            0 => 0xffff,
            check => check,
        };
        udp[6..8].copy_from_slice(&check.to_be_bytes());
        udp
    }

    fn tcp(&self) -> Vec<u8> {
        let words = 5 + self.options.len() as u8 / 4;
        let mut tcp = self.ports.to_vec();
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([words << 4 ^ self.offset, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(&self.options);
        tcp.resize(tcp.len() + self.payload, self.fill);
        let pseudo = self.ip.pseudo(tcp.len());
        let mut check = checksum(pseudo + sum(&tcp));
        if self.zero {
            let urgent = gro_core::checksum::fold(u32::from(check) + u32::from(self.urgent));
            tcp[18..20].copy_from_slice(&urgent.to_be_bytes());
            check = checksum(pseudo + sum(&tcp));
        }
        tcp[16..18].copy_from_slice(&(check ^ self.tcp_sum).to_be_bytes());
        tcp
    }
}

impl Ip {
    /// In front of TCP.
    pub(super) fn random(random: &mut Random) -> Self {
        if random.once_in(2) {
            Self::V4 {
                first: 0x45,
                tos: random.of(&[0, 0, 2, 0xb8]),
                id: if random.once_in(2) { random.word() as u16 } else { random.of(&[0, 7, 0xfffd]) },
                step: random.of(&[0, 1, 1]),
                fragment: random.of(&[0, 0x4000]),
                ttl: 64,
                protocol: 6,
                addresses: [10, 0, 0, 1 + random.below(2) as u8, 10, 0, 0, 9],
            }
        } else {
            let mut addresses = [0; 32];
            addresses[0] = 0xfd;
            addresses[15] = 1 + random.below(2) as u8;
            addresses[16] = 0xfd;
            addresses[31] = 9;
            let extensions = random.of(&[0, 0, 0, 1, 2, 3]);
            let extensions = (0..extensions).map(|at| extension(random, at)).collect();
            Self::V6 {
                class: random.of(&[0, 0x0200_0000, 0x12345]),
                next: 6,
                hops: 64,
                addresses,
                extensions,
            }
        }
    }

    pub(super) fn is_ipv6(&self) -> bool {
        matches!(self, Self::V6 { .. })
    }

    /// What it says is behind it.
    pub(super) fn protocol(&mut self) -> &mut u8 {
        match self {
            Self::V4 { protocol, .. } => protocol,
            Self::V6 { next, .. } => next,
        }
    }

    /// Without extension headers.
    pub(super) fn shorten(&mut self) {
        if let Self::V6 { extensions, .. } = self {
            extensions.clear();
        }
    }

    /// To the next packet.
    pub(super) fn advance(&mut self) {
        if let Self::V4 { id, step, .. } = self {
            *id = id.wrapping_add(*step);
        }
    }

    /// The sum of the pseudo-header.
    pub(super) fn pseudo(&self, length: usize) -> u32 {
        let (protocol, addresses): (u8, &[u8]) = match self {
            Self::V4 { protocol, addresses, .. } => (*protocol, addresses),
            Self::V6 { next, addresses, .. } => (*next, addresses),
        };
        sum(addresses) + u32::from(protocol) + length as u32
    }

    pub(super) fn mutate(&mut self, random: &mut Random) {
        match self {
            Self::V4 { first, tos, id, step, fragment, ttl, protocol, addresses } => match random.below(9) {
                0 => *first = random.of(&[0x46, 0x44, 0x55, 0x65, 0x4f]),
                1 => *tos ^= 1 << random.below(8),
                2 | 3 => *id = id.wrapping_add(random.of(&[1, 2, u16::MAX, 0x100])),
                4 => *step = random.of(&[0, 1, 2]),
                5 => *fragment ^= random.of(&[0x8000, 0x4000, 0x4000, 0x2000, 1, 0x100]),
                6 => *ttl = ttl.wrapping_sub(1),
                7 => *protocol = random.of(&PROTOCOLS),
                _ => addresses[random.below(8)] ^= 1 << random.below(8),
            },
            Self::V6 { class, next, hops, addresses, extensions } => match random.below(8) {
                0 => *class ^= 1 << random.below(28),
                1 => *hops = hops.wrapping_sub(1),
                2 => *next = random.of(&PROTOCOLS),
                3 => addresses[random.below(32)] ^= 1 << random.below(8),
                4 if extensions.len() < 4 && bytes_of(extensions) < LONG => {
                    let at = random.below(extensions.len() + 1);
                    extensions.insert(at, extension(random, at));
                }
                5 => drop(extensions.pop()),
                6 => extensions.insert(0, (44, vec![0, 0, random.of(&[0, 0, 8]), 0, 0, 0, 7])),
                _ => {
                    if let Some((_, body)) = extensions.last_mut() {
                        let at = random.below(body.len());
                        body[at] ^= 1 << random.below(8);
                    }
                }
            },
        }
    }

    pub(super) fn header(&self, packet: &[u8], (length_error, sum_error): (u16, u16)) -> Vec<u8> {
        match self {
            Self::V4 { first, tos, id, fragment, ttl, protocol, addresses, .. } => {
                let length = (20 + packet.len() as u16) ^ length_error;
                let mut header = vec![*first, *tos];
                header.extend([length.to_be_bytes(), id.to_be_bytes(), fragment.to_be_bytes()].concat());
                header.extend([*ttl, *protocol, 0, 0]);
                header.extend(addresses);
                let check = checksum(sum(&header)) ^ sum_error;
                header[10..12].copy_from_slice(&check.to_be_bytes());
                header
            }
            Self::V6 { class, next, hops, addresses, extensions } => {
                let mut following: Vec<u8> = extensions.iter().map(|(kind, _)| *kind).collect();
                following.push(*next);
                let mut chain = Vec::new();
                for ((_, body), next) in extensions.iter().zip(&following[1..]) {
                    chain.push(*next);
                    chain.extend(body);
                }
                let length = ((chain.len() + packet.len()) as u16) ^ length_error;
                let mut header = (6 << 28 ^ class).to_be_bytes().to_vec();
                header.extend(length.to_be_bytes());
                header.extend([following[0], *hops]);
                header.extend(addresses);
                header.extend(chain);
                header
            }
        }
    }
}

/// Bytes of extension headers beside which another one may not fit the engine's window.
const LONG: usize = 120;

fn bytes_of(extensions: &[(u8, Vec<u8>)]) -> usize {
    extensions.iter().map(|(_, body)| body.len() + 1).sum()
}

/// An extension header without its first byte: hop-by-hop (first only), routing or destination options.
fn extension(random: &mut Random, at: usize) -> (u8, Vec<u8>) {
    let kind = if at == 0 { random.of(&[0, 60, 43]) } else { random.of(&[60, 43]) };
    let words = random.of(&[0, 0, 1, 2]);
    let mut body = vec![words as u8];
    body.extend(random.bytes(6 + 8 * words));
    (kind, body)
}

fn tag(random: &mut Random) -> Vlan {
    Vlan { tpid: random.of(&[0x8100, 0x8100, 0x88a8]), tci: random.of(&[0, 5, 0x2005, 0xfff]) }
}

pub(super) fn sum(bytes: &[u8]) -> u32 {
    u32::from(gro_core::user::sum(bytes))
}

pub(super) fn checksum(sum: u32) -> u16 {
    gro_core::checksum::field(sum)
}

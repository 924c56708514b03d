//! Frames that nobody should send, from a seed.

#[path = "tunnels.rs"]
mod tunnels;

use bytes::Bytes;
use etherparse::checksum::Sum16BitWords;
use gro_bench::trace::{Frame, Poll, Trace, Vlan};
use tunnels::Encapsulation;

/// SplitMix64: small, and the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() >> 32) as usize % end
    }

    /// Once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// A trace of `count` frames in polls of every size, at times that stand, creep, leap and step back; some frames are longer than
/// any descriptor says if `oversized`.
pub(crate) fn trace(random: &mut Random, count: usize, oversized: bool) -> Trace {
    let mut flows: Vec<Flow> = (0..12).map(|number| Flow::new(random, number)).collect();
    let mut frames = Vec::with_capacity(count + BURST);
    let mut time_ns = random.next() >> 20;
    while frames.len() < count {
        let flow = random.below(flows.len());
        let flow = &mut flows[flow];
        let (hash, vlan) = (flow.hash, flow.vlan);
        let mut push = |bytes: Vec<u8>, hash, vlan| {
            frames.push(Frame { time_ns, bytes: Bytes::from(bytes), hash, vlan });
        };
        match random.below(20) {
            // A burst that merges, its checksums good.
            0..3 => {
                for _ in 0..1 + random.below(BURST) {
                    push(flow.segment(random), hash, vlan);
                }
            }
            3..5 => push(flow.segment(random), hash, vlan),
            // Damaged behind the sums or before them, so that it dies at the first check or gets past it.
            5..13 => {
                let frame = flow.segment(random);
                push(damaged(random, frame), hash, vlan);
            }
            13 => {
                let length = random.below(300);
                push(noise(random, length), random.next() as u32, tag(random));
            }
            14 => push(chain(random, flow), hash, vlan),
            15..17 => {
                for _ in 0..1 + random.below(BURST) {
                    push(flow.encapsulated(random), hash, vlan);
                }
            }
            17..19 => push(flow.damaged_in_tunnel(random), hash, vlan),
            // Right in every byte, but of another queue or network.
            _ if random.once_in(50) => {
                let lengths: &[usize] =
                    if oversized { &[65_536, 65_537, 70_000] } else { &[9_000, 9_014, 65_535] };
                let length = random.pick(lengths);
                let mut frame = flow.segment(random);
                frame.resize(length, 7);
                repair(&mut frame, true);
                push(frame, hash, vlan);
            }
            _ => push(flow.segment(random), random.next() as u32, tag(random)),
        }
        let step = random.pick(&[0, 0, 1_000, 4_000_000, 60_000_000]);
        time_ns = if random.once_in(500) { time_ns / 2 } else { time_ns + step };
    }
    let polls = polls(random, &frames);
    Trace { name: "hostile".into(), frames, polls }
}

/// Most frames of a burst.
const BURST: usize = 24;

fn polls(random: &mut Random, frames: &[Frame]) -> Vec<Poll> {
    let mut polls = Vec::new();
    let mut start = 0;
    while start < frames.len() {
        // A poll without a frame and one over the budget of 64 are possible, too.
        let most = random.pick(&[1, 2, 20, 64, 65, 200]);
        let end = (start + random.below(most + 1)).min(frames.len());
        polls.push(Poll { time_ns: frames[start].time_ns, frames: start..end });
        start = end;
    }
    polls
}

fn tag(random: &mut Random) -> Option<Vlan> {
    random.once_in(2).then(|| Vlan {
        tpid: random.pick(&[0x8100, 0x88a8, 0, 0xffff]),
        tci: random.pick(&[0, 5, 0x2005, 0xffff]),
    })
}

/// Bytes without sense, some of which claim to be IP.
fn noise(random: &mut Random, length: usize) -> Vec<u8> {
    let mut frame = random.bytes(length);
    if length >= 15 && random.once_in(2) {
        let ip = random.pick(&[[8, 0, 0x45], [0x86, 0xdd, 0x60], [8, 6, 0], [0x81, 0, 0], [8, 0, 0x4f]]);
        frame[12..15].copy_from_slice(&ip);
    }
    frame
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// One sender.
struct Flow {
    v6: bool,
    udp: bool,
    number: u8,
    hash: u32,
    vlan: Option<Vlan>,
    sequence: u32,
    identification: u16,
    fixed: bool,
    mss: usize,
    options: Vec<u8>,
    extensions: Vec<u8>,
    tunnel: Encapsulation,
}

impl Flow {
    fn new(random: &mut Random, number: u8) -> Self {
        let v6 = number % 2 == 1;
        Self {
            v6,
            udp: random.once_in(5),
            number,
            // Some share a bucket, some all of the hash.
            hash: random.pick(&[0, 8, 0xdead_0000, random.0 as u32]),
            vlan: if random.once_in(3) { tag(random) } else { None },
            sequence: random.pick(&[0, u32::MAX - 5_000, 1 << 31]),
            identification: random.pick(&[0, 65_530, 77]),
            fixed: random.once_in(3),
            mss: random.pick(&[1, 7, 100, 333, 536, 1_448]),
            options: random.pick(&[&[][..], &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 3], &[1; 40]]).to_vec(),
            // (Next header follows when the frame is built.)
            extensions: if v6 { vec![4; random.pick(&[0, 0, 8, 24])] } else { Vec::new() },
            tunnel: Encapsulation::new(random, number),
        }
    }

    /// The next segment in the flow's tunnel.
    fn encapsulated(&mut self, random: &mut Random) -> Vec<u8> {
        let frame = self.segment(random);
        self.tunnel.wrap(random, &frame)
    }

    /// The same, damaged in the tunnel or in front of it, or in a tunnel in a tunnel.
    fn damaged_in_tunnel(&mut self, random: &mut Random) -> Vec<u8> {
        let frame = self.segment(random);
        match random.below(8) {
            0 => {
                let frame = self.tunnel.wrap(random, &frame);
                self.tunnel.wrap(random, &frame)
            }
            1..4 => {
                let frame = damaged(random, frame);
                self.tunnel.wrap(random, &frame)
            }
            _ => self.tunnel.damaged(random, &frame),
        }
    }

    /// The next segment, with good checksums.
    fn segment(&mut self, random: &mut Random) -> Vec<u8> {
        let length = match random.below(12) {
            0 => random.below(self.mss + 1),
            1 => self.mss + 1,
            _ => self.mss,
        };
        let protocol = if self.udp { UDP } else { TCP };
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, self.number, 0, 0, protocol, 64]);
            frame.extend([self.number; 32]);
            if !self.extensions.is_empty() {
                frame[20] = 60;
                let mut header = self.extensions.clone();
                (header[0], header[1]) = (protocol, (self.extensions.len() / 8 - 1) as u8);
                frame.extend(header);
            }
        } else {
            let fragment = if self.fixed { 0x40 } else { 0 };
            frame.extend([8, 0, 0x45, 0, 0, 0]);
            frame.extend(self.identification.to_be_bytes());
            frame.extend([fragment, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, self.number]);
            self.identification = self.identification.wrapping_add(u16::from(!self.fixed));
        }
        let flags = if random.once_in(10) { random.next() as u8 } else { 0x10 };
        frame.extend([0, 80, 1, self.number]);
        if self.udp {
            frame.extend([0; 4]);
        } else {
            frame.extend(self.sequence.to_be_bytes());
            frame.extend([0, 0, 0, 9, ((20 + self.options.len()) as u8) << 2, flags, 1, 0, 0, 0, 0, 0]);
            frame.extend(&self.options);
        }
        let payload = self.sequence as u8;
        frame.extend((0..length).map(|at| payload.wrapping_add(at as u8)));
        if !random.once_in(20) {
            self.sequence = self.sequence.wrapping_add(length as u32);
        }
        repair(&mut frame, true);
        if self.udp && random.once_in(20) {
            let check = frame.len() - length - 2;
            frame[check..check + 2].fill(0);
        }
        frame
    }
}

/// A chain of extension headers that ends somewhere, in front of a good or cut segment.
fn chain(random: &mut Random, flow: &mut Flow) -> Vec<u8> {
    let mut frame = flow.segment(random);
    if !flow.v6 {
        return damaged(random, frame);
    }
    let mut chain = Vec::new();
    let first = random.pick(&[0, 43, 60, 44, 51, 59]);
    for _ in 0..random.below(30) {
        let words = if random.once_in(8) { random.below(33) } else { 0 };
        let next = random.pick(&[0, 43, 60, 60, 60, 44]);
        chain.extend([next, words as u8, 1, 4, 0, 0, 0, 0]);
        chain.resize(chain.len() + words * 8, 0);
    }
    // The last one leads to what was first, most of the time; where it stands is not kept track of, and need not be.
    if let Some(last) = chain.len().checked_sub(8).filter(|_| !random.once_in(4)) {
        chain[last..last + 2].copy_from_slice(&[frame[20], 0]);
    }
    if !chain.is_empty() {
        frame[20] = first;
    }
    frame.splice(54..54, chain);
    repair(&mut frame, true);
    if random.once_in(3) {
        frame.truncate(random.below(frame.len() + 1));
    }
    frame
}

/// Changes a good frame in one to three places.
fn damaged(random: &mut Random, mut frame: Vec<u8>) -> Vec<u8> {
    let l4 = if frame.get(12) == Some(&0x86) { 54 } else { 34 };
    let mut lengths = true;
    for _ in 0..1 + random.below(3) {
        let any = random.next() as u8;
        let at = match random.below(12) {
            0 => {
                frame.truncate(random.below(frame.len() + 1));
                continue;
            }
            1 => {
                let tail = random.below(80);
                frame.resize(frame.len() + tail, any);
                lengths = random.once_in(2);
                continue;
            }
            2 => {
                // The IP length lies.
                lengths = false;
                if l4 == 34 { 17 } else { 19 }
            }
            3 => l4 + 12,                    // data offset
            4 => l4 + 13,                    // flags
            5 => l4 + 20 + random.below(40), // options
            6 => 14 + random.below(8),       // version, class, identification, fragments, next header
            7 => 54 + random.below(16),      // extension headers
            8 => l4 + random.below(20),
            9 => 12 + random.below(2), // ethertype
            _ => random.below(frame.len().max(1)),
        };
        if let Some(byte) = frame.get_mut(at) {
            *byte = if random.once_in(2) { *byte ^ 1 << random.below(8) } else { any };
        }
    }
    if random.once_in(2) {
        repair(&mut frame, lengths);
    }
    frame
}

/// Makes checksums, and lengths if asked, those of the bytes present, wherever the headers are there.
fn repair(frame: &mut [u8], lengths: bool) {
    let field = |sum: Sum16BitWords| sum.ones_complement().to_be().to_be_bytes();
    let total = frame.len().saturating_sub(14) as u16;
    let (addresses, l4, protocol) = match frame.get(12..15) {
        Some([0x08, 0x00, _]) if frame.len() >= 42 => {
            if lengths {
                frame[16..18].copy_from_slice(&total.to_be_bytes());
            }
            frame[24..26].fill(0);
            let check = field(Sum16BitWords::new().add_slice(&frame[14..34]));
            frame[24..26].copy_from_slice(&check);
            (26..34, 34, frame[23])
        }
        Some([0x86, 0xdd, _]) if frame.len() >= 62 => {
            if lengths {
                frame[18..20].copy_from_slice(&total.wrapping_sub(40).to_be_bytes());
            }
            let (mut next, mut l4) = (frame[20], 54);
            while let (0 | 43 | 60, Some(header)) = (next, frame.get(l4..l4 + 8)) {
                next = header[0];
                l4 += (usize::from(header[1]) + 1) * 8;
            }
            (22..54, l4, next)
        }
        _ => return,
    };
    let (header, at) = if protocol == UDP { (8, l4 + 6) } else { (20, l4 + 16) };
    if frame.len() < l4 + header {
        return;
    }
    let length = (frame.len() - l4) as u32;
    if protocol == UDP && lengths {
        frame[l4 + 4..l4 + 6].copy_from_slice(&(length as u16).to_be_bytes());
    }
    frame[at..at + 2].fill(0);
    let pseudo = Sum16BitWords::new().add_4bytes(length.to_be_bytes()).add_2bytes([0, protocol]);
    let check = match field(pseudo.add_slice(&frame[addresses]).add_slice(&frame[l4..])) {
        [0, 0] if protocol == UDP => [0xff, 0xff],
        check => check,
    };
    frame[at..at + 2].copy_from_slice(&check);
}

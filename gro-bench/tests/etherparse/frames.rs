//! Frames from a seed: every kind of header in every other, most of them right, many cut, long or changed.

use etherparse::checksum::Sum16BitWords;
use gro_bench::fuzz::Random;

const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ETHERNET: u16 = 0x6558;

/// Where a header is whose length or checksum is known only at the end.
#[derive(Clone, Copy)]
enum Late {
    Ipv4 { at: usize, length: usize },
    Ipv6 { at: usize },
    Udp { at: usize },
}

/// Builds frames, one after another in the same bytes.
pub(crate) struct Generator {
    random: Random,
    bytes: Vec<u8>,
    late: Vec<Late>,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random(seed), bytes: Vec::new(), late: Vec::new() }
    }

    /// The source of further choices.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The next frame.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.bytes.clear();
        self.late.clear();
        self.ethernet(0);
        let headers = self.bytes.len();
        let payload = match self.random.below(10_000) {
            0 => 65_400 + self.random.below(200),
            1..2_500 => 0,
            _ => self.random.below(300),
        };
        self.bytes.resize(headers + payload, 0x61);
        self.lengths();
        self.checksums();
        if self.random.once_in(4) {
            self.mutate(headers);
        }
        &self.bytes
    }

    fn mutate(&mut self, headers: usize) {
        for _ in 0..self.random.below(4) {
            let at = self.random.below(headers);
            let change = self.random.word() as u8;
            // One bit alone shows which bits are looked at.
            let one_bit = 1 << self.random.below(8);
            self.bytes[at] ^= self.random.of(&[change, one_bit]);
        }
        match self.random.below(4) {
            0 => {
                // Somewhere in the headers, or near their end.
                let keep = self.random.below(headers + 2);
                self.bytes.truncate(keep);
            }
            1 => {
                let pad = self.random.below(20);
                self.bytes.resize(self.bytes.len() + pad, 0);
            }
            _ => {}
        }
        if self.random.once_in(2) {
            self.checksums();
        }
    }

    fn random_bytes(&mut self, count: usize) {
        for _ in 0..count {
            self.bytes.push(self.random.word() as u8);
        }
    }

    fn be16(&mut self, word: u16) {
        self.bytes.extend(word.to_be_bytes());
    }

    fn ethernet(&mut self, depth: usize) {
        self.random_bytes(12);
        let ether_type = self.network_type();
        self.tagged(ether_type, depth);
    }

    fn network_type(&mut self) -> u16 {
        if self.random.once_in(60) {
            return self.random.of(&[0x0806, 0x8864, 0x9100, ETHERNET, 46, 0]);
        }
        self.random.of(&[IPV4, IPV6])
    }

    /// An ethertype, tags before it, and what it announces.
    fn tagged(&mut self, ether_type: u16, depth: usize) {
        let tags = self.random.of(&[0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3]);
        for _ in 0..tags {
            let tag = self.random.of(&[0x8100, 0x88a8]);
            self.be16(tag);
            self.random_bytes(2);
        }
        self.be16(ether_type);
        self.network(ether_type, depth);
    }

    fn network(&mut self, ether_type: u16, depth: usize) {
        let tunnels = if depth == 0 { 5 } else { usize::from(self.random.once_in(12)) * 5 };
        // 0 TCP, 1 UDP, 2 anything, then tunnels.
        let what = if tunnels > 0 && self.random.once_in(2) {
            3 + self.random.below(tunnels)
        } else {
            self.random.of(&[0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 2])
        };
        let number = match what {
            0 => TCP,
            1 | 6 | 7 => UDP,
            2 => self.random.word() as u8,
            3 => 4,
            4 => 41,
            _ => 47,
        };
        match ether_type {
            IPV4 => self.ipv4(number),
            IPV6 => self.ipv6(number),
            ETHERNET if depth < 3 => return self.ethernet(depth + 1),
            _ => return,
        }
        match what {
            0 => self.tcp(),
            1 | 2 => self.udp(None),
            3 => self.network(IPV4, depth + 1),
            4 => self.network(IPV6, depth + 1),
            5 => self.gre(depth + 1),
            6 => {
                self.udp(Some(4789));
                self.random_bytes(8);
                self.ethernet(depth + 1);
            }
            _ => {
                self.udp(Some(6081));
                self.geneve(depth + 1);
            }
        }
    }

    fn ipv4(&mut self, protocol: u8) {
        let at = self.bytes.len();
        let words = if self.random.once_in(30) { 5 + self.random.below(11) } else { 5 };
        let version = if self.random.once_in(200) { self.random.word() as u8 & 0xf0 } else { 0x40 };
        self.bytes.push(version | words as u8);
        self.random_bytes(1);
        self.be16(0);
        self.random_bytes(2);
        let reserved = u16::from(self.random.once_in(30)) << 15;
        let fragment = if self.random.once_in(30) { 1 << self.random.below(14) } else { 0 };
        let dont_fragment = self.random.of(&[0, 0x4000]);
        self.be16(reserved | dont_fragment | fragment);
        self.random_bytes(1);
        self.bytes.push(protocol);
        self.be16(0);
        self.random_bytes(4 * words - 12);
        self.late.push(Late::Ipv4 { at, length: 4 * words });
    }

    fn ipv6(&mut self, protocol: u8) {
        self.late.push(Late::Ipv6 { at: self.bytes.len() });
        let version = if self.random.once_in(200) { self.random.word() as u8 & 0xf0 } else { 0x60 };
        let class = self.random.word() as u8 & 0xf;
        self.bytes.push(version | class);
        self.random_bytes(5);
        let mut next = self.bytes.len();
        self.bytes.push(protocol);
        self.random_bytes(33);
        let many = if self.random.once_in(20) { 30 } else { 3 };
        let extensions = if self.random.once_in(3) { self.random.below(many) } else { 0 };
        for _ in 0..extensions {
            self.bytes[next] = self.random.of(&[0, 43, 60, 0, 43, 60, 0, 43, 60, 0, 43, 60, 0, 43, 60, 44]);
            next = self.bytes.len();
            let eights = if self.random.once_in(20) { self.random.below(40) } else { self.random.below(3) };
            self.bytes.extend([protocol, eights as u8]);
            self.random_bytes(6 + 8 * eights);
        }
    }

    fn tcp(&mut self) {
        self.random_bytes(12);
        let words = match self.random.below(40) {
            0 => self.random.below(16),
            1..20 => 5,
            _ => 5 + self.random.below(11),
        };
        let low = self.random.word() as u8 & 0xf;
        self.bytes.push((words as u8) << 4 | low);
        self.random_bytes(7 + 4 * words.saturating_sub(5));
    }

    fn udp(&mut self, port: Option<u16>) {
        self.late.push(Late::Udp { at: self.bytes.len() });
        self.random_bytes(2);
        match port {
            Some(port) => self.be16(port),
            None => self.random_bytes(2),
        }
        self.be16(0);
        let checksum = if self.random.once_in(8) { 0 } else { self.random.word() as u16 };
        self.be16(checksum);
    }

    fn gre(&mut self, depth: usize) {
        let wrong = if self.random.once_in(20) { 1 << self.random.below(16) } else { 0 };
        let flags = self.random.of(&[0, 0x8000, 0x2000, 0xa000]) | wrong;
        self.be16(flags);
        let ether_type = if self.random.once_in(3) { ETHERNET } else { self.network_type() };
        let optional = usize::from(flags & 0x8000 != 0) + usize::from(flags & 0x2000 != 0);
        if self.random.once_in(8) {
            // Tags right behind GRE.
            let tag = self.random.of(&[0x8100, 0x88a8]);
            self.be16(tag);
            self.random_bytes(4 * optional + 2);
            return self.tagged(ether_type, depth);
        }
        self.be16(ether_type);
        self.random_bytes(4 * optional);
        self.network(ether_type, depth);
    }

    fn geneve(&mut self, depth: usize) {
        let words = if self.random.once_in(30) { self.random.below(64) } else { self.random.below(4) };
        let version = if self.random.once_in(30) { self.random.word() as u8 & 0xc0 } else { 0 };
        let oam = if self.random.once_in(30) { 0x80 } else { 0 };
        let reserved = self.random.word() as u8 & 0x7f;
        self.bytes.extend([version | words as u8, oam | reserved]);
        let ether_type = if self.random.once_in(3) { ETHERNET } else { self.network_type() };
        self.be16(ether_type);
        self.random_bytes(4 + 4 * words);
        self.network(ether_type, depth);
    }

    /// Writes lengths, nearly always the right ones.
    fn lengths(&mut self) {
        for &late in &self.late {
            let off = if self.random.once_in(40) { self.random.below(12) } else { 0 };
            let (from, place) = match late {
                Late::Ipv4 { at, .. } => (at, at + 2),
                Late::Ipv6 { at } => (at + 40, at + 4),
                Late::Udp { at } => (at, at + 4),
            };
            let length = (self.bytes.len() - from).saturating_sub(off) as u16;
            self.bytes[place..place + 2].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Writes the checksums of IPv4 headers, nearly always the right ones.
    fn checksums(&mut self) {
        for &late in &self.late {
            let Late::Ipv4 { at, length } = late else { continue };
            let Some(header) = self.bytes.get_mut(at..at + length) else { continue };
            header[10..12].fill(0);
            let sum = Sum16BitWords::new().add_slice(header).ones_complement().to_be();
            let off = u16::from(self.random.once_in(60));
            header[10..12].copy_from_slice(&sum.wrapping_add(off).to_be_bytes());
        }
    }
}

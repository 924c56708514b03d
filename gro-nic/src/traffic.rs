//! Frames for tests: TCP connections whose segments may be damaged.

use bytes::Bytes;
use gro_core::Meta;
use gro_core::checksum::{field, halves};
use gro_core::user;

/// xorshift64: the same numbers in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// One TCP connection that sends.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) v6: bool,
    pub(crate) port: u16,
    pub(crate) seq: u32,
    pub(crate) id: u16,
}

impl Sender {
    pub(crate) fn segment(&mut self, payload: usize, flags: u8, options: usize) -> Vec<u8> {
        let mut tcp = vec![];
        tcp.extend(self.port.to_be_bytes());
        tcp.extend([1, 187]);
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend([0, 0, 0, 9, (5 + options as u8) << 4, flags, 2, 0, 0, 0, 0, 0]);
        tcp.resize(20 + 4 * options, 1);
        tcp.extend((0..payload).map(|at| (at as u32 ^ self.seq) as u8));
        let mut frame = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02");
        let addresses: Vec<u8> = if self.v6 { (1..=32).collect() } else { vec![10, 0, 0, 1, 10, 0, 0, 2] };
        let pseudo = u32::from(user::sum(&addresses)) + 6 + halves(tcp.len() as u32);
        let check = field(pseudo + u32::from(user::sum(&tcp)));
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 7]);
            frame.extend((tcp.len() as u16).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(addresses);
        } else {
            let mut ip = vec![0x45, 0];
            ip.extend((tcp.len() as u16 + 20).to_be_bytes());
            ip.extend(self.id.to_be_bytes());
            ip.extend([0x40, 0, 64, 6, 0, 0]);
            ip.extend(addresses);
            let check = field(u32::from(user::sum(&ip)));
            ip[10..12].copy_from_slice(&check.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        frame.extend(tcp);
        self.seq = self.seq.wrapping_add(payload as u32);
        self.id = self.id.wrapping_add(1);
        frame
    }
}

/// Connections that differ in their ports; a third of them over IPv6.
pub(crate) fn senders(count: u16) -> Vec<Sender> {
    (0..count).map(|n| Sender { v6: n % 3 == 0, port: n, seq: u32::from(n) << 28, id: 65_530 }).collect()
}

/// A segment of any connection, often damaged. The hash is a multiple of 7 times the connection's number.
pub(crate) fn hostile(random: &mut Random, senders: &mut [Sender], n: u32, oversized: bool) -> (Bytes, Meta) {
    let which = random.below(senders.len());
    let sender = &mut senders[which];
    let payload = match random.below(40) {
        0 => 0,
        1 => random.below(9000),
        2..=20 => 100,
        _ => random.below(100) + 1,
    };
    let flags = if random.below(12) == 0 { random.below(256) as u8 } else { 0x10 };
    let options = if random.below(20) == 0 { random.below(11) } else { 3 };
    let mut frame = sender.segment(payload, flags, options);
    match random.below(24) {
        0 => frame.truncate(random.below(frame.len() + 1)),
        1 => frame.resize(frame.len() + random.below(70), 0), // a trailer
        2 => (0..frame.len()).step_by(random.below(30) + 1).for_each(|at| frame[at] ^= at as u8),
        3..=6 => {
            // A lying length, a broken checksum, an odd option list, a reserved bit.
            let at = random.below(frame.len().min(90));
            frame[at] = random.below(256) as u8;
        }
        7 if n.is_multiple_of(50) => frame.resize(random.below(65_536), 0x55),
        8 if oversized && n.is_multiple_of(50) => frame.resize(65_536 + random.below(10_000), 0x55),
        9 => frame.clear(),
        _ => {}
    }
    let meta = Meta {
        hash: which as u32 * 7,
        vlan: if which == 5 { 0x8100_0064 } else { 0 },
        verified: random.below(3) == 0,
    };
    (frame.into(), meta)
}

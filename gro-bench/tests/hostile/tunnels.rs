//! A sender's frames in a tunnel, good ones and others.

#[path = "../every_backend/tunnels.rs"]
mod wrap;

use super::Random;
use wrap::{Kind, Tunnel};

/// The tunnel of a flow.
pub(crate) struct Encapsulation {
    tunnel: Tunnel,
    identification: u16,
    fixed: bool,
}

impl Encapsulation {
    pub(crate) fn new(random: &mut Random, number: u8) -> Self {
        let fixed = random.once_in(3);
        let fragment = if random.once_in(2) { 0x4000 } else { 0 };
        let kind = random.pick(&Kind::ALL);
        let tunnel = Tunnel { v6: random.once_in(2), kind, number, fragment, ttl: 64 };
        Self { tunnel, identification: random.pick(&[0, 65_530, 77]), fixed }
    }

    /// The frame in the tunnel. Some are in another one than those before.
    pub(crate) fn wrap(&mut self, random: &mut Random, frame: &[u8]) -> Vec<u8> {
        if frame.len() < 14 {
            return frame.to_vec();
        }
        let mut tunnel = self.tunnel;
        if random.once_in(20) {
            match random.below(4) {
                0 => tunnel.number ^= 0x40,
                1 => tunnel.ttl -= 1,
                2 => tunnel.fragment ^= 0x4000,
                _ => tunnel.kind = random.pick(&Kind::ALL),
            }
        }
        let wrapped = tunnel.wrap(frame, self.identification);
        let lost = u16::from(random.once_in(30));
        self.identification = self.identification.wrapping_add(u16::from(!self.fixed) + lost);
        wrapped
    }

    /// The same, changed in front of the frame in one to three places.
    pub(crate) fn damaged(&mut self, random: &mut Random, frame: &[u8]) -> Vec<u8> {
        let tunnel = self.tunnel;
        let mut wrapped = self.wrap(random, frame);
        let l4 = tunnel.l4();
        let mut lengths = random.once_in(2);
        for _ in 0..1 + random.below(3) {
            let any = random.next() as u8;
            let at = match random.below(10) {
                0 => {
                    wrapped.truncate(random.below(wrapped.len() + 1));
                    continue;
                }
                1 => {
                    let tail = random.below(80);
                    wrapped.resize(wrapped.len() + tail, any);
                    continue;
                }
                2 => {
                    // The IP length lies.
                    lengths = false;
                    if tunnel.v6 { 19 } else { 17 }
                }
                3 => {
                    // The UDP length does, and that is no harm.
                    lengths = false;
                    l4 + 5
                }
                4 | 5 => l4 + random.below(4),  // GRE flags and protocol, ports
                6 => l4 + 4 + random.below(16), // checksum, key, a tunnel behind UDP
                7 => 14 + random.below(8),      // version, class, identification, fragments, next header
                8 => 12 + random.below(2),      // ethertype
                _ => 14 + random.below(l4),
            };
            if let Some(byte) = wrapped.get_mut(at) {
                *byte = if random.once_in(2) { *byte ^ 1 << random.below(8) } else { any };
            }
        }
        if !random.once_in(3) {
            tunnel.complete(&mut wrapped, lengths);
        }
        wrapped
    }
}

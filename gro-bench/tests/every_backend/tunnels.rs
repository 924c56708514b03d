//! Frames put into tunnels, with etherparse's checksums.
#![allow(dead_code, reason = "every test binary uses its own part")]

use etherparse::checksum::Sum16BitWords;

/// An outer IP header, and what is between it and the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunnel {
    pub(crate) v6: bool,
    pub(crate) kind: Kind,
    /// Part of the addresses and of the tunnel's identifier.
    pub(crate) number: u8,
    /// The flags and the fragment offset of an outer IPv4 header, and TTL or hop limit.
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: an IP header in an IP header.
    Ip,
    /// GRE with a checksum, a key, and the whole Ethernet frame in it.
    Gre { check: bool, key: bool, ethernet: bool },
    /// With a checksum in the outer UDP header or not.
    Vxlan { check: bool },
    /// With words of options, and the whole Ethernet frame in it.
    Geneve { check: bool, options: u8, ethernet: bool },
}

impl Kind {
    pub(crate) const ALL: [Self; 12] = [
        Self::Ip,
        Self::Gre { check: false, key: false, ethernet: false },
        Self::Gre { check: true, key: false, ethernet: false },
        Self::Gre { check: false, key: true, ethernet: true },
        Self::Gre { check: true, key: false, ethernet: true },
        Self::Gre { check: true, key: true, ethernet: false },
        Self::Vxlan { check: false },
        Self::Vxlan { check: true },
        Self::Geneve { check: false, options: 0, ethernet: true },
        Self::Geneve { check: true, options: 3, ethernet: true },
        Self::Geneve { check: true, options: 0, ethernet: false },
        Self::Geneve { check: false, options: 1, ethernet: false },
    ];

    /// The bit of `Config::tunnels`.
    pub(crate) fn bit(self) -> u32 {
        match self {
            Self::Ip => gro_core::tunnel::IP_IN_IP,
            Self::Gre { .. } => gro_core::tunnel::GRE,
            Self::Vxlan { .. } => gro_core::tunnel::VXLAN,
            Self::Geneve { .. } => gro_core::tunnel::GENEVE,
        }
    }

    fn has_ethernet(self) -> bool {
        match self {
            Self::Ip => false,
            Self::Vxlan { .. } => true,
            Self::Gre { ethernet, .. } | Self::Geneve { ethernet, .. } => ethernet,
        }
    }

    fn protocol(self, inner_v6: bool) -> u8 {
        match self {
            Self::Ip if inner_v6 => 41,
            Self::Ip => 4,
            Self::Gre { .. } => 47,
            Self::Vxlan { .. } | Self::Geneve { .. } => 17,
        }
    }
}

impl Tunnel {
    /// Puts an Ethernet frame of IP into the tunnel. The outer lengths and checksums are right.
    pub(crate) fn wrap(&self, frame: &[u8], identification: u16) -> Vec<u8> {
        let inner_v6 = frame[12..14] == [0x86, 0xdd];
        let mut bytes = frame[..12].to_vec();
        bytes.extend(if self.v6 { [0x86, 0xdd] } else { [8, 0] });
        let protocol = self.kind.protocol(inner_v6);
        if self.v6 {
            bytes.extend([0x60, 0, 0, self.number, 0, 0, protocol, self.ttl]);
            bytes.extend([self.number | 0x80; 32]);
        } else {
            bytes.extend([0x45, 0, 0, 0]);
            bytes.extend(identification.to_be_bytes());
            bytes.extend(self.fragment.to_be_bytes());
            bytes.extend([self.ttl, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, self.number]);
        }
        let next = if self.kind.has_ethernet() { [0x65, 0x58] } else { [frame[12], frame[13]] };
        match self.kind {
            Kind::Ip => {}
            Kind::Gre { check, key, .. } => {
                bytes.extend([if check { 0x80 } else { 0 } | if key { 0x20 } else { 0 }, 0]);
                bytes.extend(next);
                bytes.extend([0; 4].iter().take(if check { 4 } else { 0 }));
                bytes.extend([0, 0, 0, self.number].iter().take(if key { 4 } else { 0 }));
            }
            Kind::Vxlan { check } => {
                bytes.extend(udp(4_789, self.number, check));
                bytes.extend([8, 0, 0, 0, 0, 0, self.number, 0]);
            }
            Kind::Geneve { check, options, .. } => {
                bytes.extend(udp(6_081, self.number, check));
                bytes.extend([options, 0, next[0], next[1], 0, 0, self.number, 0]);
                bytes.extend([1, 2, 3, 4].repeat(options.into()));
            }
        }
        bytes.extend(if self.kind.has_ethernet() { frame } else { &frame[14..] });
        self.complete(&mut bytes, true);
        bytes
    }

    /// The frame in the tunnel, as it was before.
    pub(crate) fn unwrap(&self, bytes: &[u8]) -> Vec<u8> {
        let at = self.l4()
            + match self.kind {
                Kind::Ip => 0,
                Kind::Gre { check, key, .. } => 4 + 4 * usize::from(check) + 4 * usize::from(key),
                Kind::Vxlan { .. } => 16,
                Kind::Geneve { options, .. } => 16 + 4 * usize::from(options),
            };
        if self.kind.has_ethernet() {
            return bytes[at..].to_vec();
        }
        let ethertype = if bytes[at] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        [&bytes[..12], &ethertype, &bytes[at..]].concat()
    }

    /// Where the outer IP header ends.
    pub(crate) fn l4(&self) -> usize {
        if self.v6 { 54 } else { 34 }
    }

    /// Makes outer checksums, and lengths if asked, those of the bytes present, wherever the headers are there.
    pub(crate) fn complete(&self, frame: &mut [u8], lengths: bool) {
        let (l4, total) = (self.l4(), frame.len());
        if total < l4 + 16 {
            return;
        }
        let length = |from: usize| ((total - from) as u16).to_be_bytes();
        if lengths {
            let (at, from) = if self.v6 { (18, 54) } else { (16, 14) };
            frame[at..at + 2].copy_from_slice(&length(from));
        }
        if !self.v6 {
            frame[24..26].fill(0);
            let check = field(Sum16BitWords::new().add_slice(&frame[14..34]));
            frame[24..26].copy_from_slice(&check);
        }
        match self.kind {
            Kind::Gre { check: true, .. } => {
                frame[l4 + 4..l4 + 6].fill(0);
                let check = field(Sum16BitWords::new().add_slice(&frame[l4..]));
                frame[l4 + 4..l4 + 6].copy_from_slice(&check);
            }
            Kind::Vxlan { check } | Kind::Geneve { check, .. } => {
                if lengths {
                    frame[l4 + 4..l4 + 6].copy_from_slice(&length(l4));
                }
                if check {
                    let addresses = if self.v6 { 22..54 } else { 26..34 };
                    frame[l4 + 6..l4 + 8].fill(0);
                    let pseudo = Sum16BitWords::new()
                        .add_4bytes(((total - l4) as u32).to_be_bytes())
                        .add_2bytes([0, 17])
                        .add_slice(&frame[addresses]);
                    let check = match field(pseudo.add_slice(&frame[l4..])) {
                        [0, 0] => [0xff, 0xff],
                        check => check,
                    };
                    frame[l4 + 6..l4 + 8].copy_from_slice(&check);
                }
            }
            Kind::Ip | Kind::Gre { .. } => {}
        }
    }
}

/// A UDP header to be completed. A checksum that is not zero is made right later.
fn udp(port: u16, number: u8, check: bool) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [0xc0, number, high, low, 0, 0, 0, u8::from(check)]
}

fn field(sum: Sum16BitWords) -> [u8; 2] {
    sum.ones_complement().to_be().to_be_bytes()
}

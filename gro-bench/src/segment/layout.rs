//! Where the headers of a packet lie: in front of a tunnel, and in it.

use super::SegmentError;
use super::network::Network;
use etherparse::{EtherType, IpNumber, TcpHeaderSlice, UdpHeaderSlice};
use gro_core::complete::{GSO_GRE, GSO_IPXIP4, GSO_IPXIP6, GSO_TUNNELS};

/// Where the headers of a packet lie, in bytes from the start of the frame. IP and transport header are the innermost ones.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) ip: Network,
    pub(crate) udp: bool,
    pub(crate) payload: usize,
    /// What the packet is in.
    pub(super) tunnel: Option<Tunnel>,
    /// PPPoE headers.
    pub(super) sessions: Vec<usize>,
}

/// An outer IP header, and what is between it and the packet in the tunnel.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    pub(super) ip: Network,
    pub(super) kind: Kind,
}

/// What follows the outer IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The inner one.
    Ip,
    /// A GRE header (RFC 2784, RFC 2890).
    Gre,
    /// A UDP header and one of its tunnels.
    Udp,
}

impl Layout {
    /// The layout of a packet of `segs` segments, which is in a tunnel if `gso_type` says so.
    pub(crate) fn of(frame: &[u8], segs: u32, gso_type: u32) -> Result<Self, SegmentError> {
        let mut sessions = Vec::new();
        let not_mergeable = SegmentError::NotMergeable { segs };
        let (ethertype, at) = behind_link(frame, ETHERNET, 0, &mut sessions);
        let mut ip = Network::of(frame, ethertype, at)?.ok_or(not_mergeable)?;
        let mut tunnel = None;
        if gso_type & GSO_TUNNELS != 0 {
            let kind = Kind::of(gso_type);
            let (ethertype, at) = kind.behind(frame, &ip).ok_or(SegmentError::Header("tunnel"))?;
            let (ethertype, at) = behind_link(frame, ethertype, at, &mut sessions);
            let inner = Network::of(frame, ethertype, at)?.ok_or(not_mergeable)?;
            tunnel = Some(Tunnel { ip: std::mem::replace(&mut ip, inner), kind });
        }
        let rest = &frame[ip.l4..];
        let header = match ip.protocol {
            IpNumber::TCP => TcpHeaderSlice::from_slice(rest).or(Err(SegmentError::Header("TCP")))?.slice(),
            IpNumber::UDP => UdpHeaderSlice::from_slice(rest).or(Err(SegmentError::Header("UDP")))?.slice(),
            _ => return Err(not_mergeable),
        };
        let payload = ip.l4 + header.len();
        Ok(Self { udp: ip.protocol == IpNumber::UDP, ip, payload, tunnel, sessions })
    }
}

impl Kind {
    fn of(gso_type: u32) -> Self {
        if gso_type & (GSO_IPXIP4 | GSO_IPXIP6) != 0 {
            Self::Ip
        } else if gso_type & GSO_GRE != 0 {
            Self::Gre
        } else {
            Self::Udp
        }
    }

    /// The ethertype behind the tunnel's header, and the offset of what it names.
    fn behind(self, frame: &[u8], outer: &Network) -> Option<(u16, usize)> {
        let at = outer.l4;
        match (self, outer.protocol) {
            (Self::Ip, IpNumber::IPV4) => Some((EtherType::IPV4.0, at)),
            (Self::Ip, IpNumber::IPV6) => Some((EtherType::IPV6.0, at)),
            (Self::Gre, IpNumber::GRE) => {
                let flags = word(frame, at)?;
                let words = u32::from(flags & GRE_CHECKSUM != 0) + u32::from(flags & GRE_KEY != 0);
                Some((word(frame, at + 2)?, at + 4 + 4 * words as usize))
            }
            (Self::Udp, IpNumber::UDP) => {
                let header = at + UDP_HEADER;
                match word(frame, at + 2)? {
                    VXLAN => Some((ETHERNET, header + 8)),
                    GENEVE => {
                        let options = 4 * usize::from(*frame.get(header)? & 0x3f);
                        Some((word(frame, header + 2)?, header + 8 + options))
                    }
                    // The made-up tunnel of the tutorial: a word of flags, the ethertype, and an identifier of 32 bits.
                    _ => Some((word(frame, header + 2)?, header + 8)),
                }
            }
            _ => None,
        }
    }
}

/// Flags of a GRE header: it has a checksum, a key.
pub(super) const GRE_CHECKSUM: u16 = 0x8000;
const GRE_KEY: u16 = 0x2000;
const UDP_HEADER: usize = 8;
/// Ports.
const VXLAN: u16 = 4_789;
const GENEVE: u16 = 6_081;

/// An Ethernet frame in a tunnel (Transparent Ethernet Bridging), as ethertype; here also the frame itself.
const ETHERNET: u16 = 0x6558;
const PPPOE: u16 = 0x8864;

/// The ethertype behind Ethernet headers, VLAN tags and PPPoE, and the offset of what it names. The PPPoE headers go into `sessions`.
fn behind_link(frame: &[u8], mut ethertype: u16, mut at: usize, sessions: &mut Vec<usize>) -> (u16, usize) {
    loop {
        let header = match ethertype {
            ETHERNET => 14,
            0x8100 | 0x88a8 => 4,
            PPPOE => 8,
            _ => return (ethertype, at),
        };
        let next = word(frame, at + header - 2).unwrap_or(0);
        if ethertype == PPPOE {
            sessions.push(at);
        }
        ethertype = match (ethertype, next) {
            // Numbers of PPP (RFC 1332, RFC 5072).
            (PPPOE, 0x0021) => EtherType::IPV4.0,
            (PPPOE, 0x0057) => EtherType::IPV6.0,
            (PPPOE, _) => 0,
            _ => next,
        };
        at += header;
    }
}

/// The ethertype behind in-band VLAN tags, and the offset of what it names.
pub(crate) fn behind_tags(frame: &[u8]) -> (u16, usize) {
    let mut at = 14;
    loop {
        match word(frame, at - 2) {
            Some(0x8100 | 0x88a8) => at += 4,
            Some(ethertype) => return (ethertype, at),
            None => return (0, at),
        }
    }
}

/// The word at an offset, if it is there.
pub(super) fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

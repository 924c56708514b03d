//! An IP header of a packet, the only one, the outer or the inner one.

use super::layout::word;
use super::{SegmentError, field, length, put};
use etherparse::checksum::Sum16BitWords;
use etherparse::{EtherType, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice};

/// An IP header with its extension headers. Offsets are bytes from the start of the frame.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) at: usize,
    pub(crate) ipv6: bool,
    /// Behind it and its extension headers.
    pub(crate) l4: usize,
    /// What is there.
    pub(super) protocol: IpNumber,
}

impl Network {
    /// The header that `ethertype` names; `None` if that is no IP header.
    pub(super) fn of(frame: &[u8], ethertype: u16, at: usize) -> Result<Option<Self>, SegmentError> {
        let packet = frame.get(at..).ok_or(SegmentError::Header("Ethernet"))?;
        Ok(match EtherType(ethertype) {
            EtherType::IPV4 => {
                let header = Ipv4HeaderSlice::from_slice(packet).or(Err(SegmentError::Header("IPv4")))?;
                let l4 = at + header.slice().len();
                Some(Self { at, ipv6: false, l4, protocol: header.protocol() })
            }
            EtherType::IPV6 => {
                let header = Ipv6HeaderSlice::from_slice(packet).or(Err(SegmentError::Header("IPv6")))?;
                let (protocol, chain) =
                    behind_extensions(header.next_header(), &packet[header.slice().len()..])?;
                Some(Self { at, ipv6: true, l4: at + IPV6_HEADER + chain, protocol })
            }
            _ => None,
        })
    }

    /// Whether GRO put a hop-by-hop header behind it to state a length over 65,535 (RFC 2675).
    pub(super) fn has_jumbo(&self, frame: &[u8]) -> bool {
        // Payload length 0, a hop-by-hop header of eight bytes with nothing but the jumbo option.
        self.ipv6
            && frame[self.at + 4..self.at + 7] == [0, 0, IpNumber::IPV6_HEADER_HOP_BY_HOP.0]
            && matches!(frame.get(self.at + 40..self.at + 44), Some([_, 0, 0xc2, 4]))
    }

    /// Identification of segment `number`, which wraps.
    pub(super) fn number(&self, frame: &mut [u8], number: usize, fixed: bool) {
        if !self.ipv6 && !fixed {
            let first = word(frame, self.at + 4).unwrap_or(0);
            put(frame, self.at + 4, first.wrapping_add(number as u16));
        }
    }

    /// Length and header checksum.
    pub(super) fn complete(&self, frame: &mut [u8]) -> Result<(), SegmentError> {
        if self.ipv6 {
            let value = length(frame, self.at + IPV6_HEADER)?;
            put(frame, self.at + 4, value);
        } else {
            let value = length(frame, self.at)?;
            put(frame, self.at + 2, value);
            put(frame, self.at + 10, 0);
            let check = field(Sum16BitWords::new().add_slice(&frame[self.at..self.l4]));
            put(frame, self.at + 10, check);
        }
        Ok(())
    }

    /// Writes the checksum at `at` over everything from [`Network::l4`] on, and a pseudo-header.
    pub(super) fn complete_behind(&self, frame: &mut [u8], at: usize, protocol: IpNumber) {
        let addresses = if self.ipv6 { self.at + 8..self.at + 40 } else { self.at + 12..self.at + 20 };
        // The length fits: that of the IP packet does.
        let length = (frame.len() - self.l4) as u16;
        put(frame, at, 0);
        let pseudo = Sum16BitWords::new()
            .add_slice(&frame[addresses])
            .add_2bytes([0, protocol.0])
            .add_2bytes(length.to_be_bytes());
        let check = match field(pseudo.add_slice(&frame[self.l4..])) {
            // None at all, in UDP.
            0 if protocol == IpNumber::UDP => 0xffff,
            check => check,
        };
        put(frame, at, check);
    }
}

pub(super) const IPV6_HEADER: usize = 40;

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

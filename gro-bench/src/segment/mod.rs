//! The way back: a merged packet cut into segments, as the kernel's GSO does it.
//!
//! GRO is an offload, and not LRO, because this exists: `segment(merge(frames))` are the frames again, byte for byte. The rules
//! are those of `tcp_gso_segment` (net/ipv4/tcp_offload.c), `__udp_gso_segment` (net/ipv4/udp_offload.c), `inet_gso_segment`
//! (net/ipv4/af_inet.c) and `ipv6_gso_segment` (net/ipv6/ip6_offload.c), in tunnels also of `gre_gso_segment`
//! (net/ipv4/gre_offload.c) and `__skb_udp_tunnel_segment` (net/ipv4/udp_offload.c); sums and headers are etherparse's and not the engine's, so that a mistake cannot cancel itself out.
//!
//! What the first segment's header cannot carry is lost in a merge and does not come back: urgent pointers of later segments
//! without URG, which of the two zeros of ones' complement a sender wrote, and that UDP datagrams all had one identification
//! (the kernel has a GSO type for that with TCP only). In a tunnel, neither do an outer UDP length that lied, what a GRE header has
//! behind its checksum (`gre_gro_receive` does not compare it), and that IPv4 headers around TCP over IPv6 had one identification
//! (`tcp6_gro_complete` does not say so). A GRE checksum is made anew; the kernel's GSO does this only with `SKB_GSO_GRE_CSUM`,
//! which its GRO never sets.
//!
//! Which identifications were fixed is read as Linux 6.18 and later say it: of the outer header and of the one in a tunnel.

mod layout;
mod network;

pub(crate) use layout::{Layout, behind_tags};

use crate::Record;
use bytes::{Bytes, BytesMut};
use etherparse::IpNumber;
use etherparse::checksum::Sum16BitWords;
use gro_core::complete::{GSO_TCP_ACCECN, GSO_TCP_FIXEDID, GSO_TCP_FIXEDID_INNER};
use layout::{GRE_CHECKSUM, Kind, Tunnel, word};
use network::IPV6_HEADER;

/// Why a record cannot be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Its headers are cut off or contradict themselves.
    #[error("the {0} header is malformed")]
    Header(&'static str),
    /// Only TCP and UDP over IPv4 and IPv6 are merged.
    #[error("{segs} segments of something that is neither TCP nor UDP over IPv4 or IPv6")]
    NotMergeable {
        /// Segments that the record claims.
        segs: u32,
    },
    /// The payload does not fall into that many segments.
    #[error("{payload} payload bytes are not {segs} segments of {gso_size}")]
    Count {
        /// Bytes behind the headers.
        payload: usize,
        /// Segments that the record claims.
        segs: u32,
        /// Bytes of each but the last.
        gso_size: u32,
    },
    /// A segment would exceed the 16 bits of an IP length.
    #[error("a segment of {0} bytes has no IP length")]
    TooLong(usize),
}

/// The frames that a record was merged from. A single frame comes back as it is.
///
/// # Errors
/// [`SegmentError`] when the record is not a merged packet of the form that GRO delivers.
pub fn segment(record: &Record) -> Result<Vec<Bytes>, SegmentError> {
    if record.segs <= 1 {
        return Ok(vec![record.bytes.clone()]);
    }
    let layout = Layout::of(&record.bytes, record.segs, record.gso_type)?;
    let (bytes, layout) = without_jumbo(&record.bytes, layout);
    let (header, payload) = bytes.split_at(layout.payload);
    let gso_size = record.gso_size as usize;
    let pieces = if gso_size == 0 { 0 } else { payload.len().div_ceil(gso_size) };
    if pieces != record.segs as usize {
        let (segs, gso_size) = (record.segs, record.gso_size);
        return Err(SegmentError::Count { payload: payload.len(), segs, gso_size });
    }
    let mut segments = Vec::with_capacity(pieces);
    for (number, piece) in payload.chunks(gso_size).enumerate() {
        let mut frame = BytesMut::with_capacity(header.len() + piece.len());
        frame.extend_from_slice(header);
        frame.extend_from_slice(piece);
        layout.number(&mut frame, number, gso_size, record.gso_type);
        if !layout.udp && number > 0 && record.gso_type & GSO_TCP_ACCECN == 0 {
            frame[layout.ip.l4 + 13] &= !CWR;
        }
        if !layout.udp && number + 1 < pieces {
            frame[layout.ip.l4 + 13] &= !(FIN | PSH);
        }
        layout.complete(&mut frame)?;
        segments.push(frame.freeze());
    }
    Ok(segments)
}

/// Takes out the hop-by-hop header that GRO put into a packet over 65,535 bytes to state its length, as
/// `ipv6_hopopt_jumbo_remove` (include/net/ipv6.h) does.
fn without_jumbo(frame: &Bytes, mut layout: Layout) -> (Bytes, Layout) {
    if !layout.ip.has_jumbo(frame) {
        return (frame.clone(), layout);
    }
    let (next_header, jumbo) = (layout.ip.at + 6, layout.ip.at + IPV6_HEADER);
    let mut bytes = BytesMut::from(&frame[..jumbo]);
    bytes[next_header] = frame[jumbo];
    bytes.extend_from_slice(&frame[jumbo + JUMBO_HEADER..]);
    layout.ip.l4 -= JUMBO_HEADER;
    layout.payload -= JUMBO_HEADER;
    (bytes.freeze(), layout)
}

const JUMBO_HEADER: usize = 8;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

impl Layout {
    /// Sequence number and identifications of segment `number`.
    fn number(&self, frame: &mut [u8], number: usize, gso_size: usize, gso_type: u32) {
        if !self.udp {
            let at = self.ip.l4 + 4;
            let first = u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
            // Both counters wrap.
            let sequence = first.wrapping_add((number * gso_size) as u32);
            frame[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        }
        let fixed = |bit| gso_type & bit != 0;
        match &self.tunnel {
            None => self.ip.number(frame, number, fixed(GSO_TCP_FIXEDID)),
            Some(tunnel) => {
                tunnel.ip.number(frame, number, fixed(GSO_TCP_FIXEDID));
                self.ip.number(frame, number, fixed(GSO_TCP_FIXEDID_INNER));
            }
        }
    }

    /// Lengths and checksums, when everything else stands: from the inside out, because the outer checksums are over the inner
    /// headers.
    fn complete(&self, frame: &mut [u8]) -> Result<(), SegmentError> {
        self.ip.complete(frame)?;
        let l4 = self.ip.l4;
        if self.udp {
            let value = length(frame, l4)?;
            put(frame, l4 + 4, value);
            self.ip.complete_behind(frame, l4 + 6, IpNumber::UDP);
        } else {
            self.ip.complete_behind(frame, l4 + 16, IpNumber::TCP);
        }
        for &session in &self.sessions {
            let value = length(frame, session + PPPOE_HEADER)?;
            put(frame, session + 4, value);
        }
        self.tunnel.as_ref().map_or(Ok(()), |tunnel| tunnel.complete(frame))
    }
}

/// What the length in a PPPoE header does not count (RFC 2516 section 4).
const PPPOE_HEADER: usize = 6;

impl Tunnel {
    fn complete(&self, frame: &mut [u8]) -> Result<(), SegmentError> {
        self.ip.complete(frame)?;
        let at = self.ip.l4;
        match self.kind {
            Kind::Ip => {}
            Kind::Gre if word(frame, at).is_some_and(|flags| flags & GRE_CHECKSUM != 0) => {
                put(frame, at + 4, 0);
                let check = field(Sum16BitWords::new().add_slice(&frame[at..]));
                put(frame, at + 4, check);
            }
            Kind::Gre => {}
            Kind::Udp => {
                let value = length(frame, at)?;
                put(frame, at + 4, value);
                // Zero says that there is none.
                if word(frame, at + 6) != Some(0) {
                    self.ip.complete_behind(frame, at + 6, IpNumber::UDP);
                }
            }
        }
        Ok(())
    }
}

/// The bytes from an offset to the end, as a length field has them.
fn length(frame: &[u8], from: usize) -> Result<u16, SegmentError> {
    let length = frame.len() - from;
    u16::try_from(length).or(Err(SegmentError::TooLong(length)))
}

/// A checksum field. In every header, something that is not zero keeps the sum from being zero, so it is never 0xFFFF.
fn field(sum: Sum16BitWords) -> u16 {
    sum.ones_complement().to_be()
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests;

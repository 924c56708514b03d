//! The way back through the running kernel: a merged packet that is forwarded to a device without segmentation offload is
//! cut by the kernel's own GSO, and what comes out must be the frames that went in, byte for byte.
//!
//! [`crate::segment`] is this project's reading of GSO's rules; here the kernel is asked itself, with packets in the form that a
//! TAP or virtio device takes. [`expected`] says beforehand what must come: the original frames, but for the few fields that
//! a merged packet has no room for. Those are the [`Exception`]s.

use crate::segment::{Layout, SegmentError};
use etherparse::checksum::Sum16BitWords;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(target_os = "linux")]
mod through_kernel;

#[cfg(target_os = "linux")]
pub use through_kernel::{round_trip, round_trip_changed, round_trip_file};

/// What became of the merged packets of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoundTrip {
    /// Merged packets. Each is counted again in one of `identical`, `exceptions` and `different`.
    pub packets: usize,
    /// Frames in them.
    pub frames: usize,
    /// Packets that came back as exactly the original frames.
    pub identical: usize,
    /// Packets that came back with other bytes, exactly those that [`expected`] said, by the first reason. And those that could
    /// not be sent ([`Exception::Tunnel`]).
    pub exceptions: BTreeMap<Exception, usize>,
    /// Packets that came back as anything else.
    pub different: usize,
    /// The first of those, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

impl RoundTrip {
    /// Whether every packet came back as it had to.
    pub fn holds(&self) -> bool {
        self.different == 0 && self.packets == self.identical + self.exceptions.values().sum::<usize>()
    }
}

/// Why frames that were merged cannot come back as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exception {
    /// Every frame had the same IPv4 identification. GRO says so with `SKB_GSO_TCP_FIXEDID`, for which `struct virtio_net_hdr`
    /// has no word, and for UDP there is no such type; GSO then counts up (`inet_gso_segment`, net/ipv4/af_inet.c), with and
    /// without DF.
    FixedIdentification,
    /// Urgent pointers differ. Without URG they mean nothing, GRO does not compare them (`tcp_gro_receive`,
    /// net/ipv4/tcp_offload.c), and a merged packet has only the first one.
    UrgentPointer,
    /// A packet over 65,535 bytes with IPv6 extension headers. GRO puts the jumbo header in front of them (`ipv6_gro_complete`), GSO
    /// takes it out only where TCP follows (`ipv6_has_hopopt_jumbo`, include/net/ipv6.h), so every segment keeps it.
    JumboHeader,
    /// A TCP or IPv4 checksum was 0xFFFF. Ones' complement has two zeros; the kernel writes the other one, 0x0000
    /// (`csum_fold`, include/asm-generic/checksum.h).
    NegativeZero,
    /// A packet in a tunnel. `struct virtio_net_hdr` says where one transport header is and not what is in front of it (before
    /// VIRTIO 1.4), so the packet is not sent at all.
    Tunnel,
}

impl Exception {
    /// The reason in words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::FixedIdentification => "one IPv4 identification for all, which virtio_net_hdr cannot say",
            Self::UrgentPointer => "urgent pointers that differ without URG, of which a packet has one",
            Self::JumboHeader => {
                "extension headers in a packet over 65,535 bytes, whose jumbo header GSO leaves in"
            }
            Self::NegativeZero => "a checksum 0xFFFF, which the kernel writes as 0x0000",
            Self::Tunnel => "a packet in a tunnel, which virtio_net_hdr cannot say",
        }
    }
}

/// What the kernel makes of a packet that was merged from `frames`, and why that is not `frames`, if it is not.
///
/// # Errors
/// [`SegmentError`] when a frame is none that GRO merges.
pub fn expected(frames: &[&[u8]]) -> Result<(Vec<Vec<u8>>, BTreeSet<Exception>), SegmentError> {
    let mut exceptions = BTreeSet::new();
    let Some(first) = frames.first() else { return Ok((Vec::new(), exceptions)) };
    // GRO merges only what has equal headers, so one layout is that of all.
    let layout = Layout::of(first, frames.len() as u32, 0)?;
    let header = Header::of(&layout);
    if frames.iter().any(|frame| frame.len() < header.end) {
        return Err(SegmentError::Header("TCP or UDP"));
    }
    let mut came: Vec<Vec<u8>> = frames.iter().map(|frame| frame.to_vec()).collect();
    for (number, frame) in came.iter_mut().enumerate() {
        for at in [header.ip_check, header.tcp_check].into_iter().flatten() {
            if word(frame, at) == 0xffff {
                put(frame, at, 0);
                exceptions.insert(Exception::NegativeZero);
            }
        }
        if let Some(check) = header.ip_check {
            // The counter wraps.
            let id = word(first, layout.ip.at + 4).wrapping_add(number as u16);
            if replace(frame, check, layout.ip.at + 4, id) {
                exceptions.insert(Exception::FixedIdentification);
            }
        }
        if let Some(check) = header.tcp_check
            && replace(frame, check, layout.ip.l4 + 18, word(first, layout.ip.l4 + 18))
        {
            exceptions.insert(Exception::UrgentPointer);
        }
    }
    if let Some(jumbo) = jumbo_left_in(&layout, frames) {
        came.iter_mut().for_each(|frame| with_jumbo(frame, layout.ip.at, jumbo));
        exceptions.insert(Exception::JumboHeader);
    }
    Ok((came, exceptions))
}

/// The length in the jumbo header of the packet that `frames` become, if GSO leaves that header in.
fn jumbo_left_in(layout: &Layout, frames: &[&[u8]]) -> Option<u32> {
    if !layout.ip.ipv6 || layout.ip.l4 == layout.ip.at + IPV6_HEADER {
        return None;
    }
    let payload: usize = frames.iter().map(|frame| frame.len() - layout.payload).sum();
    let length = layout.payload - layout.ip.at - IPV6_HEADER + payload;
    (length > usize::from(u16::MAX)).then_some(length as u32 + 8)
}

const IPV6_HEADER: usize = 40;

/// Puts a jumbo header in front of the extension headers (RFC 2675).
fn with_jumbo(frame: &mut Vec<u8>, ip: usize, jumbo: u32) {
    let [a, b, c, d] = jumbo.to_be_bytes();
    let header = [std::mem::take(&mut frame[ip + 6]), 0, 0xc2, 4, a, b, c, d];
    frame.splice(ip + IPV6_HEADER..ip + IPV6_HEADER, header);
    let length = word(frame, ip + 4) + header.len() as u16;
    put(frame, ip + 4, length);
}

/// Offsets of what may change.
struct Header {
    ip_check: Option<usize>,
    /// In UDP, 0xFFFF is the zero that is written, also by the kernel, and 0x0000 never merges.
    tcp_check: Option<usize>,
    /// Behind the fixed part of the last header.
    end: usize,
}

impl Header {
    fn of(layout: &Layout) -> Self {
        Self {
            ip_check: (!layout.ip.ipv6).then_some(layout.ip.at + 10),
            tcp_check: (!layout.udp).then_some(layout.ip.l4 + 16),
            end: layout.ip.l4 + if layout.udp { 8 } else { 20 },
        }
    }
}

/// Writes a word and brings the checksum up to date (RFC 1624, equation 3). False when it was that word already.
fn replace(frame: &mut [u8], check: usize, at: usize, value: u16) -> bool {
    let old = word(frame, at);
    if old == value {
        return false;
    }
    let sum = Sum16BitWords::new()
        .add_2bytes((!word(frame, check)).to_be_bytes())
        .add_2bytes((!old).to_be_bytes())
        .add_2bytes(value.to_be_bytes());
    put(frame, check, sum.ones_complement().to_be());
    put(frame, at, value);
    true
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests;

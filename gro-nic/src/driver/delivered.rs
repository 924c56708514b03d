//! What comes out of a lane.

use bytes::Bytes;
use gro_core::Meta;
use gro_core::user::Why;

/// A packet that left the device: a frame as it came, or a merged packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// A single frame: all of it. A merged packet: its headers, rewritten.
    pub header: Bytes,
    /// Payload slices of a merged packet, in order; empty for a single frame.
    pub segments: Vec<Bytes>,
    /// Payload bytes of every segment but the last, 0 for a single frame.
    pub gso_size: u16,
    /// Segments, 1 for a single frame.
    pub segs: u32,
    /// The kernel's `SKB_GSO_*` bits ([`gro_core::Merged::gso_type`]), 0 for a single frame.
    pub gso_type: u32,
    /// Number of the first frame in it, from 0 in the order of posting, modulo 2^32.
    pub first: u32,
    /// Number of the last frame in it.
    pub last: u32,
    /// Hash and VLAN tag of the first frame.
    pub meta: Meta,
    /// Why it left.
    pub why: Why,
    /// Offset of the TCP header of a merged packet, where its checksum starts.
    pub l4: u16,
    /// Sum of the pseudo-header of a merged packet, for deliveries with an incomplete checksum.
    pub pseudo: u16,
}

impl Delivered {
    /// Bytes of the whole packet.
    pub fn len(&self) -> usize {
        self.header.len() + self.segments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether it has no byte, as an empty frame that came in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packet in one piece (copies).
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&self.header);
        for segment in &self.segments {
            bytes.extend_from_slice(segment);
        }
        bytes
    }
}

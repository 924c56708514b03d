//! What leaves the userspace engine.

use super::virtio::{VirtioNetHdr, Why};
use crate::Merged;
use crate::complete::GSO_TUNNELS;
use crate::datapath::Meta;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// One packet: a frame as it came, or a merged packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// A single frame: all of it. A merged packet: its headers, with lengths, flags and complete checksums.
    pub header: Bytes,
    /// Payload slices of a merged packet, in order; empty for a single frame.
    pub segments: Vec<Bytes>,
    /// Payload bytes of every segment but the last, 0 for a single frame.
    pub gso_size: u16,
    /// Segments, 1 for a single frame.
    pub segs: u32,
    /// As [`Merged::gso_type`], 0 for a single frame.
    pub gso_type: u32,
    /// Number of the first frame in it, from 0, modulo 2^32.
    pub first: u32,
    /// Number of the last frame in it.
    pub last: u32,
    /// Hash and VLAN tag of the first frame.
    pub meta: Meta,
    /// Why it left.
    pub why: Why,
    pub(super) merged: Option<Merged>,
}

impl Delivered {
    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        self.header.len() + self.segments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether it has no byte, as an empty frame that came in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame in one piece (copies).
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&self.header);
        for segment in &self.segments {
            bytes.extend_from_slice(segment);
        }
        bytes
    }

    /// Whether [`Delivered::into_virtio`] has a form for it: everything but a merged packet in a tunnel. VIRTIO 1.2 cannot say
    /// where the inner headers are; a single frame in a tunnel needs no such word.
    pub fn fits_virtio(&self) -> bool {
        self.segs <= 1 || self.gso_type & GSO_TUNNELS == 0
    }

    /// The form a TUN/TAP or virtio device takes: the checksum field of a merged packet becomes the pseudo-header sum,
    /// as the kernel delivers it (CHECKSUM_PARTIAL). A single frame needs nothing: the header is all zero.
    ///
    /// # Errors
    /// The packet itself, unchanged, if there is no such form for it ([`Delivered::fits_virtio`]). For a device that takes
    /// nothing else, clear the bits of [`crate::Config::tunnels`]: then there is no such packet.
    #[expect(clippy::result_large_err, reason = "the packet comes back to its owner")]
    pub fn into_virtio(mut self) -> Result<(VirtioNetHdr, Self), Self> {
        if !self.fits_virtio() {
            return Err(self);
        }
        let Some(merged) = self.merged.filter(|merged| merged.segs > 1) else {
            return Ok((VirtioNetHdr::default(), self));
        };
        let mut header = BytesMut::from(&*self.header);
        let jumbo = (self.header.len() - usize::from(merged.header_len)) as u16;
        let at = usize::from(merged.check + jumbo);
        header[at..at + 2].copy_from_slice(&merged.pseudo.to_be_bytes());
        self.header = header.freeze();
        let gso_type = VirtioNetHdr::gso_type_of(merged.gso_type);
        let hdr = VirtioNetHdr {
            flags: VirtioNetHdr::NEEDS_CSUM,
            gso_type,
            hdr_len: merged.header_len + jumbo,
            gso_size: merged.gso_size,
            csum_start: merged.l4 + jumbo,
            csum_offset: merged.check - merged.l4,
        };
        Ok((hdr, self))
    }
}

//! What a virtio or TUN/TAP device is told of a packet that left the NIC.

use crate::Delivered;
use bytes::{Bytes, BytesMut};
use gro_core::complete::{GSO_TUNNELS, GSO_UDP_L4};
use gro_core::user::VirtioNetHdr;

impl Delivered {
    /// The form a TUN/TAP or virtio device takes: the checksum field of a merged packet becomes the pseudo-header sum that the device
    /// wrote into the completion, as the kernel delivers it (CHECKSUM_PARTIAL). A single frame needs nothing.
    ///
    /// # Errors
    /// The packet itself, unchanged, if it is a merged one of a tunnel, for which VIRTIO 1.2 has no form; or if its header ends before
    /// the checksum field that the completion states.
    pub fn into_virtio(mut self) -> Result<(VirtioNetHdr, Self), Self> {
        const TCP: (u16, usize) = (16, 20);
        const UDP: (u16, usize) = (6, 8);
        if self.segs <= 1 {
            return Ok((VirtioNetHdr::default(), self));
        }
        let is_udp = self.gso_type & GSO_UDP_L4 != 0;
        let (csum_offset, l4_header) = if is_udp { UDP } else { TCP };
        let l4 = usize::from(self.l4);
        if self.gso_type & GSO_TUNNELS != 0 || self.header.len() < l4 + l4_header {
            return Err(self);
        }
        let mut header = BytesMut::from(&self.header[..]);
        let at = l4 + usize::from(csum_offset);
        header[at..at + 2].copy_from_slice(&self.pseudo.to_be_bytes());
        self.header = Bytes::from(header);
        let gso_type = VirtioNetHdr::gso_type_of(self.gso_type);
        let hdr = VirtioNetHdr {
            flags: VirtioNetHdr::NEEDS_CSUM,
            gso_type,
            hdr_len: self.header.len() as u16,
            gso_size: self.gso_size,
            csum_start: self.l4,
            csum_offset,
        };
        Ok((hdr, self))
    }
}

//! What is said of a packet that leaves, beside its bytes.

use crate::complete::{GSO_TCPV6, GSO_UDP_L4};
use crate::{Bypass, FlushReason};

/// Why a packet left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was held.
    Flush(FlushReason),
    /// It was delivered at once.
    Bypass(Bypass),
}

impl Why {
    /// The reason's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flush(why) => why.name(),
            Self::Bypass(why) => why.name(),
        }
    }
}

/// `struct virtio_net_hdr` (VIRTIO 1.2, 5.1.6): what a TUN/TAP or virtio device takes before a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioNetHdr {
    /// [`VirtioNetHdr::NEEDS_CSUM`] or 0.
    pub flags: u8,
    /// [`VirtioNetHdr::GSO_TCPV4`], [`VirtioNetHdr::GSO_TCPV6`], [`VirtioNetHdr::GSO_UDP_L4`] or 0.
    pub gso_type: u8,
    /// Bytes of all headers.
    pub hdr_len: u16,
    /// Payload bytes of a segment.
    pub gso_size: u16,
    /// Where the checksum starts.
    pub csum_start: u16,
    /// Where it is stored, from `csum_start`.
    pub csum_offset: u16,
}

impl VirtioNetHdr {
    /// The checksum field holds the pseudo-header sum only.
    pub const NEEDS_CSUM: u8 = 1;
    /// Segment as TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// Segment as TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// Segment as UDP datagrams.
    pub const GSO_UDP_L4: u8 = 5;

    /// The type of a merged packet that is in no tunnel, from the kernel's `SKB_GSO_*` bits.
    pub fn gso_type_of(skb_gso_type: u32) -> u8 {
        if skb_gso_type & GSO_UDP_L4 != 0 {
            Self::GSO_UDP_L4
        } else if skb_gso_type & GSO_TCPV6 != 0 {
            Self::GSO_TCPV6
        } else {
            Self::GSO_TCPV4
        }
    }

    /// The ten bytes, little endian.
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        for (index, word) in
            [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset].into_iter().enumerate()
        {
            bytes[2 + 2 * index..4 + 2 * index].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

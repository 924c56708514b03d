//! The header of a merged packet: the first segment's, with lengths, checksums and flags rewritten
//! (`inet_gro_complete`, `ipv6_gro_complete`, `tcp_gro_complete`).

use crate::checksum::{self, fold, halves};
use crate::coalesce::{FIN, PSH};
use crate::flow::Flow;
use crate::parse::{IPV6_HEADER, L3, TCP_HEADER};

/// A big-endian 16-bit word to write at a byte offset of the first frame's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Patch {
    /// From the start of the frame.
    pub offset: u16,
    /// The word, in host order.
    pub value: u16,
}

/// A held packet that leaves. With one segment it is the untouched frame: no patch, `gso_size` 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Merged {
    /// Segments in it.
    pub segs: u32,
    /// Payload bytes of each segment but the last, or 0.
    pub gso_size: u16,
    /// Bytes of all headers.
    pub header_len: u16,
    /// Offset of the TCP header.
    pub l4: u16,
    /// Sum of the pseudo-header with the merged length, for CHECKSUM_PARTIAL deliveries: what the TCP checksum field
    /// then holds, uncomplemented.
    pub pseudo: u16,
    /// Bytes of the whole frame.
    pub len: u32,
    /// Whether the network header is IPv6.
    pub ipv6: bool,
    patches: [Patch; 4],
}

impl Merged {
    /// The words to rewrite, with a complete TCP checksum. Empty for a single frame. Unused entries repeat the last one.
    #[inline(always)]
    pub fn patches(&self) -> &[Patch] {
        if self.segs > 1 { &self.patches } else { &[] }
    }

    /// The same words as a fixed array, for targets that want no slice. Only for `segs > 1`.
    #[inline(always)]
    pub fn patch(&self, index: usize) -> Patch {
        self.patches[index & 3]
    }

    /// Offset of the TCP checksum field.
    #[inline(always)]
    pub fn checksum_offset(&self) -> u16 {
        self.l4 + 16
    }

    #[inline(always)]
    pub(crate) fn of(flow: &Flow) -> Self {
        let single = flow.segs == 1;
        let ipv6 = flow.key.protocol >> 16 == 0x86dd;
        let network_len = flow.network_len();
        let tcp_len = flow.payload - flow.l4 + flow.bytes;

        let mut pseudo = 6 + halves(tcp_len);
        for word in flow.key.addresses {
            pseudo += halves(word);
        }
        // Complete TCP checksum, composed: the segments' payload sums and the first header, which RFC 1071 lets us add.
        let sum =
            flow.common_sum + halves(tcp_len) + halves(flow.first_seq) + (flow.control >> 16) + flow.urgent;
        let tcp_check = checksum::field(fold(sum) as u32 + flow.payload_sum);

        let flags = Patch { offset: (flow.l4 + 12) as u16, value: (flow.control >> 16) as u16 };
        let check = Patch { offset: (flow.l4 + 16) as u16, value: tcp_check };
        let patches = if ipv6 {
            let length = Patch { offset: (L3 + 4) as u16, value: (network_len - IPV6_HEADER) as u16 };
            [length, flags, check, check]
        } else {
            let old = (flow.payload - L3 + flow.gso_size) as u16;
            let length = Patch { offset: (L3 + 2) as u16, value: network_len as u16 };
            let header = Patch {
                offset: (L3 + 10) as u16,
                value: checksum::replace(flow.id_check as u16, old, length.value),
            };
            [length, header, flags, check]
        };
        Self {
            segs: flow.segs,
            gso_size: if single { 0 } else { flow.gso_size as u16 },
            header_len: flow.payload as u16,
            l4: flow.l4 as u16,
            pseudo: fold(pseudo),
            len: flow.payload + flow.bytes,
            ipv6,
            patches,
        }
    }
}

// The flags word is written as it stands in the flow, so FIN and PSH must lie in its upper half.
const _: () = assert!((FIN | PSH) & 0xffff == 0 && TCP_HEADER == 20);

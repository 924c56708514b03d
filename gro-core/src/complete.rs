//! The header of a merged packet: the first segment's, with lengths, checksums and flags rewritten
//! (`inet_gro_complete`, `ipv6_gro_complete`, `tcp_gro_complete`, `udp_gro_complete`).

use crate::checksum::{self, fold, halves};
use crate::coalesce::{CWR, FIN, PSH};
use crate::flow::{Flow, length_sum};
use crate::parse::{IPV6_HEADER, JUMBO_HEADER, TCP_HEADER};
use crate::profile::Profile;
use crate::rule::Rule;

/// `SKB_GSO_TCPV4` (include/linux/skbuff.h).
pub const GSO_TCPV4: u32 = 1;
/// `SKB_GSO_TCP_ECN`: only the first segment has CWR.
pub const GSO_TCP_ECN: u32 = 1 << 2;
/// `SKB_GSO_TCP_FIXEDID`: all segments have the identification of the first.
pub const GSO_TCP_FIXEDID: u32 = 1 << 3;
/// `SKB_GSO_TCPV6`.
pub const GSO_TCPV6: u32 = 1 << 4;
/// `SKB_GSO_TCP_ACCECN`: every segment has the CWR of the first.
pub const GSO_TCP_ACCECN: u32 = 1 << 19;
/// `SKB_GSO_UDP_L4`.
pub const GSO_UDP_L4: u32 = 1 << 17;

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
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset of the TCP or UDP header.
    pub l4: u16,
    /// Offset of its checksum field.
    pub check: u16,
    /// Sum of the pseudo-header with the merged length, for CHECKSUM_PARTIAL deliveries: what the checksum field
    /// then holds, uncomplemented.
    pub pseudo: u16,
    /// Bytes of the whole frame, with the jumbo header.
    pub len: u32,
    /// Length to be stated in a hop-by-hop header ([`jumbo_header`]) that the datapath puts behind the IPv6 header, or 0. The
    /// other offsets and lengths here, and the patches, are those of the header without it.
    pub jumbo: u32,
    /// [`GSO_TCPV4`], [`GSO_TCPV6`] or [`GSO_UDP_L4`], and [`GSO_TCP_FIXEDID`]; 0 for a single frame.
    pub gso_type: u32,
    patches: [Patch; 4],
}

impl Merged {
    /// The words to rewrite, with a complete checksum. Empty for a single frame. An unused entry repeats another one.
    #[inline(always)]
    pub fn patches(&self) -> &[Patch] {
        if self.segs > 1 { &self.patches } else { &[] }
    }

    /// The same words as a fixed array, for targets that want no slice. Only for `segs > 1`.
    #[inline(always)]
    pub fn patch(&self, index: usize) -> Patch {
        self.patches[index & 3]
    }

    /// Without a branch: the BPF verifier walks this once for every place of the table and for every path to it.
    #[inline(always)]
    pub(crate) fn of<P: Profile>(flow: &Flow) -> Self {
        let many = is_many(flow.segs);
        let ipv6 = flow.ipv6 & 1;
        let first_len = flow.payload - flow.l3 + flow.gso_size;
        let network_len = if P::on(Rule::MergedLength) { flow.network_len() } else { first_len };
        let udp = flow.udp & 1;
        let l4_len = flow.payload - flow.l4 + flow.bytes;

        // Complete checksum, composed: the segments' payload sums and the first header, which RFC 1071 lets us add.
        let sum = flow.common_sum
            + length_sum(l4_len, udp)
            + halves(flow.first_seq)
            + (flow.control >> 16)
            + flow.urgent;
        let l4_check = checksum::field(fold(sum) as u32 + flow.payload_sum) as u32;
        // UDP writes 0, which means none there, as the other zero.
        let l4_check = l4_check | (l4_check.wrapping_sub(1) >> 16) & udp.wrapping_neg();
        let check = flow.l4 + 16 - 10 * udp;

        // IPv4: total length and header checksum. IPv6: payload length, twice. What 16 bits cannot say is said by 0
        // (`iph_set_totlen`, include/linux/ip.h).
        let ip_len = network_len.wrapping_sub(IPV6_HEADER * ipv6);
        let over = 0xffff_u32.wrapping_sub(ip_len) >> 31;
        let length = ip_len & over.wrapping_sub(1);
        let old = first_len as u16;
        let ipv4_check = if P::on(Rule::MergedIpv4Checksum) {
            checksum::replace(flow.id_check as u16, old, length as u16) as u32
        } else {
            flow.id_check & 0xffff
        };
        let has_jumbo = Rule::JumboHeader.of::<P>(over & ipv6 & P::JUMBO_HEADER as u32);
        let patches = [
            patch(flow.l3 + 2 + 2 * ipv6, length),
            patch(flow.l3 + 10 - 6 * ipv6, ipv4_check ^ (ipv4_check ^ length) & ipv6.wrapping_neg()),
            // TCP: data offset and flags. UDP: length.
            patch(flow.l4 + 12 - 8 * udp, (flow.control >> 16) | l4_len & udp.wrapping_neg()),
            patch(check, Rule::MergedChecksum.of::<P>(l4_check)),
        ];
        let fixed_id = Rule::FixedIdType.of::<P>(flow.fixed_id & !ipv6 & 1);
        let cwr = (flow.control & CWR != 0) as u32;
        let tcp_type =
            GSO_TCPV4 + (GSO_TCPV6 - GSO_TCPV4) * ipv6 + GSO_TCP_FIXEDID * fixed_id + P::CWR_TYPE * cwr;
        let gso_type = tcp_type ^ (tcp_type ^ GSO_UDP_L4) & udp.wrapping_neg();
        Self {
            segs: flow.segs,
            gso_size: (flow.gso_size & (many | !P::on(Rule::Single) as u32).wrapping_neg()) as u16,
            header_len: flow.payload as u16,
            l3: flow.l3 as u16,
            l4: flow.l4 as u16,
            check: check as u16,
            pseudo: fold(flow.pseudo_sum + halves(l4_len)),
            len: flow.payload + flow.bytes + JUMBO_HEADER * has_jumbo,
            jumbo: (ip_len + JUMBO_HEADER) & has_jumbo.wrapping_neg(),
            gso_type: gso_type & many.wrapping_neg(),
            patches,
        }
    }
}

/// The hop-by-hop header of a jumbogram (RFC 2675 section 2) in front of header `next`. The IPv6 header's own next header then
/// is 0.
pub fn jumbo_header(next: u8, jumbo: u32) -> [u8; JUMBO_HEADER as usize] {
    const TLV_JUMBO: u8 = 0xc2;
    let [a, b, c, d] = jumbo.to_be_bytes();
    [next, 0, TLV_JUMBO, 4, a, b, c, d]
}

/// 1 for two segments or more, 0 for one.
#[inline(always)]
pub(crate) fn is_many(segs: u32) -> u32 {
    1_u32.wrapping_sub(segs) >> 31
}

#[inline(always)]
fn patch(offset: u32, value: u32) -> Patch {
    Patch { offset: offset as u16, value: value as u16 }
}

// The flags word is written as it stands in the flow, so FIN and PSH must lie in its upper half.
const _: () = assert!((FIN | PSH) & 0xffff == 0 && TCP_HEADER == 20);

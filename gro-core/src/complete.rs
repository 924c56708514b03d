//! The header of a merged packet: the first segment's, with lengths, checksums and flags rewritten
//! (`inet_gro_complete`, `ipv6_gro_complete`, `tcp_gro_complete`, `udp_gro_complete`).

use crate::checksum::{self, fold, halves};
use crate::coalesce::{CWR, FIN, PSH};
use crate::flow::{FIXED, FIXED_OUTER, Flow, length_sum};
use crate::parse::{IPV6_HEADER, JUMBO_HEADER, Outer, TCP_HEADER, TunnelKind};
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
/// `SKB_GSO_GRE`.
pub const GSO_GRE: u32 = 1 << 6;
/// `SKB_GSO_IPXIP4`: an IP header in IPv4.
pub const GSO_IPXIP4: u32 = 1 << 8;
/// `SKB_GSO_IPXIP6`: an IP header in IPv6.
pub const GSO_IPXIP6: u32 = 1 << 9;
/// `SKB_GSO_UDP_TUNNEL`: a tunnel behind a UDP header without checksum.
pub const GSO_UDP_TUNNEL: u32 = 1 << 10;
/// `SKB_GSO_UDP_TUNNEL_CSUM`: a tunnel behind a UDP header with one.
pub const GSO_UDP_TUNNEL_CSUM: u32 = 1 << 11;
/// `SKB_GSO_TCP_FIXEDID_INNER`: as [`GSO_TCP_FIXEDID`], which then speaks of the outer header, for the header in a tunnel.
pub const GSO_TCP_FIXEDID_INNER: u32 = 1 << 31;
/// Every bit that says that the packet is in a tunnel.
pub const GSO_TUNNELS: u32 = GSO_GRE | GSO_IPXIP4 | GSO_IPXIP6 | GSO_UDP_TUNNEL | GSO_UDP_TUNNEL_CSUM;

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
    /// [`GSO_TCPV4`], [`GSO_TCPV6`] or [`GSO_UDP_L4`], [`GSO_TCP_FIXEDID`], and one of [`GSO_TUNNELS`]; 0 for a single frame.
    pub gso_type: u32,
    patches: [Patch; PATCHES],
    /// 1 when headers in front of the IP header are rewritten too.
    has_outer: u32,
    outer: [Patch; OUTER_PATCHES],
}

/// Words that every merged packet has rewritten.
pub const PATCHES: usize = 4;
/// Words that are rewritten in front of the innermost IP header.
pub const OUTER_PATCHES: usize = 5;

impl Merged {
    /// No packet.
    pub const ZERO: Self = Self {
        segs: 0,
        gso_size: 0,
        header_len: 0,
        l3: 0,
        l4: 0,
        check: 0,
        pseudo: 0,
        len: 0,
        jumbo: 0,
        gso_type: 0,
        patches: [Patch { offset: 0, value: 0 }; PATCHES],
        has_outer: 0,
        outer: [Patch { offset: 0, value: 0 }; OUTER_PATCHES],
    };

    /// The words to rewrite, with complete checksums. None for a single frame. A word may come twice.
    pub fn patches(&self) -> impl Iterator<Item = &Patch> {
        let (patches, outer): (&[Patch], &[Patch]) = match (self.segs > 1, self.has_outer != 0) {
            (false, _) => (&[], &[]),
            (true, false) => (&self.patches, &[]),
            (true, true) => (&self.patches, &self.outer),
        };
        patches.iter().chain(outer)
    }

    /// The first [`PATCHES`] of the same words, for targets that want no slice. Only for `segs > 1`.
    #[inline(always)]
    pub fn patch(&self, index: usize) -> Patch {
        self.patches[index & (PATCHES - 1)]
    }

    /// Whether headers in front of the innermost IP header are rewritten too.
    #[inline(always)]
    pub fn has_outer(&self) -> bool {
        self.has_outer != 0
    }

    /// The [`OUTER_PATCHES`] words there. Only for `segs > 1` and [`Merged::has_outer`].
    #[inline(always)]
    pub fn outer_patch(&self, index: usize) -> Patch {
        self.outer[if index < OUTER_PATCHES { index } else { 0 }]
    }

    /// A single frame, and of a packet of more what depends on lengths only: of its flow no more is needed than is known early
    /// ([`crate::follow`]).
    #[inline(always)]
    pub(crate) fn write_single(&mut self, flow: &Flow) {
        self.segs = 1;
        self.gso_size = 0;
        self.header_len = flow.payload as u16;
        self.l3 = flow.l3 as u16;
        self.l4 = flow.l4 as u16;
        self.check = (flow.l4 + 16 - 10 * (flow.udp & 1)) as u16;
        self.pseudo = fold(flow.pseudo_sum + halves(flow.payload - flow.l4 + flow.bytes));
        self.len = flow.payload + flow.bytes;
        self.jumbo = 0;
        self.gso_type = 0;
        self.has_outer = 0;
    }

    /// Written in place, and without a branch but for tunnels: a BPF stack has no room for it, and the verifier walks this once for
    /// every place of the table and for every path to it.
    #[inline(always)]
    pub(crate) fn write<P: Profile>(&mut self, flow: &Flow) {
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
        self.patches = [
            patch(flow.l3 + 2 + 2 * ipv6, length),
            patch(flow.l3 + 10 - 6 * ipv6, ipv4_check ^ (ipv4_check ^ length) & ipv6.wrapping_neg()),
            // TCP: data offset and flags. UDP: length.
            patch(flow.l4 + 12 - 8 * udp, (flow.control >> 16) | l4_len & udp.wrapping_neg()),
            patch(check, Rule::MergedChecksum.of::<P>(l4_check)),
        ];
        let cwr = (flow.control & CWR != 0) as u32;
        let tcp_type = GSO_TCPV4 + (GSO_TCPV6 - GSO_TCPV4) * ipv6 + fixed_type::<P>(flow) + P::CWR_TYPE * cwr;
        let gso_type = tcp_type ^ (tcp_type ^ GSO_UDP_L4) & udp.wrapping_neg();
        self.segs = flow.segs;
        self.gso_size = (flow.gso_size & (many | !P::on(Rule::Single) as u32).wrapping_neg()) as u16;
        self.header_len = flow.payload as u16;
        self.l3 = flow.l3 as u16;
        self.l4 = flow.l4 as u16;
        self.check = check as u16;
        self.pseudo = fold(flow.pseudo_sum + halves(l4_len));
        self.len = flow.payload + flow.bytes + JUMBO_HEADER * has_jumbo;
        self.jumbo = (ip_len + JUMBO_HEADER) & has_jumbo.wrapping_neg();
        self.gso_type = gso_type & many.wrapping_neg();
        self.has_outer = (flow.outer.places != 0) as u32;
        if flow.outer.places != 0 {
            self.gso_type |= tunnel_type(&flow.outer) & many.wrapping_neg();
            // The inner transport header and payload sum to what completes their pseudo-header; the inner IPv6 length is new.
            // So is the option of a jumbo header; its next header only moves there.
            let jumbo = (JUMBO_OPTION as u32 + halves(self.jumbo)) & has_jumbo.wrapping_neg();
            let inner = length * ipv6 + !self.pseudo as u32 + jumbo;
            self.write_outer::<P>(flow, flow.outer_sum + inner);
        }
    }

    /// The words of a TCP packet: two of the IP header; at the TCP header's offset, the one with its flags and the checksum.
    #[inline(always)]
    pub(crate) fn set_patches(&mut self, network: [(u32, u32); 2], (l4, control, check): (u32, u32, u32)) {
        let [(at, length), (and_at, and)] = network;
        self.patches =
            [patch(at, length), patch(and_at, and), patch(l4 + 12, control), patch(l4 + 16, check)];
    }

    /// What is in front of the innermost IP header: lengths, and the checksums of IPv4 and UDP. That of GRE stays as it is
    /// (`gre_gro_complete`, net/ipv4/gre_offload.c). `sum` is that of everything behind the UDP header's start but its length.
    #[inline(always)]
    fn write_outer<P: Profile>(&mut self, flow: &Flow, sum: u32) {
        let outer = &flow.outer;
        let merged = flow.payload + flow.bytes;
        let first = flow.payload + flow.gso_size;
        let end = if P::on(Rule::MergedOuter) { merged } else { first };
        self.outer = [self.patches[0]; OUTER_PATCHES];
        let session = outer.pppoe();
        // As `pppoe_gro_complete` (drivers/net/ppp/pppoe.c, 7.x) states a longer one.
        let session_length = end.wrapping_sub(session + PPPOE_HEADER).min(0xffff);
        if session != 0 {
            self.outer[0] = patch(session + 4, session_length);
        }
        let l3 = outer.l3();
        if l3 == 0 {
            return;
        }
        if outer.ipv6() != 0 {
            self.outer[1] = patch(l3 + 4, stated(end - l3 - IPV6_HEADER));
        } else {
            let (old, new) = ((first - l3) as u16, stated(end - l3) as u16);
            self.outer[1] = patch(l3 + 2, new as u32);
            self.outer[2] = patch(l3 + 10, checksum::replace(outer.id_check as u16, old, new) as u32);
        }
        let udp = outer.checked();
        if outer.is_udp() {
            self.outer[3] = patch(udp + 4, end - udp);
        }
        if outer.is_udp() && outer.has_check() {
            let length = end - udp;
            let sum = sum + if session > udp { session_length } else { 0 };
            // The pseudo-header has all of it, the header what fits.
            let check =
                checksum::field(fold(sum + outer.pseudo_sum) as u32 + halves(length) + (length & 0xffff));
            self.outer[4] = patch(udp + 6, if check == 0 { 0xffff } else { check as u32 });
        }
    }
}

/// `ip_fixedid` as GSO types (`tcp4_gro_complete`): of the only IP header or the outer one, and of an inner one. Linux 6.12 has one
/// for all. Around IPv6 the kernel says nothing of an outer one.
#[inline(always)]
fn fixed_type<P: Profile>(flow: &Flow) -> u32 {
    let encapsulated = (flow.outer.l3() != 0 && !P::FIXED_ID_NEEDS_DF) as u32;
    let inner = flow.fixed_id & FIXED;
    let outer = (flow.fixed_id / FIXED_OUTER) & 1 & !flow.ipv6;
    let only = GSO_TCP_FIXEDID * (inner & !encapsulated | outer);
    Rule::FixedIdType.of::<P>(only + GSO_TCP_FIXEDID_INNER * (inner & encapsulated))
}

/// The tunnel as a GSO type (`ipip_gro_complete`, `sit_gro_complete`, `ip6ip6_gro_complete`, `gre_gro_complete`,
/// `udp_gro_complete`).
#[inline(always)]
fn tunnel_type(outer: &Outer) -> u32 {
    let kind = outer.kind();
    if kind == TunnelKind::Gre as u32 {
        GSO_GRE
    } else if kind == TunnelKind::Udp as u32 {
        if outer.has_check() { GSO_UDP_TUNNEL_CSUM } else { GSO_UDP_TUNNEL }
    } else if kind == TunnelKind::IpInIp as u32 {
        if outer.ipv6() != 0 { GSO_IPXIP6 } else { GSO_IPXIP4 }
    } else {
        0
    }
}

/// Bytes of a PPPoE header that its length does not count (RFC 2516 section 4).
const PPPOE_HEADER: u32 = 6;

/// Type and length of the jumbo payload option (RFC 2675 section 2).
const JUMBO_OPTION: u16 = 0xc204;

/// The hop-by-hop header of a jumbogram (RFC 2675 section 2) in front of header `next`. The IPv6 header's own next header then
/// is 0.
pub fn jumbo_header(next: u8, jumbo: u32) -> [u8; JUMBO_HEADER as usize] {
    let [kind, length] = JUMBO_OPTION.to_be_bytes();
    let [a, b, c, d] = jumbo.to_be_bytes();
    [next, 0, kind, length, a, b, c, d]
}

/// A length as an IP header states it: 0 for what 16 bits cannot say.
#[inline(always)]
fn stated(length: u32) -> u32 {
    let over = 0xffff_u32.wrapping_sub(length) >> 31;
    length & over.wrapping_sub(1)
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

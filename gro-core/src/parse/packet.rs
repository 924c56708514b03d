//! What parsing gives: the innermost IP and transport header in plain words, and what stands before them.

use super::{ETHERTYPE_IPV6, L3_UNTAGGED};
use crate::checksum::{fold, halves};
use crate::datapath::Payload;
use crate::profile::Profile;
use crate::window::{HEADER_MAX, Window};

/// Length of an IPv6 header without extension headers.
pub(crate) const IPV6_HEADER: u32 = 40;
/// Length of a TCP header without options.
pub(crate) const TCP_HEADER: u32 = 20;
/// Bytes of the hop-by-hop header that holds the length of a jumbogram (RFC 2675).
pub(crate) const JUMBO_HEADER: u32 = 8;
/// Most words of a [`Chain`]. What goes there is at most as long as the headers that it stands for, and between the Ethernet
/// header and the shortest IP and transport headers there is no more room in the window.
pub const CHAIN_WORDS: usize = (HEADER_MAX - 14 - 20 - 8).div_ceil(4);

/// What must be equal for two frames to be of one flow, apart from the RSS hash, the VLAN tag in metadata and the [`Chain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Key {
    /// Destination and source MAC address of the frame.
    pub macs: [u32; 3],
    /// Ethertype of the innermost IP header (high half) and, IPv4, the protocol; IPv6, the first next header.
    pub protocol: u32,
    /// IPv6: version and flow label. IPv4: 0.
    pub label: u32,
    /// Source and destination address; IPv4 uses the first word of each.
    pub addresses: [u32; 8],
    /// Source port (high half) and destination port.
    pub ports: u32,
}

impl Key {
    /// No flow.
    pub(crate) const EMPTY: Self = Self { macs: [0; 3], protocol: 0, label: 0, addresses: [0; 8], ports: 0 };
}

/// The words of a flow that not every flow has, in the order in which their headers stand in the frame: VLAN tags, IPv6 extension
/// headers, tunnels and what is in front of them. Bits that may differ within a flow are 0. Two chains of one length are
/// of one flow if they are equal: each header is told by what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Chain {
    /// Words in use.
    pub len: u32,
    /// The words; what is behind those in use means nothing. A power of two, so that an index needs no check.
    pub words: [u32; CHAIN_ROOM],
}

const CHAIN_ROOM: usize = CHAIN_WORDS.next_power_of_two();

impl Chain {
    /// No word.
    pub(crate) const EMPTY: Self = Self { len: 0, words: [0; CHAIN_ROOM] };

    /// Adds a word. Too many are counted, for the parser to refuse the frame.
    #[inline(always)]
    pub(super) fn push(&mut self, word: u32) {
        self.words[self.len as usize % CHAIN_ROOM] = word;
        self.len += 1;
    }

    /// Adds the words of the header bytes from `start` to `end`, a multiple of four.
    #[inline(always)]
    pub(super) fn push_all(&mut self, window: &Window<'_>, start: u32, end: u32) {
        let len = self.len;
        for index in 0..CHAIN_WORDS as u32 {
            let at = start + 4 * index;
            if at >= end {
                break;
            }
            self.words[(len + index) as usize % CHAIN_ROOM] = window.be32(at);
        }
        self.len = len + (end - start) / 4;
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// What is kept of headers in front of the innermost IP header, beside their words in the [`Chain`]. Without such headers only
/// `places` has a meaning: it is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Outer {
    /// As [`Packet::class`].
    pub(crate) class: u32,
    /// As [`Packet::id_check`].
    pub(crate) id_check: u32,
    /// Sum over the pseudo-header of an outer UDP header, without its length; 0 for GRE.
    pub(crate) pseudo_sum: u32,
    /// Offsets of headers whose length field a merged packet rewrites, and what kind they are: see [`Outer::l3`] and the
    /// others. Equal in all packets of a flow.
    pub(crate) places: u32,
}

impl Outer {
    /// Nothing is in front.
    pub(crate) const NONE: Self = Self { places: 0, class: 0, id_check: 0, pseudo_sum: 0 };

    pub(super) const PPPOE_SHIFT: u32 = 16;
    pub(super) const CHECKED_SHIFT: u32 = 8;
    pub(super) const IPV6: u32 = 1 << 24;
    pub(super) const UDP: u32 = 1 << 25;
    pub(super) const CHECK: u32 = 1 << 26;
    pub(super) const KIND_SHIFT: u32 = 28;
    const PLACE: u32 = 0xff;

    /// Offset of the outer IP header, 0 without a tunnel.
    #[inline(always)]
    pub(crate) fn l3(&self) -> u32 {
        self.places & Self::PLACE
    }

    /// Offset of the outer UDP header, or of a GRE header, 0 without either.
    #[inline(always)]
    pub(crate) fn checked(&self) -> u32 {
        self.places >> Self::CHECKED_SHIFT & Self::PLACE
    }

    /// Offset of the PPPoE header, 0 without one.
    #[inline(always)]
    pub(crate) fn pppoe(&self) -> u32 {
        self.places >> Self::PPPOE_SHIFT & Self::PLACE
    }

    /// 1 when the outer IP header is IPv6, else 0.
    #[inline(always)]
    pub(crate) fn ipv6(&self) -> u32 {
        self.places >> 24 & 1
    }

    /// Whether there is an outer UDP header.
    #[inline(always)]
    pub(crate) fn is_udp(&self) -> bool {
        self.places & Self::UDP != 0
    }

    /// Whether the outer UDP or GRE header has a checksum.
    #[inline(always)]
    pub(crate) fn has_check(&self) -> bool {
        self.places & Self::CHECK != 0
    }

    /// What the tunnel is to GSO.
    #[inline(always)]
    pub(crate) fn kind(&self) -> u32 {
        self.places >> Self::KIND_SHIFT
    }
}

/// What a tunnel is to GSO: the kinds of [`Outer::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum TunnelKind {
    /// An IP header in an IP header.
    IpInIp = 1,
    /// GRE.
    Gre = 2,
    /// Something behind a UDP header.
    Udp = 3,
}

/// One segment in plain words: of TCP, or a UDP datagram, which is a segment without sequence number, flags and options.
/// Offsets and lengths are bytes from the start of the frame. IP and transport header are the innermost ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    /// Flow identity.
    pub key: Key,
    /// 1 for UDP, 0 for TCP.
    pub udp: u32,
    /// Offset of the IP header.
    pub l3: u32,
    /// Offset of the TCP or UDP header.
    pub l4: u32,
    /// Offset of the payload, which is the length of all headers.
    pub payload: u32,
    /// Bytes behind the headers up to the end of the frame, padding included (the kernel's `skb_gro_len`).
    pub payload_len: u32,
    /// TCP sequence number; like the other TCP fields 0 for UDP.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// The fourth word of the TCP header: data offset, reserved bits, flags, window (`tcp_flag_word`).
    pub control: u32,
    /// Checksum field (high half) and urgent pointer.
    pub check_urgent: u32,
    /// TTL or hop limit (bits 0..8), DSCP/ECN (bits 8..16) and, IPv4, the don't-fragment bit (bit 16).
    pub class: u32,
    /// IPv4: identification (high half) and header checksum. IPv6: 0.
    pub id_check: u32,
    /// An IP length differs from the bytes present, or the reserved bit is set: it cannot join, and checksums behind are
    /// not looked at (`NAPI_GRO_CB(skb)->flush` in the kernel).
    pub mismatch: bool,
    /// [`Packet::mismatch`] as it was in front of the tunnel.
    pub(crate) outer_mismatch: bool,
    /// What is kept of headers in front of the innermost IP header.
    pub(crate) outer: Outer,
    /// Further words of the flow's identity.
    pub(crate) chain: Chain,
    /// Sum over the headers from an outer one with a checksum to the innermost transport header, folded.
    pub(crate) between: u32,
    /// Why the frame was not parsed, where it was not: the number of a [`crate::Bypass`], because a verifier would not know the range
    /// of an enum that comes from memory.
    pub(super) refused: u32,
    /// Where parsing goes on, with which header, and where the bytes before it start whose words are still to go into the
    /// chain.
    pub(super) at: u32,
    pub(super) from: u32,
    pub(super) next: u32,
}

impl Packet {
    /// No packet.
    pub const EMPTY: Self = Self {
        key: Key::EMPTY,
        udp: 0,
        l3: 0,
        l4: 0,
        payload: 0,
        payload_len: 0,
        seq: 0,
        ack: 0,
        control: 0,
        check_urgent: 0,
        class: 0,
        id_check: 0,
        mismatch: false,
        outer_mismatch: false,
        outer: Outer::NONE,
        chain: Chain::EMPTY,
        between: 0,
        refused: 0,
        at: 0,
        from: 0,
        next: 0,
    };

    /// Where the payload is.
    #[inline(always)]
    pub fn payload(&self) -> Payload {
        Payload { at: self.payload, len: self.payload_len }
    }

    /// Whether the innermost IP header is IPv6.
    #[inline(always)]
    pub fn is_ipv6(&self) -> bool {
        self.key.protocol >> 16 == ETHERTYPE_IPV6
    }

    /// Offset of the outer IP header, 0 without a tunnel.
    #[inline(always)]
    pub fn outer_l3(&self) -> u32 {
        self.outer.l3()
    }

    /// Whether the packet is in a tunnel.
    #[inline(always)]
    pub(crate) fn is_encapsulated(&self) -> bool {
        self.outer.l3() != 0
    }

    /// Whether the device counts it as IPv6: its ethertype says so, that of the outer tag where there is one.
    #[inline(always)]
    pub(crate) fn is_ipv6_to_device(&self) -> bool {
        let inner = self.l3 == L3_UNTAGGED && self.is_ipv6();
        inner || self.outer.l3() == L3_UNTAGGED && self.outer.ipv6() != 0
    }

    /// Whether the kernel's jumbo header would overwrite headers: `ipv6_gro_complete` (net/ipv6/ip6_offload.c) makes room for it in
    /// front of the innermost transport header and writes it behind its IPv6 header, which loses all but the last eight bytes
    /// between the two. Behind an outer IPv6 header there are more. Such a packet stays small here: a divergence on purpose.
    #[inline(always)]
    pub(crate) fn loses_headers<P: Profile>(&self) -> bool {
        let inner = self.is_ipv6() && self.l4 - self.l3 > IPV6_HEADER + JUMBO_HEADER;
        P::JUMBO_HEADER && (inner || self.outer.l3() != 0 && self.outer.ipv6() != 0)
    }

    /// Words of TCP options, at most [`crate::flow::OPTION_WORDS`].
    #[inline(always)]
    pub(crate) fn option_words(&self) -> u32 {
        (self.payload - self.l4).saturating_sub(TCP_HEADER) / 4
    }

    /// Bytes of the frame.
    #[inline(always)]
    pub(crate) fn frame_len(&self) -> u32 {
        self.payload + self.payload_len
    }

    /// The addresses' part of a pseudo-header.
    #[inline(always)]
    pub(crate) fn address_sum(&self) -> u32 {
        let mut sum = 0;
        for word in self.key.addresses {
            sum += halves(word);
        }
        fold(sum) as u32
    }
}

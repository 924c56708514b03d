//! The state of one held packet: what its followers are compared with, and what completion needs.

use crate::checksum::{at_parity, fold, halves};
use crate::coalesce::{FIN, PSH};
use crate::datapath::Input;
use crate::parse::{
    IPV6_HEADER, Key, L3_UNTAGGED, PROTOCOL_TCP, PROTOCOL_UDP, Packet, TAGS, TCP_HEADER, UDP_HEADER,
};
use crate::profile::Profile;
use crate::rule::Rule;
use crate::window::{HEADER_MAX, Window};

/// Most words of TCP options: a data offset of 15.
pub const OPTION_WORDS: usize = 10;
/// Most words of IPv6 extension headers that fit the window beside the other headers, of which UDP's is the shortest.
pub const EXTENSION_WORDS: usize = (HEADER_MAX - (L3_UNTAGGED + IPV6_HEADER + UDP_HEADER) as usize) / 8 * 2;

/// One held packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Flow {
    /// RSS hash of the first frame; all 32 bits must be equal.
    pub hash: u32,
    /// VLAN metadata of the first frame.
    pub vlan: u32,
    /// Flow identity.
    pub key: Key,
    /// As in [`Packet::tags`].
    pub tags: [u32; TAGS],
    /// 1 for UDP, 0 for TCP.
    pub udp: u32,
    /// Offset of the IP header, in bytes.
    pub l3: u32,
    /// Offset of the TCP or UDP header, in bytes.
    pub l4: u32,
    /// See [`Packet::payload`].
    pub payload: u32,
    /// First frame's sequence number.
    pub first_seq: u32,
    /// The sequence number that continues the packet.
    pub next_seq: u32,
    /// Acknowledgement number of every segment.
    pub ack: u32,
    /// TCP flag word, FIN and PSH of all segments in it.
    pub control: u32,
    /// First frame's urgent pointer.
    pub urgent: u32,
    /// DSCP/ECN and TTL, as in [`Packet::class`].
    pub class: u32,
    /// First frame's IPv4 identification and header checksum, as in [`Packet::id_check`].
    pub id_check: u32,
    /// As in [`Packet::dont_fragment`].
    pub dont_fragment: u32,
    /// 1 when the network header is IPv6, else 0.
    pub ipv6: u32,
    /// 1 from the second segment on if that had the identification of the first, else 0.
    pub fixed_id: u32,
    /// Segments held.
    pub segs: u32,
    /// Payload bytes of the first segment, the MSS of the merged packet.
    pub gso_size: u32,
    /// Payload bytes held.
    pub bytes: u32,
    /// Jiffy in which the first frame came.
    pub age: u32,
    /// Sum over the pseudo-header without its length.
    pub pseudo_sum: u32,
    /// Sum over the pseudo-header and over all fields of the TCP or UDP header that are equal in every segment.
    pub common_sum: u32,
    /// Sum over the payload held.
    pub payload_sum: u32,
    /// TCP options.
    pub options: [u32; OPTION_WORDS],
    /// IPv6 extension headers.
    pub extensions: [u32; EXTENSION_WORDS],
}

/// How a segment's options differ from those held: every unequal bit, OR-ed. Zero means equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(pub u32);

impl Flow {
    /// A place that holds nothing.
    pub const EMPTY: Self = Self {
        hash: 0,
        vlan: 0,
        key: Key::EMPTY,
        tags: [0; TAGS],
        udp: 0,
        l3: 0,
        l4: 0,
        payload: 0,
        first_seq: 0,
        next_seq: 0,
        ack: 0,
        control: 0,
        urgent: 0,
        class: 0,
        id_check: 0,
        dont_fragment: 0,
        ipv6: 0,
        fixed_id: 0,
        segs: 0,
        gso_size: 0,
        bytes: 0,
        age: 0,
        pseudo_sum: 0,
        common_sum: 0,
        payload_sum: 0,
        options: [0; OPTION_WORDS],
        extensions: [0; EXTENSION_WORDS],
    };

    /// Whether `packet` belongs to this held packet's flow: hash, VLAN tag, MAC addresses, ethertype (`gro_list_prepare`,
    /// net/core/gro.c), addresses, protocol, flow label and extension headers (`inet_gro_receive`, `ipv6_gro_receive`),
    /// ports (`tcp_gro_lookup`).
    #[inline(always)]
    pub(crate) fn is_same<P: Profile>(&self, packet: &Packet, input: &Input<'_>) -> bool {
        // Most likely to differ first: two flows seldom share hash and ports.
        let first = Rule::Hash.of::<P>(self.hash ^ input.meta.hash)
            | Rule::Ports.of::<P>(self.key.ports ^ packet.key.ports)
            | Rule::Vlan.of::<P>(self.vlan ^ input.meta.vlan);
        if first != 0 {
            return false;
        }
        let (held, new) = (&self.key, &packet.key);
        let mut difference = Rule::Protocol.of::<P>(held.protocol ^ new.protocol)
            | Rule::FlowLabel.of::<P>(held.label ^ new.label);
        for index in 0..held.macs.len() {
            difference |= Rule::Macs.of::<P>(held.macs[index] ^ new.macs[index]);
        }
        for index in 0..held.addresses.len() {
            difference |= Rule::Addresses.of::<P>(held.addresses[index] ^ new.addresses[index]);
        }
        // Headers that join must be equally long, whatever a mutant thinks of their bytes.
        if !P::on(Rule::InBandVlan) || !P::on(Rule::Extensions) || !P::on(Rule::Protocol) {
            difference |= self.l4 ^ packet.l4;
        }
        // As many tags, and the same ones.
        difference |= self.l3 ^ packet.l3;
        if packet.is_tagged() {
            for index in 0..TAGS {
                difference |= Rule::InBandVlan.of::<P>(self.tags[index] ^ packet.tags[index]);
            }
        }
        // Equal next headers in equal bytes end at the same offset; unequal chains are unequal somewhere in the new one.
        let words = packet.extension_words() as usize;
        for index in 0..EXTENSION_WORDS {
            if index >= words {
                break;
            }
            let word = extension_word(&input.window, packet, index);
            difference |= Rule::Extensions.of::<P>(self.extensions[index] ^ word);
        }
        difference == 0
    }

    /// Compares the TCP options. Their length is part of the flag word.
    #[inline(always)]
    pub(crate) fn difference(&self, packet: &Packet, window: &Window<'_>) -> Difference {
        let words = packet.option_words() as usize;
        let mut difference = 0;
        for index in 0..OPTION_WORDS {
            if index >= words {
                break;
            }
            difference |= self.options[index] ^ option_word(window, packet, index);
        }
        Difference(difference)
    }

    /// Starts a held packet with its first segment.
    #[inline(always)]
    pub(crate) fn start(&mut self, packet: &Packet, input: &Input<'_>) {
        let window = &input.window;
        self.hash = input.meta.hash;
        self.vlan = input.meta.vlan;
        self.key = packet.key;
        if packet.is_tagged() {
            self.tags = packet.tags;
        }
        self.udp = packet.udp;
        self.l3 = packet.l3;
        self.l4 = packet.l4;
        self.payload = packet.payload;
        self.first_seq = packet.seq;
        self.next_seq = packet.seq.wrapping_add(packet.sequence_len());
        self.ack = packet.ack;
        self.control = packet.control;
        self.urgent = packet.check_urgent & 0xffff;
        self.class = packet.class;
        self.id_check = packet.id_check;
        self.dont_fragment = packet.dont_fragment;
        self.ipv6 = packet.is_ipv6() as u32;
        self.fixed_id = 0;
        self.segs = 1;
        self.gso_size = packet.payload_len;
        self.bytes = packet.payload_len;
        self.age = input.now;

        self.pseudo_sum = fold(packet.pseudo_sum()) as u32;
        let mut common = self.pseudo_sum;
        common += halves(packet.key.ports) + halves(packet.ack) + (packet.control & 0xffff);
        let words = packet.option_words() as usize;
        for index in 0..OPTION_WORDS {
            if index >= words {
                break;
            }
            let word = option_word(window, packet, index);
            self.options[index] = word;
            common += halves(word);
        }
        let words = packet.extension_words() as usize;
        for index in 0..EXTENSION_WORDS {
            if index >= words {
                break;
            }
            self.extensions[index] = extension_word(window, packet, index);
        }
        self.common_sum = fold(common) as u32;
        self.payload_sum = self.payload_sum_of(packet) as u32;
    }

    /// Adds the next segment. `fixed_id` is what its identification decided.
    #[inline(always)]
    pub(crate) fn join<P: Profile>(&mut self, packet: &Packet, fixed_id: bool) {
        let odd = self.bytes & 1 != 0;
        self.payload_sum = fold(self.payload_sum + at_parity(self.payload_sum_of(packet), odd) as u32) as u32;
        self.control |= Rule::FinPushJoin.of::<P>(packet.control & (FIN | PSH));
        self.fixed_id = fixed_id as u32;
        self.next_seq = self.next_seq.wrapping_add(packet.sequence_len());
        self.bytes += packet.payload_len;
        self.segs += 1;
    }

    /// The sum of a verified segment's payload, from its header alone: pseudo-header, header and payload sum to 0xFFFF.
    #[inline(always)]
    fn payload_sum_of(&self, packet: &Packet) -> u16 {
        let l4_len = packet.payload - packet.l4 + packet.payload_len;
        let header = self.common_sum
            + length_sum(l4_len, packet.udp)
            + halves(packet.seq)
            + (packet.control >> 16)
            + halves(packet.check_urgent);
        !fold(header)
    }

    /// Bytes behind the Ethernet header, in-band VLAN tags included (`skb->len` while it is held).
    #[inline(always)]
    pub(crate) fn held_len(&self) -> u32 {
        self.payload - L3_UNTAGGED + self.bytes
    }

    /// Length of the merged packet from the IP header on.
    #[inline(always)]
    pub(crate) fn network_len(&self) -> u32 {
        self.payload - self.l3 + self.bytes
    }
}

impl Packet {
    /// Sequence numbers that the payload takes: UDP has none.
    #[inline(always)]
    fn sequence_len(&self) -> u32 {
        self.payload_len & (self.udp & 1).wrapping_sub(1)
    }

    /// The pseudo-header without the length (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1).
    #[inline(always)]
    pub(crate) fn pseudo_sum(&self) -> u32 {
        let mut sum = protocol(self.udp);
        for word in self.key.addresses {
            sum += halves(word);
        }
        sum
    }
}

/// The protocol number, from a flag and without a branch.
#[inline(always)]
fn protocol(udp: u32) -> u32 {
    PROTOCOL_TCP as u32 + (PROTOCOL_UDP - PROTOCOL_TCP) as u32 * (udp & 1)
}

/// The length's part in a checksum: in the pseudo-header, and in UDP's own header once more.
#[inline(always)]
pub(crate) fn length_sum(l4_len: u32, udp: u32) -> u32 {
    halves(l4_len) << (udp & 1)
}

#[inline(always)]
fn option_word(window: &Window<'_>, packet: &Packet, index: usize) -> u32 {
    window.be32(packet.l4 + TCP_HEADER + 4 * index as u32)
}

#[inline(always)]
fn extension_word(window: &Window<'_>, packet: &Packet, index: usize) -> u32 {
    window.be32(packet.l3 + IPV6_HEADER + 4 * index as u32)
}

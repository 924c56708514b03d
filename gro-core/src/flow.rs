//! The state of one held packet: what its followers are compared with, and what completion needs.

use crate::checksum::{at_parity, fold, halves};
use crate::coalesce::{FIN, PSH};
use crate::datapath::Input;
use crate::parse::{CHAIN_WORDS, Key, L3_UNTAGGED, Outer, PROTOCOL_TCP, PROTOCOL_UDP, Packet, TCP_HEADER};
use crate::profile::Profile;
use crate::rule::Rule;
use crate::window::Window;

/// Most words of TCP options: a data offset of 15.
pub const OPTION_WORDS: usize = 10;

/// One held packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Flow {
    /// RSS hash of the first frame; all 32 bits must be equal.
    pub hash: u32,
    /// VLAN metadata of the first frame.
    pub vlan: u32,
    /// Flow identity; MAC addresses, addresses and ports as they lie in the frame (`in_frame_order`, `link_words`).
    pub key: Key,
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
    /// Acknowledgement number of every segment, as it lies in the frame.
    pub ack: u32,
    /// TCP flag word, FIN and PSH of all segments in it.
    pub control: u32,
    /// First frame's urgent pointer.
    pub urgent: u32,
    /// TTL, DSCP/ECN and the don't-fragment bit, as in [`Packet::class`].
    pub class: u32,
    /// First frame's IPv4 identification and header checksum, as in [`Packet::id_check`].
    pub id_check: u32,
    /// 1 when the network header is IPv6, else 0.
    pub ipv6: u32,
    /// From the second segment on: [`FIXED`] if that had the identification of the first, [`FIXED_OUTER`] the same of the
    /// outer header.
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
    /// Offset of the TCP header in a packet whose followers may take the shortcut, else 0.
    pub(crate) plain: u32,
    /// The same while all that is known of the packet are its words ([`Flow::learn`]), else 0.
    pub(crate) late: u32,
    /// As in [`Packet::outer`].
    pub(crate) outer: Outer,
    /// Sum over the headers from an outer UDP header to the innermost transport header, without lengths and the checksum
    /// of the former.
    pub(crate) outer_sum: u32,
    /// Words in use of the next.
    pub(crate) chain_len: u32,
    /// As in [`Packet::chain`]. A plain packet has none, and what its followers are compared with here, which [`crate::shortcut`] says.
    pub(crate) chain: [u32; CHAIN_WORDS],
    /// TCP options, as they lie in the frame.
    pub(crate) options: [u32; OPTION_WORDS],
}

/// The identification of the innermost IPv4 header stays the same.
pub const FIXED: u32 = 1;
/// That of the outer one does.
pub const FIXED_OUTER: u32 = 2;

/// How a segment's options differ from those held: every unequal bit, OR-ed. Zero means equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(pub u32);

impl Flow {
    /// A place that holds nothing.
    pub const EMPTY: Self = Self {
        hash: 0,
        vlan: 0,
        key: Key::EMPTY,
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
        ipv6: 0,
        fixed_id: 0,
        segs: 0,
        gso_size: 0,
        bytes: 0,
        age: 0,
        pseudo_sum: 0,
        common_sum: 0,
        payload_sum: 0,
        plain: 0,
        late: 0,
        outer: Outer::NONE,
        outer_sum: 0,
        chain_len: 0,
        chain: [0; CHAIN_WORDS],
        options: [0; OPTION_WORDS],
    };

    /// Whether `packet` belongs to this held packet's flow: hash, VLAN tag, MAC addresses, ethertype (`gro_list_prepare`,
    /// net/core/gro.c), addresses, protocol, flow label and extension headers (`inet_gro_receive`, `ipv6_gro_receive`),
    /// ports (`tcp_gro_lookup`), tunnels (`gre_gro_receive`, `udp_gro_receive`, `vxlan_gro_receive`, `geneve_gro_receive`,
    /// `eth_gro_receive`).
    #[inline(always)]
    pub(crate) fn is_same<P: Profile>(&self, packet: &Packet, input: &Input<'_>) -> bool {
        // Most likely to differ first: two flows seldom share hash and ports.
        let first = Rule::Hash.of::<P>(self.hash ^ input.meta.hash)
            | Rule::Ports.of::<P>(self.key.ports ^ in_frame_order(packet.key.ports))
            | Rule::Vlan.of::<P>(self.vlan ^ input.meta.vlan);
        if first != 0 {
            return false;
        }
        let (held, new) = (&self.key, &packet.key);
        let mut difference = Rule::Protocol.of::<P>(held.protocol ^ new.protocol)
            | Rule::FlowLabel.of::<P>(held.label ^ new.label);
        for (held, new) in held.macs.into_iter().zip(link_words(new.macs)) {
            difference |= Rule::Macs.of::<P>(held ^ new);
        }
        for index in 0..held.addresses.len() {
            let word = in_frame_order(new.addresses[index]);
            difference |= Rule::Addresses.of::<P>(held.addresses[index] ^ word);
        }
        // Headers that join must be equally long, whatever a mutant thinks of their bytes.
        difference |= (self.l3 ^ packet.l3) | (self.l4 ^ packet.l4);
        difference |= (self.outer.places ^ packet.outer.places) | (self.chain_len ^ packet.chain.len);
        for index in 0..CHAIN_WORDS {
            if index >= packet.chain.len as usize {
                break;
            }
            difference |= self.chain[index] ^ packet.chain.words[index];
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
        self.key.macs = link_words(packet.key.macs);
        self.key.protocol = packet.key.protocol;
        self.key.label = packet.key.label;
        for index in 0..self.key.addresses.len() {
            self.key.addresses[index] = in_frame_order(packet.key.addresses[index]);
        }
        self.key.ports = in_frame_order(packet.key.ports);
        self.udp = packet.udp;
        self.l3 = packet.l3;
        self.l4 = packet.l4;
        self.payload = packet.payload;
        self.first_seq = packet.seq;
        self.next_seq = packet.seq.wrapping_add(packet.sequence_len());
        self.ack = in_frame_order(packet.ack);
        self.control = packet.control;
        self.urgent = packet.check_urgent & 0xffff;
        self.plain = 0;
        self.late = 0;
        self.class = packet.class;
        self.id_check = packet.id_check;
        self.ipv6 = packet.is_ipv6() as u32;
        self.fixed_id = 0;
        self.segs = 1;
        self.gso_size = packet.payload_len;
        self.bytes = packet.payload_len;
        self.age = input.now;

        self.pseudo_sum = fold(packet.pseudo_sum()) as u32;
        let mut common = self.pseudo_sum;
        common += halves(packet.key.ports) + halves(packet.ack) + (packet.control & 0xffff);
        self.outer.places = packet.outer.places;
        if packet.outer.places != 0 {
            self.outer = packet.outer;
            self.outer_sum = packet.outer_sum(window);
        }
        self.chain_len = packet.chain.len;
        for index in 0..CHAIN_WORDS {
            if index >= packet.chain.len as usize {
                break;
            }
            self.chain[index] = packet.chain.words[index];
        }
        let words = packet.option_words() as usize;
        for index in 0..OPTION_WORDS {
            if index >= words {
                break;
            }
            let word = option_word(window, packet, index);
            self.options[index] = word;
            common += halves(in_frame_order(word));
        }
        self.common_sum = fold(common) as u32;
        self.payload_sum = self.payload_sum_of(packet) as u32;
    }

    /// Adds the next segment. `fixed_id` is what its identification decided.
    #[inline(always)]
    pub(crate) fn join<P: Profile>(&mut self, packet: &Packet, fixed_id: u32) {
        let control = Rule::FinPushJoin.of::<P>(packet.control & (FIN | PSH));
        self.add(self.payload_sum_of(packet), control, packet.payload_len);
        self.fixed_id = fixed_id;
        self.next_seq = self.next_seq.wrapping_add(packet.sequence_len());
        self.keep_plain();
    }

    /// Adds a segment's payload, whose sum is `sum`, and flags.
    #[inline(always)]
    pub(crate) fn add(&mut self, sum: u16, control: u32, len: u32) {
        let odd = self.bytes & 1 != 0;
        self.payload_sum = fold(self.payload_sum + at_parity(sum, odd) as u32) as u32;
        self.control |= control;
        self.bytes += len;
        self.segs += 1;
    }

    /// The sum of a verified segment's payload, from its header alone: pseudo-header, header and payload sum to 0xFFFF.
    #[inline(always)]
    fn payload_sum_of(&self, packet: &Packet) -> u16 {
        let l4_len = packet.payload - packet.l4 + packet.payload_len;
        let own = length_sum(l4_len, packet.udp)
            + halves(packet.seq)
            + (packet.control >> 16)
            + halves(packet.check_urgent);
        !fold(self.common_sum + own)
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
        protocol(self.udp) + self.address_sum()
    }

    /// [`Flow::outer_sum`] of a first frame.
    #[inline(always)]
    fn outer_sum(&self, window: &Window<'_>) -> u32 {
        let without = |at: u32| !window.be16(at) as u32;
        let udp = self.outer.checked();
        // An IPv4 header sums to zero, whatever its length: its own checksum sees to that.
        let length = if self.is_ipv6() { without(self.l3 + 4) } else { 0 };
        let session = self.outer.pppoe();
        let session = if session > udp { without(session + 4) } else { 0 };
        fold(self.between + without(udp + 4) + without(udp + 6) + length + session) as u32
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
    in_frame_order(window.be32(packet.l4 + TCP_HEADER + 4 * index as u32))
}

/// A big-endian word as it lies in memory: what is only compared is not turned for each frame.
#[inline(always)]
pub(crate) fn in_frame_order(word: u32) -> u32 {
    word.to_be()
}

/// The MAC addresses, twelve bytes from the frame's start, as words that a frame in a [`crate::Header`] has aligned: bytes 2 to 5, 6
/// to 9, and the two at either end.
#[inline(always)]
fn link_words(macs: [u32; 3]) -> [u32; 3] {
    let words = macs.map(u32::to_le_bytes);
    let [[d, c, b, a], [h, g, f, e], [l, k, j, i]] = words;
    [[c, d, e, f], [g, h, i, j], [a, b, k, l]].map(u32::from_ne_bytes)
}

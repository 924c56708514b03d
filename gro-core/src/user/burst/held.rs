//! What the shortcut keeps of a held packet: the headers of its first frame, with which followers are compared all at once.

use super::frame::{Check, Frame};
use super::store::End;
use crate::checksum::fold;
use crate::datapath::Meta;
use crate::parse::{IPV6_HEADER, L3_UNTAGGED, TCP_HEADER};
use crate::table::{BUCKETS, DEPTH};
use crate::user::sum;

/// Bytes that are compared: Ethernet, IPv6 and TCP with all options take 114.
pub(super) const HEAD: usize = 128;
/// The first bytes of a frame; behind a shorter frame is anything.
pub(super) type Head = [u8; HEAD];

/// Offset of the TCP header behind an IPv4 header without options, and behind an IPv6 header without extension headers.
pub(super) const IPV4: u32 = L3_UNTAGGED + 20;
pub(super) const IPV6: u32 = L3_UNTAGGED + IPV6_HEADER;

/// Offsets in a head.
const ETHERTYPE: usize = 12;
const IP: usize = L3_UNTAGGED as usize;

/// A held packet. `l4` and what is in `Head` are always there; whoever has the packet in hand keeps the rest, the core in its `Flow` or
/// the shortcut here.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Held {
    pub(super) head: Head,
    pub(super) meta: Meta,
    /// Jiffy of the first frame.
    pub(super) age: u32,
    /// Numbers of the first and the last frame.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) end: End,
    /// Offset of the TCP header of a plain packet, else 0.
    pub(super) l4: u32,
    /// Whether the core's `Flow` is what counts.
    pub(super) in_core: bool,
    /// IPv4: all segments have the identification of the first.
    pub(super) fixed_id: bool,
    /// PSH of the last segment.
    pub(super) push: u8,
    pub(super) header_len: u8,
    /// IPv4: the identification that comes next.
    pub(super) next_id: u16,
    /// IPv4: sum of total length, identification and checksum, folded, of a header that is right.
    pub(super) network_sum: u16,
    pub(super) segs: u32,
    pub(super) gso_size: u32,
    /// Payload bytes held.
    pub(super) bytes: u32,
    /// Payload bytes that may not be reached by one more segment; 0 where none may join here.
    pub(super) room: u32,
    pub(super) next_seq: u32,
    /// Over all segments, words as they lie in memory: sequence number, and checksum with urgent pointer.
    pub(super) sum: u64,
}

impl Held {
    pub(super) const EMPTY: Self = Self {
        head: [0; HEAD],
        meta: Meta { hash: 0, vlan: 0, verified: false },
        age: 0,
        first: 0,
        last: 0,
        end: End::NOWHERE,
        l4: 0,
        in_core: false,
        fixed_id: false,
        push: 0,
        header_len: 0,
        next_id: 0,
        network_sum: 0,
        segs: 0,
        gso_size: 0,
        bytes: 0,
        room: 0,
        next_seq: 0,
        sum: 0,
    };

    /// Whether hash and tag are those of the packet.
    #[inline(always)]
    pub(super) fn is_of(&self, frame: &Frame<'_>) -> bool {
        self.meta.hash == frame.hash && self.meta.vlan == frame.vlan
    }

    /// Adds a segment that [`Held::following`] found.
    #[inline(always)]
    pub(super) fn join(&mut self, segment: &Segment, number: u32) {
        self.segs += 1;
        self.bytes += segment.len;
        self.room -= segment.len;
        self.next_seq = segment.seq.wrapping_add(segment.len);
        self.next_id = self.next_id.wrapping_add(u16::from(!self.fixed_id));
        self.sum += segment.sum;
        self.push = segment.push;
        self.last = number;
    }

    /// The segment, if it joins this packet, which is one of `L4`. All that cannot differ is compared at once.
    #[inline(always)]
    pub(super) fn following<const L4: u32>(
        &self,
        frame: &Frame<'_>,
        head: &Head,
        mask: &Head,
    ) -> Option<Segment> {
        let len = frame.bytes.len() as u32;
        let segment = Segment::of::<L4>(head, len.wrapping_sub(u32::from(self.header_len)));
        let mut differs = stated_length::<L4>(head) ^ len;
        if L4 == IPV4 {
            differs |= u32::from(be16(head, IP + 4) ^ self.next_id);
            differs |= u32::from(network_sum(head) ^ self.network_sum);
        }
        differs |= segment.seq ^ self.next_seq;
        differs |= (self.meta.hash ^ frame.hash) | (self.meta.vlan ^ frame.vlan);
        let fits = segment.len.wrapping_sub(1) < self.gso_size && segment.len < self.room;
        (differs == 0 && fits && !differ(head, &self.head, mask) && is_right::<L4>(frame, head))
            .then_some(segment)
    }
}

/// What a segment adds to its packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) seq: u32,
    /// Bytes of payload.
    pub(super) len: u32,
    /// PSH in its place, or 0.
    pub(super) push: u8,
    /// [`Held::sum`] of it alone.
    pub(super) sum: u64,
}

impl Segment {
    /// Of a frame whose TCP header is at `L4`, with so much payload.
    #[inline(always)]
    pub(super) fn of<const L4: u32>(head: &Head, len: u32) -> Self {
        let tcp = L4 as usize;
        let (seq, check_urgent) = (word(head, tcp + 4), word(head, tcp + 16));
        Self {
            seq: u32::from_be(seq),
            len,
            push: head[tcp + 13] & PSH,
            sum: u64::from(seq) + u64::from(check_urgent),
        }
    }
}

/// PSH in the byte of the TCP flags.
pub(super) const PSH: u8 = 0x08;

/// Which bits of a head must be equal, by version of IP and words of TCP options.
static MASKS: [[Mask; OPTIONS]; 2] = {
    let mut masks = [[Mask([0; HEAD]); OPTIONS]; 2];
    let mut words = 0;
    while words < OPTIONS {
        masks[0][words] = Mask(mask_of(IPV4 as usize, words));
        masks[1][words] = Mask(mask_of(IPV6 as usize, words));
        words += 1;
    }
    masks
};

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Mask(Head);

/// Numbers of words that TCP options can have.
const OPTIONS: usize = 11;

/// All bits of all headers, but lengths, the identification, checksums, the sequence number, PSH and the urgent pointer.
const fn mask_of(l4: usize, words: usize) -> Head {
    let mut mask = [0; HEAD];
    let mut at = 0;
    while at < l4 + TCP_HEADER as usize + 4 * words {
        let ip = at.wrapping_sub(IP);
        let tcp = at.wrapping_sub(l4);
        let differs = tcp < 20 && (tcp >= 4 && tcp < 8 || tcp >= 16)
            || l4 == IPV4 as usize && (ip >= 2 && ip < 6 || ip == 10 || ip == 11)
            || l4 == IPV6 as usize && (ip == 4 || ip == 5);
        mask[at] = if differs { 0 } else { 0xff };
        at += 1;
    }
    mask[l4 + 13] = !PSH;
    mask
}

/// The mask for a packet whose TCP header is at `l4`.
#[inline(always)]
pub(super) fn mask(l4: u32, header_len: u8) -> &'static Head {
    let words = u32::from(header_len).wrapping_sub(l4 + TCP_HEADER) / 4;
    &MASKS[usize::from(l4 == IPV6)][(words as usize).min(OPTIONS - 1)].0
}

#[inline(always)]
pub(super) fn differ(a: &Head, b: &Head, mask: &Head) -> bool {
    let mut differs = 0;
    for ((a, b), mask) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0).zip(mask.as_chunks::<8>().0) {
        differs |= (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)) & u64::from_ne_bytes(*mask);
    }
    differs != 0
}

/// Length of the frame, as the IP header states it.
#[inline(always)]
pub(super) fn stated_length<const L4: u32>(head: &Head) -> u32 {
    if L4 == IPV4 {
        u32::from(be16(head, IP + 2)) + L3_UNTAGGED
    } else {
        u32::from(be16(head, IP + 4)) + IPV6
    }
}

/// See [`Held::network_sum`].
#[inline(always)]
pub(super) fn network_sum(head: &Head) -> u16 {
    let half = |at: usize| u32::from(u16::from_ne_bytes([head[at], head[at + 1]]));
    fold(half(IP + 2) + half(IP + 4) + half(IP + 10))
}

/// Whether the TCP checksum is right, or somebody vouched for it. The frame is as long as its IP header says.
#[inline(always)]
pub(super) fn is_right<const L4: u32>(frame: &Frame<'_>, head: &Head) -> bool {
    match frame.check {
        Check::Unnecessary => true,
        Check::None => {
            let segment = frame.bytes.get(L4 as usize..).unwrap_or(&[]);
            fold(pseudo_sum::<L4>(head) + segment.len() as u32 + u32::from(sum(segment))) == 0xffff
        }
        Check::Complete(all) => {
            // What stands before the segment is taken off.
            let before = frame.bytes.get(..L4 as usize).unwrap_or(&[]);
            let length = frame.bytes.len() as u32 - L4;
            let segment = u32::from(all) + u32::from(!sum(before));
            fold(pseudo_sum::<L4>(head) + length + u32::from(fold(segment))) == 0xffff
        }
    }
}

/// Sum over the pseudo-header of TCP without its length, folded.
#[inline(always)]
pub(super) fn pseudo_sum<const L4: u32>(head: &Head) -> u32 {
    const TCP: u32 = 6;
    let from = if L4 == IPV4 { IP + 12 } else { IP + 8 };
    let mut wide = 0;
    let mut at = from;
    while at < L4 as usize {
        wide += u64::from(word(head, at));
        at += 4;
    }
    u32::from(fold(u32::from(in_host_order(wide)) + TCP))
}

/// A sum of words as they lie in memory, folded, as a number.
#[inline(always)]
pub(super) fn in_host_order(wide: u64) -> u16 {
    let wide = (wide & 0xffff_ffff) + (wide >> 32);
    let wide = (wide & 0xffff) + (wide >> 16 & 0xffff) + (wide >> 32);
    u16::from_be(fold(wide as u32))
}

/// By bucket and way, a number that two packets of one flow have in common; 0 where no plain packet is held.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Tags(pub(super) [[u32; DEPTH]; BUCKETS]);

impl Tags {
    pub(super) const EMPTY: Self = Self([[0; DEPTH]; BUCKETS]);

    /// The ways with this tag, a bit each.
    #[inline(always)]
    pub(super) fn ways(&self, bucket: u32, tag: u32) -> u32 {
        let mut ways = 0;
        for (way, &of_way) in self.0[bucket as usize % BUCKETS].iter().enumerate() {
            ways |= u32::from(of_way == tag) << way;
        }
        ways
    }
}

/// Where the TCP header would be, and the tag; `None` if the frame is not IP at first sight.
#[inline(always)]
pub(super) fn classify(head: &Head) -> Option<(u32, u32)> {
    let ethertype = u16::from_be_bytes([head[ETHERTYPE], head[ETHERTYPE + 1]]);
    match ethertype {
        0x0800 => Some((IPV4, tag(&[long(head, IP + 12)], word(head, IPV4 as usize)))),
        0x86dd => {
            let addresses = [8, 16, 24, 32].map(|at| long(head, IP + at));
            Some((IPV6, tag(&addresses, word(head, IPV6 as usize))))
        }
        _ => None,
    }
}

/// Never 0.
#[inline(always)]
fn tag(addresses: &[u64], ports: u32) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = u64::from(ports);
    for &address in addresses {
        mixed = (mixed.rotate_left(23) ^ address).wrapping_mul(MULTIPLIER);
    }
    (mixed >> 32) as u32 | 1
}

#[inline(always)]
pub(super) fn be16(head: &Head, at: usize) -> u16 {
    u16::from_be_bytes([head[at], head[at + 1]])
}

/// The word at `at` as it lies in memory.
#[inline(always)]
pub(super) fn word(head: &Head, at: usize) -> u32 {
    u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}

#[inline(always)]
fn long(head: &Head, at: usize) -> u64 {
    u64::from(word(head, at)) | u64::from(word(head, at + 4)) << 32
}

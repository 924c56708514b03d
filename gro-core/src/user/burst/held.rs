//! What the shortcut keeps of a held packet: the headers of its first frame, with which followers are compared all at once.

use super::frame::{Check, Frame};
use super::isa::Code;
use super::store::End;
use crate::checksum::fold;
use crate::datapath::Meta;
use crate::parse::{IPV6_HEADER, L3_UNTAGGED, TCP_HEADER};
use crate::user::sum;

/// Bytes that are compared: Ethernet, IPv6 and TCP with all options take 114.
pub(super) const HEAD: usize = 128;
/// The first bytes of a frame; behind a shorter frame is anything.
pub(super) type Head = [u8; HEAD];

/// Offset of the TCP header behind an IPv4 header without options, and behind an IPv6 header without extension headers.
pub(super) const IPV4: u32 = L3_UNTAGGED + 20;
pub(super) const IPV6: u32 = L3_UNTAGGED + IPV6_HEADER;

/// Offsets in a TCP header.
pub(super) struct TcpAt {
    pub(super) seq: usize,
    pub(super) ack: usize,
    /// Data offset, flags and window.
    pub(super) control: usize,
}

pub(super) const TCP_AT: TcpAt = TcpAt { seq: 4, ack: 8, control: 12 };

/// Offset of the IP header.
pub(super) const IP: usize = L3_UNTAGGED as usize;

/// A held packet, whose first frame is the first slice of its list.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Held {
    /// The first bytes of the first frame, and what the shortcut knows of the packet, if [`Keeper::Lane`] has it.
    pub(super) head: Head,
    pub(super) lane: Lane,
    /// As [`Frame::key`].
    pub(super) key: u64,
    /// Jiffy of the first frame.
    pub(super) age: u32,
    /// Numbers of the first and the last frame.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) end: End,
    /// 0 where nothing is held.
    pub(super) segs: u32,
    pub(super) keeper: Keeper,
    /// Whether the first frame's checksum was vouched for.
    pub(super) verified: bool,
    /// Offset of the TCP header of a packet that may be plain, else 0.
    pub(super) l4: u8,
}

/// Who knows of a packet what followers are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Keeper {
    /// Nobody: it is a single plain frame.
    Nobody,
    /// The shortcut, in [`Lane`].
    Lane,
    /// The core, in its `Flow`.
    Core,
}

/// What changes with each segment, and what that depends on.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Lane {
    /// Over all segments, words as they lie in memory: sequence number, and checksum with urgent pointer. Turned where the payload
    /// of the segment starts at an odd offset (see [`Lane::turn`]).
    pub(super) sum: u64,
    pub(super) next_seq: u32,
    /// Payload bytes held, and what they stay below: 0 if none may join here.
    pub(super) bytes: u32,
    pub(super) limit: u32,
    /// IPv4: the word with the identification that comes next.
    pub(super) next_id: u32,
    /// IPv4: sum of identification and checksum, folded, of a header that is right and as long as the first one.
    pub(super) id_sum: u16,
    pub(super) gso_size: u16,
    pub(super) header_len: u8,
    /// PSH of the last segment.
    pub(super) push: u8,
    /// IPv4: all segments have the identification of the first.
    pub(super) fixed_id: bool,
    /// Bits by which the next segment's sum is turned: 8 where its payload starts at an odd offset, else 0.
    pub(super) turn: u8,
}

const _: () = assert!(size_of::<Held>() == 3 * 64);

impl Held {
    pub(super) const EMPTY: Self = Self {
        head: [0; HEAD],
        lane: Lane {
            sum: 0,
            next_seq: 0,
            next_id: 0,
            bytes: 0,
            limit: 0,
            id_sum: 0,
            gso_size: 0,
            header_len: 0,
            push: 0,
            fixed_id: false,
            turn: 0,
        },
        key: 0,
        age: 0,
        first: 0,
        last: 0,
        end: End::NOWHERE,
        segs: 0,
        keeper: Keeper::Nobody,
        verified: false,
        l4: 0,
    };

    /// Copies the first bytes of the first frame; what is behind them in a shorter one is compared under no mask.
    #[inline(always)]
    pub(super) fn keep_head(&mut self, frame: &[u8]) {
        match frame.first_chunk::<HEAD>() {
            Some(head) => self.head.copy_from_slice(head),
            None => self.head[..frame.len()].copy_from_slice(frame),
        }
    }

    /// What came with the first frame.
    #[inline(always)]
    pub(super) fn meta(&self) -> Meta {
        Meta { hash: self.key as u32, vlan: (self.key >> 32) as u32, verified: self.verified }
    }
}

impl Lane {
    /// The segment, if it joins the packet whose first frame has `template`.
    #[inline(always)]
    pub(super) fn next<I: Code, const L4: u32>(
        &self,
        frame: &Frame<'_>,
        head: &Head,
        template: &Head,
    ) -> Option<Segment> {
        let len = frame.bytes.len();
        let segment = Segment::of::<L4>(head, (len as u32).wrapping_sub(u32::from(self.header_len)));
        if stated_length::<L4>(head) as usize != len
            || segment.seq != self.next_seq
            || L4 == IPV4
                && (be32(head, IP + 4) != self.next_id || network_sum(head) != network_sum(template))
            || segment.len.wrapping_sub(1) >= u32::from(self.gso_size)
            || differ(head, template, mask::<L4>(u32::from(self.header_len), false))
            || !is_right::<I, L4>(frame, head)
        {
            return None;
        }
        (self.bytes.wrapping_add(segment.len) < self.limit).then_some(segment)
    }

    /// What PSH adds to the sum: it is in the last segment only, which is turned if the next one is not.
    #[inline(always)]
    pub(super) fn push_sum(&self) -> u32 {
        u32::from(self.push) << (self.turn ^ turns(u32::from(self.gso_size)))
    }

    /// Adds a segment.
    #[inline(always)]
    pub(super) fn join(&mut self, segment: &Segment) {
        self.bytes += segment.len;
        self.next_seq = segment.seq.wrapping_add(segment.len);
        self.next_id = self.next_id.wrapping_add(if self.fixed_id { 0 } else { ID_STEP });
        self.sum += segment.sum << self.turn;
        self.turn ^= turns(u32::from(self.gso_size));
        self.push = segment.push;
    }
}

/// What [`Lane::turn`] changes by, with each segment of so many bytes.
#[inline(always)]
pub(super) fn turns(gso_size: u32) -> u8 {
    (gso_size & 1) as u8 * 8
}

/// What a sum over so many segments has of a number that is in each of them: those at an odd offset have it turned, which is 256 times
/// the number (RFC 1071 section 2). Folded.
#[inline(always)]
pub(super) fn weight(segs: u32, gso_size: u32) -> u32 {
    let turned = if gso_size & 1 != 0 { segs / 2 } else { 0 };
    u32::from(fold(segs + 255 * turned))
}

/// [`weight`] of what is different in the last one of several segments: their lengths, of which the payload is `bytes` in all.
#[inline(always)]
pub(super) fn length_sum(segs: u32, (header, gso_size, bytes): (u32, u32, u32)) -> u32 {
    let before = segs.saturating_sub(1);
    let last = bytes.wrapping_sub(before.wrapping_mul(gso_size));
    let last = if before & gso_size & 1 != 0 { last << 8 } else { last };
    let of = |weight: u32, number: u32| u32::from(fold(weight * number));
    of(weight(segs, gso_size), header) + of(weight(before, gso_size), gso_size) + u32::from(fold(last))
}

/// One more identification.
pub(super) const ID_STEP: u32 = 1 << 16;

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

/// Which bits of a head must be equal: in a segment as long as the first one that has its flags, and in any. By version of IP and
/// words of TCP options.
static EQUAL: [[Mask; ROWS]; 2] = masks(true);
static ANY: [[Mask; ROWS]; 2] = masks(false);

const fn masks(equal: bool) -> [[Mask; ROWS]; 2] {
    let mut masks = [[Mask([0xff; HEAD]); ROWS]; 2];
    let mut words = 0;
    while words < OPTIONS {
        masks[0][words] = Mask(mask_of(IPV4 as usize, words, equal));
        masks[1][words] = Mask(mask_of(IPV6 as usize, words, equal));
        words += 1;
    }
    masks
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Mask(Head);

/// Numbers of words that TCP options can have, and the power of two above it, so that an index needs no check.
const OPTIONS: usize = 11;
const ROWS: usize = OPTIONS.next_power_of_two();

/// All bits of all headers, but the identification, checksums, the sequence number and the urgent pointer; unless `equal`, but
/// lengths and PSH, too.
const fn mask_of(l4: usize, words: usize, equal: bool) -> Head {
    let mut mask = [0; HEAD];
    let mut at = 0;
    while at < l4 + TCP_HEADER as usize + 4 * words {
        let ip = at.wrapping_sub(IP);
        let tcp = at.wrapping_sub(l4);
        let is_ipv4 = l4 == IPV4 as usize;
        let is_length = if is_ipv4 { ip == 2 || ip == 3 } else { ip == 4 || ip == 5 };
        let differs = tcp < 20 && (tcp >= 4 && tcp < 8 || tcp >= 16)
            || is_ipv4 && (ip == 4 || ip == 5 || ip == 10 || ip == 11)
            || is_length && !equal;
        mask[at] = if differs { 0 } else { 0xff };
        at += 1;
    }
    if !equal {
        mask[l4 + 13] = !PSH;
    }
    mask
}

/// The mask for a packet whose TCP header is at `L4`: for a segment that is `equal` but for its place, or for any.
#[inline(always)]
pub(super) fn mask<const L4: u32>(header_len: u32, equal: bool) -> &'static Head {
    let words = header_len.wrapping_sub(L4 + TCP_HEADER) / 4;
    let masks = if equal { &EQUAL } else { &ANY };
    &masks[usize::from(L4 == IPV6)][words as usize % ROWS].0
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

/// IPv4: sum of what varies in the headers of a flow, total length, identification and checksum, folded: the same in all that are
/// right.
#[inline(always)]
fn network_sum(head: &Head) -> u16 {
    let half = |at: usize| u32::from(u16::from_ne_bytes([head[at], head[at + 1]]));
    fold(half(IP + 2) + half(IP + 4) + half(IP + 10))
}

/// Bytes of all headers, as the TCP header says.
#[inline(always)]
pub(super) fn header_len<const L4: u32>(head: &Head) -> u32 {
    L4 + u32::from(head[L4 as usize + 12] >> 4) * 4
}

/// See [`Lane::id_sum`]; the identification is the upper half of `id`.
#[inline(always)]
pub(super) fn id_sum(id: u32, head: &Head) -> u16 {
    let sum = (id >> 16) + u32::from(be16(head, IP + 10));
    (sum + (sum >> 16)) as u16
}

/// Whether the TCP checksum is right, or somebody vouched for it. The frame is as long as its IP header says.
#[inline(always)]
pub(super) fn is_right<I: Code, const L4: u32>(frame: &Frame<'_>, head: &Head) -> bool {
    frame.is_verified() || verifies::<I, L4>(frame, head)
}

#[inline(never)]
fn verifies<I: Code, const L4: u32>(frame: &Frame<'_>, head: &Head) -> bool {
    let (before, segment) = frame.bytes.split_at_checked(L4 as usize).unwrap_or((&[], &[]));
    let sum = match frame.check {
        // What stands before the segment is taken off.
        Check::Complete(all) => fold(u32::from(all) + u32::from(!sum(before))),
        Check::None | Check::Unnecessary => I::sum(segment),
    };
    fold(pseudo_sum::<L4>(head) + segment.len() as u32 + u32::from(sum)) == 0xffff
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

#[inline(always)]
pub(super) fn be16(head: &Head, at: usize) -> u16 {
    u16::from_be_bytes(bytes(head, at))
}

#[inline(always)]
pub(super) fn be32(head: &Head, at: usize) -> u32 {
    u32::from_be_bytes(bytes(head, at))
}

/// The word at `at` as it lies in memory.
#[inline(always)]
pub(super) fn word(head: &Head, at: usize) -> u32 {
    u32::from_ne_bytes(bytes(head, at))
}

/// Eight bytes at `at` as they lie in memory.
#[inline(always)]
pub(super) fn long(head: &Head, at: usize) -> u64 {
    u64::from_ne_bytes(bytes(head, at))
}

/// As one load: put together of single bytes, a compiler takes words apart again to share them.
#[inline(always)]
fn bytes<const N: usize>(head: &Head, at: usize) -> [u8; N] {
    head.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

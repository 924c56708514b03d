//! What the shortcut keeps of a held packet: the headers of its first frame, with which followers are compared all at once.

use super::frame::{Check, Frame};
use super::isa::Code;
use super::shape::{Shape, is_udp_right, mask, pseudo_sum, stated_length};
use super::store::End;
use super::sums::{network_sum, turns};
use crate::FlushReason;
use crate::checksum::{fold, halves, is_complete};
use crate::datapath::Meta;
use crate::parse::L3_UNTAGGED;
use crate::user::sum;

/// Bytes that are kept and compared: Ethernet, IPv6 and TCP with all options take 114.
pub(super) const HEAD: usize = 128;
/// The first bytes of a frame; behind a shorter frame is anything.
pub(super) type Head = [u8; HEAD];
/// Bytes that a frame to be compared has at least: half of a [`Head`].
pub(super) const HALF: usize = HEAD / 2;

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
    /// [`Shape::NUMBER`] of a packet that may be plain, else 0.
    pub(super) shape: u8,
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
        shape: 0,
    };

    /// Copies the first bytes of the first frame; what is behind them in a shorter one is compared under no mask.
    #[inline(always)]
    pub(super) fn keep_head(&mut self, frame: &[u8]) {
        match (frame.first_chunk::<HEAD>(), frame.first_chunk::<HALF>(), frame.last_chunk::<HALF>()) {
            (Some(head), ..) => self.head.copy_from_slice(head),
            (None, Some(first), Some(last)) => {
                self.head[..HALF].copy_from_slice(first);
                self.head[frame.len() - HALF..frame.len()].copy_from_slice(last);
            }
            _ => self.head[..frame.len()].copy_from_slice(frame),
        }
    }

    /// What came with the first frame.
    #[inline(always)]
    pub(super) fn meta(&self) -> Meta {
        Meta { hash: self.key as u32, vlan: (self.key >> 32) as u32, verified: self.verified }
    }
}

impl Lane {
    /// What becomes of a frame, and of the packet, whose first frame has `template`.
    #[inline(always)]
    pub(super) fn judge<I: Code, S: Shape>(&self, frame: &Frame<'_>, seen: &[u8], template: &Head) -> Fate {
        let Some(head) = S::head(seen) else { return Fate::Unknown };
        let len = frame.bytes.len();
        let header_len = u32::from(self.header_len);
        let segment = Segment::of::<S>(head, (len as u32).wrapping_sub(header_len));
        if stated_length::<S>(head) as usize != len
            || len < header_len as usize
            || len >> 16 != 0
            || self.limit == 0
            || S::IS_V4
                && (be32(head, IP + 4) != self.next_id || network_sum(head, IP) != network_sum(template, IP))
            || S::IS_UDP && !is_udp_right::<S>(head, len)
            || differ(seen, template, mask::<S>(header_len, false))
            || !is_right::<I, S>(frame, head)
        {
            return Fate::Unknown;
        }
        // All that may be different now are lengths, the sequence number and PSH.
        if segment.len == 0 {
            Fate::Leaves(FlushReason::Empty)
        } else if segment.len > u32::from(self.gso_size) {
            Fate::Leaves(FlushReason::Larger)
        } else if segment.seq != self.next_seq {
            Fate::Leaves(FlushReason::Sequence)
        } else if self.bytes + segment.len >= self.limit {
            Fate::Leaves(FlushReason::Size)
        } else {
            Fate::Joins(segment)
        }
    }

    /// Why the packet, with so many segments, leaves with this one in it, if it does.
    #[inline(always)]
    pub(super) fn closes<S: Shape>(&self, segment: &Segment, segs: u32) -> FlushReason {
        match closes(segment.push, segment.len, u32::from(self.gso_size)) {
            FlushReason::None if S::IS_UDP && segs + 1 >= UDP_SEGMENTS_MAX => FlushReason::Segments,
            why => why,
        }
    }

    /// What PSH adds to the sum: it is in the last segment only, which is turned if the next one is not.
    #[inline(always)]
    pub(super) fn push_sum(&self) -> u32 {
        u32::from(self.push) << (self.turn ^ turns(u32::from(self.gso_size)))
    }

    /// Adds a segment; unless `ODD`, all are of even length.
    #[inline(always)]
    pub(super) fn join<S: Shape, const ODD: bool>(&mut self, segment: &Segment) {
        self.bytes += segment.len;
        self.next_seq = segment.next_seq::<S>();
        self.next_id = self.next_id.wrapping_add(if self.fixed_id { 0 } else { ID_STEP });
        if ODD {
            self.sum += segment.sum << self.turn;
            self.turn ^= turns(u32::from(self.gso_size));
        } else {
            self.sum += segment.sum;
        }
        self.push = segment.push;
    }
}

/// Why a packet leaves with a segment of so many bytes in it, if it does: [`PSH`], or fewer bytes than the first one has.
#[inline(always)]
pub(super) fn closes(push: u8, len: u32, gso_size: u32) -> FlushReason {
    if push != 0 {
        FlushReason::Push
    } else if len < gso_size {
        FlushReason::Short
    } else {
        FlushReason::None
    }
}

/// What becomes of a frame of a held packet's flow.
pub(super) enum Fate {
    /// It joins.
    Joins(Segment),
    /// It does not, and the packet leaves before it.
    Leaves(FlushReason),
    /// It may be of another flow, or no plain frame.
    Unknown,
}

/// `UDP_GRO_CNT_MAX` (net/ipv4/udp_offload.c).
pub(super) const UDP_SEGMENTS_MAX: u32 = 64;

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
    /// Of a frame with so much payload. UDP has no sequence number and no flags.
    #[inline(always)]
    pub(super) fn of<S: Shape>(head: &S::Head, len: u32) -> Self {
        if S::IS_UDP {
            let sum = u64::from(u16::from_ne_bytes(bytes(head, S::L4 + S::CHECK)));
            return Self { seq: 0, len, push: 0, sum };
        }
        let (seq, check_urgent) = (word(head, S::L4 + 4), word(head, S::L4 + S::CHECK));
        Self {
            seq: u32::from_be(seq),
            len,
            push: byte(head, S::L4 + 13) & PSH,
            sum: u64::from(seq) + u64::from(check_urgent),
        }
    }

    /// The sequence number that follows.
    #[inline(always)]
    pub(super) fn next_seq<S: Shape>(&self) -> u32 {
        if S::IS_UDP { 0 } else { self.seq.wrapping_add(self.len) }
    }
}

/// The sequence number; UDP has none.
#[inline(always)]
pub(super) fn seq<S: Shape>(head: &S::Head) -> u32 {
    if S::IS_UDP { 0 } else { be32(head, S::L4 + 4) }
}

/// PSH in the byte of the TCP flags.
pub(super) const PSH: u8 = 0x08;

/// Whether a frame, of which [`HALF`] bytes or more are seen, differs from a head in a bit under the mask.
#[inline(always)]
pub(super) fn differ(seen: &[u8], head: &Head, mask: &Head) -> bool {
    match seen.first_chunk() {
        Some(seen) => differing::<HEAD>(seen, head, mask) != 0,
        None => differ_short(seen, head, mask),
    }
}

/// The same of a frame that is known to be `SHORT`er than a head, or not to be.
#[inline(always)]
pub(super) fn differ_if<const SHORT: bool>(seen: &[u8], head: &Head, mask: &Head) -> bool {
    if SHORT {
        differ_short(seen, head, mask)
    } else {
        seen.first_chunk().is_none_or(|seen| differing(seen, head, mask) != 0)
    }
}

/// The second half of a frame that is shorter than a head is compared where it ends.
#[inline(always)]
fn differ_short(seen: &[u8], head: &Head, mask: &Head) -> bool {
    let differ = |at: usize| {
        let half = |bytes: &'_ [u8]| bytes.get(at..).and_then(<[u8]>::first_chunk::<HALF>).copied();
        let (Some(seen), Some(head), Some(mask)) = (half(seen), half(head), half(mask)) else { return 1 };
        differing(&seen, &head, &mask)
    };
    differ(0) | differ(seen.len().wrapping_sub(HALF)) != 0
}

#[inline(always)]
fn differing<const N: usize>(seen: &[u8; N], head: &[u8; N], mask: &[u8; N]) -> u64 {
    let mut differs = 0;
    for ((a, b), mask) in
        seen.as_chunks::<8>().0.iter().zip(head.as_chunks::<8>().0).zip(mask.as_chunks::<8>().0)
    {
        differs |= (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)) & u64::from_ne_bytes(*mask);
    }
    differs
}

/// Whether the TCP or UDP checksum is right, or somebody vouched for it. The frame is as long as its IP header says.
#[inline(always)]
pub(super) fn is_right<I: Code, S: Shape>(frame: &Frame<'_>, head: &S::Head) -> bool {
    frame.is_verified() || verifies_plain::<I, S>(frame, head)
}

#[inline(never)]
fn verifies_plain<I: Code, S: Shape>(frame: &Frame<'_>, head: &S::Head) -> bool {
    verifies::<I>(frame, S::L4, pseudo_sum::<S>(head))
}

/// Whether the checksum of the transport header at `l4` is right, from the sum over its pseudo-header without the length.
#[inline(always)]
pub(super) fn verifies<I: Code>(frame: &Frame<'_>, l4: usize, pseudo: u32) -> bool {
    let (before, segment) = frame.bytes.split_at_checked(l4).unwrap_or((&[], &[]));
    let sum = match frame.check {
        // What stands before the segment is taken off.
        Check::Complete(all) => fold(u32::from(all) + u32::from(!sum(before))),
        Check::None | Check::Unnecessary => I::sum(segment),
    };
    is_complete(pseudo + halves(segment.len() as u32) + u32::from(sum))
}

#[inline(always)]
pub(super) fn be16(head: &(impl AsRef<[u8]> + ?Sized), at: usize) -> u16 {
    u16::from_be_bytes(bytes(head, at))
}

#[inline(always)]
pub(super) fn be32(head: &(impl AsRef<[u8]> + ?Sized), at: usize) -> u32 {
    u32::from_be_bytes(bytes(head, at))
}

/// The word at `at` as it lies in memory.
#[inline(always)]
pub(super) fn word(head: &(impl AsRef<[u8]> + ?Sized), at: usize) -> u32 {
    u32::from_ne_bytes(bytes(head, at))
}

#[inline(always)]
pub(super) fn byte(head: &(impl AsRef<[u8]> + ?Sized), at: usize) -> u8 {
    head.as_ref().get(at).copied().unwrap_or(0)
}

/// Eight bytes at `at` as they lie in memory.
#[inline(always)]
pub(super) fn long(head: &(impl AsRef<[u8]> + ?Sized), at: usize) -> u64 {
    u64::from_ne_bytes(bytes(head, at))
}

/// As one load: put together of single bytes, a compiler takes words apart again to share them.
#[inline(always)]
pub(super) fn bytes<const N: usize>(head: &(impl AsRef<[u8]> + ?Sized), at: usize) -> [u8; N] {
    head.as_ref().get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

//! What the shortcut keeps of a held packet: the headers of its first frame, with which followers are compared all at once.

use super::frame::{Check, Frame};
use super::isa::Code;
use super::shape::{Shape, is_udp_right, is_whole, mask, pseudo_sum};
use super::store::List;
use super::sums::network_sum;
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
    pub(super) origin: Origin,
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// As [`Frame::key`], of the first frame.
    pub(super) key: u64,
    /// Numbers of the first and the last frame.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Jiffy of the first frame.
    pub(super) age: u32,
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

/// What changes with each segment, and what that depends on. List and number of segments are there whoever keeps the packet.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Lane {
    /// IPv4: the identification that comes next, and what else changes with it ([`identity`]).
    pub(super) next_id: u64,
    /// What that grows by: [`ID_STEP`], or 0 if all segments have the identification of the first.
    pub(super) id_step: u64,
    pub(super) list: List,
    pub(super) next_seq: u32,
    /// Payload bytes held, and what they stay below: 0 if none may join here.
    pub(super) bytes: u32,
    pub(super) limit: u32,
    pub(super) gso_size: u16,
    pub(super) header_len: u8,
    /// PSH of the last segment.
    pub(super) push: u8,
}

const _: () = assert!(size_of::<Held>() == 3 * 64);

impl Held {
    pub(super) const EMPTY: Self = Self {
        head: [0; HEAD],
        lane: Lane {
            next_id: 0,
            id_step: 0,
            next_seq: 0,
            bytes: 0,
            limit: 0,
            list: List::NONE,
            gso_size: 0,
            header_len: 0,
            push: 0,
        },
        origin: Origin {
            key: 0,
            first: 0,
            last: 0,
            age: 0,
            keeper: Keeper::Nobody,
            verified: false,
            shape: 0,
        },
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
}

impl Origin {
    /// Of a frame that came in at `age` with this number.
    #[inline(always)]
    pub(super) fn of(frame: &Frame<'_>, number: u32, age: u32, keeper: Keeper, shape: u8) -> Self {
        let (key, verified) = (frame.key, frame.is_verified());
        Self { key, first: number, last: number, age, keeper, verified, shape }
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
        if !is_whole::<S>(head, len)
            || len < header_len as usize
            || self.limit == 0
            || S::IS_V4
                && (be16(head, IP + 4) != self.next_id as u16
                    || network_sum(head, IP) != network_sum(template, IP))
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

    /// Why the packet leaves with this segment in it, if it does.
    #[inline(always)]
    pub(super) fn closes<S: Shape>(&self, segment: &Segment) -> FlushReason {
        match closes(segment.push, segment.len, u32::from(self.gso_size)) {
            FlushReason::None if S::IS_UDP && self.list.segs() + 1 >= UDP_SEGMENTS_MAX => {
                FlushReason::Segments
            }
            why => why,
        }
    }

    /// How many segments like the first one may join without another look.
    #[inline(always)]
    pub(super) fn left<S: Shape>(&self) -> u32 {
        let (room, gso_size) = (self.list.room(), u32::from(self.gso_size));
        let left = if self.bytes + room * gso_size < self.limit {
            room
        } else {
            // They stay below it.
            self.limit.saturating_sub(self.bytes).saturating_sub(1) / gso_size.max(1)
        };
        // With the last one UDP leaves.
        if S::IS_UDP { left.min((UDP_SEGMENTS_MAX - 1).saturating_sub(self.list.segs())) } else { left }
    }

    /// Adds a segment.
    #[inline(always)]
    pub(super) fn join<S: Shape>(&mut self, segment: &Segment) {
        self.bytes += segment.len;
        self.next_seq = segment.next_seq::<S>();
        self.next_id = self.next_id.wrapping_add(self.id_step);
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

/// Of an IPv4 header, in an order in which one addition makes it that of the next segment: from above fragment, TTL, protocol,
/// checksum, identification.
#[inline(always)]
pub(super) fn identity(head: &(impl AsRef<[u8]> + ?Sized)) -> u64 {
    u64::from_be_bytes(bytes(head, IP + 4)).rotate_left(16)
}

/// One more identification, and so much less checksum. An identification that begins anew carries into the checksum, as the sum in ones'
/// complement wants it; a checksum that does borrows from the protocol, which then is never found.
pub(super) const ID_STEP: u64 = 1_u64.wrapping_sub(1 << 16);

/// What a segment adds to its packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) seq: u32,
    /// Bytes of payload.
    pub(super) len: u32,
    /// PSH in its place, or 0.
    pub(super) push: u8,
}

impl Segment {
    /// Of a frame with so much payload. UDP has no sequence number and no flags.
    #[inline(always)]
    pub(super) fn of<S: Shape>(head: &S::Head, len: u32) -> Self {
        let push = if S::IS_UDP { 0 } else { byte(head, S::L4 + 13) & PSH };
        Self { seq: seq::<S>(head), len, push }
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
    match frame.check {
        Check::Unnecessary => true,
        // The addresses are right before the segment.
        Check::None => {
            let summed = frame.bytes.get(S::L4 - S::ADDRESSES..).unwrap_or(&[]);
            let others = (summed.len() - S::ADDRESSES) as u32 + u32::from(S::PROTOCOL);
            is_complete(halves(others) + u32::from(I::sum(summed)))
        }
        Check::Complete(_) => verifies_complete::<I, S>(frame, head),
    }
}

#[inline(never)]
fn verifies_complete<I: Code, S: Shape>(frame: &Frame<'_>, head: &S::Head) -> bool {
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

//! Sums of what a packet's segments have in common, and of what differs in them, so that no payload is summed twice.

use super::held::{IP, be16, bytes};
use crate::checksum::fold;

/// What [`super::held::Lane::turn`] changes by, with each segment of so many bytes.
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

/// Sum of what varies in the IPv4 headers at `l3` of a flow, total length, identification and checksum, folded: the same in all that are
/// right.
#[inline(always)]
pub(super) fn network_sum(head: &(impl AsRef<[u8]> + ?Sized), l3: usize) -> u16 {
    let half = |at: usize| u32::from(u16::from_ne_bytes(bytes(head, at)));
    fold(half(l3 + 2) + half(l3 + 4) + half(l3 + 10))
}

/// See [`super::held::Lane::id_sum`]; the identification is the upper half of `id`.
#[inline(always)]
pub(super) fn id_sum(id: u32, head: &(impl AsRef<[u8]> + ?Sized)) -> u16 {
    let sum = (id >> 16) + u32::from(be16(head, IP + 10));
    (sum + (sum >> 16)) as u16
}

/// A sum of words as they lie in memory, folded, as a number.
#[inline(always)]
pub(super) fn in_host_order(wide: u64) -> u16 {
    let wide = (wide & 0xffff_ffff) + (wide >> 32);
    let wide = (wide & 0xffff) + (wide >> 16 & 0xffff) + (wide >> 32);
    u16::from_be(fold(wide as u32))
}

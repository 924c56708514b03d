//! Sums of what is in the headers of a packet's segments, so that no payload is summed twice.

use super::held::{Held, PSH, be16, be32, byte, bytes, word};
use super::shape::{Shape, pseudo_sum};
use super::store::Store;
use crate::checksum::{at_parity, field, fold, halves};
use crate::user::in_host_order;

/// The complete checksum of a packet of so many segments, composed of theirs.
#[cold]
#[inline(never)]
pub(super) fn whole_sum<S: Shape, const CHUNKS: usize>(
    held: &Held,
    list: (&Store<CHUNKS>, usize, u32),
) -> u16 {
    let urgent = if S::IS_UDP { 0 } else { be16(&held.head, S::L4 + 18) };
    let lane = &held.lane;
    let own = common_sum::<S>(held) + own_sum::<S>(&held.head, lane.push, l4_len::<S>(held, lane.bytes));
    let check = field(own + u32::from(urgent) + payload_sum::<S, CHUNKS>(held, list));
    if S::IS_UDP && check == 0 { 0xffff } else { check }
}

/// Sum over the payload of a packet of so many segments, in the list of a slot. The checksum of each is right: what is in its header and
/// its payload sum to zero.
#[inline(always)]
pub(super) fn payload_sum<S: Shape, const CHUNKS: usize>(
    held: &Held,
    (store, slot, segs): (&Store<CHUNKS>, usize, u32),
) -> u32 {
    let common = common_sum::<S>(held);
    let (mut sum, mut odd) = (0, false);
    for (head, len) in store.segments(slot, segs, usize::from(held.lane.header_len)) {
        let push = if S::IS_UDP { 0 } else { byte(head, S::L4 + 13) & PSH };
        let check_urgent = if S::IS_UDP { be16(head, S::L4 + 6).into() } else { be32(head, S::L4 + 16) };
        let own = own_sum::<S>(head, push, l4_len::<S>(held, len as u32));
        let payload = !fold(common + own + halves(check_urgent));
        sum = u32::from(fold(sum + u32::from(at_parity(payload, odd))));
        odd ^= len % 2 != 0;
    }
    sum
}

/// Length of the transport header and so much payload.
#[inline(always)]
fn l4_len<S: Shape>(held: &Held, payload: u32) -> u32 {
    u32::from(held.lane.header_len) - S::L4 as u32 + payload
}

/// Of what the headers of all segments have in common: with the pseudo-header all but sequence number, PSH, lengths, checksum and urgent
/// pointer. Folded.
fn common_sum<S: Shape>(held: &Held) -> u32 {
    let mut wide = 0;
    for at in (S::L4..usize::from(held.lane.header_len)).step_by(4) {
        if at != S::L4 + 4 && at != S::L4 + 16 {
            wide += u64::from(word(&held.head, at));
        }
    }
    u32::from(fold(pseudo_sum::<S>(&held.head) + u32::from(in_host_order(wide))))
}

/// Of what they do not have in common, but checksum and urgent pointer. UDP has its length in its header once more.
#[inline(always)]
fn own_sum<S: Shape>(head: &(impl AsRef<[u8]> + ?Sized), push: u8, l4_len: u32) -> u32 {
    let lengths = halves(l4_len) << u32::from(S::IS_UDP);
    lengths + if S::IS_UDP { 0 } else { halves(be32(head, S::L4 + 4)) + u32::from(push) }
}

/// Sum of what varies in the IPv4 headers at `l3` of a flow, total length, identification and checksum, folded: the same in all that are
/// right.
#[inline(always)]
pub(super) fn network_sum(head: &(impl AsRef<[u8]> + ?Sized), l3: usize) -> u16 {
    let half = |at: usize| u32::from(u16::from_ne_bytes(bytes(head, at)));
    fold(half(l3 + 2) + half(l3 + 4) + half(l3 + 10))
}

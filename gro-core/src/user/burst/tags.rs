//! Which held packet may be that of a frame's flow: by a number made of addresses and ports.

use super::held::{Head, IP, IPV4, IPV6, be16, long, word};
use super::isa::Code;
use crate::table::{BUCKETS, DEPTH};

const ETHERTYPE: usize = 12;

/// By bucket and way, a number that two packets of one flow have in common; 0 where no plain packet is held.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Tags(pub(super) [[u32; DEPTH]; BUCKETS]);

impl Tags {
    pub(super) const EMPTY: Self = Self([[0; DEPTH]; BUCKETS]);

    /// The first way with this tag.
    #[inline(always)]
    pub(super) fn way<I: Code>(&self, bucket: u32, tag: u32) -> Option<usize> {
        let ways = I::equal(&self.0[bucket as usize % BUCKETS], tag);
        (ways != 0).then_some(ways.trailing_zeros() as usize % DEPTH)
    }
}

/// Where the TCP header would be, and the tag; `None` if the frame is not IP at first sight.
#[inline(always)]
pub(super) fn classify(head: &Head) -> Option<(u32, u32)> {
    match be16(head, ETHERTYPE) {
        0x0800 => Some((IPV4, tag(long(head, IP + 12), word(head, IPV4 as usize)))),
        0x86dd => {
            let source = long(head, IP + 8).rotate_left(11) ^ long(head, IP + 16);
            let destination = long(head, IP + 24).rotate_left(19) ^ long(head, IP + 32);
            Some((IPV6, tag(mixed(source) ^ destination, word(head, IPV6 as usize))))
        }
        _ => None,
    }
}

/// Never 0.
#[inline(always)]
fn tag(addresses: u64, ports: u32) -> u32 {
    (mixed(u64::from(ports).rotate_left(23) ^ addresses) >> 32) as u32 | 1
}

#[inline(always)]
fn mixed(value: u64) -> u64 {
    value.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

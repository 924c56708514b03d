//! Which held packet may be that of a frame's flow: by a number made of addresses and ports.

use super::held::{HALF, HEAD, Head, IP, be16, long, word};
use super::isa::Code;
use super::shape::{IPV4, IPV6, Shape};
use crate::table::{BUCKETS, DEPTH};

const ETHERTYPE: usize = 12;

/// The bits of two plain heads that are equal in one flow: those of `Flow::is_same`.
#[inline(always)]
pub(super) fn same_flow<S: Shape>() -> &'static Head {
    static MASKS: [Head; 2] = [mask(IPV4 as usize), mask(IPV6 as usize)];
    &MASKS[usize::from(!S::IS_V4)]
}

const fn mask(l4: usize) -> Head {
    let mut mask = [0; HEAD];
    let mut at = 0;
    while at < l4 + 4 {
        let is_address = at >= l4 - if l4 == IPV4 as usize { 8 } else { 32 };
        mask[at] = if at < IP || is_address { 0xff } else { 0 };
        at += 1;
    }
    if l4 == IPV6 as usize {
        // Version and flow label, without the traffic class between them.
        mask[IP] = 0xf0;
        mask[IP + 1] = 0x0f;
        mask[IP + 2] = 0xff;
        mask[IP + 3] = 0xff;
    }
    mask
}

/// By bucket and way, a number that two packets of one flow have in common; 0 where no plain packet is held.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Tags(pub(super) [[u32; DEPTH]; BUCKETS]);

impl Tags {
    pub(super) const EMPTY: Self = Self([[0; DEPTH]; BUCKETS]);

    /// Says whose packet a way holds, or, with 0, that it is none that may be plain.
    #[inline(always)]
    pub(super) fn set(&mut self, bucket: u32, way: usize, tag: u32) {
        self.0[bucket as usize % BUCKETS][way % DEPTH] = tag;
    }

    /// The first way with this tag.
    #[inline(always)]
    pub(super) fn way<I: Code>(&self, bucket: u32, tag: u32) -> Option<usize> {
        let ways = I::equal(&self.0[bucket as usize % BUCKETS], tag);
        (ways != 0).then_some(ways.trailing_zeros() as usize % DEPTH)
    }
}

/// The tag of a frame of this shape.
#[inline(always)]
pub(super) fn tag_as<S: Shape>(head: &S::Head) -> Option<u32> {
    let (ethertype, tag) = if S::IS_V4 { (0x0800, tag4(head)) } else { (0x86dd, tag6(head)) };
    (be16(head, ETHERTYPE) == ethertype).then_some(tag)
}

/// Where the transport header would be, and the tag; `None` if the frame is not IP at first sight.
#[inline(always)]
pub(super) fn classify(head: &[u8; HALF]) -> Option<(u32, u32)> {
    match be16(head, ETHERTYPE) {
        0x0800 => Some((IPV4, tag4(head))),
        0x86dd => Some((IPV6, tag6(head))),
        _ => None,
    }
}

#[inline(always)]
fn tag4(head: &(impl AsRef<[u8]> + ?Sized)) -> u32 {
    tag(long(head, IP + 12), word(head, IPV4 as usize))
}

#[inline(always)]
fn tag6(head: &(impl AsRef<[u8]> + ?Sized)) -> u32 {
    let source = long(head, IP + 8).rotate_left(11) ^ long(head, IP + 16);
    let destination = long(head, IP + 24).rotate_left(19) ^ long(head, IP + 32);
    tag(mixed(source) ^ destination, word(head, IPV6 as usize))
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

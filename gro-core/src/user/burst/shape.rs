//! The headers that the shortcut knows: Ethernet, IPv4 without options or IPv6 without extension headers, TCP or UDP. Where what is in
//! them, and which of their bits may differ in a packet.

use super::held::{HALF, HEAD, Head, IP, be16, byte, word};
use crate::parse::{IPV6_HEADER, L3_UNTAGGED, PROTOCOL_TCP, PROTOCOL_UDP, TCP_HEADER};
use crate::user::in_host_order;

/// Offset of the transport header behind an IPv4 header without options, and behind an IPv6 header without extension headers.
pub(super) const IPV4: u32 = L3_UNTAGGED + 20;
pub(super) const IPV6: u32 = L3_UNTAGGED + IPV6_HEADER;

/// One of four stacks of headers.
pub(super) trait Shape {
    /// So many bytes of a frame that all fields without options are in them.
    type Head: AsRef<[u8]>;
    fn head(seen: &[u8]) -> Option<&Self::Head>;
    const IS_V4: bool;
    const IS_UDP: bool;
    /// Offset of the transport header.
    const L4: usize = if Self::IS_V4 { IPV4 as usize } else { IPV6 as usize };
    /// Bytes of both addresses.
    const ADDRESSES: usize = if Self::IS_V4 { 8 } else { 32 };
    const PROTOCOL: u8 = if Self::IS_UDP { PROTOCOL_UDP } else { PROTOCOL_TCP };
    /// Where the protocol number is.
    const PROTOCOL_AT: usize = if Self::IS_V4 { IP + 9 } else { IP + 6 };
    /// Offset of the checksum in the transport header.
    const CHECK: usize = if Self::IS_UDP { 6 } else { 16 };
    /// As a number: [`shape_of`].
    const NUMBER: u8 = Self::L4 as u8 | if Self::IS_UDP { UDP } else { 0 };
}

/// Added to [`Shape::L4`].
pub(super) const UDP: u8 = 0x80;
/// Length of a UDP header.
pub(super) const UDP_HEADER: usize = 8;

/// Bytes of Ethernet, IPv6, and TCP without options, and some more.
pub(super) const TCP6: usize = 80;

pub(super) struct Tcp4;
pub(super) struct Tcp6;
pub(super) struct Udp4;
pub(super) struct Udp6;

impl Shape for Tcp4 {
    type Head = [u8; HALF];
    #[inline(always)]
    fn head(seen: &[u8]) -> Option<&[u8; HALF]> {
        seen.first_chunk()
    }
    const IS_V4: bool = true;
    const IS_UDP: bool = false;
}

impl Shape for Tcp6 {
    type Head = [u8; TCP6];
    #[inline(always)]
    fn head(seen: &[u8]) -> Option<&[u8; TCP6]> {
        seen.first_chunk()
    }
    const IS_V4: bool = false;
    const IS_UDP: bool = false;
}

impl Shape for Udp4 {
    type Head = [u8; HALF];
    #[inline(always)]
    fn head(seen: &[u8]) -> Option<&[u8; HALF]> {
        seen.first_chunk()
    }
    const IS_V4: bool = true;
    const IS_UDP: bool = true;
}

impl Shape for Udp6 {
    type Head = [u8; HALF];
    #[inline(always)]
    fn head(seen: &[u8]) -> Option<&[u8; HALF]> {
        seen.first_chunk()
    }
    const IS_V4: bool = false;
    const IS_UDP: bool = true;
}

/// The [`Shape::NUMBER`] that a frame with a transport header at `l4` has if it has one.
#[inline(always)]
pub(super) fn shape_of(head: &(impl AsRef<[u8]> + ?Sized), l4: u32) -> u8 {
    l4 as u8 | if protocol(head, l4) == PROTOCOL_UDP { UDP } else { 0 }
}

/// The protocol of a frame with a transport header at `l4`, if it has one there.
#[inline(always)]
pub(super) fn protocol(head: &(impl AsRef<[u8]> + ?Sized), l4: u32) -> u8 {
    byte(head, if l4 == IPV4 { Tcp4::PROTOCOL_AT } else { Tcp6::PROTOCOL_AT })
}

/// Which bits of a head must be equal: in a segment as long as the first one that has its flags, and in any. By version of IP and
/// words of TCP options; the last row is that of UDP.
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
    masks[0][UDP_ROW] = Mask(udp_mask_of(IPV4 as usize, equal));
    masks[1][UDP_ROW] = Mask(udp_mask_of(IPV6 as usize, equal));
    masks
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Mask(Head);

/// Numbers of words that TCP options can have, and the power of two above it, so that an index needs no check.
const OPTIONS: usize = 11;
const ROWS: usize = OPTIONS.next_power_of_two();
const UDP_ROW: usize = ROWS - 1;

/// All bits of all headers, but the identification, checksums, the sequence number and the urgent pointer; unless `equal`, but
/// lengths and PSH, too.
const fn mask_of(l4: usize, words: usize, equal: bool) -> Head {
    let mut mask = network_mask(l4, equal);
    let mut at = l4;
    while at < l4 + TCP_HEADER as usize + 4 * words {
        let tcp = at - l4;
        let differs = tcp < 20 && (tcp >= 4 && tcp < 8 || tcp >= 16);
        mask[at] = if differs { 0 } else { 0xff };
        at += 1;
    }
    if !equal {
        mask[l4 + 13] = !super::held::PSH;
    }
    mask
}

/// The same of UDP.
const fn udp_mask_of(l4: usize, equal: bool) -> Head {
    let mut mask = network_mask(l4, equal);
    let mut at = l4;
    while at < l4 + if equal { 6 } else { 4 } {
        mask[at] = 0xff;
        at += 1;
    }
    mask
}

/// Up to the transport header.
const fn network_mask(l4: usize, equal: bool) -> Head {
    let mut mask = [0; HEAD];
    let mut at = 0;
    while at < l4 {
        let ip = at.wrapping_sub(IP);
        let is_ipv4 = l4 == IPV4 as usize;
        let is_length = if is_ipv4 { ip == 2 || ip == 3 } else { ip == 4 || ip == 5 };
        let differs = is_ipv4 && (ip == 4 || ip == 5 || ip == 10 || ip == 11) || is_length && !equal;
        mask[at] = if differs { 0 } else { 0xff };
        at += 1;
    }
    mask
}

/// The mask for a packet: for a segment that is `equal` but for its place, or for any.
#[inline(always)]
pub(super) fn mask<S: Shape>(header_len: u32, equal: bool) -> &'static Head {
    let words = header_len.wrapping_sub(S::L4 as u32 + TCP_HEADER) / 4;
    let masks = if equal { &EQUAL } else { &ANY };
    let row = if S::IS_UDP { UDP_ROW } else { words as usize % ROWS };
    &masks[usize::from(!S::IS_V4)][row].0
}

/// Length of the frame, as the IP header states it.
#[inline(always)]
pub(super) fn stated_length<S: Shape>(head: &S::Head) -> u32 {
    if S::IS_V4 { u32::from(be16(head, IP + 2)) + L3_UNTAGGED } else { u32::from(be16(head, IP + 4)) + IPV6 }
}

/// Whether a frame is as long as its IP header states, and no longer than that can be.
#[inline(always)]
pub(super) fn is_whole<S: Shape>(head: &S::Head, len: usize) -> bool {
    len >> 16 == 0 && stated_length::<S>(head) as usize == len
}

/// Bytes of all headers, as the TCP header says.
#[inline(always)]
pub(super) fn header_len<S: Shape>(head: &S::Head) -> u32 {
    let l4 = S::L4 as u32;
    if S::IS_UDP { l4 + UDP_HEADER as u32 } else { l4 + u32::from(byte(head, S::L4 + 12) >> 4) * 4 }
}

/// Whether the UDP header says that there is a checksum, and a length that is the frame's.
#[inline(always)]
pub(super) fn is_udp_right<S: Shape>(head: &S::Head, len: usize) -> bool {
    let stated = usize::from(be16(head, S::L4 + 4));
    has_checksum::<S>(head) && stated > UDP_HEADER && stated + S::L4 == len
}

/// Whether there is a checksum: only UDP can be without.
#[inline(always)]
pub(super) fn has_checksum<S: Shape>(head: &S::Head) -> bool {
    !S::IS_UDP || be16(head, S::L4 + S::CHECK) != 0
}

/// Sum over the pseudo-header without its length, folded.
#[inline(always)]
pub(super) fn pseudo_sum<S: Shape>(head: &(impl AsRef<[u8]> + ?Sized)) -> u32 {
    u32::from(in_host_order(pseudo_words::<S>(head, 0)))
}

/// The same with its length, not folded, of words as they lie in memory.
#[inline(always)]
pub(super) fn pseudo_words<S: Shape>(head: &(impl AsRef<[u8]> + ?Sized), l4_len: u32) -> u64 {
    let from = if S::IS_V4 { IP + 12 } else { IP + 8 };
    let mut wide = 0;
    let mut at = from;
    while at < S::L4 {
        wide += u64::from(word(head, at));
        at += 4;
    }
    wide + u64::from((l4_len + u32::from(S::PROTOCOL)).to_be())
}

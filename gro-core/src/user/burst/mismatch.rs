//! Plain frames of a held packet's flow that do not join it: why the packet leaves.

use super::frame::Frame;
use super::held::{Head, Held, IP, TCP_AT, be16, be32, byte, differ, word};
use super::shape::{Shape, header_len};
use super::tags::same_flow;
use crate::parse::{L3_UNTAGGED, TCP_HEADER};
use crate::profile::LEGACY_MAX_SIZE;
use crate::{Config, FlushReason, Profile};

/// The reason that the core names (`why_not`, gro-core/src/coalesce), for a plain frame with so much payload. [`FlushReason::None`] if that
/// is for the core to say: the frame is of another flow, or would join.
#[inline(always)]
pub(super) fn why_not<P: Profile, S: Shape>(
    held: &Held,
    (frame, seen, head): (&Frame<'_>, &[u8], &S::Head),
    len: u32,
    config: &Config,
) -> FlushReason {
    let first = &held.head;
    if differ(seen, first, same_flow::<S>()) {
        return FlushReason::None;
    }
    let tcp = if S::IS_UDP { FlushReason::None } else { tcp::<P, S>(first, frame.bytes, head) };
    if tcp != FlushReason::None {
        return tcp;
    }
    let ip = if S::IS_V4 { ipv4::<P>(held, head) } else { ipv6(first, head) };
    if ip != FlushReason::None {
        return ip;
    }
    let lane = &held.lane;
    if len == 0 {
        FlushReason::Empty
    } else if len > u32::from(lane.gso_size) {
        FlushReason::Larger
    } else if !S::IS_UDP && be32(head, S::L4 + TCP_AT.seq) != lane.next_seq {
        FlushReason::Sequence
    } else if u32::from(lane.header_len) - L3_UNTAGGED + lane.bytes + len >= max_size::<S>(config) {
        FlushReason::Size
    } else {
        FlushReason::None
    }
}

/// Bytes that a packet stays below, from the IP header on (`Config::max_size`).
#[inline(always)]
pub(super) fn max_size<S: Shape>(config: &Config) -> u32 {
    let limit = if S::IS_V4 { config.gro_ipv4_max_size } else { config.gro_max_size };
    if S::IS_UDP { limit.min(LEGACY_MAX_SIZE) } else { limit }
}

#[inline(always)]
fn tcp<P: Profile, S: Shape>(first: &Head, frame: &[u8], head: &S::Head) -> FlushReason {
    const WINDOW: u32 = 0xffff;
    let at = S::L4;
    let control = be32(head, at + TCP_AT.control);
    let differs = (control ^ be32(first, at + TCP_AT.control)) & P::CONTROL_EQUAL;
    if control & P::CONTROL_ALONE != 0 {
        FlushReason::Cwr
    } else if differs & !WINDOW != 0 {
        FlushReason::Flags
    } else if differs != 0 {
        FlushReason::Window
    } else if word(head, at + TCP_AT.ack) != word(first, at + TCP_AT.ack) {
        FlushReason::Ack
    } else {
        // Equal flag words, so equally long.
        let options = at + TCP_HEADER as usize..header_len::<S>(head) as usize;
        if frame.get(options.clone()) == first.get(options) {
            FlushReason::None
        } else {
            FlushReason::Options
        }
    }
}

#[inline(always)]
fn ipv4<P: Profile>(held: &Held, head: &(impl AsRef<[u8]> + ?Sized)) -> FlushReason {
    const DONT_FRAGMENT: u16 = 0x4000;
    let first = &held.head;
    let dont_fragment = be16(head, IP + 6) & DONT_FRAGMENT;
    if byte(head, IP + 8) != first[IP + 8] {
        return FlushReason::Ttl;
    } else if byte(head, IP + 1) != first[IP + 1] {
        return FlushReason::Tos;
    } else if dont_fragment != be16(first, IP + 6) & DONT_FRAGMENT {
        return FlushReason::DontFragment;
    }
    let offset = be16(head, IP + 4).wrapping_sub(be16(first, IP + 4));
    // The second segment decides by repeating the first one's.
    let repeats = held.lane.list.segs() == 1 && offset == 0 && (!P::FIXED_ID_NEEDS_DF || dont_fragment != 0);
    let expected = if held.lane.id_step == 0 || repeats { 0 } else { held.lane.list.segs() as u16 };
    if offset == expected { FlushReason::None } else { FlushReason::IpId }
}

#[inline(always)]
fn ipv6(first: &Head, head: &(impl AsRef<[u8]> + ?Sized)) -> FlushReason {
    const CLASS: u32 = 0x0ff0_0000;
    if byte(head, IP + 7) != first[IP + 7] {
        FlushReason::Ttl
    } else if (be32(head, IP) ^ be32(first, IP)) & CLASS != 0 {
        FlushReason::Tos
    } else {
        FlushReason::None
    }
}

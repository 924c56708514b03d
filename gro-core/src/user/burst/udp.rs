//! UDP of a flow of which nothing is held: it is held as the first of one, or passes, as most do where nobody asked for UDP to be
//! coalesced.

use super::core_way::long;
use super::frame::Frame;
use super::held::{be16, is_right};
use super::isa::Code;
use super::leave::pass;
use super::receive::{NOT_FLUSHED, is_network_plain, start};
use super::shape::{IPV4, IPV6, Shape, UDP_HEADER, Udp4, Udp6, has_checksum, is_udp_right, is_whole};
use super::store::Memory;
use super::tags::classify;
use super::{Core, Packet};
use crate::parse::is_udp_tunnel;
use crate::{Bypass, Config, Profile, UdpMode};

/// A frame of which nothing is held by its tag, and that is no plain TCP. What is no UDP goes the core's way.
#[inline(never)]
pub(super) fn begin<P: Profile, I: Code, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, seen): (&Frame<'_>, &[u8]),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    match seen.first_chunk().and_then(classify) {
        Some((IPV4, tag)) => begin_as::<P, I, Udp4, CHUNKS>(core, memory, (frame, seen, tag), sink),
        Some((IPV6, tag)) => begin_as::<P, I, Udp6, CHUNKS>(core, memory, (frame, seen, tag), sink),
        _ => long::<P, CHUNKS>(core, memory, (frame, 0), sink),
    }
}

#[inline(always)]
fn begin_as<P: Profile, I: Code, S: Shape, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    (frame, seen, tag): (&Frame<'_>, &[u8], u32),
    sink: &mut impl FnMut(&Packet<'_>),
) {
    let Some(head) = S::head(seen) else { return long::<P, CHUNKS>(core, memory, (frame, 0), sink) };
    match look::<I, S>(&core.config, frame, head) {
        Look::Plain => start::<P, S, CHUNKS>(core, memory, (frame, head, tag), NOT_FLUSHED, sink),
        Look::Passes(why) => {
            core.state.counters.arrived(frame.len());
            let frames = core.frames();
            core.state.digest.mix((why as u32) << 24, frames);
            core.state.counters.passed(why);
            pass(frame, (frames.wrapping_sub(1), why), sink);
        }
        Look::Unknown => long::<P, CHUNKS>(core, memory, (frame, 0), sink),
    }
}

/// What a frame is.
pub(super) enum Look {
    /// A datagram that may be held.
    Plain,
    /// One that is not looked at further, whatever is held.
    Passes(Bypass),
    /// None, or one of which the core knows more.
    Unknown,
}

/// The tests in the order of the core, whose parser (gro-core/src/parse) names the reasons.
#[inline(always)]
pub(super) fn look<I: Code, S: Shape>(config: &Config, frame: &Frame<'_>, head: &S::Head) -> Look {
    let len = frame.bytes.len();
    let is_whole = is_whole::<S>(head, len) && len >= S::L4 + UDP_HEADER;
    if !is_network_plain::<S>(head) || !is_whole || is_udp_tunnel(be16(head, S::L4 + 2), config) {
        Look::Unknown
    } else if config.udp != UdpMode::Forwarding {
        Look::Passes(Bypass::UdpOff)
    } else if !has_checksum::<S>(head) {
        Look::Passes(Bypass::UdpNoChecksum)
    } else if !is_udp_right::<S>(head, len) {
        Look::Passes(Bypass::UdpLength)
    } else if !is_right::<I, S>(frame, head) {
        Look::Passes(Bypass::Checksum)
    } else {
        Look::Plain
    }
}

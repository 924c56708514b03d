//! The cases: what is sent, and what Linux 6.18 delivers (asked of the running kernel, case by case).
//!
//! Names of the kernel's own GRO selftest are kept where it has the case. `c.mss` is a full segment.

use etherparse::IpNumber;

use super::script::Script;
use super::segment::Segment;

mod ip;
mod jumbo;
mod link;
mod stream;
mod tcp;
mod tunnel;
mod udp;

/// A named case that runs in every shape it fits.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) only: Only,
    /// Whether several flows may play it at once (one poll, one flow, not too long).
    pub(super) interleaves: bool,
    pub(super) build: fn(&mut Script),
}

/// The shapes in which a recipe makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    All,
    V4,
    V6,
    /// With the timestamp option.
    Timestamps,
    /// With payloads of 1,448 bytes.
    Mtu1500,
    /// With payloads of 100 bytes and no options, once per family.
    Small,
    /// As `Small`, for IPv4.
    SmallV4,
}

/// All cases of TCP.
pub(super) fn tcp() -> Vec<Recipe> {
    let groups = [
        stream::data(),
        tcp::flags(),
        tcp::header(),
        tcp::checksums(),
        ip::lengths(),
        ip::v4(),
        ip::v6(),
        ip::v6_in_order(),
        link::between(),
        link::addresses(),
        link::tags(),
        stream::sizes(),
    ];
    groups.into_iter().flatten().collect()
}

/// All cases of UDP that is coalesced.
pub(super) fn udp() -> Vec<Recipe> {
    let groups = [
        udp::data(),
        udp::header(),
        udp::lengths(),
        ip::v4(),
        ip::v6(),
        udp::v6_out_of_order(),
        link::between(),
        udp::link(),
        link::tags(),
        udp::sizes(),
    ];
    groups.into_iter().flatten().collect()
}

/// All cases of BIG TCP.
pub(super) fn big() -> Vec<Recipe> {
    jumbo::big()
}

pub(super) use tunnel::Tunnelled;

/// All cases of tunnels.
pub(super) fn tunnels() -> Vec<Tunnelled> {
    tunnel::all()
}

/// UDP where it is not coalesced.
pub(super) fn udp_off() -> Recipe {
    alone("udp_off", Only::All, |c| {
        c.full(3);
        c.deliver(&[c.mss; 3]);
    })
}

/// The one case in which the engine is not the kernel: its headers do not fit the engine's window.
pub(super) fn long_chain() -> Recipe {
    alone("ip_v6ext_long_chain", Only::V6, |c| {
        for _ in 0..3 {
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &long_padding()));
        }
        c.deliver(&[3 * c.mss]);
    })
}

fn recipe(name: &'static str, only: Only, build: fn(&mut Script)) -> Recipe {
    Recipe { name, only, interleaves: true, build }
}

fn alone(name: &'static str, only: Only, build: fn(&mut Script)) -> Recipe {
    Recipe { name, only, interleaves: false, build }
}

fn third_of_five(c: &mut Script, change: impl FnOnce(&mut Segment)) {
    c.full(2);
    c.with(c.mss, change);
    c.full(2);
}

fn from_third_of_five(c: &mut Script, change: fn(&mut Segment)) {
    c.full(2);
    for _ in 0..3 {
        c.with(c.mss, change);
    }
}

/// A damaged segment between two good ones that join each other: GRO does not see it as part of the flow.
fn overtaken(c: &mut Script, damage: fn(&mut Segment)) {
    c.full(1);
    c.extra(c.mss / 2, damage);
    // As if the damaged one had never been sent, IP identification included.
    c.forget_identification();
    c.full(1);
    let damaged = c.payload_of(1);
    c.deliver(&[damaged, 2 * c.mss]);
}

/// A damaged segment between two good ones that would join each other: it flushes the first.
fn kept_in_order(c: &mut Script, damage: fn(&mut Segment)) {
    c.full(1);
    c.extra(c.mss / 2, damage);
    c.forget_identification();
    c.full(1);
    let damaged = c.payload_of(1);
    c.deliver(&[c.mss, damaged, c.mss]);
}

/// 398 bytes of padding options, for a header of 400 bytes.
fn long_padding() -> Vec<u8> {
    let mut body = vec![1, 4, 0, 0, 0, 0];
    for _ in 0..2 {
        body.extend_from_slice(&[1, 194]);
        body.resize(body.len() + 194, 0);
    }
    body
}

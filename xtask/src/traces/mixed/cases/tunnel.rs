//! Segments in tunnels: what of the outer headers must be equal, what overtakes, what keeps order.
//!
//! The outer header of a case is IPv4 or IPv6, and so is the inner one. Where a case says nothing of UDP it runs for TCP alone.

use etherparse::IpNumber;

use super::{Recipe, from_third_of_five, kept_in_order, overtaken};
use crate::traces::mixed::Only;
use crate::traces::mixed::script::{Script, Shape};
use crate::traces::mixed::segment::{Segment, change_length, repair_ipv4};
use crate::traces::mixed::tunnel::{Kind, Via};

mod header;
mod network;

/// A recipe, and in which shapes it makes sense.
pub(in crate::traces::mixed) struct Tunnelled {
    pub(in crate::traces::mixed) recipe: Recipe,
    pub(in crate::traces::mixed) fits: Fits,
}

type Fits = fn(Shape, Via) -> bool;

/// All cases.
pub(super) fn all() -> Vec<Tunnelled> {
    let groups = [
        merges(),
        network::outer(),
        network::identifications(),
        network::lengths(),
        network::inner(),
        header::gre(),
        header::udp(),
        header::geneve(),
        several(),
        sizes(),
    ];
    groups.into_iter().flatten().collect()
}

fn merges() -> Vec<Tunnelled> {
    vec![
        Tunnelled {
            recipe: Recipe { name: "tun_same", only: Only::All, interleaves: true, build: same },
            fits: |_, _| true,
        },
        tunnelled("tun_shorter_closes", tcp, shorter),
        tunnelled("tun_udp_shorter_closes", udp, shorter),
        tunnelled("tun_psh", tcp, |c| {
            c.full(1);
            c.with(c.mss, |s| s.tcp().psh = true);
            c.full(2);
            c.deliver(&[2 * c.mss; 2]);
        }),
        tunnelled("tun_ack_between_data", base, |c| {
            c.full(1);
            c.data(0);
            c.full(2);
            c.deliver(&[c.mss, 0, 2 * c.mss]);
        }),
        tunnelled("tun_seq_lost", tcp, |c| {
            c.full(2);
            c.lose(c.mss);
            c.full(2);
            c.deliver(&[2 * c.mss; 2]);
        }),
        tunnelled("tun_tcp_csum", tcp, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame[at.transport + at.checksum] ^= 0x40));
        }),
        tunnelled("tun_udp_csum", udp, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame[at.transport + at.checksum] ^= 0x40));
        }),
        tunnelled("tun_udp_csum_zero", udp, |c| {
            overtaken(c, |s| {
                s.damage(|frame, at| frame[at.transport + 6..at.transport + 8].copy_from_slice(&[0, 0]));
            });
        }),
    ]
}

fn same(c: &mut Script) {
    c.full(3);
    c.deliver(&[3 * c.mss]);
}

fn shorter(c: &mut Script) {
    c.full(2);
    c.data(c.mss / 2);
    c.full(1);
    // GRE with both a checksum and a key compares the checksum. A right segment sums to its own checksum's pseudo-header, so
    // that of GRE is the same for every length in IPv6, which has the length twice, and another one in IPv4.
    if c.shape.via.is_some_and(|via| via.kind == Kind::GreSumKey) && !c.shape.v6 {
        c.deliver(&[2 * c.mss, c.mss / 2, c.mss]);
    } else {
        c.deliver(&[2 * c.mss + c.mss / 2, c.mss]);
    }
}

/// Several tunnels in one poll.
fn several() -> Vec<Tunnelled> {
    vec![
        // One inner flow in two tunnels and in none.
        tunnelled("tun_several", tcp, |c| {
            let ways: [fn(&mut Segment); 3] =
                [|_| (), |s| other_destination(s), |s: &mut Segment| s.tunnels.clear()];
            for round in 0..2 {
                for way in ways {
                    c.identify(5 + round);
                    c.identify_outer(50 + round);
                    c.extra(c.mss, way);
                }
                c.lose(c.mss);
            }
            c.deliver(&[2 * c.mss; 3]);
        }),
        tunnelled(
            "tun_kinds_at_once",
            |s, via| tcp(s, via) && via.kind == Kind::Ip,
            |c| {
                let v6 = c.shape.via.is_some_and(|via| via.v6);
                for round in 0..2 {
                    for kind in Kind::ASKED {
                        c.shape.via = Some(Via { kind, v6 });
                        c.identify(5 + round);
                        c.identify_outer(50 + round);
                        c.extra(c.mss, |_| ());
                    }
                    c.lose(c.mss);
                }
                c.deliver(&[2 * c.mss; Kind::ASKED.len()]);
            },
        ),
        tunnelled("tun_nested_in_ip", base, |c| nested(c, Kind::Ip)),
        tunnelled("tun_nested_in_gre", base, |c| nested(c, Kind::Gre)),
        tunnelled("tun_nested_in_vxlan", asked, |c| nested(c, Kind::Vxlan)),
    ]
}

/// A tunnel in a tunnel never merges and overtakes.
fn nested(c: &mut Script, kind: Kind) {
    let outermost = Via { kind, v6: false };
    c.full(1);
    for number in 0..2 {
        c.extra(c.mss / 2, |s| s.tunnels.push(outermost.tunnel(number)));
        c.forget_identification();
    }
    c.full(1);
    c.deliver(&[c.mss / 2, c.mss / 2, 2 * c.mss]);
}

/// The size counts from the outer IP header on, and the limit is that of its family.
fn sizes() -> Vec<Tunnelled> {
    vec![
        tunnelled("large_tun_max", large, |c| {
            let rest = room(c, 46);
            c.full(46);
            c.data(rest);
            c.full(1);
            c.deliver(&[46 * c.mss + rest, c.mss]);
        }),
        tunnelled("large_tun_rem", large, |c| {
            let rest = room(c, 46) + 1;
            c.full(46);
            c.data(rest);
            c.deliver(&[46 * c.mss, rest]);
        }),
        tunnelled("large_tun_next", large, |c| {
            c.full(60);
            c.deliver(&[46 * c.mss, 14 * c.mss]);
        }),
    ]
}

/// What is left below 65,536 bytes behind `count` full segments.
fn room(c: &Script, count: usize) -> usize {
    65_535 - c.headers() - count * c.mss
}

fn tunnelled(name: &'static str, fits: Fits, build: fn(&mut Script)) -> Tunnelled {
    Tunnelled { recipe: Recipe { name, only: Only::All, interleaves: false, build }, fits }
}

/// One tunnel of each kind, without those that only add a word.
fn base(shape: Shape, via: Via) -> bool {
    tcp(shape, via) && !matches!(via.kind, Kind::GreKey | Kind::GreSum | Kind::GreSumKey)
}

/// The same, in the trace that the running kernel is asked about.
fn asked(shape: Shape, via: Via) -> bool {
    base(shape, via) && Kind::ASKED.contains(&via.kind)
}

fn tcp(shape: Shape, _: Via) -> bool {
    !shape.udp && shape.mss == 100
}

fn udp(shape: Shape, _: Via) -> bool {
    shape.udp
}

/// Where lengths are the only difference, behind IPv4: a packet behind IPv6 that a config lets grow beyond 65,535 bytes is lost
/// in the kernel (docs/adr/0004), so none of a trace may be that long.
fn large(shape: Shape, via: Via) -> bool {
    shape.mss > 1_000 && via.kind != Kind::GreSumKey && !via.v6
}

fn other_destination(s: &mut Segment) {
    match &mut s.outer().ip {
        crate::traces::mixed::segment::Ip::V4(header) => header.destination[3] = 3,
        crate::traces::mixed::segment::Ip::V6(header, _) => header.destination[15] = 3,
    }
}

/// Two full segments, and one that is changed so that it is of another flow or may not join.
fn third_differs(c: &mut Script, change: fn(&mut Segment)) {
    c.full(2);
    c.with(c.mss, change);
    c.deliver(&[2 * c.mss, c.mss]);
}

/// Three segments that are all changed alike and join.
fn all_alike(c: &mut Script, change: fn(&mut Segment)) {
    for _ in 0..3 {
        c.with(c.mss, change);
    }
    c.deliver(&[3 * c.mss]);
}

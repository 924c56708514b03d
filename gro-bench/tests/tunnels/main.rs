//! What becomes of frames in tunnels, case by case, as Linux 6.18 does it and every backend with it.
//!
//! Outcomes are written as [`cases`] says.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod cases;
mod frames;

#[path = "../every_backend/mod.rs"]
mod every_backend;

use cases::{Cases, MERGED};
use every_backend::tunnels::{Kind, Tunnel};
use frames::{
    ETHERNET, IPIP, PAYLOAD, bad, edited, header_end, inner_l3, long, other_gre, segments, tagged, tcp,
    tunnel_type, udp, with,
};
use gro_bench::EngineConfig;
use gro_core::{Config, UdpMode, tunnel};

const CONFIG: Config = Config { tunnels: tunnel::IP_IN_IP | tunnel::GRE | tunnel::VXLAN, ..Config::TC };
const FORWARDING: Config = Config { udp: UdpMode::Forwarding, ..CONFIG };
/// No kernel was asked about it.
const GENEVE: Config = Config { tunnels: CONFIG.tunnels | tunnel::GENEVE, ..CONFIG };

#[test]
fn every_tunnel_merges_and_says_so_in_the_gso_type() {
    on_every_kind(CONFIG, |tunnel, cases| {
        for (inner_v6, outer_step, inner_step) in
            [(false, 1, 1), (false, 1, 0), (false, 0, 1), (false, 0, 0), (true, 1, 1), (true, 0, 1)]
        {
            let frames = (0..3).map(|number| {
                let inner = tcp(inner_v6, number, 500 + number * inner_step);
                tunnel.wrap(&inner, 100 + number * outer_step)
            });
            let tcp = if inner_v6 { 0x10 } else { 1 };
            // Of an outer IPv4 header, where the inner one is IPv4 too; and of the inner one.
            let outer_fixed = if outer_step == 0 && !inner_v6 && !tunnel.v6 { 8 } else { 0 };
            let inner_fixed = if inner_step == 0 && !inner_v6 { 1 << 31 } else { 0 };
            let gso_type = tunnel_type(tunnel) | tcp | outer_fixed | inner_fixed;
            let name = format!("inner IPv6 {inner_v6}, steps {outer_step} and {inner_step}");
            cases.add(tunnel, &name, frames.collect(), "HMM abc", gso_type);
        }
    });
}

#[test]
fn datagrams_merge_in_tunnels_too() {
    let datagrams = |tunnel: &Tunnel, check| {
        let frame = |number| tunnel.wrap(&udp(number, check), 100 + number);
        (0..3).map(frame).collect::<Vec<_>>()
    };
    on_every_kind(FORWARDING, |tunnel, cases| {
        cases.add(tunnel, "datagrams", datagrams(tunnel, true), "HMM abc", tunnel_type(tunnel) | 1 << 17);
        cases.add(tunnel, "without checksum", datagrams(tunnel, false), "NNN a b c", 0);
    });
    on_every_kind(CONFIG, |tunnel, cases| {
        cases.add(tunnel, "without forwarding", datagrams(tunnel, true), "NNN a b c", 0);
    });
}

#[test]
fn a_difference_in_front_of_the_inner_header_counts() {
    on_every_kind(CONFIG, in_front);
    on_every_kind(GENEVE, in_front);
}

fn in_front(tunnel: &Tunnel, cases: &mut Cases) {
    let v6 = tunnel.v6;
    let l4 = tunnel.l4();
    let (mut thirds, mut others) = (Vec::new(), Vec::new());
    let mut third = |name, edit: &dyn Fn(&mut Vec<u8>)| thirds.push((name, edited(tunnel, 2, edit)));
    let mut replaced =
        |name, other: Tunnel| others.push((name, with(tunnel, 2, other.wrap(&tcp(false, 2, 502), 102))));
    third("TTL or hop limit", &|frame| frame[if v6 { 21 } else { 22 }] ^= 1);
    third("TOS or traffic class", &|frame| frame[15] ^= 0x10);
    third("don't-fragment bit or flow label", &|frame| frame[if v6 { 17 } else { 20 }] ^= 0x40);
    third("source address", &|frame| frame[29] ^= 1);
    if !v6 {
        third("identification", &|frame| frame[19] ^= 0x10);
    }
    match tunnel.kind {
        Kind::Ip => {}
        Kind::Gre { key, .. } => {
            if key {
                third("key", &|frame| frame[header_end(tunnel) - 1] ^= 1);
            }
            replaced("protocol and flags", other_gre(tunnel));
        }
        Kind::Vxlan { check } | Kind::Geneve { check, .. } => {
            third("source port", &|frame| frame[l4 + 1] ^= 1);
            third("identifier", &|frame| frame[l4 + 14] ^= 1);
            let kind = match tunnel.kind {
                Kind::Geneve { options, ethernet, .. } => Kind::Geneve { check: !check, options, ethernet },
                _ => Kind::Vxlan { check: !check },
            };
            replaced("checksum or none", Tunnel { kind, ..*tunnel });
        }
    }
    if let Kind::Vxlan { .. } = tunnel.kind {
        third("flags", &|frame| frame[l4 + 8] ^= 1);
        third("reserved byte", &|frame| frame[l4 + 15] ^= 1);
    }
    if inner_l3(tunnel) > header_end(tunnel) {
        third("inner MAC address", &|frame| frame[header_end(tunnel) + 3] ^= 1);
    }
    for (name, frames) in thirds.into_iter().chain(others) {
        cases.add(tunnel, name, frames, "HMH ab c", MERGED);
    }
}

#[test]
fn what_is_wrong_in_front_overtakes_but_for_the_length() {
    on_every_kind(CONFIG, wrong);
    on_every_kind(GENEVE, wrong);
}

fn wrong(tunnel: &Tunnel, cases: &mut Cases) {
    let v6 = tunnel.v6;
    let l4 = tunnel.l4();
    let mut one = |name: &str, number, edit: &dyn Fn(&mut Vec<u8>), outcome| {
        cases.add(tunnel, name, edited(tunnel, number, edit), outcome, MERGED);
    };
    let length = if v6 { 19 } else { 17 };
    // Nobody looks at a checksum then, and an outer UDP header with one must have been looked at.
    let unseen = match tunnel.kind {
        Kind::Vxlan { check: true } | Kind::Geneve { check: true, .. } => "HNH b a c",
        _ => "HNH a b c",
    };
    one("outer length", 1, &|frame| frame[length] ^= 1, unseen);
    one("outer length of the first", 0, &|frame| frame[length] ^= 1, "NHM a bc");
    one("padding", 1, &|frame| frame.push(0), unseen);
    match tunnel.kind {
        Kind::Ip => {}
        Kind::Gre { check, key, .. } => {
            one("sequence number", 1, &|frame| frame[l4] ^= 0x10, "HNH b a c");
            one("version", 1, &|frame| frame[l4 + 1] ^= 1, "HNH b a c");
            one("protocol", 1, &|frame| frame[l4 + 2..l4 + 4].copy_from_slice(&[0x88, 0x47]), "HNH b a c");
            if check {
                // With a key, the kernel takes the word with the checksum for it.
                let outcome = if key { "HMH ab c" } else { "HMM abc" };
                one("reserved bits behind the checksum", 2, &|frame| frame[l4 + 7] ^= 1, outcome);
            }
        }
        Kind::Vxlan { .. } | Kind::Geneve { .. } => {
            one("UDP length", 1, &|frame| frame[l4 + 5] ^= 1, "HMM abc");
            one("port", 2, &|frame| frame[l4 + 3] ^= 2, "HMN c ab");
        }
    }
    if inner_l3(tunnel) > header_end(tunnel) {
        let ethertype = inner_l3(tunnel) - 1;
        one("inner ethertype", 1, &|frame| frame[ethertype] ^= 6, "HNH b a c");
    }
    let inner = || tcp(false, 1, 501);
    for (name, frame, outcome) in [
        ("inner length", tunnel.wrap(&long(inner()), 101), "HNH a b c"),
        ("inner checksum", tunnel.wrap(&bad(inner()), 101), "HNH b a c"),
        ("inner tag", tunnel.wrap(&tagged(inner()), 101), "HNH b a c"),
        ("a tunnel around it", IPIP.wrap(&tunnel.wrap(&inner(), 101), 101), "HNH b a c"),
        ("a tunnel in it", tunnel.wrap(&IPIP.wrap(&inner(), 101), 101), "HNH b a c"),
    ] {
        if name != "inner tag" || inner_l3(tunnel) > header_end(tunnel) {
            cases.add(tunnel, name, with(tunnel, 1, frame), outcome, MERGED);
        }
    }
    // Checksums that are left wrong.
    let mut unfinished = |name: &str, at: usize, edit: u8, outcome| {
        let mut frames = segments(tunnel);
        frames[1][at] ^= edit;
        cases.add(tunnel, name, frames, outcome, MERGED);
    };
    if !v6 {
        unfinished("outer IP checksum", 25, 1, "HNH b a c");
    }
    match tunnel.kind {
        Kind::Gre { check: true, .. } => unfinished("GRE checksum", l4 + 5, 1, "HNH b a c"),
        Kind::Vxlan { check: true } | Kind::Geneve { check: true, .. } => {
            unfinished("UDP checksum", l4 + 7, 1, "HNH b a c");
        }
        _ => {}
    }
}

#[test]
fn without_a_device_a_tunnel_behind_udp_is_a_datagram() {
    let plain = Config { tunnels: Config::DEFAULT.tunnels, ..CONFIG };
    for (udp, outcome) in [(UdpMode::Off, "NNN a b c"), (UdpMode::Forwarding, "HMM abc")] {
        let mut cases = Cases::default();
        for v6 in [false, true] {
            let checked = Tunnel { v6, kind: Kind::Vxlan { check: true }, ..IPIP };
            cases.add(&checked, "VXLAN", segments(&checked), outcome, 1 << 17);
            let unchecked = Tunnel { v6, kind: Kind::Vxlan { check: false }, ..IPIP };
            cases.add(&unchecked, "VXLAN", segments(&unchecked), "NNN a b c", 0);
        }
        cases.check(&EngineConfig::of(Config { udp, ..plain }));
    }
}

#[test]
fn the_outer_header_says_which_limit_counts_and_from_where() {
    for (kind, v6) in [(Kind::Ip, false), (Kind::Ip, true), (Kind::Vxlan { check: true }, true)] {
        let tunnel = Tunnel { v6, kind, ..IPIP };
        let frames = segments(&tunnel);
        let two = (frames[0].len() - ETHERNET + PAYLOAD) as u32;
        for (limit, outcome) in
            [(two, "HHH a b c"), (two + 1, "HMH ab c"), (two + PAYLOAD as u32 + 1, "HMM abc")]
        {
            let mut cases = Cases::default();
            cases.add(&tunnel, "limit", frames.clone(), outcome, MERGED);
            let (gro_max_size, gro_ipv4_max_size) = if v6 { (limit, 15_000) } else { (15_000, limit) };
            cases.check(&EngineConfig::of(Config { gro_max_size, gro_ipv4_max_size, ..CONFIG }));
        }
    }
}

/// Collects cases for every kind of tunnel that `config` has, over IPv4 and IPv6, and runs them.
fn on_every_kind(config: Config, add: impl Fn(&Tunnel, &mut Cases)) {
    let is_geneve = config.tunnels & tunnel::GENEVE != 0;
    let mut cases = Cases::default();
    for kind in Kind::ALL.into_iter().filter(|kind| (kind.bit() == tunnel::GENEVE) == is_geneve) {
        for v6 in [false, true] {
            add(&Tunnel { v6, kind, ..IPIP }, &mut cases);
        }
    }
    assert!(cases.len() >= 12, "{}", cases.len());
    cases.check(&EngineConfig::of(config));
}

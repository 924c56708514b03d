//! `segment(coalesce(stream)) == stream`, per flow and byte for byte: what makes GRO an offload that may be trusted.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use bytes::Bytes;
use every_backend::lanes::{Lane, Lanes, Losses, difference, lane, lanes, vlan};
use every_backend::tunnels::{Kind, Tunnel};
use every_backend::{DEFAULT, TC, Tcp, canonical, on_every_backend, shipped};
use gro_bench::backend::UserBackend;
use gro_bench::segment::segment;
use gro_bench::trace::Trace;
use gro_bench::{Backend, EngineConfig, Outcome};
use gro_core::{Config, Rule, UdpMode};
use std::collections::BTreeMap;

#[test]
fn tcp4_bulk_comes_back_frame_by_frame() {
    bulk("tcp4-bulk", 3.0);
}

#[test]
fn tcp6_bulk_comes_back_frame_by_frame() {
    bulk("tcp6-bulk", 3.0);
}

#[test]
fn many_flows_come_back_frame_by_frame() {
    bulk("tcp-many-flows", 1.5);
}

#[test]
fn segments_with_sack_blocks_come_back_frame_by_frame() {
    bulk("tcp-sack-loss", 2.0);
}

/// In a tunnel of each kind, over IPv4 and IPv6, with outer identifications that count and, around IPv4, that stand: of packets
/// with TCP over IPv6 inside, the kernel does not say that (`tcp6_gro_complete`, net/ipv6/tcpv6_offload.c).
#[test]
fn bulk_in_tunnels_comes_back_frame_by_frame() {
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        let bulk = ["tcp4-bulk", "tcp6-bulk"];
        let (counting, standing) = (bulk[number % 2], bulk[0]);
        for (name, v6, step) in [(counting, false, 1), (counting, true, 1), (standing, false, 0)] {
            in_tunnel(name, Tunnel { v6, kind, number: 1, fragment: 0x4000, ttl: 64 }, step);
        }
    }
}

/// A flow's outer identifications grow by `step`.
fn in_tunnel(name: &str, tunnel: Tunnel, step: u16) {
    const FRAMES: usize = 2_000;
    let mut trace = shipped(name);
    trace.polls.retain(|poll| poll.frames.end <= FRAMES);
    trace.frames.truncate(trace.polls.last().map_or(0, |poll| poll.frames.end));
    let mut identifications: BTreeMap<Lane, u16> = BTreeMap::new();
    for frame in &mut trace.frames {
        let next = identifications.entry(lane(&frame.bytes, vlan(frame.vlan))).or_insert(65_500);
        frame.bytes = tunnel.wrap(&frame.bytes, *next).into();
        *next = next.wrapping_add(step);
    }
    let lanes = |frames: &mut dyn Iterator<Item = (Bytes, u32)>| {
        let mut lanes = Lanes::new();
        for (frame, vlan) in frames {
            let inner = tunnel.unwrap(&frame);
            let outer = &frame[..frame.len() - inner.len()];
            let whole = [outer, &canonical(&inner)].concat();
            lanes.entry(lane(&inner, vlan)).or_default().push(whole);
        }
        // The word behind a GRE header with a key is part of the flow; with a checksum, too, it is that, and frames of other
        // lengths overtake.
        if matches!(tunnel.kind, Kind::Gre { check: true, key: true, .. }) {
            lanes.values_mut().for_each(|frames| frames.sort());
        }
        lanes
    };
    let sent = lanes(&mut trace.frames.iter().map(|frame| (frame.bytes.clone(), vlan(frame.vlan))));
    for config in [Config::TC, Config::DEFAULT] {
        let engine = EngineConfig::of(Config { tunnels: tunnel.kind.bit(), ..config });
        on_every_backend(&trace, &engine, |backend, outcome| {
            let came = lanes(&mut outcome.records.iter().flat_map(|record| {
                let frames = segment(record).unwrap_or_else(|why| panic!("{backend}, {tunnel:?}: {why}"));
                frames.into_iter().map(|frame| (frame, record.vlan))
            }));
            if let Some(difference) = difference(&sent, &came) {
                panic!("{backend}, {tunnel:?}: {difference}");
            }
            // A kernel looks behind UDP only for a tunnel device.
            let may_not_look = backend == "kernel" && !matches!(tunnel.kind, Kind::Ip | Kind::Gre { .. });
            let ratio = trace.frames.len() as f64 / outcome.records.len() as f64;
            assert!(
                ratio > 2.0 || may_not_look,
                "{backend}, {tunnel:?}: {ratio:.2} packets in per packet out"
            );
        });
    }
}

/// But for the identification: for UDP there is no GSO type that says that all datagrams had the same one.
#[test]
fn udp4_bulk_comes_back_frame_by_frame() {
    let trace = shipped("udp4-bulk");
    let flows = |frames: &mut dyn Iterator<Item = Bytes>| {
        let mut flows: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for frame in frames {
            assert_eq!((frame[14], frame[23]), (0x45, 17), "plain UDP over IPv4");
            let mut frame = frame.to_vec();
            frame[18..20].fill(0);
            frame[24..26].fill(0);
            flows.entry(frame[26..38].to_vec()).or_default().push(frame);
        }
        flows
    };
    let sent = flows(&mut trace.frames.iter().map(|frame| frame.bytes.clone()));
    for engine in [TC, DEFAULT] {
        let engine = EngineConfig { config: Config { udp: UdpMode::Forwarding, ..engine.config }, ..engine };
        on_every_backend(&trace, &engine, |backend, outcome| {
            let came = flows(&mut outcome.records.iter().flat_map(|record| segment(record).unwrap()));
            assert!(came == sent, "{backend}: a datagram is lost, changed or out of order");
            let ratio = trace.frames.len() as f64 / outcome.records.len() as f64;
            assert!(ratio > 4.0, "{backend}: {ratio:.2} packets in per packet out");
        });
    }
}

/// Everything in `tcp-mixed` comes back, but for urgent pointers: GRO ignores them without URG, and merges segments that differ
/// in nothing else (`flags_urg_ptr_alone`). In those flows they are left out, with the checksum over them. And a flow whose
/// segments have receive hashes of different buckets (`hash_overtakes`) loses its order.
#[test]
fn tcp_mixed_comes_back_but_for_urgent_pointers() {
    let trace = shipped("tcp-mixed");
    let losses = Losses::of_tcp_mixed(&trace);
    assert!(!losses.urgent_pointers.is_empty() && !losses.order.is_empty());
    for engine in [TC, DEFAULT] {
        compare(&trace, &engine, &losses, |_, _| ());
    }
}

/// The comparison can fail: an engine that joins what it must not loses the second window, and ECE.
#[test]
fn a_broken_rule_does_not_come_back() {
    let trace = shipped("tcp-mixed");
    let whole = Losses::default();
    let sent = lanes(trace.frames.iter().map(|frame| (frame.bytes.clone(), vlan(frame.vlan))), &whole);
    for mutant in [Rule::Window, Rule::Flags] {
        let engine = EngineConfig { mutant: Some(mutant), ..DEFAULT };
        let outcome = UserBackend.run(&trace, &engine).unwrap();
        assert!(difference(&sent, &resegmented(&outcome, &whole)).is_some(), "{mutant:?}");
    }
}

fn bulk(name: &str, least: f64) {
    let trace = shipped(name);
    let sent = payloads(trace.frames.iter().map(|frame| (&frame.bytes[..], vlan(frame.vlan))));
    for engine in [TC, DEFAULT] {
        compare(&trace, &engine, &Losses::default(), |backend, outcome| {
            let came = payloads(outcome.records.iter().map(|record| (&record.bytes[..], record.vlan)));
            assert!(came == sent, "{backend}: a payload byte is lost, doubled or out of order");
            let ratio = trace.frames.len() as f64 / outcome.records.len() as f64;
            assert!(ratio > least, "{backend}: {ratio:.2} packets in per packet out");
        });
    }
}

/// Every backend's packets, cut up again, are the trace's frames in each lane.
fn compare(trace: &Trace, engine: &EngineConfig, losses: &Losses, mut also: impl FnMut(&str, &Outcome)) {
    let sent = lanes(trace.frames.iter().map(|frame| (frame.bytes.clone(), vlan(frame.vlan))), losses);
    on_every_backend(trace, engine, |backend, outcome| {
        let mut merged = 0;
        for (number, record) in outcome.records.iter().enumerate() {
            if record.segs > 1 {
                merged += 1;
                let tcp = Tcp::parse(&record.bytes).expect("only TCP is merged");
                assert!(tcp.has_exact_length(), "{backend}: delivery {number}: IP length");
                assert!(tcp.has_good_header(), "{backend}: delivery {number}: IPv4 header checksum");
                assert!(tcp.has_good_checksum(), "{backend}: delivery {number}: TCP checksum");
            }
        }
        if let Some(difference) = difference(&sent, &resegmented(outcome, losses)) {
            panic!("{backend}: {difference}");
        }
        assert!(merged > 0, "{backend} merged nothing");
        also(backend, outcome);
    });
}

/// What a backend delivered, cut up again.
fn resegmented(outcome: &Outcome, losses: &Losses) -> Lanes {
    let frames = outcome.records.iter().enumerate().flat_map(|(number, record)| {
        let frames = segment(record).unwrap_or_else(|why| panic!("delivery {number}: {why}"));
        assert_eq!(frames.len(), record.segs as usize, "delivery {number}");
        frames.into_iter().map(|frame| (frame, record.vlan))
    });
    lanes(frames, losses)
}

/// The TCP payload of each flow in one piece, straight from the packets.
fn payloads<'a>(packets: impl Iterator<Item = (&'a [u8], u32)>) -> BTreeMap<Lane, Vec<u8>> {
    let mut streams: BTreeMap<Lane, Vec<u8>> = BTreeMap::new();
    for (bytes, vlan) in packets {
        if let Some(tcp) = Tcp::parse(bytes) {
            streams.entry(Lane::Flow(tcp.flow(), vlan)).or_default().extend(tcp.payload());
        }
    }
    streams
}

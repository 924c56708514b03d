//! The keys under `gro` are true: each bit of each header is flipped in the second of two segments, and the engine does what the
//! document says of that bit; then what closes, what is not held and what does not join.

use super::{document, ipv4_headers, layers, repair};
use bytes::Bytes;
use etherparse::checksum::Sum16BitWords;
use gro_bench::backend::UserBackend;
use gro_bench::trace::{Frame, Poll, Trace};
use gro_bench::{Backend as _, EngineConfig, Record};
use gro_core::user::Why as Left;
use gro_core::{Bypass, Config, FlushReason, UdpMode, VlanMode};
use gro_graph::{FieldRule, Graph, Layer, Node, Settings, Walk, Why, walk};
use std::collections::BTreeMap;

const PAYLOAD: usize = 100;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What becomes of two segments of which the second may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// They are one packet.
    Joined,
    /// They are of two flows.
    Apart,
    /// The second made the first leave.
    Flushed,
    /// The second was refused for this reason and overtook the first.
    Refused(String),
}

/// Network headers of a segment.
#[derive(Clone, Copy, Debug)]
enum Network {
    V4,
    V6,
    Extended,
}

#[test]
fn each_bit_of_each_header_does_what_its_rule_says() {
    let graph = document();
    let mut fates: BTreeMap<String, usize> = BTreeMap::new();
    for parser in ["gro", "gro-in-band"] {
        for network in [Network::V4, Network::V6, Network::Extended] {
            for protocol in [TCP, UDP] {
                let build = |number| segment(&graph, parser, network, protocol, number, PAYLOAD, 0x10);
                let (first, second) = (build(0), build(1));
                assert_eq!(fate(parser, &first, &second), Fate::Joined, "{parser} {network:?} {protocol}");
                for bit in 0..8 * walked(&graph, parser, &second).end {
                    let (said, flipped) = flip(&graph, parser, &second, bit / 8, bit % 8);
                    let place = format!("{parser} {network:?} {protocol}: byte {}, bit {}", bit / 8, bit % 8);
                    assert_eq!(fate(parser, &first, &flipped), said, "{place}");
                    *fates.entry(format!("{said:?}")).or_default() += 1;
                }
            }
        }
    }
    eprintln!("{fates:?}");
    for seen in ["Joined", "Apart", "Flushed"] {
        assert!(fates.contains_key(seen), "{fates:?}");
    }
}

#[test]
fn what_closes_and_what_stays_alone_is_what_the_document_says() {
    let graph = document();
    for (protocol, name) in [(TCP, "tcp"), (UDP, "udp-datagram")] {
        let gro = &graph.node(name).unwrap().gro;
        let build = |number, payload, flags| {
            segment(&graph, "gro", Network::V4, protocol, number, payload, 0x10 | flags)
        };
        let sizes = |frames: &[Vec<u8>]| -> Vec<u32> {
            run("gro", frames).iter().map(|record| record.segs).collect()
        };
        let middle = |payload, flags| [build(0, PAYLOAD, 0), build(1, payload, flags), build(2, PAYLOAD, 0)];
        // Three segments, the second of which has each flag alone.
        for flag in (0..8).map(|bit| 1_u8 << bit).filter(|_| protocol == TCP) {
            let frames = middle(PAYLOAD, flag);
            let has =
                |bits: &[gro_graph::Bits]| bits.iter().any(|bits| bits.field.mask & u64::from(flag) != 0);
            let rule = graph.node(name).unwrap().gro.rule(13, 7 - flag.trailing_zeros() as usize);
            let joins = rule == Some(FieldRule::Join) && !has(&gro.never_joins.bits) || flag == 0x10;
            let segs = run("gro", &frames).iter().find(|record| record.first == Some(0)).unwrap().segs;
            let expected = if !joins {
                1
            } else if has(&gro.closes.bits) {
                2
            } else {
                3
            };
            assert_eq!(segs, expected, "flag {flag:#x}");
            let alone = &run("gro", &[build(0, PAYLOAD, flag)])[0];
            let held = !matches!(alone.why, Some(Left::Bypass(_)));
            assert_eq!(held, !has(&gro.never_held.bits), "flag {flag:#x} alone");
        }
        let longer = if gro.never_joins.longer { 1 } else { 2 };
        assert_eq!(sizes(&[build(0, PAYLOAD, 0), build(1, PAYLOAD + 1, 0)])[0], longer, "{name}, longer");
        let shorter = if gro.closes.shorter { 2 } else { 3 };
        let mut third = segment(&graph, "gro", Network::V4, protocol, 2, PAYLOAD, 0x10);
        if protocol == TCP {
            // The sequence goes on behind the shorter one.
            third[38..42].copy_from_slice(&(2 * PAYLOAD as u32 - 1).to_be_bytes());
            finish(&graph, "gro", &mut third);
        }
        let frames = [build(0, PAYLOAD, 0), build(1, PAYLOAD - 1, 0), third];
        assert_eq!(sizes(&frames)[0], shorter, "{name}, shorter");
        if let Some(most) = gro.closes.segments {
            let frames: Vec<Vec<u8>> = (0..most + 1).map(|number| build(number, PAYLOAD, 0)).collect();
            assert_eq!(sizes(&frames), [most, 1]);
        }
        if gro.never_held.empty {
            assert!(gro.never_joins.empty);
            let records = run("gro", &[build(0, PAYLOAD, 0), build(1, 0, 0)]);
            assert_eq!(records.len(), 2);
            assert!(matches!(records[1].why, Some(Left::Bypass(Bypass::Empty))), "{:?}", records[1].why);
        }
    }
}

/// Flips a bit and repairs the checksums over it; says what the document makes of the frame then.
fn flip(graph: &Graph, parser: &str, frame: &[u8], byte: usize, bit: usize) -> (Fate, Vec<u8>) {
    let before = walked(graph, parser, frame);
    let step = before
        .steps
        .iter()
        .rev()
        .find(|step| (step.offset..step.offset + step.length).contains(&byte))
        .unwrap();
    let node: &Node = &graph.nodes[step.node];
    let inside = byte - step.offset;
    let mut flipped = frame.to_vec();
    flipped[byte] ^= 0x80 >> bit;
    let checksum = node.gro.checksum.as_ref();
    if let Some(checksum) =
        checksum.filter(|sum| (sum.field.offset as usize..sum.field.end() as usize).contains(&inside))
    {
        return (Fate::Refused(checksum.bypass.clone()), flipped);
    }
    finish(graph, parser, &mut flipped);
    let after = walked(graph, parser, &flipped);
    let never = |bits: &gro_graph::Bits| bits.field.read(&flipped[step.offset..]).unwrap_or(0) != 0;
    let said = match (&after.stop.why, &after.stop.reason) {
        (Why::Done, _) if !after.flush.is_empty() || node.gro.never_joins.bits.iter().any(never) => {
            Fate::Flushed
        }
        (Why::Done, _) => {
            let rule =
                if inside < node.min_length as usize { node.gro.rule(inside, bit) } else { node.gro.rest };
            match rule.unwrap() {
                FieldRule::Identify | FieldRule::Presence => Fate::Apart,
                FieldRule::Equal | FieldRule::Continue | FieldRule::IncrementOrFixed => Fate::Flushed,
                FieldRule::Join | FieldRule::Rewrite | FieldRule::First => Fate::Joined,
                FieldRule::Checked => {
                    panic!("{}: byte {inside}, bit {bit} has more than one value", node.name)
                }
            }
        }
        (_, reason) => Fate::Refused(reason.clone().unwrap()),
    };
    (said, flipped)
}

fn walked(graph: &Graph, parser: &str, frame: &[u8]) -> Walk {
    let switches: &[&str] =
        if parser == "gro" { &["udp-forwarding"] } else { &["udp-forwarding", "vlan-in-band"] };
    walk(graph, &graph.parsers[0], frame, &Settings { switches, profile: None })
}

fn fate(parser: &str, first: &[u8], second: &[u8]) -> Fate {
    let records = run(parser, &[first.to_vec(), second.to_vec()]);
    let of = |frame| records.iter().find(|record| record.first == Some(frame));
    match (of(0).unwrap().why.unwrap(), of(1).map(|record| record.why.unwrap())) {
        (_, None) => Fate::Joined,
        (
            Left::Flush(FlushReason::PollEnd),
            Some(Left::Bypass(Bypass::Flags | Bypass::Empty | Bypass::Length)),
        ) => Fate::Apart,
        (Left::Flush(FlushReason::PollEnd), Some(Left::Bypass(bypass))) => {
            Fate::Refused(bypass.name().to_owned())
        }
        (Left::Flush(FlushReason::PollEnd), Some(Left::Flush(_))) => Fate::Apart,
        _ => Fate::Flushed,
    }
}

/// One poll of the userspace engine.
fn run(parser: &str, frames: &[Vec<u8>]) -> Vec<Record> {
    let vlan = if parser == "gro" { VlanMode::Stripped } else { VlanMode::InBand };
    let frame =
        |bytes: &Vec<u8>| Frame { time_ns: 0, bytes: Bytes::from(bytes.clone()), hash: 0, vlan: None };
    let trace = Trace {
        name: "bits".into(),
        frames: frames.iter().map(frame).collect(),
        polls: vec![Poll { time_ns: 0, frames: 0..frames.len() }],
    };
    let config = Config { vlan, udp: UdpMode::Forwarding, tunnels: 0, ..Config::DEFAULT };
    UserBackend.run(&trace, &EngineConfig::of(config)).unwrap().records
}

/// Segment `number` of a flow, with good lengths and checksums.
fn segment(
    graph: &Graph,
    parser: &str,
    network: Network,
    protocol: u8,
    number: u32,
    payload: usize,
    flags: u8,
) -> Vec<u8> {
    let mut transport = vec![0x30, 0x39, 0, 80];
    if protocol == TCP {
        transport.extend((number * PAYLOAD as u32).to_be_bytes());
        transport.extend([0, 0, 0, 9, 0x80, flags, 1, 0, 0, 0, 0, 0]);
        transport.extend([1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 3]);
    } else {
        transport.extend(((8 + payload) as u16).to_be_bytes());
        transport.extend([0, 0]);
    }
    transport.resize(transport.len() + payload, 0x61);

    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if parser == "gro-in-band" {
        frame.extend([0x88, 0xa8, 0x20, 5, 0x81, 0, 0, 7]);
    }
    let extensions: &[u8] = match network {
        Network::Extended => {
            &[43, 0, 1, 4, 0, 0, 0, 0, protocol, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
        }
        _ => &[],
    };
    let length = (extensions.len() + transport.len()) as u16;
    if let Network::V4 = network {
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((length + 20).to_be_bytes());
        // 7 and 8 differ in more than one bit: no flip makes them equal.
        frame.extend((7 + number as u16).to_be_bytes());
        frame.extend([0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    } else {
        frame.extend([0x86, 0xdd, 0x6a, 0xb1, 0x23, 0x45]);
        frame.extend(length.to_be_bytes());
        frame.extend([if extensions.is_empty() { protocol } else { 60 }, 63]);
        frame.extend(1..=32);
        frame.extend(extensions);
    }
    frame.extend(transport);
    finish(graph, parser, &mut frame);
    frame
}

/// Makes the checksums right, wherever the document says that they are.
fn finish(graph: &Graph, parser: &str, frame: &mut [u8]) {
    // Over the zero checksum of a new datagram a parser would not step.
    for _ in 0..2 {
        let walked = walked(graph, parser, frame);
        for at in ipv4_headers(graph, &walked) {
            repair(&mut frame[at..]);
        }
        let Some(network) = layers(graph, &walked, Layer::Network).next() else { return };
        let (l3, ipv4) = (network.offset, graph.nodes[network.node].name == "ipv4");
        let l4 = walked.end;
        let (at, l4, udp) = match layers(graph, &walked, Layer::Transport).next() {
            Some(step) => {
                let node = &graph.nodes[step.node];
                let field = node.gro.checksum.as_ref().unwrap().field;
                (step.offset + field.offset as usize, step.offset, node.name == "udp-datagram")
            }
            None if walked.stop.reason.as_deref() == Some("udp_no_checksum") => (l4 + 6, l4, true),
            None => return,
        };
        let length = (frame.len() - l4) as u32;
        let addresses = if ipv4 { l3 + 12..l3 + 20 } else { l3 + 8..l3 + 40 };
        frame[at..at + 2].fill(0);
        let pseudo = Sum16BitWords::new()
            .add_4bytes(length.to_be_bytes())
            .add_2bytes([0, if udp { UDP } else { TCP }]);
        let sum = pseudo.add_slice(&frame[addresses]).add_slice(&frame[l4..]).ones_complement();
        let sum = if udp && sum == 0 { 0xffff } else { sum };
        frame[at..at + 2].copy_from_slice(&sum.to_be().to_be_bytes());
    }
}

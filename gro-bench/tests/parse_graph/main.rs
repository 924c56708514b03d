//! `gro-core/parser.json` is true: the reference interpreter, which knows only the document, and the engine's own parser see the
//! same headers at the same offsets and refuse the same frames for the same reasons, on every shipped trace and on hostile
//! frames; and each bit of a header, flipped, does to a merge what the document says.
//!
//! The document names the checksums and does not compute them. Where the engine refuses a wrong IPv4 header checksum, the
//! interpreter must have accepted that header; then the checksum is repaired and the whole frame compared. Checksums of TCP and
//! UDP are no matter of the engine's parser.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "../hostile/frames.rs"]
mod frames;

mod bits;

use etherparse::checksum::Sum16BitWords;
use frames::{Random, trace};
use gro_bench::trace::{Trace, shipped};
use gro_core::parse::parse;
use gro_core::{Bypass, Config, Linux618, Packet, Profile as _, STORAGE, UdpMode, VlanMode, Window};
use gro_graph::{BUILT_IN, Graph, Layer, REASONS, Step, Walk, Why, walk};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const HOSTILE: usize = 100_000;
/// Hostile frames that notice a wrong document.
const FEW: usize = 20_000;

/// Both places of VLAN tags, UDP on and off: parser of the document, and config of the engine.
const MODES: [(&str, VlanMode, UdpMode); 4] = [
    ("gro", VlanMode::Stripped, UdpMode::Off),
    ("gro", VlanMode::Stripped, UdpMode::Forwarding),
    ("gro-in-band", VlanMode::InBand, UdpMode::Off),
    ("gro-in-band", VlanMode::InBand, UdpMode::Forwarding),
];

#[test]
fn every_frame_of_every_trace_is_parsed_as_the_document_says() {
    let graph = document();
    let mut seen = Seen::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let files = [folder.clone(), folder.join("divergences")].map(|folder| shipped(&folder).unwrap()).concat();
    for file in files {
        let stripped = Trace::open(&file).unwrap();
        for trace in [stripped.with_tags_in_band(), stripped] {
            for (number, frame) in trace.frames.iter().enumerate() {
                for mode in MODES {
                    if let Some(difference) = seen.compare(&graph, mode, &frame.bytes) {
                        panic!("{} #{number}, {mode:?}: {difference}", trace.name);
                    }
                }
            }
        }
    }
    eprintln!("{seen:?}");
    let reasons =
        ["done", "not_ip", "truncated", "ip_options", "fragment", "ip_checksum", "protocol", "data_offset"];
    for reason in reasons.iter().chain(&["too_long", "udp_off", "udp_no_checksum", "udp_length"]) {
        assert!(seen.0.contains_key(*reason), "no frame was {reason}: {seen:?}");
    }
}

#[test]
fn hostile_frames_are_refused_for_the_same_reasons() {
    let graph = document();
    let mut seen = Seen::default();
    for chunk in 0..HOSTILE / 5_000 {
        for frame in hostile(chunk as u64, 5_000) {
            for mode in MODES {
                if let Some(difference) = seen.compare(&graph, mode, &frame) {
                    panic!("chunk {chunk}, {mode:?}: {difference}\n{frame:02x?}");
                }
            }
        }
    }
    for frame in edges() {
        for mode in MODES {
            if let Some(difference) = seen.compare(&graph, mode, &frame) {
                panic!("{mode:?}: {difference}\n{frame:02x?}");
            }
        }
    }
    eprintln!("{seen:?}");
    for reason in REASONS.iter().filter(|&&reason| reason != "checksum").chain(&["done"]) {
        assert!(seen.0.contains_key(*reason), "no frame was {reason}: {seen:?}");
    }
}

/// What a wrong document would say: place, wrong value.
const WRONG: [(&str, &str); 35] = [
    ("/parsers/0/gro/max-frame-length", "65534"),
    ("/parsers/0/gro/max-header-length", "248"),
    ("/parsers/1/max-nodes", "5"),
    ("/parsers/1/root-node", "\"ethernet\""),
    ("/parse-nodes/0/next-proto/field-off", "11"),
    ("/parse-nodes/0/gro/bypass/unknown-next", "\"protocol\""),
    ("/parse-nodes/1/next-proto/table", "\"ethertypes\""),
    ("/parse-nodes/2/next-proto/table", "\"ethertypes-outer\""),
    ("/parse-nodes/3/next-proto/mask", "\"0xfeff\""),
    ("/parse-nodes/4/next-proto/field-off", "8"),
    ("/parse-nodes/4/hdr-length/multiplier", "5"),
    ("/parse-nodes/4/cond-exprs/ents/0/value", "\"0x46\""),
    ("/parse-nodes/4/cond-exprs/ents/0/mask", "\"0x4f\""),
    ("/parse-nodes/4/cond-exprs/ents/1/mask", "\"0x1fff\""),
    ("/parse-nodes/4/gro/next-proto-first", "false"),
    ("/parse-nodes/4/gro/bypass/cond-exprs/no-fragment", "\"ip_options\""),
    ("/parse-nodes/4/gro/flush", "[]"),
    ("/parse-nodes/4/gro/length/add", "1"),
    ("/parse-nodes/5/gro/length/add", "0"),
    ("/parse-nodes/5/gro/length/unequal", "\"udp_length\""),
    ("/parse-nodes/5/next-proto/field-off", "7"),
    ("/parse-nodes/6/hdr-length/add", "16"),
    ("/parse-nodes/6/hdr-length/mask", "\"0x3f\""),
    ("/parse-nodes/7/hdr-length/right-shift", "5"),
    ("/parse-nodes/7/hdr-length/mask", "\"0x70\""),
    ("/parse-nodes/7/gro/bypass/short-header", "\"truncated\""),
    ("/parse-nodes/7/gro/layer", "\"extension\""),
    ("/parse-nodes/8/gro/requires/switch", "\"udp\""),
    ("/parse-nodes/8/gro/requires/bypass", "\"protocol\""),
    ("/parse-nodes/8/cond-exprs/ents/0/value", "1"),
    ("/parse-nodes/8/gro/length/add", "8"),
    ("/proto-tables/0/ents/1/key", "\"0x86de\""),
    ("/proto-tables/1/ents/3/key", "\"0x9100\""),
    ("/proto-tables/3/ents/0/node", "\"udp\""),
    ("/proto-tables/4/ents/4/key", "44"),
];

#[test]
fn a_wrong_document_is_noticed() {
    let traces = ["tcp-mixed", "udp-mixed"].map(|name| {
        let file = format!("{}/../traces/{name}.pcapng.zst", env!("CARGO_MANIFEST_DIR"));
        Trace::open(Path::new(&file)).unwrap()
    });
    let tagged = traces.each_ref().map(Trace::with_tags_in_band);
    let mut frames: Vec<Vec<u8>> = hostile(0, FEW).collect();
    frames.extend(
        traces.iter().chain(&tagged).flat_map(|trace| &trace.frames).map(|frame| frame.bytes.to_vec()),
    );
    frames.extend(edges());
    let differs = |graph: &Graph| {
        MODES
            .iter()
            .any(|&mode| frames.iter().any(|frame| Seen::default().compare(graph, mode, frame).is_some()))
    };
    assert!(!differs(&document()));
    let mut unnoticed = Vec::new();
    for (place, value) in WRONG {
        let mut text: Value = serde_json::from_str(BUILT_IN).unwrap();
        let (parent, key) = place.rsplit_once('/').unwrap();
        let value: Value = serde_json::from_str(value).unwrap();
        match text.pointer_mut(parent).unwrap() {
            Value::Object(map) => {
                assert_ne!(map.insert(key.to_owned(), value.clone()), Some(value), "{place}")
            }
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            other => panic!("{place}: {other}"),
        }
        let (graph, _) = Graph::read("wrong.json", &text.to_string()).unwrap();
        if !differs(&graph) {
            unnoticed.push(place);
        }
    }
    assert!(unnoticed.is_empty(), "nothing noticed {unnoticed:?}");
}

#[test]
fn reasons_and_profile_are_the_engines() {
    for reason in REASONS {
        assert!(Bypass::ALL.iter().any(|bypass| bypass.name() == reason), "{reason}");
    }
    for parser in &document().parsers {
        assert_eq!(parser.gro.profile.as_deref(), Some(Linux618::NAME));
        assert_eq!(parser.gro.max_header_length as usize, gro_core::HEADER_MAX);
    }
}

fn document() -> Graph {
    let (graph, notes) =
        Graph::read("gro-core/parser.json", BUILT_IN).unwrap_or_else(|error| panic!("{error}"));
    assert!(notes.is_empty(), "{notes:?}");
    graph
}

/// Frames of one seed, their tags in the bytes for every other one.
fn hostile(seed: u64, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let trace = trace(&mut Random::new(seed), count, true);
    let tagged = trace.with_tags_in_band();
    let frames = trace.frames.into_iter().zip(tagged.frames).enumerate();
    frames.map(|(number, (plain, tagged))| if number % 2 == 0 { plain } else { tagged }.bytes.to_vec())
}

/// Frames at the limits of the document: no to four tags, every ethertype behind two, header chains of every length around the
/// longest, frames around the longest.
fn edges() -> Vec<Vec<u8>> {
    let link = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let tcp = |offset: u8| {
        let mut header = vec![0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, offset << 4, 0x10, 1, 0, 0, 0, 0, 0];
        header.resize(200, 0);
        header
    };
    let ipv6 = |next: u8| [&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64][..], &[7; 32]].concat();
    let mut frames = Vec::new();
    for tags in 0..5 {
        let tags = [0x81, 0, 0, 7].repeat(tags);
        frames.push([&link[..], &tags, &ipv6(6), &tcp(5)].concat());
        for ethertype in (0..=u16::MAX).step_by(0x100).chain([0x86dd, 0x86de]).map(u16::to_be_bytes) {
            frames.push([&link[..], &tags, &ethertype, &ipv6(6)[2..], &tcp(5)].concat());
        }
        for words in 0..26 {
            let mut extension = vec![0; 8 * (words + 1)];
            (extension[0], extension[1]) = (6, words as u8);
            for offset in 4..16 {
                frames.push([&link[..], &tags, &ipv6(60), &extension, &tcp(offset)].concat());
            }
        }
    }
    for length in [65_534, 65_535, 65_536] {
        frames.push([&link[..], &ipv6(6), &tcp(5), &vec![0; length]].concat()[..length].to_vec());
    }
    frames
}

/// How often which reason was given.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    /// What the document and the engine say differently of a frame.
    fn compare(&mut self, graph: &Graph, mode: (&str, VlanMode, UdpMode), frame: &[u8]) -> Option<String> {
        let (parser, vlan, udp) = mode;
        let switches: &[&str] = if udp == UdpMode::Off { &[] } else { &["udp-forwarding"] };
        let walked = walk(graph, graph.parser(parser)?, frame, switches);
        let parsed = engine(frame, &Config { vlan, udp, ..Config::DEFAULT });
        let reason = parsed.as_ref().map_or_else(|bypass| bypass.name(), |_| "done");
        *self.0.entry(reason.to_owned()).or_default() += 1;
        match parsed {
            Err(Bypass::IpChecksum) => {
                let Some(ip) = layers(graph, &walked, Layer::Network).next() else {
                    return Some(format!("the engine looked at an IPv4 checksum, {walked:?}"));
                };
                let mut repaired = frame.to_vec();
                if !repair(&mut repaired[ip.offset..]) {
                    return Some("the engine refused a checksum that is right".to_owned());
                }
                self.compare(graph, mode, &repaired)
            }
            Err(bypass) => {
                let same = walked.stop.reason.as_deref() == Some(bypass.name());
                (!same).then(|| format!("engine {}, document {walked:?}", bypass.name()))
            }
            Ok(packet) => {
                let said = Headers::of(graph, &walked, frame)?;
                let seen = Headers::from(&packet);
                (said != Ok(seen.clone())).then(|| format!("engine {seen:?}, document {said:?}"))
            }
        }
    }
}

fn engine(frame: &[u8], config: &Config) -> Result<Packet, Bypass> {
    let mut storage = [0xee; STORAGE];
    let present = frame.len().min(STORAGE);
    storage[..present].copy_from_slice(&frame[..present]);
    let mut packet = Packet::EMPTY;
    parse::<Linux618>(&Window::new(&storage, frame.len() as u32), config, &mut packet).map(|()| packet)
}

/// What a parser found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Headers {
    tags: usize,
    ipv6: bool,
    udp: bool,
    l3: usize,
    extensions: usize,
    l4: usize,
    payload: usize,
    payload_len: usize,
    mismatch: bool,
}

impl Headers {
    /// What the document says, or that it refuses the frame.
    fn of(graph: &Graph, walked: &Walk, frame: &[u8]) -> Option<Result<Self, String>> {
        let mut network = layers(graph, walked, Layer::Network);
        let mut transport = layers(graph, walked, Layer::Transport);
        let (Why::Done, Some(l3), Some(l4)) = (&walked.stop.why, network.next(), transport.next()) else {
            return Some(Err(format!("{walked:?}")));
        };
        Some(Ok(Self {
            tags: layers(graph, walked, Layer::Tag).count(),
            ipv6: graph.nodes[l3.node].name == "ipv6",
            udp: graph.nodes[l4.node].name == "udp",
            l3: l3.offset,
            extensions: layers(graph, walked, Layer::Extension).map(|step| step.length).sum(),
            l4: l4.offset,
            payload: walked.end,
            payload_len: frame.len() - walked.end,
            mismatch: !walked.flush.is_empty(),
        }))
    }
}

impl From<&Packet> for Headers {
    fn from(packet: &Packet) -> Self {
        let (l3, l4) = (packet.l3 as usize, packet.l4 as usize);
        Self {
            tags: (l3 - 14) / 4,
            ipv6: packet.is_ipv6(),
            udp: packet.udp != 0,
            l3,
            extensions: if packet.is_ipv6() { l4 - l3 - 40 } else { 0 },
            l4,
            payload: packet.payload as usize,
            payload_len: packet.payload_len as usize,
            mismatch: packet.mismatch,
        }
    }
}

fn layers<'a>(graph: &'a Graph, walked: &'a Walk, layer: Layer) -> impl Iterator<Item = &'a Step> {
    walked.steps.iter().filter(move |step| graph.nodes[step.node].gro.layer == Some(layer))
}

/// Makes the checksum of an IPv4 header right; false if it was.
fn repair(header: &mut [u8]) -> bool {
    let sum = |header: &[u8]| Sum16BitWords::new().add_slice(&header[..20]).ones_complement();
    if sum(header) == 0 {
        return false;
    }
    header[10..12].fill(0);
    let check = sum(header).to_be().to_be_bytes();
    header[10..12].copy_from_slice(&check);
    true
}

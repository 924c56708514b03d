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
use gro_core::{
    Bypass, Config, Header, Linux7, Linux612, Linux618, Packet, Profile as _, Release, Rule, UdpMode,
    VlanMode, Window, tunnel,
};
use gro_graph::{BUILT_IN, Graph, Layer, PROFILES, REASONS, Settings, Step, Walk, Why, walk};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const HOSTILE: usize = 100_000;
/// Hostile frames that notice a wrong document.
const FEW: usize = 20_000;

/// What the engine is set to, and the profile it has.
#[derive(Clone, Copy, Debug)]
struct Mode {
    vlan: VlanMode,
    udp: UdpMode,
    tunnels: u32,
    release: Release,
}

/// Every switch on and off, in company and alone, and a profile with every header.
const MODES: [Mode; 6] = {
    const BASE: Mode =
        Mode { vlan: VlanMode::Stripped, udp: UdpMode::Off, tunnels: 0, release: Release::Linux618 };
    const ALL: u32 = tunnel::IP_IN_IP | tunnel::GRE | tunnel::VXLAN | tunnel::GENEVE;
    [
        BASE,
        Mode { udp: UdpMode::Forwarding, tunnels: tunnel::IP_IN_IP | tunnel::VXLAN, ..BASE },
        Mode { tunnels: tunnel::GRE | tunnel::GENEVE, release: Release::Linux612, ..BASE },
        Mode { vlan: VlanMode::InBand, ..BASE },
        Mode { vlan: VlanMode::InBand, udp: UdpMode::Forwarding, tunnels: ALL, ..BASE },
        Mode { vlan: VlanMode::InBand, tunnels: ALL, release: Release::Linux7, ..BASE },
    ]
};

impl Mode {
    fn switches(&self) -> Vec<&'static str> {
        let bit = |bit, name| (self.tunnels & bit != 0).then_some(name);
        let mut switches: Vec<&str> = Vec::new();
        switches.extend((self.udp == UdpMode::Forwarding).then_some("udp-forwarding"));
        switches.extend((self.vlan == VlanMode::InBand).then_some("vlan-in-band"));
        switches.extend(bit(tunnel::IP_IN_IP, "ip-in-ip"));
        switches.extend(bit(tunnel::GRE, "gre"));
        switches.extend(bit(tunnel::VXLAN, "vxlan"));
        switches.extend(bit(tunnel::GENEVE, "geneve"));
        switches
    }

    fn config(&self) -> Config {
        Config { vlan: self.vlan, udp: self.udp, tunnels: self.tunnels, ..Config::DEFAULT }
    }

    fn walk(&self, graph: &Graph, frame: &[u8]) -> Walk {
        let settings = Settings { switches: &self.switches(), profile: Some(self.release.name()) };
        walk(graph, &graph.parsers[0], frame, &settings)
    }
}

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

/// What a wrong document would say: place, wrong value. Things with a name are found by it.
const WRONG: [(&str, &str); 46] = [
    ("/parsers/gro/gro/max-frame-length", "65534"),
    ("/parsers/gro/gro/max-header-length", "248"),
    ("/parsers/gro/gro/bypass/max-encaps", "\"tunnel\""),
    ("/parsers/gro/max-nodes", "4"),
    ("/parsers/gro/max-encaps", "0"),
    ("/parsers/gro/root-node", "\"vlan-outer\""),
    ("/parse-nodes/ethernet/next-proto/field-off", "11"),
    ("/parse-nodes/ethernet/gro/bypass/unknown-next", "\"protocol\""),
    ("/parse-nodes/vlan-outer/next-proto/table", "\"ethertypes-behind-two-tags\""),
    ("/parse-nodes/vlan-inner/next-proto/mask", "\"0xfeff\""),
    ("/parse-nodes/pppoe/gro/length/add", "8"),
    ("/parse-nodes/pppoe/cond-exprs/ents/0/value", "\"0x1109\""),
    ("/parse-nodes/ipv4/next-proto/field-off", "8"),
    ("/parse-nodes/ipv4/hdr-length/multiplier", "5"),
    ("/parse-nodes/ipv4/cond-exprs/ents/0/value", "\"0x46\""),
    ("/parse-nodes/ipv4/cond-exprs/ents/0/mask", "\"0x4f\""),
    ("/parse-nodes/ipv4/cond-exprs/ents/1/mask", "\"0x1fff\""),
    ("/parse-nodes/ipv4/gro/bypass/cond-exprs/no-fragment", "\"ip_options\""),
    ("/parse-nodes/ipv4/gro/flush/reserved/mask", "\"0x40\""),
    ("/parse-nodes/ipv4/gro/length/add", "1"),
    ("/parse-nodes/ipv6/gro/length/add", "0"),
    ("/parse-nodes/ipv6/gro/length/unequal", "\"udp_length\""),
    ("/parse-nodes/ipv6/next-proto/field-off", "7"),
    ("/parse-nodes/ipv6-extension/hdr-length/add", "16"),
    ("/parse-nodes/ipv6-extension/hdr-length/mask", "\"0x3f\""),
    ("/parse-nodes/tcp/hdr-length/right-shift", "5"),
    ("/parse-nodes/tcp/hdr-length/mask", "\"0x70\""),
    ("/parse-nodes/tcp/gro/bypass/short-header", "\"truncated\""),
    ("/parse-nodes/tcp/gro/layer", "\"extension\""),
    ("/parse-nodes/udp/next-proto/field-off", "0"),
    ("/parse-nodes/udp-datagram/gro/requires/switch", "\"gre\""),
    ("/parse-nodes/udp-datagram/gro/requires/bypass", "\"protocol\""),
    ("/parse-nodes/udp-datagram/cond-exprs/ents/0/value", "1"),
    ("/parse-nodes/udp-datagram/gro/length/add", "8"),
    ("/parse-nodes/vxlan/next-node", "\"ipv4\""),
    ("/parse-nodes/geneve/hdr-length/multiplier", "8"),
    ("/parse-nodes/geneve/cond-exprs/ents/1/mask", "\"0x40\""),
    ("/parse-nodes/gre/cond-exprs/ents/0/mask", "\"0x4fff\""),
    ("/flag-fields-tables/gre-fields/ents/key/size", "8"),
    ("/proto-tables/ethertypes/ents/ipv6/key", "\"0x86de\""),
    ("/proto-tables/ethertypes/ents/802.1ad/key", "\"0x9100\""),
    ("/proto-tables/ethertypes/ents/pppoe-session/gro/since", "\"linux-6.12\""),
    ("/proto-tables/ipv4-protocols/ents/tcp/node", "\"udp\""),
    ("/proto-tables/ipv6-next-headers/ents/fragment/gro", "{}"),
    ("/proto-tables/ipv6-next-headers/ents/gre/gro/if", "\"vxlan\""),
    ("/proto-tables/udp-ports/ents/geneve/key", "6080"),
];

/// Sets the value at a place.
fn set(document: &mut Value, place: &str, value: Value) {
    let mut at = document;
    for part in place.trim_start_matches('/').split('/') {
        let named = |list: &[Value]| {
            list.iter().position(|item| item.get("name").and_then(Value::as_str) == Some(part))
        };
        at = match at {
            Value::Array(list) => {
                let index = named(list).unwrap_or_else(|| part.parse().unwrap());
                &mut list[index]
            }
            Value::Object(map) => map.entry(part).or_insert(Value::Null),
            other => panic!("{place}: {other}"),
        };
    }
    assert_ne!(*at, value, "{place}");
    *at = value;
}

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
        set(&mut text, place, serde_json::from_str(value).unwrap());
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
    let graph = document();
    for parser in &graph.parsers {
        assert_eq!(parser.gro.profile.as_deref(), Some(Linux618::NAME));
        assert_eq!(parser.gro.max_header_length as usize, gro_core::HEADER_MAX);
    }
    assert_eq!(PROFILES, Release::ALL.map(Release::name));
    let rules: Vec<String> = Rule::ALL.iter().map(|rule| format!("{rule:?}")).collect();
    let without =
        graph.tables.iter().flat_map(|table| &table.entries).filter_map(|entry| entry.gro.without.as_ref());
    let mutants = graph.nodes.iter().flat_map(|node| &node.gro.mutants).map(|(_, rule)| rule);
    for rule in mutants.chain(without) {
        assert!(rules.contains(rule), "{rule}");
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
    let inner = [&ipv6(6)[2..], &tcp(5)].concat();
    // PPPoE with every kind of first bytes and of lengths, once and in another one.
    for (code, error) in
        [0x1100_u16, 0x1109, 0x2100].into_iter().flat_map(|code| [(code, 0), (code, 1), (code, 2)])
    {
        let session = |behind: &[u8], protocol: u16| {
            let length = (2 + behind.len()) as u16 + error;
            let words = [code, 7, length, protocol].map(u16::to_be_bytes).concat();
            [&[0x88, 0x64][..], &words, behind].concat()
        };
        frames.push([&link[..], &session(&inner, 0x0057)].concat());
        let carried = [&link[..], &session(&inner, 0x0057)].concat();
        let gre = [&[0, 0, 0x65, 0x58][..], &carried].concat();
        let ip = [&ipv6(47)[2..], &gre].concat();
        frames.push([&link[..], &[0x86, 0xdd], &ip].concat());
        frames.push([&link[..], &session(&ip, 0x0057)].concat());
    }
    // GRE and Geneve with each bit of their first bytes.
    for bit in 0..16 {
        let flags = (1_u16 << bit).to_be_bytes();
        let gre = [&flags[..], &[0x86, 0xdd], &[0; 8], &inner].concat();
        frames.push([&link[..], &ipv6(47), &gre].concat());
        let geneve =
            [&[0, 0, 0x17, 0xc1, 0, 0, 0, 0][..], &flags, &[0x86, 0xdd, 0, 0, 7, 0], &[0; 252], &inner];
        frames.push([&link[..], &ipv6(17), &geneve.concat()].concat());
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
    fn compare(&mut self, graph: &Graph, mode: Mode, frame: &[u8]) -> Option<String> {
        let walked = mode.walk(graph, frame);
        let parsed = engine(frame, &mode);
        let reason = parsed.as_ref().map_or_else(|bypass| bypass.name(), |_| "done");
        *self.0.entry(reason.to_owned()).or_default() += 1;
        match parsed {
            Err(Bypass::IpChecksum) => {
                // The document does not compute it: what follows is compared with a right one.
                let mut repaired = frame.to_vec();
                match ipv4_headers(graph, &walked).into_iter().any(|at| repair(&mut repaired[at..])) {
                    true => self.compare(graph, mode, &repaired),
                    false => Some(format!("the engine refused an IPv4 checksum, {walked:?}")),
                }
            }
            Err(bypass) => {
                let same = walked.stop.reason.as_deref() == Some(bypass.name());
                (!same).then(|| format!("engine {}, document {walked:?}", bypass.name()))
            }
            Ok(packet) => {
                if packet.outer_l3() != 0 {
                    *self.0.entry("in a tunnel".to_owned()).or_default() += 1;
                }
                let said = Headers::of(graph, &walked, frame)?;
                let seen = Headers::from(&packet);
                (said != Ok(seen.clone())).then(|| format!("engine {seen:?}, document {said:?}"))
            }
        }
    }
}

fn engine(frame: &[u8], mode: &Mode) -> Result<Packet, Bypass> {
    let mut storage = Header::ZERO;
    storage.bytes_mut().fill(0xee);
    storage.load(frame);
    let mut packet = Packet::EMPTY;
    let (window, config) = (Window::new(&storage, frame.len() as u32), mode.config());
    match mode.release {
        Release::Linux612 => parse::<Linux612>(&window, &config, &mut packet),
        Release::Linux618 => parse::<Linux618>(&window, &config, &mut packet),
        Release::Linux7 => parse::<Linux7>(&window, &config, &mut packet),
    }
    .map(|()| packet)
}

/// What a parser found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Headers {
    outer_l3: usize,
    ipv6: bool,
    udp: bool,
    l3: usize,
    l4: usize,
    payload: usize,
    payload_len: usize,
    mismatch: bool,
}

impl Headers {
    /// What the document says, or that it refuses the frame.
    fn of(graph: &Graph, walked: &Walk, frame: &[u8]) -> Option<Result<Self, String>> {
        let networks: Vec<&Step> = layers(graph, walked, Layer::Network).collect();
        let transport = layers(graph, walked, Layer::Transport).last();
        let (Why::Done, Some(l3), Some(l4)) = (&walked.stop.why, networks.last(), transport) else {
            return Some(Err(format!("{walked:?}")));
        };
        Some(Ok(Self {
            outer_l3: if networks.len() > 1 { networks[0].offset } else { 0 },
            ipv6: graph.nodes[l3.node].name == "ipv6",
            udp: graph.nodes[l4.node].name == "udp-datagram",
            l3: l3.offset,
            l4: l4.offset,
            payload: walked.end,
            payload_len: frame.len() - walked.end,
            mismatch: !walked.flush.is_empty(),
        }))
    }
}

impl From<&Packet> for Headers {
    fn from(packet: &Packet) -> Self {
        Self {
            outer_l3: packet.outer_l3() as usize,
            ipv6: packet.is_ipv6(),
            udp: packet.udp != 0,
            l3: packet.l3 as usize,
            l4: packet.l4 as usize,
            payload: packet.payload as usize,
            payload_len: packet.payload_len as usize,
            mismatch: packet.mismatch,
        }
    }
}

/// Where IPv4 headers are: those that were accepted, and one behind which the document knows nothing.
fn ipv4_headers(graph: &Graph, walked: &Walk) -> Vec<usize> {
    let is_ipv4 = |node: usize| graph.nodes[node].name == "ipv4";
    let accepted = walked.steps.iter().filter(|step| is_ipv4(step.node)).map(|step| step.offset);
    let last = matches!(walked.stop.why, Why::Unknown(_)) && is_ipv4(walked.stop.node);
    accepted.chain(last.then_some(walked.end)).collect()
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

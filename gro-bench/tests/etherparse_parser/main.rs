//! The engine's parser against etherparse, a library that knows nothing of this project: on every shipped trace and on a million
//! random frames, the same headers at the same offsets with the same field values, and what the engine refuses is of the kind
//! that it says.
//!
//! What the engine keeps of tags, extension headers and tunnels to tell flows apart does not leave its parser and is no matter of
//! this comparison: `parse_graph` flips each bit of it. Checksums of TCP, UDP and GRE are verified behind the parser.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod frames;
mod referee;

use gro_bench::fuzz::Random;
use gro_bench::trace::{Trace, shipped};
use gro_core::parse::parse;
use gro_core::{
    Bypass, Config, Linux7, Linux618, Packet, Release, STORAGE, UdpMode, VlanMode, Window, tunnel,
};
use referee::{Headers, agrees, dissect};
use std::collections::BTreeMap;
use std::path::Path;

const FRAMES: usize = 1_000_000;

/// Every encapsulation there is.
const TUNNELS: u32 = tunnel::IP_IN_IP | tunnel::GRE | tunnel::VXLAN | tunnel::GENEVE;

/// A config and the rule set; they decide what is a header.
type Mode = (Config, Release);

fn modes() -> Vec<Mode> {
    let mut modes = Vec::new();
    for vlan in [VlanMode::Stripped, VlanMode::InBand] {
        for udp in [UdpMode::Off, UdpMode::Forwarding] {
            for tunnels in [0, Config::DEFAULT.tunnels, TUNNELS] {
                for release in [Release::Linux618, Release::Linux7] {
                    modes.push((Config { vlan, udp, tunnels, ..Config::DEFAULT }, release));
                }
            }
        }
    }
    modes
}

#[test]
fn every_frame_of_every_trace_is_parsed_as_etherparse_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let files = [folder.clone(), folder.join("divergences")].map(|folder| shipped(&folder).unwrap()).concat();
    let mut seen = Seen::default();
    for file in files {
        let stripped = Trace::open(&file).unwrap();
        for trace in [stripped.with_tags_in_band(), stripped] {
            for (number, frame) in trace.frames.iter().enumerate() {
                for mode in modes() {
                    if let Some(difference) = seen.compare(&frame.bytes, mode, |_| ()) {
                        panic!("{} #{number}, {mode:?}: {difference}", trace.name);
                    }
                }
            }
        }
    }
    eprintln!("{seen:#?}");
    seen.has(&["ethernet ipv4 tcp", "ethernet ipv6 tcp", "ethernet ipv4 udp", "ethernet ipv6 udp"]);
    seen.has(&["ethernet vlan ipv4 tcp", "ethernet vlan ipv6 tcp", "ethernet ipv6 extension tcp"]);
    seen.has(&["length differs", "refused: not_ip", "refused: truncated", "refused: fragment"]);
    seen.has(&["refused: ip_options", "refused: ip_checksum", "refused: protocol", "refused: too_long"]);
}

#[test]
fn a_million_random_frames_are_parsed_as_etherparse_does() {
    let (mut random, modes) = (Random(1), modes());
    let mut seen = Seen::default();
    for number in 0..FRAMES {
        let (frame, mode) = (frames::frame(&mut random), random.of(&modes));
        if let Some(difference) = seen.compare(&frame, mode, |_| ()) {
            panic!("frame {number}, {mode:?}: {difference}\n{frame:02x?}");
        }
    }
    eprintln!("{FRAMES} frames: {seen:#?}");
    seen.has(&KINDS);
}

/// What must have occurred: chains of headers that were taken apart to the payload, and every reason to refuse that a
/// parser has.
const KINDS: [&str; 47] = [
    "ethernet ipv4 tcp",
    "ethernet ipv4 udp",
    "ethernet ipv6 tcp",
    "ethernet ipv6 udp",
    "ethernet ipv6 extension tcp",
    "ethernet ipv6 extension udp",
    "ethernet vlan ipv4 tcp",
    "ethernet vlan ipv6 extension tcp",
    "ethernet pppoe ipv4 tcp",
    "ethernet vlan pppoe ipv6 udp",
    // IP in IP.
    "ethernet ipv4 ipv4 tcp",
    "ethernet ipv4 ipv6 tcp",
    "ethernet ipv6 ipv4 udp",
    "ethernet ipv6 ipv6 tcp",
    "ethernet ipv6 extension ipv6 extension tcp",
    "ethernet vlan ipv4 ipv4 udp",
    "ethernet pppoe ipv4 ipv6 tcp",
    // GRE and GRETAP.
    "ethernet ipv4 gre ipv4 tcp",
    "ethernet ipv4 gre ipv6 udp",
    "ethernet ipv6 gre ipv4 tcp",
    "ethernet ipv6 extension gre ipv6 tcp",
    "ethernet ipv4 gre ethernet ipv4 tcp",
    "ethernet ipv4 gre ethernet vlan ipv6 tcp",
    "ethernet ipv4 gre vlan ipv4 tcp",
    // UDP tunnels.
    "ethernet ipv4 udp vxlan ethernet ipv4 tcp",
    "ethernet ipv6 udp vxlan ethernet ipv6 tcp",
    "ethernet ipv4 udp vxlan ethernet ipv4 udp",
    "ethernet vlan ipv4 udp vxlan ethernet vlan ipv4 tcp",
    "ethernet ipv4 udp geneve ethernet ipv4 tcp",
    "ethernet ipv6 udp geneve ethernet ipv6 udp",
    "ethernet ipv4 udp geneve ipv4 tcp",
    "ethernet ipv6 extension udp geneve ipv6 tcp",
    "length differs",
    "etherparse as a whole",
    // Reasons.
    "refused: not_ip",
    "refused: truncated",
    "refused: ip_options",
    "refused: fragment",
    "refused: ip_checksum",
    "refused: protocol",
    "refused: data_offset",
    "refused: too_long",
    "refused: udp_off",
    "refused: udp_no_checksum",
    "refused: udp_length",
    "refused: tunnel",
    "refused: nested",
];

/// Errors that a parser could make, each in one field.
const ERRORS: [(&str, fn(&mut Packet)); 20] = [
    ("transport header four bytes on", |packet| packet.l4 += 4),
    ("IP header behind a tag that is not there", |packet| packet.l3 += 4),
    ("payload in the options", |packet| packet.payload -= 4),
    ("payload without its last byte", |packet| packet.payload_len -= 1),
    ("length without the Ethernet header", |packet| packet.len -= 14),
    ("ports swapped", |packet| packet.key.ports = packet.key.ports.rotate_left(16)),
    ("addresses swapped", |packet| packet.key.addresses.rotate_left(4)),
    ("address one word short", |packet| packet.key.addresses[4] = 0),
    ("MAC addresses in another order", |packet| packet.key.macs.rotate_left(1)),
    ("another IP version", |packet| packet.key.protocol ^= (0x0800 ^ 0x86dd) << 16),
    ("another protocol", |packet| packet.key.protocol ^= 6 ^ 17),
    ("a flow label", |packet| packet.key.label ^= 1),
    ("the other transport protocol", |packet| packet.udp ^= 1),
    ("sequence number of the next byte", |packet| packet.seq += 1),
    ("acknowledgement number in another byte order", |packet| packet.ack = packet.ack.swap_bytes()),
    ("flags and window swapped", |packet| packet.control = packet.control.rotate_left(16)),
    ("checksum and urgent pointer swapped", |packet| {
        packet.check_urgent = packet.check_urgent.rotate_left(16);
    }),
    ("TTL and TOS swapped", |packet| packet.class = u32::from((packet.class as u16).swap_bytes())),
    ("identification one on", |packet| packet.id_check = packet.id_check.wrapping_add(0x1_0000)),
    ("a length that differs", |packet| packet.mismatch = !packet.mismatch),
];

#[test]
fn an_error_of_a_parser_is_noticed() {
    let mode = (Config { tunnels: TUNNELS, udp: UdpMode::Forwarding, ..Config::DEFAULT }, Release::Linux618);
    let mut random = Random(2);
    let mut noticed = BTreeMap::new();
    for _ in 0..4_000 {
        let frame = frames::frame(&mut random);
        let whole = dissect(&frame, &mode.0, mode.1).headers.is_ok_and(|headers| headers.has_payload());
        for (name, error) in ERRORS.iter().filter(|_| whole) {
            let seen = Seen::default().compare(&frame, mode, error);
            let count: &mut [usize; 2] = noticed.entry(name).or_default();
            count[usize::from(seen.is_some())] += 1;
        }
    }
    assert_eq!(noticed.len(), ERRORS.len());
    for (name, [unseen, seen]) in noticed {
        // UDP has none of TCP's numbers; and some words are what they become.
        assert!(seen > 300 && unseen < seen, "{name}: noticed {seen} times, {unseen} times not");
    }
}

/// An engine with a wrong idea of the config sees other headers in some frame.
#[test]
fn another_config_is_noticed() {
    let right = (Config { tunnels: TUNNELS, ..Config::DEFAULT }, Release::Linux7);
    let wrong: [(&str, Mode); 7] = [
        ("tags", (Config { vlan: VlanMode::InBand, ..right.0 }, right.1)),
        ("UDP", (Config { udp: UdpMode::Forwarding, ..right.0 }, right.1)),
        ("IP in IP", (Config { tunnels: TUNNELS & !tunnel::IP_IN_IP, ..right.0 }, right.1)),
        ("GRE", (Config { tunnels: TUNNELS & !tunnel::GRE, ..right.0 }, right.1)),
        ("VXLAN", (Config { tunnels: TUNNELS & !tunnel::VXLAN, ..right.0 }, right.1)),
        ("Geneve", (Config { tunnels: TUNNELS & !tunnel::GENEVE, ..right.0 }, right.1)),
        ("PPPoE", (right.0, Release::Linux618)),
    ];
    let mut random = Random(3);
    let frames: Vec<Vec<u8>> = (0..2_000).map(|_| frames::frame(&mut random)).collect();
    for (name, wrong) in wrong {
        let differs = |frame: &&Vec<u8>| {
            let said = dissect(frame, &right.0, right.1).headers;
            said != engine(frame, wrong).map(|packet| Headers::from(&packet))
        };
        assert!(frames.iter().filter(differs).count() > 10, "{name}");
    }
}

/// Each bit of a header that is only in the engine's frame is one that it says otherwise, or refuses.
#[test]
fn every_bit_of_a_header_is_looked_at() {
    let mode = (Config { udp: UdpMode::Forwarding, ..Config::DEFAULT }, Release::Linux618);
    let mut random = Random(4);
    let mut kinds = BTreeMap::new();
    for _ in 0..5_000 {
        let frame = frames::frame(&mut random);
        let said = dissect(&frame, &mode.0, mode.1);
        let Ok(headers) = said.headers else { continue };
        // Tags, extension headers and tunnels are told apart by words that do not leave the parser, options by other code. A
        // length that is wrong already may as well be another wrong one.
        if said.path.split(' ').count() != 3 || headers.mismatches() {
            continue;
        }
        for bit in 0..8 * headers.fixed_len() {
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let parsed = engine(&other, mode).map(|packet| Headers::from(&packet));
            assert_ne!(parsed, Ok(headers), "{}: bit {bit} of {frame:02x?}", said.path);
        }
        *kinds.entry(said.path).or_insert(0) += 1;
    }
    assert!(kinds.len() == 4 && kinds.values().all(|&count| count > 50), "{kinds:?}");
}

/// How often what occurred.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    /// What the two say differently of a frame, the engine after `error`.
    fn compare(&mut self, frame: &[u8], mode: Mode, error: impl Fn(&mut Packet)) -> Option<String> {
        let (config, release) = mode;
        let parsed = engine(frame, mode).map(|mut packet| {
            error(&mut packet);
            Headers::from(&packet)
        });
        let said = dissect(frame, &config, release);
        if parsed != said.headers {
            let path = said.path;
            return Some(format!("engine {parsed:?}\netherparse {:?} behind {path}", said.headers));
        }
        let Ok(headers) = parsed else {
            self.count(&format!("refused: {}", parsed.err()?.name()));
            return None;
        };
        if headers.mismatches() {
            self.count("length differs");
        } else if !said.path.contains("pppoe") {
            match agrees(frame, &headers) {
                Some(false) => return Some(format!("etherparse as a whole is not for {headers:?}")),
                Some(true) => self.count("etherparse as a whole"),
                None if said.path.contains("extension") || headers.has_other_version() => {}
                None => return Some(format!("etherparse as a whole refuses {}", said.path)),
            }
        }
        self.count(&said.path);
        None
    }

    fn count(&mut self, what: &str) {
        match self.0.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(what.to_owned(), 1)),
        }
    }

    fn has(&self, kinds: &[&str]) {
        for kind in kinds {
            assert!(self.0.contains_key(*kind), "no frame was {kind}: {self:#?}");
        }
    }
}

fn engine(frame: &[u8], (config, release): Mode) -> Result<Packet, Bypass> {
    // What is behind the frame decides nothing.
    let mut storage = [0xee; STORAGE];
    let present = frame.len().min(STORAGE);
    storage[..present].copy_from_slice(&frame[..present]);
    let window = Window::new(&storage, frame.len() as u32);
    let mut packet = Packet::EMPTY;
    match release {
        Release::Linux7 => parse::<Linux7>(&window, &config, &mut packet),
        _ => parse::<Linux618>(&window, &config, &mut packet),
    }
    .map(|()| packet)
}

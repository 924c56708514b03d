//! The engine's parser against etherparse, which knows nothing of this project: the same headers at the same places with the same
//! values in every shipped trace and in a million frames from a seed, and a true reason for every frame that is refused.

mod frames;
mod referee;
mod seen;

use frames::Generator;
use gro_bench::hex;
use gro_bench::trace::Trace;
use gro_core::profile::tunnel;
use gro_core::{Bypass, Config, Header, Linux618, Packet, UdpMode, VlanMode, Window};
use referee::{Verdict, judge};
use seen::Seen;
use std::collections::BTreeMap;
use std::path::Path;

const FRAMES: usize = 1_000_000;
/// Each has its number for a seed: the same frames on every machine.
const CHUNKS: usize = 200;
const EVERY_TUNNEL: u32 = tunnel::IP_IN_IP | tunnel::GRE | tunnel::VXLAN | tunnel::GENEVE;

/// Every header that the referee has a name for.
const HEADERS: [&str; 20] = [
    "4in6",
    "6in6",
    "ethernet",
    "ethernet in tunnel",
    "geneve",
    "gre",
    "gre with checksum",
    "gre with checksum and key",
    "gre with key",
    "gretap",
    "ipip",
    "ipv4",
    "ipv6",
    "ipv6 extension",
    "outer udp",
    "sit",
    "tcp",
    "udp",
    "vlan",
    "vlan in vlan",
];

/// Every reason that a parser can have: the others need checksums over payload, a table, or a flow.
const REFUSALS: [Bypass; 13] = [
    Bypass::NotIp,
    Bypass::Truncated,
    Bypass::IpOptions,
    Bypass::Fragment,
    Bypass::IpChecksum,
    Bypass::Protocol,
    Bypass::DataOffset,
    Bypass::TooLong,
    Bypass::UdpOff,
    Bypass::UdpNoChecksum,
    Bypass::UdpLength,
    Bypass::Tunnel,
    Bypass::Nested,
];

type Answer = Result<Packet, Bypass>;

#[test]
fn every_shipped_frame_is_what_etherparse_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    let mut counts = Counts::default();
    for path in gro_bench::trace::shipped(&folder).unwrap() {
        let trace = Trace::open(&path).unwrap();
        let tagged = trace.with_tags_in_band();
        for (trace, vlan) in [(&trace, VlanMode::Stripped), (&tagged, VlanMode::InBand)] {
            for tunnels in [0, EVERY_TUNNEL] {
                let config = Config { vlan, udp: UdpMode::Forwarding, tunnels, ..Config::DEFAULT };
                for frame in &trace.frames {
                    counts.compare(&frame.bytes, &config);
                }
            }
        }
    }
    eprintln!("{counts:?}");
    assert!(counts.parsed > 10 * counts.refused.values().sum::<usize>(), "{counts:?}");
    for header in ["ipv4", "ipv6", "ipv6 extension", "tcp", "udp", "vlan"] {
        assert!(counts.headers.contains_key(header), "no {header}: {counts:?}");
    }
}

#[test]
fn a_million_frames_are_what_etherparse_says() {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let run = |worker: usize| {
        let mut counts = Counts::default();
        for chunk in (worker..CHUNKS).step_by(workers) {
            let mut generator = Generator::new(chunk as u64);
            for _ in 0..FRAMES / CHUNKS {
                let config = config(&mut generator);
                counts.compare(generator.next(), &config);
            }
        }
        counts
    };
    let counts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|worker| scope.spawn(move || run(worker))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Counts::default(), Counts::plus)
    });
    eprintln!("{counts:?}");
    assert_eq!(counts.parsed + counts.refused.values().sum::<usize>(), FRAMES);
    assert!(counts.parsed > FRAMES / 3, "{counts:?}");
    assert!(counts.mismatches > FRAMES / 100, "{counts:?}");
    for header in HEADERS {
        assert!(counts.headers.get(header).is_some_and(|&count| count > 1_000), "{header}: {counts:?}");
    }
    for why in REFUSALS {
        let count = counts.refused_for_one_reason.get(why.name());
        assert!(count.is_some_and(|&count| count > 100), "{}: {counts:?}", why.name());
    }
    assert!(counts.oversized > 10, "{counts:?}");
    assert_eq!(counts.refused.len(), REFUSALS.len(), "{counts:?}");
}

/// The comparison is worth something: it notices every change of the engine's answer.
#[test]
fn a_planted_error_is_noticed() {
    let changes: [fn(&mut Packet); 14] = [
        |packet| packet.l3 += 4,
        |packet| packet.l4 += 4,
        |packet| packet.payload += 4,
        |packet| packet.payload_len += 1,
        |packet| packet.key.ports = packet.key.ports.rotate_left(16),
        |packet| packet.key.addresses.swap(0, 4),
        |packet| packet.key.macs[2] ^= 1,
        |packet| packet.key.protocol ^= 1,
        |packet| packet.class ^= 1 << 7,
        |packet| packet.class ^= 1 << 16,
        |packet| packet.id_check ^= 1 << 16,
        |packet| packet.check_urgent ^= 1 << 31,
        |packet| packet.mismatch ^= true,
        |packet| packet.udp ^= 1,
    ];
    let mut generator = Generator::new(1);
    let (mut parsed, mut refused) = (0, 0);
    for _ in 0..2_000 {
        let config = config(&mut generator);
        let frame = generator.next();
        let verdict = judge(frame, &config);
        let answer = parse(frame, &config);
        assert_eq!(difference(&answer, &verdict), None);
        match answer {
            Ok(packet) => {
                parsed += 1;
                for (number, change) in changes.iter().enumerate() {
                    let mut wrong = packet;
                    change(&mut wrong);
                    assert!(difference(&Ok(wrong), &verdict).is_some(), "change {number}: {}", hex(frame));
                }
                for why in REFUSALS {
                    assert!(difference(&Err(why), &verdict).is_some(), "refused: {}", hex(frame));
                }
            }
            Err(_) => {
                refused += 1;
                assert!(difference(&Ok(Packet::EMPTY), &verdict).is_some(), "accepted: {}", hex(frame));
                let reasons = verdict.seen.as_ref().unwrap_err();
                let untrue: Vec<Bypass> =
                    REFUSALS.into_iter().filter(|&why| !reasons.contains(why)).collect();
                assert!(untrue.len() >= REFUSALS.len() - 5, "a reason for everything: {}", hex(frame));
                for why in untrue {
                    assert!(difference(&Err(why), &verdict).is_some(), "{why:?}: {}", hex(frame));
                }
            }
        }
    }
    assert!(parsed > 500 && refused > 500, "{parsed} {refused}");
}

fn config(generator: &mut Generator) -> Config {
    let random = generator.random();
    let tunnels = random.of(&[EVERY_TUNNEL, EVERY_TUNNEL, EVERY_TUNNEL, 0, Config::DEFAULT.tunnels]);
    let udp = random.of(&[UdpMode::Forwarding, UdpMode::Forwarding, UdpMode::Off]);
    let vlan = random.of(&[VlanMode::InBand, VlanMode::InBand, VlanMode::Stripped]);
    Config { vlan, udp, tunnels, ..Config::DEFAULT }
}

/// What the engine says. Bytes that it must not look at are not zero.
fn parse(frame: &[u8], config: &Config) -> Answer {
    let mut storage = Header::ZERO;
    storage.bytes_mut().fill(0xee);
    storage.load(&frame[..frame.len().min(gro_core::HEADER_MAX)]);
    let mut packet = Packet::EMPTY;
    gro_core::parse::parse::<Linux618>(&Window::new(&storage, frame.len() as u32), config, &mut packet)?;
    Ok(packet)
}

/// In what the engine and the referee differ.
fn difference(answer: &Answer, verdict: &Verdict) -> Option<String> {
    match (answer, &verdict.seen) {
        (Ok(packet), Ok(seen)) => {
            let said = Seen::of(packet);
            (said != *seen).then(|| format!("the engine saw {said:?},\netherparse {seen:?}"))
        }
        (Err(why), Err(reasons)) if reasons.contains(*why) => None,
        (Err(why), Err(reasons)) => {
            let reasons: Vec<Bypass> = reasons.iter().collect();
            Some(format!("the engine said {why:?}, true would be {reasons:?}"))
        }
        (Ok(packet), Err(reasons)) => {
            let reasons: Vec<Bypass> = reasons.iter().collect();
            Some(format!("the engine saw {packet:?} where there are {reasons:?}"))
        }
        (Err(why), Ok(seen)) => Some(format!("the engine said {why:?}, etherparse saw {seen:?}")),
    }
}

#[derive(Debug, Default)]
struct Counts {
    parsed: usize,
    mismatches: usize,
    /// In frames that were parsed.
    headers: BTreeMap<&'static str, usize>,
    refused: BTreeMap<&'static str, usize>,
    /// Of these, for the only reason that is true: where there are more, the order of the engine's tests is its own affair.
    refused_for_one_reason: BTreeMap<&'static str, usize>,
    /// Frames of more than 65,535 bytes.
    oversized: usize,
}

impl Counts {
    fn compare(&mut self, frame: &[u8], config: &Config) {
        let verdict = judge(frame, config);
        let answer = parse(frame, config);
        if let Some(difference) = difference(&answer, &verdict) {
            panic!("{difference}\n{config:?}\n{}", hex(&frame[..frame.len().min(400)]));
        }
        self.oversized += usize::from(frame.len() > 65_535);
        match answer {
            Ok(packet) => {
                self.parsed += 1;
                self.mismatches += usize::from(packet.mismatch);
                for header in verdict.headers {
                    *self.headers.entry(header).or_default() += 1;
                }
            }
            Err(why) => {
                *self.refused.entry(why.name()).or_default() += 1;
                if verdict.seen.is_err_and(|reasons| reasons.iter().count() == 1) {
                    *self.refused_for_one_reason.entry(why.name()).or_default() += 1;
                }
            }
        }
    }

    fn plus(mut self, other: Self) -> Self {
        self.parsed += other.parsed;
        self.mismatches += other.mismatches;
        self.oversized += other.oversized;
        let add = |to: &mut BTreeMap<&'static str, usize>, from: BTreeMap<&'static str, usize>| {
            for (name, count) in from {
                *to.entry(name).or_default() += count;
            }
        };
        add(&mut self.headers, other.headers);
        add(&mut self.refused, other.refused);
        add(&mut self.refused_for_one_reason, other.refused_for_one_reason);
        self
    }
}

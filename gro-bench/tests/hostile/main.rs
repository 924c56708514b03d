//! A million frames that nobody should send, through `user` and `nic`: no panic, no access out of bounds (the machine traps
//! those), every frame out exactly once, and both alike to the last byte and decision.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod form;
mod frames;

use bytes::Bytes;
use form::form;
use frames::{Random, trace};
use gro_bench::backend::{NicBackend, UserBackend};
use gro_bench::segment::segment;
use gro_bench::trace::{Frame, Trace, Vlan, strip_vlan};
use gro_bench::{Backend, EngineConfig, Outcome, compare};
use gro_core::complete::GSO_TUNNELS;
use gro_core::{Config, UdpMode, VlanMode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const FRAMES: usize = 1_000_000;
/// Frames at a time, so that memory stays small. Each chunk has its number for a seed and starts with empty engines.
const CHUNK: usize = 5_000;

/// One chunk in this many has frames of more than 65,535 bytes.
const OVERSIZED: u64 = 10;

#[test]
fn a_million_hostile_frames_leave_exactly_once_and_alike() {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(FRAMES / CHUNK);
    let totals = std::thread::scope(|scope| {
        let work = || {
            let mut total = Total::default();
            loop {
                let chunk = next.fetch_add(1, Ordering::Relaxed);
                if chunk >= FRAMES / CHUNK {
                    return total;
                }
                run(chunk as u64, &mut total);
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(Total::default(), Total::plus)
    });
    eprintln!("{totals:?}");
    assert!(totals.frames >= FRAMES);
    // Hostile, yet the engine is not idle: it merges, and gives every reason there is to leave and to pass.
    assert!(totals.merged > FRAMES / 50, "{totals:?}");
    for tunnel in (0..32).map(|bit| 1 << bit).filter(|bit| GSO_TUNNELS & bit != 0) {
        assert!(totals.tunnels.get(&tunnel) > Some(&(FRAMES / 5_000)), "type {tunnel:#x}: {totals:?}");
    }
    for why in REASONS {
        assert!(totals.why.contains_key(why), "no packet left because of {why}: {:?}", totals.why);
    }
}

/// All but `none`, `no_table` (storage that userspace and the NIC always have), `requested` (poll ends and ticks leave nothing to
/// ask for) and `segments` (64 datagrams in a row, for which these flows are too unruly).
const REASONS: [&str; 34] = [
    "cwr",
    "flags",
    "window",
    "ack",
    "options",
    "tos",
    "ttl",
    "dont_fragment",
    "ip_id",
    "empty",
    "larger",
    "sequence",
    "size",
    "length",
    "short",
    "psh",
    "fin",
    "evicted",
    "poll_end",
    "tick",
    "not_ip",
    "truncated",
    "ip_options",
    "fragment",
    "ip_checksum",
    "protocol",
    "data_offset",
    "too_long",
    "checksum",
    "udp_off",
    "udp_no_checksum",
    "udp_length",
    "nested",
    "tunnel",
];

#[derive(Debug, Default)]
struct Total {
    frames: usize,
    packets: usize,
    merged: usize,
    /// Merged packets in a tunnel, by the types of tunnel.
    tunnels: HashMap<u32, usize>,
    why: HashMap<&'static str, usize>,
}

impl Total {
    fn plus(mut self, other: Self) -> Self {
        self.frames += other.frames;
        self.packets += other.packets;
        self.merged += other.merged;
        for (tunnel, count) in other.tunnels {
            *self.tunnels.entry(tunnel).or_default() += count;
        }
        for (why, count) in other.why {
            *self.why.entry(why).or_default() += count;
        }
        self
    }
}

fn run(seed: u64, total: &mut Total) {
    let mut random = Random::new(seed);
    let oversized = seed.is_multiple_of(OVERSIZED);
    let trace = trace(&mut random, CHUNK, oversized);
    let engine = EngineConfig::of(config(&mut random));
    let user = UserBackend.run(&trace, &engine).unwrap();
    let nic = NicBackend::committed().run(&trace, &engine).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    if let Some(difference) = compare(("user", &user), ("nic", &nic)) {
        panic!("seed {seed}, {:?}: {}", engine.config, difference.words);
    }
    assert_eq!(
        user.decision_digest, nic.decision_digest,
        "seed {seed}, {:?}: equal packets for other reasons",
        engine.config
    );
    for (user, nic) in user.records.iter().zip(&nic.records) {
        assert_eq!((user.first, user.last, user.why), (nic.first, nic.last, nic.why), "seed {seed}");
    }
    exactly_once(seed, &trace, &engine.config, &user);
    total.frames += trace.frames.len();
    total.packets += user.records.len();
    total.merged += user.records.iter().filter(|record| record.segs > 1).count();
    for record in &user.records {
        if record.gso_type & GSO_TUNNELS != 0 {
            *total.tunnels.entry(record.gso_type & GSO_TUNNELS).or_default() += 1;
        }
        *total.why.entry(record.why.unwrap().name()).or_default() += 1;
    }
}

/// What an administrator may set, and what he may not but could.
fn config(random: &mut Random) -> Config {
    // All that an image takes; what it does not, the driver refuses.
    let sizes = [65_536, 65_536, 15_000, 1, 2, 200, 5_000, Config::MAX_SIZE];
    let mut size = || sizes[random.below(sizes.len())];
    let (gro_max_size, gro_ipv4_max_size) = (size(), size());
    let flush_timeout = if random.once_in(2) { 0 } else { random.next() as u32 };
    let udp = if random.once_in(2) { UdpMode::Off } else { UdpMode::Forwarding };
    let vlan = if random.once_in(3) { VlanMode::InBand } else { VlanMode::Stripped };
    let hz = [100, 250, 1000, 0][random.below(4)];
    let tunnels = random.below(16) as u32;
    Config { gro_max_size, gro_ipv4_max_size, flush_timeout, hz, udp, vlan, tunnels }
}

/// The packets, cut up again, are the frames: each one once, whatever the order.
fn exactly_once(seed: u64, trace: &Trace, config: &Config, outcome: &Outcome) {
    let mut waiting: HashMap<(Bytes, u32), i64> = HashMap::new();
    let in_band = (config.vlan == VlanMode::InBand).then(|| trace.with_tags_in_band());
    let frames = &in_band.as_ref().unwrap_or(trace).frames;
    let sent: Vec<(Bytes, u32)> = frames.iter().map(canonical).collect();
    for (bytes, vlan) in &sent {
        *waiting.entry((form(bytes, config), *vlan)).or_default() += 1;
    }
    let mut left = 0;
    for record in &outcome.records {
        let (Some(first), Some(last)) = (record.first, record.last) else { panic!("both tell") };
        left += record.segs as usize;
        if record.segs == 1 {
            // A frame that stays alone is untouched, and it is the one it claims to be.
            assert_eq!((first, &record.bytes), (last, &sent[first as usize].0), "seed {seed}");
        }
        for frame in
            segment(record).unwrap_or_else(|why| panic!("seed {seed}, frames #{first}..#{last}: {why}"))
        {
            let count = waiting.entry((form(&frame, config), record.vlan)).or_default();
            *count -= 1;
            assert!(*count >= 0, "seed {seed}: frames #{first}..#{last} hold one that was never sent");
        }
    }
    assert_eq!(left, trace.frames.len(), "seed {seed}: frames out");
    assert!(waiting.values().all(|&count| count == 0), "seed {seed}: a frame never left");
}

/// A frame as records have it: its outer tag, wherever it was, is metadata.
fn canonical(frame: &Frame) -> (Bytes, u32) {
    let word = |tag: Option<Vlan>| tag.map_or(0, |tag| u32::from(tag.tpid) << 16 | u32::from(tag.tci));
    match word(frame.vlan) {
        0 => {
            let (bytes, tag) = strip_vlan(frame.bytes.clone());
            (bytes, word(tag))
        }
        tag => (frame.bytes.clone(), tag),
    }
}

//! The promise itself: the engine does what the running kernel does, frame by frame and packet by packet.
//!
//! The seed is fixed, so a run that fails, fails again, and prints the smallest batch that shows the difference. The engine has
//! the rules of Linux 6.18; under another release a difference may be one of the releases.
#![cfg(target_os = "linux")]

mod frames;

use frames::Random;
use gro_bench::backend::{KernelBackend, UserBackend};
use gro_bench::trace::{Frame, Poll, Trace};
use gro_bench::{Backend, BackendError, EngineConfig, Mutant, Outcome, compare, hex};
use gro_core::{Config, UdpMode};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const SEED: u64 = 0x6772_6f5f_6b65_726e;
/// One config each.
const RUNS: usize = 24;
/// Batches of a run, each a poll.
const BATCHES: usize = 125;

#[test]
fn random_batches_come_out_as_the_kernel_delivers_them() {
    let mut random = Random(SEED);
    let (mut frames, mut packets) = (0, 0);
    let mut reasons = BTreeSet::new();
    for number in 0..RUNS {
        let engine = EngineConfig { config: config(&mut random), mutant: None };
        let trace = trace((0..BATCHES).map(|_| frames::batch(&mut random)).collect());
        let Some(outcome) = both_equal(&trace, &engine, &format!("run {number}")) else { return };
        frames += trace.frames.len();
        packets += outcome.records.len();
        reasons.extend(outcome.records.iter().map(|record| record.why));
    }
    eprintln!("{} batches, {frames} frames, {packets} packets, reasons {reasons:?}", RUNS * BATCHES);
    // Batches that never merge, or always do, or for few reasons, would prove little.
    assert!(packets * 10 > frames && packets * 10 < frames * 9, "{packets} of {frames}");
    assert!(reasons.len() >= 25, "{reasons:?}");
}

#[test]
fn every_sum_comes_out_as_the_kernel_composes_it() {
    let trace = trace(frames::pairs());
    let engine = EngineConfig { config: Config::DEFAULT, mutant: None };
    let Some(outcome) = both_equal(&trace, &engine, "pairs") else { return };
    assert!(outcome.records.iter().all(|record| record.segs == 2));
}

#[test]
fn a_broken_rule_is_found() {
    let mut random = Random(SEED);
    let trace = trace((0..BATCHES).map(|_| frames::batch(&mut random)).collect());
    let engine = EngineConfig { config: Config::DEFAULT, mutant: None };
    let Some(kernel) = kernel(&trace, &engine, "mutants") else { return };
    for mutant in [Mutant::Window, Mutant::Ece] {
        let broken = UserBackend.run(&trace, &EngineConfig { mutant: Some(mutant), ..engine }).unwrap();
        assert!(!is_equal(&broken, &kernel), "{mutant:?}");
    }
}

/// Runs both and fails where they differ. The engine's outcome, or `None` where the kernel cannot be asked.
fn both_equal(trace: &Trace, engine: &EngineConfig, what: &str) -> Option<Outcome> {
    let kernel = kernel(trace, engine, what)?;
    let user = UserBackend.run(trace, engine).expect("it runs everywhere");
    if !is_equal(&user, &kernel) {
        panic!("{what}, seed {SEED:#x}, {:?}\n{}", engine.config, smallest(trace, engine));
    }
    Some(user)
}

fn kernel(trace: &Trace, engine: &EngineConfig, what: &str) -> Option<Outcome> {
    match KernelBackend.run(trace, engine) {
        Ok(outcome) => Some(outcome),
        Err(BackendError::Skipped(why)) => {
            eprintln!("kernel skipped: {why}");
            None
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

fn config(random: &mut Random) -> Config {
    let mut size = || match random.below(4) {
        0 => Config::DEFAULT.gro_max_size,
        1 => Config::TC.gro_max_size,
        2 => 2_000 + random.below(63_536) as u32,
        _ => 1 + random.below(3_000) as u32,
    };
    let (gro_max_size, gro_ipv4_max_size) = (size(), size());
    let udp = if random.once_in(2) { UdpMode::Off } else { UdpMode::Forwarding };
    Config { gro_max_size, gro_ipv4_max_size, udp, ..Config::DEFAULT }
}

/// A poll for each batch.
fn trace(batches: Vec<Vec<Frame>>) -> Trace {
    let mut frames = Vec::new();
    let mut polls = Vec::new();
    for batch in batches {
        let start = frames.len();
        frames.extend(batch);
        polls.push(Poll { time_ns: 0, frames: start..frames.len() });
    }
    Trace { name: "random".into(), frames, polls }
}

fn is_equal(left: &Outcome, right: &Outcome) -> bool {
    compare(("left", left), ("right", right)).is_none() && left.verdicts == right.verdicts
}

/// The first batch that differs, without the frames that the difference does not need.
fn smallest(whole: &Trace, engine: &EngineConfig) -> String {
    let both = |batch: &[Frame]| {
        let trace = trace(vec![batch.to_vec()]);
        let user = UserBackend.run(&trace, engine).expect("it runs everywhere");
        (user, KernelBackend.run(&trace, engine).expect("it ran before"))
    };
    let differs = |batch: &[Frame]| {
        let (user, kernel) = both(batch);
        !is_equal(&user, &kernel)
    };
    let mut batches = whole.polls.iter().map(|poll| &whole.frames[poll.frames.clone()]);
    let Some(batch) = batches.find(|batch| differs(batch)) else {
        return "no batch differs on its own".into();
    };
    let mut batch = batch.to_vec();
    let mut at = 0;
    while at < batch.len() {
        let frame = batch.remove(at);
        if !differs(&batch) {
            batch.insert(at, frame);
            at += 1;
        }
    }
    let (user, kernel) = both(&batch);
    let mut text = String::new();
    for Frame { bytes, hash, vlan, .. } in &batch {
        let _ = writeln!(text, "hash {hash:#x} vlan {vlan:x?} {} bytes {}", bytes.len(), hex(bytes));
    }
    let _ = writeln!(text, "verdicts: user {:?}, kernel {:?}", user.verdicts, kernel.verdicts);
    if let Some(difference) = compare(("user", &user), ("kernel", &kernel)) {
        text.push_str(&difference.words);
    }
    text
}

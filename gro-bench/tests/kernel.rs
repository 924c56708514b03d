//! The promise itself: the engine does what the running kernel does, frame by frame and packet by packet.
//!
//! The seed is fixed, so a run that fails, fails again, and prints the smallest batch that shows the difference. The engine has
//! the rules of Linux 6.18; under another release a difference may be one of the releases.
#![cfg(target_os = "linux")]

use gro_bench::backend::{KernelBackend, UserBackend};
use gro_bench::determinism::{Busy, DeterminismError, repeat};
use gro_bench::fuzz::{
    BATCHES_PER_RUN, Drawn, Frames, FuzzError, Random, batch, fuzz, is_equal, pairs, trace,
};
use gro_bench::trace::Trace;
use gro_bench::{Backend, BackendError, EngineConfig, Outcome, compare};
use gro_core::{Config, Rule};

const SEED: u64 = 0x6772_6f5f_6b65_726e;
const BATCHES: usize = 3_000;
const ENGINE: EngineConfig = EngineConfig::of(Config::DEFAULT);

#[test]
fn random_batches_come_out_as_the_kernel_delivers_them() {
    let counts =
        match fuzz(SEED, BATCHES, Drawn::default(), &mut KernelBackend, &mut [Box::new(UserBackend)], |_| ())
        {
            Ok(counts) => counts,
            Err(FuzzError::Skipped(why)) => return eprintln!("kernel skipped: {why}"),
            Err(error) => panic!("{error}"),
        };
    eprintln!("{counts:?}");
    assert_eq!(counts.compared, [("user", BATCHES)]);
    assert!(counts.timed[0].1 >= 100, "{counts:?}");
    // Batches that never merge, or always do, or for few reasons, would prove little.
    assert!(counts.packets * 10 > counts.frames && counts.packets * 10 < counts.frames * 9, "{counts:?}");
    assert!(counts.reasons.len() >= 30, "{counts:?}");
}

#[test]
fn every_sum_comes_out_as_the_kernel_composes_it() {
    let trace = trace(pairs());
    let Some(kernel) = kernel(&trace) else { return };
    let user = UserBackend.run(&trace, &ENGINE).unwrap();
    if let Some(difference) = compare(("user", &user), ("kernel", &kernel)) {
        panic!("{}", difference.words);
    }
    assert!(user.records.iter().all(|record| record.segs == 2));
}

/// `cargo xtask determinism` repeats more often.
#[test]
fn the_kernel_does_the_same_each_time() {
    for busy in [false, true] {
        let _busy = busy.then(Busy::start);
        match repeat(&mut KernelBackend, SEED, 100, |_| ()) {
            Ok(frames) => assert!(frames > 200, "{frames}"),
            Err(DeterminismError::Backend(BackendError::Skipped(why))) => {
                return eprintln!("kernel skipped: {why}");
            }
            Err(error) => panic!("busy {busy}: {error}"),
        }
    }
}

#[test]
fn a_broken_rule_is_found_and_shrunk() {
    let mut random = Random(SEED);
    let trace = trace((0..BATCHES_PER_RUN).map(|_| batch(&mut random, Frames::Plain)).collect());
    let Some(kernel) = kernel(&trace) else { return };
    for mutant in [Rule::Window, Rule::Flags] {
        let broken = UserBackend.run(&trace, &EngineConfig { mutant: Some(mutant), ..ENGINE }).unwrap();
        assert!(!is_equal(&broken, &kernel), "{mutant:?}");
    }
    // Two segments show that a window was ignored, or that what is young was not kept; with a third where one of them does not
    // merge alone.
    for mutant in [Rule::Window, Rule::Age] {
        match fuzz(
            SEED,
            BATCHES,
            Drawn::default(),
            &mut KernelBackend,
            &mut [Box::new(Broken(mutant))],
            |_| (),
        ) {
            Err(FuzzError::Differs { batch, words, .. }) => {
                assert!(batch.len() <= 3 && words.contains("verdicts"), "{words}")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What the specification says of long header chains, until it is no longer true.
#[test]
fn a_long_header_chain_is_where_kernel_and_engine_part() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../traces/divergences/tcp6-long-chain.pcapng.zst");
    let trace = Trace::open(path.as_ref()).unwrap();
    let Some(kernel) = kernel(&trace) else { return };
    let user = UserBackend.run(&trace, &ENGINE).unwrap();
    assert!(kernel.records.iter().any(|record| record.segs > 1), "the kernel merges");
    assert!(user.records.iter().all(|record| record.segs == 1), "the engine does not");
    assert!(user.records.iter().any(|record| record.why.is_some_and(|why| why.name() == "too_long")));
}

/// The userspace engine with a flipped rule.
struct Broken(Rule);

impl Backend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        UserBackend.run(trace, &EngineConfig { mutant: Some(self.0), ..*engine })
    }
}

fn kernel(trace: &Trace) -> Option<Outcome> {
    match KernelBackend.run(trace, &ENGINE) {
        Ok(outcome) => Some(outcome),
        Err(BackendError::Skipped(why)) => {
            eprintln!("kernel skipped: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

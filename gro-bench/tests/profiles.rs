//! One image a profile: under each, our three backends decide and deliver alike, and the profiles are not alike.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::shipped;
use gro_bench::backend::{NicBackend, UserBackend};
use gro_bench::{Backend, BackendError, EngineConfig, compare, hex};
use gro_core::{Config, Release};
use std::collections::BTreeSet;

#[test]
fn each_profile_is_the_same_in_every_place() {
    let trace = shipped("tcp-mixed");
    let mut digests = BTreeSet::new();
    for profile in Release::ALL {
        let engine = EngineConfig { profile, ..EngineConfig::of(Config::TC) };
        let user = UserBackend.run(&trace, &engine).unwrap();
        let mut others: Vec<Box<dyn Backend>> = vec![Box::new(NicBackend::committed())];
        #[cfg(target_os = "linux")]
        others.push(Box::new(gro_bench::backend::TcBackend::committed()));
        for backend in &mut others {
            let name = backend.name();
            let outcome = match backend.run(&trace, &engine) {
                Ok(outcome) => outcome,
                Err(BackendError::Skipped(why)) if name == "tc" => {
                    eprintln!("tc skipped: {why}");
                    continue;
                }
                Err(why) => panic!("{name}: {why}"),
            };
            if let Some(difference) = compare(("user", &user), (name, &outcome)) {
                panic!("{}: {}", profile.name(), difference.words);
            }
            assert_eq!(user.decision_digest, outcome.decision_digest, "{}, {name}", profile.name());
            assert_eq!(user.verdicts, outcome.verdicts, "{}, {name}", profile.name());
        }
        digests.insert(hex(&user.output_digest()));
    }
    assert_eq!(digests.len(), Release::ALL.len(), "each profile delivers something of its own");
}

#[test]
fn the_kernel_backend_answers_for_its_own_profile_only() {
    let Ok(running) = gro_bench::kernel::profile() else { return eprintln!("skipped: no profile matches") };
    let trace = shipped("tcp-mixed");
    let mut kernel = gro_bench::backend::by_name("kernel").unwrap();
    for profile in Release::ALL.into_iter().filter(|&profile| profile != running) {
        let engine = EngineConfig { profile, ..EngineConfig::of(Config::DEFAULT) };
        match kernel.run(&trace, &engine) {
            Err(BackendError::NotApplicable(why)) => {
                assert!(why.contains(running.name()) && why.contains(profile.name()), "{why}")
            }
            other => panic!("{}: {other:?}", profile.name()),
        }
    }
}

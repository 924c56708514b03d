//! A comparison that cannot fail proves nothing: a rule broken on purpose is found, and at the right frame.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{Tcp, entry, path, shipped};
use gro_bench::mutants::{MutantError, Report};
use gro_bench::report::{self, Side};
use gro_bench::trace::Trace;
use gro_bench::{CONFIGS, Options, backend, mutants, rule_name, verify};
use gro_core::Rule;
use std::collections::BTreeMap;

#[test]
fn a_mutant_that_ignores_the_window_is_found() {
    check(Rule::Window, "tcp_window_third_on.ipv4.100", |tcp| u32::from(tcp.window()));
}

#[test]
fn a_mutant_that_ignores_the_acknowledgement_is_found() {
    check(Rule::Ack, "tcp_ack_third_on.ipv4.100", |tcp| tcp.ack());
}

#[test]
fn every_rule_is_missed_when_it_is_switched_off() {
    let traces = path("tcp-mixed");
    let mut kernel = backend::by_name("kernel").unwrap();
    let report = mutants::catch(traces.parent().unwrap(), kernel.as_mut(), &Rule::ALL).unwrap();
    if let Some(why) = &report.skipped {
        eprintln!("kernel skipped: {why}; the mutants are compared with the engine that has all rules");
    }
    let at_large: Vec<_> = report.mutants.iter().filter(|(_, caught)| caught.is_none()).collect();
    assert!(at_large.is_empty(), "nothing notices that these are off: {at_large:?}");
    assert_eq!(report.mutants.len(), Rule::ALL.len());
    for (rule, caught) in &report.mutants {
        let caught = caught.as_ref().unwrap();
        eprintln!("{}: {}, truth: {}", rule_name(*rule), caught.by, caught.truth);
        let may_be_user = report.skipped.is_some() || NOT_ASKED.contains(rule);
        assert!(caught.truth == "kernel" || may_be_user, "{rule:?}");
    }
}

/// Where kernel and engine part, everything would be caught; so nothing is.
#[test]
fn a_trace_that_differs_without_a_mutant_catches_none() {
    let traces = path("tcp-mixed").with_file_name("divergences");
    let mut kernel = backend::by_name("kernel").unwrap();
    match mutants::catch(&traces, kernel.as_mut(), &[Rule::Window]) {
        Err(MutantError::Differs { input, words }) => {
            assert_eq!(input, "tcp6-long-chain under default");
            assert!(words.contains("kernel"), "{words}");
        }
        Ok(Report { skipped: Some(why), .. }) => eprintln!("kernel skipped: {why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_mutant_the_same_comparison_is_equal() {
    let report = report(None);
    assert!(report.equal && report.exit_code() == 0, "{report:?}");
    assert!(report.runs.iter().all(|run| run.difference.is_none() && run.first_differing_frame.is_none()));
}

fn check(mutant: Rule, case: &str, what: impl Fn(&Tcp<'_>) -> u32) {
    let expected = entry("tcp-mixed").cases.into_iter().find(|known| known.name == case).unwrap();
    // The held packet that must leave at the change of the field starts the case.
    assert_eq!(first_held_before_a_change(&shipped("tcp-mixed"), what), Some(expected.first), "{case}");
    let frame = expected.first as u32;

    let report = report(Some(mutant));
    assert!(!report.equal);
    assert_eq!(report.exit_code(), 1, "{report:?}");
    assert_eq!(report.runs.len(), CONFIGS.len());
    for run in &report.runs {
        let difference = run.difference.as_deref().expect("the difference in words");
        assert!(!run.equal, "{}", run.config);
        assert_eq!(run.first_differing_frame, Some(frame), "{}: {difference}", run.config);
        assert!(difference.contains(&format!("first at frame #{frame}\n")), "{difference}");
        // Both sides are described: the mutant's packet is the larger one.
        let [_, user, other, ..] = difference.lines().collect::<Vec<_>>()[..] else { panic!("{difference}") };
        let is_mutant = |side: &str| side.trim_start().starts_with("user ");
        assert!(is_mutant(user) && user.contains("5 segs, gso_size 100"), "{difference}");
        assert!(!is_mutant(other) && other.contains("2 segs, gso_size 100"), "{difference}");
        assert!(matches!(run.backends["user"], Side::Ran { .. }));
        assert!(matches!(run.backends["nic"], Side::Ran { .. }));
    }
}

fn report(mutant: Option<Rule>) -> report::Report {
    let options = Options { traces: vec![path("tcp-mixed")], mutant, ..Options::default() };
    verify(&options, &mut backend::all(), |_, _, _| ()).unwrap()
}

/// The first frame of the first flow in the trace in which `what` changes within a poll, among segments that could join
/// otherwise. Found without an engine: the whole trace is searched, so no earlier case may be one that the mutant gets wrong.
fn first_held_before_a_change(trace: &Trace, what: impl Fn(&Tcp<'_>) -> u32) -> Option<usize> {
    for poll in &trace.polls {
        let mut runs: BTreeMap<Vec<u8>, (usize, u32)> = BTreeMap::new();
        for number in poll.frames.clone() {
            let Some(tcp) = Tcp::parse(&trace.frames[number].bytes) else { continue };
            // Other flags close or never join, whatever the mutant; a bad frame never does.
            let joins = tcp.flags() == ACK && !tcp.payload().is_empty();
            if !joins || !tcp.has_exact_length() || !tcp.has_good_checksum() || !tcp.has_good_header() {
                continue;
            }
            let value = what(&tcp);
            match runs.get(&tcp.flow()) {
                Some(&(first, held)) if held != value => return Some(first),
                Some(_) => {}
                None => {
                    runs.insert(tcp.flow(), (number, value));
                }
            }
        }
    }
    None
}

const ACK: u8 = 0x10;

/// Rules about what a kernel may be unable to show: time, and tags that stay in the bytes.
const NOT_ASKED: [Rule; 5] = [Rule::Age, Rule::Budget, Rule::Timer, Rule::UdpSegments, Rule::InBandVlan];

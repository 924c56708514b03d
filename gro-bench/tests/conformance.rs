//! The named cases of `tcp-mixed`, `udp-mixed` and their like: every backend delivers what the running kernel did when it was asked.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{DEFAULT, TC, entry, on_every_backend, shipped};
use gro_bench::trace::{Case, Trace, payload};
use gro_bench::{EngineConfig, Outcome, Record};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The manifest has what leaves under the default config. These cases are about its size limit of 65,536 bytes, so under a
/// smaller one they are other cases, and are compared under the default only.
const ABOUT_SIZE: &str = "large_";

/// The traces with named cases, and how many of them have an expectation at least.
const TCP: (&str, usize) = ("tcp-mixed", 1_380);
const UDP: (&str, usize) = ("udp-mixed", 270);
const JUMBO: (&str, usize) = ("tcp-jumbo", 25);
const TUNNELS: (&str, usize) = ("tunnel-mixed", 1_320);
/// No kernel is asked about it: the sandbox has no such device.
const GENEVE: (&str, usize) = ("tunnel-geneve", 780);

#[test]
fn every_case_of_tcp_delivers_what_the_manifest_says_under_default() {
    check(TCP, &DEFAULT, |_| true);
}

#[test]
fn every_case_of_tcp_below_the_limit_delivers_what_the_manifest_says_under_tc() {
    check(TCP, &TC, |case| !case.name.starts_with(ABOUT_SIZE));
}

#[test]
fn every_case_of_udp_delivers_what_the_manifest_says_under_default() {
    check(UDP, &DEFAULT, |_| true);
}

#[test]
fn every_case_of_udp_below_the_limit_delivers_what_the_manifest_says_under_tc() {
    check(UDP, &TC, |case| !case.name.starts_with(ABOUT_SIZE));
}

#[test]
fn every_jumbo_case_delivers_what_the_manifest_says_under_default() {
    check(JUMBO, &DEFAULT, |_| true);
}

#[test]
fn every_case_in_tunnels_delivers_what_the_manifest_says_under_default() {
    check(TUNNELS, &DEFAULT, |_| true);
}

#[test]
fn every_case_in_tunnels_below_the_limit_delivers_what_the_manifest_says_under_tc() {
    check(TUNNELS, &TC, |case| !case.name.starts_with(ABOUT_SIZE));
}

#[test]
fn every_case_in_geneve_delivers_what_the_manifest_says_under_default() {
    check(GENEVE, &DEFAULT, |_| true);
}

/// `docs/conformance.md` says which case shows which rule.
#[test]
fn the_page_of_rules_names_the_cases_that_there_are() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1));
    let quoted = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let named: BTreeSet<&str> = quoted.collect();
    let entries = [TCP, UDP, JUMBO, TUNNELS, GENEVE].map(|(name, _)| entry(name));
    let cases = entries.iter().flat_map(|entry| &entry.cases);
    let there: BTreeSet<&str> = cases.filter_map(|case| case.name.split('.').next()).collect();
    assert_eq!(named, there);
}

#[test]
fn a_trace_without_frames_delivers_nothing() {
    let trace = Trace { name: "empty".into(), frames: vec![], polls: vec![] };
    on_every_backend(&trace, &TC, |backend, outcome| assert!(outcome.records.is_empty(), "{backend}"));
}

fn check((name, least): (&str, usize), engine: &EngineConfig, compares: impl Fn(&Case) -> bool) {
    let trace = shipped(name);
    let entry = entry(name);
    let engine = &EngineConfig { config: entry.under(engine.config), ..*engine };
    let cases = entry.cases;
    on_every_backend(&trace, engine, |backend, outcome| {
        let mut failures = String::new();
        let mut compared = 0;
        for (case, records) in by_case(backend, &cases, outcome) {
            // Where flows interleave, the order between them is no part of the case and the manifest says nothing.
            if case.delivered.is_empty() || !compares(case) {
                continue;
            }
            let got: Vec<u32> = records.iter().map(|record| payload(&record.bytes)).collect();
            if got != case.delivered {
                let Case { name, sent, delivered, .. } = case;
                let _ = writeln!(
                    failures,
                    "{name}\n  sent      {sent:?}\n  expected  {delivered:?}\n  got       {got:?}"
                );
            }
            compared += 1;
        }
        assert!(failures.is_empty(), "{backend} delivers other packets:\n{failures}");
        assert!(compared >= least, "{backend}: only {compared} cases have an expectation");
        eprintln!("{backend}: {compared} cases");
    });
}

/// What each case delivered. A case has a poll of its own and every frame leaves once, so segments count them off; no backend
/// has to tell which frames are in a packet, but if it does, they are those of the case.
fn by_case<'a>(backend: &str, cases: &'a [Case], outcome: &'a Outcome) -> Vec<(&'a Case, &'a [Record])> {
    let mut rest = &outcome.records[..];
    let mut found = Vec::with_capacity(cases.len());
    for case in cases {
        let mut segments = 0;
        let packets = rest.iter().take_while(|record| {
            let more = segments < case.frames as u64;
            segments += u64::from(record.segs);
            more
        });
        let (records, behind) = rest.split_at(packets.count());
        rest = behind;
        let frames = case.first..case.first + case.frames;
        for number in records.iter().flat_map(|record| [record.first, record.last]).flatten() {
            assert!(frames.contains(&(number as usize)), "{backend}: {} holds frame #{number}", case.name);
        }
        let left: u64 = records.iter().map(|record| u64::from(record.segs)).sum();
        assert_eq!(left, case.frames as u64, "{backend}: {}: each frame leaves once", case.name);
        found.push((case, records));
    }
    assert!(rest.is_empty(), "{backend}: {} packets behind the last case", rest.len());
    found
}

//! Under a flush timeout every backend keeps, joins and flushes as the running kernel does, jiffy by jiffy.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use bytes::Bytes;
use etherparse::PacketBuilder;
use every_backend::on_every_backend;
use gro_bench::backend::UserBackend;
use gro_bench::determinism::Busy;
use gro_bench::trace::{Frame, Poll, Trace};
use gro_bench::{Backend as _, EngineConfig, Outcome};
use gro_core::{Config, Rule};

const JIFFY: u64 = 4_000_000;
const TIMEOUT: u64 = 10 * JIFFY;
const ENGINE: EngineConfig = EngineConfig::of(Config { flush_timeout: TIMEOUT as u32, ..Config::TC });

/// A delivery: its flow, and its segments.
type Left = (u16, u32);

#[test]
fn packets_stay_for_a_jiffy() {
    let mut polls = Polls::default();
    polls.poll(&[1]).poll(&[1]).next_jiffy().poll(&[1]).poll(&[1]).tick();
    // The third poll is one of a younger jiffy, whose end takes out what it joined; the last packet is young.
    polls.check(&[(1, 3), (1, 1)]);
}

#[test]
fn old_packets_leave_oldest_first_and_young_ones_stay_behind() {
    let mut polls = Polls::default();
    polls.poll(&[2, 3]).next_jiffy();
    // 10 shares the bucket of 2.
    polls.poll(&[4, 10, 2]).poll(&[4, 3, 2]).tick();
    polls.check(&[(2, 2), (3, 1), (10, 1), (2, 1), (3, 1), (4, 2)]);
}

#[test]
fn a_whole_budget_leaves_nothing() {
    let mut polls = Polls::default();
    polls.poll(&[1]).poll(&[1; 64]).poll(&[1]).poll(&[1; 63]).tick();
    polls.check(&[(1, 65), (1, 64)]);
}

#[test]
fn what_is_never_held_overtakes_what_stays() {
    let mut polls = Polls::default();
    polls.poll(&[1]).poll(&[ACK]).next_jiffy().poll(&[ACK]).poll(&[1]).tick();
    // The second acknowledgement comes with the end of a poll that finds the first packet old.
    polls.check(&[(ACK, 1), (ACK, 1), (1, 1), (1, 1)]);
}

#[test]
fn a_ninth_flow_evicts_the_oldest_across_polls() {
    let mut polls = Polls::default();
    polls.poll(&[0, 8, 16, 24]).poll(&[32, 40, 48, 56]).poll(&[8, 64, 0]).tick();
    polls.check(&[(0, 1), (8, 2), (16, 1), (24, 1), (32, 1), (40, 1), (48, 1), (56, 1), (64, 1), (0, 1)]);
}

#[test]
fn a_tick_ends_what_a_trace_begins() {
    let mut polls = Polls::default();
    for _ in 0..3 {
        polls.poll(&[1, 2]).poll(&[2]).tick();
    }
    polls.poll(&[1, 2]).poll(&[2]);
    polls.check(&[[(1, 1), (2, 2)]; 4].concat());
}

/// A test that no engine could fail would prove nothing.
#[test]
fn an_engine_without_the_rules_differs() {
    let mut polls = Polls::default();
    polls.poll(&[1]).poll(&[1; 64]).poll(&[1]).next_jiffy().poll(&[1]).poll(&[1]).tick();
    let trace = polls.trace();
    let truth = [(1, 65), (1, 2), (1, 1)];
    on_every_backend(&trace, &ENGINE, |name, outcome| assert_eq!(left(outcome), truth, "{name}"));
    for (mutant, left_by_it) in
        [(Rule::Age, vec![(1, 1), (1, 64), (1, 1), (1, 1), (1, 1)]), (Rule::Budget, vec![(1, 67), (1, 1)])]
    {
        let broken = UserBackend.run(&trace, &EngineConfig { mutant: Some(mutant), ..ENGINE }).unwrap();
        assert_eq!(left(&broken), left_by_it, "{mutant:?}");
    }
}

/// Where the machine tears polls of a jiffy apart, they are played again, and nobody sees it.
#[test]
fn a_busy_machine_gives_the_same_answer() {
    let mut polls = Polls::default();
    for _ in 0..4 {
        polls
            .poll(&[1, 2])
            .poll(&[1, 3])
            .next_jiffy()
            .poll(&[1, 2])
            .poll(&[2])
            .next_jiffy()
            .poll(&[3])
            .tick();
    }
    let expected = [[(1, 3), (2, 2), (3, 1), (2, 1), (3, 1)]; 4].concat();
    let _busy = Busy::start();
    polls.check(&expected);
}

/// A flow that is a pure acknowledgement.
const ACK: u16 = 7;

/// Polls of segments of 100 bytes, named by their flow, which is also their hash.
#[derive(Default)]
struct Polls {
    time_ns: u64,
    polls: Vec<(u64, Vec<u16>)>,
}

impl Polls {
    fn poll(&mut self, flows: &[u16]) -> &mut Self {
        self.polls.push((self.time_ns, flows.to_vec()));
        self
    }

    fn next_jiffy(&mut self) -> &mut Self {
        self.time_ns += JIFFY;
        self
    }

    fn tick(&mut self) -> &mut Self {
        self.time_ns += TIMEOUT;
        self
    }

    fn trace(&self) -> Trace {
        let mut trace = Trace { name: "timed".into(), frames: vec![], polls: vec![] };
        let mut sent = std::collections::BTreeMap::new();
        for (time_ns, flows) in &self.polls {
            let start = trace.frames.len();
            for &flow in flows {
                let number = sent.entry(flow).or_insert(0);
                let payload = vec![0x55; if flow == ACK { 0 } else { 100 }];
                let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
                let mut bytes = Vec::new();
                builder.tcp(flow, 80, 100 * *number, 500).ack(1).write(&mut bytes, &payload).unwrap();
                *number += 1;
                trace.frames.push(Frame {
                    time_ns: *time_ns,
                    bytes: Bytes::from(bytes),
                    hash: flow.into(),
                    vlan: None,
                });
            }
            trace.polls.push(Poll { time_ns: *time_ns, frames: start..trace.frames.len() });
        }
        trace
    }

    fn check(&self, expected: &[Left]) {
        let trace = self.trace();
        let mut verdicts = None;
        on_every_backend(&trace, &ENGINE, |name, outcome| {
            assert_eq!(left(outcome), expected, "{name}");
            assert_eq!(outcome.verdicts, *verdicts.get_or_insert(outcome.verdicts.clone()), "{name}");
        });
    }
}

fn left(outcome: &Outcome) -> Vec<Left> {
    let flow = |bytes: &[u8]| u16::from_be_bytes([bytes[34], bytes[35]]);
    outcome.records.iter().map(|record| (flow(&record.bytes), record.segs)).collect()
}

//! Polls of frames in tunnels and what becomes of them.
//!
//! An outcome is written as the verdict on each frame (held, merged or normal) and what left, in order: each packet as the letters
//! of its frames. `HNH b a c` is a second frame that overtook the first one; in `HNH a b c` the first one left before it.

use super::every_backend::on_every_backend;
use super::every_backend::tunnels::Tunnel;
use super::frames::PAYLOAD;
use bytes::Bytes;
use gro_bench::trace::{Frame, Poll, Trace};
use gro_bench::{EngineConfig, Outcome, Record};
use gro_core::GroResult;

/// For cases that are not about the GSO type: any is right.
pub(crate) const MERGED: u32 = u32::MAX;

/// Polls, and what is to become of each.
#[derive(Default)]
pub(crate) struct Cases(Vec<Case>);

struct Case {
    name: String,
    frames: Vec<Vec<u8>>,
    outcome: &'static str,
    gso_type: u32,
}

impl Cases {
    pub(crate) fn add(
        &mut self,
        tunnel: &Tunnel,
        name: &str,
        frames: Vec<Vec<u8>>,
        outcome: &'static str,
        gso_type: u32,
    ) {
        self.0.push(Case { name: format!("{tunnel:?}: {name}"), frames, outcome, gso_type });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Runs them on every backend.
    pub(crate) fn check(&self, engine: &EngineConfig) {
        on_every_backend(&self.trace(), engine, |backend, outcome| self.compare(backend, outcome));
    }

    fn trace(&self) -> Trace {
        let mut trace = Trace { name: "tunnels".into(), frames: Vec::new(), polls: Vec::new() };
        for case in &self.0 {
            let start = trace.frames.len();
            let frame = |bytes: &Vec<u8>| Frame {
                time_ns: 0,
                bytes: Bytes::from(bytes.clone()),
                hash: 7,
                vlan: None,
            };
            trace.frames.extend(case.frames.iter().map(frame));
            trace.polls.push(Poll { time_ns: 0, frames: start..trace.frames.len() });
        }
        trace
    }

    fn compare(&self, backend: &str, outcome: &Outcome) {
        let mut verdicts = outcome.verdicts.iter().flatten();
        let mut records = outcome.records.iter();
        for Case { name, frames, outcome: expected, gso_type } in &self.0 {
            let mut words = String::new();
            for &verdict in verdicts.by_ref().take(frames.len()) {
                words.push(match verdict {
                    GroResult::Held => 'H',
                    GroResult::Merged => 'M',
                    GroResult::Normal => 'N',
                });
            }
            let mut left = frames.len();
            while left > 0 {
                let record = records.next().unwrap();
                left -= record.segs as usize;
                words.push(' ');
                words.push_str(&letters(record));
                let is_right =
                    if record.segs == 1 { record.gso_type == 0 } else { record.gso_type == *gso_type };
                assert!(is_right || *gso_type == MERGED, "{backend}: {name}: type {:#x}", record.gso_type);
            }
            // A backend that tells no verdicts is asked for the packets.
            let expected = if words.starts_with(' ') { &expected[frames.len()..] } else { expected };
            assert_eq!(words, expected, "{backend}: {name}");
        }
        assert!(records.next().is_none() && verdicts.next().is_none(), "{backend}");
    }
}

/// The frames in a packet, by their payload.
fn letters(record: &Record) -> String {
    let has = |letter: &char| {
        record.bytes.windows(PAYLOAD).any(|bytes| bytes.iter().all(|&byte| byte == *letter as u8))
    };
    ('a'..='c').filter(has).collect()
}

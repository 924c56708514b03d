//! Runs under a flush timeout. The kernel asks its own clock how old a packet is and its own timer when to flush, so a trace is
//! played in real time: polls of one jiffy within one, polls of two in two, and a tick is the real timer's.
//!
//! The numbers of the trace and of its config only say which of these it is; the device's timer always runs for [`TIMEOUT`]. Where
//! this thread was scheduled away at the wrong moment, what came since GRO last held nothing is played again; also where the
//! observer misses a packet that the timer took out, which happens about once in a thousand ticks (the packet socket has it).

use super::{Run, capturing, clock};
use crate::backend::BackendError;
use crate::sandbox::Jiffies;
use crate::schedule::Step;
use crate::trace::Trace;
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The device's `gro_flush_timeout`: longer than from one poll to the next, also where that waits for a jiffy of 10 ms.
const TIMEOUT: Duration = Duration::from_millis(50);
/// A timer has fired so long after it was due.
const LATE: Duration = Duration::from_millis(10);
/// A poll that begins so long before a timer is due is over before that.
const EARLY: Duration = Duration::from_millis(10);
/// What the observer has not said of a tick by then it never says.
const SILENCE: Duration = Duration::from_millis(500);
/// On a machine whose cores are all busy it takes up to four.
const ATTEMPTS: usize = 20;

pub(super) struct Timed<'a, 'b> {
    run: &'a mut Run<'b>,
    jiffies: Jiffies,
    timer: Option<Timer>,
    empty: Empty,
    /// Times that what follows `empty` was played.
    attempts: usize,
}

/// The device's timer. A poll that found packets held starts it anew; it fires [`TIMEOUT`] after that poll's end, also when
/// nothing is held any more.
#[derive(Clone, Copy)]
struct Timer {
    /// It does not fire before this.
    earliest: Instant,
    /// It has fired by then.
    latest: Instant,
}

/// The last moment at which GRO held nothing.
#[derive(Clone, Copy, Default)]
struct Empty {
    step: usize,
    records: usize,
    frames: usize,
}

impl<'a, 'b> Timed<'a, 'b> {
    pub(super) fn new(run: &'a mut Run<'b>) -> Result<Self, BackendError> {
        run.sandbox.set_flush_timeout(TIMEOUT)?;
        let jiffies = Jiffies::open().map_err(|error| clock(&error))?;
        Ok(Self { run, jiffies, timer: None, empty: Empty::default(), attempts: 0 })
    }

    pub(super) fn run(mut self, trace: &Trace, steps: &[Step]) -> Result<(), BackendError> {
        let mut at = 0;
        // The trace's, and the kernel's.
        let mut jiffy: Option<(u32, u32)> = None;
        while let Some(step) = steps.get(at) {
            if self.run.is_empty() {
                self.remember(at);
                jiffy = None;
            }
            let played = match step {
                Step::Tick { .. } => self.tick()?,
                // The second look after a whole budget takes out what is left.
                Step::Poll { frames, .. } if frames.is_empty() => {
                    self.run.receive(self.run.taken).map(|()| true)?
                }
                Step::Poll { frames, jiffies } => {
                    let now = match jiffy {
                        Some((same, now)) if same == *jiffies => now,
                        _ => self.begin()?,
                    };
                    jiffy = Some((*jiffies, now));
                    self.poll(trace, frames.clone(), now)?
                }
            };
            at = if played { at + 1 } else { self.again(steps, at)? };
            // What no tick of the trace takes out leaves at its end.
            if at == steps.len() && !self.tick()? {
                at = self.again(steps, at - 1)?;
            }
        }
        Ok(())
    }

    /// The kernel's jiffy for polls of a new one.
    fn begin(&mut self) -> Result<u32, BackendError> {
        if self.run.is_empty() {
            if let Some(timer) = self.timer.take_if(|timer| Instant::now() + EARLY >= timer.earliest) {
                sleep(timer.latest.saturating_duration_since(Instant::now()));
            }
            // Any jiffy will do, and what is left of it often does.
            if self.attempts == 1 {
                return self.jiffies.now().map_err(|error| clock(&error));
            }
        }
        self.jiffies.begin().map_err(|error| clock(&error))
    }

    /// One poll; whether it was over before the next jiffy, and before the timer fired.
    fn poll(&mut self, trace: &Trace, frames: Range<usize>, jiffy: u32) -> Result<bool, BackendError> {
        let start = Instant::now();
        self.run.poll(trace, frames)?;
        self.run.receive(0)?;
        let end = Instant::now();
        let now = self.jiffies.now().map_err(|error| clock(&error))?;
        let played = now == jiffy && self.timer.is_none_or(|timer| end < timer.earliest);
        let earliest = match self.timer {
            // If nothing was held before it either, this poll left the timer alone.
            Some(timer) if self.run.is_empty() => timer.earliest.min(start + TIMEOUT),
            _ => start + TIMEOUT,
        };
        self.timer = Some(Timer { earliest, latest: end + TIMEOUT + LATE });
        Ok(played)
    }

    /// Waits for the timer, which takes out everything; whether all of it was seen.
    fn tick(&mut self) -> Result<bool, BackendError> {
        if self.run.is_empty() {
            return Ok(true);
        }
        if let Some(timer) = self.timer.take() {
            sleep(timer.earliest.saturating_duration_since(Instant::now()));
        }
        self.run.receive_within(self.run.taken, SILENCE)
    }

    fn remember(&mut self, step: usize) {
        if step > self.empty.step || self.attempts == 0 {
            self.attempts = 1;
        }
        self.empty = Empty { step, records: self.run.records.len(), frames: self.run.taken };
    }

    /// Back to where nothing was held: the step that is next.
    fn again(&mut self, steps: &[Step], at: usize) -> Result<usize, BackendError> {
        let seen = self.tick()?;
        if !seen && self.attempts == ATTEMPTS {
            return Err(self.run.miscounted());
        }
        self.run.forget(self.empty.records, self.empty.frames).map_err(|error| capturing(&error))?;
        if self.attempts == ATTEMPTS {
            return Err(torn(steps, at));
        }
        self.attempts += 1;
        Ok(self.empty.step)
    }
}

/// Why there is no outcome, with the polls that share a jiffy with the last one that was tried.
fn torn(steps: &[Step], at: usize) -> BackendError {
    let jiffy = |step: &Step| match step {
        Step::Poll { jiffies, frames } => Some((*jiffies, frames.len())),
        Step::Tick { .. } => None,
    };
    let now = steps.get(at).and_then(jiffy).map(|(jiffies, _)| jiffies);
    let same = |step: &&Step| jiffy(step).map(|(jiffies, _)| jiffies) == now;
    let polls = steps[..at].iter().rev().take_while(same).chain(steps[at..].iter().take_while(same));
    let frames: Vec<usize> = polls.filter_map(jiffy).map(|(_, frames)| frames).collect();
    let (polls, frames) = (frames.len(), frames.iter().sum::<usize>());
    BackendError::Failed(format!(
        "{polls} polls with {frames} frames did not fit into one jiffy of this machine, {ATTEMPTS} times; it is too busy, or \
         they are too many"
    ))
}

#[cfg(test)]
mod tests {
    use crate::backend::{Backend as _, KernelBackend};
    use crate::trace::{Frame, Poll, Trace};
    use crate::{BackendError, EngineConfig};
    use bytes::Bytes;
    use gro_core::Config;

    #[test]
    fn too_many_polls_for_a_jiffy_are_refused_in_words() {
        const POLLS: usize = 3_000;
        // A TCP segment with one byte, which is held; no other is of its flow, by its hash.
        let frame = |number: usize| {
            let mut bytes = vec![0; 75];
            bytes[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            (bytes[19], bytes[20], bytes[21]) = (21, 6, 64);
            (bytes[66], bytes[67]) = (0x50, 0x10);
            bytes[74] = number as u8;
            let sum = gro_core::user::sum(&bytes[22..]);
            let check = gro_core::checksum::field(u32::from(sum) + 21 + 6);
            bytes[70..72].copy_from_slice(&check.to_be_bytes());
            Frame { time_ns: 0, bytes: Bytes::from(bytes), hash: number as u32, vlan: None }
        };
        let polls = (0..POLLS).map(|number| Poll { time_ns: 0, frames: number..number + 1 }).collect();
        let trace = Trace { name: "t".into(), frames: (0..POLLS).map(frame).collect(), polls };
        let engine = EngineConfig::of(Config { flush_timeout: 1, ..Config::DEFAULT });
        match KernelBackend.run(&trace, &engine) {
            Err(BackendError::Skipped(why)) => eprintln!("skipped: {why}"),
            Err(BackendError::Failed(why)) => assert!(why.contains("3000 polls with 3000 frames"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

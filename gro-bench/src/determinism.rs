//! Repeats: the running kernel is asked the same question again and again, also on a busy machine, and must give one answer.

use crate::fuzz::{Frames, Random, batch, trace};
use crate::{Backend, BackendError, EngineConfig, Outcome, Record};
use gro_core::{Config, GroResult};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Batches of a repeat.
pub const BATCHES: usize = 20;

/// Repeats that share a run of the backend, and so a sandbox.
const REPEATS_PER_RUN: usize = 50;

/// Why repeats ended early.
#[derive(Debug, thiserror::Error)]
pub enum DeterminismError {
    /// The backend has no outcome.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// An answer differs from the first.
    #[error("repeat {repeat}: {what}")]
    Differs {
        /// Its number, from 0.
        repeat: usize,
        /// In which way.
        what: String,
    },
}

/// Runs the batches of `seed` `repeats` times; packets and verdicts of each time must be those of the first. Gives the number of
/// frames of a repeat.
///
/// # Errors
/// [`DeterminismError`]; the first difference ends it.
pub fn repeat(
    backend: &mut dyn Backend,
    seed: u64,
    repeats: usize,
    mut progress: impl FnMut(usize),
) -> Result<usize, DeterminismError> {
    let mut random = Random(seed);
    let batches: Vec<_> = (0..BATCHES).map(|_| batch(&mut random, Frames::Mixed)).collect();
    let frames = batches.iter().map(Vec::len).sum();
    let mut first: Option<Answer> = None;
    for done in (0..repeats).step_by(REPEATS_PER_RUN) {
        let count = REPEATS_PER_RUN.min(repeats - done);
        let repeated = vec![batches.clone(); count].concat();
        let outcome = backend.run(&trace(repeated), &EngineConfig::of(Config::DEFAULT))?;
        for (repeat, answer) in (done..).zip(answers(outcome, count, frames)?) {
            match &first {
                Some(first) => {
                    first.check(&answer).map_err(|what| DeterminismError::Differs { repeat, what })?
                }
                None => first = Some(answer),
            }
        }
        progress(done + count);
    }
    Ok(frames)
}

/// What came of one repeat.
#[derive(Default)]
struct Answer {
    records: Vec<Record>,
    verdicts: Option<Vec<GroResult>>,
}

impl Answer {
    fn check(&self, other: &Self) -> Result<(), String> {
        let (count, again) = (self.records.len(), other.records.len());
        if let Some(at) = self.records.iter().zip(&other.records).position(|(one, other)| !one.is_same(other))
        {
            return Err(format!(
                "packet {at} is another: {:?}, first {:?}",
                other.records[at], self.records[at]
            ));
        }
        if count != again {
            return Err(format!("{again} packets, first {count}"));
        }
        if self.verdicts != other.verdicts {
            return Err(format!("verdicts {:?}, first {:?}", other.verdicts, self.verdicts));
        }
        Ok(())
    }
}

/// Cuts a run into its repeats. Nothing is held from one batch to the next, so the segments of a repeat are its frames.
fn answers(outcome: Outcome, count: usize, frames: usize) -> Result<Vec<Answer>, BackendError> {
    let wrong = || BackendError::Failed(format!("packets do not add up to {count} times {frames} frames"));
    let mut answers: Vec<Answer> = Vec::with_capacity(count);
    let mut left = 0;
    for record in outcome.records {
        if left == 0 {
            left = frames;
            answers.push(Answer::default());
        }
        left = left.checked_sub(record.segs as usize).ok_or_else(wrong)?;
        answers.last_mut().ok_or_else(wrong)?.records.push(record);
    }
    if answers.len() != count || left != 0 {
        return Err(wrong());
    }
    if let Some(verdicts) = outcome.verdicts {
        for (answer, verdicts) in answers.iter_mut().zip(verdicts.chunks(frames)) {
            answer.verdicts = Some(verdicts.to_vec());
        }
    }
    Ok(answers)
}

/// Keeps every core busy until it is dropped.
#[derive(Debug)]
pub struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    /// Starts a thread for each core.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let spin = |stop: Arc<AtomicBool>| while !stop.load(Ordering::Relaxed) {};
        let threads =
            (0..cores).map(|_| Arc::clone(&stop)).map(|stop| std::thread::spawn(move || spin(stop)));
        let threads = threads.collect();
        Self { stop, threads }
    }

    /// Cores that are kept busy.
    pub fn cores(&self) -> usize {
        self.threads.len()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::UserBackend;
    use crate::trace::Trace;

    /// Does as the userspace engine, but for one frame in the whole of its life.
    struct Slips {
        runs: usize,
        slip: fn(&mut Outcome),
    }

    impl Backend for Slips {
        fn name(&self) -> &'static str {
            "slips"
        }

        fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
            let mut outcome = UserBackend.run(trace, engine)?;
            self.runs += 1;
            if self.runs == 2 {
                (self.slip)(&mut outcome);
            }
            Ok(outcome)
        }
    }

    #[test]
    fn one_slip_is_found() {
        assert!(repeat(&mut UserBackend, 1, 120, |_| ()).is_ok_and(|frames| frames > BATCHES));
        let slip = |slip| repeat(&mut Slips { runs: 0, slip }, 1, 120, |_| ()).unwrap_err();
        let swapped = slip(|outcome| {
            let last = outcome.records.len() - 1;
            outcome.records.swap(last - 1, last);
        });
        assert!(matches!(swapped, DeterminismError::Differs { repeat: 99, .. }), "{swapped}");
        let verdict = slip(|outcome| {
            if let Some(verdicts) = &mut outcome.verdicts {
                verdicts[0] = GroResult::Merged;
            }
        });
        assert!(matches!(verdict, DeterminismError::Differs { repeat: 50, .. }), "{verdict}");
        let lost = slip(|outcome| drop(outcome.records.pop()));
        assert!(matches!(lost, DeterminismError::Backend(_)), "{lost}");
    }
}

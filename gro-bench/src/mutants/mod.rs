//! Mutants: the engine without one of its rules. That the comparison with the kernel notices each of them shows that it can.
//!
//! What the mutant delivers, and its verdict on each frame, is compared with what the running kernel did, or with the engine where
//! the kernel cannot be asked. The inputs are tried in order until every mutant is caught: the shipped traces under the configs of
//! a comparison, those with named cases first; traces built from their cases, under a flush timeout too; then random batches.

mod built;
mod rules;

pub use rules::{Description, describe};

use crate::fuzz::{BATCHES_PER_RUN, Drawn, Random, Round, round};
use crate::trace::{Case, Entry, Manifest, Trace, TraceError, TunnelDevice, shipped};
use crate::{Backend, BackendError, CONFIGS, EngineConfig, Outcome, backend::UserBackend, compare};
use built::{Build, first_id_again, timed};
use gro_core::user::Why;
use gro_core::{Bypass, Rule, VlanMode};
use std::fmt;
use std::path::Path;
use std::thread;

/// Random batches for what no trace catches.
pub const BATCHES: usize = 2_000;

/// Start of their generator: the bytes of `gro_muts`.
pub const SEED: u64 = 0x6772_6f5f_6d75_7473;

/// What became of each mutant.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the rules asked for; `None` where nothing noticed.
    pub mutants: Vec<(Rule, Option<Caught>)>,
    /// Why the kernel was not asked at all, if so.
    pub skipped: Option<String>,
    /// Random batches that were run.
    pub batches: usize,
}

/// The first input on which a mutant shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which one.
    pub by: Input,
    /// The backend that did right: `kernel`, or `user` with all its rules.
    pub truth: &'static str,
}

/// An input of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A trace.
    Trace {
        /// Its name.
        trace: String,
        /// The config.
        config: &'static str,
        /// The first frame, from 0, that is in another packet or has another verdict.
        frame: u32,
        /// The named case that has this frame.
        case: Option<String>,
    },
    /// A random batch, from 0.
    Batch(usize),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum MutantError {
    /// The traces cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A backend went wrong.
    #[error("{backend} on {input}: {why}")]
    Backend {
        /// Its name.
        backend: &'static str,
        /// What it ran.
        input: String,
        /// What it says.
        why: BackendError,
    },
    /// With all its rules on, the engine does not do what the kernel does. Nothing can be said of mutants then.
    #[error("{input}: the engine differs from the kernel without any mutant: {words}")]
    Differs {
        /// What was run.
        input: String,
        /// Both sides, in words.
        words: String,
    },
}

/// Finds what catches each of `rules` when it is switched off. `folder` has the shipped traces.
///
/// # Errors
/// [`MutantError`].
pub fn catch(folder: &Path, kernel: &mut dyn Backend, rules: &[Rule]) -> Result<Report, MutantError> {
    let mut report =
        Report { mutants: rules.iter().map(|&rule| (rule, None)).collect(), skipped: None, batches: 0 };
    for source in traces(folder)? {
        report.run(&source, kernel)?;
    }
    let mut random = Random(SEED);
    while !report.is_complete() && report.batches < BATCHES {
        let Round { engine, trace, numbers, .. } = round(&mut random, Drawn::default());
        let numbers = numbers.into_iter().map(|number| report.batches + number).collect();
        report.run(&Source { trace, engine, origin: Origin::Batches(numbers) }, kernel)?;
        report.batches += BATCHES_PER_RUN;
    }
    Ok(report)
}

impl Report {
    fn is_complete(&self) -> bool {
        self.mutants.iter().all(|(_, caught)| caught.is_some())
    }

    /// Runs the mutants that are still at large on one more input.
    fn run(&mut self, source: &Source, kernel: &mut dyn Backend) -> Result<(), MutantError> {
        let mut at_large: Vec<_> = self.mutants.iter_mut().filter(|(_, caught)| caught.is_none()).collect();
        if at_large.is_empty() {
            return Ok(());
        }
        let user = source.user(None)?;
        let truth = match kernel.run(&source.trace, &source.engine) {
            Ok(truth) => {
                if let Some(frame) = first_difference(&truth, &user) {
                    let words = compare((UserBackend.name(), &user), (kernel.name(), &truth)).map_or_else(
                        || format!("its verdict on frame #{frame}"),
                        |difference| difference.words,
                    );
                    return Err(MutantError::Differs { input: source.to_string(), words });
                }
                kernel.name()
            }
            Err(BackendError::NotApplicable(_)) => UserBackend.name(),
            Err(BackendError::Skipped(why)) => {
                self.skipped = Some(why);
                UserBackend.name()
            }
            Err(why) => return Err(source.failed(kernel.name(), why)),
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = at_large.len().div_ceil(threads);
        thread::scope(|scope| {
            let chunks = at_large.chunks_mut(share);
            let workers: Vec<_> =
                chunks.map(|chunk| scope.spawn(|| source.try_all(chunk, &user, truth))).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

/// A trace and how it is run.
struct Source {
    trace: Trace,
    engine: EngineConfig,
    origin: Origin,
}

enum Origin {
    /// The config's name, and the cases of the trace.
    Trace(&'static str, Vec<Case>),
    /// The number of each poll.
    Batches(Vec<usize>),
}

impl Source {
    /// `right` is what the engine does with all its rules, which is what `truth` did, and tells which frames a packet has.
    fn try_all(
        &self,
        mutants: &mut [&mut (Rule, Option<Caught>)],
        right: &Outcome,
        truth: &'static str,
    ) -> Result<(), MutantError> {
        for (rule, caught) in mutants {
            let mutant = self.user(Some(*rule))?;
            *caught = first_difference(&mutant, right).map(|frame| Caught { by: self.input(frame), truth });
        }
        Ok(())
    }

    fn user(&self, mutant: Option<Rule>) -> Result<Outcome, MutantError> {
        let engine = EngineConfig { mutant, ..self.engine };
        UserBackend.run(&self.trace, &engine).map_err(|why| self.failed(UserBackend.name(), why))
    }

    fn failed(&self, backend: &'static str, why: BackendError) -> MutantError {
        MutantError::Backend { backend, input: self.to_string(), why }
    }

    fn input(&self, frame: u32) -> Input {
        let at = frame as usize;
        match &self.origin {
            &Origin::Trace(config, ref cases) => {
                let case = cases.iter().find(|case| (case.first..case.first + case.frames).contains(&at));
                let case = case.map(|case| case.name.clone());
                Input::Trace { trace: self.trace.name.clone(), config, frame, case }
            }
            Origin::Batches(numbers) => {
                let poll = self.trace.polls.partition_point(|poll| poll.frames.end <= at);
                Input::Batch(numbers[poll])
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Trace(config, _) => write!(f, "{} under {config}", self.trace.name),
            Origin::Batches(numbers) => write!(f, "random batches from {:?} on", numbers.first()),
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace { trace, config, frame, case } => {
                write!(f, "{trace}, {config}, frame {frame}")?;
                case.iter().try_for_each(|case| write!(f, ", case {case}"))
            }
            Self::Batch(number) => write!(f, "random batch {number}"),
        }
    }
}

/// The first frame that is in another packet or has another verdict than with `right`, which is of backend `user` and tells
/// which frames a packet has.
fn first_difference(other: &Outcome, right: &Outcome) -> Option<u32> {
    let packet = compare(("other", other), ("right", right)).map(|it| it.frame.unwrap_or_default());
    // The kernel holds a segment whose headers the engine does not look at: the known divergence.
    let is_too_long = |frame| {
        let why = Some(Why::Bypass(Bypass::TooLong));
        right.records.iter().any(|record| record.first == Some(frame) && record.why == why)
    };
    let verdicts = other.verdicts.iter().flatten().zip(right.verdicts.iter().flatten());
    let differing = (0..).zip(verdicts).filter(|(_, (other, right))| other != right);
    let verdict = differing.map(|(frame, _)| frame).find(|&frame| !is_too_long(frame));
    packet.into_iter().chain(verdict).min()
}

/// Everything but random batches, in the order of the search.
fn traces(folder: &Path) -> Result<Vec<Source>, TraceError> {
    let mut files = Vec::new();
    for path in shipped(folder)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let entry = Manifest::beside(&path)?.and_then(|manifest| manifest.entry(&file).cloned());
        files.push((Trace::open(&path)?, entry));
    }
    // A kernel that can be asked says more than one that cannot, a name more than a number, a plain case more than one in a tunnel.
    let cases = |entry: &Option<Entry>| entry.as_ref().map_or(Vec::new(), |entry| entry.cases.clone());
    let devices = |entry: &Option<Entry>| entry.as_ref().map_or(Vec::new(), |entry| entry.tunnels.clone());
    files.sort_by_key(|(_, entry)| {
        let devices = devices(entry);
        (devices.contains(&TunnelDevice::Geneve), cases(entry).is_empty(), !devices.is_empty())
    });
    let mut sources = Vec::new();
    // Config `tc` has no rule of its own. With tags in the bytes the kernel may not be there to ask, so that comes last.
    for wanted in ["default", "big", "in-band"] {
        for &(name, config) in CONFIGS.iter().filter(|(name, _)| *name == wanted) {
            for (trace, entry) in &files {
                let cases = cases(entry);
                let has_tags = trace.frames.iter().any(|frame| frame.vlan.is_some());
                let says_nothing_new = match config.vlan {
                    VlanMode::InBand => !has_tags,
                    // Random frames make BIG TCP packets that the kernel loses; the batches below leave those out.
                    VlanMode::Stripped => name == "big" && cases.is_empty(),
                };
                if says_nothing_new {
                    continue;
                }
                let engine = EngineConfig::of(entry.as_ref().map_or(config, |entry| entry.under(config)));
                sources.push(Source { trace: trace.clone(), engine, origin: Origin::Trace(name, cases) });
            }
        }
    }
    for (name, build) in [("default", first_id_again as Build), ("flush timeout 1 ms", timed)] {
        if let Some((trace, cases, config)) =
            files.iter().find_map(|(trace, entry)| build(trace, &cases(entry)))
        {
            let origin = Origin::Trace(name, cases);
            sources.push(Source { trace, engine: EngineConfig::of(config), origin });
        }
    }
    Ok(sources)
}

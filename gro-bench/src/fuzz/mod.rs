//! Differential fuzzing: random batches of frames through the running kernel and through our backends.
//!
//! Equal means: the same packets in the same order, byte for byte, with the same segments, `gso_size`, GSO type and VLAN tag, and
//! the same verdict on every frame where a backend tells. A difference is shrunk to the smallest batch that shows it.
//!
//! Most batches are a poll each and leave nothing behind. Now and then a run has a flush timeout and polls at random times.

mod frames;
mod timed;
mod tunnel;

pub use frames::{Frames, Random, batch, pairs};
use tunnel::ip_headers;

use crate::schedule::{Step, schedule};
use crate::trace::{Frame, Poll, Trace};
use crate::{Backend, BackendError, EngineConfig, Outcome, compare, hex};
use gro_core::complete::GSO_TUNNELS;
use gro_core::profile::tunnel as tunnels;
use gro_core::user::Why;
use gro_core::{Config, UdpMode};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Batches that share a config and a run of each backend.
pub const BATCHES_PER_RUN: usize = 125;

/// Of so many runs, one is followed by a run under a flush timeout; the middle one.
const TIMED_EVERY: usize = 20;

/// How much was compared, and what was seen.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Batches, each a poll of up to 64 frames.
    pub batches: usize,
    /// Frames in them.
    pub frames: usize,
    /// Those of the frames that are in a tunnel.
    pub encapsulated: usize,
    /// Packets that the kernel made of them.
    pub packets: usize,
    /// Those of the packets that it merged in tunnels.
    pub merged_in_tunnels: usize,
    /// Frames left out because the kernel would lose the packet they become: IPv6 with more than eight bytes of further headers in
    /// front of TCP where packets may grow over 65,535 bytes (docs/adr/0004).
    pub excluded: usize,
    /// Batches that each of our backends ran.
    pub compared: Vec<(&'static str, usize)>,
    /// Polls under a flush timeout that each of our backends ran, on top of the batches.
    pub timed: Vec<(&'static str, usize)>,
    /// Reasons for which packets left.
    pub reasons: BTreeSet<&'static str>,
}

/// Why fuzzing ended early.
#[derive(Debug, thiserror::Error)]
pub enum FuzzError {
    /// The kernel cannot be asked here.
    #[error("kernel skipped: {0}")]
    Skipped(String),
    /// A backend went wrong.
    #[error("{backend}: {why}")]
    Backend {
        /// Its name.
        backend: &'static str,
        /// What it says.
        why: BackendError,
    },
    /// A backend differs from the kernel.
    #[error("{words}")]
    Differs {
        /// Both sides, in words.
        words: String,
        /// The config under which it does.
        config: Config,
        /// The smallest batch that shows it.
        batch: Vec<Frame>,
    },
}

/// Which configs the random batches run under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All sizes up to [`Config::MAX_SIZE`].
    #[default]
    All,
    /// Those that the tc datapath can run.
    Tc,
}

/// What is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// The configs.
    pub scope: Scope,
    /// The frames.
    pub frames: Frames,
}

/// Runs at least `batches` batches through `kernel` and through `ours`.
///
/// # Errors
/// [`FuzzError`]; the first difference ends it.
pub fn fuzz(
    seed: u64,
    batches: usize,
    drawn: Drawn,
    kernel: &mut dyn Backend,
    ours: &mut [Box<dyn Backend>],
    mut progress: impl FnMut(&Counts),
) -> Result<Counts, FuzzError> {
    let mut random = Random(seed);
    // Of its own, so that the batches stay those of their seed.
    let mut moments = Random(!seed);
    let none: Vec<_> = ours.iter().map(|backend| (backend.name(), 0)).collect();
    let mut counts = Counts { compared: none.clone(), timed: none, ..Counts::default() };
    for run in 0.. {
        if counts.batches >= batches {
            break;
        }
        let Round { engine, trace, excluded, .. } = round(&mut random, drawn);
        counts.excluded += excluded;
        let ran = same(&trace, &engine, kernel, ours, &mut counts).map_err(|error| error.seeded(seed))?;
        add(&mut counts.compared, &ran, BATCHES_PER_RUN);
        counts.batches += BATCHES_PER_RUN;
        if run % TIMED_EVERY == TIMED_EVERY / 2 {
            let engine = EngineConfig::of(timed_config(&mut moments, run / TIMED_EVERY, drawn.scope));
            let mut frames = timed::timed(&mut moments, &engine.config, drawn.frames);
            counts.excluded += exclude_lost(&mut frames, &engine.config);
            let trace = timed::trace(frames);
            let ran = same(&trace, &engine, kernel, ours, &mut counts).map_err(|error| error.seeded(seed))?;
            add(&mut counts.timed, &ran, trace.polls.len());
        }
        progress(&counts);
    }
    Ok(counts)
}

/// [`BATCHES_PER_RUN`] batches and the config that they share.
#[derive(Clone, Debug)]
pub struct Round {
    /// The config.
    pub engine: EngineConfig,
    /// The batches, a poll each.
    pub trace: Trace,
    /// Number of each poll's batch in the round, from 0: a batch of which nothing is left has no poll.
    pub numbers: Vec<usize>,
    /// See [`Counts::excluded`].
    pub excluded: usize,
}

/// The next round.
pub fn round(random: &mut Random, drawn: Drawn) -> Round {
    let engine = EngineConfig::of(config(random, drawn.scope));
    let mut batches: Vec<_> = (0..BATCHES_PER_RUN).map(|_| batch(random, drawn.frames)).collect();
    let excluded = batches.iter_mut().map(|batch| exclude_lost(batch, &engine.config)).sum();
    let (numbers, batches) =
        batches.into_iter().enumerate().filter(|(_, batch)| !batch.is_empty()).unzip::<_, _, _, Vec<_>>();
    Round { engine, trace: trace(batches), numbers, excluded }
}

impl FuzzError {
    fn seeded(self, seed: u64) -> Self {
        match self {
            Self::Differs { words, config, batch } => {
                Self::Differs { words: format!("seed {seed:#x}, {config:?}\n{words}"), config, batch }
            }
            other => other,
        }
    }
}

/// Which of our backends ran a trace; those that did, did as the kernel.
fn same(
    trace: &Trace,
    engine: &EngineConfig,
    kernel: &mut dyn Backend,
    ours: &mut [Box<dyn Backend>],
    counts: &mut Counts,
) -> Result<Vec<&'static str>, FuzzError> {
    let truth = match kernel.run(trace, engine) {
        Ok(truth) => truth,
        Err(BackendError::Skipped(why)) => return Err(FuzzError::Skipped(why)),
        Err(why) => return Err(FuzzError::Backend { backend: kernel.name(), why }),
    };
    let mut ran = Vec::new();
    for backend in ours.iter_mut() {
        let outcome = match backend.run(trace, engine) {
            Ok(outcome) => outcome,
            Err(BackendError::NotApplicable(_)) => continue,
            Err(why) => return Err(FuzzError::Backend { backend: backend.name(), why }),
        };
        if !is_equal(&outcome, &truth) {
            let (batch, words) = smallest(trace, engine, kernel, backend.as_mut());
            return Err(FuzzError::Differs { words, config: engine.config, batch });
        }
        ran.push(backend.name());
        counts.reasons.extend(outcome.records.iter().filter_map(|record| record.why).map(Why::name));
    }
    counts.frames += trace.frames.len();
    counts.encapsulated += trace.frames.iter().filter(|frame| ip_headers(&frame.bytes).len() > 1).count();
    counts.merged_in_tunnels +=
        truth.records.iter().filter(|record| record.gso_type & GSO_TUNNELS != 0).count();
    counts.packets += truth.records.len();
    Ok(ran)
}

fn add(counts: &mut [(&'static str, usize)], ran: &[&'static str], more: usize) {
    for (_, count) in counts.iter_mut().filter(|(name, _)| ran.contains(name)) {
        *count += more;
    }
}

/// Takes out what the kernel would lose; how many frames that was.
fn exclude_lost(frames: &mut Vec<Frame>, config: &Config) -> usize {
    let before = frames.len();
    frames.retain(|frame| {
        let headers = ip_headers(&frame.bytes);
        let is_ipv6 = headers.first().is_some_and(|outer| outer.ipv6);
        let limit = if is_ipv6 { config.gro_max_size } else { config.gro_ipv4_max_size };
        let lost = is_ipv6 && headers.len() > 1 || headers.iter().any(|header| header.extensions > 8);
        limit <= Config::DEFAULT.gro_max_size || !lost
    });
    before - frames.len()
}

/// Bytes of hop-by-hop, routing and destination-options headers behind a frame's first IP header.
pub fn extension_bytes(frame: &[u8]) -> usize {
    ip_headers(frame).first().map_or(0, |header| header.extensions)
}

/// Whether two backends did the same.
pub fn is_equal(left: &Outcome, right: &Outcome) -> bool {
    let verdicts = match (&left.verdicts, &right.verdicts) {
        (Some(left), Some(right)) => left == right,
        // A backend that does not tell.
        _ => true,
    };
    verdicts && compare(("left", left), ("right", right)).is_none()
}

/// A poll for each batch.
pub fn trace(batches: Vec<Vec<Frame>>) -> Trace {
    let mut frames = Vec::new();
    let mut polls = Vec::new();
    for batch in batches {
        let start = frames.len();
        frames.extend(batch);
        polls.push(Poll { time_ns: 0, frames: start..frames.len() });
    }
    Trace { name: "random".into(), frames, polls }
}

fn config(random: &mut Random, scope: Scope) -> Config {
    // Often enough that tc takes part.
    let scope = if random.once_in(3) { Scope::Tc } else { scope };
    let mut size = || match (scope, random.below(6)) {
        (Scope::All, 0) => Config::DEFAULT.gro_max_size,
        (Scope::All, 2) => 2_000 + random.below(63_536) as u32,
        (Scope::All, 3) => 65_536 + random.below(Config::MAX_SIZE as usize - 65_536) as u32,
        (Scope::All, 4) => Config::MAX_SIZE,
        (Scope::Tc, 2 | 3) => 1 + random.below(Config::TC.gro_max_size as usize) as u32,
        (_, 5) => 1 + random.below(3_000) as u32,
        _ => Config::TC.gro_max_size,
    };
    let (gro_max_size, gro_ipv4_max_size) = (size(), size());
    let udp = if random.once_in(2) { UdpMode::Off } else { UdpMode::Forwarding };
    let vxlan = if random.once_in(2) { tunnels::VXLAN } else { 0 };
    Config {
        gro_max_size,
        gro_ipv4_max_size,
        udp,
        tunnels: Config::DEFAULT.tunnels | vxlan,
        ..Config::DEFAULT
    }
}

/// A config with a flush timeout. In every other run it is one that the tc datapath can run.
fn timed_config(random: &mut Random, run: usize, scope: Scope) -> Config {
    let random_config = config(random, scope);
    let config = if run.is_multiple_of(2) {
        Config { udp: random_config.udp, tunnels: random_config.tunnels, ..Config::TC }
    } else {
        random_config
    };
    // Below a jiffy, and above.
    Config { flush_timeout: random.of(&[2_000_000, 20_000_000, 500_000_000]), ..config }
}

/// What can be played alone: a poll, or under a flush timeout what is between two ticks.
fn parts(whole: &Trace, config: &Config) -> Vec<Vec<Frame>> {
    let mut parts = vec![Vec::new()];
    for step in schedule(whole, config) {
        if let (Step::Poll { frames, .. }, Some(part)) = (&step, parts.last_mut()) {
            part.extend_from_slice(&whole.frames[frames.clone()]);
        }
        if config.flush_timeout == 0 || matches!(step, Step::Tick { .. }) {
            parts.push(Vec::new());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The first batch that differs, without the frames that the difference does not need, and both sides in words.
fn smallest(
    whole: &Trace,
    engine: &EngineConfig,
    kernel: &mut dyn Backend,
    ours: &mut dyn Backend,
) -> (Vec<Frame>, String) {
    let mut both = |batch: &[Frame]| {
        let trace = timed::trace(batch.to_vec());
        Some((ours.run(&trace, engine).ok()?, kernel.run(&trace, engine).ok()?))
    };
    let mut differs = |batch: &[Frame]| both(batch).is_some_and(|(ours, kernel)| !is_equal(&ours, &kernel));
    let mut batches = parts(whole, &engine.config).into_iter();
    let Some(mut batch) = batches.find(|batch| differs(batch)) else {
        return (Vec::new(), "no batch differs on its own".into());
    };
    let mut size = batch.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < batch.len() {
            let without = [&batch[..at], &batch[batch.len().min(at + size)..]].concat();
            if differs(&without) {
                batch = without;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    let mut text = String::new();
    for Frame { time_ns, bytes, hash, vlan } in &batch {
        let (len, bytes) = (bytes.len(), hex(bytes));
        let _ = writeln!(text, "{time_ns} ns, hash {hash:#x} vlan {vlan:x?} {len} bytes {bytes}");
    }
    if let Some((left, right)) = both(&batch) {
        let (left_name, right_name) = (ours.name(), kernel.name());
        let _ =
            writeln!(text, "verdicts: {left_name} {:?}, {right_name} {:?}", left.verdicts, right.verdicts);
        if let Some(difference) = compare((left_name, &left), (right_name, &right)) {
            text.push_str(&difference.words);
        }
    }
    (batch, text)
}

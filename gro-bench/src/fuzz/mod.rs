//! Differential fuzzing: random batches of frames through the running kernel and through our backends.
//!
//! Equal means: the same packets in the same order, byte for byte, with the same segments, `gso_size`, GSO type and VLAN tag, and
//! the same verdict on every frame where a backend tells. A difference is shrunk to the smallest batch that shows it.

mod frames;

pub use frames::{Random, batch, pairs};

use crate::trace::{Frame, Poll, Trace};
use crate::{Backend, BackendError, EngineConfig, Outcome, compare, hex};
use gro_core::user::Why;
use gro_core::{Config, UdpMode};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Batches that share a config and a run of each backend.
pub const BATCHES_PER_RUN: usize = 125;

/// How much was compared, and what was seen.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Batches, each a poll of up to 64 frames.
    pub batches: usize,
    /// Frames in them.
    pub frames: usize,
    /// Packets that the kernel made of them.
    pub packets: usize,
    /// Frames left out because the kernel would lose the packet they become: IPv6 with more than eight bytes of extension headers
    /// where packets may grow over 65,535 bytes (docs/adr/0004).
    pub excluded: usize,
    /// Batches that each of our backends ran.
    pub compared: Vec<(&'static str, usize)>,
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
        /// The smallest batch that shows it.
        batch: Vec<Frame>,
    },
}

/// Runs at least `batches` batches through `kernel` and through `ours`.
///
/// # Errors
/// [`FuzzError`]; the first difference ends it.
pub fn fuzz(
    seed: u64,
    batches: usize,
    kernel: &mut dyn Backend,
    ours: &mut [Box<dyn Backend>],
    mut progress: impl FnMut(&Counts),
) -> Result<Counts, FuzzError> {
    let mut random = Random(seed);
    let mut counts =
        Counts { compared: ours.iter().map(|backend| (backend.name(), 0)).collect(), ..Counts::default() };
    while counts.batches < batches {
        let Round { engine, trace, excluded, .. } = round(&mut random);
        counts.excluded += excluded;
        let truth = match kernel.run(&trace, &engine) {
            Ok(truth) => truth,
            Err(BackendError::Skipped(why)) => return Err(FuzzError::Skipped(why)),
            Err(why) => return Err(FuzzError::Backend { backend: kernel.name(), why }),
        };
        for (backend, (name, compared)) in ours.iter_mut().zip(&mut counts.compared) {
            let outcome = match backend.run(&trace, &engine) {
                Ok(outcome) => outcome,
                Err(BackendError::NotApplicable(_)) => continue,
                Err(why) => return Err(FuzzError::Backend { backend: name, why }),
            };
            if !is_equal(&outcome, &truth) {
                let (batch, words) = smallest(&trace, &engine, kernel, backend.as_mut());
                let words = format!("seed {seed:#x}, {:?}\n{words}", engine.config);
                return Err(FuzzError::Differs { words, batch });
            }
            *compared += BATCHES_PER_RUN;
            counts.reasons.extend(outcome.records.iter().filter_map(|record| record.why).map(Why::name));
        }
        counts.batches += BATCHES_PER_RUN;
        counts.frames += trace.frames.len();
        counts.packets += truth.records.len();
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
pub fn round(random: &mut Random) -> Round {
    let engine = EngineConfig::of(config(random));
    let mut batches: Vec<_> = (0..BATCHES_PER_RUN).map(|_| batch(random)).collect();
    let mut excluded = 0;
    if engine.config.gro_max_size > Config::DEFAULT.gro_max_size {
        for batch in &mut batches {
            let before = batch.len();
            batch.retain(|frame| extension_bytes(&frame.bytes) <= 8);
            excluded += before - batch.len();
        }
    }
    let (numbers, batches) =
        batches.into_iter().enumerate().filter(|(_, batch)| !batch.is_empty()).unzip::<_, _, _, Vec<_>>();
    Round { engine, trace: trace(batches), numbers, excluded }
}

/// Bytes of hop-by-hop, routing and destination-options headers behind an IPv6 header.
pub fn extension_bytes(frame: &[u8]) -> usize {
    const CHAIN: usize = 54;
    if frame.get(12..14) != Some(&[0x86, 0xdd]) || frame.len() < CHAIN {
        return 0;
    }
    let (mut next, mut at) = (frame[20], CHAIN);
    while matches!(next, 0 | 43 | 60) && at + 2 <= frame.len() {
        next = frame[at];
        at += (usize::from(frame[at + 1]) + 1) * 8;
    }
    at - CHAIN
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

fn config(random: &mut Random) -> Config {
    let mut size = || match random.below(6) {
        0 => Config::DEFAULT.gro_max_size,
        1 => Config::TC.gro_max_size,
        2 => 2_000 + random.below(63_536) as u32,
        3 => 65_536 + random.below(Config::MAX_SIZE as usize - 65_536) as u32,
        4 => Config::MAX_SIZE,
        _ => 1 + random.below(3_000) as u32,
    };
    let (gro_max_size, gro_ipv4_max_size) = (size(), size());
    let udp = if random.once_in(2) { UdpMode::Off } else { UdpMode::Forwarding };
    Config { gro_max_size, gro_ipv4_max_size, udp, ..Config::DEFAULT }
}

/// The first batch that differs, without the frames that the difference does not need, and both sides in words.
fn smallest(
    whole: &Trace,
    engine: &EngineConfig,
    kernel: &mut dyn Backend,
    ours: &mut dyn Backend,
) -> (Vec<Frame>, String) {
    let mut both = |batch: &[Frame]| {
        let trace = trace(vec![batch.to_vec()]);
        Some((ours.run(&trace, engine).ok()?, kernel.run(&trace, engine).ok()?))
    };
    let mut differs = |batch: &[Frame]| both(batch).is_some_and(|(ours, kernel)| !is_equal(&ours, &kernel));
    let mut batches = whole.polls.iter().map(|poll| &whole.frames[poll.frames.clone()]);
    let Some(batch) = batches.find(|batch| differs(batch)) else {
        return (Vec::new(), "no batch differs on its own".into());
    };
    let mut batch = batch.to_vec();
    let mut at = 0;
    while at < batch.len() {
        let frame = batch.remove(at);
        if !differs(&batch) {
            batch.insert(at, frame);
            at += 1;
        }
    }
    let mut text = String::new();
    for Frame { bytes, hash, vlan, .. } in &batch {
        let _ = writeln!(text, "hash {hash:#x} vlan {vlan:x?} {} bytes {}", bytes.len(), hex(bytes));
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

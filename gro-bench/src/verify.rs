//! Every backend on every trace under every config.

use crate::backend::{Backend, BackendError, EngineConfig};
use crate::report::{Report, Run, SCHEMA, Side};
use crate::trace::{Manifest, OwnConfig, Trace, TraceError};
use crate::{Outcome, compare, hex};
use gro_core::{Config, Release, Rule, UdpMode, VlanMode};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What to compare.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Capture files.
    pub traces: Vec<PathBuf>,
    /// Configs by name: [`CONFIGS`] or others. A trace's manifest has expectations for the former only.
    pub configs: Vec<(&'static str, Config)>,
    /// Backends that must run, wherever their nature lets them.
    pub require: Vec<String>,
    /// Whether UDP is coalesced; as each trace's manifest says when not given.
    pub udp: Option<UdpMode>,
    /// Encapsulations that GRO looks into: bits of [`gro_core::tunnel`]. Those of the config and of each trace's manifest when
    /// not given.
    pub tunnels: Option<u32>,
    /// The rule set.
    pub profile: Release,
    /// A rule to switch off in backend `user`.
    pub mutant: Option<Rule>,
}

/// The configs of a comparison, by name: what every backend can run, the kernel's defaults, BIG TCP as large as it gets, and VLAN
/// tags left in the bytes.
pub const CONFIGS: [(&str, Config); 4] = [
    ("tc", Config::TC),
    ("default", Config::DEFAULT),
    (
        "big",
        Config { gro_max_size: Config::MAX_SIZE, gro_ipv4_max_size: Config::MAX_SIZE, ..Config::DEFAULT },
    ),
    ("in-band", Config { vlan: VlanMode::InBand, ..Config::DEFAULT }),
];

/// Runs every backend on every trace. `progress` hears the place, the number of runs and what runs now.
pub fn verify(
    options: &Options,
    backends: &mut [Box<dyn Backend>],
    mut progress: impl FnMut(usize, usize, &str),
) -> Result<Report, TraceError> {
    let configs = if options.configs.is_empty() { &CONFIGS[..] } else { &options.configs };
    let total = options.traces.len() * configs.len() * backends.len();
    let mut done = 0;
    let mut runs = Vec::new();
    for path in &options.traces {
        let trace = Trace::open(path)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let entry = Manifest::beside(path)?.and_then(|manifest| manifest.entry(&file).cloned());
        let as_entry_says = |config: Config| match &entry {
            Some(entry) => entry.under(config),
            None => Config { udp: UdpMode::Off, ..config },
        };
        let own = entry.as_ref().and_then(|entry| entry.config).map(|own| (OwnConfig::NAME, own.config()));
        let configs = match &own {
            Some(own) if options.configs.is_empty() => std::slice::from_ref(own),
            _ => configs,
        };
        for &(name, config) in configs {
            let from_entry = as_entry_says(config);
            let udp = options.udp.unwrap_or(from_entry.udp);
            let tunnels = options.tunnels.unwrap_or(from_entry.tunnels);
            let config = Config { udp, tunnels, ..config };
            let engine = EngineConfig { config, profile: options.profile, mutant: options.mutant };
            let mut outcomes = Vec::new();
            for backend in backends.iter_mut() {
                progress(done, total, &format!("{} {name} {}", trace.name, backend.name()));
                outcomes.push((backend.name(), backend.run(&trace, &engine)));
                done += 1;
            }
            // A mutant is meant to differ from its peers, not from the past.
            let expect = entry.as_ref().filter(|entry| {
                let mut known = CONFIGS.iter().chain(&own);
                let as_recorded = known.any(|&(known, it)| known == name && as_entry_says(it) == config);
                options.mutant.is_none() && as_recorded && entry.profile == options.profile.name()
            });
            let expected = expect.and_then(|entry| entry.expect.get(name));
            runs.push(row(&trace, name, &outcomes, expected.map(|expect| expect.output_digest.as_str())));
        }
    }
    progress(total, total, "");
    let equal = runs.iter().all(|run| run.equal);
    let profile = options.profile.name();
    Ok(Report { schema: SCHEMA, profile, equal, missing: missing(&options.require, &runs), runs })
}

fn row(
    trace: &Trace,
    config: &'static str,
    outcomes: &[(&'static str, Result<Outcome, BackendError>)],
    expected: Option<&str>,
) -> Run {
    let ran: Vec<(&str, &Outcome)> =
        outcomes.iter().filter_map(|(name, outcome)| Some((*name, outcome.as_ref().ok()?))).collect();
    let reference = ran.first().copied();
    let difference =
        reference.and_then(|reference| ran[1..].iter().find_map(|&other| compare(reference, other)));
    // Decisions are part of the promise too: equal bytes for other reasons are not equal.
    let digests: BTreeSet<u64> = ran.iter().filter_map(|(_, outcome)| outcome.decision_digest).collect();
    let words = match &difference {
        Some(difference) => Some(difference.words.clone()),
        None if digests.len() > 1 => Some("the packets are equal, the decision digests are not".into()),
        None => reference.zip(expected).and_then(|((_, outcome), expected)| {
            let digest = hex(&outcome.output_digest());
            (digest != expected).then(|| {
                format!(
                    "all agree on {}, where the trace's manifest expects {}",
                    &digest[..16],
                    &expected[..expected.len().min(16)]
                )
            })
        }),
    };
    let failed = outcomes.iter().any(|(_, outcome)| matches!(outcome, Err(BackendError::Failed(_))));
    Run {
        trace: trace.name.clone(),
        config,
        frames: trace.frames.len(),
        backends: outcomes.iter().map(|(name, outcome)| (*name, side(outcome))).collect::<BTreeMap<_, _>>(),
        equal: words.is_none() && !failed && !ran.is_empty(),
        first_differing_frame: difference.and_then(|difference| difference.frame),
        difference: words,
    }
}

fn side(outcome: &Result<Outcome, BackendError>) -> Side {
    match outcome {
        Ok(outcome) => Side::Ran {
            packets: outcome.records.len(),
            decision_digest: outcome.decision_digest.map(|digest| format!("{digest:016x}")),
            output_digest: hex(&outcome.output_digest()),
            wall_ns: outcome.cost.wall_ns,
            instructions: outcome.cost.instructions,
            cycles: outcome.cost.cycles,
        },
        Err(BackendError::Skipped(why)) => Side::Skipped { why: why.clone() },
        Err(BackendError::NotApplicable(why)) => Side::NotApplicable { why: why.clone() },
        Err(BackendError::Failed(why)) => Side::Failed { why: why.clone() },
    }
}

/// Required backends that did not run: `not_applicable` is their nature, everything else is missing.
fn missing(required: &[String], runs: &[Run]) -> Vec<String> {
    let mut missing = Vec::new();
    for name in required {
        let excused = |side: &Side| matches!(side, Side::Ran { .. } | Side::NotApplicable { .. });
        let ran = runs.iter().any(|run| matches!(run.backends.get(name.as_str()), Some(Side::Ran { .. })));
        let absent = runs.iter().find_map(|run| match run.backends.get(name.as_str()) {
            Some(side) if excused(side) => None,
            Some(Side::Skipped { why } | Side::Failed { why }) => {
                Some(format!("{name}: {why} ({} {})", run.trace, run.config))
            }
            _ => Some(format!("{name}: there is no such backend")),
        });
        match absent {
            Some(text) => missing.push(text),
            None if !ran => missing.push(format!("{name}: it ran nowhere")),
            None => {}
        }
    }
    missing
}

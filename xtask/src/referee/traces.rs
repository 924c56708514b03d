//! The shipped traces on RTL and on the simulator.

use crate::images;
use anyhow::{Context as _, Result, ensure};
use gro_bench::backend::{Backend, NicBackend, RtlBackend, UserBackend};
use gro_bench::trace::{Manifest, Trace, shipped};
use gro_bench::{EngineConfig, Outcome, compare};
use gro_core::{Config, Release};
use gro_nic::machine::WaitStates;
use gro_nic::referee::RtlCore;
use serde::{Deserialize, Serialize};

/// A trace under its config, with as many wait states of packet memory and registers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) trace: String,
    pub(super) frames: usize,
    pub(super) wait_states: u32,
    /// The same on all machines.
    pub(super) instructions: u64,
    pub(super) cv32e40p: u64,
    pub(super) simulator: u64,
    /// With no wait states only.
    pub(super) ibex: Option<u64>,
}

impl Run {
    /// How far the simulator is off.
    pub(super) fn error(&self) -> f64 {
        self.simulator.abs_diff(self.cv32e40p) as f64 / self.cv32e40p as f64
    }

    /// Within 0.1 %, and 1 % with wait states.
    pub(super) fn holds(&self) -> bool {
        self.error() <= if self.wait_states == 0 { 0.001 } else { 0.01 }
    }
}

/// Runs every shipped trace, or the first frames of it; an error if digests, packets or instructions differ.
pub(super) fn runs(frames: Option<usize>) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for path in shipped(&images::root()?.join("traces"))? {
        let whole = Trace::open(&path)?;
        let trace = whole.cut(frames.unwrap_or(usize::MAX));
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let entry = Manifest::beside(&path)?.and_then(|manifest| manifest.entry(&file).cloned());
        let own = entry.as_ref().and_then(|entry| entry.config).map_or(Config::DEFAULT, |own| own.config());
        let config = entry.as_ref().map_or(own, |entry| entry.under(own));
        let profile = entry.as_ref().and_then(|entry| Release::by_name(&entry.profile));
        let engine =
            EngineConfig { profile: profile.unwrap_or(Release::Linux618), ..EngineConfig::of(config) };
        let user = outcome(&mut UserBackend, &trace, &engine)?;
        for wait_states in [0, 3, 10] {
            let wait = WaitStates { packet: wait_states, registers: wait_states };
            let simulator = outcome(&mut NicBackend::waiting(wait), &trace, &engine)?;
            let cv32e40p = outcome(&mut RtlBackend::waiting(RtlCore::Cv32e40p, wait), &trace, &engine)?;
            let mut others = vec![("nic", &simulator), ("nic-rtl-cv32e40p", &cv32e40p)];
            let ibex = match wait_states {
                0 => Some(outcome(&mut RtlBackend::waiting(RtlCore::Ibex, wait), &trace, &engine)?),
                _ => None,
            };
            others.extend(ibex.as_ref().map(|ibex| ("nic-rtl-ibex", ibex)));
            for &(name, other) in &others {
                if let Some(difference) = compare(("user", &user), (name, other)) {
                    anyhow::bail!("{}: {name} differs from user: {difference:?}", trace.name);
                }
                ensure!(
                    other.decision_digest == user.decision_digest,
                    "{}: {name} decides otherwise",
                    trace.name
                );
                ensure!(
                    other.cost.instructions == simulator.cost.instructions,
                    "{}: {name} retires {:?} instructions, the simulator {:?}",
                    trace.name,
                    other.cost.instructions,
                    simulator.cost.instructions
                );
            }
            let cycles = |outcome: &Outcome| outcome.cost.cycles.context("no cycles");
            let run = Run {
                trace: trace.name.clone(),
                frames: trace.frames.len(),
                wait_states,
                instructions: simulator.cost.instructions.context("no instructions")?,
                cv32e40p: cycles(&cv32e40p)?,
                simulator: cycles(&simulator)?,
                ibex: ibex.as_ref().map(cycles).transpose()?,
            };
            let Run { cv32e40p, simulator, instructions, .. } = &run;
            println!(
                "{}, {} frames, {wait_states} wait states: {instructions} instructions, {cv32e40p} cycles, simulator {simulator} ({:.4} %)",
                run.trace,
                run.frames,
                100.0 * run.error()
            );
            runs.push(run);
        }
    }
    Ok(runs)
}

fn outcome(backend: &mut dyn Backend, trace: &Trace, engine: &EngineConfig) -> Result<Outcome> {
    backend.run(trace, engine).with_context(|| format!("{} on {}", trace.name, backend.name()))
}

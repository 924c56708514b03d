//! Micro-benchmarks and random programs, on RTL and on the simulator.

use anyhow::{Context as _, Result, ensure};
use gro_nic::machine::Machine;
use gro_nic::referee::micro::{self, Case, Measured};
use gro_nic::referee::{Rtl, RtlCore};
use serde::{Deserialize, Serialize};

/// A benchmark, and cycles from one wait to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Benchmark {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) wait_states: u32,
    /// The same on all machines.
    pub(super) instructions: u64,
    pub(super) cv32e40p: u64,
    pub(super) simulator: u64,
    pub(super) ibex: u64,
}

impl Benchmark {
    pub(super) fn equal(&self) -> bool {
        self.cv32e40p == self.simulator
    }
}

/// Random programs whose instructions and cycles were equal on CV32E40P and on the simulator, and instructions on Ibex.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Random {
    pub(super) programs: u64,
    pub(super) equal: u64,
}

pub(super) fn benchmarks() -> Result<Vec<Benchmark>> {
    let run = |case: Case| {
        let [cv32e40p, simulator, ibex] = all(&case)?;
        let counts = [cv32e40p, simulator, ibex].map(|measured| measured.instructions);
        ensure!(counts[0] == counts[1] && counts[1] == counts[2], "{}: {counts:?} instructions", case.name);
        let benchmark = Benchmark {
            group: case.group.to_owned(),
            name: case.name,
            wait_states: case.wait.packet,
            instructions: simulator.instructions,
            cv32e40p: cv32e40p.cycles,
            simulator: simulator.cycles,
            ibex: ibex.cycles,
        };
        if !benchmark.equal() {
            eprintln!("differs: {benchmark:?}");
        }
        Ok(benchmark)
    };
    micro::cases().into_iter().map(run).collect()
}

pub(super) fn random(programs: u64) -> Result<Random> {
    let mut equal = 0;
    for seed in 0..programs {
        let case = micro::random(seed);
        let [cv32e40p, simulator, ibex] = all(&case)?;
        if cv32e40p == simulator && ibex.instructions == simulator.instructions {
            equal += 1;
        } else {
            eprintln!(
                "{} differs: {cv32e40p:?} on CV32E40P, {simulator:?} on the simulator, {ibex:?} on Ibex",
                case.name
            );
        }
    }
    Ok(Random { programs, equal })
}

fn all(case: &Case) -> Result<[Measured; 3]> {
    let image = case.image();
    let rtl = |core| -> Result<Measured> {
        let mut rtl = Rtl::new(core, &image, case.wait)?;
        micro::measure(&mut rtl).with_context(|| format!("{} on {}", case.name, core.name()))
    };
    let mut machine = Machine::with_wait_states(&image, case.wait);
    let simulator = micro::measure(&mut machine).with_context(|| case.name.clone())?;
    Ok([rtl(RtlCore::Cv32e40p)?, simulator, rtl(RtlCore::Ibex)?])
}

//! `cargo xtask referee`: the simulator beside processor RTL.

mod build;
mod page;
mod timing;
mod traces;

use crate::acceptance::said;
use crate::images;
use anyhow::{Result, ensure};
use gro_nic::referee::CORE_PACKAGES;
use serde::{Deserialize, Serialize};
use std::fs;

/// What to do; without any, benchmarks and whole traces, and write what came out.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only install the cores and build what runs them.
    #[arg(long)]
    build: bool,
    /// Only the first so many frames of each trace.
    #[arg(long)]
    frames: Option<usize>,
    /// Compare, and write nothing.
    #[arg(long)]
    check: bool,
    /// Random programs to compare.
    #[arg(long, default_value_t = 2_000)]
    random: u64,
}

/// `docs/acceptance/timing.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    schema: u32,
    name: String,
    date: String,
    verilator: String,
    cores: Vec<String>,
    benchmarks: Vec<timing::Benchmark>,
    random: timing::Random,
    traces: Vec<traces::Run>,
}

const DOCUMENT: &str = "docs/acceptance/timing.json";
const PAGE: &str = "docs/timing.md";

pub(crate) fn run(args: &Args) -> Result<()> {
    build::ready()?;
    if args.build {
        return Ok(());
    }
    let document = Document {
        schema: 1,
        name: "timing".to_owned(),
        date: said("date", &["-u", "+%F"])?,
        verilator: said("verilator", &["--version"]).unwrap_or_else(|_| "unknown".to_owned()),
        cores: CORE_PACKAGES.iter().map(|core| format!("{}=={}", core.name, core.version)).collect(),
        benchmarks: timing::benchmarks()?,
        random: timing::random(args.random)?,
        traces: traces::runs(args.frames)?,
    };
    let differ = document.benchmarks.iter().filter(|case| !case.equal()).count();
    println!("benchmarks: {} of {} equal", document.benchmarks.len() - differ, document.benchmarks.len());
    println!("random programs: {} of {} equal", document.random.equal, document.random.programs);
    if !args.check {
        let root = images::root()?;
        fs::write(root.join(DOCUMENT), serde_json::to_string_pretty(&document)? + "\n")?;
        fs::write(root.join(PAGE), page::page(&document))?;
        println!("written: {DOCUMENT}, {PAGE}");
    }
    ensure!(document.traces.iter().all(traces::Run::holds), "a trace is beyond its bar");
    ensure!(differ == 0 && document.random.equal == document.random.programs, "simulator and RTL differ");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_nic::machine::Machine;
    use gro_nic::referee::micro;

    /// Without the RTL: the simulator still says what the RTL said when the table was written, and the page shows that table.
    #[test]
    fn the_simulator_still_has_the_cycles_of_the_committed_table() {
        let root = images::root().unwrap();
        let document: Document = serde_json::from_slice(&fs::read(root.join(DOCUMENT)).unwrap()).unwrap();
        let cases = micro::cases();
        assert_eq!(cases.len(), document.benchmarks.len());
        for (case, recorded) in cases.iter().zip(&document.benchmarks) {
            assert_eq!(case.name, recorded.name);
            let mut machine = Machine::with_wait_states(&case.image(), case.wait);
            let measured = micro::measure(&mut machine).unwrap();
            assert_eq!(measured.instructions, recorded.instructions, "{}", case.name);
            assert_eq!(measured.cycles, recorded.cv32e40p, "{}", case.name);
        }
        assert_eq!(fs::read_to_string(root.join(PAGE)).unwrap(), page::page(&document));
    }
}

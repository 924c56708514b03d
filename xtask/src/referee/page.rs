//! `docs/timing.md`: the document as tables.

use super::Document;
use super::timing::Benchmark;
use std::fmt::Write as _;

/// Cycles of the empty benchmark, which every other one has too.
const EMPTY: &str = "nothing";

pub(super) fn page(document: &Document) -> String {
    let mut page = String::from(HEAD);
    let base = |pick: fn(&Benchmark) -> u64| {
        document.benchmarks.iter().find(|case| case.name == EMPTY).map_or(0, pick)
    };
    let (core, ibex) = (base(|case| case.cv32e40p), base(|case| case.ibex));
    let equal = document.benchmarks.iter().filter(|case| case.equal()).count();
    let exact = document.traces.iter().filter(|run| run.cv32e40p == run.simulator).count();
    let worst = document.traces.iter().map(|run| run.error()).fold(0.0, f64::max);
    let _ = write!(
        page,
        "Measured {} with {} and {}.\n\n\
         - Benchmarks: {equal} of {} have the same cycles.\n\
         - Random programs: {} of {} have the same instructions and cycles.\n\
         - Traces: {exact} of {} runs have the same cycles; the worst is {:.4} % off. Retired instructions are the same in all.\n",
        document.date,
        document.verilator,
        document.cores.join(", "),
        document.benchmarks.len(),
        document.random.equal,
        document.random.programs,
        document.traces.len(),
        100.0 * worst,
    );
    page.push_str("\n## Traces\n\n| trace | frames | wait states | instructions | CV32E40P | simulator | Ibex | cycles a frame |\n|---|---|---|---|---|---|---|---|\n");
    for run in &document.traces {
        let ibex = run.ibex.map_or_else(String::new, |cycles| cycles.to_string());
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {ibex} | {:.1} |",
            run.trace,
            run.frames,
            run.wait_states,
            run.instructions,
            run.cv32e40p,
            run.simulator,
            run.cv32e40p as f64 / run.frames as f64
        );
    }
    let mut group = "";
    for case in &document.benchmarks {
        if case.group != group {
            group = &case.group;
            let _ = write!(
                page,
                "\n## {}\n\n| benchmark | CV32E40P | simulator | Ibex |\n|---|---|---|---|\n",
                heading(group)
            );
        }
        let _ = writeln!(
            page,
            "| {} | {} | {}{} | {} |",
            case.name,
            case.cv32e40p as i64 - core as i64,
            case.simulator as i64 - core as i64,
            if case.equal() { "" } else { " **differs**" },
            case.ibex as i64 - ibex as i64,
        );
    }
    page
}

fn heading(group: &str) -> String {
    let mut letters = group.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

const HEAD: &str = "\
# Timing: the simulator beside the RTL

Written by `cargo xtask referee`; do not edit. The simulator follows CV32E40P (see `gro-nic/src/machine/timing.rs`). Here its cycles stand
beside those of the core's published RTL under Verilator, for what one thing costs and for whole traces. Ibex is another core, with cycles
of its own: beside it only the retired instructions must agree, and they do in every line.

A benchmark sets registers, waits in `wfi`, does what its name says, and waits again; the figures are its cycles less those of the one that
does nothing, so falling asleep and waking up are not in them. \"Wait states\" are those of packet memory and registers; instruction and data
memory have none.

";

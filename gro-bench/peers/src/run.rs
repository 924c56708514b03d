//! A whole run: everything that this machine can measure, in one report.

use crate::cells::{self, Cell, State};
use crate::clock::{Clock, cpus, pin};
use crate::contest::Contest;
use crate::measure::{self, Effort};
use crate::memory::huge_mib;
use crate::report::{CellReport, Conditions, EngineNote, Machine, Part, Report};
use crate::ring::Ring;
use crate::workload::BURST;
use crate::{bars, count, kernel, page, rules, scaling};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// What to measure.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Fewer cells and rounds, for a look.
    #[arg(long)]
    quick: bool,
    /// Only these cells, such as 8x4 or 8x4/ipv6; all, with everything else there is to measure, when none is named.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// The CPU to measure on; the last one when none is named.
    #[arg(long)]
    cpu: Option<usize>,
    /// Folder of the shipped traces.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../traces"))]
    traces: PathBuf,
    /// Where to write JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write a page.
    #[arg(long)]
    html: Option<PathBuf>,
}

/// Frames of the hot ring.
const HOT: usize = 256;
/// Bytes of the cold ring, more than the caches of a core.
const COLD: usize = 64 << 20;
/// Cells of a quick run.
const QUICK: [&str; 5] = ["1x1", "8x4", "64x1", "64x16", "8x4/vxlan"];

/// Measures, prints the bars and writes what is wanted.
///
/// # Errors
/// A peer that loses bytes, or a file that cannot be written. What this machine cannot measure is in the report, with the reason.
pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let all_cpus = cpus()?;
    let cpu = args.cpu.or(all_cpus.last().copied()).context("no CPU to run on")?;
    // What needs all CPUs runs before this thread, and whatever it starts, is bound to one.
    let effort = effort(args.quick);
    let whole = args.cells.is_empty();
    let cores = part(whole, || scaling::cores(effort, args.quick));
    let kernel = part(whole, || kernel::measure(args.quick));
    let instructions = part(whole, count::measure);

    pin(cpu).with_context(|| format!("binding to CPU {cpu}"))?;
    let clock = Clock::calibrate();
    let memory = part(whole, scaling::memory);
    let mut contest = Contest::everybody();
    for (name, why) in &contest.skipped {
        eprintln!("{name} skipped: {why}");
    }
    let engines = notes(&contest);
    let rules = part(whole, || rules::compare(&args.traces, args.quick));
    let (cells, huge) = measure_cells(&mut contest, &wanted(args)?, &clock, effort)?;
    let flows = part(whole, || scaling::flows(&mut contest, &clock, fewer(effort), args.quick));

    let tables = part(whole, || scaling::tables(&clock, fewer(effort)));

    let mut report = Report {
        schema: 1,
        date: said("date", &["-u", "+%F"]),
        machine: machine(&clock, all_cpus.len()),
        conditions: conditions(effort, cpu, huge),
        engines,
        bars: Vec::new(),
        ratios: Vec::new(),
        cells,
        flows,
        tables,
        memory,
        cores,
        kernel,
        rules,
        instructions,
    };
    report.bars = bars::all(&report);
    report.ratios = bars::ratios(&report);
    report.conditions.seconds = start.elapsed().as_secs_f64().round();
    print(&report);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.html {
        fs::write(path, page::html(&report)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn effort(quick: bool) -> Effort {
    if quick { Effort { rounds: 3, bursts: 400 } } else { Effort { rounds: 15, bursts: 400 } }
}

/// For rings that take long to go round.
fn fewer(effort: Effort) -> Effort {
    Effort { rounds: effort.rounds.div_ceil(3), ..effort }
}

fn part<T>(wanted: bool, measure: impl FnOnce() -> Result<T>) -> Part<T> {
    if !wanted {
        return Part::Skipped("not asked for in this run".to_owned());
    }
    let part = Part::from(measure());
    if let Part::Skipped(why) = &part {
        eprintln!("skipped: {why}");
    }
    part
}

fn wanted(args: &Args) -> Result<Vec<Cell>> {
    let mut cells = cells::all();
    let known: Vec<String> = cells.iter().map(|cell| cell.name.clone()).collect();
    if let Some(other) = args.cells.iter().find(|name| !known.contains(name)) {
        anyhow::bail!("no cell {other}; there are {}", known.join(", "));
    }
    if !args.cells.is_empty() {
        cells.retain(|cell| args.cells.contains(&cell.name));
    } else if args.quick {
        cells.retain(|cell| QUICK.contains(&&*cell.name));
    }
    ensure!(!cells.is_empty(), "no cell to measure");
    Ok(cells)
}

fn measure_cells(
    contest: &mut Contest,
    cells: &[Cell],
    clock: &Clock,
    effort: Effort,
) -> Result<(Vec<CellReport>, Option<u64>)> {
    let mut hot = Ring::new(HOT * 10_240, HOT).context("memory for the hot ring")?;
    let mut cold = Ring::new(COLD, usize::MAX).context("memory for the cold ring")?;
    let (mut reports, mut huge) = (Vec::new(), None);
    for (number, cell) in cells.iter().enumerate() {
        for state in State::ALL {
            let ring = if state == State::Hot { &mut hot } else { &mut cold };
            if state != State::Dram {
                ring.fill(cell.stream);
            }
            let report = measure::cell(&mut contest.engines, ring, cell, state, clock, effort)?;
            eprintln!("{:2}/{} {}", number + 1, cells.len(), measure::progress(&report));
            reports.push(report);
        }
        huge = huge_mib();
    }
    Ok((reports, huge))
}

fn notes(contest: &Contest) -> Vec<EngineNote> {
    let measured = contest.engines.iter().map(|engine| EngineNote {
        name: engine.name().to_owned(),
        what: Some(engine.what()),
        skipped: None,
    });
    let skipped = contest.skipped.iter().map(|(name, why)| EngineNote {
        name: (*name).to_owned(),
        what: None,
        skipped: Some(why.clone()),
    });
    measured.chain(skipped).collect()
}

fn conditions(effort: Effort, cpu: usize, huge_mib: Option<u64>) -> Conditions {
    Conditions {
        rounds: effort.rounds,
        bursts_a_round: effort.bursts,
        frames_a_burst: BURST,
        cpu,
        statistic: "of each round the median burst; of those median, least and most; one round before them is not counted, nor \
                    is the first half of an engine's passes over the ring in each round; all engines take turns within a \
                    round, and another one begins each time"
            .to_owned(),
        timed: "rdtsc around one call for a burst, less the cost of reading it; descriptors are filled before, frames put back \
                after. Every burst is a poll of its own: all packets leave at its end"
            .to_owned(),
        states: "hot: 256 frames, again and again; cold: a ring of 64 MiB, read four times before each engine's turn, so that it \
                 lies in the last cache as far as there is room; dram: that ring, every line of a frame flushed after \
                 use"
            .to_owned(),
        frames: "1,514 bytes (Ethernet, IPv4, TCP with timestamps, 1,448 bytes of payload) where nothing else is said, checksums \
                 valid, DF, ACK alone; FxK is F flows, round robin in runs of K segments; hash: Toeplitz"
            .to_owned(),
        memory: "elements of 2,304 bytes (more where frames are longer), in shuffled order, in one memory of 2 MiB pages; tun-rs \
                 needs buffers that grow, and has copies of the frames in such buffers of its own"
            .to_owned(),
        huge_mib,
        seconds: 0.0,
    }
}

fn machine(clock: &Clock, cores: usize) -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let compiled = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("avx512f", cfg!(target_feature = "avx512f")),
        ("avx512vnni", cfg!(target_feature = "avx512vnni")),
    ];
    let simd = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
    ];
    let names = |features: [(&str, bool); 3]| {
        features.iter().filter(|(_, there)| *there).map(|(name, _)| (*name).to_owned()).collect()
    };
    Machine {
        cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
        cores,
        tsc_ghz: (clock.ghz() * 1_000.0).round() / 1_000.0,
        kernel: said("uname", &["-r"]),
        rustc: env!("PEERS_RUSTC").to_owned(),
        compiled_for: names(compiled),
        simd: names(simd),
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn print(report: &Report) {
    println!("{:>6} {:>9} {:>16}  what", "", "measured", "bound");
    for bar in &report.bars {
        let verdict = match bar.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "-",
        };
        let measured = bar.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.2}"));
        let bound = format!("{} {} {}", bar.kind, bar.bound, bar.unit);
        println!("{verdict:>6} {measured:>9} {bound:>20}  {} ({})", bar.what, bar.at);
    }
    println!("{:.0} s", report.conditions.seconds);
}

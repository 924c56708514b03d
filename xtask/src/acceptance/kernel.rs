//! Figures of exact equality with the running kernel.

use super::Figure;
use crate::images;
use anyhow::{Context as _, Result, bail};
use gro_bench::determinism::{self, BATCHES, Busy};
use gro_bench::fuzz::{Counts, Drawn, Scope, fuzz};
use gro_bench::report::Side;
use gro_bench::round_trip::{RoundTrip, round_trip_file};
use gro_bench::trace::shipped;
use gro_bench::{Backend, CONFIGS, Options, backend, mutants, verify};
use gro_core::Config;
use std::collections::BTreeMap;
use std::time::Instant;

pub(super) const SEEDS: &str =
    "batches 1, batches for tc 2, of .ci/run 1, repeats 3, mutants in gro-bench/src/mutants, built traces 1";

pub(super) fn figures() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    comparison(&mut figures)?;
    random_batches(&mut figures)?;
    rules(&mut figures)?;
    repeats(&mut figures)?;
    way_back(&mut figures)?;
    Ok(figures)
}

fn comparison(figures: &mut Vec<Figure>) -> Result<()> {
    let require = ["user", "tc", "nic", "kernel"];
    let options = Options {
        traces: shipped(&images::root()?.join("traces"))?,
        require: require.map(String::from).to_vec(),
        ..Options::default()
    };
    let report = verify(&options, &mut backend::all(), |_, _, _| ())?;
    for (config, _) in CONFIGS {
        let runs = || report.runs.iter().filter(|run| run.config == config);
        let ran = |name: &str| {
            runs().filter(|run| matches!(run.backends.get(name), Some(Side::Ran { .. }))).count()
        };
        let equal = runs().filter(|run| run.equal).count();
        let counts = require.map(|name| format!("{name} ran {}", ran(name))).join(", ");
        let all = runs().count();
        let must: &[&str] = match config {
            "tc" => &require,
            "in-band" => &["user", "nic"],
            _ => &["user", "nic", "kernel"],
        };
        let holds = all > 0 && equal == all && must.iter().all(|name| ran(name) == all);
        let bar = "all, with every backend that the config lets run";
        figures.push(Figure::new(
            format!("shipped traces equal under config {config}"),
            format!("{equal} of {all}; {counts}"),
            bar,
            holds,
        ));
    }
    Ok(())
}

fn random_batches(figures: &mut Vec<Figure>) -> Result<()> {
    let start = Instant::now();
    run(1, 5_000, &["user", "tc", "nic"], Scope::All)?;
    let seconds = start.elapsed().as_secs_f64();
    figures.push(Figure::new(
        "5,000 batches, as .ci/run does them",
        format!("{seconds:.0} s"),
        "< 120 s",
        seconds < 120.0,
    ));
    let counts = run(1, 200_000, &["user", "nic"], Scope::All)?;
    let what = "random batches through kernel, user and nic: differences in bytes, order, gso_size, segs, GSO type, verdicts";
    figures.push(Figure::new(
        what,
        words(&counts),
        "0 in 100,000 batches, about 3 million frames",
        compared(&counts, 100_000) && counts.frames >= 3_000_000,
    ));
    let counts = run(2, 20_000, &["tc"], Scope::Tc)?;
    let what = "random batches through kernel and tc: differences";
    figures.push(Figure::new(what, words(&counts), "0 in 20,000 batches", compared(&counts, 20_000)));
    Ok(())
}

/// Ends with an error at the first difference, which `cargo xtask fuzz-kernel` with that seed then shrinks and keeps.
fn run(seed: u64, batches: usize, names: &[&str], scope: Scope) -> Result<Counts> {
    let mut ours: Vec<Box<dyn Backend>> =
        backend::all().into_iter().filter(|backend| names.contains(&backend.name())).collect();
    let mut said = 0;
    let counts =
        fuzz(seed, batches, Drawn { scope, ..Drawn::default() }, kernel()?.as_mut(), &mut ours, |counts| {
            if counts.batches >= said + 10_000 {
                said = counts.batches;
                eprintln!("{} batches, {} frames", counts.batches, counts.frames);
            }
        })?;
    Ok(counts)
}

fn words(counts: &Counts) -> String {
    let Counts { batches, frames, packets, excluded, .. } = counts;
    let compared: Vec<String> =
        counts.compared.iter().map(|(name, batches)| format!("{name} {batches} batches")).collect();
    format!(
        "0 ({batches} batches, {frames} frames, {packets} packets; {}; {excluded} frames excluded, see docs/adr/0004)",
        compared.join(", ")
    )
}

fn compared(counts: &Counts, least: usize) -> bool {
    counts.compared.iter().all(|(_, batches)| *batches >= least)
}

fn rules(figures: &mut Vec<Figure>) -> Result<()> {
    let report = mutants::catch(&images::root()?.join("traces"), kernel()?.as_mut(), &gro_core::Rule::ALL)?;
    let (all, caught) =
        (report.mutants.len(), report.mutants.iter().filter(|(_, caught)| caught.is_some()).count());
    figures.push(Figure::new(
        "rules switched off, one at a time, that a shipped trace or 2,000 random batches notice",
        format!("{caught} of {all}"),
        "all, at least 30",
        caught == all && all >= 30,
    ));
    Ok(())
}

fn repeats(figures: &mut Vec<Figure>) -> Result<()> {
    const REPEATS: usize = 10_000;
    for (state, is_busy) in [("idle", false), ("every core busy", true)] {
        let busy = is_busy.then(Busy::start);
        let frames = determinism::repeat(kernel()?.as_mut(), 3, REPEATS, |_| ())?;
        drop(busy);
        figures.push(Figure::new(
            format!("repeats of {BATCHES} batches through backend kernel, {state}: differences"),
            format!("0 in {REPEATS} repeats of {frames} frames"),
            "0 in 10,000",
            true,
        ));
    }
    Ok(())
}

fn way_back(figures: &mut Vec<Figure>) -> Result<()> {
    let mut all = RoundTrip::default();
    for path in shipped(&images::root()?.join("traces"))? {
        let one = round_trip_file(&path, &Config::DEFAULT)?;
        if let Some(difference) = one.difference {
            bail!("{}: {difference}", path.display());
        }
        all.packets += one.packets;
        all.frames += one.frames;
        all.identical += one.identical;
        all.different += one.different;
        for (exception, count) in one.exceptions {
            *all.exceptions.entry(exception).or_default() += count;
        }
    }
    let exceptions: BTreeMap<&str, usize> =
        all.exceptions.iter().map(|(exception, &count)| (exception.reason(), count)).collect();
    figures.push(Figure::new(
        "merged packets of the shipped traces that come back from the kernel's GSO as the frames they were",
        format!(
            "{} of {} ({} frames); exceptions, as predicted: {exceptions:?}",
            all.identical, all.packets, all.frames
        ),
        "all but named exceptions",
        all.holds(),
    ));
    Ok(())
}

fn kernel() -> Result<Box<dyn Backend>> {
    backend::by_name("kernel").context("there is no backend kernel")
}

//! `cargo xtask mutants`: which input notices that a rule is off, as a table in SPECIFICATION.md.

use crate::images;
use anyhow::{Context as _, Result, bail, ensure};
use gro_bench::mutants::{Caught, Report, catch, describe};
use gro_bench::{backend, rule_name};
use gro_core::Rule;
use std::fmt::Write as _;
use std::fs;

/// What to do with the table.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Writes nothing; fails when the committed table differs.
    #[arg(long)]
    check: bool,
}

const FILE: &str = "SPECIFICATION.md";
const START: &str = "<!-- mutants -->\n";
const END: &str = "<!-- /mutants -->";

/// Catches every mutant, prints the table and writes or compares it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = images::root()?;
    let mut kernel = backend::by_name("kernel").context("there is no backend kernel")?;
    let report = catch(&root.join("traces"), kernel.as_mut(), &Rule::ALL)?;
    let table = table(&report);
    print!("{table}");
    // A table without the kernel is not the one that was promised.
    if let Some(why) = &report.skipped {
        bail!("kernel skipped: {why}");
    }
    let at_large: Vec<_> = report
        .mutants
        .iter()
        .filter(|(_, caught)| caught.is_none())
        .map(|(rule, _)| rule_name(*rule))
        .collect();
    ensure!(at_large.is_empty(), "nothing notices that these are off: {}", at_large.join(" "));

    let path = root.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    let (before, rest) = text.split_once(START).with_context(|| format!("{FILE} has no {START}"))?;
    let (committed, behind) = rest.split_once(END).with_context(|| format!("{FILE} has no {END}"))?;
    if committed == table {
        return Ok(());
    }
    ensure!(!args.check, "the table in {FILE} differs; run cargo xtask mutants");
    fs::write(&path, [before, START, &table, END, behind].concat())
        .with_context(|| format!("cannot write {FILE}"))
}

fn table(report: &Report) -> String {
    let mut text = String::from(
        "| rule | about | kernel function | without it | caught by | truth |\n|---|---|---|---|---|---|\n",
    );
    for (rule, caught) in &report.mutants {
        let about = describe(*rule);
        let (by, truth) = match caught {
            Some(Caught { by, truth }) => (by.to_string(), *truth),
            None => ("nothing".into(), ""),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {by} | {truth} |",
            rule_name(*rule),
            about.about,
            about.function,
            about.broken
        );
    }
    text
}

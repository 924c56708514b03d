//! Figures of the attached program: integrity, attaching under load, faults, cost, and what the stack saw.
//!
//! Best on a machine that does nothing else: BPF objects and warnings are counted machine-wide, and so is CPU time.

mod cells;
mod cost;
mod cycles;
mod faults;
mod recorded;

use super::{Args, Figure};
use crate::bench_live;
use anyhow::{Result, ensure};
use gro_bench::live::{Counters, KernelLog, LiveError, Place, Receiver, Topology, can_attach};

pub(super) const SEEDS: &str = "content of flows 1, wire 1";

pub(super) fn figures(args: &Args) -> Result<Vec<Figure>> {
    let gro = bench_live::binary(args.gro.as_deref())?;
    ensure!(can_attach(&gro), "{} cannot attach", gro.display());
    const PARTS: [&str; 5] = ["cells", "cycles", "faults", "recorded", "cost"];
    for only in &args.only {
        ensure!(PARTS.contains(&only.as_str()), "attach has no part {only}; it has {}", PARTS.join(", "));
    }
    let mut figures = Vec::new();
    let wanted = |part: &str| args.only.is_empty() || args.only.iter().any(|only| only == part);
    if wanted("cells") {
        cells::figures(&gro, &mut figures);
    }
    if wanted("cycles") {
        cycles::figures(&gro, &mut figures);
    }
    if wanted("faults") {
        faults::figures(&gro, &mut figures);
    }
    if wanted("recorded") {
        recorded::figures(&gro, &mut figures);
    }
    if wanted("cost") {
        cost::figures(&gro, &mut figures)?;
    }
    Ok(figures)
}

/// Both deliveries.
fn deliveries() -> [Receiver; 2] {
    [Receiver::InPlace(Vec::new()), Receiver::ViaTap(Vec::new())]
}

/// What the receiver and the machine count while traffic flows.
pub(super) struct Watch<'a> {
    topology: &'a Topology,
    before: Counters,
    log: KernelLog,
}

/// What they counted.
pub(super) struct Watched {
    /// `TcpInErrs`
    errors: i64,
    /// `TcpInCsumErrors`
    checksum_errors: i64,
    warnings: Vec<String>,
}

impl<'a> Watch<'a> {
    pub(super) fn start(topology: &'a Topology) -> Result<Self, LiveError> {
        Ok(Self { topology, before: counters(topology)?, log: KernelLog::watch()? })
    }

    pub(super) fn end(mut self) -> Result<Watched, LiveError> {
        let counted = counters(self.topology)?.since(&self.before);
        Ok(Watched {
            errors: counted.get("TcpInErrs"),
            checksum_errors: counted.get("TcpInCsumErrors"),
            warnings: self.log.warnings(),
        })
    }
}

fn counters(topology: &Topology) -> Result<Counters, LiveError> {
    topology.host(Place::B).within(Counters::read)
}

impl Watched {
    pub(super) fn errors(&self) -> i64 {
        self.errors
    }

    pub(super) fn is_clean(&self) -> bool {
        self.checksum_errors == 0 && self.warnings.is_empty()
    }

    pub(super) fn words(&self) -> String {
        let warnings = match &self.warnings[..] {
            [] => "0 warnings".to_owned(),
            [first, ..] => format!("{} warnings, the first: {first}", self.warnings.len()),
        };
        format!("{} checksum errors, {warnings}", self.checksum_errors)
    }
}

/// Measures a figure. An error is its value, so that the others are still measured.
pub(super) fn figure(
    what: String,
    bar: &'static str,
    measure: impl FnOnce() -> Result<(String, bool), LiveError>,
) -> Figure {
    figure_of(what, bar, measure)
}

/// As [`figure`], with any error.
pub(super) fn figure_of<E: std::fmt::Display>(
    what: String,
    bar: &'static str,
    measure: impl FnOnce() -> Result<(String, bool), E>,
) -> Figure {
    eprintln!("{what}");
    match measure() {
        Ok((value, holds)) => Figure::new(what, value, bar, holds),
        Err(error) => Figure::new(what, format!("failed: {error}"), bar, false),
    }
}

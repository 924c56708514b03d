//! What it costs, by `cargo xtask bench-live`.

use super::Figure;
use crate::bench_live::{Args, Spread, run_task};
use anyhow::Result;
use std::path::Path;

pub(super) fn figures(gro: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let report = run_task(&Args::whole(gro))?;
    let words = |spread: Spread| format!("{:.2} ({:.2} to {:.2})", spread.median, spread.min, spread.max);
    for row in report.bulk.iter().filter(|row| row.state != "none") {
        let (most, bar) = match (row.state, row.rules, row.load) {
            ("in-place", 0, "5 Gb/s") => (0.85, "<= 0.85 of no GRO"),
            ("in-place", 200, "5 Gb/s") => (0.7, "<= 0.7 of no GRO"),
            _ => (f64::INFINITY, "none, for comparison"),
        };
        figures.push(Figure::new(
            format!(
                "{}: cpu-seconds per GB of no GRO's, {}, {} rules (median, least, most)",
                row.state, row.load, row.rules
            ),
            format!(
                "{} (cpu-seconds per GB {}, Gb/s {})",
                words(row.ratio_to_none),
                words(row.cpu_seconds_per_gb),
                words(row.gbit_per_second)
            ),
            bar,
            row.ratio_to_none.median <= most,
        ));
    }
    for row in report.latency.iter().filter(|row| row.state != "none") {
        let (most, bar) = match (row.state, row.rules) {
            ("in-place", 0) => (1.05, "<= 1.05 of no GRO"),
            _ => (f64::INFINITY, "none, for comparison"),
        };
        figures.push(Figure::new(
            format!(
                "{}: p50 of request and response of 1,448 bytes of no GRO's, {} rules (median, least, most)",
                row.state, row.rules
            ),
            format!("{} (us {})", words(row.p50_ratio_to_none), words(row.p50_us)),
            bar,
            row.p50_ratio_to_none.median <= most,
        ));
    }
    Ok(())
}

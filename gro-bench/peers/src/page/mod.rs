//! docs/benchmarks/engine.html: the report for a person, in one file that needs no other.

mod plots;
mod tables;

use crate::cells::{MAIN, State, is_plain};
use crate::report::{CellReport, Report};
use anyhow::Result;
use plots::{Bar, Group, Line};
use std::fmt::Write as _;
use tables::escape;

/// The page.
///
/// # Errors
/// A drawing that fails.
pub(crate) fn html(report: &Report) -> Result<String> {
    let mut page = String::from(HEAD);
    let machine = &report.machine;
    write!(
        page,
        "<h1>What the userspace engine costs</h1>\n<p>{}, on {} ({} cores, {} GHz), Linux {}, {}. {} rounds.</p>\n",
        escape(&report.date),
        escape(&machine.cpu),
        machine.cores,
        machine.tsc_ghz,
        escape(&machine.kernel),
        escape(&machine.rustc),
        report.conditions.rounds
    )?;
    page += "<h2>Promises</h2>\n";
    page += &tables::bars(&report.bars)?;
    page += "<h2>Times faster</h2>\n";
    page += &tables::ratios(&report.ratios)?;
    page += "<h2>Nanoseconds a frame</h2>\n";
    page += &main_cell(report)?;
    for state in State::ALL {
        page += &plain_cells(report, state)?;
    }
    page += &other_cells(report)?;
    page += &many_flows(report)?;
    page += &by_table(report)?;
    page += &cores(report)?;
    page += "<h2>Memory, instructions</h2>\n";
    page += &tables::memory(report)?;
    page += "<h2>The kernel's own GRO</h2>\n";
    page += &tables::kernel(&report.kernel)?;
    page += "<h2>Who does as the kernel does</h2>\n";
    page += &tables::rules(&report.rules)?;
    page += "<h2>All figures</h2>\n";
    page += &tables::cells(&report.cells)?;
    page += "<h2>How it was measured</h2>\n";
    page += &tables::conditions(report)?;
    page += "</body>\n</html>\n";
    Ok(page)
}

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<title>What the userspace engine costs</title>
<style>
body { font: 15px/1.5 sans-serif; max-width: 1020px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
td, th { border-bottom: 1px solid #ddd; padding: 2px 9px; text-align: right; vertical-align: top; }
td:first-child, th:first-child, td.text, th.text { text-align: left; }
td.met { color: #0a6; } td.missed { color: #c30; font-weight: bold; } td.none, .note { color: #777; }
figure { margin: 1em 0; } figcaption { color: #444; } svg { max-width: 100%; height: auto; }
</style>
</head>
<body>
";

/// Who is drawn, in an order that is the same everywhere, as the colours are.
const ENGINES: [&str; 9] = [
    "gro",
    "gro+checksum",
    "dpdk",
    "dpdk+prefetch",
    "dpdk+parse",
    "tun-rs",
    "floor: two lines",
    "floor: checksum",
    "floor: copy",
];

fn figure(svg: &str, caption: &str) -> String {
    if svg.is_empty() {
        return String::new();
    }
    format!("<figure>\n{svg}\n<figcaption>{}</figcaption>\n</figure>\n", escape(caption))
}

/// Bars of some cells, of the engines whose numbers in [`ENGINES`] are given.
fn drawing<'a>(
    cells: impl Iterator<Item = &'a CellReport>,
    name: impl Fn(&CellReport) -> String,
    engines: &[usize],
) -> Result<String> {
    let bar = |cell: &CellReport, series: usize| {
        let figure = cell.engines.iter().find(|figure| figure.engine == ENGINES[series])?;
        Some(Bar { series, spread: figure.ns? })
    };
    let bars = |cell| engines.iter().filter_map(|&series| bar(cell, series)).collect();
    let groups: Vec<_> = cells.map(|cell| Group { name: name(cell), bars: bars(cell) }).collect();
    let legend: Vec<_> = engines.iter().map(|&series| (series, ENGINES[series])).collect();
    plots::bars(&legend, &groups, "ns a frame")
}

fn main_cell(report: &Report) -> Result<String> {
    let cells = report.cells.iter().filter(|cell| cell.cell == MAIN);
    let svg = drawing(cells, |cell| cell.state.clone(), &[0, 1, 2, 3, 4, 5, 6, 7, 8])?;
    Ok(figure(
        &svg,
        "Eight flows in runs of four (8x4). Lines on the bars: least and most of the rounds' medians.",
    ))
}

fn plain_cells(report: &Report, state: State) -> Result<String> {
    let cells = report.cells.iter().filter(|cell| is_plain(&cell.cell) && cell.state == state.name());
    let svg = drawing(cells, |cell| cell.cell.clone(), &[0, 3, 4, 5])?;
    Ok(figure(&svg, &format!("Flows x run, {}.", state.name())))
}

fn other_cells(report: &Report) -> Result<String> {
    let prefix = format!("{MAIN}/");
    let cells = report.cells.iter().filter(|cell| cell.cell.starts_with(&prefix) && cell.state == "cold");
    let svg = drawing(cells, |cell| cell.cell[prefix.len()..].to_owned(), &[0, 1, 3, 4, 5])?;
    Ok(figure(&svg, "Other frames, 8x4, cold. What has no bar does not coalesce such frames."))
}

fn many_flows(report: &Report) -> Result<String> {
    let Some(cells) = report.flows.measured() else { return Ok(String::new()) };
    let mut lines = Vec::new();
    for (engine, run, state) in [
        ("gro", 1, "cold"),
        ("gro", 4, "cold"),
        ("gro", 1, "dram"),
        ("dpdk+prefetch", 1, "cold"),
        ("dpdk+prefetch", 4, "cold"),
    ] {
        let of_line = cells.iter().filter(|cell| cell.run == run && cell.state == state);
        let points: Vec<_> = of_line
            .filter_map(|cell| {
                let figure = cell.engines.iter().find(|figure| figure.engine == engine)?;
                Some((f64::from(cell.flows), figure.ns?.median))
            })
            .collect();
        if !points.is_empty() {
            lines.push(Line { series: lines.len(), name: format!("{engine}, K={run}, {state}"), points });
        }
    }
    let svg = plots::lines(&lines, "flows", "ns a frame")?;
    Ok(figure(
        &svg,
        "By number of flows, in runs of K, in a ring of 102,400 frames (236 MB, so that cold is not far from dram).",
    ))
}

fn by_table(report: &Report) -> Result<String> {
    let Some(rows) = report.tables.measured() else { return Ok(String::new()) };
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let (name, point) =
            (format!("{}, {}", row.cell, row.state), (row.bytes as f64 / 1_024.0, row.ns.median));
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { series: lines.len(), name, points: vec![point] }),
        }
    }
    let svg = plots::lines(&lines, "KiB of a queue", "ns a frame")?;
    Ok(figure(
        &svg,
        "By size of the table: 64 places, as the kernel's, with lists for more and more segments behind them. The smallest has no \
         more than 15 segments a packet, so that 1x1 merges less.",
    ))
}

fn cores(report: &Report) -> Result<String> {
    let Some(rows) = report.cores.measured() else { return Ok(String::new()) };
    let lines: Vec<_> = ["hot", "cold"]
        .iter()
        .enumerate()
        .map(|(series, state)| {
            let rows = rows.iter().filter(|row| row.state == *state);
            let points = rows.map(|row| (row.cores as f64, row.million_packets_a_second.median));
            Line { series, name: (*state).to_owned(), points: points.collect() }
        })
        .collect();
    let svg = plots::lines(&lines, "cores", "million frames/s")?;
    Ok(figure(
        &svg,
        "Cores at once, each with a queue and a ring of its own: 8x4, checksum verified by the NIC.",
    ))
}

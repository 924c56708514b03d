//! What was promised of the userspace engine, and what was measured.

use crate::cells::{MAIN, State, is_plain};
use crate::report::{Bar, CellReport, Part, Ratios, Report, ns};
use crate::scaling::MOST_FLOWS;

const OURS: &str = "gro";
const OURS_CHECKSUM: &str = "gro+checksum";
/// Calls of DPDK with packet types from a NIC; the faster one counts.
const DPDK: [&str; 2] = ["dpdk", "dpdk+prefetch"];
const DPDK_PARSE: [&str; 1] = ["dpdk+parse"];

/// All promises.
pub(crate) fn all(report: &Report) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (state, bound) in [(State::Hot, 8.0), (State::Cold, 10.0), (State::Dram, 21.0)] {
        bars.push(cost(report, MAIN, state, bound));
    }
    bars.push(cost(report, "64x1", State::Hot, 11.0));
    for (state, bound) in [(State::Hot, 2.0), (State::Cold, 2.0), (State::Dram, 1.6)] {
        let what = format!(
            "every flows x run, {}: times faster than the best of DPDK with packet types",
            state.name()
        );
        bars.push(faster_everywhere(report, what, state, &DPDK, bound));
    }
    for state in State::ALL {
        let what = format!(
            "every flows x run, {}: times faster than DPDK with a parse of packet types",
            state.name()
        );
        bars.push(faster_everywhere(report, what, state, &DPDK_PARSE, 4.0));
    }
    for (state, bound) in [(State::Hot, 5.0), (State::Dram, 3.0)] {
        let what = format!("{MAIN}, checksum verified, {}: times faster than tun-rs", state.name());
        let ratio = ratio(report, MAIN, state, "tun-rs", OURS_CHECKSUM);
        bars.push(at_least(what, MAIN, ratio, bound, "tun-rs or our engine was not measured"));
    }
    bars.push(kernel(report));
    bars.push(floor(report));
    bars.push(many_flows(&report.flows));
    bars.extend(memory(report));
    bars
}

/// How many times faster our engine is, cell by cell.
pub(crate) fn ratios(report: &Report) -> Vec<Ratios> {
    let cells = report.cells.iter().filter_map(|cell| {
        let state = State::ALL.into_iter().find(|state| state.name() == cell.state)?;
        Some(Ratios {
            cell: cell.cell.clone(),
            state: cell.state.clone(),
            dpdk: best(report, &cell.cell, state, &DPDK).map(round),
            dpdk_parse: best(report, &cell.cell, state, &DPDK_PARSE).map(round),
            tun_rs: ratio(report, &cell.cell, state, "tun-rs", OURS_CHECKSUM).map(round),
        })
    });
    cells.collect()
}

fn cost(report: &Report, cell: &str, state: State, bound: f64) -> Bar {
    let what = format!("{cell}, checksum verified by the NIC, {}", state.name());
    let median = report.ns(cell, state.name(), OURS).map(|ns| ns.median);
    at_most(what, cell, median, bound, "ns a frame", "not among the cells of this run")
}

/// The worst of the plain cells.
fn faster_everywhere(report: &Report, what: String, state: State, peers: &[&str], bound: f64) -> Bar {
    let plain = report.cells.iter().filter(|cell| is_plain(&cell.cell) && cell.state == state.name());
    let ratios = plain.filter_map(|cell| Some((best(report, &cell.cell, state, peers)?, &*cell.cell)));
    let worst = ratios.min_by(|a, b| a.0.total_cmp(&b.0));
    let at = worst.map_or("", |(_, cell)| cell);
    at_least(what, at, worst.map(|(ratio, _)| ratio), bound, "DPDK was not measured")
}

fn kernel(report: &Report) -> Bar {
    let what = format!("{MAIN}, checksum verified, hot: times faster than the functions of the kernel's GRO");
    let kernel = report.kernel.measured().and_then(|cells| cells.iter().find(|cell| cell.cell == MAIN));
    let ours = report.ns(MAIN, "hot", OURS_CHECKSUM);
    let ratio = kernel.zip(ours).map(|(kernel, ours)| kernel.with_checksum_ns / ours.median);
    at_least(what, MAIN, ratio, 3.0, "the kernel was not measured")
}

fn floor(report: &Report) -> Bar {
    let what = format!(
        "{MAIN}, checksum verified by the NIC, dram: times the cost of reading two lines of each frame"
    );
    let ratio = ratio(report, MAIN, State::Dram, OURS, "floor: two lines");
    at_most(what, MAIN, ratio, 1.35, "times", "not among the cells of this run")
}

fn many_flows(flows: &Part<Vec<CellReport>>) -> Bar {
    let what = format!("{MOST_FLOWS} flows: times the cost of 64 flows in the same ring");
    let mut worst: Option<(f64, String)> = None;
    for (state, run) in [(State::Cold, 1), (State::Cold, 4), (State::Dram, 1), (State::Dram, 4)] {
        let median = |flows: u32, cells: &[CellReport]| {
            Some(ns(cells, &format!("{flows}x{run}"), state.name(), OURS)?.median)
        };
        let cells = flows.measured().map_or(&[][..], Vec::as_slice);
        let Some((many, few)) = median(MOST_FLOWS, cells).zip(median(64, cells)) else { continue };
        if worst.as_ref().is_none_or(|(ratio, _)| many / few > *ratio) {
            worst = Some((many / few, format!("runs of {run}, {}", state.name())));
        }
    }
    let at = worst.as_ref().map_or("", |(_, at)| at).to_owned();
    at_most(what, &at, worst.map(|(ratio, _)| ratio), 2.0, "times", "not among the cells of this run")
}

fn memory(report: &Report) -> [Bar; 2] {
    let memory = report.memory.measured();
    let why = "memory was not measured";
    let allocations = memory.map(|memory| memory.allocations_a_burst);
    let bytes = memory.map(|memory| memory.bytes_a_queue_used as f64 / 1_024.0);
    [
        at_most(format!("{MAIN}: allocations a burst"), MAIN, allocations, 0.0, "allocations", why),
        at_most("memory of a queue".to_owned(), "100000x1", bytes, 64.0, "KiB", why),
    ]
}

/// How many times longer the fastest of some peers takes than our engine.
fn best(report: &Report, cell: &str, state: State, peers: &[&str]) -> Option<f64> {
    peers.iter().filter_map(|peer| ratio(report, cell, state, peer, OURS)).min_by(f64::total_cmp)
}

/// How many times longer one takes than the other.
fn ratio(report: &Report, cell: &str, state: State, slower: &str, faster: &str) -> Option<f64> {
    let median = |engine| report.ns(cell, state.name(), engine).map(|ns| ns.median);
    Some(median(slower)? / median(faster)?)
}

fn at_most(what: String, at: &str, measured: Option<f64>, bound: f64, unit: &str, why: &str) -> Bar {
    bar(what, at, measured, bound, "at most", unit, measured.map(|measured| measured <= bound), why)
}

fn at_least(what: String, at: &str, measured: Option<f64>, bound: f64, why: &str) -> Bar {
    bar(what, at, measured, bound, "at least", "times", measured.map(|measured| measured >= bound), why)
}

#[expect(clippy::too_many_arguments, reason = "a row of a table")]
fn bar(
    what: String,
    at: &str,
    measured: Option<f64>,
    bound: f64,
    kind: &str,
    unit: &str,
    met: Option<bool>,
    why: &str,
) -> Bar {
    Bar {
        what,
        at: at.to_owned(),
        measured: measured.map(round),
        bound,
        kind: kind.to_owned(),
        unit: unit.to_owned(),
        met,
        why_not_measured: met.is_none().then(|| why.to_owned()),
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

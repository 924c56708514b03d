//! Measures: all engines in turn within each round, so that what the machine does besides hits them alike.

use crate::cells::{Cell, State};
use crate::clock::{Clock, LINE};
use crate::contest::{Audit, Engine};
use crate::report::{CellReport, Figure, spread};
use crate::ring::Ring;
use crate::workload::BURST;
use anyhow::{Context as _, Result, ensure};
use std::hint::black_box;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds that count; one more warms up.
    pub(crate) rounds: usize,
    /// Bursts of an engine in a round, at least; whole passes over the ring.
    pub(crate) bursts: usize,
}

/// Times that a ring is read before an engine is measured on it. Figures do not change with more.
const SETTLING: usize = 4;
/// Bursts that are counted to know what comes out.
const AUDITED: usize = 64;

/// One cell in one state, where the ring holds its frames.
///
/// # Errors
/// An engine that loses bytes, or does not put back what it changes.
pub(crate) fn cell(
    engines: &mut [Box<dyn Engine>],
    ring: &mut Ring,
    cell: &Cell,
    state: State,
    clock: &Clock,
    effort: Effort,
) -> Result<CellReport> {
    let stream = &cell.stream;
    let mut figures = Vec::new();
    let mut taking = Vec::new();
    for (number, engine) in engines.iter_mut().enumerate() {
        if engine.name().starts_with("floor") && !cell.floors {
            continue;
        }
        let name = engine.name().to_owned();
        if let Some(why) = engine.refuses(stream) {
            figures.push(Figure {
                engine: name,
                ns: None,
                packets: None,
                not_supported: Some(why.to_owned()),
            });
            continue;
        }
        engine.load(ring)?;
        let packets = audit(&mut **engine, ring, stream.shape.header())
            .with_context(|| format!("{name} in {}", cell.name))?;
        taking.push((number, figures.len(), Vec::with_capacity(effort.rounds)));
        figures.push(Figure { engine: name, ns: None, packets, not_supported: None });
    }

    let count = taking.len();
    for round in 0..=effort.rounds {
        // Each begins once, so that nobody always follows the same one.
        for turn in 0..count {
            let (number, _, medians) = &mut taking[(turn + round) % count];
            let ns = one_turn(&mut *engines[*number], ring, state, clock, effort.bursts);
            if round > 0 {
                medians.push(ns);
            }
        }
    }
    for (_, at, medians) in taking {
        figures[at].ns = Some(spread(&medians));
    }
    Ok(CellReport {
        cell: cell.name.clone(),
        state: state.name().to_owned(),
        frames: stream.shape.name().to_owned(),
        payload: stream.payload.name(),
        flows: stream.flows,
        run: stream.run,
        hash: if stream.hashed { "Toeplitz" } else { "0" }.to_owned(),
        ring_frames: ring.frames(),
        engines: figures,
    })
}

/// The median burst of some passes over the ring, in nanoseconds a frame.
///
/// The first half of the passes is not counted: they put what the engine uses where it stays, whatever the engine before it left in
/// the caches.
fn one_turn(engine: &mut dyn Engine, ring: &mut Ring, state: State, clock: &Clock, bursts: usize) -> f64 {
    if state == State::Cold {
        settle(engine, ring);
    }
    let passes = bursts.div_ceil(ring.bursts());
    let mut ticks = Vec::with_capacity(passes * ring.bursts());
    for pass in 0..2 * passes {
        for burst in 0..ring.bursts() {
            let took = engine.burst(ring, clock, burst);
            if pass >= passes {
                ticks.push(took);
            }
            if state == State::Dram {
                ring.burst(burst).for_each(|frame| clock.flush(engine.bytes(ring, frame)));
                Clock::settle();
            }
        }
    }
    let middle = ticks.len() / 2;
    let (_, &mut median, _) = ticks.select_nth_unstable(middle);
    clock.ns(median) / BURST as f64
}

/// Reads the ring until it lies in the last cache, as far as it has room there: a cache takes in what is used again.
fn settle(engine: &dyn Engine, ring: &Ring) {
    let mut seen = 0;
    for _ in 0..SETTLING {
        for frame in 0..ring.frames() {
            let lines = engine.bytes(ring, frame).iter().step_by(LINE);
            seen = lines.fold(seen, |seen, byte| seen ^ byte);
        }
    }
    black_box(seen);
}

/// Packets that come out of a burst, on average. What an engine merges loses headers and nothing else.
fn audit(engine: &mut dyn Engine, ring: &mut Ring, header: usize) -> Result<Option<f64>> {
    let bursts = ring.bursts().min(AUDITED);
    let mut packets = 0;
    for burst in 0..bursts {
        let Some(Audit { packets: out, bytes }) = engine.audit(ring, burst) else { return Ok(None) };
        let whole: usize = ring.burst(burst).map(|frame| ring.made(frame).len).sum();
        let expected = whole - (BURST - out.min(BURST)) * header;
        ensure!(bytes == expected, "{out} packets of a burst have {bytes} bytes, not {expected}");
        packets += out;
    }
    ensure!(ring.is_intact(), "frames were changed and not put back");
    Ok(Some(packets as f64 / bursts as f64))
}

/// A line for who waits.
pub(crate) fn progress(report: &CellReport) -> String {
    let named = report.engines.iter().filter(|figure| !figure.engine.starts_with("floor"));
    let figures = named.filter_map(|figure| Some(format!("{} {:.1}", figure.engine, figure.ns?.median)));
    format!("{:13} {:4} {}", report.cell, report.state, figures.collect::<Vec<_>>().join(", "))
}

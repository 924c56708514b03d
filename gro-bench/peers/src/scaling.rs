//! How our engine's cost grows: with flows, in memory, and over cores.

use crate::allocations::Count;
use crate::cells::{self, Cell, MAIN, State};
use crate::clock::{Clock, cpus, pin};
use crate::contest::{Contest, Engine, Ours, config, descriptors};
use crate::engine::Queue;
use crate::measure::{self, Effort};
use crate::report::{CellReport, Cores, Memory, TableCost, spread};
use crate::ring::Ring;
use crate::workload::BURST;
use anyhow::{Context as _, Result, anyhow};
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Frames of the ring in which flows are many: each of 100,000 flows has one.
const LONG: usize = 102_400;
const ELEMENT: usize = 2_304;
const FLOWS: [u32; 10] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 100_000];
/// The most flows, and what they are compared with.
pub(crate) const MOST_FLOWS: u32 = 100_000;

/// Cost by number of flows.
///
/// # Errors
/// No memory, or an engine that loses bytes.
pub(crate) fn flows(
    contest: &mut Contest,
    clock: &Clock,
    effort: Effort,
    quick: bool,
) -> Result<Vec<CellReport>> {
    let mut ring = Ring::new(LONG * ELEMENT, LONG).context("memory for 100,000 frames")?;
    // Those that work in the ring itself; copies of so many frames would be 6 GiB.
    let (mut taking, others): (Vec<_>, Vec<_>) =
        contest.engines.drain(..).partition(|engine| ["gro", "dpdk+prefetch"].contains(&engine.name()));
    let mut reports = Vec::new();
    let wanted = FLOWS.into_iter().filter(|flows| !quick || [64, MOST_FLOWS].contains(flows));
    let result = wanted.flat_map(|flows| [1, 4].map(|run| (flows, run))).try_for_each(|(flows, run)| {
        let cell = Cell { name: format!("{flows}x{run}"), stream: cells::plain(flows, run), floors: false };
        ring.fill(cell.stream);
        for state in [State::Cold, State::Dram] {
            let report = measure::cell(&mut taking, &mut ring, &cell, state, clock, effort)?;
            eprintln!("flows  {}", measure::progress(&report));
            reports.push(report);
        }
        Ok::<_, anyhow::Error>(())
    });
    taking.extend(others);
    contest.engines = taking;
    result.map(|()| reports)
}

/// Cost by size of the table and what belongs to it: the kernel's 8 x 8 places are always the same ones, and with them lists of more and
/// more segments.
///
/// # Errors
/// No memory, or an engine that loses bytes.
pub(crate) fn tables(clock: &Clock, effort: Effort) -> Result<Vec<TableCost>> {
    /// An engine, and the bytes of its queue.
    fn sized<const CHUNKS: usize>(name: &'static str) -> (Box<dyn Engine>, usize) {
        (Box::new(Ours::<CHUNKS>::named(name, true)), Queue::<CHUNKS>::BYTES)
    }
    let (mut engines, bytes): (Vec<_>, Vec<_>) = [
        sized::<64>("64"),
        sized::<128>("128"),
        sized::<256>("256"),
        sized::<512>("512"),
        sized::<1_024>("1024"),
        sized::<2_048>("2048"),
        sized::<4_095>("4095"),
    ]
    .into_iter()
    .unzip();
    let mut costs = Vec::new();
    for state in [State::Hot, State::Cold] {
        let mut ring = ring(state)?;
        for (flows, run) in [(1, 1), (8, 4), (64, 1)] {
            let cell =
                Cell { name: format!("{flows}x{run}"), stream: cells::plain(flows, run), floors: false };
            ring.fill(cell.stream);
            let report = measure::cell(&mut engines, &mut ring, &cell, state, clock, effort)?;
            eprintln!("tables {}", measure::progress(&report));
            for (figure, &bytes) in report.engines.iter().zip(&bytes) {
                let ns = figure.ns.context("no figure of an engine that takes everything")?;
                costs.push(TableCost { bytes, cell: cell.name.clone(), state: state.name().to_owned(), ns });
            }
        }
    }
    Ok(costs)
}

/// Memory of a queue, and allocations of a burst.
///
/// # Errors
/// No memory.
pub(crate) fn memory() -> Result<Memory> {
    let before = Count::now();
    let mut queue = <Queue>::new(config());
    let made = Count::now().since(before).bytes + size_of::<Queue>() as i64;

    let mut ring = Ring::new(LONG * ELEMENT, LONG).context("memory for 100,000 frames")?;
    ring.fill(cells::plain(MOST_FLOWS, 1));
    let before = Count::now();
    run(&mut queue, &ring, 1);
    let grown = Count::now().since(before).bytes;

    let mut ring = Ring::new(4 << 20, 256)?;
    ring.fill(cells::plain(8, 4));
    run(&mut queue, &ring, 25);
    let before = Count::now();
    run(&mut queue, &ring, 250);
    let calls = Count::now().since(before).calls;
    Ok(Memory {
        cell: MAIN.to_owned(),
        bytes_a_queue: made.max(0) as usize,
        bytes_a_queue_used: (made + grown).max(0) as usize,
        allocations_a_burst: calls as f64 / (250 * ring.bursts()) as f64,
    })
}

/// All cores at once, each with a queue and a ring of its own.
///
/// # Errors
/// No memory, or a CPU that a thread may not be bound to.
pub(crate) fn cores(effort: Effort, quick: bool) -> Result<Vec<Cores>> {
    let cpus = cpus()?;
    let mut reports = Vec::new();
    for state in [State::Hot, State::Cold] {
        for cores in 1..=cpus.len() {
            let rounds = (0..effort.rounds.min(if quick { 2 } else { 5 }))
                .map(|_| {
                    together(&cpus[..cores], state, Duration::from_millis(if quick { 100 } else { 400 }))
                })
                .collect::<Result<Vec<f64>>>()?;
            let report =
                Cores { cores, state: state.name().to_owned(), million_packets_a_second: spread(&rounds) };
            eprintln!("cores  {cores} {} {:.0} M/s", report.state, report.million_packets_a_second.median);
            reports.push(report);
        }
    }
    Ok(reports)
}

/// Million frames a second of some CPUs together.
fn together(cpus: &[usize], state: State, time: Duration) -> Result<f64> {
    let barrier = Barrier::new(cpus.len());
    thread::scope(|scope| {
        let threads: Vec<_> = cpus
            .iter()
            .map(|&cpu| {
                let barrier = &barrier;
                scope.spawn(move || {
                    // Whoever fails here still meets the others, who would wait for ever.
                    let ready = pin(cpu).and_then(|()| ring(state));
                    barrier.wait();
                    let ring = ready?;
                    let (mut queue, mut frames) = (<Queue>::new(config()), 0);
                    let start = Instant::now();
                    while start.elapsed() < time {
                        run(&mut queue, &ring, 1);
                        frames += ring.frames();
                    }
                    Ok::<f64, std::io::Error>(frames as f64 / start.elapsed().as_secs_f64() * 1e-6)
                })
            })
            .collect();
        let mut sum = 0.0;
        for thread in threads {
            sum += thread.join().map_err(|_| anyhow!("a thread of the cores' measurement panicked"))??;
        }
        Ok(sum)
    })
}

fn ring(state: State) -> std::io::Result<Ring> {
    let (bytes, frames) = if state == State::Hot { (4 << 20, 256) } else { (64 << 20, usize::MAX) };
    let mut ring = Ring::new(bytes, frames)?;
    ring.fill(cells::plain(8, 4));
    Ok(ring)
}

/// Passes over a ring, with nothing between the bursts.
fn run(queue: &mut Queue, ring: &Ring, passes: usize) {
    for _ in 0..passes {
        for burst in 0..ring.bursts() {
            let frames: [_; BURST] = descriptors(ring, burst, true);
            queue.poll(black_box(&frames), |packet| {
                black_box(packet);
            });
        }
    }
}

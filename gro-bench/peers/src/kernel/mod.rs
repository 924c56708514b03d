//! What GRO of the running kernel costs: its functions alone, while frames come through a veth.
//!
//! The kernel has no interface to time GRO. So the harness's own backend `kernel` injects the frames twice: once for the CPU time
//! that this takes, and once sampled, for the share of GRO's functions in it. Sampling is slow, but slow alike everywhere, so the
//! share holds. Buffers, drivers and delivery are not in it.

mod perf;
mod symbols;

use crate::cells;
use crate::clock::cpus;
use crate::report::KernelCost;
use crate::workload::{BURST, Stream, Writer};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use gro_bench::trace::{Rules, Trace};
use gro_bench::{EngineConfig, backend, kernel};
use gro_core::Config;
use perf::{Batch, Sampler};
use std::collections::HashMap;
use symbols::{Role, Symbols, role};

/// Bursts of a run through the sandbox.
const BURSTS: usize = 1_000;
/// Functions that are named.
const NAMED: usize = 10;

/// Flows and runs of a few cells.
const CELLS: [(u32, u32); 3] = [(1, 1), (8, 4), (64, 1)];

/// Measures.
///
/// # Errors
/// Where it cannot: no rights, no symbols, or a kernel whose GRO takes no frames here.
pub(crate) fn measure(quick: bool) -> Result<Vec<KernelCost>> {
    let symbols = Symbols::read()?;
    let wanted = CELLS.into_iter().filter(|cell| !quick || *cell == (8, 4));
    wanted.map(|(flows, run)| one(&symbols, flows, run, if quick { 3 } else { 15 })).collect()
}

fn one(symbols: &Symbols, flows: u32, run: u32, runs: usize) -> Result<KernelCost> {
    let cell = format!("{flows}x{run}");
    let trace = trace(&cell, cells::plain(flows, run));
    // A kernel of no known profile shows what it does, which is what is timed.
    let engine =
        EngineConfig { profile: kernel::profile().unwrap_or_default(), ..EngineConfig::of(Config::DEFAULT) };
    let Some(mut backend) = backend::by_name("kernel") else { bail!("there is no backend kernel") };
    let (mut all, mut lost, mut frames, mut seconds) = (Tally::default(), 0, 0, 0.0);
    for _ in 0..runs {
        let before = cpu_time();
        let outcome = backend.run(&trace, &engine).context("backend kernel")?;
        seconds += cpu_time() - before;
        ensure!(run == 1 || outcome.records.len() < trace.frames.len(), "the kernel merged nothing");
        frames += trace.frames.len();

        let mut samplers = cpus()?.into_iter().map(Sampler::start).collect::<Result<Vec<_>>>()?;
        backend.run(&trace, &engine).context("backend kernel, sampled")?;
        for sampler in &mut samplers {
            let Batch { samples, lost: missing } = sampler.take()?;
            lost += missing;
            samples.iter().for_each(|sample| all.add(symbols, sample));
        }
    }
    ensure!(lost * 100 <= all.samples as u64, "{lost} samples were lost beside {}", all.samples);
    ensure!(all.gro > 0, "no sample of {} in a function of GRO", all.samples);
    let ns_a_frame = seconds * 1e9 / all.samples as f64 / frames as f64;
    let round = |ns: f64| (ns * 10.0).round() / 10.0;
    let mut functions: Vec<_> =
        all.functions.into_iter().map(|(name, samples)| (name, round(samples as f64 * ns_a_frame))).collect();
    functions.sort_by(|a, b| b.1.total_cmp(&a.1));
    functions.truncate(NAMED);
    let cost = KernelCost {
        cell,
        frames,
        samples_in_gro: all.gro,
        samples_in_checksum: all.checksum,
        gro_ns: round(all.gro as f64 * ns_a_frame),
        with_checksum_ns: round((all.gro + all.checksum) as f64 * ns_a_frame),
        functions,
    };
    eprintln!("kernel {:6} {:.1} ns, with checksum {:.1} ns", cost.cell, cost.gro_ns, cost.with_checksum_ns);
    Ok(cost)
}

/// CPU seconds of this process.
fn cpu_time() -> f64 {
    // SAFETY: a plain structure that the kernel fills.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[derive(Default)]
struct Tally {
    samples: usize,
    gro: usize,
    checksum: usize,
    functions: HashMap<String, usize>,
}

impl Tally {
    fn add(&mut self, symbols: &Symbols, sample: &[u64]) {
        self.samples += 1;
        let Some((&address, callers)) = sample.split_first() else { return };
        let name = symbols.name(address);
        let count = match role(name) {
            Role::Gro => &mut self.gro,
            Role::Checksum if callers.iter().any(|&caller| role(symbols.name(caller)) == Role::Gro) => {
                &mut self.checksum
            }
            Role::Checksum | Role::Other => return,
        };
        *count += 1;
        *self.functions.entry(name.to_owned()).or_default() += 1;
    }
}

/// The cell's frames, a poll a burst.
fn trace(name: &str, stream: Stream) -> Trace {
    let mut writer = Writer::new(stream);
    let mut frame = vec![0; writer.most()];
    let frames = (0..BURSTS * BURST)
        .map(|number| {
            let made = writer.write(&mut frame);
            // A microsecond between frames and a millisecond between bursts, which ends a poll.
            let time = (number / BURST) as u64 * 1_000_000 + (number % BURST) as u64 * 1_000;
            (time, Bytes::copy_from_slice(&frame[..made.len]))
        })
        .collect();
    Trace::from_frames(name, frames, &Rules::default())
}

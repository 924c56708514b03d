//! `cargo xtask determinism`: the same batches through the running kernel, again and again.

use anyhow::{Context as _, Result};
use gro_bench::backend;
use gro_bench::determinism::{BATCHES, Busy, repeat};
use std::time::Instant;

/// How often, and how disturbed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Start of the generator; the same seed gives the same batches.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Times that the batches are repeated.
    #[arg(long, default_value_t = 10_000)]
    repeats: usize,
    /// Keeps every core busy meanwhile.
    #[arg(long)]
    busy: bool,
}

/// Repeats until it is enough, or one differs.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut kernel = backend::by_name("kernel").context("there is no backend kernel")?;
    let busy = args.busy.then(Busy::start);
    let start = Instant::now();
    let progress = |done: usize| {
        if done.is_multiple_of(1_000) {
            eprintln!("{done} repeats");
        }
    };
    let frames = repeat(kernel.as_mut(), args.seed, args.repeats, progress)?;
    let seconds = start.elapsed().as_secs_f64();
    let machine = busy.map_or("idle".into(), |busy| format!("{} cores busy", busy.cores()));
    println!(
        "seed {}, Linux {}, {machine}: {} repeats of {BATCHES} batches with {frames} frames, 0 differences, {seconds:.0} s",
        args.seed,
        gro_bench::kernel::release().unwrap_or_default(),
        args.repeats,
    );
    Ok(())
}

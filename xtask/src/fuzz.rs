//! `cargo xtask fuzz-kernel`: random batches through the running kernel and through our backends.

use crate::images;
use crate::traces::regressions;
use anyhow::{Context as _, Result, bail};
use gro_bench::backend;
use gro_bench::fuzz::{Counts, Drawn, Frames, FuzzError, Scope, fuzz};
use gro_bench::trace::REGRESSIONS;
use std::fs;

/// How much.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Start of the generator; the same seed gives the same batches.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Batches of up to 64 frames.
    #[arg(long, default_value_t = 5_000)]
    batches: usize,
    /// Only batches of tunnels.
    #[arg(long)]
    encapsulated: bool,
    /// Only these backends.
    #[arg(long = "backend")]
    backends: Vec<String>,
}

/// Compares until the batches are through, or one differs, which is kept in traces/regressions.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut ours = backend::all();
    let kernel =
        ours.iter().position(|backend| backend.name() == "kernel").context("kernel skipped: needs Linux")?;
    let mut kernel = ours.remove(kernel);
    ours.retain(|backend| {
        args.backends.is_empty() || args.backends.iter().any(|name| name == backend.name())
    });
    let mut said = 0;
    let progress = |counts: &Counts| {
        if counts.batches >= said + 5_000 {
            said = counts.batches;
            eprintln!("{} batches, {} frames", counts.batches, counts.frames);
        }
    };
    let frames = if args.encapsulated { Frames::Encapsulated } else { Frames::Mixed };
    let drawn = Drawn { scope: Scope::All, frames };
    match fuzz(args.seed, args.batches, drawn, kernel.as_mut(), &mut ours, progress) {
        Ok(counts) => {
            let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            println!(
                "seed {}, Linux {}: {} batches, {} frames, {} packets",
                args.seed,
                release.trim(),
                counts.batches,
                counts.frames,
                counts.packets
            );
            println!(
                "in tunnels: {} frames, {} merged packets",
                counts.encapsulated, counts.merged_in_tunnels
            );
            println!("excluded: {} frames that the kernel would lose (docs/adr/0004)", counts.excluded);
            for ((name, batches), (_, polls)) in counts.compared.iter().zip(&counts.timed) {
                println!("{name}: {batches} batches, {polls} polls under a flush timeout, 0 differences");
            }
            println!("reasons seen: {}", Vec::from_iter(counts.reasons).join(" "));
            Ok(())
        }
        // Only all batches of a run together show it.
        Err(FuzzError::Differs { words, batch, .. }) if batch.is_empty() => bail!("{words}"),
        Err(FuzzError::Differs { words, config, batch }) => {
            // The first line has seed and config.
            let found = words.lines().next().unwrap_or_default();
            let shows = format!("a batch that differed from the kernel: {found}");
            let folder = images::root()?.join("traces").join(REGRESSIONS);
            let path = regressions::keep(&folder, &format!("fuzz-{}", args.seed), &shows, config, &batch)?;
            bail!("{words}\nkept in {}", path.display());
        }
        Err(error) => Err(error.into()),
    }
}

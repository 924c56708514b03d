//! `cargo xtask fuzz-kernel`: random batches through the running kernel and through our backends.

use crate::images;
use crate::traces::regressions;
use anyhow::{Context as _, Result, bail};
use gro_bench::fuzz::{Counts, FuzzError, fuzz, trace};
use gro_bench::trace::{Frame, REGRESSIONS};
use gro_bench::{Backend, EngineConfig, backend, compare};
use gro_core::{Config, UdpMode};
use std::fs;
use std::path::PathBuf;

/// How much.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Start of the generator; the same seed gives the same batches.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Batches of up to 64 frames.
    #[arg(long, default_value_t = 5_000)]
    batches: usize,
}

/// Compares until the batches are through, or one differs, which is kept in traces/regressions.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut ours = backend::all();
    let kernel =
        ours.iter().position(|backend| backend.name() == "kernel").context("kernel skipped: needs Linux")?;
    let mut kernel = ours.remove(kernel);
    let mut said = 0;
    let progress = |counts: &Counts| {
        if counts.batches >= said + 5_000 {
            said = counts.batches;
            eprintln!("{} batches, {} frames", counts.batches, counts.frames);
        }
    };
    match fuzz(args.seed, args.batches, kernel.as_mut(), &mut ours, progress) {
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
            println!("excluded: {} frames that the kernel would lose (docs/adr/0004)", counts.excluded);
            for (name, batches) in &counts.compared {
                println!("{name}: {batches} batches, 0 differences");
            }
            println!("reasons seen: {}", Vec::from_iter(counts.reasons).join(" "));
            Ok(())
        }
        // Only all batches of a run together show it.
        Err(FuzzError::Differs { words, batch }) if batch.is_empty() => bail!("{words}"),
        Err(FuzzError::Differs { words, batch }) => {
            let path = keep(args.seed, &words, &batch, kernel.as_mut(), &mut ours)?;
            bail!("{words}\nkept in {}", path.display());
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps the batch as a trace that `gro verify` runs from now on, with UDP as it shows the difference.
fn keep(
    seed: u64,
    words: &str,
    batch: &[Frame],
    kernel: &mut dyn Backend,
    ours: &mut [Box<dyn Backend>],
) -> Result<PathBuf> {
    let found = shows_it(batch, kernel, ours);
    // The first line has the config under which it was found.
    let found_under = words.lines().next().unwrap_or_default();
    let (udp, shows) = match found {
        Some((udp, name)) => {
            (udp, format!("a batch on which {name} differed from the kernel; {found_under}"))
        }
        None => (
            UdpMode::Off,
            format!(
                "a batch that differed from the kernel, but not under a config of gro verify; {found_under}"
            ),
        ),
    };
    let folder = images::root()?.join("traces").join(REGRESSIONS);
    regressions::keep(&folder, &format!("fuzz-{seed}"), &shows, udp == UdpMode::Forwarding, batch)
}

/// The mode of UDP under which `gro verify` shows the difference, and the backend that differs.
fn shows_it(
    batch: &[Frame],
    kernel: &mut dyn Backend,
    ours: &mut [Box<dyn Backend>],
) -> Option<(UdpMode, &'static str)> {
    let trace = trace(vec![batch.to_vec()]);
    for udp in [UdpMode::Off, UdpMode::Forwarding] {
        for config in [Config::TC, Config::DEFAULT] {
            let engine = EngineConfig::of(Config { udp, ..config });
            let Ok(truth) = kernel.run(&trace, &engine) else { continue };
            for backend in ours.iter_mut() {
                let outcome = backend.run(&trace, &engine);
                if outcome.is_ok_and(|outcome| compare(("ours", &outcome), ("kernel", &truth)).is_some()) {
                    return Some((udp, backend.name()));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_bench::backend::UserBackend;
    use gro_bench::fuzz::{Random, batch};
    use gro_bench::trace::Trace;
    use gro_bench::{BackendError, Outcome};
    use gro_core::Rule;

    /// The userspace engine, with a rule broken if UDP is coalesced.
    struct Broken;

    impl Backend for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
            let broken = engine.config.udp == UdpMode::Forwarding;
            UserBackend.run(trace, &EngineConfig { mutant: broken.then_some(Rule::Window), ..*engine })
        }
    }

    #[test]
    fn the_mode_that_shows_a_difference_is_found() {
        let mut random = Random(3);
        let batches: Vec<_> = (0..200).map(|_| batch(&mut random)).collect();
        let mut broken: [Box<dyn Backend>; 2] = [Box::new(UserBackend), Box::new(Broken)];
        let found: Vec<_> =
            batches.iter().filter_map(|batch| shows_it(batch, &mut UserBackend, &mut broken)).collect();
        assert!(!found.is_empty() && found.iter().all(|found| *found == (UdpMode::Forwarding, "broken")));
    }
}

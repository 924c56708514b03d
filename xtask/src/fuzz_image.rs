//! `cargo xtask fuzz-image`: changed and forged NIC images against the loader and the simulated NIC.

use crate::images;
use anyhow::{Context as _, Result, bail};
use gro_bench::image_fuzz::{Corpus, Mode, Tally};
use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

/// How much.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Start of the generator; the same seed gives the same images.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Images that are only changed, and as many with their hashes redone.
    #[arg(long, default_value_t = 500_000)]
    count: u64,
    /// Number of the first image, to begin where another run ended or to see one again.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// Fuzzes in both modes, and says what came of it by reason.
pub(crate) fn run(args: &Args) -> Result<()> {
    let corpus = Corpus::committed().context("a committed image is none; run cargo xtask images")?;
    let cases = args.first..args.first.saturating_add(args.count);
    for (mode, what) in [(Mode::Changed, "changed"), (Mode::Resealed, "changed, hashes redone")] {
        let start = Instant::now();
        let mut said = 0;
        let progress = |done: u64| {
            if done >= said + 50_000 {
                said = done;
                eprintln!("{what}: {done} images, {:.0} s", start.elapsed().as_secs_f64());
            }
        };
        match corpus.fuzz(args.seed, cases.clone(), mode, progress) {
            Ok(tally) => report(what, args.seed, &tally, start.elapsed().as_secs_f64()),
            Err(violation) => {
                let file = corpus.case(violation.seed, violation.number, mode, &mut Tally::default());
                let folder = images::root()?.join("target/fuzz-image");
                fs::create_dir_all(&folder)?;
                let path = folder.join(format!("{}-{}.nicimg", violation.seed, violation.number));
                fs::write(&path, file)?;
                bail!("{violation}\nkept in {}", path.display());
            }
        }
    }
    Ok(())
}

fn report(what: &str, seed: u64, tally: &Tally, seconds: f64) {
    let sum = |counts: &BTreeMap<&str, u64>| counts.values().sum::<u64>();
    println!(
        "{what}: seed {seed}, {} images in {seconds:.1} s: {} refused, {} loaded and run contained, 0 violations",
        tally.cases,
        sum(&tally.refused),
        sum(&tally.run)
    );
    if tally.bare > 0 {
        println!("  {} of them on the bare machine, too, with code and host registers compared", tally.bare);
    }
    let unchanged = tally.unchanged;
    println!(
        "  ({unchanged} draws that changed nothing, or gave another image that there is, were drawn again)"
    );
    for (title, counts) in
        [("changes made", &tally.changes), ("refused", &tally.refused), ("run", &tally.run)]
    {
        for (reason, count) in counts {
            println!("  {title}: {count:8} {reason}");
        }
    }
}

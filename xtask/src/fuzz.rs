//! `cargo xtask fuzz-kernel`: random batches through the running kernel and through our backends.

use crate::images;
use anyhow::{Context as _, Result, bail};
use gro_bench::backend;
use gro_bench::fuzz::{Counts, FuzzError, fuzz};
use gro_bench::trace::{Frame, PcapngWriter};
use std::fs::{self, File};
use std::io::BufWriter;

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
            for ((name, batches), (_, polls)) in counts.compared.iter().zip(&counts.timed) {
                println!("{name}: {batches} batches, {polls} polls under a flush timeout, 0 differences");
            }
            println!("reasons seen: {}", Vec::from_iter(counts.reasons).join(" "));
            Ok(())
        }
        Err(FuzzError::Differs { words, batch }) => {
            let path = keep(args.seed, &batch)?;
            bail!("{words}\nkept in {path}");
        }
        Err(error) => Err(error.into()),
    }
}

/// The frames with their hashes as comments, which a capture file has no field for. A poll's are a nanosecond apart.
fn keep(seed: u64, batch: &[Frame]) -> Result<String> {
    let folder = images::root()?.join("traces/regressions");
    fs::create_dir_all(&folder)?;
    let name = format!("fuzz-{seed}.pcapng");
    let file = File::create(folder.join(&name)).with_context(|| format!("cannot write {name}"))?;
    let mut writer = PcapngWriter::new(BufWriter::new(file), "smallest batch that differs from the kernel")?;
    for (frame, number) in batch.iter().zip(0..) {
        let mut bytes = frame.bytes.to_vec();
        if let Some(vlan) = frame.vlan {
            bytes.splice(12..12, [vlan.tpid.to_be_bytes(), vlan.tci.to_be_bytes()].concat());
        }
        writer.write(frame.time_ns + number, &bytes, Some(&format!("hash {:#x}", frame.hash)))?;
    }
    std::io::Write::flush(&mut writer.finish()?)?;
    Ok(format!("traces/regressions/{name}"))
}

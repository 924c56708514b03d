//! `cargo xtask digests`: writes the expected digests of the shipped traces, once every backend agrees on them.

use crate::images;
use anyhow::{Context as _, Result, ensure};
use gro_bench::report::{Report, Side};
use gro_bench::trace::{Expect, FILE_NAME, Manifest, REGRESSIONS, shipped};
use gro_bench::{Options, backend, verify};
use std::fs;
use std::path::Path;

/// Verifies with all backends required, then writes.
pub(crate) fn run() -> Result<()> {
    let folder = images::root()?.join("traces");
    let mut backends = backend::all();
    let require = backends.iter().map(|backend| backend.name().to_owned()).collect();
    let options = Options { traces: shipped(&folder)?, require, ..Options::default() };
    let report = verify(&options, &mut backends, |_, _, _| ())?;
    ensure!(report.exit_code() == 0, "the backends do not agree; see gro verify");
    write(&folder, &report)?;
    let regressions = folder.join(REGRESSIONS);
    if regressions.is_dir() { write(&regressions, &report) } else { Ok(()) }
}

/// Writes what came out of the traces that a folder's manifest lists.
fn write(folder: &Path, report: &Report) -> Result<()> {
    let path = folder.join(FILE_NAME);
    let mut manifest = Manifest::read(&path)?.with_context(|| format!("{} is missing", path.display()))?;
    for run in &report.runs {
        let Some(Side::Ran { packets, output_digest, .. }) = run.backends.get("user") else { continue };
        let mut entries = manifest.traces.iter_mut();
        let Some(entry) = entries.find(|entry| entry.file.split('.').next() == Some(run.trace.as_str()))
        else {
            continue;
        };
        let expect = Expect { packets: *packets as u64, output_digest: output_digest.clone() };
        entry.expect.insert(run.config.to_owned(), expect);
        println!("{} {}: {packets} packets, {}", run.trace, run.config, &output_digest[..16]);
    }
    fs::write(&path, manifest.to_json()?).with_context(|| format!("cannot write {}", path.display()))
}

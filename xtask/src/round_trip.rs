//! `cargo xtask round-trip`: what the running kernel's own GSO makes of the merged packets of the shipped traces.

use anyhow::Result;

/// Prints a line per trace. Fails when a packet does not come back, or when the kernel cannot be asked.
#[cfg(target_os = "linux")]
pub(crate) fn run() -> Result<()> {
    use anyhow::{Context as _, ensure};
    use gro_bench::round_trip::{RoundTrip, round_trip_file};
    use gro_core::Config;
    use std::collections::BTreeSet;

    let mut wrong = Vec::new();
    let mut reasons = BTreeSet::new();
    println!(
        "{:12} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "trace", "packets", "frames", "identical", "exceptions", "different"
    );
    for path in gro_bench::trace::shipped(&crate::images::root()?.join("traces"))? {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('.').next().unwrap_or_default().to_owned();
        let result =
            round_trip_file(&path, &Config::DEFAULT).with_context(|| format!("round trip of {name}"))?;
        let RoundTrip { packets, frames, identical, different, .. } = result;
        let exceptions: usize = result.exceptions.values().sum();
        println!("{name:12} {packets:8} {frames:8} {identical:10} {exceptions:10} {different:10}");
        for (exception, count) in &result.exceptions {
            println!("{:12} {count:8} {exception:?}", "");
            reasons.insert(*exception);
        }
        if !result.holds() {
            wrong.push(format!("{name}: {}", result.difference.unwrap_or_default()));
        }
    }
    for exception in reasons {
        println!("{exception:?}: {}", exception.reason());
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn run() -> Result<()> {
    anyhow::bail!("needs Linux")
}

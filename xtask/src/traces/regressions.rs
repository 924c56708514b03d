//! `traces/regressions`: what once differed from the kernel, so that it is compared for ever.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use gro_bench::trace::{Frame, HashRule, PcapngWriter, TunnelDevice, sha256_hex};
use gro_core::{Config, UdpMode};

use super::{entry, pack};

/// Writes a batch with its own hashes, tags and times, and its entry in the folder's manifest, with the config under which it is
/// compared; returns the file.
///
/// # Errors
/// Those of the file system, and a frame that no capture can hold.
pub(crate) fn keep(
    folder: &Path,
    name: &str,
    shows: &str,
    config: Config,
    batch: &[Frame],
) -> Result<PathBuf> {
    let mut writer = PcapngWriter::new(Vec::new(), shows)?;
    for frame in batch {
        writer.write_frame(frame)?;
    }
    let stored = writer.finish()?;
    let sha256 = sha256_hex(&stored);
    // One seed may find several, one after the other.
    let file = format!("{name}-{}.pcapng", &sha256[..8]);
    let path = folder.join(&file);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(&path, &stored).with_context(|| format!("cannot write {}", path.display()))?;
    let mut entry = entry(&file, shows, HashRule::Captured);
    (entry.sha256, entry.frames, entry.config) = (sha256, batch.len() as u64, Some(config.into()));
    entry.udp_forwarding = config.udp == UdpMode::Forwarding;
    entry.tunnels = TunnelDevice::of(config.tunnels);
    pack::update_manifest(folder, vec![entry])?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_bench::fuzz::{Frames, Random, batch};
    use gro_bench::trace::{FILE_NAME, Manifest, REGRESSIONS, Trace, shipped};
    use gro_core::tunnel;

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let traces = std::env::temp_dir().join(format!("gro-keep-{}", std::process::id()));
        let folder = traces.join(REGRESSIONS);
        let mut random = Random(7);
        let mut batches: Vec<Vec<Frame>> = (0..40).map(|_| batch(&mut random, Frames::Plain)).collect();
        for frame in batches.iter_mut().flatten() {
            frame.time_ns = 0;
        }
        for (number, batch) in batches.iter().enumerate() {
            let udp = if number % 2 == 1 { UdpMode::Forwarding } else { UdpMode::Off };
            let tunnels = Config::DEFAULT.tunnels | if number % 4 == 1 { tunnel::VXLAN } else { 0 };
            let config = Config { udp, tunnels, gro_max_size: 3_000, ..Config::DEFAULT };
            let path = keep(&folder, "fuzz-7", "a sentence", config, batch).unwrap();
            let trace = Trace::open(&path).unwrap();
            assert_eq!(trace.frames, *batch);
            assert_eq!(trace.polls.len(), 1);
        }
        let frames = || batches.iter().flatten();
        assert!(frames().any(|frame| frame.vlan.is_some()) && frames().any(|frame| frame.hash > 7));
        let manifest = Manifest::read(&folder.join(FILE_NAME)).unwrap().unwrap();
        assert_eq!(manifest.traces.len(), batches.len());
        assert!(manifest.traces.iter().all(|entry| entry.config.unwrap().config().gro_max_size == 3_000));
        assert_eq!(manifest.traces.iter().filter(|entry| entry.udp_forwarding).count(), batches.len() / 2);
        assert_eq!(manifest.traces.iter().filter(|entry| !entry.tunnels.is_empty()).count(), 10);
        // They are compared together with the others.
        pack::update_manifest(&traces, vec![entry("a.pcapng", "it", HashRule::Zero)]).unwrap();
        let files = shipped(&traces).unwrap();
        assert_eq!((files.len(), &files[0]), (batches.len() + 1, &traces.join("a.pcapng")));
        assert!(files[1..].iter().all(|file| file.starts_with(&folder)));
        std::fs::remove_dir_all(traces).unwrap();
    }
}

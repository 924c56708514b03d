//! `traces/regressions`: what once differed from the kernel, so that it is compared for ever.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use gro_bench::trace::{Frame, HashRule, PcapngWriter, sha256_hex};

use super::{entry, pack};

/// Writes a batch, one poll with its own hashes and tags, and its entry in the folder's manifest; returns the file.
///
/// # Errors
/// Those of the file system, and a frame that no capture can hold.
pub(crate) fn keep(folder: &Path, name: &str, shows: &str, udp: bool, batch: &[Frame]) -> Result<PathBuf> {
    let mut writer = PcapngWriter::new(Vec::new(), shows)?;
    for frame in batch {
        // One time for all, so that no silence ends the poll.
        writer.write_frame(&Frame { time_ns: 0, ..frame.clone() })?;
    }
    let stored = writer.finish()?;
    let sha256 = sha256_hex(&stored);
    // One seed may find several, one after the other.
    let file = format!("{name}-{}.pcapng", &sha256[..8]);
    let path = folder.join(&file);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(&path, &stored).with_context(|| format!("cannot write {}", path.display()))?;
    let mut entry = entry(&file, shows, HashRule::Captured);
    (entry.sha256, entry.frames, entry.udp_forwarding) = (sha256, batch.len() as u64, udp);
    pack::update_manifest(folder, vec![entry])?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_bench::fuzz::{Random, batch};
    use gro_bench::trace::{FILE_NAME, Manifest, REGRESSIONS, Trace, shipped};

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let traces = std::env::temp_dir().join(format!("gro-keep-{}", std::process::id()));
        let folder = traces.join(REGRESSIONS);
        let mut random = Random(7);
        let mut batches: Vec<Vec<Frame>> = (0..40).map(|_| batch(&mut random)).collect();
        for frame in batches.iter_mut().flatten() {
            frame.time_ns = 0;
        }
        for (number, batch) in batches.iter().enumerate() {
            let path = keep(&folder, "fuzz-7", "a sentence", number % 2 == 1, batch).unwrap();
            let trace = Trace::open(&path).unwrap();
            assert_eq!(trace.frames, *batch);
            assert_eq!(trace.polls.len(), 1);
        }
        let frames = || batches.iter().flatten();
        assert!(frames().any(|frame| frame.vlan.is_some()) && frames().any(|frame| frame.hash > 7));
        let manifest = Manifest::read(&folder.join(FILE_NAME)).unwrap().unwrap();
        assert_eq!(manifest.traces.len(), batches.len());
        assert_eq!(manifest.traces.iter().filter(|entry| entry.udp_forwarding).count(), batches.len() / 2);
        // They are compared together with the others.
        pack::update_manifest(&traces, vec![entry("a.pcapng", "it", HashRule::Zero)]).unwrap();
        let files = shipped(&traces).unwrap();
        assert_eq!((files.len(), &files[0]), (batches.len() + 1, &traces.join("a.pcapng")));
        assert!(files[1..].iter().all(|file| file.starts_with(&folder)));
        std::fs::remove_dir_all(traces).unwrap();
    }
}

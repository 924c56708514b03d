//! What the manifest of a NIC image says of its making, and of what its program is expected to decide.

use crate::toolchain::Toolchain as Device;
use anyhow::{Context as _, Result, ensure};
use gro_bench::backend::{Backend as _, EngineConfig, UserBackend};
use gro_bench::trace::{FILE_NAME, Manifest, Trace};
use gro_core::{Config, Release};
use gro_nic::image::{ExpectedTrace, Hex, Provenance, Toolchain, Twin};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// What the engine decides on each shipped trace, by profile.
pub(crate) type Expected = BTreeMap<&'static str, Vec<ExpectedTrace>>;

/// Runs the userspace engine that this program was compiled with on every trace in `root/traces`, under the default config and
/// the trace's own rules. No image takes part, so an image can carry the result.
pub(crate) fn expected(root: &Path) -> Result<Expected> {
    let folder = root.join("traces");
    let path = folder.join(FILE_NAME);
    let manifest = Manifest::read(&path)?.with_context(|| format!("{} is missing", path.display()))?;
    let mut expected = Expected::new();
    for entry in &manifest.traces {
        let trace = Trace::open(&folder.join(&entry.file))?;
        let file: Hex<32> = entry.sha256.parse().map_err(anyhow::Error::msg).context(entry.file.clone())?;
        for profile in Release::ALL {
            let engine = EngineConfig { config: entry.under(Config::DEFAULT), profile, mutant: None };
            let outcome = UserBackend.run(&trace, &engine)?;
            let digest = outcome.decision_digest.context("the userspace engine has a digest")?;
            expected.entry(profile.name()).or_default().push(ExpectedTrace {
                name: trace.name.clone(),
                sha256: file,
                frames: trace.frames.len() as u64,
                packets: outcome.records.len() as u64,
                decision_digest: Hex(digest.to_be_bytes()),
            });
        }
    }
    Ok(expected)
}

/// The manifest's part that only the builder knows. `tc` is the object of the same profile.
pub(crate) fn of(release: Release, device: &Device, tc: &[u8], expected: &Expected) -> Result<Provenance> {
    let name = release.name();
    // Another engine's digests would be wrong, and nobody would notice before a device runs.
    ensure!(
        gro_ebpf::Object::from_bytes(tc).program_hash()? == release.program_hash(),
        "{name}: this xtask was compiled from other sources than the images; run the command once more"
    );
    let versions = device.versions()?;
    Ok(Provenance {
        toolchain: Toolchain { rustc: versions.rustc, linker: versions.lld },
        twin: Twin { file: format!("gro-{name}.o"), sha256: Hex(Sha256::digest(tc).into()) },
        traces: expected.get(name).cloned().unwrap_or_default(),
    })
}

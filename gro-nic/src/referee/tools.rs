//! Where the referees lie, and what they are made of.

use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::RtlCore;

/// A published core.
#[derive(Clone, Copy, Debug)]
pub struct CorePackage {
    /// Its name in the Python package index.
    pub name: &'static str,
    /// The one version that the referees are built from.
    pub version: &'static str,
    /// SHA-256 of the wheel.
    pub sha256: &'static str,
}

/// The cores' packages, in the order of [`RtlCore::ALL`].
pub const CORE_PACKAGES: [CorePackage; 2] = [
    CorePackage {
        name: "pythondata-cpu-cv32e40p",
        version: "1.0.1.post1909",
        sha256: "424a04b65d854903ada62feb94a78346e60dc84c5487ed1f32405666eee6f8c3",
    },
    CorePackage {
        name: "pythondata-cpu-ibex",
        version: "0.0.post2937",
        sha256: "bcb32ffccc75097248a11b3e52031eca92d21c6c6161a29151c8c79d6157e1c9",
    },
];

/// Files of this crate that the referees are built from, by name in `gro-nic/rtl`.
pub const BENCH_FILES: [(&str, &str); 7] = [
    ("bench.cpp", include_str!("../../rtl/bench.cpp")),
    ("cv32e40p.sv", include_str!("../../rtl/cv32e40p.sv")),
    ("cv32e40p.vlt", include_str!("../../rtl/cv32e40p.vlt")),
    ("cv32e40p.f", include_str!("../../rtl/cv32e40p.f")),
    ("ibex.sv", include_str!("../../rtl/ibex.sv")),
    ("ibex.f", include_str!("../../rtl/ibex.f")),
    ("verilator.f", include_str!("../../rtl/verilator.f")),
];

/// Names what the referees are built from: the first 16 hex digits of a SHA-256 over packages and files.
pub fn key() -> String {
    let mut hash = Sha256::new();
    for CorePackage { name, version, sha256 } in CORE_PACKAGES {
        hash.update(format!("{name}=={version} {sha256}\n"));
    }
    for (name, text) in BENCH_FILES {
        hash.update(format!("{name} {}\n", text.len()));
        hash.update(text);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The project's tool cache: `gro-tools` in `$XDG_CACHE_HOME` or `~/.cache`; none if neither is known.
pub fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let caches = set("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| Some(Path::new(&set("HOME")?).join(".cache")))?;
    Some(caches.join("gro-tools"))
}

/// Where the referee of this core lies in the tool cache, once it is built.
pub fn executable(core: RtlCore) -> Option<PathBuf> {
    Some(cache()?.join(format!("referee-{}", key())).join(core.name()))
}

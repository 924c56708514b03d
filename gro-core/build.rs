//! Computes the source hash and the program hashes that are compiled into every artefact.
//!
//! Source hash: SHA-256 over the domain tag and, for every file below `src/` in byte order of its path, the path, its
//! length and its bytes. `src/user/` is left out: it is a datapath, like the tc program and the firmware.
//! Program hash of a profile: SHA-256(domain tag, source hash, profile name).

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const PROFILES: [(&str, &str); 3] =
    [("LINUX_6_12", "linux-6.12"), ("LINUX_6_18", "linux-6.18"), ("LINUX_7", "linux-7.x")];

fn main() -> io::Result<()> {
    let source = Path::new("src");
    println!("cargo::rerun-if-changed=src");
    let mut files = Vec::new();
    collect(source, &mut files)?;
    files.retain(|path| !path.starts_with("src/user"));
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(source).unwrap_or(&path);
            let parts: Vec<_> =
                relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            (parts.join("/"), path.clone())
        })
        .collect();
    named.sort();

    let mut hasher = Sha256::new_with_prefix(b"gro source 1\0");
    for (name, path) in &named {
        let bytes = fs::read(path)?;
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    let source_hash: [u8; 32] = hasher.finalize().into();

    let mut text = format!(
        "/// SHA-256 of the engine's sources.\npub(super) const SOURCE: [u8; 32] = {source_hash:?};\n"
    );
    for (constant, name) in PROFILES {
        let mut hasher = Sha256::new_with_prefix(b"gro program 1\0");
        hasher.update(source_hash);
        hasher.update(name.as_bytes());
        let hash: [u8; 32] = hasher.finalize().into();
        writeln!(
            text,
            "/// Program hash of profile `{name}`.\npub(super) const {constant}: [u8; 32] = {hash:?};"
        )
        .map_err(io::Error::other)?;
    }
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("hashes.rs"), text)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

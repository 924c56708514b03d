//! Computes the source hash and the program hashes that are compiled into every artefact; [`source_hash`] says of what.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

mod source_hash;

const PROFILES: [(&str, &str); 3] =
    [("LINUX_6_12", "linux-6.12"), ("LINUX_6_18", "linux-6.18"), ("LINUX_7", "linux-7.x")];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed={}", source_hash::PARSE_GRAPH);
    let source = source_hash::source_hash(&source_hash::read(Path::new("."))?);
    let mut text =
        format!("/// SHA-256 of the engine's sources.\npub(super) const SOURCE: [u8; 32] = {source:?};\n");
    for (constant, name) in PROFILES {
        let hash = source_hash::program_hash(&source, name);
        writeln!(
            text,
            "/// Program hash of profile `{name}`.\npub(super) const {constant}: [u8; 32] = {hash:?};"
        )
        .map_err(io::Error::other)?;
    }
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("hashes.rs"), text)
}

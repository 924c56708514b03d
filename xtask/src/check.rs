//! `cargo xtask test`: everything a change must pass, with its own set-up.

use crate::images;
use crate::toolchain::{Toolchain, may_install, qemu_ready, run};
use anyhow::Result;
use std::process::Command;

/// Installs, builds, tests.
pub(crate) fn test() -> Result<()> {
    let root = images::root()?;
    // xtask was built from the committed images; the tests below must see the new ones.
    match Toolchain::ready() {
        Ok(_) => cargo(&root, &["run", "--quiet", "--release", "--package", "xtask", "--", "images"])?,
        Err(error) if !may_install() => eprintln!("testing with the committed images: {error:#}"),
        Err(error) => return Err(error),
    }
    match qemu_ready() {
        Err(error) if !may_install() => eprintln!("testing without a referee of the NIC: {error:#}"),
        ready => ready?,
    }
    cargo(&root, &["test", "--workspace", "--all-features"])
}

fn cargo(root: &std::path::Path, arguments: &[&str]) -> Result<()> {
    run(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(root))
}

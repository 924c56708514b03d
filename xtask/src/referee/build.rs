//! Installs the cores and builds their benches into the tool cache.

use crate::toolchain::{apt_install, first_line, may_install, run};
use anyhow::{Context as _, Result, bail, ensure};
use gro_nic::referee::{BENCH_FILES, CORE_PACKAGES, CorePackage, RtlCore, cache, executable};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Has both referees ready, and says which Verilator would build them.
pub(super) fn ready() -> Result<()> {
    for core in RtlCore::ALL {
        let path = executable(core).context("HOME is not set")?;
        if path.is_file() {
            eprintln!("{} referee: {}", core.name(), path.display());
            continue;
        }
        let start = Instant::now();
        build(core, &path)?;
        eprintln!(
            "{} referee: built {} in {:.0} s",
            core.name(),
            path.display(),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn build(core: RtlCore, target: &Path) -> Result<()> {
    if first_line(Command::new("verilator").arg("--version")).is_err() {
        if !may_install() {
            bail!("no Verilator: install the Debian package verilator (5.006 is known to do)");
        }
        apt_install(&["verilator"])?;
    }
    eprintln!("building with {}", first_line(Command::new("verilator").arg("--version"))?);
    let sources = install(core)?;
    // In a folder of its own, of which only the finished executable is moved: an interrupted build leaves nothing behind
    // that looks like one.
    let folder = target.parent().context("a referee lies in a folder")?;
    let work = folder.join(format!("{}.{}", core.name(), std::process::id()));
    fs::create_dir_all(&work)?;
    for (name, text) in BENCH_FILES {
        fs::write(work.join(name), text)?;
    }
    let mut command = Command::new("verilator");
    command.env("CORE", sources).current_dir(&work).stdout(std::io::stderr());
    command.args(["-f", "verilator.f", "-j", "2", "--Mdir", "objects", "-o", core.name()]);
    let configuration = format!("{}.vlt", core.name());
    if work.join(&configuration).is_file() {
        command.arg(configuration);
    }
    command.args(["-f", &format!("{}.f", core.name()), &format!("{}.sv", core.name()), "bench.cpp"]);
    run(&mut command)?;
    fs::rename(work.join("objects").join(core.name()), target)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// The folder of the core's sources, installed from the package index unless they are there.
fn install(core: RtlCore) -> Result<PathBuf> {
    let CorePackage { name, version, sha256 } = match core {
        RtlCore::Cv32e40p => CORE_PACKAGES[0],
        RtlCore::Ibex => CORE_PACKAGES[1],
    };
    let cache = cache().context("HOME is not set")?;
    let folder = cache.join(format!("{name}-{version}"));
    let sources = folder.join(name.replace('-', "_")).join("system_verilog");
    if sources.is_dir() {
        return Ok(sources);
    }
    eprintln!("installing {name} {version} into {}", folder.display());
    fs::create_dir_all(&cache)?;
    let work = cache.join(format!("{name}.{}", std::process::id()));
    let requirements = cache.join(format!("{name}.{}.txt", std::process::id()));
    fs::write(&requirements, format!("{name}=={version} --hash=sha256:{sha256}\n"))?;
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--require-hashes"]);
    command.arg("--disable-pip-version-check").arg("--root-user-action=ignore");
    command.arg("--target").arg(&work).arg("-r").arg(&requirements).stdout(std::io::stderr());
    let installed = run(&mut command);
    fs::remove_file(&requirements)?;
    installed.context("cannot install the core; it takes python3 with pip and its package index")?;
    fs::rename(&work, &folder)?;
    ensure!(sources.is_dir(), "the package has no {}", sources.display());
    Ok(sources)
}

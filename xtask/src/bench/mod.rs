//! `cargo xtask bench`: what the userspace engine costs, beside what one could take instead.
//!
//! The work is done by `gro-peers`, a program in a workspace of its own (gro-bench/peers): whoever builds this project does not
//! build its peers. This brings what it needs, builds it, runs it and says where the results are.

use crate::images;
use crate::toolchain::{apt_install, may_install, run};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What to measure.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Fewer cells and rounds, for a look; writes nothing.
    #[arg(long)]
    quick: bool,
    /// Only these cells, such as 8x4 or 8x4/ipv6, and nothing but cells; writes nothing.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// The CPU to measure on; the last one when none is named.
    #[arg(long)]
    cpu: Option<usize>,
}

const PEERS: &str = "gro-bench/peers/Cargo.toml";

/// Measures, prints the promises with what became of them, and writes docs/benchmarks/engine.json and engine.html.
///
/// # Errors
/// Another platform than Linux on x86-64, or a build that fails. A peer that is not here is skipped, and the report says why.
pub(crate) fn run_task(args: &Args) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the benchmark counts ticks of x86-64 and its peers are of Linux: run it there"
    );
    let root = images::root()?;
    bring("DPDK", &["pkg-config", "libdpdk-dev"], pkg_config("libdpdk"));
    let writes = !args.quick && args.cells.is_empty();
    if writes {
        bring("callgrind", &["valgrind"], succeeds(Command::new("valgrind").arg("--version")));
    }
    let peers = build(&root)?;

    let mut command = Command::new(peers);
    command.arg("run").arg("--traces").arg(root.join("traces"));
    if args.quick {
        command.arg("--quick");
    }
    if !args.cells.is_empty() {
        command.arg("--cells").arg(args.cells.join(","));
    }
    if let Some(cpu) = args.cpu {
        command.args(["--cpu", &cpu.to_string()]);
    }
    let folder = root.join("docs/benchmarks");
    if writes {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        command.arg("--json").arg(folder.join("engine.json")).arg("--html").arg(folder.join("engine.html"));
    }
    run(&mut command)?;
    if writes {
        println!("written: docs/benchmarks/engine.json, docs/benchmarks/engine.html");
    }
    Ok(())
}

/// Installs what is missing, where this process may. Without it the run goes on, without what needs it.
fn bring(what: &str, packages: &[&str], is_there: bool) {
    if is_there {
        return;
    }
    let packages_text = packages.join(" ");
    if !may_install() {
        eprintln!("no {what}: install the Debian packages {packages_text}; measured without it");
    } else if let Err(error) = apt_install(packages) {
        eprintln!("no {what}: {error:#}; measured without it");
    }
}

fn pkg_config(library: &str) -> bool {
    succeeds(Command::new("pkg-config").args(["--exists", library]))
}

fn succeeds(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// Builds gro-peers; one minute or two, as everything is compiled into one unit.
fn build(root: &Path) -> Result<PathBuf> {
    eprintln!("building gro-peers");
    let target = root.join("target/peers");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--quiet", "--locked", "--manifest-path"]).arg(root.join(PEERS));
    command.arg("--target-dir").arg(&target).current_dir(root);
    // The cargo that started this one tells its children about itself.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
    run(&mut command)?;
    Ok(target.join("release/gro-peers"))
}

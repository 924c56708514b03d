//! `cargo xtask acceptance`: the figures of an issue, measured, as dated JSON under `docs/acceptance/`.

#[cfg(target_os = "linux")]
mod attach;
#[cfg(target_os = "linux")]
mod graph;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod nic;
mod slice;
mod user;

use crate::images;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use std::fs;
use std::process::Command;

/// What to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The set of figures.
    #[arg(value_parser = ["slice", "kernel", "graph", "attach", "nic", "user"], default_value = "slice")]
    name: String,
    /// Measure only these parts. Of attach: cells, cycles, faults, recorded, cost; nothing is written then. Of nic: tap, offload,
    /// smoltcp; each writes a document of its own.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Of attach and nic: the binary to attach with; built when it is not given.
    #[arg(long)]
    gro: Option<std::path::PathBuf>,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    name: String,
    date: String,
    machine: Machine,
    /// Of everything random behind the figures.
    seeds: &'static str,
    figures: Vec<Figure>,
}

/// Where figures were measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    rustc: String,
}

#[derive(Serialize)]
struct Figure {
    what: String,
    value: String,
    bar: &'static str,
    holds: bool,
}

impl Figure {
    fn new(what: impl Into<String>, value: impl Into<String>, bar: &'static str, holds: bool) -> Self {
        Self { what: what.into(), value: value.into(), bar, holds }
    }
}

/// Measures, prints, writes. Fails when a figure does not hold, after it is written.
pub(crate) fn run_all(args: &Args) -> Result<()> {
    #[cfg(target_os = "linux")]
    if args.name == "nic" {
        let mut all_hold = true;
        for part in nic::parts(args)? {
            all_hold &= write(&format!("nic-{}", part.name), part.seeds, part.figures, true)?;
        }
        ensure!(all_hold, "a figure does not hold");
        return Ok(());
    }
    let (seeds, figures) = match args.name.as_str() {
        #[cfg(target_os = "linux")]
        "attach" => (attach::SEEDS, attach::figures(args)?),
        #[cfg(target_os = "linux")]
        "graph" => (graph::SEEDS, graph::figures()?),
        #[cfg(target_os = "linux")]
        "kernel" => (kernel::SEEDS, kernel::figures()?),
        "slice" => (slice::SEEDS, slice::figures()?),
        "user" => (user::SEEDS, user::figures()?),
        name => bail!("the figures of {name} need Linux"),
    };

    let holds = write(&args.name, seeds, figures, args.only.is_empty())?;
    ensure!(holds, "a figure does not hold");
    Ok(())
}

/// Prints figures, and writes them if they are all of a document. Whether all hold.
fn write(name: &str, seeds: &'static str, figures: Vec<Figure>, whole: bool) -> Result<bool> {
    let document = Document {
        schema: 1,
        name: name.to_owned(),
        date: said("date", &["-u", "+%F"])?,
        machine: machine()?,
        seeds,
        figures,
    };
    for figure in &document.figures {
        let verdict = if figure.holds { "holds" } else { "MISSED" };
        println!("{verdict:6}  {}: {} (bar: {})", figure.what, figure.value, figure.bar);
    }
    if whole {
        let folder = images::root()?.join("docs/acceptance");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&document)? + "\n")?;
        println!("written: docs/acceptance/{name}.json");
    }
    Ok(document.figures.iter().all(|figure| figure.holds))
}

pub(crate) fn machine() -> Result<Machine> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(Machine {
        cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        kernel: said("uname", &["-r"])?,
        rustc: said("rustc", &["--version"])?,
    })
}

pub(crate) fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

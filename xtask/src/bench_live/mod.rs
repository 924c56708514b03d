//! `cargo xtask bench-live`: what it costs to receive, by who coalesces.
//!
//! The states take turns within each round, so that what the machine does besides hits them alike.

mod report;

pub(crate) use report::Spread;

use crate::acceptance;
use crate::images;
use crate::toolchain::{may_install, run};
use anyhow::{Context as _, Result, bail, ensure};
use gro_bench::live::latency::{self, Exchange};
use gro_bench::live::traffic::{self, Content, Load};
use gro_bench::live::{Options, Receiver, Topology, can_attach, cpu, ruleset};
use report::{Bulk, Conditions, Cost, Exchanges, Report, Sample, What, spread};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What to measure.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Fewer and shorter rounds, for a look; writes nothing.
    #[arg(long)]
    quick: bool,
    /// Rounds, each with every state.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Connections at once.
    #[arg(long, default_value_t = 1)]
    flows: usize,
    /// Bytes of an IP packet.
    #[arg(long, default_value_t = 1_500)]
    mtu: u32,
    /// Leave sender and receiver to the scheduler, instead of a CPU for each.
    #[arg(long)]
    unpinned: bool,
    /// Who coalesces: none, kernel, in-place, via-tap.
    #[arg(long, value_delimiter = ',', default_value = "none,kernel,in-place,via-tap")]
    states: Vec<String>,
    /// The binary to attach with; built when it is not given.
    #[arg(long)]
    gro: Option<PathBuf>,
}

impl Args {
    /// As the figures of an issue want it.
    pub(crate) fn whole(gro: &Path) -> Self {
        let states = ["none", "kernel", "in-place", "via-tap"].map(str::to_owned).to_vec();
        Self {
            quick: false,
            rounds: 5,
            flows: 1,
            mtu: 1_500,
            unpinned: false,
            states,
            gro: Some(gro.to_owned()),
        }
    }
}

/// Bytes a second of the paced load.
const PACE: u64 = 5_000_000_000 / 8;
const LOADS: [(&str, Option<u64>); 2] = [("5 Gb/s", Some(PACE)), ("full speed", None)];
const RULES: [u32; 2] = [0, 200];
/// A request, and a response: a segment of MTU 1500 with timestamps.
const EXCHANGE: usize = 1_448;

/// Measures, prints a table and writes docs/benchmarks/live.json.
pub(crate) fn run_task(args: &Args) -> Result<Report> {
    let report = measure(args)?;
    report.print();
    if args.quick {
        return Ok(report);
    }
    let folder = images::root()?.join("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("live.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    println!("written: docs/benchmarks/live.json");
    Ok(report)
}

/// Measures.
///
/// # Errors
/// Missing rights or tools, or a connection that breaks.
fn measure(args: &Args) -> Result<Report> {
    install_nft()?;
    let gro = binary(args.gro.as_deref())?;
    let states = states(args, &gro)?;
    let rounds = if args.quick { args.rounds.min(2) } else { args.rounds };
    let bytes = if args.quick { 600_000_000 } else { 2_500_000_000 };
    // Checksums are left to the device, as a NIC has it: over veth nobody computes any.
    let options = Options { mtu: args.mtu, checksum_offload: true, ..Options::default() };
    let topologies = RULES.map(|rules| {
        let topology = Topology::build(options)?;
        if rules > 0 {
            ruleset::load(&topology, rules)?;
        }
        Ok::<_, anyhow::Error>((rules, topology))
    });
    let topologies = topologies.into_iter().collect::<Result<Vec<_>>>()?;
    let (mut samples, mut background) = (Vec::new(), Vec::new());
    // Round 0 warms up, and is not counted.
    for round in 0..=rounds {
        let bytes = if round > 0 { bytes } else { bytes / 5 };
        for (rules, topology) in &topologies {
            for state in &states {
                let found = turn(args, topology, state, &gro, bytes, &mut background)
                    .with_context(|| format!("state {} with {rules} rules", state.name()))?;
                if round > 0 {
                    let sample = |what| Sample { state: state.name(), rules: *rules, what };
                    samples.extend(found.into_iter().map(sample));
                }
            }
        }
        eprintln!("round {round} of {rounds}");
    }
    let names: Vec<&'static str> = states.iter().map(Receiver::name).collect();
    Ok(Report {
        schema: 1,
        date: acceptance::said("date", &["-u", "+%F"])?,
        machine: acceptance::machine()?,
        conditions: Conditions {
            rounds,
            flows: args.flows,
            mtu: args.mtu,
            bytes,
            wire: "veth between two network namespaces, sender without TSO, checksum offload on; rules are nftables, prerouting, \
                   none matches",
            cpus: match cpus(args) {
                Some(_) => "sender bound to CPU 0, receiver to CPU 1",
                None => "sender and receiver where the scheduler puts them",
            },
            cpu_seconds: "whole machine, both hosts: CPUs x time less idle, iowait and steal of /proc/stat (10 ms units)",
            background_cpus: spread(&background),
        },
        bulk: names
            .iter()
            .flat_map(|&state| RULES.map(|rules| LOADS.map(|(load, _)| (state, rules, load))))
            .flatten()
            .map(|(state, rules, load)| Bulk::of(&samples, state, rules, load))
            .collect(),
        latency: names
            .iter()
            .flat_map(|&state| RULES.map(|rules| Exchanges::of(&samples, state, rules)))
            .collect(),
    })
}

/// Everything in one state.
fn turn(
    args: &Args,
    topology: &Topology,
    state: &Receiver,
    gro: &Path,
    bytes: u64,
    background: &mut Vec<f64>,
) -> Result<Vec<What>> {
    let attached = state.start(topology, gro)?;
    let mut found = Vec::new();
    for (name, pace) in LOADS {
        let (flows, cpus) = (args.flows, cpus(args));
        let load = Load { flows, bytes, content: Content::Plain, pace, cpus, ..Load::default() };
        let before = attached.snapshot()?;
        let mut cost = bulk(topology, &load, background)?;
        cost.segments_a_merge =
            before.zip(attached.snapshot()?).map(|(before, after)| after.since(&before).segments_a_merge());
        found.push(What::Bulk(name, cost));
    }
    let count = if args.quick { 2_000 } else { 20_000 };
    let exchange = Exchange { size: EXCHANGE, count, ipv6: false, cpus: cpus(args) };
    found.push(What::Exchanges(latency::measure(topology, exchange)?));
    attached.detach()?;
    Ok(found)
}

/// Measured again while others use the machine before or after, a few times at most.
fn bulk(topology: &Topology, load: &Load, background: &mut Vec<f64>) -> Result<Cost> {
    const ATTEMPTS: usize = 4;
    const QUIET: f64 = 0.1;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let idle = cpu::settle(QUIET, Duration::from_secs(20))?;
        let before = cpu::Moment::now()?;
        let carried = traffic::run(topology, load)?;
        let spent = cpu::Moment::now()?.since(&before);
        ensure!(carried.is_intact(), "bytes were lost");
        let idle = idle.max(cpu::background(Duration::from_millis(300))?);
        if idle <= QUIET || attempt == ATTEMPTS {
            background.push(idle);
            return Ok(Cost {
                gbit_per_second: carried.gbit_per_second(),
                cpu_seconds_per_gb: spent.busy / (carried.bytes() as f64 * 1e-9),
                of_ends: spent.process / (carried.bytes() as f64 * 1e-9),
                segments_a_merge: None,
            });
        }
    }
}

/// One for each end, where there are two.
fn cpus(args: &Args) -> Option<[usize; 2]> {
    let several = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
    (several && !args.unpinned).then_some([0, 1])
}

fn states(args: &Args, gro: &Path) -> Result<Vec<Receiver>> {
    let mut states = Vec::new();
    for name in &args.states {
        let state = match name.as_str() {
            "none" => Receiver::None,
            "kernel" => Receiver::KernelGro,
            "in-place" => Receiver::InPlace(Vec::new()),
            "via-tap" => Receiver::ViaTap(Vec::new()),
            _ => bail!("there is no state {name}; there are none, kernel, in-place and via-tap"),
        };
        if state.is_ours() && !can_attach(gro) {
            eprintln!("skipped: {name}: {} cannot attach", gro.display());
        } else {
            states.push(state);
        }
    }
    ensure!(
        states.first() == Some(&Receiver::None),
        "the first state must be none: it is the measure of the others"
    );
    Ok(states)
}

/// The `gro` to attach with: the given one, or that of this checkout, built.
pub(crate) fn binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let root = images::root()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(command.args(["build", "--release", "--quiet", "--package", "gro-cli"]).current_dir(&root))?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(folder.join("release/gro"))
}

/// Installs nftables where it is missing and this process may.
fn install_nft() -> Result<()> {
    let mut version = Command::new("nft");
    version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    ensure!(may_install(), "there is no nft: install the package nftables");
    eprintln!("installing nftables");
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends", "nftables"]).stdout(Stdio::null());
    run(&mut install)
}

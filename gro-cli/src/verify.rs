//! `gro verify`

use crate::progress::Progress;
use anyhow::{Context as _, bail};
use gro_bench::report::{Report, Run, Side};
use gro_bench::{Backend, CONFIGS, Options, backend, trace};
use gro_core::{Config, Release, Rule, UdpMode};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Run every backend on every trace and compare what comes out.
///
/// Each trace runs under four configs: `tc` (gro_max_size 15,000, which all backends can run), `default` (65,536), `big` (BIG TCP:
/// 524,280) and `in-band` (VLAN tags stay in the bytes). With engine flags it runs under what they say. A backend that cannot
/// run here says `skipped` and why, and never counts as equal; one that cannot run a config by its nature is `not applicable`.
///
/// Other machines run the NIC's image too, as its referees, where --backends or --require names them: `nic-qemu`, `nic-qemu-rv64`.
///
/// A trace beside a manifest.json runs with the hashes, poll boundaries and expectations that it states; a copy elsewhere does not.
/// Under a flush timeout the kernel plays the trace in real time.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro verify\n  gro verify capture.pcapng --config tc --require user,tc\n  gro verify -j | jq .equal\n\nExit status: 0 equal (skips allowed), 1 different, 2 trouble or a required backend did not run."
)]
pub(crate) struct Args {
    /// Capture files or folders of them; the shipped traces if none is given
    traces: Vec<PathBuf>,
    /// Run under this config only
    #[arg(long, value_name = "NAME", value_parser = CONFIGS.map(|(name, _)| name))]
    config: Option<String>,
    /// Run these backends only: for what the running kernel does not know, or for referees of the NIC
    #[arg(long, value_delimiter = ',', value_name = "B,B")]
    backends: Vec<String>,
    /// Backends that must run (wherever they are applicable)
    #[arg(long, value_delimiter = ',', value_name = "B,B")]
    require: Vec<String>,
    /// Print JSON (schema 1)
    #[arg(short, long)]
    json: bool,
    /// Switch a rule off in backend `user`, to see the comparison fail
    #[arg(long, value_name = "RULE", value_parser = crate::engine::rule)]
    mutant: Option<Rule>,
    #[command(flatten)]
    engine: crate::engine::EngineArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let (usual, referees) = (backend::all(), backend::referees());
    let usual_names: Vec<&str> = usual.iter().map(|backend| backend.name()).collect();
    let mut backends: Vec<_> = usual.into_iter().chain(referees).collect();
    known("--backends", &args.backends, &backends)?;
    let named = |names: &[String], name: &str| names.iter().any(|known| known == name);
    if args.backends.is_empty() {
        known("--require", &args.require, &backends)?;
        backends.retain(|it| usual_names.contains(&it.name()) || named(&args.require, it.name()));
    } else {
        backends.retain(|it| named(&args.backends, it.name()));
        known("--require", &args.require, &backends)?;
    }
    let profile = args.engine.profile();
    if args.mutant.is_some() && profile != Release::Linux618 {
        bail!("--mutant: rules can be switched off in {} only", Release::Linux618.name());
    }
    let options = Options {
        traces: traces(&args.traces)?,
        configs: configs(args),
        require: args.require.clone(),
        udp: args.engine.udp.map(UdpMode::from),
        tunnels: args.engine.tunnels,
        profile,
        mutant: args.mutant,
    };
    let progress = Progress::new();
    let report =
        gro_bench::verify(&options, &mut backends, |done, total, what| progress.step(done, total, what))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        // In one piece: an error of serde_json hides that the reader has gone.
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        table(&mut out, &report, &backends.iter().map(|backend| backend.name()).collect::<Vec<_>>())?;
    }
    Ok(report.exit_code())
}

/// Refuses a name that none of the backends has.
fn known(flag: &str, names: &[String], backends: &[Box<dyn Backend>]) -> anyhow::Result<()> {
    let there: Vec<&str> = backends.iter().map(|backend| backend.name()).collect();
    match names.iter().find(|name| !there.contains(&name.as_str())) {
        Some(name) => bail!("{flag} {name}: there is no such backend; there are {}", there.join(", ")),
        None => Ok(()),
    }
}

/// The named config or all of them; with what the engine's flags say, one only.
fn configs(args: &Args) -> Vec<(&'static str, Config)> {
    let named = |(known, _): &(&str, Config)| args.config.as_deref().is_none_or(|name| name == *known);
    let mut configs: Vec<_> = CONFIGS.into_iter().filter(named).collect();
    if args.engine.says_config() {
        let base = if args.config.is_some() { configs[0].1 } else { Config::DEFAULT };
        configs = vec![("flags", args.engine.config(base))];
    }
    configs
}

/// Files as they are, folders by their manifest or content, nothing for the shipped ones.
pub(crate) fn traces(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut traces = Vec::new();
    if given.is_empty() {
        traces = trace::shipped(&shipped_folder()?)?;
    }
    for path in given {
        if is_stdin(path) {
            bail!("verify reads a capture once for each backend: name a file instead of -");
        }
        if path.is_dir() {
            traces.extend(trace::shipped(path)?);
        } else {
            traces.push(path.clone());
        }
    }
    if traces.is_empty() {
        bail!("no capture file there; give a .pcapng or .pcap file, plain or .zst");
    }
    Ok(traces)
}

fn shipped_folder() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("the current folder is gone")?;
    here.ancestors()
        .map(|folder| folder.join("traces"))
        .find(|folder| folder.join(trace::FILE_NAME).is_file())
        .with_context(|| {
            format!(
                "no shipped traces above {}; run it in a checkout, or name a capture file",
                here.display()
            )
        })
}

fn table(out: &mut impl std::io::Write, report: &Report, backends: &[&str]) -> std::io::Result<()> {
    let name = report.runs.iter().map(|run| run.trace.len()).max().unwrap_or(0).max(5);
    write!(out, "{:name$}  {:7}  {:>7}  {:>7}", "trace", "config", "in", "out")?;
    for backend in backends {
        write!(out, "  {backend:16}")?;
    }
    writeln!(out, "  equal")?;
    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for run in &report.runs {
        write!(out, "{:name$}  {:7}  {:>7}  {:>7}", run.trace, run.config, run.frames, packets_out(run))?;
        for backend in backends {
            let (cell, note) = match run.backends.get(backend) {
                Some(Side::Ran { output_digest, .. }) => (output_digest[..16].to_owned(), None),
                Some(Side::Skipped { why }) => {
                    ("skipped".to_owned(), Some(format!("{backend} skipped: {why}")))
                }
                Some(Side::NotApplicable { why }) => {
                    ("not applicable".to_owned(), Some(format!("{backend} not applicable: {why}")))
                }
                Some(Side::Failed { why }) => ("FAILED".to_owned(), Some(format!("{backend} failed: {why}"))),
                None => ("-".to_owned(), None),
            };
            write!(out, "  {cell:16}")?;
            if let Some(note) = note {
                let place = format!("{} {}", run.trace, run.config);
                match notes.iter_mut().find(|(text, _)| *text == note) {
                    Some((_, places)) => places.push(place),
                    None => notes.push((note, vec![place])),
                }
            }
        }
        writeln!(out, "  {}", if run.equal { "yes" } else { "NO" })?;
    }
    for (note, places) in notes {
        let place = if places.len() == 1 { places[0].clone() } else { format!("{} runs", places.len()) };
        writeln!(out, "{note} ({place})")?;
    }
    for run in &report.runs {
        if let Some(difference) = &run.difference {
            writeln!(out, "\n{} {}: {difference}", run.trace, run.config)?;
        }
    }
    for missing in &report.missing {
        writeln!(out, "\nrequired, but did not run: {missing}")?;
    }
    writeln!(out, "profile {}; {}", report.profile, verdict(report))
}

fn packets_out(run: &Run) -> String {
    let ran = run.backends.values().find_map(|side| match side {
        Side::Ran { packets, .. } => Some(packets.to_string()),
        _ => None,
    });
    ran.unwrap_or_else(|| "-".to_owned())
}

fn verdict(report: &Report) -> &'static str {
    let alone = |run: &Run| run.backends.values().filter(|side| matches!(side, Side::Ran { .. })).count() < 2;
    let failed = |run: &Run| run.backends.values().any(|side| matches!(side, Side::Failed { .. }));
    if report.runs.iter().any(|run| run.difference.is_some()) {
        "DIFFERENT"
    } else if report.runs.iter().any(failed) {
        "a backend failed"
    } else if !report.missing.is_empty() {
        "a required backend did not run"
    } else if report.runs.iter().any(alone) {
        "nothing to compare: some runs had one backend only"
    } else {
        "equal: every backend that ran delivered the same bytes for the same reasons"
    }
}

/// Whether a path stands for a pipe, for commands that take one capture.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

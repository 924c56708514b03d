//! `cargo xtask acceptance`: the figures of an issue, measured, as dated JSON under `docs/acceptance/`.

use crate::images;
use crate::toolchain::run;
use anyhow::{Context as _, Result, ensure};
use gro_bench::report::{Report, Side};
use gro_bench::trace::shipped;
use gro_bench::{Options, backend, verify};
use serde::Serialize;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// What to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The set of figures.
    #[arg(value_parser = ["slice"], default_value = "slice")]
    name: String,
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

#[derive(Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    rustc: String,
}

#[derive(Serialize)]
struct Figure {
    what: &'static str,
    value: String,
    bar: &'static str,
    holds: bool,
}

/// Measures, prints, writes. Fails when a figure does not hold, after it is written.
pub(crate) fn run_all(args: &Args) -> Result<()> {
    let root = images::root()?;
    let mut figures = Vec::new();
    comparison(&mut figures)?;
    verifier(&mut figures)?;
    tests(&mut figures)?;
    bench(&mut figures)?;

    let document = Document {
        schema: 1,
        name: args.name.clone(),
        date: said("date", &["-u", "+%F"])?,
        machine: machine()?,
        // The constants of gro-bench/tests and the default of `cargo xtask traces`.
        seeds: "kernel batches 0x67726f5f6b65726e, hostile frames 0 to 199 (one a chunk), built traces 1",
        figures,
    };
    for figure in &document.figures {
        let verdict = if figure.holds { "holds" } else { "MISSED" };
        println!("{verdict:6}  {}: {} (bar: {})", figure.what, figure.value, figure.bar);
    }
    let folder = root.join("docs/acceptance");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.json", args.name));
    fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("written: docs/acceptance/{}.json", args.name);
    ensure!(document.figures.iter().all(|figure| figure.holds), "a figure does not hold");
    Ok(())
}

fn comparison(figures: &mut Vec<Figure>) -> Result<()> {
    let mut backends = backend::all();
    let require: Vec<String> = ["user", "tc", "nic", "kernel"].map(String::from).to_vec();
    let options =
        Options { traces: shipped(&images::root()?.join("traces"))?, require, ..Options::default() };
    let start = Instant::now();
    let report = verify(&options, &mut backends, |_, _, _| ())?;
    let seconds = start.elapsed().as_secs_f64();
    figures.push(Figure {
        what: "every backend ran, all digests equal on every shipped trace",
        value: format!("{} runs, exit code {}", report.runs.len(), report.exit_code()),
        bar: "exit code 0 with user, tc, nic, kernel required",
        holds: report.exit_code() == 0,
    });
    figures.push(Figure {
        what: "gro verify on the shipped traces",
        value: format!("{seconds:.1} s"),
        bar: "< 60 s",
        holds: seconds < 60.0,
    });
    let (frames, packets) = bulk(&report).context("tcp4-bulk did not run under config default")?;
    let ratio = frames as f64 / packets as f64;
    figures.push(Figure {
        what: "frames a packet on tcp4-bulk",
        value: format!("{frames} / {packets} = {ratio:.2}"),
        bar: "> 3",
        holds: ratio > 3.0,
    });
    Ok(())
}

fn bulk(report: &Report) -> Option<(usize, usize)> {
    let run = report.runs.iter().find(|run| run.trace == "tcp4-bulk" && run.config == "default")?;
    match run.backends.get("user")? {
        Side::Ran { packets, .. } => Some((run.frames, *packets)),
        _ => None,
    }
}

fn verifier(figures: &mut Vec<Figure>) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        let object = gro_ebpf::Object::committed(gro_core::Release::Linux618);
        let verified = gro_ebpf::Program::load(&object)?.loaded()?.verified_instructions;
        let depth = gro_ebpf::Program::stack_depth(&object)?;
        figures.push(Figure {
            what: "tc program loads: instructions verified, stack depth in bytes",
            value: format!("{verified}, {depth}"),
            bar: "1,000,000 and 512, the kernel's",
            holds: true,
        });
    }
    let image = gro_nic::Image::parse(gro_nic::LINUX_6_18)?;
    let (text, data) = (image.code.bytes.len(), image.data.memory_size);
    figures.push(Figure {
        what: "NIC image: text, data in bytes",
        value: format!("{text}, {data}"),
        bar: "<= 32,768 each",
        holds: text <= 32_768 && data <= 32_768,
    });
    Ok(())
}

/// The tests whose outcome is a figure; the seed of the hostile frames is in the test.
fn tests(figures: &mut Vec<Figure>) -> Result<()> {
    let sets: [(&'static str, &'static str); 4] = [
        (
            "kernel",
            "3,000 random batches and 65,536 pairs: user equals the running kernel, packet by packet and frame by frame",
        ),
        ("hostile", "1,000,000 hostile frames through user and nic, every frame out exactly once, no panic"),
        ("resegment", "re-segmented output equals the input, per flow, byte for byte"),
        ("mutants", "a planted difference is found and its first frame named"),
    ];
    for (test, what) in sets {
        let start = Instant::now();
        let passed = run(cargo().args(["test", "--quiet", "--package", "gro-bench", "--test", test])).is_ok();
        let value =
            format!("{} in {:.0} s", if passed { "passed" } else { "failed" }, start.elapsed().as_secs_f64());
        figures.push(Figure { what, value, bar: "passes", holds: passed });
    }
    Ok(())
}

/// Criterion's own estimate of the median, from the files it writes.
fn bench(figures: &mut Vec<Figure>) -> Result<()> {
    run(cargo().args(["bench", "--quiet", "--package", "gro-bench", "--bench", "user"]))?;
    let folder = images::root()?.join("target/criterion/user_tcp4-bulk/verified by the NIC/new");
    let read = |file: &str| -> Result<serde_json::Value> {
        let path = folder.join(file);
        let text = fs::read(&path).with_context(|| format!("criterion left no {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    };
    let (estimates, benchmark) = (read("estimates.json")?, read("benchmark.json")?);
    let number =
        |value: &serde_json::Value, path: &str| value.pointer(path).and_then(serde_json::Value::as_f64);
    let frames =
        number(&benchmark, "/throughput/Elements").context("the benchmark states no number of frames")?;
    let of = |path: &str| {
        number(&estimates, path).map(|ns| ns / frames).context("criterion's estimates lack a median")
    };
    let median = of("/median/point_estimate")?;
    let (low, high) =
        (of("/median/confidence_interval/lower_bound")?, of("/median/confidence_interval/upper_bound")?);
    figures.push(Figure {
        what: "userspace engine on tcp4-bulk, no checksum verification, ns a packet (median, its 95 % interval)",
        value: format!("{median:.1} ({low:.1} to {high:.1})"),
        bar: "<= 60",
        holds: median <= 60.0,
    });
    Ok(())
}

fn machine() -> Result<Machine> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(Machine {
        cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        kernel: said("uname", &["-r"])?,
        rustc: said("rustc", &["--version"])?,
    })
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

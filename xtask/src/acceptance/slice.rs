//! Figures of the first slice: all backends, end to end.

use super::{Figure, cargo};
use crate::images;
use crate::toolchain::run;
use anyhow::{Context as _, Result};
use gro_bench::report::{Report, Side};
use gro_bench::trace::shipped;
use gro_bench::{Options, backend, verify};
use std::fs;
use std::time::Instant;

/// The constants of gro-bench/tests and the default of `cargo xtask traces`.
pub(super) const SEEDS: &str =
    "kernel batches 0x67726f5f6b65726e, hostile frames 0 to 199 (one a chunk), built traces 1";

pub(super) fn figures() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    comparison(&mut figures)?;
    verifier(&mut figures)?;
    tests(&mut figures)?;
    bench(&mut figures)?;
    Ok(figures)
}

fn comparison(figures: &mut Vec<Figure>) -> Result<()> {
    let mut backends = backend::all();
    let require: Vec<String> = ["user", "tc", "nic", "kernel"].map(String::from).to_vec();
    let options =
        Options { traces: shipped(&images::root()?.join("traces"))?, require, ..Options::default() };
    let start = Instant::now();
    let report = verify(&options, &mut backends, |_, _, _| ())?;
    let seconds = start.elapsed().as_secs_f64();
    figures.push(Figure::new(
        "every backend ran, all digests equal on every shipped trace",
        format!("{} runs, exit code {}", report.runs.len(), report.exit_code()),
        "exit code 0 with user, tc, nic, kernel required",
        report.exit_code() == 0,
    ));
    figures.push(Figure::new(
        "gro verify on the shipped traces",
        format!("{seconds:.1} s"),
        "< 60 s",
        seconds < 60.0,
    ));
    let (frames, packets) = bulk(&report).context("tcp4-bulk did not run under config default")?;
    let ratio = frames as f64 / packets as f64;
    figures.push(Figure::new(
        "frames a packet on tcp4-bulk",
        format!("{frames} / {packets} = {ratio:.2}"),
        "> 3",
        ratio > 3.0,
    ));
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
        figures.push(Figure::new(
            "tc program loads: instructions verified, stack depth in bytes",
            format!("{verified}, {depth}"),
            "1,000,000 and 512, the kernel's",
            true,
        ));
    }
    let image = gro_nic::Image::parse(gro_nic::LINUX_6_18)?;
    let (text, data) = (image.code.bytes.len(), image.data.memory_size);
    figures.push(Figure::new(
        "NIC image: text, data in bytes",
        format!("{text}, {data}"),
        "<= 32,768 each",
        text <= 32_768 && data <= 32_768,
    ));
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
        figures.push(Figure::new(what, value, "passes", passed));
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
    figures.push(Figure::new(
        "userspace engine on tcp4-bulk, no checksum verification, ns a packet (median, its 95 % interval)",
        format!("{median:.1} ({low:.1} to {high:.1})"),
        "<= 60",
        median <= 60.0,
    ));
    Ok(())
}

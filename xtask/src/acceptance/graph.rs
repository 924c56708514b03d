//! Figures of the parse graph as data, and of encapsulations.

use super::{Figure, cargo};
use crate::images;
use crate::toolchain::run;
use anyhow::{Context as _, Result};
use gro_bench::backend;
use gro_bench::fuzz::{Drawn, Frames, Scope, fuzz};
use gro_core::Release;
use std::fs;
use std::time::Instant;

pub(super) const SEEDS: &str = "encapsulated batches 4; frames for etherparse, hostile frames and frames for the interpreter in their tests";

const BATCHES: usize = 50_000;
/// Traces of the benchmark, as in gro-bench/benches/parse/main.rs.
const TRACES: [&str; 4] = ["tcp4-bulk", "tcp6-bulk", "tcp-mixed", "udp4-bulk"];

pub(super) fn figures() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    speed(&mut figures)?;
    sizes(&mut figures)?;
    tests(&mut figures);
    batches(&mut figures)?;
    Ok(figures)
}

/// Both parsers in one run of criterion.
fn speed(figures: &mut Vec<Figure>) -> Result<()> {
    run(cargo().args(["bench", "--quiet", "--package", "gro-bench", "--bench", "parse"]))?;
    for trace in TRACES {
        let (hand, generated) = (median("by hand", trace)?, median("generated", trace)?);
        let ratio = generated / hand;
        figures.push(Figure::new(
            format!("generated parser against the one by hand, {trace}, 1,000 frames (medians)"),
            format!("{:.2} us against {:.2} us: {ratio:.3}", generated / 1e3, hand / 1e3),
            "<= 1.03",
            ratio <= 1.03,
        ));
    }
    Ok(())
}

/// In nanoseconds.
fn median(parser: &str, trace: &str) -> Result<f64> {
    let path = images::root()?.join(format!("target/criterion/parse/{parser}/{trace}/new/estimates.json"));
    let text = fs::read(&path).with_context(|| format!("criterion left no {}", path.display()))?;
    let estimates: serde_json::Value = serde_json::from_slice(&text)?;
    estimates
        .pointer("/median/point_estimate")
        .and_then(serde_json::Value::as_f64)
        .context("criterion's estimates lack a median")
}

fn sizes(figures: &mut Vec<Figure>) -> Result<()> {
    for release in Release::ALL {
        let object = gro_ebpf::Object::committed(release);
        let verified = gro_ebpf::Program::load(&object)?.loaded()?.verified_instructions;
        figures.push(Figure::new(
            format!("tc program of {}: instructions verified", release.name()),
            verified.to_string(),
            "< 200,000",
            verified < 200_000,
        ));
        let text = gro_nic::Image::parse(gro_nic::committed(release))?.code.bytes.len();
        figures.push(Figure::new(
            format!("NIC image of {}: bytes of text", release.name()),
            text.to_string(),
            "<= 32,768",
            text <= 32_768,
        ));
    }
    Ok(())
}

fn tests(figures: &mut Vec<Figure>) {
    let sets: [(&[&str], &'static str); 6] = [
        (
            &["test", "--quiet", "--package", "gro-bench", "--test", "etherparse"],
            "the parser against etherparse: shipped traces and 1,000,000 random frames, same headers, offsets, values",
        ),
        (
            &["test", "--quiet", "--package", "gro-bench", "--test", "parse_graph"],
            "the parser against the interpreter of the document: shipped traces and 100,000 hostile frames, each header bit",
        ),
        (
            &["test", "--quiet", "--package", "gro-bench", "--test", "tunnels"],
            "each encapsulation on every backend, the running kernel where it can be asked",
        ),
        (
            &["test", "--quiet", "--package", "gro-graph"],
            "a document from outside loads, or is refused with the construct's name; the schema",
        ),
        (&["xtask", "codegen", "--check"], "the committed parser is what the document gives"),
        (&["xtask", "own-tunnel"], "a tunnel added by editing data merges in user, tc and nic"),
    ];
    for (arguments, what) in sets {
        let start = Instant::now();
        let passed = run(cargo().args(arguments)).is_ok();
        let value =
            format!("{} in {:.0} s", if passed { "passed" } else { "failed" }, start.elapsed().as_secs_f64());
        figures.push(Figure::new(what, value, "passes", passed));
    }
}

fn batches(figures: &mut Vec<Figure>) -> Result<()> {
    let mut ours = backend::all();
    let kernel = ours.iter().position(|backend| backend.name() == "kernel");
    let mut kernel = ours.remove(kernel.context("asking the kernel needs Linux")?);
    let drawn = Drawn { scope: Scope::All, frames: Frames::Encapsulated };
    let mut said = 0;
    let counts = fuzz(4, BATCHES, drawn, kernel.as_mut(), &mut ours, |counts| {
        if counts.batches >= said + 5_000 {
            said = counts.batches;
            eprintln!("{} batches, {} frames", counts.batches, counts.frames);
        }
    })?;
    let compared: Vec<String> =
        counts.compared.iter().map(|(name, batches)| format!("{name} {batches}")).collect();
    let whole =
        |name: &str| counts.compared.iter().any(|(other, batches)| *other == name && *batches >= BATCHES);
    figures.push(Figure::new(
        "random batches of IP in IP, GRE, GRETAP and VXLAN through the kernel and ours: differences",
        format!(
            "0 ({} batches, {} frames, {} of them in tunnels, {} packets merged in tunnels; {}; {} frames excluded, see \
             docs/adr/0004)",
            counts.batches,
            counts.frames,
            counts.encapsulated,
            counts.merged_in_tunnels,
            compared.join(", "),
            counts.excluded
        ),
        "0 in 50,000 batches",
        whole("user") && whole("nic") && counts.merged_in_tunnels > 0,
    ));
    Ok(())
}

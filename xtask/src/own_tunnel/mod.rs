//! `cargo xtask own-tunnel`: does what docs/tutorial-own-tunnel.md says, in a copy of the checkout, and looks that it works.
//!
//! The tutorial is the only source: its JSON blocks go to the places in the parse graph that it names, its commands are run as
//! they stand. The trace is built here with an independent library.

mod checkout;
mod frames;
mod tutorial;

use crate::images;
use anyhow::{Context as _, Result, ensure};
use gro_bench::report::Side;
use gro_bench::{Backend, CONFIGS, Options, backend, kernel};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tutorial::Tutorial;

const TUTORIAL: &str = "docs/tutorial-own-tunnel.md";
/// The capture that the tutorial's commands name.
const TRACE: &str = "toy.pcapng";
/// The backends that share the engine. The running kernel has its own, which no document changes.
const BACKENDS: [&str; 3] = ["user", "tc", "nic"];

/// Prints each step and how long it took.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let root = images::root()?;
    let work = root.join("target/own-tunnel");
    let tutorial = Tutorial::read(&root.join(TUTORIAL))?;
    fs::create_dir_all(&work)?;
    let trace = work.join(TRACE);
    frames::write(&trace)?;

    let required = without_the_edit(&trace)?;
    let copy = Copy { tree: work.join("checkout"), target: work.join("build") };
    copy.edit(&root, &tutorial)?;
    fs::copy(&trace, copy.tree.join(TRACE))?;
    for command in &tutorial.commands {
        // What cannot run here was named above; it is left out, as the tutorial says.
        copy.run(&command.replace(&BACKENDS.join(","), &required.join(",")))?;
    }
    copy.merges(&required)?;
    println!("own-tunnel: as the tutorial says, in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Without the edit nothing merges: this engine does not know the tunnel. Gives the backends that run here.
fn without_the_edit(trace: &Path) -> Result<Vec<&'static str>> {
    let mut backends: Vec<Box<dyn Backend>> = backend::all();
    backends.retain(|backend| BACKENDS.contains(&backend.name()));
    let options = Options {
        traces: vec![trace.to_owned()],
        configs: CONFIGS.into_iter().filter(|(name, _)| *name == "tc").collect(),
        profile: kernel::profile().unwrap_or_default(),
        ..Options::default()
    };
    let report = gro_bench::verify(&options, &mut backends, |_, _, _| ())?;
    let mut required = Vec::new();
    for (&name, side) in &report.runs[0].backends {
        match side {
            Side::Ran { packets, .. } => {
                ensure!(
                    *packets == frames::FRAMES,
                    "{name} makes {packets} packets of {} frames of a tunnel that it should not know",
                    frames::FRAMES
                );
                println!("without the edit, {name:4}: {} frames in, {packets} packets out", frames::FRAMES);
                required.push(name);
            }
            // Root can do everything that the backends need, so that nothing hides behind a skip.
            Side::Skipped { why } if name == "tc" && !is_root() => println!("{name} skipped: {why}"),
            Side::Skipped { why } | Side::NotApplicable { why } | Side::Failed { why } => {
                anyhow::bail!("{name} did not run: {why}")
            }
        }
    }
    required.sort_by_key(|name| BACKENDS.iter().position(|known| known == name));
    Ok(required)
}

/// A copy of the checkout, and where it is built.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Makes it, with the tutorial's blocks in its parse graph.
    fn edit(&self, root: &Path, tutorial: &Tutorial) -> Result<()> {
        let document = fs::read_to_string(root.join(tutorial::DOCUMENT)).context(tutorial::DOCUMENT)?;
        let edited = tutorial.apply(&document)?;
        checkout::sync(root, &self.tree, &[(Path::new(tutorial::DOCUMENT), edited.as_bytes())])?;
        for (path, _) in &tutorial.blocks {
            println!("{}: added a block to {path}", tutorial::DOCUMENT);
        }
        Ok(())
    }

    /// Runs a line of the tutorial there.
    fn run(&self, line: &str) -> Result<()> {
        println!("$ {line}");
        let start = Instant::now();
        let status = self.shell(line).status().context("cannot run sh")?;
        ensure!(status.success(), "`{line}` ended with {status} in {}", self.tree.display());
        println!("({:.0} s)", start.elapsed().as_secs_f64());
        Ok(())
    }

    /// The packets of each tunnel became one on every backend, and the same on all.
    fn merges(&self, required: &[&str]) -> Result<()> {
        let backends = required.join(",");
        let line =
            format!("cargo run --release --quiet -- verify {TRACE} --config tc --backends {backends} -j");
        let output = self.shell(&line).output().context("cannot run sh")?;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("`{line}` printed no JSON: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        ensure!(output.status.success() && report["equal"] == true, "`{line}`: {report}");
        for &name in required {
            let packets = &report["runs"][0]["backends"][name]["packets"];
            ensure!(
                *packets == frames::TUNNELS,
                "{name} makes {packets} packets of {} frames in {} tunnels",
                frames::FRAMES,
                frames::TUNNELS
            );
            println!("with the edit, {name:4}: {} frames in, {packets} packets out", frames::FRAMES);
        }
        Ok(())
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        // The cargo that started this one tells its children about itself.
        command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
        // Host programs only: device builds have an environment of their own. What is measured here is not speed.
        command.envs([
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_INCREMENTAL", "true"),
        ]);
        command
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_graph::{Graph, emit};

    /// The part that needs no build: `cargo test` sees at once that a change to the document spoils the tutorial.
    #[test]
    fn the_tutorial_fits_the_document_and_adds_a_header_to_the_parser() {
        let root = images::root().unwrap();
        let tutorial = Tutorial::read(&root.join(TUTORIAL)).unwrap();
        let document = fs::read_to_string(root.join(tutorial::DOCUMENT)).unwrap();
        let parser = |document: &str| {
            let (graph, notes) = Graph::read(tutorial::DOCUMENT, document).unwrap();
            assert!(notes.is_empty(), "a key that nobody reads");
            emit::rust(&graph).unwrap()
        };
        let (before, after) = (parser(&document), parser(&tutorial.apply(&document).unwrap()));
        assert!(!before.contains("fn toy") && after.contains("fn toy"));
    }
}

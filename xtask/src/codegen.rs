//! `cargo xtask codegen`: the engine's parser, from the parse graph.

use crate::images::root;
use anyhow::{Context as _, Result, ensure};
use gro_graph::{Graph, emit};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Compare with the committed parser and write nothing.
    #[arg(long)]
    check: bool,
}

const DOCUMENT: &str = "gro-core/parser.json";
const PARSER: &str = "gro-core/src/parse/generated.rs";

pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root()?;
    let text = fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("reading {DOCUMENT}"))?;
    let (graph, notes) = Graph::read(DOCUMENT, &text)?;
    for note in notes {
        eprintln!("note: {note}");
    }
    let parser = formatted(
        &root,
        &emit::rust(&graph).with_context(|| format!("{DOCUMENT} has no place in the engine"))?,
    )?;
    let path = root.join(PARSER);
    let before = fs::read_to_string(&path).unwrap_or_default();
    if args.check {
        ensure!(before == parser, "{PARSER} is not what {DOCUMENT} gives; run cargo xtask codegen");
        println!("{PARSER} is what {DOCUMENT} gives");
    } else if before == parser {
        println!("{PARSER} is up to date");
    } else {
        fs::write(&path, parser)?;
        println!("wrote {PARSER}; the images are to be built anew: cargo xtask images");
    }
    Ok(())
}

/// As `cargo fmt` would have it.
fn formatted(root: &Path, text: &str) -> Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt, which rust-toolchain.toml asks rustup for")?;
    rustfmt.stdin.take().context("rustfmt has an input")?.write_all(text.as_bytes())?;
    let output = rustfmt.wait_with_output()?;
    ensure!(output.status.success(), "rustfmt refused the generated parser:\n{text}");
    Ok(String::from_utf8(output.stdout)?)
}

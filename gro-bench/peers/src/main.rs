//! What the userspace engine costs, beside what one could take instead.
//!
//! One process, one pinned thread, all engines on the same frames in the same memory, in turns. `cargo xtask bench` builds and
//! runs it. Linux on x86-64: that is where its peers are, and where the time-stamp counter and the cache-line flush are.

mod allocations;
mod bars;
mod cells;
mod clock;
mod contest;
mod count;
mod dpdk;
mod engine;
mod kernel;
mod measure;
mod memory;
mod page;
mod report;
mod ring;
mod rules;
mod run;
mod scaling;
mod workload;

use anyhow::{Context as _, Result};
use clap::Parser;
use std::fs;
use std::path::PathBuf;

/// Measures the userspace engine and its peers.
#[derive(Parser, Debug)]
#[command(name = "gro-peers")]
enum Command {
    /// Measures, and writes JSON.
    Run(run::Args),
    /// Draws a page of what was measured.
    Page {
        /// The JSON.
        json: PathBuf,
        /// Where to write the page.
        html: PathBuf,
    },
    /// Runs our engine a number of times over the same frames, for a program that counts instructions.
    Count(count::Args),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Run(args) => run::run(&args),
        Command::Page { json, html } => {
            let text = fs::read_to_string(&json).with_context(|| json.display().to_string())?;
            let report = serde_json::from_str(&text).with_context(|| json.display().to_string())?;
            fs::write(&html, page::html(&report)?).with_context(|| html.display().to_string())
        }
        Command::Count(args) => count::run(&args),
    }
}

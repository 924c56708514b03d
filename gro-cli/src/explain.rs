//! `gro explain`

use anyhow::bail;
use gro_bench::explain::{Explanation, explain};
use gro_bench::trace::{Rules, Trace};
use gro_core::Config;
use std::io::Write as _;
use std::path::PathBuf;

/// Say of every frame what was decided and why, with the rule's name and the kernel function it comes from.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro explain -r capture.pcapng\n  gro explain -r capture.pcapng --frame 42 -j"
)]
pub(crate) struct Args {
    /// Capture to read (pcapng or pcap, plain or zstd; `-` for standard input)
    #[arg(short, value_name = "FILE")]
    read: PathBuf,
    #[command(flatten)]
    engine: crate::engine::EngineArgs,
    /// This frame only, counted from 0
    #[arg(long, value_name = "N")]
    frame: Option<usize>,
    /// Print JSON (schema 1)
    #[arg(short, long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Document<'a> {
    schema: u32,
    frames: &'a [Explanation],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let trace = if crate::verify::is_stdin(&args.read) {
        Trace::read("standard input", std::io::stdin().lock(), &Rules::default())?
    } else {
        Trace::open(&args.read)?
    };
    let mut frames = explain(&trace, args.engine.config(Config::DEFAULT), args.engine.profile());
    if let Some(number) = args.frame {
        if number >= frames.len() {
            bail!("--frame {number}: {} has {} frames, counted from 0", trace.name, frames.len());
        }
        frames = vec![frames.swap_remove(number)];
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if args.json {
        // In one piece: serde_json would hide from `main` that a pipe was closed.
        writeln!(out, "{}", serde_json::to_string(&Document { schema: 1, frames: &frames })?)?;
    } else {
        for Explanation { frame, words, source, left, .. } in &frames {
            write!(out, "#{frame} {words}; {source}")?;
            for (first, last, why) in left.iter().filter(|(first, ..)| *first as usize != *frame) {
                write!(out, " [#{first}..#{last} leaves: {why}]")?;
            }
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(0)
}

//! Instructions a frame, counted from outside: callgrind counts those of a whole process, so what is the engine's is what more
//! bursts add.

use crate::cells::{self, MAIN};
use crate::contest::{config, descriptors};
use crate::engine::{Isa, Queue};
use crate::report::Instructions;
use crate::ring::Ring;
use crate::workload::BURST;
use anyhow::{Context as _, Result, anyhow};
use std::hint::black_box;
use std::process::Command;

/// What to run.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Args {
    /// Bursts.
    bursts: usize,
    /// Frames are not verified: the engine does it.
    #[arg(long)]
    checksum: bool,
}

/// Bursts of the shorter run; the longer one has twice as many.
const BURSTS: usize = 400;

/// Runs the bursts.
///
/// # Errors
/// No memory.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut ring = Ring::new(2 << 20, 256)?;
    ring.fill(cells::plain(8, 4));
    let mut queue = <Queue>::new(config());
    for burst in 0..args.bursts {
        let frames: [_; BURST] = descriptors(&ring, burst % ring.bursts(), !args.checksum);
        queue.poll(black_box(&frames), |packet| {
            black_box(packet);
        });
    }
    println!("{:?}", Isa::of_machine());
    Ok(())
}

/// Counts, with this very program under callgrind.
///
/// # Errors
/// No valgrind, or one that says something else.
pub(crate) fn measure() -> Result<Instructions> {
    let frames = (BURSTS * BURST) as f64;
    let a_frame = |checksum| {
        let (less, path) = callgrind(BURSTS, checksum)?;
        let (more, _) = callgrind(2 * BURSTS, checksum)?;
        Ok::<_, anyhow::Error>(((more.saturating_sub(less)) as f64 / frames, path))
    };
    let (gro, path) = a_frame(false)?;
    let (gro_checksum, _) = a_frame(true)?;
    let round = |count: f64| (count * 10.0).round() / 10.0;
    eprintln!("count  {MAIN}: {gro:.1} instructions, with checksum {gro_checksum:.1} ({path})");
    Ok(Instructions {
        cell: MAIN.to_owned(),
        code_path: format!(
            "{path}: the best that valgrind knows; descriptors of the burst are filled in it, too"
        ),
        gro: round(gro),
        gro_checksum: round(gro_checksum),
    })
}

/// Instructions of a process, and which code it ran.
fn callgrind(bursts: usize, checksum: bool) -> Result<(u64, String)> {
    let own = std::env::current_exe()?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    command.args(["count", &bursts.to_string()]).args(checksum.then_some("--checksum"));
    let output = command.output().context("no valgrind: install the package valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    let count = collected.ok_or_else(|| anyhow!("callgrind said: {}", said.trim()))?;
    Ok((count, String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

//! Figures of the userspace engine in bursts that are no times: those are `cargo xtask bench`'s.

use super::Figure;
use anyhow::{Result, anyhow};
use gro_bench::backend::{Backend, PlainBackend, UserBackend};
use gro_bench::fuzz::{Drawn, Frames, FuzzError, Scope, fuzz};

pub(super) const SEEDS: &str = "batches 7; batches with tunnels 8";

/// Frames that must come out alike.
const FRAMES: usize = 10_000_000;
/// Batches in one go: a batch has about 18 frames.
const BATCHES: usize = 50_000;

pub(super) fn figures() -> Result<Vec<Figure>> {
    Ok(vec![
        alike("frames", 7, Frames::Plain, FRAMES)?,
        alike("frames, one batch in three in tunnels", 8, Frames::Mixed, FRAMES)?,
    ])
}

/// Backend `user`, in bursts with the shortcut, and `user-plain`, the core alone, frame by frame.
fn alike(what: &str, seed: u64, frames: Frames, least: usize) -> Result<Figure> {
    let (mut taken, mut packets, mut rounds) = (0, 0, 0);
    let difference = loop {
        if taken >= least {
            break None;
        }
        let mut ours: [Box<dyn Backend>; 1] = [Box::new(UserBackend)];
        let drawn = Drawn { scope: Scope::All, frames };
        match fuzz(seed << 32 | rounds, BATCHES, drawn, &mut PlainBackend, &mut ours, |_| {}) {
            Ok(counts) => {
                taken += counts.frames;
                packets += counts.packets;
            }
            Err(FuzzError::Differs { words, .. }) => break Some(words),
            Err(error) => return Err(anyhow!(error)),
        }
        rounds += 1;
    };
    let value = match &difference {
        None => format!("{taken} {what}, {packets} packets of them, 0 differences"),
        Some(words) => format!("after {taken} {what}: {words}"),
    };
    let figure = format!("user against user-plain, random batches of {what}: bytes, decisions and reasons");
    Ok(Figure::new(figure, value, "0 differences", difference.is_none()))
}

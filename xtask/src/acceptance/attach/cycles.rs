//! Attaching and detaching under load, again and again.

use super::{Figure, Watch, deliveries, figure};
use gro_bench::live::leftovers::Before;
use gro_bench::live::traffic::{self, Load};
use gro_bench::live::{LiveError, Options, Pins, Receiver, Topology};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CYCLES: usize = 200;
/// How long the program stays, so that it has something to do.
const STAY: Duration = Duration::from_millis(20);
/// 2 Gb/s: as fast as it goes, traffic leaves the commands no CPU, and the cycles take a quarter of an hour.
const PACE: u64 = 250_000_000;
/// How often the counters are asked whether it has merged.
const ASK: usize = 10;

pub(super) fn figures(gro: &Path, figures: &mut Vec<Figure>) {
    for receiver in deliveries() {
        let what = format!("{}: attached and detached 200 times under load of 8 flows", receiver.name());
        let bar = "no connection reset, every SHA-256 equal, no program, map, link, pin or qdisc left";
        figures.push(figure(what, bar, || measure(&receiver, gro)));
    }
}

fn measure(receiver: &Receiver, gro: &Path) -> Result<(String, bool), LiveError> {
    let topology = Topology::build(Options::default())?;
    let before = Before::take(&topology)?;
    let watch = Watch::start(&topology)?;
    let go_on = AtomicBool::new(true);
    // Until it is stopped.
    let (pace, patience) = (Some(PACE), Duration::from_secs(900));
    let load = Load { bytes: u64::MAX / 2, pace, patience, ..Load::default() };
    let mut pins = Pins::make()?;
    let (carried, merged) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic::run_while(&topology, &load, &go_on));
        let mut cycle = || {
            let mut merged = 0;
            for cycle in 0..CYCLES {
                let attached =
                    receiver.start_in(&topology, gro, std::mem::replace(&mut pins, Pins::make()?))?;
                std::thread::sleep(STAY);
                if cycle % ASK == 0 {
                    merged += attached.snapshot()?.unwrap_or_default().merged_packets;
                }
                pins = attached.detach()?;
            }
            Ok(merged)
        };
        let merged: Result<u64, LiveError> = cycle();
        go_on.store(false, Ordering::Relaxed);
        let carried = match traffic.join() {
            Ok(carried) => carried,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok::<_, LiveError>((carried?, merged?))
    })?;
    let left = before.left(&topology, &pins)?;
    let watched = watch.end()?;
    let value = format!(
        "0 of 8 reset, {} of 8 equal over {:.1} GB, {merged} packets merged in {} cycles that were asked, {}; left: {}",
        carried.flows.iter().filter(|flow| flow.sent == flow.received).count(),
        carried.bytes() as f64 * 1e-9,
        CYCLES.div_ceil(ASK),
        watched.words(),
        if left.is_empty() { "nothing".to_owned() } else { left.join(", ") }
    );
    Ok((value, carried.is_intact() && watched.is_clean() && left.is_empty() && merged > 0))
}

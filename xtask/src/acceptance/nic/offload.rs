//! Coalescing that changes hands between the program in the kernel and the NIC, under load.

use super::super::attach::{Watch, figure};
use super::{Args, Figure, binary};
use anyhow::Result;
use gro_bench::live::traffic::{self, Load};
use gro_bench::live::{Counters, LiveError, Options, Place, RunningNic, Topology};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it changes hands.
const SWITCHES: u32 = 40;
/// On either side of a switch.
const PHASE: Duration = Duration::from_millis(200);

pub(super) fn figures(args: &Args) -> Result<Vec<Figure>> {
    let gro = binary(args)?;
    let what = format!("offload: TCP at 640 Mb/s, 2 flows, {SWITCHES} switches");
    let bar = "1 GB or more, SHA-256 equal, nothing sent again, out of order or lost, TcpInErrs 0, 0 packets merged by both, each merges in its turns only";
    Ok(vec![figure(what, bar, || switches(&gro))])
}

fn switches(gro: &Path) -> Result<(String, bool), LiveError> {
    // One CPU at the receiver's interface: a sender that moves between CPUs would reorder over a veth by itself.
    let topology = Topology::build(Options { rps_cpus: 1, ..Options::default() })?;
    let nic = RunningNic::start(&topology, gro, &["--gro-max-size", "16000", "--offload", "off"])?;
    nic.attach(&[])?;
    let watch = Watch::start(&topology)?;
    let counters = || topology.host(Place::B).within(Counters::read);
    let before = counters()?;
    let load = Load {
        flows: 2,
        bytes: u64::from(SWITCHES) * 1_000_000_000,
        pace: Some(80_000_000),
        patience: Duration::from_secs(300),
        ..Load::default()
    };
    let go_on = AtomicBool::new(true);
    let (carried, turns) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic::run_while(&topology, &load, &go_on));
        let turns = (0..SWITCHES).map(|turn| self::turn(&nic, turn % 2 == 0)).collect::<Result<Vec<_>, _>>();
        go_on.store(false, Ordering::Relaxed);
        let carried = traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, LiveError>((carried?, turns?))
    })?;
    let program = nic.program()?;
    let last = nic.stop()?.counters;
    let counted = counters()?.since(&before);
    let watched = watch.end()?;
    let right = turns.iter().filter(|&&right| right).count();
    let both = program.guards.get("already_merged").copied().unwrap_or(1);
    let out_of_order = counted.get("TcpExtTCPOFOQueue");
    let lost = last.guards.get("ring_full").copied().unwrap_or(1);
    let value = format!(
        "{} MB, {} of 2 equal, {} sent again, {out_of_order} out of order, {lost} lost, {} TcpInErrs, {}; {both} merged by both; {right} of \
         {SWITCHES} turns merged by whom they should; NIC {} merged packets of {:.1} segments, program {} of {:.1}",
        carried.bytes() / 1_000_000,
        carried.flows.iter().filter(|flow| flow.sent == flow.received).count(),
        carried.retransmitted,
        watched.errors(),
        watched.words(),
        last.merged_packets,
        last.segments_a_merge(),
        program.merged_packets,
        program.segments_a_merge()
    );
    let holds = carried.is_intact()
        && carried.bytes() > 1_000_000_000
        && carried.retransmitted == 0
        && (out_of_order, lost, both, watched.errors()) == (0, 0, 0, 0)
        && watched.is_clean()
        && right == SWITCHES as usize;
    Ok((value, holds))
}

/// A switch, and whether only the one merged afterwards that should.
fn turn(nic: &RunningNic<'_>, on: bool) -> Result<bool, LiveError> {
    let merged = || Ok::<_, LiveError>([nic.status()?.counters, nic.program()?].map(|of| of.merged_packets));
    std::thread::sleep(PHASE);
    let output = nic.offload(&[if on { "on" } else { "off" }])?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(LiveError::Gro {
            command: "gro offload".into(),
            status: output.status.to_string(),
            message,
        });
    }
    // What a lane counted before is published 10 ms later.
    std::thread::sleep(Duration::from_millis(50));
    let start = merged()?;
    std::thread::sleep(PHASE);
    let end = merged()?;
    Ok((end[0] > start[0], end[1] > start[1]) == (on, !on))
}

//! Coalescing that changes hands between the program in the kernel and the NIC, under load.

use super::super::attach::figure;
use super::{Args, Figure, binary};
use anyhow::Result;
use gro_bench::live::{Handover, KernelLog, LiveError, Options, Topology};
use std::path::Path;

/// How often it changes hands.
const SWITCHES: u32 = 40;

pub(super) fn figures(args: &Args) -> Result<Vec<Figure>> {
    let gro = binary(args)?;
    let what = format!("offload: TCP at 640 Mb/s, 2 flows, {SWITCHES} switches");
    let bar = "1 GB or more, SHA-256 equal, nothing sent again, out of order or lost, TcpInErrs 0, 0 packets merged by both, 0 by who rests, \
               0 warnings";
    Ok(vec![figure(what, bar, || switches(&gro))])
}

fn switches(gro: &Path) -> Result<(String, bool), LiveError> {
    // One CPU at the receiver's interface: a sender that moves between CPUs would reorder over a veth by itself.
    let topology = Topology::build(Options { rps_cpus: 1, ..Options::default() })?;
    let mut log = KernelLog::watch()?;
    let done = Handover::run(&topology, gro, SWITCHES)?;
    let warnings = log.warnings();
    let value = format!("{done}, {} warnings", warnings.len());
    Ok((
        value,
        done.is_safe() && done.is_smooth() && done.carried.bytes() > 1_000_000_000 && warnings.is_empty(),
    ))
}

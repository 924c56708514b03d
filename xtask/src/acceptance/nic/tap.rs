//! TCP through the simulated NIC into a Linux stack.

use super::super::attach::{Watch, figure};
use super::{Args, Figure, binary};
use anyhow::Result;
use gro_bench::live::traffic::{self, Load};
use gro_bench::live::{GsoWatch, LiveError, Options, Place, RunningNic, Topology};
use std::path::Path;
use std::time::Duration;

pub(super) fn figures(args: &Args) -> Result<Vec<Figure>> {
    let gro = binary(args)?;
    let bar =
        "SHA-256 equal, TcpInErrs 0, 0 warnings, GSO packets and segments at the stack = the completions'";
    let cells = [(1, false, 1), (1, true, 1), (8, false, 2)];
    let measured = cells.into_iter().map(|(flows, ipv6, lanes)| {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        let what = format!("TAP delivery: 1 GB of TCP over {family}, {flows} flows, {lanes} lanes, MTU 1500");
        figure(what, bar, || cell(&gro, flows, ipv6, lanes))
    });
    Ok(measured.collect())
}

fn cell(gro: &Path, flows: usize, ipv6: bool, lanes: u32) -> Result<(String, bool), LiveError> {
    let topology = Topology::build(Options::default())?;
    let nic = RunningNic::start(&topology, gro, &["--lanes", &lanes.to_string()])?;
    let watch = Watch::start(&topology)?;
    let stack = GsoWatch::start(topology.host(Place::B), "b0", ipv6)?;
    let load =
        Load { flows, bytes: 1_000_000_000, ipv6, patience: Duration::from_secs(600), ..Load::default() };
    let carried = traffic::run(&topology, &load)?;
    let last = nic.stop()?.counters;
    let seen = stack.end()?;
    let watched = watch.end()?;
    let written = (last.merged_packets, last.merged_packets + last.merged_segments);
    let equal = carried.flows.iter().filter(|flow| flow.sent == flow.received).count();
    let value = format!(
        "{equal} of {flows} equal, {} TcpInErrs, {}; completions: {} merged packets of {} segments; stack: {} of {}, {} not counted; \
         {:.1} segments a merge, the longest {} bytes, {:.2} Gb/s, {} sent again{}",
        watched.errors(),
        watched.words(),
        written.0,
        written.1,
        seen.merged,
        seen.segments,
        seen.dropped,
        last.segments_a_merge(),
        seen.longest,
        carried.gbit_per_second(),
        carried.retransmitted,
        if last.troubles().is_empty() { String::new() } else { format!("; {}", last.troubles()) }
    );
    let holds = carried.is_intact()
        && carried.bytes() == load.bytes
        && watched.errors() == 0
        && watched.is_clean()
        && seen.dropped == 0
        && (seen.merged, seen.segments) == written
        && last.merged_packets > 0;
    Ok((value, holds))
}

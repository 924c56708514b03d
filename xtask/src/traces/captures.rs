//! The recorded traces: what runs, what the wire does to it, and what a recording must show to be kept.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use gro_bench::trace::{Entry, HashRule};

use super::mixed::Built;
use super::namespace::Families;
use super::pack::{self, Counts};
use super::record::{Plan, Recording, record};
use super::{Args, crowd, datagrams, entry, flows};

/// The names of the recorded traces.
pub(super) const NAMES: [&str; 5] =
    ["tcp4-bulk", "tcp6-bulk", "tcp-many-flows", "tcp-sack-loss", "udp4-bulk"];

/// Records and stores a trace of [`NAMES`].
///
/// # Errors
/// Missing rights or tools, or a recording that does not show what it should.
pub(super) fn make(args: &Args, name: &str) -> Result<Entry> {
    let Some(capture) = captures().into_iter().find(|capture| capture.plan.name == name) else {
        anyhow::bail!("{name} is not recorded")
    };
    interrupt::watch();
    let mut recording = record(&capture.plan, args.seed, &args.loss_object, &interrupt::STOP)?;
    let frames: Vec<Built> = std::mem::take(&mut recording.frames)
        .into_iter()
        .map(|(time_ns, bytes)| Built { time_ns, bytes, hash: None, comment: None })
        .collect();
    let counts = if capture.plan.protocol == UDP { pack::count_udp(&frames) } else { pack::count(&frames) }?;
    let Recording { retransmitted, dropped, delayed, .. } = recording;
    println!("{name}: {retransmitted} retransmitted, {dropped} dropped, {delayed} held back, {counts:?}");
    (capture.check)(&counts, &recording)?;
    let shows = format!("{}, as one of two hosts receives it", capture.shows);
    let comment = "what one of two hosts receives: data of its peer and acknowledgements of its own; senders without \
                   checksum, TSO and GSO offload, receivers without GRO";
    let mut entry = entry(&format!("{name}.pcapng.zst"), &shows, HashRule::Toeplitz);
    entry.udp_forwarding = capture.plan.protocol == UDP;
    let stored = pack::write(&args.out, &frames, comment, &mut entry)?;
    println!("{name}: {stored} bytes stored");
    Ok(entry)
}

struct Capture {
    plan: Plan,
    /// For the manifest.
    shows: &'static str,
    check: fn(&Counts, &Recording) -> Result<()>,
}

const TCP: u8 = 6;
const UDP: u8 = 17;

fn captures() -> [Capture; 5] {
    // About 0.6 % lost and 1.2 % held back.
    let bulk =
        |name, families, traffic| Plan { name, families, protocol: TCP, loss: 400, delayed: 12, traffic };
    [
        Capture {
            plan: bulk(NAMES[0], Families::V4, |hosts, bound| flows::bulk(false, hosts, bound)),
            shows: "kernel TCP over IPv4, 7 connections at once in both directions, with loss, retransmission and reordering",
            check: lively,
        },
        Capture {
            plan: bulk(NAMES[1], Families::V6, |hosts, bound| flows::bulk(true, hosts, bound)),
            shows: "kernel TCP over IPv6, 7 connections at once in both directions, with loss, retransmission and reordering",
            check: lively,
        },
        Capture {
            plan: Plan {
                name: NAMES[2],
                families: Families::Both,
                protocol: TCP,
                loss: 0,
                delayed: 0,
                traffic: crowd::run,
            },
            shows: "240 connections at once over IPv4 and IPv6, each with few bytes, in all eight buckets",
            check: |counts, _| {
                ensure!(counts.flows >= 200, "{} flows", counts.flows);
                ensure!(counts.buckets.len() == 8, "buckets {:?}", counts.buckets);
                ensure!((2_000..=10_000).contains(&counts.frames), "{} frames", counts.frames);
                Ok(())
            },
        },
        Capture {
            plan: Plan {
                name: NAMES[3],
                families: Families::Both,
                protocol: TCP,
                // About 2 %.
                loss: 1_300,
                delayed: 0,
                traffic: flows::both_ways,
            },
            shows: "bulk TCP both ways over a wire that loses 2 %: SACK blocks on data and on acknowledgements, duplicate \
                    acknowledgements, retransmissions",
            check: |counts, recording| {
                ensure!(recording.retransmitted > 0 && counts.behind > 0, "no retransmission");
                ensure!(counts.sacks.iter().all(|&count| count >= 50), "SACK blocks: {:?}", counts.sacks);
                ensure!(counts.duplicate_acks >= 50, "{} duplicate acks", counts.duplicate_acks);
                Ok(())
            },
        },
        Capture {
            plan: Plan {
                name: NAMES[4],
                families: Families::V4,
                protocol: UDP,
                loss: 0,
                delayed: 0,
                traffic: datagrams::run,
            },
            shows: "UDP over IPv4: full datagrams, bursts with a shorter last one, a mix of sizes, small acknowledgements",
            check: |counts, _| {
                ensure!(
                    counts.flows >= 5 && counts.frames >= 2_000,
                    "{} flows, {} frames",
                    counts.flows,
                    counts.frames
                );
                ensure!(counts.sizes >= 100, "{} sizes", counts.sizes);
                Ok(())
            },
        },
    ]
}

/// Frames that a bulk trace must have.
const BULK_MIN: usize = 20_000;

fn lively(counts: &Counts, recording: &Recording) -> Result<()> {
    ensure!(counts.frames >= BULK_MIN, "fewer than {BULK_MIN} frames");
    ensure!(counts.flows >= 4, "{} flows", counts.flows);
    let lively =
        recording.retransmitted > 0 && recording.dropped > 0 && recording.delayed > 0 && counts.behind > 0;
    ensure!(lively, "no loss, retransmission or reordering");
    Ok(())
}

/// ^C ends a recording through its error path, so that its namespaces are deleted.
mod interrupt {
    use super::{AtomicBool, Ordering};

    /// Set by SIGINT, SIGTERM and SIGHUP once [`watch`] was called.
    pub(super) static STOP: AtomicBool = AtomicBool::new(false);

    /// Catches the signals that end a program politely.
    pub(super) fn watch() {
        let handler = stop as extern "C" fn(libc::c_int) as libc::sighandler_t;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
            unsafe { libc::signal(signal, handler) };
        }
    }

    extern "C" fn stop(_: libc::c_int) {
        STOP.store(true, Ordering::Relaxed);
    }
}

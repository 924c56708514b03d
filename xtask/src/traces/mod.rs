//! `cargo xtask traces`: records and builds the traces that ship with the project.
//!
//! The `captures` come from the kernel's own TCP and UDP between two network namespaces; every recording differs from the
//! last. The others are built ([`mixed`]) and depend on the seed alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use gro_bench::fuzz::{Frames, Random, batch, extension_bytes};
use gro_bench::trace::{Entry, HashRule, PollRule, TunnelDevice};

#[cfg(target_os = "linux")]
mod captures;
#[cfg(target_os = "linux")]
mod crowd;
#[cfg(target_os = "linux")]
mod datagrams;
#[cfg(target_os = "linux")]
mod flows;
#[cfg(target_os = "linux")]
mod forward;
mod mixed;
#[cfg(target_os = "linux")]
mod namespace;
mod pack;
#[cfg(target_os = "linux")]
mod record;
pub(crate) mod regressions;

use mixed::{Built, Mixed};

/// What to make, and where.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Make only these traces.
    #[arg(value_parser = names())]
    names: Vec<String>,
    /// The folder of traces.
    #[arg(long, default_value = "traces")]
    out: PathBuf,
    /// Seed of loss, reordering and built frames.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The tc program that loses frames, as built by `cargo xtask images`.
    #[arg(long, default_value = "gro-ebpf/image/loss.o")]
    loss_object: PathBuf,
}

/// The names of all traces.
fn names() -> Vec<&'static str> {
    [&captures::NAMES[..], &[MIXED, JUMBO, UDP, TUNNELS, GENEVE, RANDOM, LONG_CHAIN]].concat()
}

const MIXED: &str = "tcp-mixed";
const JUMBO: &str = "tcp-jumbo";
const UDP: &str = "udp-mixed";
const TUNNELS: &str = "tunnel-mixed";
const GENEVE: &str = "tunnel-geneve";
const RANDOM: &str = "random-udp";
const LONG_CHAIN: &str = "tcp6-long-chain";

/// Where the traces live on which the engine and the kernel are known to differ.
const DIVERGENCES: &str = "divergences";

/// The most that the folder may take: it is part of every clone.
const FOLDER_MAX: u64 = 8 << 20;

/// Frames that a built trace must have.
const BUILT_MIN: usize = 5_000;

/// Makes the traces that `args` asks for and writes them with their manifest. Recording needs root.
///
/// # Errors
/// Missing rights or tools, a recording without loss or retransmission, or a folder that grows too large.
pub(crate) fn run(args: &Args) -> Result<()> {
    let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|asked| asked == name);
    let mut entries = Vec::new();
    for name in captures::NAMES.into_iter().filter(|name| wanted(name)) {
        entries.push(captures::make(args, name)?);
    }
    if wanted(MIXED) {
        let built = mixed::build(args.seed)?;
        ensure!(built.frames.len() >= BUILT_MIN, "{MIXED} has only {} frames", built.frames.len());
        let shows = "every rule of TCP coalescing as a named case, built frame by frame";
        entries.push(store(&args.out, MIXED, shows, HashRule::Captured, built)?);
    }
    if wanted(JUMBO) {
        let shows = "frames of MTU 9000, which become BIG TCP where the config lets them";
        entries.push(store(&args.out, JUMBO, shows, HashRule::Zero, mixed::build_jumbo(args.seed)?)?);
    }
    if wanted(UDP) {
        let shows = "every rule of UDP coalescing as a named case, built frame by frame";
        let mut entry = store(&args.out, UDP, shows, HashRule::Captured, mixed::build_udp(args.seed)?)?;
        entry.udp_forwarding = true;
        entries.push(entry);
    }
    for (name, device) in [(TUNNELS, TunnelDevice::Vxlan), (GENEVE, TunnelDevice::Geneve)] {
        if wanted(name) {
            let shows = match device {
                TunnelDevice::Vxlan => "every rule of coalescing in IP in IP, GRE and VXLAN as a named case",
                TunnelDevice::Geneve => {
                    "every rule of coalescing in Geneve as a named case, by the kernel's source: no kernel was asked"
                }
            };
            let built = mixed::build_tunnels(device == TunnelDevice::Geneve, args.seed)?;
            let mut entry = store(&args.out, name, shows, HashRule::Zero, built)?;
            (entry.udp_forwarding, entry.tunnels) = (true, vec![device]);
            entries.push(entry);
        }
    }
    if wanted(RANDOM) {
        let shows = "the fuzzer's batches, TCP and UDP with every field mutated now and then, UDP coalesced";
        let mut entry = store(&args.out, RANDOM, shows, HashRule::Captured, random(args.seed))?;
        entry.udp_forwarding = true;
        entries.push(entry);
    }
    if wanted(LONG_CHAIN) {
        let built = mixed::build_long_chain(args.seed)?;
        let folder = args.out.join(DIVERGENCES);
        let shows =
            "headers beyond the engine's window of 256 bytes: the kernel merges, the engine lets pass";
        let entry = store(&folder, LONG_CHAIN, shows, HashRule::Zero, built)?;
        pack::update_manifest(&folder, vec![entry])?;
    }
    pack::update_manifest(&args.out, entries)?;
    let size = pack::folder_size(&args.out)?;
    ensure!(size <= FOLDER_MAX, "{} has {size} bytes, more than {FOLDER_MAX}", args.out.display());
    println!("{}: {size} bytes", args.out.display());
    Ok(())
}

/// Batches of the fuzzer, each a poll, without what the kernel would lose under BIG TCP.
fn random(seed: u64) -> Mixed {
    const BATCHES: u64 = 300;
    const APART_NS: u64 = 1_000_000;
    let mut random = Random(seed);
    let mut frames = Vec::new();
    for number in 1..=BATCHES {
        let batch =
            batch(&mut random, Frames::Plain).into_iter().filter(|frame| extension_bytes(&frame.bytes) <= 8);
        for (frame, at) in batch.zip(0..) {
            let mut bytes = frame.bytes.to_vec();
            if let Some(vlan) = frame.vlan {
                bytes.splice(12..12, [vlan.tpid.to_be_bytes(), vlan.tci.to_be_bytes()].concat());
            }
            frames.push(Built {
                time_ns: number * APART_NS + at,
                bytes,
                hash: Some(frame.hash),
                comment: None,
            });
        }
    }
    Mixed { frames, cases: Vec::new() }
}

/// Stores a built trace. Frames without a hash share bucket 0, as on a device that sets none.
fn store(folder: &Path, name: &str, shows: &str, hash: HashRule, built: Mixed) -> Result<Entry> {
    let mut entry = entry(&format!("{name}.pcapng.zst"), shows, hash);
    let stored = pack::write(folder, &built.frames, shows, &mut entry)?;
    println!("{name}: {} frames, {} cases, {stored} bytes stored", built.frames.len(), built.cases.len());
    entry.cases = built.cases;
    Ok(entry)
}

#[cfg(not(target_os = "linux"))]
mod captures {
    /// As on Linux, in the same order.
    pub(super) const NAMES: [&str; 5] =
        ["tcp4-bulk", "tcp6-bulk", "tcp-many-flows", "tcp-sack-loss", "udp4-bulk"];

    pub(super) fn make(_: &super::Args, name: &str) -> anyhow::Result<gro_bench::trace::Entry> {
        anyhow::bail!(
            "{name} is recorded from Linux's own TCP and UDP: record on Linux, or name the traces to build"
        )
    }
}

fn entry(file: &str, shows: &str, hash: HashRule) -> Entry {
    Entry {
        file: file.to_owned(),
        sha256: String::new(),
        shows: shows.to_owned(),
        hash,
        poll: PollRule::default(),
        profile: "linux-6.18".to_owned(),
        udp_forwarding: false,
        tunnels: Vec::new(),
        config: None,
        frames: 0,
        expect: BTreeMap::new(),
        cases: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_bench::trace::{FILE_NAME, Manifest};

    /// Seed 1 is the one of the shipped traces. (`random-udp` follows the fuzzer, which grows.)
    #[test]
    fn the_shipped_built_traces_are_those_of_their_source_byte_for_byte() {
        let folder = std::env::temp_dir().join(format!("gro-built-{}", std::process::id()));
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
        let names = [MIXED, JUMBO, UDP, TUNNELS, GENEVE, LONG_CHAIN].map(str::to_owned);
        let args = Args { names: names.to_vec(), out: folder.clone(), seed: 1, loss_object: PathBuf::new() };
        run(&args).unwrap();
        for (built, shipped) in [(&folder, &shipped), (&folder.join(DIVERGENCES), &shipped.join(DIVERGENCES))]
        {
            let read = |folder: &Path| Manifest::read(&folder.join(FILE_NAME)).unwrap().unwrap();
            let shipped = read(shipped);
            for built in read(built).traces {
                let entry = shipped.entry(&built.file).unwrap();
                assert_eq!(built.sha256, entry.sha256, "{}: cargo xtask traces was not run", built.file);
                assert_eq!(built.cases, entry.cases, "{}", built.file);
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}

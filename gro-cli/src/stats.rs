//! `gro stats`

use gro_ebpf::device::netns;
use gro_ebpf::live::prometheus::Exposition;
use gro_ebpf::live::{Snapshot, Snapshots, registry};
use std::io::{self, Write};
use std::path::PathBuf;

/// Show the counters of attachments, by the kernel's names.
///
/// Without -i it shows all of this machine, or of the namespace that --netns names. The JSON document is
/// `{"schema":1,"attachments":[...]}`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gro stats\n  gro stats -i eth0 -j | jq '.attachments[0].flush'\n  \
                        gro stats --prometheus > /var/lib/node_exporter/gro.prom\n\n\
                        Exit status: 0 shown, 2 nothing is attached to IF, or an attachment cannot be read.")]
pub(crate) struct Args {
    /// Interface; all if it is left out
    #[arg(short, long, value_name = "IF")]
    interface: Option<String>,
    /// Directory of the pins; /sys/fs/bpf/gro/IF@NETNS
    #[arg(long, value_name = "DIR", requires = "interface")]
    pin: Option<PathBuf>,
    /// Network namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// Print JSON (schema 1)
    #[arg(short, long, conflicts_with = "prometheus")]
    json: bool,
    /// Print the Prometheus text format 0.0.4
    #[arg(long)]
    prometheus: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.netns {
        Some(name) => netns::within(name, || stats(args))?,
        None => stats(args),
    }
}

fn stats(args: &Args) -> anyhow::Result<u8> {
    let found = match &args.interface {
        Some(interface) => match registry::find(interface, args.pin.as_deref())? {
            Some(found) => vec![found],
            None => anyhow::bail!("nothing is attached to {interface}: `gro attach -i {interface}` does it"),
        },
        None => registry::all(args.netns.is_some().then(netns::current).transpose()?)?,
    };
    let (mut attachments, mut code) = (Vec::new(), 0);
    for one in &found {
        match one.snapshot() {
            Ok(snapshot) => attachments.push(snapshot),
            Err(error) => {
                // The others are shown all the same.
                eprintln!("gro: {}: {error}", one.path().display());
                code = 2;
            }
        }
    }
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&Snapshots { schema: 1, attachments })?)?;
    } else if args.prometheus {
        write!(out, "{}", Exposition(&attachments))?;
    } else {
        if found.is_empty() {
            eprintln!("note: nothing is attached");
        }
        for snapshot in &attachments {
            table(&mut out, snapshot)?;
        }
    }
    out.flush()?;
    Ok(code)
}

/// For a reader: zeros are left out.
pub(crate) fn table(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    let Snapshot { interface, netns, hook, profile, config, .. } = snapshot;
    let mode = snapshot.mode.name();
    let hash: String = snapshot.program_hash.chars().take(16).collect();
    writeln!(out, "{interface}: {mode} by {hook}, {profile}, program {hash}, namespace {netns}")?;
    let (udp, forwarding) =
        (if config.udp { ", UDP" } else { "" }, if config.forwarding { ", forwarding" } else { "" });
    writeln!(
        out,
        "  config     gro_max_size {}, gro_ipv4_max_size {}{udp}{forwarding}",
        config.gro_max_size, config.gro_ipv4_max_size
    )?;
    writeln!(out, "  came in    {} packets, {} bytes", snapshot.wire_packets, snapshot.wire_bytes)?;
    let frames = snapshot.frames_a_packet();
    writeln!(
        out,
        "  delivered  {} packets, {} bytes; {frames:.1} frames a packet",
        snapshot.packets, snapshot.bytes
    )?;
    let segments = snapshot.segments_a_merge();
    writeln!(out, "  merged     {} packets of {segments:.1} segments", snapshot.merged_packets)?;
    let named = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(name, &count)| (name.clone(), count)).collect::<Vec<_>>()
    };
    let own = |(name, count): (&str, u64)| (name.to_owned(), count);
    row(out, "flush", named(&snapshot.flush))?;
    row(out, "bypass", named(&snapshot.bypass))?;
    row(out, "carriers", snapshot.carriers.named().map(own).collect())?;
    row(out, "guards", snapshot.guards.named().map(own).collect())?;
    for cpu in snapshot.cpus.iter().filter(|cpu| cpu.wire_packets > 0) {
        let (number, digest) = (cpu.cpu, &cpu.decision_digest);
        writeln!(
            out,
            "  cpu {number:<6} {} packets in, {} out, decisions {digest}",
            cpu.wire_packets, cpu.packets
        )?;
    }
    Ok(())
}

/// The counters of a row, most first.
fn row(out: &mut impl Write, name: &str, mut counts: Vec<(String, u64)>) -> io::Result<()> {
    counts.retain(|&(_, count)| count > 0);
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    if counts.is_empty() {
        return Ok(());
    }
    let counts: Vec<_> = counts.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
    writeln!(out, "  {name:<10} {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_ebpf::live::{Mode, SnapshotConfig};

    #[test]
    fn a_table_has_no_zeros_but_the_totals() {
        let config = SnapshotConfig::new(&gro_core::Config::TC, false);
        let mut snapshot = Snapshot::new("eth0", 2, 4_026_531_833, Mode::InPlace, config);
        snapshot.hook = "tcx".into();
        snapshot.flush.insert("psh".into(), 7);
        snapshot.flush.insert("size".into(), 9);
        let mut text = Vec::new();
        table(&mut text, &snapshot).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("eth0: in-place by tcx"), "{text}");
        assert!(text.contains("  flush      size 9, psh 7\n"), "{text}");
        assert!(!text.contains("bypass") && !text.contains("guards"), "{text}");
    }
}

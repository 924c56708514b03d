//! What goes wrong on purpose: bytes stay intact, and the counters tell.

use super::{Figure, Watch, figure};
use gro_bench::live::sysctl::Lent;
use gro_bench::live::traffic::{self, Load};
use gro_bench::live::{LiveError, Options, Receiver, Snapshot, Topology};
use std::path::Path;
use std::time::Duration;

struct Fault {
    what: &'static str,
    /// Of `gro attach`.
    arguments: &'static [&'static str],
    /// `net.core.netdev_max_backlog`, which is the machine's.
    backlog: Option<&'static str>,
    bytes: u64,
    /// The counters of which one must tell, in the snapshot's words. Of a short backlog the kernel's own tells, since most of what it
    /// has no room for was on no way round.
    tells: &'static [&'static str],
}

const FAULTS: [Fault; 4] = [
    Fault {
        what: "1 of 20 carriers dropped",
        arguments: &["--drop-carriers", "20"],
        backlog: None,
        bytes: 1_000_000_000,
        tells: &["lost", "recovered"],
    },
    Fault {
        what: "ring of numbers full (16 a CPU)",
        arguments: &["--flights", "16"],
        backlog: None,
        bytes: 1_000_000_000,
        tells: &["ring_full", "no_number"],
    },
    Fault {
        what: "buffers full (2 a CPU)",
        arguments: &["--carriers", "2"],
        backlog: None,
        bytes: 1_000_000_000,
        tells: &["no_buffer"],
    },
    Fault {
        what: "backlog of 16 packets",
        arguments: &[],
        backlog: Some("16"),
        bytes: 200_000_000,
        tells: &[],
    },
];

pub(super) fn figures(gro: &Path, figures: &mut Vec<Figure>) {
    for fault in &FAULTS {
        let what = format!("in-place: 8 flows, {} MB, {}", fault.bytes / 1_000_000, fault.what);
        let bar = "every SHA-256 equal, 0 checksum errors, 0 warnings, counters tell";
        figures.push(figure(what, bar, || fault.measure(gro)));
    }
}

/// What the backlogs of all CPUs had no room for (`/proc/net/softnet_stat`).
fn dropped() -> Result<u64, LiveError> {
    let path = "/proc/net/softnet_stat";
    let text = std::fs::read_to_string(path)
        .map_err(|source| LiveError::Step { step: format!("reading {path}"), source })?;
    let second = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    Ok(text.lines().filter_map(second).sum())
}

impl Fault {
    fn measure(&self, gro: &Path) -> Result<(String, bool), LiveError> {
        let topology = Topology::build(Options { checksum_offload: true, ..Options::default() })?;
        let arguments = self.arguments.iter().map(|&argument| argument.to_owned()).collect();
        let attached = Receiver::InPlace(arguments).start(&topology, gro)?;
        let watch = Watch::start(&topology)?;
        let dropped = dropped()?;
        let backlog = self.backlog.map(|size| Lent::set("core/netdev_max_backlog", size)).transpose()?;
        let load = Load { bytes: self.bytes, patience: Duration::from_secs(600), ..Load::default() };
        let carried = traffic::run(&topology, &load);
        drop(backlog);
        let carried = carried?;
        let snapshot = attached.snapshot()?.unwrap_or_default();
        attached.detach()?;
        let watched = watch.end()?;
        let dropped = self::dropped()? - dropped;
        let told = if self.backlog.is_some() { dropped } else { self.told(&snapshot) };
        let of = |name| snapshot.carriers.get(name).copied().unwrap_or(0);
        let all_recovered = of("lost") == of("recovered");
        let value = format!(
            "{} of 8 equal, {}, {:.1} segments a merge, {} sent again, {dropped} dropped by the backlog; {}",
            carried.flows.iter().filter(|flow| flow.sent == flow.received).count(),
            watched.words(),
            snapshot.segments_a_merge(),
            carried.retransmitted,
            snapshot.troubles()
        );
        Ok((value, carried.is_intact() && watched.is_clean() && told > 0 && all_recovered))
    }

    fn told(&self, snapshot: &Snapshot) -> u64 {
        let counts = snapshot.carriers.iter().chain(&snapshot.guards);
        counts.filter(|(name, _)| self.tells.contains(&name.as_str())).map(|(_, count)| count).sum()
    }
}

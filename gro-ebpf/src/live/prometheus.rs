//! Snapshots as Prometheus text (exposition format 0.0.4), for a scraper or a textfile collector.

use super::{Carriers, CpuSnapshot, Snapshot};
use std::fmt::{self, Display, Formatter};

/// Shows snapshots in the exposition format: `# HELP`, `# TYPE`, then a line for each series. Families without a series are left
/// out.
///
/// Two namespaces may each have an `eth0`, so every series has the label `netns` beside `interface`.
#[derive(Clone, Copy, Debug)]
pub struct Exposition<'a>(pub &'a [Snapshot]);

/// A family of counters without another label, and what it reads.
type Plain = (&'static str, &'static str, fn(&Snapshot) -> u64);

const PLAIN: [Plain; 6] = [
    ("gro_wire_packets_total", "Frames that came in.", |snapshot| snapshot.wire_packets),
    ("gro_wire_bytes_total", "Bytes that came in.", |snapshot| snapshot.wire_bytes),
    ("gro_packets_total", "Packets delivered, merged or not.", |snapshot| snapshot.packets),
    ("gro_bytes_total", "Bytes delivered.", |snapshot| snapshot.bytes),
    ("gro_merged_packets_total", "Packets delivered with two segments or more.", |snapshot| {
        snapshot.merged_packets
    }),
    ("gro_merged_segments_total", "Frames that joined a held packet.", |snapshot| snapshot.merged_segments),
];

impl Display for Exposition<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.info(out)?;
        for (name, help, read) in PLAIN {
            self.family(out, name, help, |snapshot| vec![(Vec::new(), read(snapshot))])?;
        }
        for (name, help) in Carriers::ALL {
            let count = |snapshot: &Snapshot| snapshot.carriers.named().find(|(known, _)| known == name);
            let series =
                |snapshot: &Snapshot| count(snapshot).map(|(_, count)| (Vec::new(), count)).into_iter();
            let family = format!("gro_carriers_{name}_total");
            self.family(out, &family, help.trim(), |snapshot| series(snapshot).collect())?;
        }
        self.family(out, "gro_flush_total", "Packets that left the table, by reason.", |snapshot| {
            snapshot.flush.iter().map(|(why, &count)| (vec![("reason", why.clone())], count)).collect()
        })?;
        self.family(out, "gro_bypass_total", "Frames delivered at once, by reason.", |snapshot| {
            snapshot.bypass.iter().map(|(why, &count)| (vec![("reason", why.clone())], count)).collect()
        })?;
        self.family(out, "gro_guard_total", "What was refused or left alone, and faults.", |snapshot| {
            snapshot.guards.named().map(|(guard, count)| (vec![("guard", guard.into())], count)).collect()
        })?;
        self.family(
            out,
            "gro_cpu_wire_packets_total",
            "Frames that came in, by CPU or queue.",
            |snapshot| {
                let row = |cpu: &CpuSnapshot| (vec![("cpu", cpu.cpu.to_string())], cpu.wire_packets);
                snapshot.cpus.iter().map(row).collect()
            },
        )?;
        self.family(out, "gro_cpu_packets_total", "Packets delivered, by CPU or queue.", |snapshot| {
            let row = |cpu: &CpuSnapshot| (vec![("cpu", cpu.cpu.to_string())], cpu.packets);
            snapshot.cpus.iter().map(row).collect()
        })
    }
}

type Series = Vec<(Vec<(&'static str, String)>, u64)>;

impl Exposition<'_> {
    /// What runs, in labels; its value is 1.
    fn info(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let labels = |snapshot: &Snapshot| {
            vec![
                ("profile", snapshot.profile.clone()),
                ("program_hash", snapshot.program_hash.clone()),
                ("mode", snapshot.mode.name().to_owned()),
                ("hook", snapshot.hook.clone()),
            ]
        };
        self.typed(out, "gro_info", "gauge", "What is attached.", |snapshot| vec![(labels(snapshot), 1)])
    }

    fn family(
        &self,
        out: &mut Formatter<'_>,
        name: &str,
        help: &str,
        series: impl Fn(&Snapshot) -> Series,
    ) -> fmt::Result {
        self.typed(out, name, "counter", help, series)
    }

    fn typed(
        &self,
        out: &mut Formatter<'_>,
        name: &str,
        kind: &str,
        help: &str,
        series: impl Fn(&Snapshot) -> Series,
    ) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(|snapshot| (snapshot, series(snapshot))).collect();
        if all.iter().all(|(_, series)| series.is_empty()) {
            return Ok(());
        }
        // Help texts are constants without a backslash or line feed, which would have to be escaped.
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        for (snapshot, series) in all {
            for (labels, value) in series {
                let netns = snapshot.netns;
                write!(out, "{name}{{interface=\"{}\",netns=\"{netns}\"", Escaped(&snapshot.interface))?;
                for (label, text) in labels {
                    write!(out, ",{label}=\"{}\"", Escaped(&text))?;
                }
                writeln!(out, "}} {value}")?;
            }
        }
        Ok(())
    }
}

/// The value of a label: backslash, quote and line feed are escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for sign in self.0.chars() {
            match sign {
                '\\' => out.write_str("\\\\")?,
                '"' => out.write_str("\\\"")?,
                '\n' => out.write_str("\\n")?,
                _ => write!(out, "{sign}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Mode, SnapshotConfig};
    use gro_core::Config;
    use gro_core::stats::Counters;
    use std::collections::HashSet;

    fn snapshot(interface: &str, netns: u64) -> Snapshot {
        let config = SnapshotConfig::new(&Config::TC, false);
        let mut snapshot = Snapshot::new(interface, 3, netns, Mode::InPlace, config);
        snapshot.add_cpu(2, &Counters { wire_packets: 7, packets: 5, ..Counters::ZERO }, 1);
        snapshot.profile = "linux-6.18".into();
        snapshot.hook = "tcx".into();
        snapshot
    }

    #[test]
    fn the_format_is_that_of_the_exposition() {
        let snapshots = [snapshot("eth0", 1), snapshot("eth0", 2)];
        let text = Exposition(&snapshots).to_string();
        for line in [
            "# TYPE gro_wire_packets_total counter",
            "gro_wire_packets_total{interface=\"eth0\",netns=\"1\"} 7",
            "gro_flush_total{interface=\"eth0\",netns=\"2\",reason=\"psh\"} 0",
            "# HELP gro_carriers_issued_total Sent round.",
            "gro_carriers_astray_total{interface=\"eth0\",netns=\"2\"} 0",
            "gro_guard_total{interface=\"eth0\",netns=\"1\",guard=\"already_merged\"} 0",
            "gro_cpu_packets_total{interface=\"eth0\",netns=\"1\",cpu=\"2\"} 5",
            "gro_info{interface=\"eth0\",netns=\"1\",profile=\"linux-6.18\",program_hash=\"\",mode=\"in-place\",hook=\"tcx\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        // One group a family, HELP before TYPE before its series, no series twice.
        let (mut families, mut series, mut current) = (HashSet::new(), HashSet::new(), String::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split(' ').next().unwrap().to_owned();
                assert!(families.insert(current.clone()), "{current} twice");
                assert!(lines.next().unwrap().starts_with(&format!("# TYPE {current} ")));
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<u64>().is_ok() && name.ends_with('}'), "{line}");
                assert_eq!(name.split('{').next(), Some(current.as_str()), "{line}");
                assert!(series.insert(name.to_owned()), "{name} twice");
            }
        }
        assert!(text.ends_with('\n') && families.len() == 12 + Carriers::ALL.len(), "{families:?}");
    }

    #[test]
    fn labels_are_escaped_and_nothing_is_no_text() {
        let text = Exposition(&[snapshot("a\"b\\c\nd", 1)]).to_string();
        assert!(text.contains("gro_packets_total{interface=\"a\\\"b\\\\c\\nd\",netns=\"1\"} 5"), "{text}");
        assert_eq!(Exposition(&[]).to_string(), "");
    }
}

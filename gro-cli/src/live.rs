//! Counters each second, in place on a terminal, and a summary at the end.

use gro_ebpf::live::{Rates, Snapshot};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Shows what an attachment counts.
pub(crate) struct Live {
    json: bool,
    /// On a terminal only.
    line: Option<ProgressBar>,
    first: Snapshot,
    last: Snapshot,
    began: Instant,
    shown: Instant,
}

impl Live {
    /// Counts from this snapshot on.
    pub(crate) fn new(json: bool, start: Snapshot) -> Self {
        let line = (!json && io::stdout().is_terminal()).then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            // It cuts a line that is longer than the terminal is wide.
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                line.set_style(style);
            }
            line
        });
        let now = Instant::now();
        Self { json, line, first: start.clone(), last: start, began: now, shown: now }
    }

    /// What happened since the last time.
    pub(crate) fn show(&mut self, snapshot: Snapshot) -> io::Result<()> {
        let now = Instant::now();
        if self.json {
            writeln!(io::stdout(), "{}", serde_json::to_string(&snapshot)?)?;
        } else {
            let text = line(&snapshot.since(&self.last), now - self.shown);
            match &self.line {
                Some(line) => line.set_message(text),
                None => writeln!(io::stdout(), "{text}")?,
            }
        }
        (self.last, self.shown) = (snapshot, now);
        Ok(())
    }

    /// The summary, up to this snapshot or the last one shown.
    pub(crate) fn end(self, last: Option<Snapshot>) -> io::Result<()> {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
        let last = last.unwrap_or(self.last);
        let mut out = io::stdout().lock();
        let result = if self.json {
            serde_json::to_string(&last).map_err(io::Error::from).and_then(|text| writeln!(out, "{text}"))
        } else {
            let all = last.since(&self.first);
            let seconds = self.began.elapsed();
            crate::stats::table(&mut out, &all)
                .and_then(|()| writeln!(out, "  in {:.1} s   {}", seconds.as_secs_f64(), line(&all, seconds)))
        };
        match result {
            // Detaching was done, whoever reads.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

/// What happened within a time: rates, how well it merged, why not better, and what should not be.
fn line(between: &Snapshot, time: Duration) -> String {
    /// Reasons that are worth their room.
    const REASONS: usize = 3;
    let Rates { bits, wire_packets, packets } = between.rates(time);
    let mut text = format!(
        "{}  {:.0} Mb/s  {wire_packets:.0} wire pps  {packets:.0} pps  {:.1} frames/packet",
        between.interface,
        bits / 1e6,
        between.frames_a_packet()
    );
    let all: u64 = between.flush.values().sum();
    for (name, count) in between.top_flush(REASONS) {
        text += &format!("  {name} {:.0} %", 100.0 * count as f64 / all as f64);
    }
    for (name, count) in between.guards.named().filter(|&(_, count)| count > 0) {
        text += &format!("  {name}={count}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_ebpf::live::{Mode, SnapshotConfig};

    #[test]
    fn a_line_says_rates_reasons_and_guards() {
        let config = SnapshotConfig::new(&gro_core::Config::TC, false);
        let mut snapshot = Snapshot::new("eth0", 2, 1, Mode::InPlace, config);
        assert_eq!(
            line(&snapshot, Duration::from_secs(1)),
            "eth0  0 Mb/s  0 wire pps  0 pps  0.0 frames/packet"
        );
        (snapshot.wire_bytes, snapshot.wire_packets, snapshot.packets) = (250_000_000, 200_000, 20_000);
        snapshot.flush.insert("psh".into(), 1);
        snapshot.flush.insert("size".into(), 3);
        snapshot.guards.socket = 2;
        assert_eq!(
            line(&snapshot, Duration::from_secs(2)),
            "eth0  1000 Mb/s  100000 wire pps  10000 pps  10.0 frames/packet  size 75 %  psh 25 %  socket=2"
        );
    }
}

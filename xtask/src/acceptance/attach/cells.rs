//! Integrity: eight flows, a gigabyte, on every kind of wire.

use super::{Figure, Watch, deliveries, figure};
use gro_bench::live::traffic::{self, Load};
use gro_bench::live::{LiveError, Options, Receiver, Topology, Wire};
use std::path::Path;
use std::time::Duration;

const BYTES: u64 = 1_000_000_000;

/// One cell.
struct Cell {
    options: Options,
    ipv6: bool,
}

impl Cell {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for checksum_offload in [true, false] {
            for mtu in [1_500, 9_000] {
                for wire in [Wire::Direct, Wire::BAD] {
                    let options = Options { checksum_offload, mtu, wire, ..Options::default() };
                    all.extend([false, true].map(|ipv6| Self { options, ipv6 }));
                }
            }
        }
        // Several queues, whose packets the CPUs share.
        let options = Options { queues: 2, rps_cpus: 3, ..Options::default() };
        all.extend([false, true].map(|ipv6| Self { options, ipv6 }));
        all
    }

    fn is_clean(&self) -> bool {
        self.options.wire == Wire::Direct
    }

    fn name(&self, receiver: &Receiver) -> String {
        format!(
            "{}: 8 flows, 1 GB, checksum offload {}, MTU {}, {}, {}{}",
            receiver.name(),
            if self.options.checksum_offload { "on" } else { "off" },
            self.options.mtu,
            if self.ipv6 { "IPv6" } else { "IPv4" },
            if self.is_clean() { "clean" } else { "1 % lost, 1 % late" },
            if self.options.queues > 1 { ", 2 queues, RPS" } else { "" }
        )
    }

    /// Segments a merge that this cell must reach, and its bar in words.
    fn bar(&self, receiver: &Receiver) -> (f64, &'static str) {
        match (self.is_clean(), receiver, self.options.mtu) {
            (true, Receiver::InPlace(_), 1_500) => {
                (9.0, "every SHA-256 equal, 0 checksum errors, 0 warnings, >= 9 segments a merge")
            }
            (true, Receiver::ViaTap(_), 9_000) => {
                (6.0, "every SHA-256 equal, 0 checksum errors, 0 warnings, >= 6 segments a merge")
            }
            _ => (0.0, "every SHA-256 equal, 0 checksum errors, 0 warnings"),
        }
    }

    fn measure(&self, receiver: &Receiver, gro: &Path) -> Result<(String, bool), LiveError> {
        let topology = Topology::build(self.options)?;
        let attached = receiver.start(&topology, gro)?;
        let watch = Watch::start(&topology)?;
        let load =
            Load { bytes: BYTES, ipv6: self.ipv6, patience: Duration::from_secs(300), ..Load::default() };
        let carried = traffic::run(&topology, &load)?;
        let snapshot = attached.snapshot()?.unwrap_or_default();
        attached.detach()?;
        let watched = watch.end()?;
        let (intact, segments) = (carried.is_intact(), snapshot.segments_a_merge());
        let value = format!(
            "{} of 8 equal, {}, {segments:.2} segments a merge, {:.2} Gb/s, {} sent again; {}; flushed by {}",
            carried.flows.iter().filter(|flow| flow.sent == flow.received).count(),
            watched.words(),
            carried.gbit_per_second(),
            carried.retransmitted,
            snapshot.troubles(),
            snapshot.reasons()
        );
        // It took part: at MTU 9000 the tc program has no room to merge two.
        let has_room = self.options.mtu == 1_500 || matches!(receiver, Receiver::ViaTap(_));
        let took_part = snapshot.wire_packets > 0 && (snapshot.merged_packets > 0 || !has_room);
        Ok((value, intact && took_part && watched.is_clean() && segments >= self.bar(receiver).0))
    }
}

pub(super) fn figures(gro: &Path, figures: &mut Vec<Figure>) {
    for receiver in deliveries() {
        for cell in Cell::all() {
            let name = cell.name(&receiver);
            figures.push(figure(name, cell.bar(&receiver).1, || cell.measure(&receiver, gro)));
        }
    }
}

//! What the receiver's stack saw of a recorded run, re-segmented.

use super::{Figure, deliveries, figure};
use gro_bench::live::recording::{At, record};
use gro_bench::live::traffic::Load;
use gro_bench::live::{LiveError, Options, Receiver, Topology, Wire};
use std::path::Path;

/// As many as two captures hold.
const BYTES: u64 = 50_000_000;

pub(super) fn figures(gro: &Path, figures: &mut Vec<Figure>) {
    for receiver in deliveries() {
        for (wire, name) in [(Wire::Direct, "clean"), (Wire::BAD, "1 % lost, 1 % late")] {
            for ipv6 in [false, true] {
                let version = if ipv6 { "IPv6" } else { "IPv4" };
                let what = format!(
                    "{}: recorded run, 8 flows, 50 MB, {version}, {name}: output on protocol-bound sockets re-segments to what was \
                     sent",
                    receiver.name()
                );
                figures.push(figure(what, "exactly, per flow", || measure(&receiver, wire, ipv6, gro)));
            }
        }
    }
}

fn measure(receiver: &Receiver, wire: Wire, ipv6: bool, gro: &Path) -> Result<(String, bool), LiveError> {
    // Complete checksums: they are compared, too.
    let topology = Topology::build(Options { wire, rps_cpus: 1, ..Options::default() })?;
    let attached = receiver.start(&topology, gro)?;
    // What is on the way at once fits into a backlog: a frame that it has no room for was sent and not seen.
    let load = Load { bytes: BYTES, ipv6, receive_buffer: Some(64 << 10), ..Load::default() };
    let recording = record(&topology, &load, At::Arriving)?;
    let snapshot = attached.snapshot()?.unwrap_or_default();
    attached.detach()?;
    Ok(match recording.compare() {
        Ok(found) => (
            format!(
                "{} frames of {} flows from {} packets, {} of them merged",
                found.frames, found.flows, found.packets, found.merged
            ),
            found.merged > 0 && recording.carried.is_intact(),
        ),
        Err(difference) => (format!("{difference}; {}", snapshot.troubles()), false),
    })
}

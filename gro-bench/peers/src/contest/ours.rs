//! `gro` and `gro+checksum`: our engine, with frames that a NIC has verified and with frames that it verifies itself.

use super::{Audit, Engine};
use crate::clock::Clock;
use crate::engine::{Frame, Queue, frame};
use crate::ring::Ring;
use crate::workload::BURST;
use gro_core::profile::tunnel;
use gro_core::user::burst::DEFAULT_CHUNKS;
use gro_core::{Config, UdpMode};
use std::hint::black_box;

/// Our engine on one kind of input.
pub(crate) struct Ours<const CHUNKS: usize = DEFAULT_CHUNKS> {
    name: &'static str,
    queue: Queue<CHUNKS>,
    verified: bool,
}

/// The kernel's defaults, and UDP and VXLAN coalesced, so that one engine takes every cell.
pub(crate) fn config() -> Config {
    let tunnels = Config::DEFAULT.tunnels | tunnel::VXLAN;
    Config { udp: UdpMode::Forwarding, tunnels, ..Config::DEFAULT }
}

impl<const CHUNKS: usize> Ours<CHUNKS> {
    pub(crate) fn new(verified: bool) -> Self {
        Self::named(if verified { "gro" } else { "gro+checksum" }, verified)
    }

    /// Under a name of its own.
    pub(crate) fn named(name: &'static str, verified: bool) -> Self {
        Self { name, queue: Queue::new(config()), verified }
    }
}

/// The descriptors of a burst.
pub(crate) fn descriptors(ring: &Ring, burst: usize, verified: bool) -> [Frame<'_>; BURST] {
    let first = ring.burst(burst).start;
    std::array::from_fn(|at| frame(ring.frame(first + at), ring.made(first + at), verified))
}

impl<const CHUNKS: usize> Engine for Ours<CHUNKS> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn what(&self) -> String {
        if self.verified {
            "this project's engine, checksums of frames verified by the NIC: one a frame, so that in VXLAN it is the outer one and the \
             engine verifies the inner one"
                .to_owned()
        } else {
            "this project's engine, which verifies the checksum of each frame".to_owned()
        }
    }

    fn burst(&mut self, ring: &mut Ring, clock: &Clock, burst: usize) -> u64 {
        let frames = descriptors(ring, burst, self.verified);
        // All of them are there before the clock starts.
        black_box(&frames);
        let start = Clock::start();
        self.queue.poll(black_box(&frames), |packet| {
            black_box(packet);
        });
        let stop = Clock::stop();
        clock.between(start, stop)
    }

    fn audit(&mut self, ring: &mut Ring, burst: usize) -> Option<Audit> {
        let frames = descriptors(ring, burst, self.verified);
        let mut audit = Audit::default();
        self.queue.poll(&frames, |packet| {
            audit.packets += 1;
            audit.bytes += packet.len();
        });
        Some(audit)
    }
}

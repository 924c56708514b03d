//! Frames of a capture through a coalescer into a TAP device, whose stack takes them as received.

use super::coalescer::Coalescer;
use super::out::Out;
use super::tap::Queue;
use super::{ViaTapError, deliverable, ethernet, open_tap};
use crate::device::netns;
use crate::live::{Mode, Snapshot, SnapshotConfig};
use bytes::Bytes;
use gro_core::user::VirtioNetHdr;
use gro_core::{Config, Meta};
use std::io;

/// Plays frames into a TAP device, poll by poll. No program is involved: what is delivered goes up the stack at the device itself.
pub struct Player<C> {
    coalescer: C,
    out: Out<Queue>,
    empty: Snapshot,
}

impl<C: Coalescer> Player<C> {
    /// Makes the TAP device, or takes one that is there and has no owner; it is up. `make` is called with what the coalescer must be
    /// configured with.
    ///
    /// # Errors
    /// As of [`super::ViaTap::start`].
    pub fn open(
        tap: &str,
        config: Config,
        make: impl FnOnce(Config) -> io::Result<C>,
    ) -> Result<Self, ViaTapError> {
        let config = deliverable(config)?;
        let coalescer = make(config).map_err(ViaTapError::Coalescer)?;
        let mut tap = open_tap(tap, 1, config.udp)?;
        let (ifindex, _) = ethernet(&tap.name)?;
        let netns = netns::current().map_err(super::step("looking up the network namespace"))?;
        let empty =
            Snapshot::new(&tap.name, ifindex, netns, Mode::ViaTap, SnapshotConfig::new(&config, true));
        Ok(Self { coalescer, out: Out::new(tap.queues.remove(0), 64), empty })
    }

    /// Name of the TAP device.
    pub fn tap(&self) -> &str {
        &self.empty.interface
    }

    /// Frames that are ready at once, and their end.
    ///
    /// # Errors
    /// The coalescer or the device takes nothing any more.
    pub fn poll(&mut self, frames: impl IntoIterator<Item = (Bytes, Meta)>) -> io::Result<()> {
        let Self { coalescer, out, .. } = self;
        if coalescer.is_asked() {
            coalescer.answer()?;
        }
        out.base = coalescer.next_frame();
        for (frame, meta) in frames {
            out.frames.push((frame.clone(), VirtioNetHdr::default()));
            coalescer.receive(frame, meta, &mut |packet| out.deliver(packet))?;
        }
        coalescer.poll_end(&mut |packet| out.deliver(packet))?;
        out.frames.clear();
        out.fatal.take().map_or(Ok(()), Err)
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.empty.clone();
        let mut totals = self.out.totals;
        (totals.counters, totals.digest) = self.coalescer.tally();
        totals.add_to(0, &mut snapshot);
        snapshot
    }
}

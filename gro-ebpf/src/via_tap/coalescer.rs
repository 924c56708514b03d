//! What merges the frames of a queue: the engine in this process, or anything else that takes frames and gives packets, as a NIC.

use bytes::Bytes;
use gro_core::stats::Counters;
use gro_core::user::{Delivered, Engine, VirtioNetHdr};
use gro_core::{Meta, Profile};
use std::io;

/// Takes frames and gives packets, both in order. Between the end of a poll and the next frame it holds nothing: the memory of the
/// frames goes back to the kernel then.
///
/// An error ends all queues; the kernel keeps its frames from then on.
pub trait Coalescer {
    /// Takes a frame; what leaves, now or later, goes to a sink.
    ///
    /// # Errors
    /// It cannot go on.
    fn receive(&mut self, frame: Bytes, meta: Meta, sink: &mut impl FnMut(Leaving)) -> io::Result<()>;

    /// The end of a poll: everything leaves.
    ///
    /// # Errors
    /// It cannot go on.
    fn poll_end(&mut self, sink: &mut impl FnMut(Leaving)) -> io::Result<()>;

    /// Everything leaves, in the middle of a poll.
    ///
    /// # Errors
    /// It cannot go on.
    fn flush(&mut self, sink: &mut impl FnMut(Leaving)) -> io::Result<()>;

    /// Whether somebody asked for something that is to be done between two polls. It is looked at before each poll, and at least ten
    /// times a second.
    fn is_asked(&mut self) -> bool {
        false
    }

    /// Does what was asked for. What was counted so far is published by then.
    ///
    /// # Errors
    /// It cannot go on.
    fn answer(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The number that the next frame gets, as in [`Leaving::first`].
    fn next_frame(&self) -> u32;

    /// Whether it has a packet in hand that a further frame may join, so that it is worth to wait a moment for one.
    fn holds(&self) -> bool;

    /// What it counted, and the digest of its decisions.
    fn tally(&self) -> (Counters, u64);
}

/// A packet that leaves a [`Coalescer`].
#[derive(Clone, Debug)]
pub struct Leaving {
    /// Number of its first frame, modulo 2^32.
    pub first: u32,
    /// Frames in it.
    pub segs: u32,
    /// VLAN tag of the first one: TPID (high half) and TCI, 0 for none.
    pub vlan: u32,
    /// Of a merged packet: what a TAP device is told of it. `None` if there is no word for it; it then leaves as its frames.
    pub form: Option<VirtioNetHdr>,
    /// A single frame, or the headers of a merged packet. With a form, the checksum field holds the sum of the pseudo-header.
    pub head: Bytes,
    /// Payload of a merged packet, a piece a frame, each up to the end of its frame.
    pub pieces: Vec<Bytes>,
}

impl Leaving {
    /// Bytes of the whole packet.
    pub fn len(&self) -> usize {
        self.head.len() + self.pieces.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether it has no byte, as an empty frame that came in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Delivered> for Leaving {
    fn from(packet: Delivered) -> Self {
        let (first, segs, vlan) = (packet.first, packet.segs, packet.meta.vlan);
        let (form, packet) = match packet.into_virtio() {
            Ok((header, packet)) => (Some(header), packet),
            Err(packet) => (None, packet),
        };
        Self { first, segs, vlan, form, head: packet.header, pieces: packet.segments }
    }
}

impl<P: Profile> Coalescer for Engine<P> {
    fn receive(&mut self, frame: Bytes, meta: Meta, sink: &mut impl FnMut(Leaving)) -> io::Result<()> {
        Self::receive(self, frame, meta, &mut |packet| sink(packet.into()));
        Ok(())
    }

    fn poll_end(&mut self, sink: &mut impl FnMut(Leaving)) -> io::Result<()> {
        Self::poll_end(self, &mut |packet| sink(packet.into()));
        Ok(())
    }

    fn flush(&mut self, sink: &mut impl FnMut(Leaving)) -> io::Result<()> {
        Self::flush(self, &mut |packet| sink(packet.into()));
        Ok(())
    }

    fn next_frame(&self) -> u32 {
        self.state().frames()
    }

    fn holds(&self) -> bool {
        let Counters { wire_packets, merged_segments, packets, .. } = self.state().counters;
        wire_packets - merged_segments - packets > 0
    }

    fn tally(&self) -> (Counters, u64) {
        (self.state().counters, self.state().digest.value())
    }
}

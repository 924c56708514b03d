//! Our engine, as this program calls it: the only file that knows its interface.

use crate::workload::Made;
use bytes::Bytes;
use gro_core::user::{Delivered, Engine};
use gro_core::{Config, Linux618, Meta};

/// A frame as it is handed over.
pub(crate) struct Frame<'a> {
    bytes: &'a [u8],
    meta: Meta,
}

impl<'a> Frame<'a> {
    /// `verified`: the NIC vouches for its checksum.
    pub(crate) fn new(bytes: &'a [u8], made: Made, verified: bool) -> Self {
        Self { bytes, meta: Meta { hash: made.hash, vlan: made.vlan, verified } }
    }
}

/// One queue.
pub(crate) struct Queue(Engine<Linux618>);

/// A packet that left.
pub(crate) struct Packet(Delivered);

impl Queue {
    pub(crate) fn new(config: Config) -> Self {
        Self(Engine::new(config))
    }

    /// One poll: takes a burst, and all that is held leaves at its end.
    #[inline]
    pub(crate) fn poll(&mut self, frames: &[Frame<'_>], mut sink: impl FnMut(&Packet)) {
        let mut sink = |packet: Delivered| sink(&Packet(packet));
        for frame in frames {
            // SAFETY: everything leaves below, before the frames' borrow ends, and `Packet`s are only lent.
            let bytes = unsafe { std::slice::from_raw_parts(frame.bytes.as_ptr(), frame.bytes.len()) };
            self.0.receive(Bytes::from_static(bytes), frame.meta, &mut sink);
        }
        self.0.poll_end(&mut sink);
    }
}

impl Packet {
    /// Frames in it.
    pub(crate) fn segs(&self) -> u32 {
        self.0.segs
    }

    /// Bytes of all of it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Payload bytes of a segment, 0 for a frame as it came.
    pub(crate) fn gso_size(&self) -> u16 {
        self.0.gso_size
    }

    /// In one piece.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

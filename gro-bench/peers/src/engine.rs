//! Our engine, as this program calls it: the only file that knows its interface.

use crate::workload::Made;
use gro_core::user::burst::{self, DEFAULT_CHUNKS, Memory};
use gro_core::{Config, Linux618};

pub(crate) use gro_core::user::burst::{Frame, Isa, Packet};

/// One queue.
pub(crate) struct Queue<const CHUNKS: usize = DEFAULT_CHUNKS>(
    burst::Queue<Linux618, Box<Memory<CHUNKS>>, CHUNKS>,
);

/// A frame as it is handed over. `verified`: the NIC vouches for its checksum.
pub(crate) fn frame(bytes: &[u8], made: Made, verified: bool) -> Frame<'_> {
    let frame = Frame::new(bytes).hash(made.hash).vlan(made.vlan);
    if verified { frame.verified() } else { frame }
}

/// A packet in one piece.
pub(crate) fn whole(packet: &Packet<'_>) -> Vec<u8> {
    packet.iov().iter().flat_map(|part| part.bytes()).copied().collect()
}

impl<const CHUNKS: usize> Queue<CHUNKS> {
    /// Bytes of all its memory.
    pub(crate) const BYTES: usize = size_of::<Self>() + size_of::<Memory<CHUNKS>>();

    pub(crate) fn new(config: Config) -> Self {
        Self(burst::Queue::with_memory(config, Box::new(Memory::EMPTY)))
    }

    /// One poll: takes a burst, and all that is held leaves at its end.
    #[inline]
    pub(crate) fn poll(&mut self, frames: &[Frame<'_>], mut sink: impl FnMut(&Packet<'_>)) {
        self.0.poll(frames, &mut sink);
    }
}

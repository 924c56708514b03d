//! What the engine keeps beside the table.

use crate::complete::Merged;
use crate::datapath::Datapath;
use crate::digest::Digest;
use crate::stats::Counters;

/// What the engine keeps beside the table. All zero is the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// Over every decision so far.
    pub digest: Digest,
    /// [`State::frames`] when the last poll ended.
    pub poll_start: u32,
    /// 1 when the event in hand leaves packets of the current jiffy; a word, so that any bytes of a map are a state.
    pub(crate) keeps_young: u32,
    /// What happened so far.
    pub counters: Counters,
    /// The bucket whose turn it is in an event.
    pub(crate) cursor: u32,
    /// Frames and bytes that the counters do not know of yet, and how many of the frames [`crate::follow`] gave back: a datapath that learns
    /// late counts in one word for as long as that has no carry.
    pending: u32,
    pending_bytes: u32,
    given_back: u32,
    /// The packet that leaves.
    pub(crate) merged: Merged,
}

impl State {
    /// The start.
    pub const ZERO: Self = Self {
        digest: Digest::ZERO,
        poll_start: 0,
        keeps_young: 0,
        counters: Counters::ZERO,
        cursor: 0,
        pending: 0,
        pending_bytes: 0,
        given_back: 0,
        merged: Merged::ZERO,
    };

    /// Frames so far, modulo 2^32.
    #[inline(always)]
    pub fn frames(&self) -> u32 {
        (self.counters.wire_packets as u32).wrapping_add(self.pending)
    }

    /// A frame came in.
    #[inline(always)]
    pub(crate) fn arrived<D: Datapath>(&mut self, len: u32) {
        if !D::LEARNS_LATE {
            return self.counters.arrived(len);
        }
        self.given_back += 1;
        self.pending += 1;
        // Between two such frames the packets of the whole table grow by less than 2^30 bytes.
        if (len | self.pending_bytes) >> 30 != 0 {
            self.count_pending();
            self.counters.wire_bytes += len as u64;
        } else {
            self.pending_bytes += len;
        }
    }

    /// A frame came in and joined its packet at once.
    #[inline(always)]
    pub(crate) fn followed(&mut self, len: u32) {
        self.pending += 1;
        self.pending_bytes += len;
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn count_pending(&mut self) {
        self.counters.wire_packets += self.pending as u64;
        self.counters.wire_bytes += self.pending_bytes as u64;
        self.counters.merged_segments += (self.pending - self.given_back) as u64;
        (self.pending, self.pending_bytes, self.given_back) = (0, 0, 0);
    }
}

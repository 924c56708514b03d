//! Counters, kept by the engine itself so that every backend counts alike.

use crate::reason::{Bypass, FlushReason};

/// Room for every [`FlushReason`]; a power of two, so that an index needs no check.
pub const FLUSH_COUNTERS: usize = 32;
/// Room for every [`Bypass`].
pub const BYPASS_COUNTERS: usize = 32;

/// What happened since the state was zeroed. All zero is the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Frames that came in.
    pub wire_packets: u64,
    /// Bytes that came in, Ethernet header included.
    pub wire_bytes: u64,
    /// Packets that left, merged or not.
    pub packets: u64,
    /// Packets that left with two segments or more.
    pub merged_packets: u64,
    /// Frames that joined a held packet.
    pub merged_segments: u64,
    /// Packets that left the table, by [`FlushReason`].
    pub flush: [u64; FLUSH_COUNTERS],
    /// Frames delivered at once, by [`Bypass`].
    pub bypass: [u64; BYPASS_COUNTERS],
}

impl Counters {
    /// Nothing happened yet.
    pub const ZERO: Self = Self {
        wire_packets: 0,
        wire_bytes: 0,
        packets: 0,
        merged_packets: 0,
        merged_segments: 0,
        flush: [0; FLUSH_COUNTERS],
        bypass: [0; BYPASS_COUNTERS],
    };

    #[inline(always)]
    pub(crate) fn arrived(&mut self, len: u32) {
        self.wire_packets += 1;
        self.wire_bytes += len as u64;
    }

    /// Takes back [`Counters::arrived`].
    #[inline(always)]
    pub(crate) fn went_elsewhere(&mut self, len: u32) {
        self.wire_packets -= 1;
        self.wire_bytes -= len as u64;
    }

    #[inline(always)]
    pub(crate) fn flushed(&mut self, why: u32, merged: u32) {
        self.packets += 1;
        self.merged_packets += merged as u64;
        self.flush[why as usize & (FLUSH_COUNTERS - 1)] += 1;
    }

    #[inline(always)]
    pub(crate) fn passed(&mut self, why: Bypass) {
        self.packets += 1;
        self.bypass[why as usize & (BYPASS_COUNTERS - 1)] += 1;
    }
}

const _: () = assert!(FlushReason::ALL.len() <= FLUSH_COUNTERS && Bypass::ALL.len() <= BYPASS_COUNTERS);

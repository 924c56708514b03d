//! What the programs of `via.rs` and their loader share: map values, plain words in host order. Compiled into both.

/// Value of map `GATE`: whether frames are taken.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Gate {
    /// When all workers were last known to work, in nanoseconds of `CLOCK_MONOTONIC`.
    pub beat: u64,
    /// 1 while frames are taken, 0 before and after.
    pub open: u32,
    /// 1 when UDP is coalesced, and so taken.
    pub udp: u32,
}

/// Workers that are silent for longer than this get no more frames: the kernel keeps them.
pub const PATIENCE_NS: u64 = 1_000_000_000;

/// Value of map `PASSED`: frames that the kernel kept, for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Passed {
    /// Frames.
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
}

/// Index in `PASSED`: merged before it came, and not TCP, so that a `virtio_net_hdr` may have no form for it.
pub const ALREADY_MERGED: u32 = 0;
/// Index in `PASSED`: neither IPv4 nor IPv6.
pub const NOT_IP: u32 = 1;
/// Index in `PASSED`: neither TCP nor UDP.
pub const PROTOCOL: u32 = 2;
/// Index in `PASSED`: UDP, which is not coalesced.
pub const UDP_OFF: u32 = 3;
/// Entries of `PASSED`.
pub const REASONS: u32 = 4;

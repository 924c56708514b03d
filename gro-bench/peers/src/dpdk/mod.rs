//! DPDK's GRO library over the C shim beside this file, where it was there when this program was built.

#[cfg(not(dpdk))]
mod absent;
#[cfg(dpdk)]
mod present;

#[cfg(not(dpdk))]
pub(crate) use absent::Library;
#[cfg(dpdk)]
pub(crate) use present::Library;

/// What a driver says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Kind {
    Unparsed = 0,
    TcpIpv4 = 1,
    Vxlan = 2,
}

/// Before the library is called: prefetch two lines of each frame.
pub(crate) const PREFETCH: i32 = 1;
/// Before the library is called: find out packet types and lengths.
pub(crate) const PARSE: i32 = 2;

/// A packet that came out.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Out {
    pub(crate) len: u32,
    pub(crate) segs: u32,
    pub(crate) gso_size: u32,
}

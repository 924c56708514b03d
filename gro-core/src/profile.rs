//! Rule sets, their hashes, and what an administrator configures.

use crate::coalesce::{CWR, FIN, PSH};

/// A rule-set version: what one kernel release does. A compile-time parameter of the engine.
pub trait Profile {
    /// The name, as in `linux-6.18`.
    const NAME: &'static str;
    /// SHA-256 over the domain tag, the source hash and the name.
    const PROGRAM_HASH: [u8; 32];
    /// Bits of the TCP flag word (data offset, reserved, flags, window) that must be equal to join (`tcp_gro_receive`,
    /// net/ipv4/tcp_offload.c).
    const CONTROL_EQUAL: u32;
    /// Bits of the TCP flag word with which a segment never joins.
    const CONTROL_ALONE: u32;
    /// An IPv4 identification may stay the same only with the don't-fragment bit (`inet_gro_flush`, include/net/gro.h).
    const FIXED_ID_NEEDS_DF: bool;
}

/// Linux 6.12.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux612;

impl Profile for Linux612 {
    const NAME: &'static str = "linux-6.12";
    const PROGRAM_HASH: [u8; 32] = hashes::LINUX_6_12;
    const CONTROL_EQUAL: u32 = !(FIN | PSH | CWR);
    const CONTROL_ALONE: u32 = CWR;
    const FIXED_ID_NEEDS_DF: bool = true;
}

/// Linux 6.18.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux618;

impl Profile for Linux618 {
    const NAME: &'static str = "linux-6.18";
    const PROGRAM_HASH: [u8; 32] = hashes::LINUX_6_18;
    const CONTROL_EQUAL: u32 = !(FIN | PSH);
    const CONTROL_ALONE: u32 = CWR;
    const FIXED_ID_NEEDS_DF: bool = false;
}

/// Linux 7.x.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux7;

impl Profile for Linux7 {
    const NAME: &'static str = "linux-7.x";
    const PROGRAM_HASH: [u8; 32] = hashes::LINUX_7;
    const CONTROL_EQUAL: u32 = !(FIN | PSH);
    const CONTROL_ALONE: u32 = 0;
    const FIXED_ID_NEEDS_DF: bool = false;
}

mod hashes {
    include!(concat!(env!("OUT_DIR"), "/hashes.rs"));
}

/// The hash of this build's engine under profile `P`.
pub const fn program_hash<P: Profile>() -> [u8; 32] {
    P::PROGRAM_HASH
}

/// The hash of the engine's sources, whatever the profile.
pub const fn source_hash() -> [u8; 32] {
    hashes::SOURCE
}

/// Frames of one NAPI poll (`NAPI_POLL_WEIGHT`). A poll that used them all delivers everything (HZ < 1000).
pub const POLL_BUDGET: u32 = 64;

/// What an administrator sets on a device, at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Bytes a merged IPv6 packet stays below, from the network header on; at most 65,536.
    pub gro_max_size: u32,
    /// The same for IPv4.
    pub gro_ipv4_max_size: u32,
    /// `gro_flush_timeout` in nanoseconds; 0 delivers everything at the end of each poll. Other values keep packets
    /// of the current jiffy until the timer, which is an input ([`crate::Event::Tick`]).
    pub flush_timeout: u32,
    /// What becomes of UDP.
    pub udp: UdpMode,
}

/// Whether UDP is coalesced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum UdpMode {
    /// Datagrams are delivered as they come: the kernel's default without a UDP_GRO socket.
    #[default]
    Off = 0,
    /// `rx-udp-gro-forwarding`: datagrams that no socket here asked for are coalesced.
    Forwarding = 1,
}

impl Config {
    /// The kernel's defaults.
    pub const DEFAULT: Self =
        Self { gro_max_size: 65_536, gro_ipv4_max_size: 65_536, flush_timeout: 0, udp: UdpMode::Off };

    /// The largest config the tc datapath can run: it cannot build a larger packet.
    pub const TC: Self = Self { gro_max_size: 15_000, gro_ipv4_max_size: 15_000, ..Self::DEFAULT };

    /// The limit for packets of one family.
    #[inline(always)]
    pub(crate) fn max_size(&self, ipv6: bool) -> u32 {
        let limit = if ipv6 { self.gro_max_size } else { self.gro_ipv4_max_size };
        // Above the 16-bit IP length there is only BIG TCP, which this engine does not build.
        if limit < LEGACY_MAX_SIZE { limit } else { LEGACY_MAX_SIZE }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// `GRO_LEGACY_MAX_SIZE` (include/linux/netdevice.h).
const LEGACY_MAX_SIZE: u32 = 65_536;

//! Rule sets, their hashes, and what an administrator configures.

use crate::coalesce::CWR;
use crate::complete::{GSO_TCP_ACCECN, GSO_TCP_ECN};
use crate::parse::{Packet, masks};
use crate::rule::Rule;

/// A rule-set version: what one kernel release does. A compile-time parameter of the engine.
pub trait Profile {
    /// The name, as in `linux-6.18`.
    const NAME: &'static str;
    /// The same, as a choice at run time.
    const RELEASE: Release;
    /// SHA-256 over the domain tag, the source hash and the name.
    const PROGRAM_HASH: [u8; 32];
    /// Bits of the TCP flag word (data offset, reserved, flags, window) that must be equal to join (`tcp_gro_receive`,
    /// net/ipv4/tcp_offload.c).
    const CONTROL_EQUAL: u32;
    /// Bits of the TCP flag word with which a segment never joins.
    const CONTROL_ALONE: u32;
    /// An IPv4 identification may stay the same only with the don't-fragment bit (`inet_gro_flush`, include/net/gro.h).
    const FIXED_ID_NEEDS_DF: bool;
    /// An IPv6 packet over 65,535 bytes gets a hop-by-hop header with its length (`ipv6_gro_complete`,
    /// net/ipv6/ip6_offload.c); else its payload length is just 0.
    const JUMBO_HEADER: bool;
    /// GSO type of a merged packet with CWR (`tcp_gro_complete`, net/ipv4/tcp_offload.c).
    const CWR_TYPE: u32;

    /// Whether plain frames take the shortcut, which decides the same with less work. Not the test harness's mutants, and not the
    /// engine that it is compared with.
    const SHORTCUT: bool = true;

    /// Whether a rule applies: all do, but in the test harness's mutants.
    #[inline(always)]
    fn on(_rule: Rule) -> bool {
        true
    }
}

/// Linux 6.12.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux612;

impl Profile for Linux612 {
    const NAME: &'static str = "linux-6.12";
    const RELEASE: Release = Release::Linux612;
    const PROGRAM_HASH: [u8; 32] = hashes::LINUX_6_12;
    const CONTROL_EQUAL: u32 = masks::CONTROL & !CWR;
    const CONTROL_ALONE: u32 = CWR;
    const FIXED_ID_NEEDS_DF: bool = true;
    const JUMBO_HEADER: bool = true;
    const CWR_TYPE: u32 = GSO_TCP_ECN;
}

/// Linux 6.18.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux618;

impl Profile for Linux618 {
    const NAME: &'static str = "linux-6.18";
    const RELEASE: Release = Release::Linux618;
    const PROGRAM_HASH: [u8; 32] = hashes::LINUX_6_18;
    const CONTROL_EQUAL: u32 = masks::CONTROL;
    const CONTROL_ALONE: u32 = CWR;
    const FIXED_ID_NEEDS_DF: bool = false;
    const JUMBO_HEADER: bool = true;
    const CWR_TYPE: u32 = GSO_TCP_ACCECN;
}

/// Linux 7.x.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux7;

impl Profile for Linux7 {
    const NAME: &'static str = "linux-7.x";
    const RELEASE: Release = Release::Linux7;
    const PROGRAM_HASH: [u8; 32] = hashes::LINUX_7;
    const CONTROL_EQUAL: u32 = masks::CONTROL;
    const CONTROL_ALONE: u32 = 0;
    const FIXED_ID_NEEDS_DF: bool = false;
    const JUMBO_HEADER: bool = false;
    const CWR_TYPE: u32 = GSO_TCP_ACCECN;
}

/// A profile without the shortcut of plain frames: the same decisions, to be compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain<P>(core::marker::PhantomData<P>);

impl<P: Profile> Profile for Plain<P> {
    const NAME: &'static str = P::NAME;
    const RELEASE: Release = P::RELEASE;
    const PROGRAM_HASH: [u8; 32] = P::PROGRAM_HASH;
    const CONTROL_EQUAL: u32 = P::CONTROL_EQUAL;
    const CONTROL_ALONE: u32 = P::CONTROL_ALONE;
    const FIXED_ID_NEEDS_DF: bool = P::FIXED_ID_NEEDS_DF;
    const JUMBO_HEADER: bool = P::JUMBO_HEADER;
    const CWR_TYPE: u32 = P::CWR_TYPE;
    const SHORTCUT: bool = false;

    #[inline(always)]
    fn on(rule: Rule) -> bool {
        P::on(rule)
    }
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

/// The rule sets, as a choice at run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// [`Linux612`].
    Linux612,
    /// [`Linux618`].
    #[default]
    Linux618,
    /// [`Linux7`].
    Linux7,
}

impl Release {
    /// Every one, oldest first.
    pub const ALL: [Self; 3] = [Self::Linux612, Self::Linux618, Self::Linux7];

    /// [`Profile::NAME`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux612 => Linux612::NAME,
            Self::Linux618 => Linux618::NAME,
            Self::Linux7 => Linux7::NAME,
        }
    }

    /// [`Profile::PROGRAM_HASH`].
    pub const fn program_hash(self) -> [u8; 32] {
        match self {
            Self::Linux612 => Linux612::PROGRAM_HASH,
            Self::Linux618 => Linux618::PROGRAM_HASH,
            Self::Linux7 => Linux7::PROGRAM_HASH,
        }
    }

    /// The one of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|release| release.name() == name)
    }

    /// The one that a kernel follows, by the release that it states (`uname -r`). `None` for a kernel that follows none: before
    /// 6.12, and 6.15 to 6.17, which have the CWR rule of 6.18 and the identification rule of 6.12.
    pub fn of_kernel(release: &str) -> Option<Self> {
        let mut numbers = release.split(|sign: char| !sign.is_ascii_digit()).map(str::parse::<u32>);
        match (numbers.next()?.ok()?, numbers.next()?.ok()?) {
            (6, 12..=14) => Some(Self::Linux612),
            (6, 18 | 19) => Some(Self::Linux618),
            (7, _) => Some(Self::Linux7),
            _ => None,
        }
    }
}

/// Frames of one NAPI poll (`NAPI_POLL_WEIGHT`).
pub const POLL_BUDGET: u32 = 64;

/// From this many jiffies a second on, a poll that used its budget keeps the packets of the current jiffy (`napi_poll`,
/// net/core/dev.c).
pub const FINE_HZ: u32 = 1000;

/// What an administrator sets on a device, at run time, and what the kernel was built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Bytes a merged IPv6 packet stays below, from the network header on: 1 to [`Config::MAX_SIZE`]. Over 65,536 it is
    /// BIG TCP.
    pub gro_max_size: u32,
    /// The same for IPv4, and for what stands behind an in-band VLAN tag.
    pub gro_ipv4_max_size: u32,
    /// `gro_flush_timeout` in nanoseconds; 0 delivers everything at the end of each poll. Other values keep packets
    /// of the current jiffy until the timer, which is an input ([`crate::Event::Tick`]).
    pub flush_timeout: u32,
    /// Jiffies a second (`CONFIG_HZ`).
    pub hz: u32,
    /// What becomes of UDP.
    pub udp: UdpMode,
    /// Where VLAN tags are.
    pub vlan: VlanMode,
    /// Which encapsulations GRO looks into: a set of the bits in [`tunnel`].
    pub tunnels: u32,
}

/// Encapsulations that [`Config::tunnels`] names.
pub mod tunnel {
    /// IP in IP, either version in either: IPIP, SIT, 4in6, 6in6. A kernel merges them without a device.
    pub const IP_IN_IP: u32 = 1;
    /// GRE, and Ethernet in GRE. A kernel merges it without a device.
    pub const GRE: u32 = 2;
    /// VXLAN. A kernel merges it in a namespace with such a device: its socket says which port.
    pub const VXLAN: u32 = 4;
    /// Geneve, in a namespace with such a device.
    pub const GENEVE: u32 = 8;
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

/// What the device does with the outer VLAN tag (`rx-vlan-hw-parse` of ethtool).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum VlanMode {
    /// It is in the metadata. A tag in the bytes is no IP to GRO, as in a kernel without `CONFIG_VLAN_8021Q`.
    #[default]
    Stripped = 0,
    /// Tags are in the bytes, up to two of them, and GRO looks behind them.
    InBand = 1,
}

impl Config {
    /// The kernel's defaults, at 250 jiffies a second and without a tunnel device.
    pub const DEFAULT: Self = Self {
        gro_max_size: LEGACY_MAX_SIZE,
        gro_ipv4_max_size: LEGACY_MAX_SIZE,
        flush_timeout: 0,
        hz: 250,
        udp: UdpMode::Off,
        vlan: VlanMode::Stripped,
        tunnels: tunnel::IP_IN_IP | tunnel::GRE,
    };

    /// The largest config the tc datapath can run: it cannot build a larger packet.
    pub const TC: Self = Self { gro_max_size: 15_000, gro_ipv4_max_size: 15_000, ..Self::DEFAULT };

    /// The largest sizes that rtnetlink takes (`GSO_MAX_SIZE`, include/linux/netdevice.h).
    pub const MAX_SIZE: u32 = 8 * 65_535;

    /// The jiffy of a time in nanoseconds, modulo 2^32. 0 jiffies a second count as 1.
    pub const fn jiffies(&self, time_ns: u64) -> u32 {
        let hz = if self.hz == 0 { 1 } else { self.hz as u64 };
        let (seconds, rest) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
        (seconds.wrapping_mul(hz).wrapping_add(rest * hz / 1_000_000_000)) as u32
    }

    /// Bytes that the packet a segment joins stays below (`skb_gro_receive`, net/core/gro.c).
    #[inline(always)]
    pub(crate) fn max_size<P: Profile>(&self, packet: &Packet) -> u32 {
        let ipv6 = packet.is_ipv6_to_device();
        let rule = if ipv6 { Rule::Ipv6MaxSize } else { Rule::Ipv4MaxSize };
        let limit = if ipv6 { self.gro_max_size } else { self.gro_ipv4_max_size };
        let limit = if P::on(rule) { limit } else { Self::MAX_SIZE };
        if limit <= LEGACY_MAX_SIZE {
            return limit;
        }
        let legacy = packet.udp != 0 && P::on(Rule::LegacyMaxSize) || packet.loses_headers::<P>();
        if legacy { LEGACY_MAX_SIZE } else { limit }
    }

    /// Whether a poll of this many frames leaves the packets of the current jiffy (`napi_poll` and `napi_complete_done`,
    /// net/core/dev.c).
    #[inline(always)]
    pub(crate) fn keeps_young<P: Profile>(&self, poll_frames: u32) -> bool {
        if poll_frames >= POLL_BUDGET && P::on(Rule::Budget) {
            self.hz >= FINE_HZ
        } else {
            self.flush_timeout != 0 && poll_frames > 0 && P::on(Rule::Age)
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// `GRO_LEGACY_MAX_SIZE` (include/linux/netdevice.h): from here on only TCP grows.
pub(crate) const LEGACY_MAX_SIZE: u32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_has_the_profile_of_its_release() {
        assert_eq!(Release::of_kernel("6.18.44"), Some(Release::Linux618));
        assert_eq!(Release::of_kernel("6.12.9-amd64"), Some(Release::Linux612));
        assert_eq!(Release::of_kernel("7.0-rc3"), Some(Release::Linux7));
        for unknown in ["6.1.0", "6.16.2", "5.10.4", "6", "", "linux"] {
            assert_eq!(Release::of_kernel(unknown), None, "{unknown}");
        }
        assert!(Release::ALL.into_iter().all(|release| Release::by_name(release.name()) == Some(release)));
    }

    #[test]
    fn jiffies_count_without_overflow() {
        let config = Config { hz: 1000, ..Config::DEFAULT };
        assert_eq!((config.jiffies(999_999), config.jiffies(1_000_000)), (0, 1));
        assert_eq!(Config::DEFAULT.jiffies(7_999_999), 1);
        config.jiffies(u64::MAX);
        assert_eq!(Config { hz: 0, ..config }.jiffies(3_000_000_000), 3);
    }
}

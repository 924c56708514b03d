//! A private network namespace with two veth pairs: frames go in at one, results are captured behind the other.
//!
//! ```text
//!   injector ─► in0 ══ in1 (the program under test) ─► out0 ══ out1 (captured, then dropped)
//! ```
//!
//! The namespace belongs to one thread and goes when the thread does, however the process ends. Nothing is named outside
//! it, nothing is pinned.

mod capture;
mod jiffies;
mod tap;

pub use capture::{Capture, Captured};
pub use jiffies::Jiffies;
pub use tap::{TAP, Tap};

use gro_core::profile::tunnel;
use gro_core::{Config, UdpMode};
use gro_ebpf::device::rtnetlink::Rtnetlink;
use gro_ebpf::device::{ethtool, netns, sysfs};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use std::fs;
use std::io;
use std::time::Duration;

/// Interface that frames are injected into.
pub const INJECT: &str = "in0";
/// Interface they arrive at.
pub const INGRESS: &str = "in1";
/// Interface that deliveries are redirected to.
pub const DELIVER: &str = "out0";
/// Interface they are captured at.
pub const CAPTURE: &str = "out1";
/// The VXLAN device, where there is one. No packet gets to it: it is there for its socket, which GRO looks up.
const VXLAN: &str = "vx0";
/// Its port (RFC 7348 section 8).
const VXLAN_PORT: u16 = 4789;
/// Long enough for every packet of a comparison; a veth of MTU 1500 drops longer ones silently.
const MTU: u32 = 65_535;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The process may not.
    #[error("needs CAP_BPF and CAP_NET_ADMIN")]
    Capability,
    /// The kernel lacks something.
    #[error("this kernel has no {0}")]
    Unsupported(&'static str),
    /// A step failed.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The interfaces of the sandbox that this thread is in.
#[derive(Debug)]
pub struct Sandbox {
    /// Index of [`INJECT`].
    pub inject: u32,
    /// Index of [`INGRESS`].
    pub ingress: u32,
    /// Index of [`DELIVER`].
    pub deliver: u32,
    /// Index of [`CAPTURE`].
    pub capture: u32,
    /// The CPU that everything runs on.
    pub cpu: usize,
    /// Inode of the network namespace.
    pub netns: u32,
}

/// Runs `work` on a thread of its own, pinned to one CPU, inside a fresh sandbox.
pub fn run<T: Send, E: From<SandboxError> + Send>(
    work: impl FnOnce(&Sandbox) -> Result<T, E> + Send,
) -> Result<T, E> {
    let enter = || work(&Sandbox::enter()?);
    std::thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Sandbox {
    /// Moves the calling thread into a new namespace and builds the interfaces.
    fn enter() -> Result<Self, SandboxError> {
        let cpu = pin()?;
        // SAFETY: no memory is involved; only the calling thread's namespace changes.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::EPERM) => SandboxError::Capability,
                _ => SandboxError::Step { step: "making a network namespace", source: error },
            });
        }
        // Neighbour discovery would mix its packets into the capture. A kernel without IPv6 has no such file.
        for scope in ["all", "default"] {
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
        }
        let mut netlink = Rtnetlink::open().map_err(step("opening rtnetlink"))?;
        for (name, peer) in [(INJECT, INGRESS), (DELIVER, CAPTURE)] {
            netlink.add_veth(name, peer, MTU).map_err(|error| match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => SandboxError::Unsupported("veth"),
                _ => step("making a veth pair")(error),
            })?;
            for interface in [name, peer] {
                set_up(&mut netlink, index(interface)?).map_err(step("setting a veth up"))?;
            }
        }
        let netns = netns::current().map_err(step("looking up the namespace"))?;
        Ok(Self {
            inject: index(INJECT)?,
            ingress: index(INGRESS)?,
            deliver: index(DELIVER)?,
            capture: index(CAPTURE)?,
            cpu,
            // The kernel numbers namespaces with 32 bits.
            netns: netns as u32,
        })
    }

    /// Has the kernel's own GRO work on [`INGRESS`], under `config`. `gro_flush_timeout` is left to
    /// [`Self::set_flush_timeout`].
    pub fn switch_gro_on(&self, config: &Config) -> Result<(), SandboxError> {
        // A sender that could segment would keep the receiver from using NAPI (`veth_skb_is_eligible_for_gro`, veth.c).
        ethtool::set(INJECT, ethtool::Offload::Tso, false).map_err(step("switching TSO off"))?;
        ethtool::set(INGRESS, ethtool::Offload::Gro, true).map_err(step("switching GRO on"))?;
        if config.udp == UdpMode::Forwarding {
            ethtool::set_feature(INGRESS, "rx-udp-gro-forwarding", true)
                .map_err(step("switching UDP GRO on"))?;
        }
        let mut netlink = Rtnetlink::open().map_err(step("opening rtnetlink"))?;
        if config.tunnels & tunnel::VXLAN != 0 {
            netlink.add_vxlan(VXLAN, VXLAN_PORT).map_err(|error| match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => SandboxError::Unsupported("VXLAN"),
                _ => step("making a VXLAN device")(error),
            })?;
            set_up(&mut netlink, index(VXLAN)?).map_err(step("setting a VXLAN device up"))?;
        }
        // Two requests, IPv6 first: up to 65,536 the kernel sets both sizes to it (`netif_set_gro_max_size`, net/core/dev.c).
        let (ipv6, ipv4) = (config.gro_max_size, config.gro_ipv4_max_size);
        for size in [LinkAttribute::GroMaxSize(ipv6), LinkAttribute::GroIpv4MaxSize(ipv4)] {
            netlink.set_attributes(self.ingress, vec![size]).map_err(step("setting gro_max_size"))?;
        }
        Ok(())
    }

    /// Leaves segmentation and checksums of what goes out at [`DELIVER`] to the kernel, as for a device that has neither
    /// offload.
    pub fn switch_segmentation_off(&self) -> Result<(), SandboxError> {
        ethtool::set(DELIVER, ethtool::Offload::Tso, false).map_err(step("switching TSO off"))?;
        for feature in ["tx-udp-segmentation", "tx-checksum-ip-generic"] {
            ethtool::set_feature(DELIVER, feature, false).map_err(step("switching an offload off"))?;
        }
        Ok(())
    }

    /// The device's `gro_flush_timeout`, which is 0 otherwise.
    pub fn set_flush_timeout(&self, timeout: Duration) -> Result<(), SandboxError> {
        sysfs::set(INGRESS, "gro_flush_timeout", &timeout.as_nanos().to_string())
            .map_err(step("setting gro_flush_timeout"))
    }
}

/// Up, and without ARP, which would answer what is injected.
fn set_up(netlink: &mut Rtnetlink, index: u32) -> io::Result<()> {
    let flags = LinkFlags::Up | LinkFlags::Noarp;
    netlink.set_flags(index, flags, flags)
}

fn step(step: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |source| SandboxError::Step { step, source }
}

/// Pins the thread to the CPU it is on: per-CPU state and the backlog must be one CPU's.
fn pin() -> Result<usize, SandboxError> {
    // SAFETY: `set` is a plain bit set of the size that is passed.
    let result = unsafe {
        let cpu = libc::sched_getcpu();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        (cpu, libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set))
    };
    match result {
        (cpu, 0) if cpu >= 0 => Ok(cpu as usize),
        _ => Err(SandboxError::Step { step: "pinning a thread", source: io::Error::last_os_error() }),
    }
}

fn index(name: &'static str) -> Result<u32, SandboxError> {
    let text = std::ffi::CString::new(name).map_err(|error| SandboxError::Step {
        step: "naming an interface",
        source: io::Error::other(error),
    })?;
    // SAFETY: `text` is a terminated string.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(SandboxError::Step { step: "looking up an interface", source: io::Error::last_os_error() }),
        index => Ok(index),
    }
}

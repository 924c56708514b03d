//! The userspace engine between an interface and its stack.
//!
//! ```text
//!   IF ─► packet socket ─► ring ─► engine ─► TAP ─► tc ingress of the TAP ─► tc ingress of IF ─► the stack, as from IF
//! ```
//!
//! What arrives at the interface is read from a ring, merged, and written to a TAP device as packets with a segment size
//! (`virtio_net_hdr`), which a small program sends back to the interface's ingress; there the originals were dropped. For the host
//! nothing changes but the size of packets: addresses, routes, bridges and sockets stay with the interface. Unlike skbs that a
//! tc program grows, these packets can be forwarded, are longer than 15 KB, and may be datagrams.
//!
//! It lives as long as this process. When the process ends, in whatever way, its sockets end with it, no frame is taken any more and
//! none dropped; a process that does not work for a second gets no more frames.
//!
//! What a packet socket does not pass on is lost on the way: `skb->mark`, the receive timestamp and the NIC's hash.

mod coalescer;
mod flow_hash;
mod out;
mod player;
mod programs;
mod ring;
mod sys;
mod tap;
mod worker;

pub mod abi;

pub use coalescer::{Coalescer, Leaving};
pub use player::Player;

use crate::device::rtnetlink::Rtnetlink;
use crate::live::Hook;
use crate::live::{Mode, Snapshot, SnapshotConfig};
use crate::program::LoadError;
use abi::{ALREADY_MERGED, NOT_IP, PROTOCOL, UDP_OFF};
use aya::util::KernelVersion;
use gro_core::user::Engine;
use gro_core::{Bypass, Config, Linux7, Linux612, Linux618, Release, UdpMode};
use out::add_passed;
use programs::Programs;
use ring::Ring;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use sys::interface_request;
use tap::Tap;
use worker::Shared;

/// What to start.
#[derive(Clone, Debug)]
pub struct ViaTapOptions {
    /// The interface, of the calling thread's network namespace.
    pub interface: String,
    /// Name of the TAP device to make; a `%d` in it becomes the first free number.
    pub tap: String,
    /// Rings, engines and threads, among which flows are shared out: 1 to 256.
    pub queues: u32,
    /// The engine's config. Tunnels and a flush timeout are not used.
    pub config: Config,
    /// The rule set.
    pub profile: Release,
    /// Frames that a ring has room for, at least 1.
    pub ring_frames: u32,
}

/// Why it does not start, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum ViaTapError {
    /// The process may not.
    #[error("needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON: run as root")]
    Capability,
    /// There is no such interface.
    #[error("no interface {0} here: `ip link` lists them, and --netns names another namespace")]
    NoInterface(String),
    /// It is no Ethernet interface.
    #[error("{0} has no Ethernet header, which the way back through a TAP device needs")]
    NotEthernet(String),
    /// An option is out of range.
    #[error("{0}")]
    Option(String),
    /// The kernel lacks something.
    #[error("this kernel has no {0}")]
    Unsupported(&'static str),
    /// The programs were refused.
    #[error(transparent)]
    Load(LoadError),
    /// A step failed.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What is to merge does not start.
    #[error("{0}")]
    Coalescer(io::Error),
    /// It ended by itself.
    #[error("stopped: {0}")]
    Failed(String),
}

/// It runs until [`ViaTap::stop`] or until it is dropped.
pub struct ViaTap {
    programs: Programs,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    hook: Hook,
    /// The interface's namespace, to clean up in.
    netns: File,
    empty: Snapshot,
    tap: String,
    ended: bool,
}

/// Most threads.
const QUEUES_MAX: u32 = 256;
/// Time for the programs that run on other CPUs to end once the gate is shut.
const GRACE: Duration = Duration::from_millis(2);

impl ViaTap {
    /// Starts it, on TCX where the kernel has it.
    ///
    /// # Errors
    /// What is missing, with the cure; nothing is left behind.
    pub fn start(options: &ViaTapOptions) -> Result<Self, ViaTapError> {
        Self::start_at(options, best_hook())
    }

    /// Starts it on a hook.
    ///
    /// # Errors
    /// As [`ViaTap::start`].
    pub fn start_at(options: &ViaTapOptions, hook: Hook) -> Result<Self, ViaTapError> {
        match options.profile {
            Release::Linux612 => Self::run(options, hook, |_, config| Ok(Engine::<Linux612>::new(config))),
            Release::Linux618 => Self::run(options, hook, |_, config| Ok(Engine::<Linux618>::new(config))),
            Release::Linux7 => Self::run(options, hook, |_, config| Ok(Engine::<Linux7>::new(config))),
        }
    }

    /// Starts it with something else than the engine of this process. `make` is called for each queue, with its number and what it must
    /// be configured with: of a config, that of which everything can be delivered.
    ///
    /// # Errors
    /// As [`ViaTap::start`]; those of `make` are [`ViaTapError::Coalescer`].
    pub fn start_with<C: Coalescer + Send + 'static>(
        options: &ViaTapOptions,
        make: impl FnMut(u32, Config) -> io::Result<C>,
    ) -> Result<Self, ViaTapError> {
        Self::run(options, best_hook(), make)
    }

    fn run<C: Coalescer + Send + 'static>(
        options: &ViaTapOptions,
        hook: Hook,
        mut make: impl FnMut(u32, Config) -> io::Result<C>,
    ) -> Result<Self, ViaTapError> {
        let config = config(options)?;
        let coalescers = (0..options.queues).map(|queue| make(queue, config));
        let coalescers: Vec<C> = coalescers.collect::<io::Result<_>>().map_err(ViaTapError::Coalescer)?;
        let interface = &options.interface;
        let (ifindex, mtu) = ethernet(interface)?;
        let netns = File::open("/proc/thread-self/ns/net").map_err(step("opening the network namespace"))?;
        let inode = netns.metadata().map_err(step("looking up the network namespace"))?.ino();
        let (programs, gate) = Programs::load(ifindex, config.udp != UdpMode::Off)?;

        let tap = open_tap(&options.tap, options.queues, config.udp)?;
        let filter = programs.filter()?;
        let rings = (0..options.queues).map(|_| Ring::open(options.ring_frames, mtu, filter));
        let rings: Vec<Ring> = rings.collect::<io::Result<_>>().map_err(step("making a packet socket"))?;

        // Up to here nothing sees a frame; up to the opening of the gate every frame passes.
        let mut group = None;
        for ring in &rings {
            ring.bind(ifindex).map_err(step("binding a packet socket"))?;
            if rings.len() > 1 {
                group = Some(ring.join(group).map_err(step("sharing flows out among packet sockets"))?);
            }
        }
        let mut empty =
            Snapshot::new(interface, ifindex, inode, Mode::ViaTap, SnapshotConfig::new(&config, true));
        "packet".clone_into(&mut empty.hook);
        options.profile.name().clone_into(&mut empty.profile);
        for byte in options.profile.program_hash() {
            let _ = write!(empty.program_hash, "{byte:02x}");
        }
        empty.pid = Some(std::process::id());

        // SAFETY: plain system call; the result is checked.
        let wake =
            sys::owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }).map_err(step("making an eventfd"))?;
        let shared = Arc::new(Shared::new(options.queues, wake, gate));
        // From here on what is made is taken away, too, when a step fails.
        let mut this =
            Self { programs, shared, threads: Vec::new(), hook, netns, empty, tap: tap.name, ended: false };
        this.programs.attach(interface, &this.tap, hook)?;
        for (index, ((ring, queue), coalescer)) in
            rings.into_iter().zip(tap.queues).zip(coalescers).enumerate()
        {
            let shared = Arc::clone(&this.shared);
            let thread = std::thread::Builder::new()
                .name(format!("gro-via-{index}"))
                .spawn(move || worker::run(index, coalescer, ring, queue, &shared))
                .map_err(step("starting a thread"))?;
            this.threads.push(thread);
        }
        this.shared.gate.open(sys::monotonic_ns());
        Ok(this)
    }

    /// Name of the TAP device.
    pub fn tap(&self) -> &str {
        &self.tap
    }

    /// Whether it works. It ends by itself when the interface or the TAP device is taken away; [`ViaTap::stop`] then says why.
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// What was counted so far. Counters of a busy queue are up to 10 ms old, drops of a full ring up to 100 ms.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.empty.clone();
        let passed = self.programs.passed();
        for (why, reason) in
            [(Bypass::NotIp, NOT_IP), (Bypass::Protocol, PROTOCOL), (Bypass::UdpOff, UDP_OFF)]
        {
            let passed = passed[reason as usize];
            add_passed(&mut snapshot, why, passed.packets, passed.bytes);
        }
        snapshot.guards.already_merged = passed[ALREADY_MERGED as usize].packets;
        for (number, queue) in (0..).zip(&self.shared.queues) {
            queue.totals().add_to(number, &mut snapshot);
        }
        snapshot
    }

    /// Ends it: what arrived is delivered, then everything is taken away. Gives the last counters.
    ///
    /// # Errors
    /// [`ViaTapError::Failed`] when it had ended by itself.
    pub fn stop(mut self) -> Result<Snapshot, ViaTapError> {
        self.end();
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            None => Ok(self.snapshot()),
            Some(reason) => Err(ViaTapError::Failed(reason)),
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.shared.gate.shut();
        std::thread::sleep(GRACE);
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // It catches its own panics.
            let _ = thread.join();
        }
        match self.hook {
            // The links are file descriptors.
            Hook::Tcx => self.programs.detach(),
            Hook::Clsact => {
                let (programs, netns, ifindex) = (&mut self.programs, &self.netns, self.empty.ifindex);
                std::thread::scope(|scope| {
                    let detach = || {
                        // SAFETY: the descriptor is open; only this thread's namespace changes, and the thread ends.
                        if unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
                            programs.detach();
                            // It stays where others use it, or where the interface is gone.
                            let _ = Rtnetlink::remove_empty_clsact(ifindex);
                        }
                    };
                    let _ = scope.spawn(detach).join();
                });
            }
        }
    }
}

impl fmt::Debug for ViaTap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tap, hook, threads, .. } = self;
        let interface = &self.empty.interface;
        formatter
            .debug_struct("ViaTap")
            .field("interface", interface)
            .field("tap", tap)
            .field("hook", hook)
            .field("queues", &threads.len())
            .finish_non_exhaustive()
    }
}

impl Drop for ViaTap {
    fn drop(&mut self) {
        self.end();
    }
}

/// TCX came with Linux 6.6.
fn best_hook() -> Hook {
    let has_tcx = KernelVersion::current().is_ok_and(|kernel| kernel >= KernelVersion::new(6, 6, 0));
    if has_tcx { Hook::Tcx } else { Hook::Clsact }
}

/// Makes the TAP device.
fn open_tap(pattern: &str, queues: u32, udp: UdpMode) -> Result<Tap, ViaTapError> {
    let tap = Tap::open(pattern, queues).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            ViaTapError::Unsupported("TAP device: load the module `tun`, and look for /dev/net/tun")
        }
        Some(libc::EBUSY | libc::EINVAL) => {
            ViaTapError::Option(format!("no TAP device can be named {pattern}: choose another --tap"))
        }
        _ => step("making a TAP device")(error),
    })?;
    if udp != UdpMode::Off && !tap.takes_udp() {
        return Err(ViaTapError::Unsupported(
            "TAP device that takes merged datagrams (Linux 6.2): leave --udp out",
        ));
    }
    Ok(tap)
}

/// The engine's config, of which everything can be delivered.
fn config(options: &ViaTapOptions) -> Result<Config, ViaTapError> {
    let refuse = |text: String| Err(ViaTapError::Option(text));
    if !(1..=QUEUES_MAX).contains(&options.queues) {
        return refuse(format!("{} queues: 1 to {QUEUES_MAX} are possible", options.queues));
    }
    if options.ring_frames == 0 {
        return refuse("a ring of 0 frames: give it at least 1".to_owned());
    }
    deliverable(options.config)
}

/// A config of which everything can be delivered to a TAP device at the end of each poll.
///
/// # Errors
/// A packet may get longer than a TAP device takes.
pub fn deliverable(config: Config) -> Result<Config, ViaTapError> {
    let refuse = |text: String| Err(ViaTapError::Option(text));
    let Config { gro_max_size, gro_ipv4_max_size, .. } = config;
    for size in [gro_max_size, gro_ipv4_max_size] {
        if size == 0 || size > tap::LONGEST {
            let longest = tap::LONGEST;
            return refuse(format!(
                "a gro_max_size of {size}: a TAP device surely takes packets of up to {longest} bytes, so give 1 to {longest}"
            ));
        }
    }
    // A `virtio_net_hdr` has no form for a tunnel. Nothing is held over the end of a poll, since the slots of a ring are not.
    Ok(Config { tunnels: 0, flush_timeout: 0, hz: 250, vlan: gro_core::VlanMode::Stripped, ..config })
}

/// Index and MTU of an interface.
fn ethernet(interface: &str) -> Result<(u32, u32), ViaTapError> {
    const ETHERNET: libc::sa_family_t = 1;
    let request = |number: libc::Ioctl| {
        interface_request(interface, number, |_| {}).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => ViaTapError::NoInterface(interface.to_owned()),
            _ if error.kind() == io::ErrorKind::InvalidInput => ViaTapError::Option(error.to_string()),
            _ => step("looking up an interface")(error),
        })
    };
    // SAFETY: each request fills in the field that is read, and every bit pattern is a number.
    let (index, mtu, kind) = unsafe {
        (
            request(libc::SIOCGIFINDEX as libc::Ioctl)?.ifr_ifru.ifru_ifindex,
            request(libc::SIOCGIFMTU as libc::Ioctl)?.ifr_ifru.ifru_mtu,
            request(libc::SIOCGIFHWADDR as libc::Ioctl)?.ifr_ifru.ifru_hwaddr.sa_family,
        )
    };
    if kind != ETHERNET {
        return Err(ViaTapError::NotEthernet(interface.to_owned()));
    }
    Ok((index as u32, mtu as u32))
}

impl From<LoadError> for ViaTapError {
    fn from(error: LoadError) -> Self {
        match error {
            // It needs more of them than other programs.
            LoadError::Capability => Self::Capability,
            error => Self::Load(error),
        }
    }
}

fn step(step: &'static str) -> impl Fn(io::Error) -> ViaTapError {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ViaTapError::Capability,
        _ => ViaTapError::Step { step, source },
    }
}

//! The hosts and the wires between them.

use super::netlink::{self, End};
use super::{LiveError, step};
use gro_ebpf::device::ethtool::{self, Offload};
use gro_ebpf::device::rtnetlink::Rtnetlink;
use gro_ebpf::device::sysfs;
use gro_ebpf::{Forwarder, Impaired, Impairer, Impairment};
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The sender.
    A,
    /// What is between them, where there is something.
    Middle,
    /// The receiver.
    B,
}

/// What is between sender and receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Nothing.
    Direct,
    /// A wire that loses and reorders what the sender sends. What comes back is left alone.
    Impaired(Impairment),
    /// A router, whose `ma` then is the interface under test.
    Routed,
}

impl Wire {
    /// 1 % lost, 1 % late.
    pub const BAD: Self = Self::Impaired(Impairment { loss: 655, late: 655, seed: 1 });
}

/// What the hosts are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of an IP packet on every wire.
    pub mtu: u32,
    /// Whether the sender leaves TCP checksums to its device, which over veth nobody ever computes (`CHECKSUM_PARTIAL`).
    pub checksum_offload: bool,
    /// Receive queues of an interface, and transmit queues.
    pub queues: u32,
    /// CPUs that share what comes in at the receiver (RPS), one bit a CPU; 0 is off.
    pub rps_cpus: u64,
    /// What is between the hosts.
    pub wire: Wire,
}

impl Default for Options {
    fn default() -> Self {
        Self { mtu: 1_500, checksum_offload: false, queues: 1, rps_cpus: 0, wire: Wire::Direct }
    }
}

/// A network namespace.
#[derive(Debug)]
pub struct Host {
    namespace: File,
    inode: u64,
}

/// Hosts, wired, without GRO. Everything goes with this value, or with the process.
pub struct Topology {
    options: Options,
    a: Host,
    b: Host,
    middle: Option<Host>,
    impairer: Option<Impairer>,
    /// Keeps the way back open.
    _back: Option<Forwarder>,
}

impl Topology {
    /// Makes and wires the hosts. Senders put whole frames on the wire: no TSO. Fixed addresses and neighbours, so that the flows
    /// are all that is sent.
    ///
    /// # Errors
    /// [`LiveError::Capability`] without the rights, otherwise the step that failed.
    pub fn build(options: Options) -> Result<Self, LiveError> {
        let (a, b) = (Host::make()?, Host::make()?);
        let mut made = Self { options, a, b, middle: None, impairer: None, _back: None };
        if options.wire == Wire::Direct {
            made.join((Place::A, "a0"), (Place::B, "b0"))?;
        } else {
            made.middle = Some(Host::make()?);
            made.join((Place::A, "a0"), (Place::Middle, "ma"))?;
            made.join((Place::Middle, "mb"), (Place::B, "b0"))?;
        }
        for place in [Place::A, Place::B, Place::Middle] {
            if made.middle.is_some() || place != Place::Middle {
                made.host(place).within(|| made.furnish(place))?;
            }
        }
        if let Wire::Impaired(impairment) = options.wire {
            let (impairer, back) = made.host(Place::Middle).within(|| {
                let (ma, mb) = (index("ma")?, index("mb")?);
                let impairer = Impairer::attach("ma", ma, mb, impairment)?;
                Ok::<_, LiveError>((impairer, Forwarder::attach("mb", ma)?))
            })?;
            (made.impairer, made._back) = (Some(impairer), Some(back));
        }
        Ok(made)
    }

    /// What it was built with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A host.
    ///
    /// # Panics
    /// If there is nothing between the hosts and it is asked for.
    pub fn host(&self, place: Place) -> &Host {
        match (place, &self.middle) {
            (Place::A, _) => &self.a,
            (Place::B, _) => &self.b,
            (Place::Middle, Some(middle)) => middle,
            (Place::Middle, None) => panic!("there is nothing between the hosts"),
        }
    }

    /// The host whose GRO is under test, and its interface.
    pub fn under_test(&self) -> (&Host, &'static str) {
        match self.options.wire {
            Wire::Routed => (self.host(Place::Middle), "ma"),
            _ => (&self.b, "b0"),
        }
    }

    /// The host on which every frame for the receiver leaves in the order in which it arrives there, and its interface.
    pub fn last_hop(&self) -> (&Host, &'static str) {
        match self.options.wire {
            Wire::Impaired(_) => (self.host(Place::Middle), "mb"),
            _ => (&self.a, "a0"),
        }
    }

    /// The address of a sender or a receiver.
    pub fn address(&self, place: Place, ipv6: bool) -> IpAddr {
        address(place, self.options.wire == Wire::Routed, ipv6)
    }

    /// What the wire did so far; zeros of one that does nothing.
    ///
    /// # Errors
    /// The program's counters cannot be read.
    pub fn impaired(&self) -> Result<Impaired, LiveError> {
        Ok(self.impairer.as_ref().map(Impairer::counts).transpose()?.unwrap_or_default())
    }

    fn join(&self, near: (Place, &str), far: (Place, &str)) -> Result<(), LiveError> {
        let end = |(place, name): (Place, &'static str)| End {
            name,
            mac: mac(name),
            mtu: self.options.mtu,
            queues: self.options.queues,
            namespace: self.host(place).namespace.as_raw_fd(),
        };
        let (near, far) = (end((near.0, known(near.1))), end((far.0, known(far.1))));
        Rtnetlink::open()
            .and_then(|mut socket| netlink::add_wire(&mut socket, &near, &far))
            .map_err(step(format!("wiring {} to {}", near.name, far.name)))
    }

    /// Offloads, addresses, neighbours and routes of a host, by a thread in it.
    fn furnish(&self, place: Place) -> Result<(), LiveError> {
        let interfaces: &[&'static str] = match place {
            Place::A => &["a0"],
            Place::B => &["b0"],
            Place::Middle => &["ma", "mb"],
        };
        let mut socket = Rtnetlink::open().map_err(step("opening rtnetlink"))?;
        for &name in interfaces {
            let set = |offload, on| {
                ethtool::set(name, offload, on).map_err(step(format!("setting {offload:?} of {name}")))
            };
            // A device without checksum offload has no segmentation offload either; GSO in software cuts before the wire.
            set(Offload::Tso, false)?;
            set(Offload::Gso, false)?;
            set(Offload::TxChecksum, self.options.checksum_offload)?;
            set(Offload::Gro, false)?;
            netlink::raise(&mut socket, index(name)?).map_err(step(format!("setting {name} up")))?;
        }
        self.share(place)?;
        let routed = self.options.wire == Wire::Routed;
        if routed && place == Place::Middle {
            for (path, value) in [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")] {
                super::sysctl::set(path, value)?;
            }
        }
        let own: &[(&'static str, Place)] = match place {
            Place::A => &[("a0", Place::A)],
            Place::B => &[("b0", Place::B)],
            Place::Middle if routed => &[("ma", Place::A), ("mb", Place::B)],
            Place::Middle => &[],
        };
        for &(name, side) in own {
            let index = index(name)?;
            for ipv6 in [false, true] {
                let own = if place == Place::Middle { gateway(side, ipv6) } else { self.address(side, ipv6) };
                let other = match (place, routed, side) {
                    (Place::Middle, ..) => self.address(side, ipv6),
                    (_, true, _) => gateway(side, ipv6),
                    (_, false, Place::A) => self.address(Place::B, ipv6),
                    (_, false, _) => self.address(Place::A, ipv6),
                };
                netlink::add_address(&mut socket, index, own, if ipv6 { 64 } else { 24 })
                    .map_err(step(format!("giving {name} the address {own}")))?;
                netlink::add_neighbour(&mut socket, index, other, mac(self.facing(name)))
                    .map_err(step(format!("naming the neighbour {other} of {name}")))?;
                if routed && place != Place::Middle {
                    netlink::add_default_route(&mut socket, index, other)
                        .map_err(step(format!("routing by way of {other}")))?;
                }
            }
        }
        Ok(())
    }

    /// RPS at the interface under test.
    fn share(&self, place: Place) -> Result<(), LiveError> {
        let under_test =
            if self.options.wire == Wire::Routed { (Place::Middle, "ma") } else { (Place::B, "b0") };
        if self.options.rps_cpus == 0 || place != under_test.0 {
            return Ok(());
        }
        for queue in 0..self.options.queues {
            let attribute = format!("queues/rx-{queue}/rps_cpus");
            sysfs::set(under_test.1, &attribute, &format!("{:x}", self.options.rps_cpus))
                .map_err(step(format!("setting {attribute}")))?;
        }
        Ok(())
    }

    /// Whose address frames from an interface carry: a wire that impairs has none of its own.
    fn facing(&self, name: &str) -> &'static str {
        match (self.options.wire, name) {
            (Wire::Routed, "a0") => "ma",
            (Wire::Routed, "b0") => "mb",
            (_, "a0" | "mb") => "b0",
            _ => "a0",
        }
    }
}

impl Host {
    /// A namespace of its own, silent: no IPv6 address but those that are given, nobody asked whether they are free.
    fn make() -> Result<Self, LiveError> {
        let make = || {
            // SAFETY: no memory is involved; only the calling thread's namespace changes.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(step("making a network namespace")(io::Error::last_os_error()));
            }
            let quiet = [
                ("addr_gen_mode", "1"),
                ("router_solicitations", "0"),
                ("accept_dad", "0"),
                ("accept_ra", "0"),
            ];
            for scope in ["all", "default"] {
                for (name, value) in quiet {
                    // A kernel without IPv6 is as silent as can be.
                    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/{name}"), value);
                }
                // What comes in by a TAP device is answered by the interface.
                super::sysctl::set(&format!("ipv4/conf/{scope}/rp_filter"), "0")?;
            }
            Rtnetlink::open()
                .and_then(|mut socket| netlink::raise(&mut socket, 1))
                .map_err(step("setting a loopback interface up"))?;
            let namespace = File::open("/proc/thread-self/ns/net").map_err(step("opening a namespace"))?;
            let inode = namespace.metadata().map_err(step("looking up a namespace"))?.ino();
            Ok(Self { namespace, inode })
        };
        on_a_thread(make)
    }

    /// Inode of the network namespace.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The namespace as a path that other processes can open while this one lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()))
    }

    /// Moves the calling thread into the namespace, for good. Processes that it starts are in it, too.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(&self) -> Result<(), LiveError> {
        // SAFETY: the descriptor is open; the call changes nothing but this thread's namespace.
        match unsafe { libc::setns(self.namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
            0 => Ok(()),
            _ => Err(step("entering a namespace")(io::Error::last_os_error())),
        }
    }

    /// Runs `work` on a thread of its own inside.
    ///
    /// # Errors
    /// Those of `work`, and a namespace that cannot be entered.
    pub fn within<T: Send, E: From<LiveError> + Send>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        on_a_thread(|| {
            self.enter()?;
            work()
        })
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Index of an interface of this thread's namespace.
pub(super) fn index(name: &str) -> Result<u32, LiveError> {
    let text = std::ffi::CString::new(name).map_err(|error| step("naming an interface")(error.into()))?;
    // SAFETY: `text` is a terminated string.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(step(format!("looking up {name}"))(io::Error::last_os_error())),
        index => Ok(index),
    }
}

const INTERFACES: [&str; 4] = ["a0", "ma", "mb", "b0"];

fn known(name: &str) -> &'static str {
    INTERFACES.into_iter().find(|&known| known == name).unwrap_or("a0")
}

/// A locally administered address, told apart by the interface.
fn mac(name: &str) -> [u8; 6] {
    let number = INTERFACES.iter().position(|&known| known == name).unwrap_or(0);
    [2, 0, 0, 0, 0, 0x0a + number as u8]
}

fn address(place: Place, routed: bool, ipv6: bool) -> IpAddr {
    let net = u8::from(routed && place == Place::B);
    let host = if place == Place::A { 1 } else { 2 };
    numbered(net, host, ipv6)
}

/// The router's address on the wire of a host.
fn gateway(side: Place, ipv6: bool) -> IpAddr {
    numbered(u8::from(side == Place::B), 254, ipv6)
}

/// Of 10.99.0.0/16 and fd99::/16, which are private.
fn numbered(net: u8, host: u8, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0xfd99, net.into(), 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, 99, net, host).into()
    }
}

//! Two hosts and a box between them, each a network namespace that goes away with its value.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

/// Namespaces of one recording: host A, the forwarder M, host B.
///
/// A's `a0` is wired to M's `ma`, B's `b0` to M's `mb`. Dropping the value deletes all of it.
pub(super) struct Namespaces {
    prefix: String,
    families: Families,
}

/// The IP versions of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Families {
    V4,
    V6,
    Both,
}

impl Families {
    /// Whether each is IPv6.
    pub(super) fn each(self) -> impl Iterator<Item = bool> {
        [false, true].into_iter().filter(move |&v6| self == Self::Both || (self == Self::V6) == v6)
    }
}

/// The hosts and the box between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    A,
    B,
    Middle,
}

impl Namespaces {
    /// Makes and wires the namespaces: MTU 1500, senders without checksum and segmentation offload, nobody with GRO,
    /// fixed addresses and neighbours, so that the flows are all that is sent.
    pub(super) fn create(name: &str, families: Families) -> Result<Self> {
        // SAFETY: no arguments, no memory.
        let user = unsafe { libc::geteuid() };
        ensure!(user == 0, "recording needs root: network namespaces and BPF; try `sudo`");
        install_tools()?;
        // Dropped, and so cleaned up, also when a step below fails.
        let made = Self { prefix: format!("gro-trace-{}-{name}", std::process::id()), families };
        for place in [Place::A, Place::Middle, Place::B] {
            ip(&["netns", "add", &made.name(place)])?;
            made.within(place, || sysctls(place, families != Families::V4))?;
            ip(&["-n", &made.name(place), "link", "set", "dev", "lo", "up"])?;
        }
        made.wire(Place::A, "a0", "ma")?;
        made.wire(Place::B, "b0", "mb")?;
        Ok(made)
    }

    /// The namespace's name.
    pub(super) fn name(&self, place: Place) -> String {
        let suffix = match place {
            Place::A => "a",
            Place::B => "b",
            Place::Middle => "m",
        };
        format!("{}-{suffix}", self.prefix)
    }

    /// A host's address.
    pub(super) fn address(&self, place: Place, v6: bool) -> &'static str {
        match (v6, place) {
            (false, Place::A) => "10.99.0.1",
            (false, _) => "10.99.0.2",
            (true, Place::A) => "fd99::1",
            (true, _) => "fd99::2",
        }
    }

    /// Moves the calling thread into a namespace, for good.
    pub(super) fn enter(&self, place: Place) -> Result<()> {
        let path = format!("/run/netns/{}", self.name(place));
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        // SAFETY: the descriptor is open; the call changes nothing but this thread's namespace.
        let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        ensure!(result == 0, "cannot enter {path}: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Runs `work` on a thread inside a namespace.
    pub(super) fn within<T: Send>(&self, place: Place, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter(place)?;
                work()
            });
            thread.join().unwrap_or_else(|_| bail!("a thread in {} panicked", self.name(place)))
        })
    }

    fn wire(&self, place: Place, device: &str, peer: &str) -> Result<()> {
        let (host, middle) = (self.name(place), self.name(Place::Middle));
        let (own, other) = if place == Place::A { (MAC_A, MAC_B) } else { (MAC_B, MAC_A) };
        ip(&[
            "link", "add", device, "netns", &host, "address", own, "mtu", "1500", "type", "veth", "peer",
            "name", peer, "netns", &middle, "mtu", "1500",
        ])?;
        for (namespace, device) in [(&host, device), (&middle, peer)] {
            let off = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];
            let command = ["netns", "exec", namespace.as_str(), "ethtool", "-K", device];
            ip(&[&command[..], &off[..]].concat())?;
        }
        ip(&["-n", &middle, "link", "set", "dev", peer, "up"])?;
        ip(&["-n", &host, "link", "set", "dev", device, "up"])?;
        let far = if place == Place::A { Place::B } else { Place::A };
        for v6 in self.families.each() {
            let (length, nodad): (_, &[&str]) = if v6 { (64, &["nodad"]) } else { (24, &[]) };
            let address = format!("{}/{length}", self.address(place, v6));
            ip(&[&["-n", host.as_str(), "address", "add", &address, "dev", device], nodad].concat())?;
            let far = self.address(far, v6);
            ip(&[
                "-n",
                &host,
                "neighbour",
                "replace",
                far,
                "lladdr",
                other,
                "dev",
                device,
                "nud",
                "permanent",
            ])?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for place in [Place::A, Place::B, Place::Middle] {
            // Deleting a namespace deletes its devices, their peers and what is attached to them.
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.name(place)])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

const MAC_A: &str = "02:00:00:00:00:0a";
const MAC_B: &str = "02:00:00:00:00:0b";

/// Keeps IPv6 quiet: none at all, or no link-local addresses, solicitations and duplicate detection.
fn sysctls(place: Place, v6: bool) -> Result<()> {
    let silent = place == Place::Middle || !v6;
    let settings: &[(&str, &str)] = if silent {
        &[("disable_ipv6", "1")]
    } else {
        &[("addr_gen_mode", "1"), ("router_solicitations", "0"), ("accept_dad", "0"), ("accept_ra", "0")]
    };
    for scope in ["all", "default"] {
        for (name, value) in settings {
            let path = format!("/proc/sys/net/ipv6/conf/{scope}/{name}");
            // A kernel without IPv6 is as silent as can be.
            if std::path::Path::new(&path).exists() {
                std::fs::write(&path, value).with_context(|| format!("cannot write {path}"))?;
            }
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output =
        Command::new("ip").args(arguments).stdin(Stdio::null()).output().context("cannot run `ip`")?;
    ensure!(
        output.status.success(),
        "`ip {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Installs iproute2 and ethtool where they are missing and this is a Debian-like system.
fn install_tools() -> Result<()> {
    let missing: Vec<&str> = [("ip", "-V", "iproute2"), ("ethtool", "--version", "ethtool")]
        .into_iter()
        .filter(|(tool, version, _)| {
            Command::new(tool).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        })
        .map(|(.., package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let installed = Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing)
        .stdout(Stdio::null())
        .status();
    match installed {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("{} missing and apt-get cannot install it; install it by hand", missing.join(" and ")),
    }
}

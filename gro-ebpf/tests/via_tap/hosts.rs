//! Hosts for a test: network namespaces that belong to threads, and end with them, however the test ends.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A network namespace, in which work is done on request.
pub(crate) struct Host {
    /// `None` once it ends.
    work: Option<Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<JoinHandle<()>>,
    /// Path of the namespace, for `ip link set netns`.
    path: String,
}

/// Why tests of this kind cannot run here, if they cannot.
pub(crate) fn missing() -> Option<&'static str> {
    // SAFETY: no arguments, no memory.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root: network namespaces and BPF");
    }
    let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok();
    match (has_ip, std::path::Path::new("/dev/net/tun").exists()) {
        (false, _) => Some("needs the command `ip` (iproute2)"),
        (_, false) => Some("needs /dev/net/tun"),
        _ => None,
    }
}

impl Host {
    pub(crate) fn new() -> Self {
        let (work, requests) = channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: no memory is involved; only this thread's namespace changes.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "unshare: {}", io::Error::last_os_error());
            // SAFETY: plain system call.
            let thread = unsafe { libc::gettid() };
            tell.send(format!("/proc/{}/task/{thread}/ns/net", std::process::id())).unwrap();
            requests.into_iter().for_each(|work| work());
        });
        let path = told.recv().expect("a network namespace can be made");
        Self { work: Some(work), thread: Some(thread), path }
    }

    /// Does something inside.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let work = Box::new(move || tell.send(work()).unwrap());
        self.work.as_ref().unwrap().send(work).expect("the host is there");
        told.recv().expect("the work does not panic")
    }

    /// Does something inside, on a thread of its own.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.run(move || std::thread::spawn(work))
    }

    /// Runs a command inside.
    pub(crate) fn command(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let mut words = line.split_whitespace();
            let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {errors}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// Wires a new veth `own` to a new `peer` of another host, both up and of this MTU.
    pub(crate) fn wire(&self, own: &str, other: &Self, peer: &str, mtu: u32) {
        let path = &other.path;
        self.command(&format!(
            "ip link add {own} mtu {mtu} type veth peer name {peer} mtu {mtu} netns {path}"
        ));
        self.command(&format!("ip link set {own} up"));
        other.command(&format!("ip link set {peer} up"));
    }

    /// Gives an interface an address with its length.
    pub(crate) fn address(&self, interface: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.command(&format!("ip address add {address} dev {interface} {nodad}"));
    }

    /// Switches an offload (the number of an `ETHTOOL_S*` request of linux/ethtool.h).
    pub(crate) fn offload(&self, interface: &'static str, request: u32, on: bool) {
        self.run(move || ethtool(interface, request, on)).unwrap();
    }

    /// Sets a sysctl under /proc/sys/net.
    pub(crate) fn sysctl(&self, name: &'static str, value: &'static str) {
        self.run(move || std::fs::write(format!("/proc/sys/net/{name}"), value)).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.work.take());
        let _ = self.thread.take().unwrap().join();
    }
}

/// `ethtool -K DEVICE tx`
pub(crate) const TX_CHECKSUM: u32 = 0x17;
/// `ethtool -K DEVICE tso`
pub(crate) const TSO: u32 = 0x1f;

fn ethtool(interface: &str, request: u32, on: bool) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: plain system call; the result is checked.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    assert!(raw >= 0);
    // SAFETY: `raw` is a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut value = [request, u32::from(on)];
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    // SAFETY: the request names a terminated name and a command that outlives it.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

//! The two offloads that a sandbox switches (the `ETHTOOL_S*` requests of linux/ethtool.h).

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// An offload, by the number of the request that sets it.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Offload {
    /// `ethtool -K DEVICE tso`
    Tso = 0x1f,
    /// `ethtool -K DEVICE gro`
    Gro = 0x2c,
}

/// Sets an offload of an interface of this thread's namespace.
pub(super) fn set(interface: &str, offload: Offload, on: bool) -> io::Result<()> {
    /// linux/ethtool.h
    #[repr(C)]
    struct EthtoolValue {
        cmd: u32,
        data: u32,
    }

    // SAFETY: plain system call; the result is checked.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` is a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let name = CString::new(interface)?;
    let mut value = EthtoolValue { cmd: offload as u32, data: u32::from(on) };
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The zero behind the name stays.
    for (to, &from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.as_bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a terminated interface name and a value of the size that both commands take, which outlives it.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// linux/sockios.h; not in every version of the libc crate.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

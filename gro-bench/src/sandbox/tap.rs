//! A TAP device: what is written to it comes in at its interface (Documentation/networking/tuntap.rst).

use super::{SandboxError, index, set_up, step};
use gro_core::user::VirtioNetHdr;
use gro_ebpf::device::rtnetlink::Rtnetlink;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::mem::zeroed;
use std::os::fd::AsRawFd as _;

/// Interface of the TAP device.
pub const TAP: &str = "tap0";

/// A TAP device that takes a [`VirtioNetHdr`] before each frame. It goes with this value.
#[derive(Debug)]
pub struct Tap {
    device: File,
}

impl Tap {
    /// Makes the device in this thread's network namespace, and sets it up.
    ///
    /// # Errors
    /// [`SandboxError::Unsupported`] without TUN/TAP or with one that cannot segment UDP (Linux 6.2 can),
    /// [`SandboxError::Capability`] without the rights.
    pub fn open() -> Result<Self, SandboxError> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
                    SandboxError::Unsupported("TAP device: /dev/net/tun is missing")
                }
                Some(libc::EPERM | libc::EACCES) => SandboxError::Capability,
                _ => step("opening /dev/net/tun")(error),
            }
        })?;
        let tap = Self { device };
        tap.attach().map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => SandboxError::Capability,
            _ => step("making a TAP device")(error),
        })?;
        // As `VirtioNetHdr::to_bytes` writes it, on a machine of either byte order.
        let little: libc::c_int = 1;
        // SAFETY: the request reads an int, which outlives it.
        let set = unsafe { libc::ioctl(tap.device.as_raw_fd(), libc::TUNSETVNETLE, &raw const little) };
        if set != 0 {
            return Err(step("setting the byte order of a TAP device")(io::Error::last_os_error()));
        }
        // Who offers to read UDP packets with a segment size has a kernel that also takes them.
        let offloads = libc::c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6);
        // SAFETY: the request's argument is a plain number.
        let set = unsafe { libc::ioctl(tap.device.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) };
        if set != 0 {
            return Err(SandboxError::Unsupported("TAP device with UDP segmentation"));
        }
        let index = index(TAP)?;
        Rtnetlink::open()
            .and_then(|mut netlink| set_up(&mut netlink, index))
            .map_err(step("setting a TAP device up"))?;
        Ok(tap)
    }

    /// Has a frame come in at the interface.
    ///
    /// # Errors
    /// `EINVAL` ([`io::ErrorKind::InvalidInput`]) when the kernel refuses what the header says of the frame.
    pub fn write(&mut self, header: VirtioNetHdr, frame: &[u8]) -> io::Result<()> {
        let header = header.to_bytes();
        // A packet is what one call writes.
        let written = self.device.write_vectored(&[IoSlice::new(&header), IoSlice::new(frame)])?;
        match written == header.len() + frame.len() {
            true => Ok(()),
            false => Err(io::Error::other("a TAP device took half a packet")),
        }
    }

    fn attach(&self) -> io::Result<()> {
        let name = CString::new(TAP)?;
        // SAFETY: all-zero is a valid request.
        let mut request: libc::ifreq = unsafe { zeroed() };
        for (to, &from) in request.ifr_name.iter_mut().zip(name.as_bytes_with_nul()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        // SAFETY: the request is a complete structure with a terminated name, and outlives the call.
        match unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

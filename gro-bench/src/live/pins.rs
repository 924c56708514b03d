//! A BPF file system of this process's own.

use super::{LiveError, step};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr::null;

/// A BPF file system that is mounted nowhere: other processes reach it by way of this one's descriptor. It goes with this value,
/// however the process ends, and with it what is pinned there.
#[derive(Debug)]
pub struct Pins {
    root: OwnedFd,
    /// What the kernel itself pinned (`CONFIG_BPF_PRELOAD`).
    preloaded: Vec<String>,
}

impl Pins {
    /// Makes one.
    ///
    /// # Errors
    /// [`LiveError::Capability`] without the rights.
    pub fn make() -> Result<Self, LiveError> {
        let make = || {
            // SAFETY: the name is a terminated string; the result is checked.
            let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"bpf".as_ptr(), FSOPEN_CLOEXEC) })?;
            let (raw, none) = (context.as_raw_fd(), null::<libc::c_char>());
            // SAFETY: this command takes neither key nor value.
            if unsafe { libc::syscall(libc::SYS_fsconfig, raw, COMMAND_CREATE, none, none, 0) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: plain system call; the result is checked.
            owned(unsafe { libc::syscall(libc::SYS_fsmount, raw, FSOPEN_CLOEXEC, 0) })
        };
        let root = make().map_err(step("making a BPF file system"))?;
        let mut pins = Self { root, preloaded: Vec::new() };
        pins.preloaded = pins.entries()?;
        Ok(pins)
    }

    /// A directory for `gro attach --pin`, which makes it.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// What is there, by name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn entries(&self) -> Result<Vec<String>, LiveError> {
        let read = || {
            let entries = fs::read_dir(self.path())?;
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()
        };
        let mut entries = read().map_err(step("reading a BPF file system"))?;
        entries.retain(|name| !self.preloaded.contains(name));
        Ok(entries)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.root.as_raw_fd()))
    }
}

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const COMMAND_CREATE: libc::c_uint = 6;

fn owned(raw: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(raw) {
        // SAFETY: the system call gave it to nobody else.
        Ok(raw) if raw >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(raw) }),
        _ => Err(io::Error::last_os_error()),
    }
}

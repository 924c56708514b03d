//! Attributes of interfaces that no netlink request tells or sets in every release (sysfs-class-net-queues, sysfs(5)).

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr::null;

/// Writes an attribute of an interface of this thread's network namespace.
///
/// `/sys` belongs to the namespace in which it was mounted. This is a mount of its own that is attached nowhere: it goes with its
/// descriptor, however the process ends.
pub fn set(interface: &str, attribute: &str, value: &str) -> io::Result<()> {
    let sysfs = mount(c"sysfs")?;
    let path = CString::new(format!("class/net/{interface}/{attribute}"))?;
    // SAFETY: `path` is a terminated string.
    let raw = unsafe { libc::openat(sysfs.as_raw_fd(), path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    File::from(owned(raw.into())?).write_all(value.as_bytes())
}

/// Reads an attribute of every receive queue of an interface of this thread's network namespace.
///
/// A process that may not mount (CAP_SYS_ADMIN) reads `/sys`, and cannot have changed its namespace either.
pub fn of_receive_queues(interface: &str, attribute: &str) -> io::Result<Vec<String>> {
    let sysfs = mount(c"sysfs").ok();
    let root = match &sysfs {
        Some(descriptor) => PathBuf::from(format!("/proc/thread-self/fd/{}", descriptor.as_raw_fd())),
        None => PathBuf::from("/sys"),
    };
    queues(&root.join("class/net").join(interface).join("queues"), attribute)
}

fn queues(folder: &Path, attribute: &str) -> io::Result<Vec<String>> {
    let mut values = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("rx-") {
            values.push(fs::read_to_string(entry.path().join(attribute))?.trim().to_owned());
        }
    }
    Ok(values)
}

/// A detached mount of a file system without options (fsopen(2), fsmount(2)); Linux 5.2.
fn mount(kind: &CStr) -> io::Result<OwnedFd> {
    const CLOEXEC: libc::c_uint = 1;
    const COMMAND_CREATE: libc::c_uint = 6;
    // SAFETY: `kind` is a terminated string; the results are checked.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    let raw = context.as_raw_fd();
    let none = null::<libc::c_char>();
    // SAFETY: this command takes neither key nor value.
    if unsafe { libc::syscall(libc::SYS_fsconfig, raw, COMMAND_CREATE, none, none, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain system call; the result is checked.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, raw, CLOEXEC, 0) })
}

/// A new descriptor that a system call gave.
fn owned(raw: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(raw) {
        // SAFETY: the system call gave it to nobody else.
        Ok(raw) if raw >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(raw) }),
        _ => Err(io::Error::last_os_error()),
    }
}

//! Network namespaces: which one the calling thread is in, and how to enter another.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Why a namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// There is none of that name.
    #[error(
        "there is no network namespace {0}: `ip netns list` shows those that have a name; a path such as /proc/PID/ns/net is taken, too"
    )]
    Missing(String),
    /// The process may not.
    #[error("entering network namespace {0} needs CAP_SYS_ADMIN: run as root")]
    Capability(String),
    /// The file is no namespace, or something else happened.
    #[error("network namespace {name}: {source}")]
    System {
        /// As it was asked for.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The number (inode) of the calling thread's network namespace.
pub fn current() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

/// Runs `work` on a thread of its own inside a network namespace: a name of `ip netns`, or a path if it has a slash. The calling
/// thread stays where it is.
pub fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    let enter = || enter(name).map(|()| work());
    std::thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Moves the calling thread.
fn enter(name: &str) -> Result<(), NetnsError> {
    let path = if name.contains('/') { PathBuf::from(name) } else { PathBuf::from("/run/netns").join(name) };
    let file = File::open(path).map_err(|source| explain(name, source))?;
    // SAFETY: no memory is involved; only the calling thread's namespace changes.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(explain(name, io::Error::last_os_error())),
    }
}

fn explain(name: &str, source: io::Error) -> NetnsError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => NetnsError::Missing(name),
        Some(libc::EPERM | libc::EACCES) => NetnsError::Capability(name),
        // What setns(2) says of a file that is something else.
        Some(libc::EINVAL) => {
            NetnsError::System { name, source: io::Error::other("this file is no network namespace") }
        }
        _ => NetnsError::System { name, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_entered_and_left_by_the_end_of_the_thread() {
        let before = current().unwrap();
        match within("/proc/self/ns/net", current) {
            Ok(inside) => assert_eq!(inside.unwrap(), before),
            Err(NetnsError::Capability(_)) => eprintln!("skipped: needs CAP_SYS_ADMIN"),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(current().unwrap(), before);
    }

    #[test]
    fn says_what_is_wrong_with_a_name() {
        let message = |name| within(name, || ()).unwrap_err().to_string();
        assert!(message("gro-test-none").contains("ip netns list"));
        assert!(message("/dev/null").contains("network namespace /dev/null"));
    }
}

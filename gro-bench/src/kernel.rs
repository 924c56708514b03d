//! What the running kernel is.

use gro_core::Release;
use std::fs;

/// The profile that the running kernel follows.
///
/// # Errors
/// In words, when this is no Linux or none of the profiles was compared with this release.
pub fn profile() -> Result<Release, String> {
    let release = release().ok_or("this is not Linux")?;
    Release::of_kernel(&release).ok_or_else(|| format!("no profile matches Linux {release}"))
}

/// As `uname -r` says it.
pub fn release() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(text.trim().to_owned())
}

/// Jiffies a second: the coarse clock moves once a jiffy. `None` where there is no such clock.
#[cfg(target_os = "linux")]
pub fn hz() -> Option<u32> {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure it is given.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    let nanoseconds = u32::try_from(resolution.tv_nsec).ok().filter(|&ns| result == 0 && ns > 0)?;
    Some((1_000_000_000 + nanoseconds / 2) / nanoseconds)
}

/// Whether the kernel has a function of this name.
#[cfg(target_os = "linux")]
pub fn has_function(name: &str) -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    symbols.lines().any(|line| line.split_ascii_whitespace().nth(2) == Some(name))
}

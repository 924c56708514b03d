//! Kernel settings (sysctl(8)): those of this thread's network namespace, and one of the machine, put back afterwards.

use super::{LiveError, step};
use std::fs;

/// Writes `/proc/sys/net/PATH` of this thread's network namespace.
///
/// # Errors
/// The kernel has no such setting, or refuses.
pub fn set(path: &str, value: &str) -> Result<(), LiveError> {
    fs::write(format!("/proc/sys/net/{path}"), value).map_err(step(format!("setting net/{path}")))
}

/// A setting of the machine. Dropping it puts the old value back, also after a panic.
#[derive(Debug)]
pub struct Lent {
    path: String,
    old: String,
}

impl Lent {
    /// Sets it until the value is dropped.
    ///
    /// # Errors
    /// The kernel has no such setting, or refuses.
    pub fn set(path: &str, value: &str) -> Result<Self, LiveError> {
        let old = fs::read_to_string(format!("/proc/sys/net/{path}"))
            .map_err(step(format!("reading net/{path}")))?;
        set(path, value)?;
        Ok(Self { path: path.to_owned(), old: old.trim().to_owned() })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Err(error) = set(&self.path, &self.old) {
            eprintln!("net/{} is not back at {}: {error}; set it by hand", self.path, self.old);
        }
    }
}

//! What the kernel logs meanwhile (Documentation/ABI/testing/dev-kmsg).

use super::{LiveError, step};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

/// The kernel's log from a moment on.
#[derive(Debug)]
pub struct KernelLog {
    device: File,
}

impl KernelLog {
    /// From now on.
    ///
    /// # Errors
    /// `/dev/kmsg` cannot be read.
    pub fn watch() -> Result<Self, LiveError> {
        let mut device = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .map_err(step("opening /dev/kmsg"))?;
        device.seek(SeekFrom::End(0)).map_err(step("going to the end of /dev/kmsg"))?;
        Ok(Self { device })
    }

    /// The warnings since then, or since they were last asked for, without the one that is known ([`KNOWN`]).
    pub fn warnings(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        // A record is what one read gives.
        let mut buffer = vec![0; 1 << 14];
        loop {
            match self.device.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    found.extend(warning(&String::from_utf8_lossy(&buffer[..length])));
                }
                // Records that were overwritten before they were read.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {
                    found.push("(records of the kernel's log were lost)".to_owned());
                }
                _ => return found,
            }
        }
    }
}

/// The kernel says once per boot that somebody merges packets without a segment size, which in-place delivery does
/// (`tcp_gro_dev_warn`, net/ipv4/tcp_input.c).
pub const KNOWN: &str = "Driver has suspect GRO implementation";

/// `LEVEL,NUMBER,TIME,…;TEXT`: the text, if the level is a warning or worse, or the text begins a report of one.
fn warning(record: &str) -> Option<String> {
    /// `KERN_WARNING`, in the lowest three bits.
    const WARNING: u32 = 4;
    const REPORTS: [&str; 5] = ["WARNING:", "BUG:", "Oops", "Call Trace", "general protection"];
    let (head, text) = record.split_once(';')?;
    let level = head.split(',').next()?.parse::<u32>().ok()? & 7;
    let text = text.lines().next().unwrap_or_default();
    let is_bad = level <= WARNING || REPORTS.iter().any(|report| text.contains(report));
    (is_bad && !text.contains(KNOWN)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_warnings_from_talk() {
        assert_eq!(warning("6,339,5140900,-;NET: Registered\n SUBSYSTEM=x"), None);
        assert_eq!(warning("4,339,5140900,-;odd thing\n"), Some("odd thing".to_owned()));
        assert_eq!(warning("12,339,5140900,-;user's\n"), Some("user's".to_owned()));
        assert_eq!(warning("6,1,1,-;Call Trace:"), Some("Call Trace:".to_owned()));
        assert_eq!(warning("4,1,1,-;TCP: b0: Driver has suspect GRO implementation, TCP…"), None);
        assert_eq!(warning("nonsense"), None);
    }
}

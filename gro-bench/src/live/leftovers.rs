//! What an attachment leaves behind, which must be nothing.

use super::topology::Topology;
use super::{LiveError, Pins, step};
use gro_ebpf::Census;
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The machine's BPF objects and the qdiscs of the host under test, before.
#[derive(Clone, Debug)]
pub struct Before {
    census: Census,
    qdiscs: Vec<String>,
}

/// The kernel frees programs, maps and links a while after their last user is gone.
const PATIENCE: Duration = Duration::from_secs(5);

impl Before {
    /// Takes stock.
    ///
    /// # Errors
    /// Missing rights, or no tc(8).
    pub fn take(topology: &Topology) -> Result<Self, LiveError> {
        // The first BPF file system has the kernel load programs of its own (`CONFIG_BPF_PRELOAD`).
        drop(Pins::make()?);
        Ok(Self { census: Census::take()?, qdiscs: qdiscs(topology)? })
    }

    /// What is there now and was not before, in words. Others on the machine may load programs meanwhile; what goes within a few
    /// seconds is not told.
    ///
    /// # Errors
    /// As of [`Before::take`].
    pub fn left(&self, topology: &Topology, pins: &Pins) -> Result<Vec<String>, LiveError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut left = Census::take()?.beyond(&self.census);
            left.extend(
                qdiscs(topology)?
                    .into_iter()
                    .filter(|line| !self.qdiscs.contains(line))
                    .map(|line| format!("qdisc: {line}")),
            );
            left.extend(pins.entries()?.into_iter().map(|name| format!("pin: {name}")));
            if left.is_empty() || Instant::now() >= end {
                return Ok(left);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Every qdisc of the host under test.
fn qdiscs(topology: &Topology) -> Result<Vec<String>, LiveError> {
    topology.under_test().0.within(|| {
        let output = Command::new("tc")
            .args(["qdisc", "show"])
            .stdin(Stdio::null())
            .output()
            .map_err(step("running `tc`, of the package iproute2"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(step("tc qdisc show")(io::Error::other(text)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(|line| line.trim().to_owned()).collect())
    })
}

//! The userspace engine between an interface and a TAP device.

use crate::live::Snapshot;
use gro_core::{Config, Release};

/// What runs, where and how.
#[derive(Clone, Debug)]
pub struct ViaTapOptions {
    /// Interface of the calling thread's namespace.
    pub interface: String,
    /// Name of the TAP device; `%d` in it becomes a number.
    pub tap: String,
    /// Queues, each with an engine and a thread.
    pub queues: u32,
    /// The engine's config.
    pub config: Config,
    /// Rule set.
    pub profile: Release,
    /// Frames that the ring of a queue has room for.
    pub ring_frames: u32,
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum ViaTapError {
    /// This build cannot.
    #[error("delivery via TAP is not built yet")]
    NotBuilt,
}

/// The running engine. It lives no longer than this value.
#[derive(Debug)]
pub struct ViaTap(());

impl ViaTap {
    /// Starts in the network namespace of the calling thread.
    pub fn start(_options: &ViaTapOptions) -> Result<Self, ViaTapError> {
        Err(ViaTapError::NotBuilt)
    }

    /// Name of the TAP device.
    pub fn tap(&self) -> &str {
        ""
    }

    /// Whether it works. It ends by itself when the interface or the TAP device is taken away; [`ViaTap::stop`] then says why.
    pub fn is_running(&self) -> bool {
        false
    }

    /// What it counted.
    pub fn snapshot(&self) -> Snapshot {
        let config = crate::live::SnapshotConfig::new(&Config::DEFAULT, true);
        Snapshot::new("", 0, 0, crate::live::Mode::ViaTap, config)
    }

    /// Delivers what is held and removes the TAP device.
    pub fn stop(self) -> Result<Snapshot, ViaTapError> {
        Err(ViaTapError::NotBuilt)
    }
}

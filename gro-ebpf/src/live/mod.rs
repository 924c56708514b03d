//! live
#[cfg(target_os = "linux")]
mod attachment;
#[cfg(target_os = "linux")]
mod drain;
#[cfg(target_os = "linux")]
mod pinned;
mod snapshot;
#[cfg(target_os = "linux")]
pub use attachment::{Attachment, Hook, LiveError, Options};
pub use snapshot::{Carriers, CpuSnapshot, Guards, Mode, Rates, Snapshot, SnapshotConfig, Snapshots};

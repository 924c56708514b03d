//! The engine on live traffic: attachments, their counters, and what surrounds them.
//!
//! - [`Snapshot`]: what an attachment counted, as plain data; [`prometheus`] writes it for a scraper.
//! - [`preflight`]: what stands in the way of an attachment to an interface, why, and the cure.
//! - [`offloads`]: switches what is needed, and back again.
//! - [`registry`]: finds and detaches what is attached, by its [`pins`] or its agent.
//! - [`Attachment`]: the tc program at the ingress of an interface, whose pins outlive the command.
//! - [`agent`]: what a command that stays does: ticks, signals, snapshots on request.
//!
//! All but the data is Linux only.

pub mod prometheus;
mod snapshot;

#[cfg(target_os = "linux")]
pub mod agent;
#[cfg(target_os = "linux")]
mod attachment;
#[cfg(target_os = "linux")]
mod drain;
#[cfg(target_os = "linux")]
mod loaded;
#[cfg(target_os = "linux")]
pub mod offloads;
#[cfg(target_os = "linux")]
mod pinned;
#[cfg(target_os = "linux")]
pub mod pins;
#[cfg(target_os = "linux")]
pub mod preflight;
#[cfg(target_os = "linux")]
pub mod registry;

#[cfg(target_os = "linux")]
pub use attachment::{Attachment, Hook, LiveError, Options};
#[cfg(target_os = "linux")]
pub use loaded::{Activity, LoadedProgram, committed_tag};
pub use snapshot::{Carriers, CpuSnapshot, Guards, Mode, Rates, Snapshot, SnapshotConfig, Snapshots};

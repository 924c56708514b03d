//! The engine on live traffic: what an attachment counted, as plain data ([`Snapshot`]).

mod snapshot;

pub use snapshot::{Carriers, CpuSnapshot, Guards, Mode, Rates, Snapshot, SnapshotConfig, Snapshots};

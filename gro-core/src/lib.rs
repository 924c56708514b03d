//! Generic receive offload as a pure state machine.
//!
//! The core decides, a datapath acts: [`receive`] looks at the headers of one frame, compares them with the packets
//! that are held, and tells a [`Datapath`] what to do with the bytes. The same function is compiled into the tc program,
//! the NIC firmware and the userspace engine, so equal decisions are a property of one call site.
//!
//! The modules stand in the order in which a frame meets them.
//!
//! Contract: no panic, no allocation, no recursion, no clock (time is an argument), payload is never read here.
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "user"))]
extern crate alloc;

pub mod window;
// parse: header bytes -> words
pub mod parse;
// same flow? may it join?
pub mod coalesce;
pub mod flow;
pub mod reason;
pub mod rule;
pub mod table;
// what leaves
pub mod checksum;
pub mod complete;
// the driver that every backend runs
pub mod datapath;
pub mod digest;
mod leave;
pub mod profile;
mod shortcut;
mod state;
pub mod stats;

#[cfg(feature = "burst")]
pub mod user;

pub use complete::{Merged, Patch};
pub use datapath::{
    Datapath, EVENT_STEPS, Event, GroResult, Input, Meta, Payload, State, begin, event, receive, release,
    step,
};
pub use parse::{Packet, Parsed};
pub use profile::{
    Config, Linux7, Linux612, Linux618, Plain, Profile, Release, UdpMode, VlanMode, program_hash,
    source_hash, tunnel,
};
pub use reason::{Bypass, FlushReason};
pub use rule::Rule;
pub use shortcut::{follow, receive_follower};
pub use table::{BUCKETS, Bucket, Buckets, DEPTH, Hand, Slot, Table};
pub use window::{ALIGN, HEADER_MAX, Header, STORAGE, Window};

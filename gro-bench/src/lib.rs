//! The harness: traces, every backend, digests and their comparison.
//!
//! A [`Backend`] runs a [`trace::Trace`] under an [`EngineConfig`] and gives an [`Outcome`]: the packets that left, in order. Two
//! backends are equal when the digests of their outcomes are; [`compare()`] names the first difference in words.

pub mod backend;
pub mod budget;
mod compare;
pub mod determinism;
pub mod explain;
pub mod fuzz;
pub mod host_stack;
pub mod image_fuzz;
pub mod kernel;
#[cfg(target_os = "linux")]
pub mod live;
pub mod mutants;
mod outcome;
pub mod report;
pub mod round_trip;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod schedule;
pub mod segment;
pub mod trace;
mod verify;

pub use backend::{Backend, BackendError, EngineConfig};
pub use compare::{Difference, compare};
pub use outcome::{Cost, Outcome, Record, hex, rule_name};
pub use verify::{CONFIGS, Options, verify};

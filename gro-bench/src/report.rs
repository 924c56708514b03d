//! The result of `gro verify`, as data; the JSON schema is these types.

use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// Everything one `verify` found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The rule set of our engine.
    pub profile: &'static str,
    /// Whether every backend that ran agreed on every trace.
    pub equal: bool,
    /// Required backends that did not run everywhere they could, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// One row per trace and config.
    pub runs: Vec<Run>,
}

/// One trace under one config.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The trace's name.
    pub trace: String,
    /// `tc` or `default`.
    pub config: &'static str,
    /// Frames that went in.
    pub frames: usize,
    /// By name.
    pub backends: BTreeMap<&'static str, Side>,
    /// Whether all that ran agreed.
    pub equal: bool,
    /// The first difference, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// Number of the frame at which it begins, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_differing_frame: Option<u32>,
}

/// One backend's part of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Side {
    /// It ran.
    Ran {
        /// Packets that came out.
        packets: usize,
        /// The engine's running digest, 16 hexadecimal digits.
        #[serde(skip_serializing_if = "Option::is_none")]
        decision_digest: Option<String>,
        /// SHA-256 over what came out.
        output_digest: String,
        /// Wall time in nanoseconds, harness included.
        wall_ns: u64,
        /// Device instructions.
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<u64>,
        /// Device cycles.
        #[serde(skip_serializing_if = "Option::is_none")]
        cycles: Option<u64>,
    },
    /// This machine or build cannot run it.
    Skipped {
        /// Why.
        why: String,
    },
    /// It cannot run under this config.
    NotApplicable {
        /// Why.
        why: String,
    },
    /// It went wrong.
    Failed {
        /// Why.
        why: String,
    },
}

impl Report {
    /// The process's exit code: 0 equal, 1 different, 2 trouble.
    pub fn exit_code(&self) -> u8 {
        let failed = |run: &Run| run.backends.values().any(|side| matches!(side, Side::Failed { .. }));
        if !self.missing.is_empty() || self.runs.iter().any(failed) { 2 } else { u8::from(!self.equal) }
    }
}

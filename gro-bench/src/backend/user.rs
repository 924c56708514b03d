//! Backend `user`: the userspace datapath of gro-core.

use super::{Backend, BackendError, EngineConfig, Mutant, jiffies, vlan_word};
use crate::trace::Trace;
use crate::{Cost, Outcome, Record};
use bytes::Bytes;
use gro_core::user::{Delivered, Engine};
use gro_core::{Linux618, Meta, Profile};
use std::time::Instant;

/// The userspace reference.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserBackend;

impl Backend for UserBackend {
    fn name(&self) -> &'static str {
        "user"
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        Ok(match engine.mutant {
            None => run::<Linux618>(trace, engine),
            Some(Mutant::Window) => run::<AcceptsWindow>(trace, engine),
            Some(Mutant::Ece) => run::<AcceptsEce>(trace, engine),
        })
    }
}

fn run<P: Profile>(trace: &Trace, engine: &EngineConfig) -> Outcome {
    let start = Instant::now();
    let mut records = Vec::with_capacity(trace.frames.len() / 2);
    let mut sink = |packet: Delivered| records.push(record(packet));
    let mut verdicts = Vec::with_capacity(trace.frames.len());
    let mut user = Engine::<P>::new(engine.config);
    for poll in &trace.polls {
        user.set_time(jiffies(poll.time_ns));
        for frame in &trace.frames[poll.frames.clone()] {
            let meta = Meta { hash: frame.hash, vlan: vlan_word(frame.vlan), verified: false };
            verdicts.push(user.receive(frame.bytes.clone(), meta, &mut sink));
        }
        user.poll_end(&mut sink);
    }
    user.flush(&mut sink);
    let decision_digest = Some(user.state().digest.value());
    let cost = Cost { wall_ns: start.elapsed().as_nanos() as u64, instructions: None, cycles: None };
    Outcome { records, decision_digest, verdicts: Some(verdicts), cost }
}

fn record(packet: Delivered) -> Record {
    let bytes = if packet.segments.is_empty() { packet.header.clone() } else { Bytes::from(packet.to_vec()) };
    Record {
        bytes,
        gso_size: u32::from(packet.gso_size),
        segs: packet.segs,
        gso_type: packet.gso_type,
        vlan: packet.meta.vlan,
        first: Some(packet.first),
        last: Some(packet.last),
        why: packet.why.name(),
    }
}

/// Mutant: the window may differ.
struct AcceptsWindow;

impl Profile for AcceptsWindow {
    const NAME: &'static str = "mutant-window";
    const PROGRAM_HASH: [u8; 32] = [0; 32];
    const CONTROL_EQUAL: u32 = Linux618::CONTROL_EQUAL & !0xffff;
    const CONTROL_ALONE: u32 = Linux618::CONTROL_ALONE;
    const FIXED_ID_NEEDS_DF: bool = Linux618::FIXED_ID_NEEDS_DF;
}

/// Mutant: ECE may differ.
struct AcceptsEce;

impl Profile for AcceptsEce {
    const NAME: &'static str = "mutant-ece";
    const PROGRAM_HASH: [u8; 32] = [0; 32];
    const CONTROL_EQUAL: u32 = Linux618::CONTROL_EQUAL & !0x0040_0000;
    const CONTROL_ALONE: u32 = Linux618::CONTROL_ALONE;
    const FIXED_ID_NEEDS_DF: bool = Linux618::FIXED_ID_NEEDS_DF;
}

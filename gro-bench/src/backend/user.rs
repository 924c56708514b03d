//! Backend `user`: the userspace datapath of gro-core, in bursts, and `user-plain`: the core alone, frame by frame.

use super::{Backend, BackendError, EngineConfig, in_band, vlan_word};
use crate::outcome::verdicts;
use crate::schedule::{Step, schedule};
use crate::trace::Trace;
use crate::{Cost, Outcome, Record};
use bytes::Bytes;
use gro_core::user::burst::{Frame, Memory, Packet, Queue, Summed};
use gro_core::user::{Delivered, Engine};
use gro_core::{Linux7, Linux612, Linux618, Meta, Plain, Profile, Release, Rule};
use std::cell::Cell;
use std::time::Instant;

/// The userspace reference.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserBackend;

impl Backend for UserBackend {
    fn name(&self) -> &'static str {
        "user"
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        let in_band = in_band(trace, &engine.config);
        let trace = in_band.as_ref().unwrap_or(trace);
        match (engine.mutant, engine.profile) {
            (None, Release::Linux612) => bursts::<Linux612>(trace, engine),
            (None, Release::Linux618) => bursts::<Linux618>(trace, engine),
            (None, Release::Linux7) => bursts::<Linux7>(trace, engine),
            (Some(rule), Release::Linux618) => {
                OFF.set(Some(rule));
                Ok(run::<Mutant>(trace, engine))
            }
            (Some(_), profile) => {
                let text = format!("mutants are of {}, not of {}", Linux618::NAME, profile.name());
                Err(BackendError::NotApplicable(text))
            }
        }
    }
}

/// The engine without any shortcut, which must decide the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainBackend;

impl Backend for PlainBackend {
    fn name(&self) -> &'static str {
        "user-plain"
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        let in_band = in_band(trace, &engine.config);
        let trace = in_band.as_ref().unwrap_or(trace);
        Ok(match engine.profile {
            Release::Linux612 => run::<Plain<Linux612>>(trace, engine),
            Release::Linux618 => run::<Plain<Linux618>>(trace, engine),
            Release::Linux7 => run::<Plain<Linux7>>(trace, engine),
        })
    }
}

/// Enough for any trace: packets that a flush timeout keeps may have many segments.
const CHUNKS: usize = 1024;

/// A poll is a burst.
fn bursts<P: Profile>(trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
    let start = Instant::now();
    let mut records = Vec::with_capacity(trace.frames.len() / 2);
    let mut sink = |packet: &Packet<'_>| records.push(copied(packet));
    let mut queue =
        Queue::<P, _, CHUNKS>::with_memory(engine.config, Box::new(Memory::EMPTY)).summed(Summed::Complete);
    let mut burst = Vec::new();
    let mut session = queue.session();
    for step in schedule(trace, &engine.config) {
        match step {
            Step::Poll { frames, jiffies } => {
                session.set_time(jiffies);
                burst.clear();
                burst.extend(
                    trace.frames[frames]
                        .iter()
                        .map(|frame| Frame::new(&frame.bytes).hash(frame.hash).vlan(vlan_word(frame.vlan))),
                );
                session.receive(&burst, &mut sink);
                session.poll_end(&mut sink);
            }
            Step::Tick { jiffies } => {
                session.set_time(jiffies);
                session.tick(&mut sink);
            }
        }
    }
    session.flush(&mut sink);
    drop(session);
    if queue.early() > 0 {
        let text = format!(
            "{} packets left early: a trace with more segments at once than a queue holds",
            queue.early()
        );
        return Err(BackendError::Failed(text));
    }
    let decision_digest = Some(queue.state().digest.value());
    let cost = Cost { wall_ns: start.elapsed().as_nanos() as u64, instructions: None, cycles: None };
    let verdicts = verdicts(&records, trace.frames.len());
    Ok(Outcome { records, decision_digest, verdicts, cost })
}

fn copied(packet: &Packet<'_>) -> Record {
    let bytes = match packet.iov() {
        [whole] => Bytes::copy_from_slice(whole),
        parts => parts.iter().flat_map(|part| part.iter()).copied().collect(),
    };
    Record {
        bytes,
        gso_size: u32::from(packet.gso_size()),
        segs: packet.segs(),
        gso_type: packet.gso_type(),
        vlan: packet.meta().vlan,
        first: Some(packet.first()),
        last: Some(packet.last()),
        why: Some(packet.why()),
    }
    .canonical()
}

fn run<P: Profile>(trace: &Trace, engine: &EngineConfig) -> Outcome {
    let start = Instant::now();
    let mut records = Vec::with_capacity(trace.frames.len() / 2);
    let mut sink = |packet: Delivered| records.push(record(packet));
    let mut verdicts = Vec::with_capacity(trace.frames.len());
    let mut user = Engine::<P>::new(engine.config);
    for step in schedule(trace, &engine.config) {
        match step {
            Step::Poll { frames, jiffies } => {
                user.set_time(jiffies);
                for frame in &trace.frames[frames] {
                    let meta = Meta { hash: frame.hash, vlan: vlan_word(frame.vlan), verified: false };
                    verdicts.push(user.receive(frame.bytes.clone(), meta, &mut sink));
                }
                user.poll_end(&mut sink);
            }
            Step::Tick { jiffies } => {
                user.set_time(jiffies);
                user.tick(&mut sink);
            }
        }
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
        why: Some(packet.why),
    }
    .canonical()
}

thread_local! {
    /// The rule that [`Mutant`] lacks on this thread.
    static OFF: Cell<Option<Rule>> = const { Cell::new(None) };
}

/// `linux-6.18` without one rule, chosen at run time.
struct Mutant;

impl Profile for Mutant {
    const NAME: &'static str = "mutant";
    const RELEASE: gro_core::Release = gro_core::Linux618::RELEASE;
    const PROGRAM_HASH: [u8; 32] = [0; 32];
    const CONTROL_EQUAL: u32 = Linux618::CONTROL_EQUAL;
    const CONTROL_ALONE: u32 = Linux618::CONTROL_ALONE;
    const FIXED_ID_NEEDS_DF: bool = Linux618::FIXED_ID_NEEDS_DF;
    const JUMBO_HEADER: bool = Linux618::JUMBO_HEADER;
    const CWR_TYPE: u32 = Linux618::CWR_TYPE;
    const SHORTCUT: bool = false;

    fn on(rule: Rule) -> bool {
        OFF.get() != Some(rule)
    }
}

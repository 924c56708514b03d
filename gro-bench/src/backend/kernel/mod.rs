//! Backend `kernel`: the running kernel's own GRO, the original that the others follow.
//!
//! ```text
//!   injector ─► in0 ══ in1, GRO on ─► packet socket ─► dropped at tc ingress
//!                        └─► observer (raw tracepoints): verdicts, segments, GSO type, checksum state
//! ```
//!
//! The injector sends the frames of a poll inside one BH-disabled section, so that one NAPI poll of `in1` sees all of them. The
//! bytes are those of the packet socket; what that cannot tell comes from the observer, and both are in one order because
//! `__netif_receive_skb_core` (net/core/dev.c) reports a packet and then hands it to the socket.
//!
//! It runs on any release and shows what that release does. The rules differ between releases; the profile that this crate's
//! engine is built with is `linux-6.18`.

mod record;
mod timed;

use super::{Backend, BackendError, EngineConfig, injected};
use crate::sandbox::{self, Capture, INGRESS, Sandbox};
use crate::schedule::schedule;
use crate::trace::Trace;
use crate::{Cost, Outcome, Record, kernel};
use gro_core::profile::POLL_BUDGET;
use gro_core::{Config, GroResult, VlanMode};
use gro_ebpf::abi::Target;
use gro_ebpf::{Injector, Observed, Observer};
use record::{record, verdict};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};
use timed::Timed;

/// The running kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelBackend;

/// A poll is done when the injector returns, unless the machine is so busy that a thread of the kernel takes it over.
const PATIENCE: Duration = Duration::from_secs(10);

impl Backend for KernelBackend {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        applicable(trace, engine)?;
        sandbox::run(|sandbox| Run::new(sandbox, engine)?.trace(trace, &engine.config))
    }
}

/// Refuses, before anything is built, what the way into the kernel cannot carry.
fn applicable(trace: &Trace, engine: &EngineConfig) -> Result<(), BackendError> {
    let refuse = |text: String| Err(BackendError::NotApplicable(text));
    match kernel::profile() {
        Ok(running) if running != engine.profile => {
            return refuse(format!(
                "this kernel has the rules of {}, not of {}",
                running.name(),
                engine.profile.name()
            ));
        }
        // It shows what it does; whoever compares it said which rules.
        _ => {}
    }
    let Config { vlan, hz, .. } = engine.config;
    if vlan == VlanMode::InBand && !kernel::has_function("vlan_gro_receive") {
        return refuse("rx_vlan_strip off: this kernel is built without VLAN_8021Q".into());
    }
    let running = kernel::hz();
    if running != Some(hz) {
        return refuse(format!("{hz} jiffies a second: this kernel has {}", running.unwrap_or(0)));
    }
    super::injectable(trace)?;
    match trace.polls.iter().map(|poll| poll.frames.len()).max() {
        Some(most) if most > POLL_BUDGET as usize => {
            Err(BackendError::Failed(format!("a poll of {most} frames; NAPI takes {POLL_BUDGET}")))
        }
        _ => Ok(()),
    }
}

struct Run<'a> {
    sandbox: &'a Sandbox,
    injector: Injector,
    observer: Observer,
    capture: Capture,
    records: Vec<Record>,
    verdicts: Vec<GroResult>,
    /// Frames sent.
    taken: usize,
    /// Frames in the packets that came out.
    out: usize,
}

impl<'a> Run<'a> {
    fn new(sandbox: &'a Sandbox, engine: &EngineConfig) -> Result<Self, BackendError> {
        sandbox.switch_gro_on(&engine.config)?;
        let mut injector = Injector::load()?;
        injector.sink(INGRESS)?;
        let observer = Observer::load(Target { ifindex: sandbox.ingress, netns: sandbox.netns })?;
        let capture = Capture::open(sandbox.ingress).map_err(|error| capturing(&error))?;
        let (records, verdicts) = (Vec::new(), Vec::new());
        Ok(Self { sandbox, injector, observer, capture, records, verdicts, taken: 0, out: 0 })
    }

    fn trace(mut self, trace: &Trace, config: &Config) -> Result<Outcome, BackendError> {
        let start = Instant::now();
        if config.flush_timeout == 0 {
            for poll in &trace.polls {
                self.poll(trace, poll.frames.clone())?;
                // Everything leaves at its end (`napi_complete_done`, net/core/dev.c).
                self.receive(self.taken)?;
            }
        } else {
            Timed::new(&mut self)?.run(trace, &schedule(trace, config))?;
        }
        let cost = Cost { wall_ns: start.elapsed().as_nanos() as u64, instructions: None, cycles: None };
        let verdicts = Some(self.verdicts);
        Ok(Outcome { records: self.records, decision_digest: None, verdicts, cost })
    }

    /// One NAPI poll.
    fn poll(&mut self, trace: &Trace, frames: Range<usize>) -> Result<(), BackendError> {
        let batch: Vec<_> = trace.frames[frames].iter().map(injected).collect();
        self.injector.send(self.sandbox.inject, &batch)?;
        self.taken += batch.len();
        Ok(())
    }

    /// Waits until GRO had all frames that were sent and `out` of them, or more, have come out; takes what came out.
    ///
    /// A poll whose last verdict is seen has ended: it ran on this CPU with BH disabled, where this thread could not run.
    fn receive(&mut self, out: usize) -> Result<(), BackendError> {
        let end = Instant::now() + PATIENCE;
        let mut packets = Vec::new();
        loop {
            match self.observer.next_event() {
                Some(Observed::Frame(result)) => self.verdicts.push(verdict(result)?),
                Some(Observed::Packet(packet)) => {
                    self.out += packet.segs as usize;
                    packets.push(packet);
                }
                None if self.verdicts.len() >= self.taken && self.out >= out => break,
                None if Instant::now() > end => return Err(self.miscounted()),
                None => std::thread::yield_now(),
            }
        }
        if self.verdicts.len() > self.taken || self.out > self.taken {
            return Err(self.miscounted());
        }
        let captured = self.capture.take(packets.len(), PATIENCE).map_err(|error| capturing(&error))?;
        for (packet, captured) in packets.into_iter().zip(captured) {
            self.records.push(record(packet, captured)?);
        }
        Ok(())
    }

    /// Whether GRO holds nothing.
    fn is_empty(&self) -> bool {
        self.out == self.taken
    }

    /// Takes back everything behind a moment at which it held nothing, as it does now.
    fn forget(&mut self, records: usize, frames: usize) {
        self.records.truncate(records);
        self.verdicts.truncate(frames);
        (self.taken, self.out) = (frames, frames);
    }

    fn miscounted(&self) -> BackendError {
        let (taken, verdicts) = (self.taken, self.verdicts.len());
        BackendError::Failed(format!("of {taken} frames, GRO took {verdicts} and delivered {}", self.out))
    }
}

fn clock(error: &io::Error) -> BackendError {
    BackendError::Failed(format!("reading the kernel's jiffies: {error}"))
}

fn capturing(error: &io::Error) -> BackendError {
    BackendError::Failed(format!("capturing: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Frame, Poll, Vlan};
    use bytes::Bytes;

    fn trace(bytes: Vec<u8>, vlan: Option<Vlan>, count: usize) -> Trace {
        let frame = Frame { time_ns: 0, bytes: Bytes::from(bytes), hash: 0, vlan };
        let polls = vec![Poll { time_ns: 0, frames: 0..count }];
        Trace { name: "t".into(), frames: vec![frame; count], polls }
    }

    fn refusal(trace: &Trace) -> Option<BackendError> {
        applicable(trace, &EngineConfig::of(Config::DEFAULT)).err()
    }

    #[test]
    fn refuses_what_cannot_enter_the_kernel() {
        let not_applicable = |trace| matches!(refusal(&trace), Some(BackendError::NotApplicable(_)));
        assert!(not_applicable(trace(vec![0; 13], None, 1)));
        assert!(not_applicable(trace(vec![0; 16_065], None, 1)));
        assert_eq!(refusal(&trace(vec![0; 14], None, 64)), None);
        assert_eq!(refusal(&trace(vec![0; 16_064], None, 1)), None);
        assert!(matches!(refusal(&trace(vec![0; 60], None, 65)), Some(BackendError::Failed(_))));

        let mut tagged = vec![0; 17];
        tagged[12] = 0x81;
        assert!(not_applicable(trace(tagged.clone(), None, 1)));
        assert_eq!(refusal(&trace(tagged, Some(Vlan { tpid: 0x8100, tci: 1 }), 1)), None);
    }

    #[test]
    fn the_shortest_and_the_longest_frame_come_back() {
        for len in [14, 15, 16_064] {
            let trace = trace(vec![0x55; len], Some(Vlan { tpid: 0x88a8, tci: 0 }), 64);
            let outcome = match KernelBackend.run(&trace, &EngineConfig::of(Config::DEFAULT)) {
                Err(BackendError::Skipped(why)) => return eprintln!("skipped: {why}"),
                outcome => outcome.unwrap(),
            };
            assert_eq!(outcome.records.len(), 64);
            let same = |record: &Record| record.bytes == trace.frames[0].bytes && record.vlan == 0x88a8_0000;
            assert!(outcome.records.iter().all(same), "{len}");
            assert_eq!(outcome.verdicts, Some(vec![GroResult::Normal; 64]));
        }
    }
}

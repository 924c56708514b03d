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

use super::{Backend, BackendError, EngineConfig, injected};
use crate::sandbox::{self, Capture, Captured, INGRESS, Sandbox};
use crate::trace::Trace;
use crate::{Cost, Outcome, Record, kernel};
use gro_core::profile::POLL_BUDGET;
use gro_core::{Config, GroResult, VlanMode, checksum};
use gro_ebpf::abi::Target;
use gro_ebpf::{Injector, Observed, Observer, Packet, Partial};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

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
        sandbox::run(|sandbox| Run::new(sandbox, engine)?.trace(trace))
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
    if engine.config.flush_timeout != 0 {
        return refuse("a flush timeout: the kernel's clock and its timer do not follow a trace".into());
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
}

impl<'a> Run<'a> {
    fn new(sandbox: &'a Sandbox, engine: &EngineConfig) -> Result<Self, BackendError> {
        sandbox.switch_gro_on(&engine.config)?;
        let mut injector = Injector::load()?;
        injector.sink(INGRESS)?;
        let observer = Observer::load(Target { ifindex: sandbox.ingress, netns: sandbox.netns })?;
        let capture = Capture::open(sandbox.ingress).map_err(|error| capturing(&error))?;
        Ok(Self { sandbox, injector, observer, capture, records: Vec::new(), verdicts: Vec::new() })
    }

    fn trace(mut self, trace: &Trace) -> Result<Outcome, BackendError> {
        let start = Instant::now();
        for poll in &trace.polls {
            self.poll(trace, poll.frames.clone())?;
        }
        let cost = Cost { wall_ns: start.elapsed().as_nanos() as u64, instructions: None, cycles: None };
        let verdicts = Some(self.verdicts);
        Ok(Outcome { records: self.records, decision_digest: None, verdicts, cost })
    }

    /// One NAPI poll. Without a flush timeout everything leaves at its end (`napi_complete_done`, net/core/dev.c), so that all
    /// frames have come out when it is over.
    fn poll(&mut self, trace: &Trace, frames: Range<usize>) -> Result<(), BackendError> {
        let batch: Vec<_> = trace.frames[frames].iter().map(injected).collect();
        self.injector.send(self.sandbox.inject, &batch)?;
        let end = Instant::now() + PATIENCE;
        let mut packets = Vec::new();
        let (mut verdicts, mut segs) = (0, 0);
        while verdicts < batch.len() || segs < batch.len() {
            match self.observer.next_event() {
                Some(Observed::Frame(result)) => {
                    self.verdicts.push(verdict(result)?);
                    verdicts += 1;
                }
                Some(Observed::Packet(packet)) => {
                    segs += packet.segs as usize;
                    packets.push(packet);
                }
                None if Instant::now() > end => {
                    let text = format!("of {} frames, GRO took {verdicts} and delivered {segs}", batch.len());
                    return Err(BackendError::Failed(text));
                }
                None => std::thread::yield_now(),
            }
        }
        let captured = self.capture.take(packets.len(), PATIENCE).map_err(|error| capturing(&error))?;
        for (packet, captured) in packets.into_iter().zip(captured) {
            self.records.push(record(packet, captured)?);
        }
        Ok(())
    }
}

/// The kernel's `gro_result` (include/linux/netdevice.h).
fn verdict(result: u32) -> Result<GroResult, BackendError> {
    match result {
        // GRO_MERGED, and GRO_MERGED_FREE: whether the skb's head was of use any more.
        0 | 1 => Ok(GroResult::Merged),
        2 => Ok(GroResult::Held),
        3 => Ok(GroResult::Normal),
        // GRO_CONSUMED: taken by asynchronous IPsec, which no sandbox has.
        _ => Err(BackendError::Failed(format!("GRO's verdict on a frame is {result}"))),
    }
}

/// The canonical form: the packet as delivered, but for a checksum that the kernel left to the NIC.
fn record(packet: Packet, captured: Captured) -> Result<Record, BackendError> {
    let Captured { mut bytes, vlan } = captured;
    let completed = packet.partial.is_none_or(|partial| complete(&mut bytes, partial).is_some());
    if packet.len as usize != bytes.len() || !completed {
        let text = format!("{packet:?} was captured with {} bytes", bytes.len());
        return Err(BackendError::Failed(text));
    }
    Ok(Record {
        bytes: bytes.into(),
        gso_size: packet.gso_size,
        segs: packet.segs,
        gso_type: packet.gso_type,
        vlan,
        first: None,
        last: None,
        why: None,
    })
}

/// Completes a `CHECKSUM_PARTIAL` field as `skb_checksum_help` (net/core/dev.c) does: the sum starts with the pseudo-header's,
/// which is in the field. `None` when the field lies outside.
///
/// What sums to 0xFFFF is written 0x0000 for TCP and left for UDP (RFC 768, where 0 means none).
fn complete(bytes: &mut [u8], Partial { start, offset }: Partial) -> Option<()> {
    const UDP_OFFSET: u32 = 6;
    let sum = gro_core::user::sum(bytes.get(start as usize..)?);
    let field = match checksum::field(u32::from(sum)) {
        0 if offset == UDP_OFFSET => 0xffff,
        field => field,
    };
    let at = (start + offset) as usize;
    bytes.get_mut(at..at + 2)?.copy_from_slice(&field.to_be_bytes());
    Some(())
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

        let engine = EngineConfig::of(Config { flush_timeout: 1, ..Config::DEFAULT });
        assert!(applicable(&trace(vec![0; 60], None, 1), &engine).is_err());
    }

    #[test]
    fn completes_to_the_right_zero() {
        // The field holds the pseudo-header's sum; the other word makes all of it 0xFFFF.
        let mut tcp = [0xaa, 0xff, 0xf0, 0, 0x0f];
        assert_eq!(complete(&mut tcp, Partial { start: 1, offset: 2 }), Some(()));
        assert_eq!(tcp, [0xaa, 0xff, 0xf0, 0, 0]);
        let mut udp = [0xff, 0xf0, 0, 0, 0, 0, 0, 0x0f];
        complete(&mut udp, Partial { start: 0, offset: 6 });
        assert_eq!(udp, [0xff, 0xf0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(complete(&mut tcp, Partial { start: 1, offset: 3 }), None);
        assert_eq!(complete(&mut tcp, Partial { start: 6, offset: 0 }), None);
    }

    #[test]
    fn knows_the_verdicts() {
        assert_eq!(verdict(1), verdict(0));
        assert_eq!((verdict(2), verdict(3)), (Ok(GroResult::Held), Ok(GroResult::Normal)));
        assert!(verdict(4).is_err());
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

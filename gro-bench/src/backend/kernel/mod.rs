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
//! It runs on any release and shows what that release does: it answers for the profile of that release, or for any where no
//! profile matches.

mod record;
mod timed;

use super::{Backend, BackendError, EngineConfig, in_band, injected};
use crate::sandbox::{self, Capture, INGRESS, Sandbox};
use crate::schedule::schedule;
use crate::trace::Trace;
use crate::{Cost, Outcome, Record, kernel};
use gro_core::profile::{FINE_HZ, POLL_BUDGET, tunnel};
use gro_core::{Config, GroResult, Release, VlanMode};
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
        let in_band = in_band(trace, &engine.config);
        let trace = in_band.as_ref().unwrap_or(trace);
        applicable(trace, engine, &Running::under(&engine.config))?;
        sandbox::run(|sandbox| Run::new(sandbox, engine)?.trace(trace, &engine.config))
    }
}

/// What the running kernel is, as far as a config asks for it.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// `None` for a release that no profile was compared with.
    profile: Option<Release>,
    /// `None` where it does not tell.
    hz: Option<u32>,
    /// Whether its GRO looks behind a VLAN tag in the bytes (`CONFIG_VLAN_8021Q`).
    in_band: bool,
}

impl Running {
    fn under(config: &Config) -> Self {
        // Its symbols are many: they are read only when it matters.
        let in_band = config.vlan == VlanMode::InBand && kernel::has_function("vlan_gro_receive");
        Self { profile: kernel::profile().ok(), hz: kernel::hz(), in_band }
    }
}

/// What every kernel looks into, without a device.
const ALWAYS: u32 = tunnel::IP_IN_IP | tunnel::GRE;

/// Refuses, before anything is built, what this kernel does not do and what the way into it cannot carry.
fn applicable(trace: &Trace, engine: &EngineConfig, running: &Running) -> Result<(), BackendError> {
    let refuse = |text: String| Err(BackendError::NotApplicable(text));
    match running.profile {
        Some(profile) if profile != engine.profile => {
            let (profile, asked) = (profile.name(), engine.profile.name());
            return refuse(format!("profile {asked}: this kernel has the rules of {profile}"));
        }
        // Of a release that no profile is of, it shows what it does; whoever compares it said which rules.
        _ => {}
    }
    // How long a jiffy is makes no difference here (`timed`); what does is which of the two rules of `napi_poll` it has.
    let Config { vlan, hz, tunnels, .. } = engine.config;
    match running.hz {
        Some(running) if (running >= FINE_HZ) == (hz >= FINE_HZ) => {}
        Some(running) => {
            return refuse(format!(
                "{hz} jiffies a second: this kernel has {running}, and a poll that uses its budget does something else from \
                 {FINE_HZ} on"
            ));
        }
        None => return refuse("this kernel does not tell how many jiffies a second it has".into()),
    }
    if vlan == VlanMode::InBand && !running.in_band {
        return refuse("rx_vlan_strip off: this kernel is built without VLAN_8021Q".into());
    }
    if tunnels & ALWAYS != ALWAYS {
        return refuse("tunnels without IP in IP or GRE: a kernel always merges them".into());
    }
    if tunnels & tunnel::GENEVE != 0 {
        return refuse("Geneve: the sandbox makes no such device".into());
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
        if self.receive_within(out, PATIENCE)? { Ok(()) } else { Err(self.miscounted()) }
    }

    /// As [`Self::receive`]; whether they came in time.
    fn receive_within(&mut self, out: usize, patience: Duration) -> Result<bool, BackendError> {
        let end = Instant::now() + patience;
        let mut packets = Vec::new();
        let came = loop {
            match self.observer.next_event() {
                Some(Observed::Frame(result)) => self.verdicts.push(verdict(result)?),
                Some(Observed::Packet(packet)) => {
                    self.out += packet.segs as usize;
                    packets.push(packet);
                }
                None if self.verdicts.len() >= self.taken && self.out >= out => break true,
                None if Instant::now() > end => break false,
                None => std::thread::yield_now(),
            }
        };
        if self.verdicts.len() > self.taken || self.out > self.taken {
            return Err(self.miscounted());
        }
        let captured = self.capture.take(packets.len(), PATIENCE).map_err(|error| capturing(&error))?;
        for (packet, captured) in packets.into_iter().zip(captured) {
            self.records.push(record(packet, captured)?);
        }
        Ok(came)
    }

    /// Whether GRO holds nothing.
    fn is_empty(&self) -> bool {
        self.out == self.taken
    }

    /// Takes back everything behind a moment at which it held nothing, as it does now.
    fn forget(&mut self, records: usize, frames: usize) -> io::Result<()> {
        while self.observer.next_event().is_some() {}
        self.capture.discard()?;
        self.records.truncate(records);
        self.verdicts.truncate(frames);
        (self.taken, self.out) = (frames, frames);
        Ok(())
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

    /// As most are, with everything there is.
    const RUNNING: Running = Running { profile: Some(Release::Linux618), hz: Some(250), in_band: true };

    fn refusal(trace: &Trace) -> Option<BackendError> {
        applicable(trace, &EngineConfig::of(Config::DEFAULT), &RUNNING).err()
    }

    #[test]
    fn refuses_what_this_kernel_does_not_do() {
        let frame = trace(vec![0; 60], None, 1);
        let default = EngineConfig::of(Config::DEFAULT);
        let with = |config| EngineConfig { config, ..default };
        let (fine, coarse) = (Config { hz: 1000, ..Config::DEFAULT }, Config { hz: 100, ..Config::DEFAULT });
        let in_band = Config { vlan: VlanMode::InBand, ..Config::DEFAULT };
        let timed = Config { flush_timeout: 1, ..Config::DEFAULT };
        let later = EngineConfig { profile: Release::Linux7, ..default };
        let unknown = Running { profile: None, ..RUNNING };
        for (engine, running) in [
            (default, RUNNING),
            (later, unknown),
            (with(coarse), RUNNING),
            (with(in_band), RUNNING),
            (with(timed), RUNNING),
        ] {
            assert_eq!(applicable(&frame, &engine, &running), Ok(()), "{engine:?} {running:?}");
        }
        for (engine, running, word) in [
            (later, RUNNING, "the rules of linux-6.18"),
            (with(fine), RUNNING, "1000 jiffies a second: this kernel has 250"),
            (default, Running { hz: Some(1000), ..RUNNING }, "250 jiffies a second: this kernel has 1000"),
            (default, Running { hz: None, ..RUNNING }, "does not tell"),
            (with(in_band), Running { in_band: false, ..RUNNING }, "VLAN_8021Q"),
            (with(Config { tunnels: tunnel::GRE, ..Config::DEFAULT }), RUNNING, "always merges them"),
            (with(Config { tunnels: ALWAYS | tunnel::GENEVE, ..Config::DEFAULT }), RUNNING, "Geneve"),
        ] {
            match applicable(&frame, &engine, &running) {
                Err(BackendError::NotApplicable(text)) => assert!(text.contains(word), "{text}"),
                other => panic!("{word}: {other:?}"),
            }
        }
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
    fn a_tag_in_the_bytes_comes_back() {
        if kernel::has_function("vlan_gro_receive") {
            return eprintln!("skipped: this kernel looks behind the tag");
        }
        let mut bytes = vec![0x55; 60];
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        let tagged = trace(bytes.clone(), Some(Vlan { tpid: 0x8100, tci: 5 }), 3).with_tags_in_band();
        assert_eq!(tagged.frames[0].bytes.len(), 64);
        let outcome = match KernelBackend.run(&tagged, &EngineConfig::of(Config::DEFAULT)) {
            Err(BackendError::Skipped(why)) => return eprintln!("skipped: {why}"),
            outcome => outcome.unwrap(),
        };
        assert_eq!(outcome.records.len(), 3);
        let same = |record: &Record| record.bytes == bytes && record.vlan == 0x8100_0005;
        assert!(outcome.records.iter().all(same), "{:?}", outcome.records);
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

//! Backend `tc`: the very program that gets attached, on real skbs, in redirect mode.

use super::{Backend, BackendError, EngineConfig, check_image, injected};
use crate::outcome::verdicts;
use crate::sandbox::{self, Capture, Captured, INGRESS, Sandbox, SandboxError};
use crate::schedule::{Step, schedule};
use crate::trace::Trace;
use crate::{Cost, Outcome, Record};
use gro_core::user::Why;
use gro_core::{Bypass, Event, FlushReason, VlanMode};
use gro_ebpf::abi::{self, InPlace, Settings, marker, mode};
use gro_ebpf::{Frame, Injector, LoadError, Object, Program};
use std::time::{Duration, Instant};

/// The tc program in the running kernel.
#[derive(Clone, Copy, Debug)]
pub struct TcBackend {
    object: Option<Object<'static>>,
}

/// A delivery crosses two backlogs on this CPU: microseconds, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a marker carries: nothing that is IP.
static CARRIER: [u8; 60] = [0; 60];

impl TcBackend {
    /// With the committed image of the profile asked for.
    pub fn committed() -> Self {
        Self { object: None }
    }

    /// With another object.
    pub fn with(object: Object<'static>) -> Self {
        Self { object: Some(object) }
    }
}

impl Backend for TcBackend {
    fn name(&self) -> &'static str {
        "tc"
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        let limit = engine.config.gro_max_size.max(engine.config.gro_ipv4_max_size);
        let most = abi::MAX_SIZE;
        if limit > most {
            let text = format!("gro_max_size {limit}: a tc program cannot build a packet over {most} bytes");
            return Err(BackendError::NotApplicable(text));
        }
        if engine.config.vlan == VlanMode::InBand {
            let text = "rx_vlan_strip off: the kernel takes the tag off before tc ingress".into();
            return Err(BackendError::NotApplicable(text));
        }
        super::injectable(trace)?;
        let object = self.object.unwrap_or_else(|| Object::committed(engine.profile));
        let hash = object.program_hash().map_err(|error| BackendError::Failed(error.to_string()))?;
        check_image(hash, engine.profile)?;
        sandbox::run(|sandbox| Run::new(sandbox, &object)?.trace(trace, engine))
    }
}

struct Run<'a> {
    sandbox: &'a Sandbox,
    program: Program,
    injector: Injector,
    capture: Capture,
    records: Vec<Record>,
}

impl<'a> Run<'a> {
    fn new(sandbox: &'a Sandbox, object: &Object<'_>) -> Result<Self, BackendError> {
        let failed = |error: std::io::Error| BackendError::Failed(format!("capturing: {error}"));
        let mut program = Program::load(object)?;
        program.attach(INGRESS)?;
        let mut injector = Injector::load()?;
        injector.sink(sandbox::CAPTURE)?;
        let capture = Capture::open(sandbox.capture).map_err(failed)?;
        Ok(Self { sandbox, program, injector, capture, records: Vec::new() })
    }

    fn trace(mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        let loaded = self.program.program_hash()?;
        check_image(loaded, engine.profile)?;
        let start = Instant::now();
        // Before any event, also of a trace without frames.
        self.set_time(engine, 0)?;
        for step in schedule(trace, &engine.config) {
            match step {
                Step::Poll { frames, jiffies } => {
                    self.set_time(engine, jiffies)?;
                    let batch = trace.frames[frames].iter().map(injected).collect();
                    self.inject(batch, Event::PollEnd)?;
                }
                Step::Tick { jiffies } => {
                    self.set_time(engine, jiffies)?;
                    self.inject(Vec::new(), Event::Tick)?;
                }
            }
        }
        self.inject(Vec::new(), Event::Flush)?;
        let faults = self.program.faults()?;
        if faults != abi::Faults::default() {
            return Err(BackendError::Failed(format!("the program reports {faults:?}")));
        }
        let state = self.program.state(self.sandbox.cpu)?;
        let cost = Cost { wall_ns: start.elapsed().as_nanos() as u64, instructions: None, cycles: None };
        let decision_digest = Some(state.digest.value());
        let verdicts = verdicts(&self.records, trace.frames.len());
        Ok(Outcome { records: self.records, decision_digest, verdicts, cost })
    }

    fn set_time(&mut self, engine: &EngineConfig, now: u32) -> Result<(), BackendError> {
        let capture = self.sandbox.deliver;
        let in_place = InPlace::default();
        Ok(self.program.set(Settings {
            config: engine.config,
            mode: mode::REDIRECT,
            capture,
            now,
            in_place,
        })?)
    }

    /// Sends frames and, behind them, a marker; waits until the marker was worked off and all deliveries were captured.
    fn inject(&mut self, mut batch: Vec<Frame<'_>>, event: Event) -> Result<(), BackendError> {
        batch.push(Frame { bytes: &CARRIER, hash: 0, vlan: 0, mark: marker::MAGIC | event as u32 });
        self.injector.send(self.sandbox.inject, &batch)?;
        let end = Instant::now() + PATIENCE;
        let mut deliveries = Vec::new();
        loop {
            match self.program.next_record() {
                Some(record) if record.kind == abi::Record::MARKER => break,
                Some(record) => deliveries.push(record),
                None if Instant::now() > end => {
                    return Err(BackendError::Failed("a poll did not come to its end".into()));
                }
                None => std::thread::yield_now(),
            }
        }
        let captured = self.capture.take(deliveries.len(), PATIENCE);
        let captured = captured.map_err(|error| BackendError::Failed(format!("capturing: {error}")))?;
        for (delivery, packet) in deliveries.into_iter().zip(captured) {
            self.records.push(merge(delivery, packet)?);
        }
        Ok(())
    }
}

/// The bytes are those of the captured skb, the rest is what the program said of it.
fn merge(delivery: abi::Record, packet: Captured) -> Result<Record, BackendError> {
    if delivery.len as usize != packet.bytes.len() || delivery.vlan != packet.vlan {
        let text = format!(
            "a delivery of {} bytes with VLAN {:#x} was captured with {} bytes and VLAN {:#x}",
            delivery.len,
            delivery.vlan,
            packet.bytes.len(),
            packet.vlan
        );
        return Err(BackendError::Failed(text));
    }
    let number = delivery.why as u8;
    let why = if delivery.why < 256 {
        FlushReason::from_number(number).map(Why::Flush)
    } else {
        Bypass::from_number(number).map(Why::Bypass)
    };
    Ok(Record {
        bytes: packet.bytes.into(),
        gso_size: delivery.gso_size,
        segs: delivery.segs,
        gso_type: delivery.gso_type,
        vlan: packet.vlan,
        first: Some(delivery.first),
        last: Some(delivery.last),
        why,
    })
}

impl From<LoadError> for BackendError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Capability => Self::Skipped("needs CAP_BPF and CAP_NET_ADMIN".into()),
            LoadError::Unsupported(what) => Self::Skipped(what),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<SandboxError> for BackendError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Capability | SandboxError::Unsupported(_) => Self::Skipped(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

//! Backend `nic`: the committed image on the simulated NIC; and the same on machines of other make, which check the simulator.

use super::{Backend, BackendError, EngineConfig, check_image, in_band, vlan_word};
use crate::outcome::verdicts;
use crate::schedule::{Step, schedule};
use crate::trace::Trace;
use crate::{Cost, Outcome, Record};
use bytes::Bytes;
use gro_core::Meta;
use gro_nic::machine::{Core, Machine, WaitStates};
#[cfg(target_os = "linux")]
use gro_nic::referee::qemu::{self, Isa, Qemu};
use gro_nic::{Delivered, Image, Nic, NicConfig, NicError};
use std::time::Instant;

/// The NIC image on a core: the simulator, unless another is named.
#[derive(Clone, Copy, Debug)]
pub struct NicBackend<C = Machine> {
    name: &'static str,
    image: Option<&'static [u8]>,
    /// Other wait states than the image states.
    wait: Option<WaitStates>,
    /// Makes the core with the image loaded.
    core: fn(&Image, WaitStates) -> Result<C, BackendError>,
}

impl NicBackend {
    /// On the simulator, with the committed image of the profile asked for.
    pub fn committed() -> Self {
        Self::on("nic", |image, wait| Ok(Machine::with_wait_states(image, wait)))
    }

    /// On the simulator, with another image.
    pub fn with(image: &'static [u8]) -> Self {
        Self { image: Some(image), ..Self::committed() }
    }

    /// With the committed image and other wait states than it states.
    pub fn waiting(wait: WaitStates) -> Self {
        Self { wait: Some(wait), ..Self::committed() }
    }
}

#[cfg(target_os = "linux")]
impl NicBackend<Qemu> {
    /// On QEMU, 32 bit.
    pub fn qemu() -> Self {
        Self::on("nic-qemu", |image, _| qemu(image, Isa::Rv32imc))
    }

    /// On QEMU, 64 bit.
    pub fn qemu_rv64() -> Self {
        Self::on("nic-qemu-rv64", |image, _| qemu(image, Isa::Rv64imac))
    }
}

#[cfg(target_os = "linux")]
fn qemu(image: &Image, isa: Isa) -> Result<Qemu, BackendError> {
    let program = qemu::Program::of(image, isa)
        .ok_or_else(|| BackendError::Skipped(format!("the image has no program for {}", isa.name())))?;
    Qemu::new(&program).map_err(|error| match error {
        qemu::StartError::NotInstalled(_) => BackendError::Skipped(error.to_string()),
        error => BackendError::Failed(error.to_string()),
    })
}

impl<C: Core> NicBackend<C> {
    /// Under a name of its own, with the committed image of the profile asked for on what `core` makes.
    pub fn on(name: &'static str, core: fn(&Image, WaitStates) -> Result<C, BackendError>) -> Self {
        Self { name, image: None, wait: None, core }
    }
}

impl<C: Core> Backend for NicBackend<C> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        let image = load(self.image, engine)?;
        let wait = self.wait.unwrap_or_else(|| WaitStates::of(&image));
        coalesce((self.core)(&image, wait)?, &image, trace, engine)
    }
}

/// The image, or the committed one of the profile asked for.
pub(super) fn load(image: Option<&[u8]>, engine: &EngineConfig) -> Result<Image, BackendError> {
    let image = image.unwrap_or_else(|| gro_nic::committed(engine.profile));
    let image = Image::parse(image).map_err(|error| BackendError::Failed(with_cure(&error)))?;
    check_image(image.program_hash, engine.profile)?;
    Ok(image)
}

/// Runs a trace through a core that has the image loaded.
pub(super) fn coalesce<C: Core>(
    core: C,
    image: &Image,
    trace: &Trace,
    engine: &EngineConfig,
) -> Result<Outcome, BackendError> {
    let in_band = in_band(trace, &engine.config);
    let trace = in_band.as_ref().unwrap_or(trace);
    let start = Instant::now();
    let mut nic = Nic::on(core, image, &NicConfig { engine: engine.config, ..NicConfig::default() })?;
    // What the device says of itself, not only what the file says.
    check_image(nic.program_hash(), engine.profile)?;
    let mut records = Vec::with_capacity(trace.frames.len() / 2);
    for step in schedule(trace, &engine.config) {
        match step {
            Step::Poll { frames, jiffies } => {
                nic.time(jiffies);
                for frame in &trace.frames[frames] {
                    let meta = Meta { hash: frame.hash, vlan: vlan_word(frame.vlan), verified: false };
                    nic.post(frame.bytes.clone(), meta);
                }
                nic.poll_end();
            }
            Step::Tick { jiffies } => {
                nic.time(jiffies);
                nic.tick();
            }
        }
        nic.deliver(&mut |packet| records.push(record(packet)))?;
    }
    nic.flush();
    nic.deliver(&mut |packet| records.push(record(packet)))?;
    let cost = Cost {
        wall_ns: start.elapsed().as_nanos() as u64,
        instructions: Some(nic.instructions()),
        cycles: nic.cycles(),
    };
    let verdicts = verdicts(&records, trace.frames.len());
    Ok(Outcome { records, decision_digest: Some(nic.digest()), verdicts, cost })
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

impl From<NicError> for BackendError {
    fn from(error: NicError) -> Self {
        Self::Failed(match error {
            NicError::ProgramHash => with_cure(&error),
            error => error.to_string(),
        })
    }
}

/// For what a fresh image puts right.
fn with_cure(error: &dyn std::error::Error) -> String {
    format!("{error}; run cargo xtask images")
}

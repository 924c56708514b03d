//! Backend `nic`: the committed image on the simulated NIC.

use super::{Backend, BackendError, EngineConfig, check_image, jiffies, vlan_word};
use crate::trace::Trace;
use crate::{Cost, Outcome, Record};
use bytes::Bytes;
use gro_core::Meta;
use gro_nic::{Delivered, Image, Nic, NicConfig, NicError};
use std::time::Instant;

/// The NIC image on the simulator.
#[derive(Clone, Copy, Debug)]
pub struct NicBackend {
    image: &'static [u8],
}

impl NicBackend {
    /// With the committed image.
    pub fn committed() -> Self {
        Self { image: gro_nic::LINUX_6_18 }
    }

    /// With another image.
    pub fn with(image: &'static [u8]) -> Self {
        Self { image }
    }
}

impl Backend for NicBackend {
    fn name(&self) -> &'static str {
        "nic"
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        let image = Image::parse(self.image).map_err(|error| BackendError::Failed(with_cure(&error)))?;
        check_image(image.program_hash)?;
        let start = Instant::now();
        let mut nic = Nic::new(&image, &NicConfig { engine: engine.config, ..NicConfig::default() })?;
        // What the device says of itself, not only what the file says.
        check_image(nic.program_hash())?;
        let mut records = Vec::with_capacity(trace.frames.len() / 2);
        for poll in &trace.polls {
            nic.time(jiffies(poll.time_ns));
            for frame in &trace.frames[poll.frames.clone()] {
                let meta = Meta { hash: frame.hash, vlan: vlan_word(frame.vlan), verified: false };
                nic.post(frame.bytes.clone(), meta);
            }
            nic.poll_end();
            nic.deliver(&mut |packet| records.push(record(packet)))?;
        }
        nic.flush();
        nic.deliver(&mut |packet| records.push(record(packet)))?;
        let cost = Cost {
            wall_ns: start.elapsed().as_nanos() as u64,
            instructions: Some(nic.instructions()),
            cycles: Some(nic.cycles()),
        };
        Ok(Outcome { records, decision_digest: Some(nic.digest()), verdicts: None, cost })
    }
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

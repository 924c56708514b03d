//! Backend `nic`: the committed image on the simulated NIC.

use super::{Backend, BackendError, EngineConfig};
use crate::Outcome;
use crate::trace::Trace;

/// The NIC image on the simulator.
#[derive(Clone, Copy, Debug)]
pub struct NicBackend {}

impl NicBackend {
    /// With the committed image.
    pub fn committed() -> Self {
        Self {}
    }
}

impl Backend for NicBackend {
    fn name(&self) -> &'static str {
        "nic"
    }

    fn run(&mut self, _trace: &Trace, _engine: &EngineConfig) -> Result<Outcome, BackendError> {
        Err(BackendError::Skipped("to come".into()))
    }
}

//! Backends `nic-rtl-*`: the committed image on processor RTL, the same driver and live rings.

use super::nic::{coalesce, load};
use super::{Backend, BackendError, EngineConfig};
use crate::Outcome;
use crate::trace::Trace;
use gro_nic::machine::WaitStates;
use gro_nic::referee::{Rtl, RtlCore, RtlError};

/// The NIC image on a core in RTL, a few thousand times slower than on the simulator.
#[derive(Clone, Copy, Debug)]
pub struct RtlBackend {
    core: RtlCore,
    wait: Option<WaitStates>,
}

impl RtlBackend {
    /// With the wait states that the image states.
    pub fn new(core: RtlCore) -> Self {
        Self { core, wait: None }
    }

    /// With other wait states.
    pub fn waiting(core: RtlCore, wait: WaitStates) -> Self {
        Self { core, wait: Some(wait) }
    }
}

impl Backend for RtlBackend {
    fn name(&self) -> &'static str {
        match self.core {
            RtlCore::Cv32e40p => "nic-rtl-cv32e40p",
            RtlCore::Ibex => "nic-rtl-ibex",
        }
    }

    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError> {
        let image = load(None, engine)?;
        let wait = self.wait.unwrap_or_else(|| WaitStates::of(&image));
        let rtl = Rtl::new(self.core, &image, wait).map_err(|error| match error {
            RtlError::Missing(_) => BackendError::Skipped(error.to_string()),
            error @ RtlError::Start { .. } => BackendError::Failed(error.to_string()),
        })?;
        coalesce(rtl, &image, trace, engine)
    }
}

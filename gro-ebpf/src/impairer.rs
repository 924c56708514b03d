//! A wire that loses and reorders: the harness's `netem`.

use crate::object_file::Object;
use crate::program::{LoadError, classifier, describe, describe_load};
use aya::maps::Array;
use aya::programs::TcAttachType;
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};

/// What the wire does to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impairment {
    /// Frames lost of 65,536.
    pub loss: u32,
    /// Frames that arrive late of 65,536. How many overtake one is up to what waits behind it.
    pub late: u32,
    /// Start of the generator; not 0.
    pub seed: u64,
}

/// What the wire did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impaired {
    /// Frames that came in.
    pub seen: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames sent on an extra lap through the backlog.
    pub late: u64,
}

/// The program, loaded and attached. Dropping it detaches and unloads it.
pub struct Impairer {
    ebpf: Ebpf,
}

impl Impairer {
    /// Leads what comes in at `interface` (index `input`), of this thread's network namespace, to the interface with index
    /// `output`. Needs a `clsact` qdisc on the interface before Linux 6.6, which it makes.
    ///
    /// # Errors
    /// [`LoadError::Capability`] without the rights, otherwise what the kernel said.
    pub fn attach(
        interface: &str,
        input: u32,
        output: u32,
        impairment: Impairment,
    ) -> Result<Self, LoadError> {
        let Impairment { loss, late, seed } = impairment;
        let mut ebpf = EbpfLoader::new()
            .override_global("INPUT", &input, true)
            .override_global("OUTPUT", &output, true)
            .override_global("LOSS", &loss, true)
            .override_global("LATE", &late, true)
            .override_global("SEED", &seed.max(1), true)
            .load(Object::impairer().bytes())
            .map_err(|error| describe_load(&error))?;
        let program = classifier(&mut ebpf, "impair")?;
        program.load().map_err(|error| LoadError::Refused(describe(&error)))?;
        if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(6, 6, 0)) {
            // It goes with its device. That it is there already is no error.
            let _ = aya::programs::tc::qdisc_add_clsact(interface);
        }
        program
            .attach(interface, TcAttachType::Ingress)
            .map_err(|error| LoadError::Refused(format!("attaching to {interface}: {}", describe(&error))))?;
        Ok(Self { ebpf })
    }

    /// What it did so far.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counts(&self) -> Result<Impaired, LoadError> {
        let map = self.ebpf.map("COUNTERS").ok_or(LoadError::Missing("map COUNTERS"))?;
        let map_error = |error: aya::maps::MapError| LoadError::Map("COUNTERS", error.to_string());
        let counters = Array::<_, u64>::try_from(map).map_err(map_error)?;
        let counter = |index| counters.get(&index, 0).map_err(map_error);
        Ok(Impaired { seen: counter(1)?, lost: counter(2)?, late: counter(3)? })
    }
}

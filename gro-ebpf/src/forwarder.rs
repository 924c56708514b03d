//! Leads everything that comes in at one interface out of another.
//!
//! On the way out the kernel segments what the device cannot (`validate_xmit_skb`, net/core/dev.c), as for any packet that a
//! router or a bridge forwards.

use crate::object_file::Object;
use crate::program::{LoadError, classifier, describe, describe_load};
use aya::programs::TcAttachType;
use aya::{Ebpf, EbpfLoader};

/// The forwarder program, loaded and attached. Dropping it detaches and unloads it.
pub struct Forwarder {
    /// Keeps the program attached.
    _ebpf: Ebpf,
}

impl Forwarder {
    /// Forwards from the ingress of `interface`, of this thread's network namespace, to the interface with index `output`.
    ///
    /// # Errors
    /// [`LoadError::Capability`] without the rights, otherwise what the kernel said.
    pub fn attach(interface: &str, output: u32) -> Result<Self, LoadError> {
        let mut ebpf = EbpfLoader::new()
            .override_global("OUTPUT", &output, true)
            .load(Object::forwarder().bytes())
            .map_err(|error| describe_load(&error))?;
        let program = classifier(&mut ebpf, "forward")?;
        program.load().map_err(|error| LoadError::Refused(describe(&error)))?;
        program
            .attach(interface, TcAttachType::Ingress)
            .map_err(|error| LoadError::Refused(format!("attaching to {interface}: {}", describe(&error))))?;
        Ok(Self { _ebpf: ebpf })
    }
}

//! Live traffic: hosts in private network namespaces, TCP between them, and what to watch meanwhile.
//!
//! ```text
//!   sender a0 ════════════════ b0 receiver                  clean
//!   sender a0 ══ ma (impair) mb ══ b0 receiver              a wire that loses and reorders
//!   sender a0 ══ ma (router) mb ══ b0                       a router, which is the receiver under test
//! ```
//!
//! - [`Topology`]: the hosts and the wires; [`Receiver`]: who coalesces at the receiver, from nobody to `gro attach`.
//! - [`RunningNic`]: `gro nic run` at the receiver; [`GsoWatch`]: the packets that its stack gets; [`Handover`]:
//!   coalescing that changes hands under load.
//! - [`traffic`]: parallel flows whose bytes are checked; [`latency`]: request and response.
//! - [`Counters`], [`KernelLog`], [`cpu`], [`leftovers`]: what the machine says of it.
//! - [`recording`]: what was sent and what the receiver's stack saw of it, compared.
//!
//! Namespaces are known by descriptors of this process only, so nothing of them stays, however a run ends.

mod counters;
pub mod cpu;
mod gso;
mod handover;
mod kmsg;
pub mod latency;
pub mod leftovers;
mod netlink;
mod nic;
mod pins;
mod receiver;
pub mod recording;
pub mod ruleset;
pub mod sysctl;
mod topology;
pub mod traffic;

pub use counters::Counters;
pub use gso::{GsoSeen, GsoWatch};
pub use handover::Handover;
pub use kmsg::{KNOWN, KernelLog};
pub use nic::{NicLane, NicStatus, RunningNic};
pub use pins::Pins;
pub use receiver::{Attached, Receiver, Snapshot, can_attach};
pub use topology::{Host, Options, Place, Topology, Wire};

use std::io;
use std::process::Output;

/// Why something live did not work.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The process may not.
    #[error("needs CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_BPF: run as root")]
    Capability,
    /// A step failed.
    #[error("{step}: {source}")]
    Step {
        /// What was tried.
        step: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program for the wire was refused.
    #[error("the wire's program: {0}")]
    Wire(#[from] gro_ebpf::LoadError),
    /// `gro` said no.
    #[error("`{command}` ended with {status}: {message}")]
    Gro {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        message: String,
    },
    /// Traffic did not arrive as it was sent, or not in time.
    #[error("{0}")]
    Traffic(String),
}

/// Names the step that an error belongs to.
fn step<'a>(step: impl Into<String> + 'a) -> impl FnOnce(io::Error) -> LiveError + 'a {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM) => LiveError::Capability,
        _ => LiveError::Step { step: step.into(), source },
    }
}

/// What `gro` said when it was run with `arguments`, or that it did not succeed.
fn succeeded<S: AsRef<str>>(arguments: &[S], output: Output) -> Result<Output, LiveError> {
    if output.status.success() {
        return Ok(output);
    }
    let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
    Err(LiveError::Gro {
        command: format!("gro {}", arguments.join(" ")),
        status: output.status.to_string(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

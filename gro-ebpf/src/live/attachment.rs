//! The tc program at the ingress of an interface.

use super::Snapshot;
use gro_core::{Config, Release};
use std::path::{Path, PathBuf};

/// Where the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A TCX link; Linux 6.6.
    Tcx,
    /// A filter of a clsact qdisc.
    Clsact,
}

impl Hook {
    /// As in [`Snapshot::hook`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// What is attached, where and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interface of the calling thread's namespace.
    pub interface: String,
    /// Before the other programs of the hook, or behind them.
    pub first: bool,
    /// Directory of the pins; it is made.
    pub pin: PathBuf,
    /// The engine's config.
    pub config: Config,
    /// Whether flows without a local socket are merged, too.
    pub forwarding: bool,
    /// Rule set.
    pub profile: Release,
    /// Carriers a CPU.
    pub carriers: u32,
    /// Flights a CPU.
    pub flights: u32,
    /// `None` for the best that this kernel has.
    pub hook: Option<Hook>,
    /// Opaque text that is kept with the pins: what to restore at detach.
    pub notes: String,
    /// For tests: one of so many carriers is dropped; 0 for none.
    pub drop_carriers: u32,
}

/// Why there is no attachment.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// This build cannot.
    #[error("the in-place program is not built yet")]
    NotBuilt,
}

/// The attached program.
#[derive(Debug)]
pub struct Attachment(());

impl Attachment {
    /// Attaches in the network namespace of the calling thread.
    pub fn attach(_options: &Options) -> Result<Self, LiveError> {
        Err(LiveError::NotBuilt)
    }

    /// The attachment of these pins.
    pub fn open(_pin: &Path) -> Result<Self, LiveError> {
        Err(LiveError::NotBuilt)
    }

    /// Where it is attached.
    pub fn hook(&self) -> Hook {
        Hook::Tcx
    }

    /// [`Options::notes`].
    pub fn notes(&self) -> Result<String, LiveError> {
        Err(LiveError::NotBuilt)
    }

    /// What it counted.
    pub fn snapshot(&self) -> Result<Snapshot, LiveError> {
        Err(LiveError::NotBuilt)
    }

    /// Delivers what is held, detaches, unpins.
    pub fn detach(self) -> Result<(), LiveError> {
        Err(LiveError::NotBuilt)
    }
}

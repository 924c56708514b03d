//! Finds what is attached, whichever way: pins in the BPF file system, and the sockets of agents.

use super::offloads::{Notes, OffloadError, Restored};
use super::{Attachment, LiveError, Snapshot, agent, pins};
use crate::device::netns;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an agent is given to deliver what it holds and end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The tc program, by the directory of its pins.
    InPlace(PathBuf),
    /// An agent, by its address.
    ViaTap(PathBuf),
}

/// What a detachment did.
#[derive(Clone, Debug)]
pub struct Detached {
    /// The last snapshot; `None` if nobody could give one any more.
    pub last: Option<Snapshot>,
    /// What became of the offloads that were switched.
    pub restored: Restored,
}

/// Why something attached cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The tc program.
    #[error(transparent)]
    InPlace(#[from] LiveError),
    /// The agent.
    #[error(transparent)]
    ViaTap(#[from] agent::AgentError),
    /// Offloads could not be restored.
    #[error(transparent)]
    Offloads(#[from] OffloadError),
    /// A folder cannot be read.
    #[error("{0}: {1}: run as root")]
    Folder(&'static str, io::Error),
    /// It is elsewhere.
    #[error("{} belongs to network namespace {theirs}, this is {ours}: give --netns", .pin.display())]
    Elsewhere {
        /// Directory of the pins.
        pin: PathBuf,
        /// The attachment's namespace.
        theirs: u64,
        /// The calling thread's.
        ours: u64,
    },
    /// The system refused something.
    #[error("reading the network namespace: {0}")]
    System(#[from] io::Error),
}

/// What is attached to an interface of the calling thread's namespace; its pins are in `pin`, if that is not the usual place.
pub fn find(interface: &str, pin: Option<&Path>) -> Result<Option<Found>, RegistryError> {
    let netns = netns::current()?;
    let directory = pin.map_or_else(|| pins::directory(interface, netns), Path::to_owned);
    match std::fs::read_dir(&directory) {
        // Who may not look must not say that there is nothing.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(RegistryError::Folder(pins::ROOT, error));
        }
        Ok(_) if pins::is_used(&directory) => return Ok(Some(Found::InPlace(directory))),
        _ => {}
    }
    let address = agent::address(interface, netns);
    Ok(address.exists().then_some(Found::ViaTap(address)))
}

/// Everything that is attached, in all namespaces or in one.
pub fn all(netns: Option<u64>) -> Result<Vec<Found>, RegistryError> {
    let pins = pins::list().map_err(|error| RegistryError::Folder(pins::ROOT, error))?;
    let agents = agent::list().map_err(|error| RegistryError::Folder(agent::ROOT, error))?;
    let pins = pins.into_iter().map(Found::InPlace);
    let mut found: Vec<_> = pins.chain(agents.into_iter().map(Found::ViaTap)).collect();
    found.retain(|found| netns.is_none() || found.netns() == netns);
    Ok(found)
}

impl Found {
    /// Where it is found.
    pub fn path(&self) -> &Path {
        match self {
            Self::InPlace(path) | Self::ViaTap(path) => path,
        }
    }

    /// Its namespace, by the name of its directory or socket.
    fn netns(&self) -> Option<u64> {
        match self {
            Self::InPlace(path) => pins::owner(path).map(|(_, netns)| netns),
            Self::ViaTap(path) => path.file_stem()?.to_str()?.rsplit_once('@')?.1.parse().ok(),
        }
    }

    /// What it counted.
    pub fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        match self {
            Self::InPlace(pin) => Ok(Attachment::open(pin)?.snapshot()?),
            Self::ViaTap(address) => Ok(agent::ask(address)?),
        }
    }

    /// Detaches it and restores the offloads that were switched for it, in the namespace of the calling thread.
    pub fn detach(&self) -> Result<Detached, RegistryError> {
        match self {
            Self::InPlace(pin) => detach(Attachment::open(pin)?, pin),
            Self::ViaTap(address) => {
                let (last, restored) = agent::stop(address, PATIENCE)?;
                Ok(Detached { last, restored })
            }
        }
    }
}

/// Detaches the tc program and restores the offloads that were switched for it.
pub fn detach(attachment: Attachment, pin: &Path) -> Result<Detached, RegistryError> {
    let (last, ours) = (attachment.snapshot()?, netns::current()?);
    if last.netns != ours {
        return Err(RegistryError::Elsewhere { pin: pin.to_owned(), theirs: last.netns, ours });
    }
    let notes = attachment.notes().to_owned();
    attachment.detach()?;
    let restored = Notes::of_text(&notes)?.restore()?;
    Ok(Detached { last: Some(last), restored })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_namespace_of_what_it_finds() {
        assert_eq!(Found::InPlace(pins::directory("eth0.7", 12)).netns(), Some(12));
        assert_eq!(Found::ViaTap(agent::address("eth0.7", 13)).netns(), Some(13));
        assert_eq!(Found::ViaTap("/run/gro/other.sock".into()).netns(), None);
    }

    #[test]
    fn finds_pins_where_they_were_put() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find("gro-test-none", Some(folder.path())).unwrap(), None);
        std::fs::write(folder.path().join("pin"), "").unwrap();
        let found = find("gro-test-none", Some(folder.path())).unwrap();
        assert_eq!(found, Some(Found::InPlace(folder.path().to_owned())));
    }
}

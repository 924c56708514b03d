//! Switches the offloads of an interface that an attachment needs otherwise, and back again.
//!
//! What was changed is kept as JSON, [`Notes`], with the attachment. Restoring is exact: only what was changed here, and only if it
//! is still as it was left; what somebody else switched meanwhile stays, and is told.

use crate::device::Device;
use crate::device::ethtool::{self, Features};
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::fmt::{self, Display, Formatter};
use std::io;

/// A feature that is to be another way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The kernel's name of it (`rx-gro`).
    pub feature: String,
    /// How it is before.
    pub from: bool,
    /// How it is while the attachment lives.
    pub to: bool,
}

/// What was changed; the text that an attachment keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// 1.
    pub schema: u32,
    /// Number of the interface, which keeps it when it is renamed.
    pub ifindex: u32,
    /// In the order in which it was done.
    pub changes: Vec<Change>,
}

/// Why offloads are not as they were wanted.
#[derive(Debug, thiserror::Error)]
pub enum OffloadError {
    /// The interface is not there.
    #[error("there is no interface {0}: `ip link` shows those of this namespace")]
    Missing(String),
    /// A feature could not be switched.
    #[error(
        "{interface}: switching {feature}: {source}; `ethtool -K` and the driver's documentation say what it takes"
    )]
    Switch {
        /// Interface.
        interface: String,
        /// Feature.
        feature: String,
        /// What the system said.
        source: io::Error,
    },
    /// The features could not be read.
    #[error("{0}: reading its offloads: {1}")]
    Read(String, io::Error),
    /// The notes are not ours.
    #[error("what is to be restored is not readable ({0}): compare `ethtool -k` with another machine's")]
    Notes(String),
}

/// What restoring did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Switched back.
    pub done: Vec<Change>,
    /// Left as it is, and why.
    pub left: Vec<Left>,
}

/// A change that was not taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The change.
    pub change: Change,
    /// Why.
    pub why: String,
}

impl Default for Notes {
    /// Nothing was changed.
    fn default() -> Self {
        Self { schema: 1, ifindex: 0, changes: Vec::new() }
    }
}

impl Notes {
    /// Makes the changes in the namespace of the calling thread. If one cannot be made, none is.
    pub fn apply(interface: &str, changes: &[Change]) -> Result<Self, OffloadError> {
        let device =
            Device::find(interface).map_err(|error| OffloadError::Read(interface.to_owned(), error))?;
        let ifindex = device.ok_or_else(|| OffloadError::Missing(interface.to_owned()))?.index;
        let mut notes = Self { schema: 1, ifindex, changes: Vec::new() };
        for change in changes {
            if let Err(source) = ethtool::set_feature(interface, &change.feature, change.to) {
                // The error that is told is the first.
                let _ = notes.restore();
                let (interface, feature) = (interface.to_owned(), change.feature.clone());
                return Err(OffloadError::Switch { interface, feature, source });
            }
            notes.changes.push(change.clone());
        }
        Ok(notes)
    }

    /// Takes the changes back, last first, in the namespace of the calling thread.
    pub fn restore(&self) -> Result<Restored, OffloadError> {
        let mut restored = Restored::default();
        if self.changes.is_empty() {
            return Ok(restored);
        }
        let Some(interface) = name(self.ifindex) else {
            let left = |change: &Change| Left { change: change.clone(), why: "the interface is gone".into() };
            restored.left = self.changes.iter().map(left).collect();
            return Ok(restored);
        };
        let features =
            Features::read(&interface).map_err(|error| OffloadError::Read(interface.clone(), error))?;
        for change in self.changes.iter().rev() {
            let why = if features.is_on(&change.feature) != change.to {
                "somebody else switched it meanwhile".to_owned()
            } else if let Err(error) = ethtool::set_feature(&interface, &change.feature, change.from) {
                error.to_string()
            } else {
                restored.done.push(change.clone());
                continue;
            };
            restored.left.push(Left { change: change.clone(), why });
        }
        Ok(restored)
    }

    /// The text that an attachment keeps.
    pub fn to_text(&self) -> String {
        // Numbers, booleans and names: there is nothing that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Of that text. The empty one says that nothing was changed.
    pub fn of_text(text: &str) -> Result<Self, OffloadError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_str(text) {
            Ok(notes @ Self { schema: 1, .. }) => Ok(notes),
            Ok(Self { schema, .. }) => Err(OffloadError::Notes(format!("schema {schema}"))),
            Err(error) => Err(OffloadError::Notes(error.to_string())),
        }
    }
}

impl Display for Change {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let word = |on| if on { "on" } else { "off" };
        write!(out, "{} {} -> {}", self.feature, word(self.from), word(self.to))
    }
}

/// The name that an interface of the calling thread's namespace has now.
fn name(ifindex: u32) -> Option<String> {
    let mut buffer = [0; libc::IFNAMSIZ];
    // SAFETY: the buffer has the size that the call asks for (IF_NAMESIZE).
    let name = unsafe { libc::if_indextoname(ifindex, buffer.as_mut_ptr()) };
    if name.is_null() {
        return None;
    }
    // SAFETY: the call terminated the name in the buffer, which lives.
    Some(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::sandbox;

    fn gro_off() -> Change {
        Change { feature: "rx-gro".into(), from: true, to: false }
    }

    #[test]
    fn what_was_changed_is_restored_and_nothing_else() {
        sandbox(|interface| {
            ethtool::set_feature(interface, "rx-gro", true).unwrap();
            let notes = Notes::apply(interface, &[gro_off()]).unwrap();
            assert!(!Features::read(interface).unwrap().is_on("rx-gro"));
            let notes = Notes::of_text(&notes.to_text()).unwrap();
            assert_eq!(notes.restore().unwrap(), Restored { done: vec![gro_off()], left: Vec::new() });
            assert!(Features::read(interface).unwrap().is_on("rx-gro"));

            // It is not as we left it any more.
            let restored = notes.restore().unwrap();
            assert!(
                restored.done.is_empty() && restored.left[0].why.contains("somebody else"),
                "{restored:?}"
            );

            let gone = Notes { ifindex: 9_999, ..notes }.restore().unwrap();
            assert_eq!(gone.left[0].why, "the interface is gone");
        });
    }

    #[test]
    fn if_one_cannot_be_changed_none_is() {
        sandbox(|interface| {
            ethtool::set_feature(interface, "rx-gro", true).unwrap();
            let impossible = Change { feature: "rx-nosuch".into(), from: true, to: false };
            let error = Notes::apply(interface, &[gro_off(), impossible]).unwrap_err().to_string();
            assert!(error.contains("rx-nosuch"), "{error}");
            assert!(Features::read(interface).unwrap().is_on("rx-gro"));
            assert!(matches!(Notes::apply("nosuch", &[]), Err(OffloadError::Missing(_))));
        });
    }

    #[test]
    fn foreign_notes_are_refused() {
        assert!(Notes::of_text("").unwrap().restore().unwrap().done.is_empty());
        for text in ["{", "[]", "{\"schema\":2,\"ifindex\":1,\"changes\":[]}"] {
            assert!(matches!(Notes::of_text(text), Err(OffloadError::Notes(_))), "{text}");
        }
    }
}

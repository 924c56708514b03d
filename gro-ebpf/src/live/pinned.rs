//! What an attachment leaves in its directory of a BPF file system, and finds there again.

use super::{LiveError, pins};
use crate::program::describe;
use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::{Ebpf, Pod};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The maps that are pinned, and under which name: a BPF file system has no dots in names.
const MAPS: [(&str, &str); 6] = [
    ("SETTINGS", "settings"),
    ("STATE", "state"),
    ("ROUND", "round"),
    ("FAULTS", "faults"),
    ("NOTES", "notes"),
    (crate::object_file::SECTION, "program_hash"),
];
/// The program's pin.
pub(super) const PROGRAM: &str = "program";
/// The pin of the program that drains.
pub(super) const KICK: &str = "kick";
/// The pin of the TCX link.
pub(super) const LINK: &str = "link";

/// Who attached, where and how: the JSON in map `NOTES`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) interface: String,
    pub(super) ifindex: u32,
    pub(super) netns: u64,
    pub(super) profile: String,
    /// Of a filter: its priority and handle, and whether its qdisc was made for it.
    pub(super) filter: Option<Filter>,
    /// What the caller wants to find again.
    pub(super) text: String,
}

/// A filter of a clsact qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filter {
    pub(super) priority: u16,
    pub(super) handle: u32,
    pub(super) made_qdisc: bool,
}

/// A directory of pins. What was not kept is taken away again.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    kept: bool,
}

impl Directory {
    /// Makes it. Pins that are there already are somebody's.
    pub(super) fn make(path: &Path) -> Result<Self, LiveError> {
        let failed = |source| LiveError::Directory { path: path.into(), source };
        pins::mount_for(path).map_err(failed)?;
        fs::create_dir_all(path).map_err(failed)?;
        if fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(LiveError::Used(path.into()));
        }
        Ok(Self { path: path.into(), kept: false })
    }

    /// Where `name` is pinned.
    pub(super) fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Pins the maps.
    pub(super) fn pin_maps(&self, ebpf: &Ebpf) -> Result<(), LiveError> {
        for (name, pin) in MAPS {
            let map = ebpf.map(name).ok_or(LiveError::Missing(name))?;
            map.pin(self.pin(pin)).map_err(|error| LiveError::Pin(self.pin(pin), describe(&error)))?;
        }
        Ok(())
    }

    /// Lets the pins be.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.kept {
            let _ = remove(&self.path);
        }
    }
}

/// Takes a directory and its pins away. One that is not there is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::read_dir(path) {
        // A BPF file system has no directories in these.
        Ok(entries) => {
            for entry in entries {
                fs::remove_file(entry?.path())?;
            }
            fs::remove_dir(path)?;
            // The folder of all attachments, if this was the last.
            let _ = path.parent().filter(|&parent| parent == Path::new(pins::ROOT)).map(fs::remove_dir);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A pinned array.
pub(super) fn array<T: Pod>(directory: &Path, name: &'static str) -> Result<Array<MapData, T>, LiveError> {
    Array::try_from(Map::Array(open(directory, name)?)).map_err(|error| LiveError::map(name, &error))
}

/// A pinned array with a value for each CPU.
pub(super) fn per_cpu<T: Pod>(
    directory: &Path,
    name: &'static str,
) -> Result<PerCpuArray<MapData, T>, LiveError> {
    PerCpuArray::try_from(Map::PerCpuArray(open(directory, name)?))
        .map_err(|error| LiveError::map(name, &error))
}

fn open(directory: &Path, name: &'static str) -> Result<MapData, LiveError> {
    let pin = directory.join(name);
    if !pin.exists() {
        return Err(LiveError::NotAttached(directory.into()));
    }
    MapData::from_pin(&pin).map_err(|error| LiveError::Pin(pin, describe(&error)))
}

//! The attached program as the kernel has it, and its rest while somebody else coalesces.

use super::pinned::PROGRAM;
use super::{Attachment, Hook, LiveError};
use crate::abi::mode;
use crate::program::{Program, describe};
use crate::{LoadError, Object};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya::programs::{SchedClassifier, TcAttachType};
use gro_core::{Config, Release};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// What the kernel says of the program at an interface. Nothing of it comes from a file or from who attached it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedProgram {
    /// Its number in the kernel.
    pub id: u32,
    /// The kernel's hash over its instructions (8 bytes).
    pub tag: u64,
    /// The hash in its frozen map, which neither it nor anybody else can change since it was loaded.
    pub program_hash: [u8; 32],
}

/// Whether an attached program coalesces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It merges packets.
    Coalesces,
    /// It delivers what it holds, and holds nothing new.
    Drains,
    /// It lets every packet pass untouched.
    Rests,
    /// It does something that is not for live traffic.
    Other,
}

impl Attachment {
    /// The program that is attached, by way of its pin, as the kernel has it.
    ///
    /// # Errors
    /// The pinned program does not stand at the ingress of the interface, or has no frozen map with a hash. [`LiveError::Untold`] of a
    /// clsact filter: the kernel does not tell by its number which program it runs.
    pub fn loaded(&self) -> Result<LoadedProgram, LiveError> {
        let failed = |text: String| LiveError::Kernel("looking at the attached program", text);
        if self.hook() == Hook::Clsact {
            return Err(LiveError::Untold("which program a clsact filter runs: attach it by TCX"));
        }
        let pin = self.pin.join(PROGRAM);
        let program =
            SchedClassifier::from_pin(&pin).map_err(|error| LiveError::Pin(pin.clone(), describe(&error)))?;
        let info = program.info().map_err(|error| failed(describe(&error)))?;
        let (_, at_hook) = SchedClassifier::query_tcx(&self.notes.interface, TcAttachType::Ingress)
            .map_err(|error| failed(describe(&error)))?;
        if !at_hook.iter().any(|other| other.id() == info.id()) {
            return Err(LiveError::Foreign(format!(
                "program {} of {} does not stand at the ingress of {}",
                info.id(),
                pin.display(),
                self.notes.interface
            )));
        }
        let maps = info.map_ids().map_err(|error| failed(describe(&error)))?.unwrap_or_default();
        for map in maps {
            let map = MapInfo::from_id(map).map_err(|error| failed(describe(&error)))?;
            // The name is cut to 15 bytes; no other read-only section of the program has a value of 32 bytes.
            if map.name().starts_with(b".rodata") && map.value_size() == 32 && map.max_entries() == 1 {
                let program_hash = frozen_value(map.id()).map_err(failed)?;
                return Ok(LoadedProgram { id: info.id(), tag: info.tag(), program_hash });
            }
        }
        Err(LiveError::Foreign(format!("program {} has no map with a program hash", info.id())))
    }

    /// The name of its rule set, as who attached it wrote it down.
    pub fn profile(&self) -> &str {
        &self.notes.profile
    }

    /// The config that the program runs with, from the map that it reads.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn config(&self) -> Result<Config, LiveError> {
        Ok(self.settings()?.config)
    }

    /// Whether it coalesces.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn activity(&self) -> Result<Activity, LiveError> {
        Ok(match self.settings()?.mode {
            mode::IN_PLACE => Activity::Coalesces,
            mode::DRAINING => Activity::Drains,
            mode::IDLE => Activity::Rests,
            _ => Activity::Other,
        })
    }

    /// Delivers what is held; from then on every packet passes untouched, until [`Attachment::resume`]. Packets that come meanwhile keep
    /// their order: they queue behind what is under way. Must run in the network namespace of the interface.
    ///
    /// # Errors
    /// What the kernel said, or frames that did not come back. The program then coalesces again.
    pub fn rest(&mut self) -> Result<(), LiveError> {
        let drained = self.drain();
        // Once nothing is under way, a draining program passes packets at once, so that nothing can overtake here.
        self.set_mode(if drained.is_ok() { mode::IDLE } else { mode::IN_PLACE })?;
        drained
    }

    /// Coalesces again.
    ///
    /// # Errors
    /// The map cannot be written.
    pub fn resume(&mut self) -> Result<(), LiveError> {
        self.set_mode(mode::IN_PLACE)
    }
}

/// The kernel's tag of the committed program of a rule set. It is loaded for that, and attached to nothing.
///
/// # Errors
/// The kernel refuses it.
pub fn committed_tag(profile: Release) -> Result<u64, LoadError> {
    Ok(Program::load(&Object::committed(profile))?.loaded()?.tag)
}

/// The value of a map of one entry that nobody can change any more.
fn frozen_value(id: u32) -> Result<[u8; 32], String> {
    let map = MapData::from_id(id).map_err(|error| describe(&error))?;
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let info = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let is_frozen = info.lines().any(|line| line.split_whitespace().eq(["frozen:", "1"]));
    if !is_frozen {
        return Err(format!("map {id} with the program hash is not frozen: anybody may have written it"));
    }
    let map = Array::<_, [u8; 32]>::try_from(Map::Array(map)).map_err(|error| describe(&error))?;
    map.get(&0, 0).map_err(|error| describe(&error))
}

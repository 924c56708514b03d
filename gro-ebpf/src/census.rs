//! Which BPF objects the kernel holds: the harness's way to see that nothing stays behind.

use crate::program::LoadError;
use std::collections::BTreeMap;

/// The loaded programs, maps and links by their numbers, each with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Programs.
    pub programs: BTreeMap<u32, String>,
    /// Maps.
    pub maps: BTreeMap<u32, String>,
    /// Links, which have no names.
    pub links: BTreeMap<u32, String>,
}

impl Census {
    /// Of the whole machine, whoever loaded them. An object that goes while it is looked at is left out.
    ///
    /// # Errors
    /// [`LoadError::Refused`] without the rights.
    pub fn take() -> Result<Self, LoadError> {
        let mut census = Self::default();
        for program in aya::programs::loaded_programs() {
            match program {
                Ok(program) => {
                    census
                        .programs
                        .insert(program.id(), program.name_as_str().unwrap_or_default().to_owned());
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(LoadError::Refused(error.to_string())),
            }
        }
        for map in aya::maps::loaded_maps() {
            match map {
                Ok(map) => {
                    census.maps.insert(map.id(), map.name_as_str().unwrap_or_default().to_owned());
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(LoadError::Refused(error.to_string())),
            }
        }
        for link in aya::programs::loaded_links() {
            match link {
                Ok(link) => {
                    census.links.insert(link.id(), format!("of program {}", link.program_id()));
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(LoadError::Refused(error.to_string())),
            }
        }
        Ok(census)
    }

    /// What is there and was not there before, in words: `program 12 gro, map 7 STATE`. Empty when nothing is.
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        let kinds = [
            ("program", &self.programs, &before.programs),
            ("map", &self.maps, &before.maps),
            ("link", &self.links, &before.links),
        ];
        let new = kinds.into_iter().flat_map(|(kind, now, then)| {
            now.iter()
                .filter(|(id, _)| !then.contains_key(id))
                .map(move |(id, name)| format!("{kind} {id} {name}"))
        });
        new.collect()
    }
}

/// Whether an object went between its number and its description.
fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.raw_os_error() == Some(libc::ENOENT);
        }
        cause = error.source();
    }
    false
}

//! The built objects, and what they say of themselves.

use gro_core::Release;
use object::{Object as _, ObjectSection as _};

/// A BPF object file.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    bytes: &'a [u8],
}

/// Why an object is refused.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not an ELF file.
    #[error("not an ELF object: {0}")]
    Elf(#[from] object::Error),
    /// The section is not there.
    #[error("the object has no section `{0}`: it is not a gro tc program")]
    Section(&'static str),
    /// The section has another size.
    #[error("section `{SECTION}` has {0} bytes instead of 32: it is not a gro tc program")]
    Size(usize),
}

/// Section of the object, and map of the loaded program, that holds the program hash.
pub(crate) const SECTION: &str = ".rodata.program_hash";

/// Gives the bytes the alignment that ELF readers want.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static LINUX_6_12: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/gro-linux-6.12.o"));
static LINUX_6_18: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/gro-linux-6.18.o"));
static LINUX_7: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/gro-linux-7.x.o"));
static INJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/inject.o"));
static OBSERVE: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/observe.o"));
static FORWARD: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/forward.o"));
static VIA: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/via.o"));
static IMPAIR: &Aligned<[u8]> = &Aligned(*include_bytes!("../image/impair.o"));

impl Object<'static> {
    /// The committed tc program of a profile.
    pub fn committed(release: Release) -> Self {
        let Aligned(bytes) = match release {
            Release::Linux612 => LINUX_6_12,
            Release::Linux618 => LINUX_6_18,
            Release::Linux7 => LINUX_7,
        };
        Self { bytes }
    }

    /// The committed injector of the harness.
    pub fn injector() -> Self {
        Self { bytes: &INJECT.0 }
    }

    /// The committed observer of the harness.
    pub fn observer() -> Self {
        Self { bytes: &OBSERVE.0 }
    }

    /// The committed forwarder of the harness.
    pub fn forwarder() -> Self {
        Self { bytes: &FORWARD.0 }
    }

    /// The committed programs between an interface and a TAP device.
    pub fn via_tap() -> Self {
        Self { bytes: &VIA.0 }
    }

    /// The committed lossy wire of the harness.
    pub fn impairer() -> Self {
        Self { bytes: &IMPAIR.0 }
    }
}

impl<'a> Object<'a> {
    /// Any object; it is looked at when it is used.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The ELF file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The program hash that is compiled into it.
    pub fn program_hash(&self) -> Result<[u8; 32], ObjectError> {
        let elf = object::File::parse(self.bytes)?;
        let section = elf.section_by_name(SECTION).ok_or(ObjectError::Section(SECTION))?;
        let data = section.data()?;
        data.try_into().map_err(|_| ObjectError::Size(data.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_an_object() {
        assert!(matches!(Object::from_bytes(b"hello").program_hash(), Err(ObjectError::Elf(_))));
        assert!(matches!(Object::injector().program_hash(), Err(ObjectError::Section(_))));
        let whole = Object::committed(Release::Linux618).bytes();
        for cut in (0..whole.len()).step_by(97) {
            assert!(Object::from_bytes(&whole[..cut]).program_hash().is_err());
        }
    }

    #[test]
    fn each_committed_object_carries_its_own_hash() {
        let hashes = Release::ALL.map(|release| Object::committed(release).program_hash().unwrap());
        assert!(!hashes.contains(&[0; 32]) && hashes[0] != hashes[1] && hashes[1] != hashes[2]);
    }
}

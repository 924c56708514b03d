//! MANIFEST: where an image comes from and what its program is expected to do, as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rules::is_unprintable;
use super::{Image, ImageError, Isa, MANIFEST_MAX};

/// Version of the manifest's fields.
pub(super) const SCHEMA: u32 = 1;

/// The manifest of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub schema: u32,
    /// Profile name, as the header has it.
    pub profile: String,
    /// Program hash, as the header has it.
    pub program_hash: Hex<32>,
    /// Source hash, as the header has it.
    pub source_hash: Hex<32>,
    /// Hashes of the code, by the instruction set's name.
    pub code: BTreeMap<String, CodeHashes>,
    /// Where it comes from, and what is expected of it.
    pub provenance: Provenance,
}

/// What only the builder of an image can know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// What compiled and linked the code.
    pub toolchain: Toolchain,
    /// The tc program of the same sources and profile.
    pub twin: Twin,
    /// What the engine decides on the shipped traces.
    pub traces: Vec<ExpectedTrace>,
}

/// Hashes of one instruction set's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeHashes {
    /// SHA-256 over the CODE section.
    pub sha256: Hex<32>,
    /// SHA-256 over the whole instruction memory after loading: what the device's boot ROM must report.
    pub measurement: Hex<32>,
}

/// Versions as the tools print them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: String,
    /// The linker.
    pub linker: String,
}

/// The tc object that makes the same decisions in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twin {
    /// Its file name.
    pub file: String,
    /// SHA-256 over the file.
    pub sha256: Hex<32>,
}

/// One trace, and what comes out of it under the default config and the trace's own rules (UDP, tunnels).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedTrace {
    /// The trace's name.
    pub name: String,
    /// SHA-256 over its file.
    pub sha256: Hex<32>,
    /// Frames in it.
    pub frames: u64,
    /// Packets that leave.
    pub packets: u64,
    /// Decision digest at its end, as a big-endian number.
    pub decision_digest: Hex<8>,
}

/// Bytes that are written as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Hex<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<const N: usize> std::str::FromStr for Hex<N> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; N];
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 2 * N || !text.as_bytes().iter().all(is_hex) {
            return Err(format!("not {} digits of lower-case hexadecimal", 2 * N));
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap_or_default();
        }
        Ok(Self(bytes))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Manifest {
    /// The manifest's one form: indented JSON with the fields in their order and a line end.
    ///
    /// # Errors
    /// None that these types can cause; what serde_json says.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

fn refused(why: impl Into<String>) -> ImageError {
    ImageError::Manifest { why: why.into() }
}

pub(super) fn read(section: &[u8]) -> Result<Manifest, ImageError> {
    if section.len() > MANIFEST_MAX {
        return Err(refused("more than 64 KiB"));
    }
    let manifest: Manifest =
        serde_json::from_slice(section).map_err(|error| refused(format!("not its JSON: {error}")))?;
    let canonical = manifest.to_json().map_err(|error| refused(error.to_string()))?;
    if canonical.as_bytes() != section {
        return Err(refused("not in the one form that it has (order of fields, blanks)"));
    }
    if manifest.schema != SCHEMA {
        return Err(refused(format!("its schema is {}, known is {SCHEMA}", manifest.schema)));
    }
    let Provenance { toolchain, twin, traces } = &manifest.provenance;
    let names = [&toolchain.rustc, &toolchain.linker, &twin.file];
    let names = names.into_iter().chain(traces.iter().map(|trace| &trace.name));
    for name in names {
        if name.is_empty() || name.contains(is_unprintable) || name.contains(['\t', '\n', '\r']) {
            return Err(refused("a name is empty or has a control character"));
        }
    }
    for (index, trace) in traces.iter().enumerate() {
        if traces[..index].iter().any(|other| other.name == trace.name) {
            return Err(refused(format!("trace {} stands there twice", trace.name)));
        }
        if trace.packets > trace.frames {
            return Err(refused(format!("trace {} has more packets than frames", trace.name)));
        }
    }
    Ok(manifest)
}

/// Refuses a manifest that says something else than the image it is in.
pub(super) fn check(image: &Image) -> Result<(), ImageError> {
    let manifest = &image.manifest;
    if manifest.profile != image.profile {
        return Err(refused("its profile is not the header's"));
    }
    if manifest.program_hash.0 != image.program_hash {
        return Err(refused("its program hash is not the header's"));
    }
    if manifest.source_hash.0 != image.source_hash {
        return Err(refused("its source hash is not the header's"));
    }
    let code = code_hashes(image);
    if !manifest.code.keys().eq(code.keys()) {
        return Err(refused("its instruction sets are not those of the image"));
    }
    for (name, hashes) in &code {
        if manifest.code.get(name).is_none_or(|stated| stated.sha256 != hashes.sha256) {
            return Err(refused(format!("its hash of the {name} code is not that of the section")));
        }
        if manifest.code.get(name) != Some(hashes) {
            return Err(refused(format!("its measurement of {name} is not that of the code in its memory")));
        }
    }
    Ok(())
}

/// What the manifest must say of an image's code.
fn code_hashes(image: &Image) -> BTreeMap<String, CodeHashes> {
    let first = Some((Isa::Rv32imc, &image.code, &image.memory));
    let second = image.rv64imac.as_ref().map(|member| (Isa::Rv64imac, &member.code, &member.memory));
    let members = first.into_iter().chain(second);
    members.map(|(isa, code, memory)| (isa.name().to_owned(), CodeHashes::of(code, memory))).collect()
}

impl CodeHashes {
    /// Those of a program in its instruction memory.
    pub fn of(code: &super::Segment, memory: &super::MemoryMap) -> Self {
        use sha2::{Digest as _, Sha256};
        Self {
            sha256: Hex(Sha256::digest(&code.bytes).into()),
            measurement: Hex(code.measurement(&memory.imem)),
        }
    }
}

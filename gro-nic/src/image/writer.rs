//! Writes an image: header, section table, then the sections in their order, so that equal input gives equal bytes.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::layout::{self, header, section, signature};
use super::manifest::{self, CodeHashes, Manifest, Provenance};
use super::table::{put, table_end};
use super::{
    Hex, Image, ImageError, Isa, Member, MemoryMap, Parameter, Segment, config, contract, contract_hash,
    identity,
};

/// The parts of an image, to be written as a file. The ABI section and the manifest's hashes come of themselves; the signature's slot is
/// left empty.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    /// Program hash of the engine in the code.
    pub program_hash: [u8; 32],
    /// Source hash of the engine in the code.
    pub source_hash: [u8; 32],
    /// Profile name, ASCII, 1 to 31 bytes.
    pub profile: String,
    /// Address of the first instruction.
    pub entry: u32,
    /// Code and constants of the rv32imc program.
    pub code: Segment,
    /// Its initialised data and the memory behind it.
    pub data: Segment,
    /// Memories that it uses.
    pub memory: MemoryMap,
    /// The program for a 64-bit core, if the image is to have one.
    pub rv64imac: Option<Member>,
    /// The document of the parse graph, 1 byte to [`super::RULES_MAX`].
    pub rules: String,
    /// What the host may set: [`ImageBuilder::parameters`], or the same with narrower limits.
    pub config: Vec<Parameter>,
    /// What the manifest says beside the hashes.
    pub provenance: Provenance,
}

/// A section to be written: kind, instruction set, address, bytes, size in memory.
type Part<'a> = (u32, u32, u32, &'a [u8], u32);

impl ImageBuilder {
    /// Every parameter of this ABI with the widest limits.
    pub fn parameters() -> Vec<Parameter> {
        config::known()
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// What [`Image::parse`] would say of the result: a builder cannot write what a loader refuses.
    pub fn build(&self) -> Result<Vec<u8>, ImageError> {
        if self.profile.len() > 31 {
            return Err(ImageError::Profile);
        }
        let first = (Isa::Rv32imc, &self.code, &self.data, &self.memory);
        let second = self.rv64imac.as_ref();
        let second = second.map(|member| (Isa::Rv64imac, &member.code, &member.data, &member.memory));
        let members: Vec<_> = std::iter::once(first).chain(second).collect();
        let maps: Vec<_> = members.iter().map(|(.., memory)| memory.to_bytes()).collect();
        let config = config::to_bytes(&self.config);
        let manifest = self.manifest();
        let manifest = manifest.to_json().map_err(|error| ImageError::Manifest { why: error.to_string() })?;

        let mut parts: Vec<Part<'_>> = Vec::new();
        for &(isa, code, ..) in &members {
            parts.push((layout::CODE, isa as u32, code.address, &code.bytes, code.memory_size));
        }
        for &(isa, _, data, _) in &members {
            parts.push((layout::DATA, isa as u32, data.address, &data.bytes, data.memory_size));
        }
        for (&(isa, ..), map) in members.iter().zip(&maps) {
            parts.push((layout::MEMMAP, isa as u32, 0, map, 0));
        }
        let slot = [0; signature::SIZE];
        let for_the_host: [(u32, &[u8]); 5] = [
            (layout::RULES, self.rules.as_bytes()),
            (layout::CONTRACT, contract().as_bytes()),
            (layout::CONFIG, &config),
            (layout::MANIFEST, manifest.as_bytes()),
            (layout::SIG, &slot),
        ];
        parts.extend(for_the_host.map(|(kind, bytes)| (kind, layout::ISA_NONE, 0, bytes, 0)));
        let file = self.assemble(&parts);
        Image::parse(&file)?;
        Ok(file)
    }

    fn manifest(&self) -> Manifest {
        let mut code = BTreeMap::new();
        code.insert(Isa::Rv32imc.name().to_owned(), CodeHashes::of(&self.code, &self.memory));
        if let Some(member) = &self.rv64imac {
            code.insert(Isa::Rv64imac.name().to_owned(), CodeHashes::of(&member.code, &member.memory));
        }
        Manifest {
            schema: manifest::SCHEMA,
            profile: self.profile.clone(),
            program_hash: Hex(self.program_hash),
            source_hash: Hex(self.source_hash),
            code,
            provenance: self.provenance.clone(),
        }
    }

    fn assemble(&self, parts: &[Part<'_>]) -> Vec<u8> {
        let start = table_end(parts.len() as u32);
        let mut table = Vec::new();
        let mut body = Vec::new();
        for &(kind, isa, address, bytes, memory_size) in parts {
            let mut entry = [0; section::SIZE];
            put(&mut entry, section::KIND, kind);
            put(&mut entry, section::ISA, isa);
            put(&mut entry, section::ADDRESS, address);
            put(&mut entry, section::OFFSET, (start + body.len()) as u32);
            put(&mut entry, section::FILE_SIZE, bytes.len() as u32);
            put(&mut entry, section::MEMORY_SIZE, memory_size);
            put(&mut entry, section::FLAGS, layout::flags_of(kind));
            if kind != layout::SIG {
                entry[section::SHA256..].copy_from_slice(&Sha256::digest(bytes));
            }
            table.extend_from_slice(&entry);
            body.extend_from_slice(bytes);
            body.resize(body.len().next_multiple_of(layout::ALIGN), 0);
        }

        let mut file = vec![0; header::SIZE];
        file[..8].copy_from_slice(&layout::MAGIC);
        put(&mut file, header::ABI, layout::IMAGE_ABI);
        put(&mut file, header::TOTAL, (start + body.len()) as u32);
        put(&mut file, header::SECTIONS, parts.len() as u32);
        put(&mut file, header::ENTRY, self.entry);
        file[header::PROGRAM..header::PROGRAM + 32].copy_from_slice(&self.program_hash);
        file[header::SOURCE..header::SOURCE + 32].copy_from_slice(&self.source_hash);
        file[header::PROFILE..header::PROFILE + self.profile.len()].copy_from_slice(self.profile.as_bytes());
        file[header::CONTRACT..header::CONTRACT + 32].copy_from_slice(&contract_hash());
        file.extend_from_slice(&table);
        file.extend_from_slice(&body);
        let id = identity(&file, file.len() - signature::SIZE);
        file[header::ID..header::ID + 32].copy_from_slice(&id);
        file
    }
}

impl From<Image> for ImageBuilder {
    /// The same parts; what the builder writes of them is the image without its signature.
    fn from(image: Image) -> Self {
        let Image {
            program_hash,
            source_hash,
            profile,
            entry,
            code,
            data,
            memory,
            rv64imac,
            rules,
            config,
            ..
        } = image;
        let provenance = image.manifest.provenance;
        Self {
            program_hash,
            source_hash,
            profile,
            entry,
            code,
            data,
            memory,
            rv64imac,
            rules,
            config,
            provenance,
        }
    }
}

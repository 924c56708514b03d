//! What the hashes of the engine cover, and how.
//!
//! Compiled into the build script, which puts the hashes into every artefact, and into `xtask`, which checks with it that an image
//! carries the parse graph that its hash was computed from, and where the tests below run.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// The parse graph, by its path below `gro-core`.
pub(crate) const PARSE_GRAPH: &str = "parser.json";

/// The files that the source hash covers, by path with `/` between its parts, which is the order in which they are hashed.
pub(crate) type Sources = BTreeMap<String, Vec<u8>>;

/// Reads the sources of the engine in `gro_core`, the folder of the crate: the Rust files below `src/`, by their path there, and the
/// parse graph. `src/user/` is left out: it is a datapath, like the tc program and the firmware.
pub(crate) fn read(gro_core: &Path) -> io::Result<Sources> {
    let mut sources = Sources::new();
    collect(&gro_core.join("src"), "", &mut sources)?;
    sources.retain(|path, _| !path.starts_with("user/"));
    sources.insert(PARSE_GRAPH.to_owned(), fs::read(gro_core.join(PARSE_GRAPH))?);
    Ok(sources)
}

fn collect(folder: &Path, prefix: &str, sources: &mut Sources) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.insert(prefix.to_owned() + &name, fs::read(path)?);
        }
    }
    Ok(())
}

/// SHA-256 over the domain tag and, for every file in byte order of its path, the path, its length and its bytes.
pub(crate) fn source_hash(sources: &Sources) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(b"gro source 1\0");
    for (path, bytes) in sources {
        hasher.update((path.len() as u64).to_le_bytes());
        hasher.update(path.as_bytes());
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().into()
}

/// SHA-256(domain tag, source hash, profile name).
pub(crate) fn program_hash(source_hash: &[u8; 32], profile: &str) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(b"gro program 1\0");
    hasher.update(source_hash);
    hasher.update(profile.as_bytes());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate's folder with the least in it.
    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("gro-source-hash-{name}-{}", std::process::id()));
        for (file, text) in
            [("src/lib.rs", "a"), ("src/parse/mod.rs", "b"), ("src/user/mod.rs", "c"), ("parser.json", "{}")]
        {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_hash_is_the_one_that_the_specification_describes() {
        let folder = folder("bytes");
        let mut text = b"gro source 1\0".to_vec();
        for (path, bytes) in [("lib.rs", "a"), ("parse/mod.rs", "b"), ("parser.json", "{}")] {
            text.extend((path.len() as u64).to_le_bytes());
            text.extend(path.bytes());
            text.extend((bytes.len() as u64).to_le_bytes());
            text.extend(bytes.bytes());
        }
        let hash = source_hash(&read(&folder).unwrap());
        assert_eq!(hash[..], Sha256::digest(&text)[..]);
        let text = [&b"gro program 1\0"[..], &hash, b"linux-6.18"].concat();
        assert_eq!(program_hash(&hash, "linux-6.18")[..], Sha256::digest(text)[..]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_parse_graph_and_every_source_change_the_hash_and_a_datapath_does_not() {
        let folder = folder("change");
        let hash = || source_hash(&read(&folder).unwrap());
        for (file, text, counts) in [
            ("parser.json", "{} ", true),
            ("src/parse/mod.rs", "B", true),
            ("src/parse/new.rs", "", true),
            ("src/user/mod.rs", "C", false),
            ("src/notes.txt", "", false),
            ("README.md", "", false),
        ] {
            let before = hash();
            fs::write(folder.join(file), text).unwrap();
            assert_eq!(hash() != before, counts, "{file}");
        }
        fs::remove_file(folder.join("parser.json")).unwrap();
        assert!(read(&folder).is_err(), "an engine without its document has no hash");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn this_checkout_has_the_hashes_that_are_compiled_into_the_engine() {
        let gro_core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gro-core");
        let sources = read(&gro_core).unwrap();
        assert_eq!(sources[PARSE_GRAPH], fs::read(gro_core.join("parser.json")).unwrap());
        let hash = source_hash(&sources);
        assert_eq!(hash, gro_core::source_hash());
        for release in gro_core::Release::ALL {
            assert_eq!(program_hash(&hash, release.name()), release.program_hash());
        }
    }
}

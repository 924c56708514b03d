//! A copy of the checkout that keeps what was built in it.

use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Folders that are no sources.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// Makes `to` a copy of `from`, apart from build folders and version control, with `edited` files as given. A file that is as it should
/// be keeps its time, so that a second run compiles little.
pub(super) fn sync(from: &Path, to: &Path, edited: &[(&Path, &[u8])]) -> Result<()> {
    folder(from, to, Path::new(""), edited)
}

fn folder(from: &Path, to: &Path, below: &Path, edited: &[(&Path, &[u8])]) -> Result<()> {
    let (source, copy) = (from.join(below), to.join(below));
    fs::create_dir_all(&copy).with_context(|| copy.display().to_string())?;
    let names = names(&source)?;
    for name in self::names(&copy)?.difference(&names) {
        let stale = copy.join(name);
        if stale.is_dir() { fs::remove_dir_all(&stale) } else { fs::remove_file(&stale) }
            .with_context(|| stale.display().to_string())?;
    }
    for name in names {
        let path = below.join(name);
        if from.join(&path).is_dir() {
            folder(from, to, &path, edited)?;
            continue;
        }
        let bytes = match edited.iter().find(|(edited, _)| *edited == path) {
            Some((_, bytes)) => bytes.to_vec(),
            None => fs::read(from.join(&path)).with_context(|| path.display().to_string())?,
        };
        let copy = to.join(&path);
        if fs::read(&copy).ok().as_deref() != Some(&*bytes) {
            fs::write(&copy, bytes).with_context(|| copy.display().to_string())?;
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        names.insert(entry?.file_name());
    }
    names.retain(|name| !LEFT_OUT.iter().any(|left_out| name == left_out));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_follows_and_equal_files_keep_their_time() {
        let scratch = std::env::temp_dir().join(format!("gro-checkout-{}", std::process::id()));
        let (from, to) = (scratch.join("from"), scratch.join("to"));
        let put = |file: &str, text: &str| {
            fs::create_dir_all(from.join(file).parent().unwrap()).unwrap();
            fs::write(from.join(file), text).unwrap();
        };
        for file in ["a/b.rs", "a/c.rs", "doc.json", "target/x", "a/target/y", ".git/z"] {
            put(file, "1");
        }
        let edited = [(Path::new("doc.json"), &b"2"[..])];
        sync(&from, &to, &edited).unwrap();
        let read = |file: &str| fs::read_to_string(to.join(file)).ok();
        assert_eq!((read("a/b.rs"), read("doc.json")), (Some("1".into()), Some("2".into())));
        assert!(read("target/x").is_none() && read("a/target/y").is_none() && read(".git/z").is_none());

        // Built in the copy, changed there, gone from the checkout.
        fs::create_dir_all(to.join("target")).unwrap();
        fs::write(to.join("target/built"), "3").unwrap();
        fs::write(to.join("a/c.rs"), "generated").unwrap();
        fs::write(to.join("toy.pcapng"), "4").unwrap();
        let time = |file: &str| fs::metadata(to.join(file)).unwrap().modified().unwrap();
        let times = (time("a/b.rs"), time("doc.json"));
        std::thread::sleep(std::time::Duration::from_millis(20));
        sync(&from, &to, &edited).unwrap();
        assert_eq!((time("a/b.rs"), time("doc.json")), times);
        assert_eq!(read("a/c.rs"), Some("1".into()), "what a command wrote before does not count");
        assert_eq!((read("target/built"), read("toy.pcapng")), (Some("3".into()), None));
        fs::remove_dir_all(scratch).unwrap();
    }
}

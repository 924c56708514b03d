//! Where attachments are found that outlive the command: pins in a BPF file system.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Folder of all attachments that did not ask for another.
pub const ROOT: &str = "/sys/fs/bpf/gro";

/// The directory of an interface's attachment: `IF@NETNS`, the namespace by its number.
///
/// A BPF file system has no dots in names (`bpf_lookup`, kernel/bpf/inode.c), so that of `eth0.7` becomes a colon, which no
/// interface has.
pub fn directory(interface: &str, netns: u64) -> PathBuf {
    Path::new(ROOT).join(format!("{}@{netns}", interface.replace('.', ":")))
}

/// Interface and namespace of a directory that [`directory`] named.
pub fn owner(directory: &Path) -> Option<(String, u64)> {
    let (interface, netns) = directory.file_name()?.to_str()?.rsplit_once('@')?;
    Some((interface.replace(':', "."), netns.parse().ok()?))
}

/// Every directory of pins in [`ROOT`], in order.
pub fn list() -> io::Result<Vec<PathBuf>> {
    entries(ROOT, |path| owner(path).is_some() && is_used(path))
}

/// What is kept of a folder, in order; nothing where there is none.
pub(super) fn entries(folder: &str, keep: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    found.retain(|path| keep(path));
    found.sort();
    Ok(found)
}

/// Whether there are pins in a directory.
pub fn is_used(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// Whether a directory, or the first of its parents that is there, lies in a BPF file system.
pub fn in_bpffs(directory: &Path) -> bool {
    const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
    let Some(there) = directory.ancestors().find(|path| path.exists()) else { return false };
    let Ok(path) = CString::new(there.as_os_str().as_bytes()) else { return false };
    // SAFETY: all-zero is a valid value of these plain words; the call fills them, and reads a terminated path.
    unsafe {
        let mut system: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut system) == 0 && system.f_type as u32 == BPF_FS_MAGIC
    }
}

/// Where BPF file systems are mounted.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Whether a directory is in a BPF file system, or will be once that is mounted in its usual place.
pub fn can_hold(directory: &Path) -> bool {
    in_bpffs(directory) || directory.starts_with(MOUNT_POINT) && Path::new(MOUNT_POINT).is_dir()
}

/// Mounts the BPF file system in its usual place, if the directory lies there and it is not.
pub(super) fn mount_for(directory: &Path) -> io::Result<()> {
    if in_bpffs(directory) || !directory.starts_with(MOUNT_POINT) {
        return Ok(());
    }
    let point = CString::new(MOUNT_POINT)?;
    // SAFETY: the strings are terminated; this kind of file system takes no data.
    let result =
        unsafe { libc::mount(c"bpf".as_ptr(), point.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_its_owner() {
        let path = directory("eth0.7", 4_026_531_833);
        assert_eq!(path, Path::new("/sys/fs/bpf/gro/eth0:7@4026531833"));
        assert_eq!(owner(&path), Some(("eth0.7".into(), 4_026_531_833)));
        assert_eq!(owner(&directory("a@b", 1)), Some(("a@b".into(), 1)));
        for other in ["/sys/fs/bpf/gro/eth0", "/sys/fs/bpf/gro/eth0@", "/"] {
            assert_eq!(owner(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_folder_elsewhere_is_no_bpffs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!in_bpffs(folder.path()) && !in_bpffs(&folder.path().join("not/there")));
        assert!(!is_used(folder.path()) && !is_used(&folder.path().join("not")));
        std::fs::write(folder.path().join("pin"), "").unwrap();
        assert!(is_used(folder.path()));
    }
}

//! The board's RAM: a file that QEMU and this process both have mapped.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::NamedTempFile;

/// A mapped file. Offsets are in bytes; what lies outside reads as zero and is not written.
#[derive(Debug)]
pub(super) struct Shared {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone in this process, and its address is good in every thread.
unsafe impl Send for Shared {}

/// A new sparse file of `length` bytes of zeros, in memory where the system has a folder for that. It goes away with the value; whoever
/// has it open or mapped keeps it.
pub(super) fn create(length: u64) -> io::Result<NamedTempFile> {
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let file = tempfile::Builder::new().prefix("gro-qemu-").tempfile_in(folder)?;
    file.as_file().set_len(length)?;
    Ok(file)
}

impl Shared {
    /// Maps the first `length` bytes of `file`.
    pub(super) fn map(file: &File, length: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, of whose address nothing is demanded.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file.as_raw_fd(), 0) };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A word, with everything that the other side wrote before it.
    pub(super) fn word(&self, offset: usize) -> u32 {
        self.atomic(offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Writes a word behind everything that was written before.
    pub(super) fn set_word(&self, offset: usize, value: u32) {
        if let Some(word) = self.atomic(offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Copies bytes out.
    pub(super) fn read(&self, offset: usize, bytes: &mut [u8]) {
        match self.range(offset, bytes.len()) {
            // SAFETY: the range is mapped as long as `self` lives, and `bytes` is not part of it: no reference into the mapping is
            // ever handed out. The other side may write meanwhile only what is not the host's by the rules of the rings; any
            // byte is a valid one.
            Some(place) => unsafe {
                std::ptr::copy_nonoverlapping(place.as_ptr(), bytes.as_mut_ptr(), bytes.len());
            },
            None => bytes.fill(0),
        }
    }

    /// Copies bytes in.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        if let Some(place) = self.range(offset, bytes.len()) {
            // SAFETY: as in `read`.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.as_ptr(), bytes.len()) }
        }
    }

    fn atomic(&self, offset: usize) -> Option<&AtomicU32> {
        let place = self.range(offset & !3, 4)?;
        // SAFETY: four mapped bytes at a multiple of 4 from the start of a page, reached as words only.
        Some(unsafe { AtomicU32::from_ptr(place.cast().as_ptr()) })
    }

    fn range(&self, offset: usize, length: usize) -> Option<NonNull<u8>> {
        let fits = offset.checked_add(length).is_some_and(|end| end <= self.length);
        // SAFETY: `offset` is inside the mapping.
        fits.then(|| unsafe { self.start.add(offset) })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

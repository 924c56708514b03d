//! Memory of 2 MiB pages, as drivers take it: the translation of addresses is not what is compared.

use std::io;
use std::ptr::NonNull;

const HUGE: usize = 2 << 20;

/// Anonymous memory, 2 MiB aligned, of huge pages where the kernel gives them. Zero when it is new.
#[derive(Debug)]
pub(crate) struct Region {
    mapped: NonNull<u8>,
    mapped_len: usize,
    start: NonNull<u8>,
    len: usize,
}

impl Region {
    /// At least `len` bytes, which are there at once: the first use of a page is nobody's cost.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let len = len.next_multiple_of(HUGE);
        let region = Self::lazy(len)?;
        for page in (0..len).step_by(4_096) {
            // SAFETY: inside the region, which nobody else knows yet.
            unsafe { region.start.add(page).write_volatile(0) };
        }
        Ok(region)
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Its first byte. All bytes are initialised; who uses them sees to it that no two uses collide.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    fn lazy(len: usize) -> io::Result<Self> {
        let mapped_len = len + HUGE;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: asks for new memory at no certain place.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), mapped_len, access, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapped = NonNull::new(mapped.cast::<u8>()).ok_or_else(|| io::Error::other("memory at 0"))?;
        let ahead = mapped.as_ptr().align_offset(HUGE);
        // SAFETY: one huge page more was mapped than is used, so that its aligned part is long enough.
        let start = unsafe { mapped.add(ahead) };
        // SAFETY: a part of the new mapping. Refused by a kernel without huge pages, and then there are none.
        unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        Ok(Self { mapped, mapped_len, start, len })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `lazy` in this length; who holds parts of it borrows the region.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), self.mapped_len) };
    }
}

/// MiB of this process that lie in huge pages, for the record; `None` where the kernel does not tell.
pub(crate) fn huge_mib() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1_024)
}

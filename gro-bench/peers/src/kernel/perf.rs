//! Samples of where the kernel is: perf events of the software clock, which need no performance counters.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// `struct perf_event_attr` (include/uapi/linux/perf_event.h), as long as PERF_ATTR_SIZE_VER5.
#[derive(Default)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clock: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}

const TYPE_SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
const SAMPLE_IP: u64 = 1;
const SAMPLE_CALLCHAIN: u64 = 1 << 5;
const INHERIT: u64 = 1 << 1;
const EXCLUDE_CALLCHAIN_USER: u64 = 1 << 22;
const IOC_DISABLE: libc::c_ulong = 0x2401;
const FLAG_CLOEXEC: libc::c_ulong = 8;
const RECORD_LOST: u32 = 2;
const RECORD_THROTTLE: u32 = 5;
const RECORD_SAMPLE: u32 = 9;
/// Call chains have words between the addresses that say whose those are: PERF_CONTEXT_MAX and above.
const CONTEXT: u64 = -4_095_i64 as u64;

const PAGE: usize = 4_096;
/// Pages of samples that can wait: a power of two. At 10,000 samples a second it fills in half a minute.
const PAGES: usize = 8_192;
/// From a checksum function to GRO it is three calls.
const STACK: u16 = 8;
/// Nanoseconds between samples, unless the kernel allows fewer. A sample takes some 10 µs, so that more of them would find the
/// caches as sampling left them.
const PERIOD: u64 = 100_000;

/// A sample: the address, and its callers' (kernel only).
pub(crate) type Sample = Vec<u64>;

/// Samples of one CPU.
pub(crate) struct Sampler {
    event: OwnedFd,
    pages: *mut u8,
}

/// What came since the last time.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) samples: Vec<Sample>,
    /// Samples that the kernel had no room for, or left out to spare the machine.
    pub(crate) lost: u64,
}

impl Sampler {
    /// Begins to sample this thread and those that it starts, while they are on a CPU.
    ///
    /// # Errors
    /// A kernel that does not let this process.
    pub(crate) fn start(cpu: usize) -> Result<Self> {
        let attributes = Attributes {
            kind: TYPE_SOFTWARE,
            size: size_of::<Attributes>() as u32,
            config: CPU_CLOCK,
            sample_period: period(),
            sample_type: SAMPLE_IP | SAMPLE_CALLCHAIN,
            flags: INHERIT | EXCLUDE_CALLCHAIN_USER,
            sample_max_stack: STACK,
            ..Attributes::default()
        };
        // SAFETY: the structure is as long as it says; pid 0 is this thread, with those that it starts.
        let event = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                0,
                cpu as libc::c_int,
                -1,
                FLAG_CLOEXEC,
            )
        };
        if event < 0 {
            return Err(io::Error::last_os_error()).context("perf_event_open of the software clock");
        }
        // SAFETY: new, and nobody else's.
        let event = unsafe { OwnedFd::from_raw_fd(event as i32) };
        let (access, len) = (libc::PROT_READ | libc::PROT_WRITE, (1 + PAGES) * PAGE);
        // SAFETY: asks for memory at no certain place.
        let pages =
            unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, event.as_raw_fd(), 0) };
        if pages == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("memory for perf samples");
        }
        Ok(Self { event, pages: pages.cast() })
    }

    /// Takes what came.
    ///
    /// # Errors
    /// Samples that are not as they should be.
    pub(crate) fn take(&mut self) -> Result<Batch> {
        let (head, tail) = (self.word(1_024), self.word(1_032));
        // Acquire: what the kernel wrote before it moved the head.
        let (end, start) = (head.load(Ordering::Acquire), tail.load(Ordering::Relaxed));
        let bytes: Vec<u8> = (start..end).map(|at| self.byte(at)).collect();
        tail.store(end, Ordering::Release);
        parse(&bytes)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: `data_head` and `data_tail` of `struct perf_event_mmap_page`, in the first page.
        unsafe { AtomicU64::from_ptr(self.pages.add(at).cast()) }
    }

    fn byte(&self, at: u64) -> u8 {
        let place = PAGE + at as usize % (PAGES * PAGE);
        // SAFETY: in the data pages; the kernel writes nothing between tail and head.
        unsafe { self.pages.add(place).read_volatile() }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: an event, and memory that was mapped in this length.
        unsafe {
            libc::ioctl(self.event.as_raw_fd(), IOC_DISABLE, 0);
            libc::munmap(self.pages.cast(), (1 + PAGES) * PAGE);
        }
    }
}

/// The kernel has a limit, which it lowers when sampling takes too long.
fn period() -> u64 {
    let limit = fs::read_to_string("/proc/sys/kernel/perf_event_max_sample_rate").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(10_000);
    PERIOD.max(1_000_000_000 / limit.max(1))
}

fn parse(mut bytes: &[u8]) -> Result<Batch> {
    let mut batch = Batch::default();
    while let Some((header, _)) = bytes.split_first_chunk::<8>() {
        let kind = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let len = usize::from(u16::from_ne_bytes([header[6], header[7]]));
        let Some((record, rest)) = bytes.split_at_checked(len).filter(|_| len >= 8) else {
            bail!("a perf record of {len} bytes, with {} left", bytes.len());
        };
        bytes = rest;
        let words =
            |from: usize| record[from..].as_chunks::<8>().0.iter().map(|&word| u64::from_ne_bytes(word));
        match kind {
            // The address; then how many there are in the chain, of which the first is the address again.
            RECORD_SAMPLE => {
                let mut sample: Sample = words(8).take(1).collect();
                sample.extend(words(24).filter(|&word| word < CONTEXT).skip(1));
                batch.samples.push(sample);
            }
            // An identifier, and how many.
            RECORD_LOST => batch.lost += words(16).next().unwrap_or(0),
            RECORD_THROTTLE => batch.lost += 1,
            _ => {}
        }
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, words: &[u64]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend((8 + 8 * words.len() as u16).to_ne_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn samples_are_an_address_and_its_callers() {
        let kernel = -128_i64 as u64;
        let mut bytes = record(RECORD_SAMPLE, &[7, 4, kernel, 7, 8, 9]);
        bytes.extend(record(RECORD_SAMPLE, &[5, 0]));
        bytes.extend(record(RECORD_LOST, &[1, 30]));
        let batch = parse(&bytes).unwrap();
        assert_eq!(batch.samples, [vec![7, 8, 9], vec![5]]);
        assert_eq!(batch.lost, 30);
        assert!(parse(&bytes[..50]).is_err());
    }
}

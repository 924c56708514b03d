//! Time in ticks of the processor's time-stamp counter, and what lies around it: caches and CPUs.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, __rdtscp, _mm_clflush, _mm_lfence, _mm_mfence, _rdtsc};
use std::io;
use std::time::{Duration, Instant};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// The counter, calibrated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    ticks_a_ns: f64,
    /// What a measurement of nothing shows.
    overhead: u64,
    clflushopt: bool,
}

impl Clock {
    /// Takes a tenth of a second.
    pub(crate) fn calibrate() -> Self {
        let (start, from) = (Instant::now(), Self::start());
        while start.elapsed() < Duration::from_millis(100) {}
        let ticks = Self::stop() - from;
        let ticks_a_ns = ticks as f64 / start.elapsed().as_nanos() as f64;
        let nothing = || {
            let from = Self::start();
            Self::stop() - from
        };
        let overhead = (0..2_000).map(|_| nothing()).min().unwrap_or(0);
        Self { ticks_a_ns, overhead, clflushopt: __cpuid_count(7, 0).ebx >> 23 & 1 == 1 }
    }

    /// Everything before is done when it is read, and nothing behind it has begun.
    #[inline(always)]
    pub(crate) fn start() -> u64 {
        // SAFETY: reads a counter and orders instructions; every x86-64 processor has both.
        unsafe {
            _mm_lfence();
            let ticks = _rdtsc();
            _mm_lfence();
            ticks
        }
    }

    /// The same for the end of a measurement.
    #[inline(always)]
    pub(crate) fn stop() -> u64 {
        let mut cpu = 0;
        // SAFETY: `cpu` is a place for the word that comes with it.
        unsafe {
            let ticks = __rdtscp(&raw mut cpu);
            _mm_lfence();
            ticks
        }
    }

    /// Ticks from [`Clock::start`] to [`Clock::stop`], without the cost of reading the counter.
    pub(crate) fn between(&self, start: u64, stop: u64) -> u64 {
        (stop - start).saturating_sub(self.overhead)
    }

    /// Nanoseconds of some ticks.
    pub(crate) fn ns(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_a_ns
    }

    /// Ticks of a nanosecond.
    pub(crate) fn ghz(&self) -> f64 {
        self.ticks_a_ns
    }

    /// Has the next use of these bytes come from memory.
    pub(crate) fn flush(&self, bytes: &[u8]) {
        let (start, end) = (bytes.as_ptr() as usize & !(LINE - 1), bytes.as_ptr() as usize + bytes.len());
        for line in (start..end).step_by(LINE) {
            // SAFETY: a line with bytes of `bytes` in it; its content stays.
            unsafe {
                if self.clflushopt {
                    asm!("clflushopt [{}]", in(reg) line, options(nostack, preserves_flags));
                } else {
                    _mm_clflush(line as *const u8);
                }
            }
        }
    }

    /// Waits until what was written and flushed is so.
    pub(crate) fn settle() {
        // SAFETY: orders instructions, no more.
        unsafe { _mm_mfence() };
    }
}

/// Binds the calling thread to a CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: `set` is a plain bit set of the size that is passed; CPU_SET checks the number against it.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The CPUs that this thread may run on.
pub(crate) fn cpus() -> io::Result<Vec<usize>> {
    // SAFETY: as above, and the kernel fills the set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect())
    }
}

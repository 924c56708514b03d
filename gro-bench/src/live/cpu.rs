//! What the CPUs did, of the whole machine: on a receive path most of it is nobody's (softirq).

use super::{LiveError, step};
use std::fs;
use std::time::{Duration, Instant};

/// The machine's CPUs at one moment (`/proc/stat`, proc(5)).
///
/// Its unit is 10 ms. Idle time is measured by the clock and only shown in that unit, so over seconds `busy` is exact to a
/// percent; how it splits is sampled at each timer tick (`CONFIG_TICK_CPU_ACCOUNTING`), and says less.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Instant,
    idle: f64,
    stolen: f64,
    softirq: f64,
    process: f64,
    cpus: f64,
}

/// What the CPUs did between two moments, in seconds of one CPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spent {
    /// Everything but idling: all CPUs' time, less what was idle and what the host took away.
    pub busy: f64,
    /// Of it in interrupts that belong to no process, as sampled.
    pub softirq: f64,
    /// Of it by this process, as it is charged with what interrupts it.
    pub process: f64,
    /// By the clock.
    pub seconds: f64,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// `/proc/stat` cannot be read.
    pub fn now() -> Result<Self, LiveError> {
        let text = fs::read_to_string("/proc/stat").map_err(step("reading /proc/stat"))?;
        let at = Instant::now();
        // SAFETY: the system call fills a plain structure of its own size.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
        // cpu user nice system idle iowait irq softirq steal
        let first = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> =
            first.split_ascii_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // SAFETY: plain question to the C library.
        let unit = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
        let part = |index: usize| ticks.get(index).copied().unwrap_or(0.0) / unit;
        let cpus = text.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as f64;
        Ok(Self {
            at,
            idle: part(3) + part(4),
            stolen: part(7),
            softirq: part(5) + part(6),
            process: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            cpus,
        })
    }

    /// What was done between `before` and this.
    pub fn since(&self, before: &Self) -> Spent {
        let seconds = (self.at - before.at).as_secs_f64();
        let away = self.idle - before.idle + self.stolen - before.stolen;
        Spent {
            busy: (seconds * self.cpus - away).max(0.0),
            softirq: self.softirq - before.softirq,
            process: self.process - before.process,
            seconds,
        }
    }
}

/// What the machine does when nothing is asked of it, in CPUs. Above a few percent, others disturb a measurement.
///
/// # Errors
/// As of [`Moment::now`].
pub fn background(window: Duration) -> Result<f64, LiveError> {
    let before = Moment::now()?;
    std::thread::sleep(window);
    let spent = Moment::now()?.since(&before);
    Ok(spent.busy / spent.seconds)
}

/// Waits until the machine does less than `limit` CPUs by itself, at most for `patience`; gives what it does then.
///
/// # Errors
/// As of [`Moment::now`].
pub fn settle(limit: f64, patience: Duration) -> Result<f64, LiveError> {
    let end = Instant::now() + patience;
    loop {
        let busy = background(Duration::from_millis(300))?;
        if busy < limit || Instant::now() >= end {
            return Ok(busy);
        }
    }
}

//! The end of in-place mode: everything that is held is delivered.
//!
//! From then on nothing new is held, and what is on its way round comes back by itself within one pass of the backlog. What the
//! backlog lost shows when something behind it comes back; so where something is missing, a small frame is sent round on that CPU.

use super::LiveError;
use crate::abi::round::KICK_PROTOCOL;
use crate::program::describe;
use aya::TestRunOptions;
use aya::programs::{SchedClassifier, TestRun as _};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// One pass of a backlog is shorter by far, whatever waits in it.
const PASS: Duration = Duration::from_millis(20);
/// Each frame sent round frees the packets of all lost carriers of a CPU, one a pass.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until nothing is under way on any CPU, and helps where something is missing. `under_way` tells for each CPU. Gives what is
/// left at the end of its patience.
pub(super) fn drain(
    kick: &SchedClassifier,
    under_way: impl Fn() -> Result<Vec<u32>, LiveError>,
) -> Result<u32, LiveError> {
    // A program that read the old mode has ended by then.
    thread::sleep(Duration::from_millis(5));
    let end = Instant::now() + PATIENCE;
    loop {
        let left = settled(&under_way)?;
        let total = left.iter().sum();
        if total == 0 || Instant::now() > end {
            return Ok(total);
        }
        for (cpu, _) in left.iter().enumerate().filter(|&(_, &count)| count > 0) {
            on_cpu(cpu, || send(kick))?;
        }
    }
}

/// What is under way once no more comes back by itself.
fn settled(under_way: &impl Fn() -> Result<Vec<u32>, LiveError>) -> Result<Vec<u32>, LiveError> {
    let end = Instant::now() + PASS;
    loop {
        let left = under_way()?;
        if left.iter().all(|&count| count == 0) || Instant::now() > end {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn send(kick: &SchedClassifier) -> Result<(), LiveError> {
    let mut frame = [0; 60];
    frame[12..14].copy_from_slice(&KICK_PROTOCOL.to_be_bytes());
    kick.test_run(TestRunOptions { data_in: Some(&frame), ..Default::default() })
        .map(drop)
        .map_err(|error| LiveError::Kernel("sending a frame round", describe(&error)))
}

/// Runs `work` on a CPU, in this thread. A CPU that this process may not use has nothing of ours in its backlog that waits for
/// it: it is left out.
fn on_cpu(cpu: usize, work: impl FnOnce() -> Result<(), LiveError>) -> Result<(), LiveError> {
    // SAFETY: the sets are plain bit sets of the size that is passed; the calls change this thread only.
    unsafe {
        let mut before: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut before) != 0 {
            return Err(LiveError::Kernel("reading a thread's CPUs", io::Error::last_os_error().to_string()));
        }
        if cpu >= libc::CPU_SETSIZE as usize {
            return Ok(());
        }
        let mut only: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut only);
        if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const only) != 0 {
            return Ok(());
        }
        let result = work();
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const before);
        result
    }
}

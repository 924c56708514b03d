//! The kernel's jiffies, exactly. The coarse clock has their step and not always their phase.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// Reads jiffies as the age of a TCP socket that never sent anything (`tcp_get_info`, net/ipv4/tcp.c).
#[derive(Debug)]
pub struct Jiffies {
    socket: OwnedFd,
}

/// A jiffy that is seen to begin has all of its time ahead; a thread that was away longer than this may have missed that.
const AWAY: Duration = Duration::from_micros(100);
/// 10 ms is the longest jiffy there is.
const PATIENCE: Duration = Duration::from_secs(10);

impl Jiffies {
    /// Opens the socket, which stays unbound and unconnected.
    pub fn open() -> io::Result<Self> {
        // SAFETY: plain system call; the result is checked.
        let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is a new descriptor that nobody else owns.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(raw) } })
    }

    /// Jiffies in milliseconds, modulo 2^32: another number in each.
    pub fn now(&self) -> io::Result<u32> {
        // SAFETY: all-zero is a valid value of these plain words; their size is passed, and the kernel writes no more.
        unsafe {
            let mut info: libc::tcp_info = zeroed();
            let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
            let (socket, value) = (self.socket.as_raw_fd(), (&raw mut info).cast());
            match libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, value, &raw mut size) {
                0 => Ok(info.tcpi_last_data_sent),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// Waits until a jiffy begins. Spins: who sleeps wakes up anywhere in a jiffy.
    pub fn begin(&self) -> io::Result<u32> {
        let end = Instant::now() + PATIENCE;
        let mut old = self.now()?;
        let mut seen = Instant::now();
        while seen < end {
            let new = self.now()?;
            let away = seen.elapsed();
            seen += away;
            if new != old && away < AWAY {
                return Ok(new);
            }
            old = new;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "no jiffy was seen to begin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_a_jiffy_later() {
        let Some(hz) = crate::kernel::hz() else { return eprintln!("skipped: no coarse clock") };
        let jiffies = Jiffies::open().unwrap();
        let steps: Vec<u32> = (0..20)
            .map(|_| {
                let before = jiffies.now().unwrap();
                jiffies.begin().unwrap().wrapping_sub(before)
            })
            .collect();
        // Ticks of an idle machine come late and then count double.
        assert!(steps.iter().all(|&step| step >= 1000 / hz), "{steps:?}");
        assert!(steps.iter().min().is_some_and(|&least| least <= 1000_u32.div_ceil(hz)), "{steps:?}");
    }
}

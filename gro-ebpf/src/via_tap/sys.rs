//! The system calls that several parts use.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// A new descriptor that a system call gave, or its error.
pub(super) fn owned(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system call gave it to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Sets a socket option; `T` is a C type of plain words.
pub(super) fn option<T: Copy>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` lives through the call and has the size that is passed.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a socket option may be: C types of plain words, of which every bit pattern is a value.
pub(super) trait Words: Copy {}
impl Words for libc::c_int {}
impl Words for u32 {}
impl Words for libc::tpacket_stats {}

/// Reads a socket option.
pub(super) fn read_option<T: Words>(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
) -> io::Result<T> {
    let mut size = size_of::<T>() as libc::socklen_t;
    // SAFETY: all-zero is a value of such a type; the kernel writes no more than the size that is passed.
    let (result, value) = unsafe {
        let mut value: T = zeroed();
        let raw = socket.as_raw_fd();
        (libc::getsockopt(raw, level, name, (&raw mut value).cast(), &raw mut size), value)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Keeps this thread on one of the CPUs that it may use: the one with this number among them, modulo how many there are.
pub(super) fn pin(number: usize) -> io::Result<()> {
    // SAFETY: the sets are plain bit sets of the size that is passed; the calls are about this thread.
    unsafe {
        let mut allowed: libc::cpu_set_t = zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut cpus = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &allowed));
        let count = libc::CPU_COUNT(&allowed).max(1) as usize;
        let mut only: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpus.nth(number % count).unwrap_or(0), &mut only);
        match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const only) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A request about an interface, by its name (netdevice(7)).
pub(super) fn interface_request(
    name: &str,
    number: libc::Ioctl,
    fill: impl FnOnce(&mut libc::ifreq),
) -> io::Result<libc::ifreq> {
    // SAFETY: plain system call; the result is checked.
    let socket = owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    let mut request = named(name)?;
    fill(&mut request);
    // SAFETY: a complete structure with a terminated name, which outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), number, &raw mut request) } {
        0 => Ok(request),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An empty request about an interface.
pub(super) fn named(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
        let text = format!("{name:?} is no interface name: it has 1 to {} bytes", libc::IFNAMSIZ - 1);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Nanoseconds of `CLOCK_MONOTONIC`, which is the clock of BPF programs.
pub(super) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec. This clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A random number other than 0.
pub(super) fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    loop {
        // SAFETY: writes at most four bytes to `bytes`.
        if unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } != bytes.len() as isize {
            return Err(io::Error::last_os_error());
        }
        if bytes != [0; 4] {
            return Ok(u32::from_ne_bytes(bytes));
        }
    }
}

//! What a stack gets: packets with a segment size, seen by a packet socket behind tc (packet(7), `PACKET_VNET_HDR`).

use super::topology::Host;
use super::{LiveError, step};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// TCP packets over IPv4 or IPv6 that an interface's stack got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GsoSeen {
    /// Packets with a segment size.
    pub merged: u64,
    /// Segments of them.
    pub segments: u64,
    /// Packets without one.
    pub single: u64,
    /// Bytes of the longest.
    pub longest: u64,
    /// Packets that the socket had no room for: with some, the other counts are too low.
    pub dropped: u64,
}

/// Counts until it is ended.
pub struct GsoWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<GsoSeen>>,
}

/// `struct virtio_net_hdr`
const HEADER: usize = 10;

impl GsoWatch {
    /// Watches an interface of a host.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(host: &Host, interface: &str, ipv6: bool) -> Result<Self, LiveError> {
        let socket = host.within(|| {
            let index = super::topology::index(interface)?;
            open(index, ipv6).map_err(step(format!("watching {interface}")))
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&stop);
        let thread = std::thread::spawn(move || count(&socket, ipv6, &stops));
        Ok(Self { stop, thread })
    }

    /// What it saw. Everything that was delivered before the call is counted.
    ///
    /// # Errors
    /// The socket failed.
    pub fn end(self) -> Result<GsoSeen, LiveError> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen.map_err(step("reading a packet socket")),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn open(index: u32, ipv6: bool) -> io::Result<OwnedFd> {
    let checked = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: plain system call; the result is checked.
    let raw = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: `raw` is a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    const ROOM: libc::c_int = 1 << 30;
    for (level, name, value) in [
        (libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1),
        (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1),
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM),
    ] {
        // SAFETY: the value lives through the call and its size is passed.
        checked(unsafe { libc::setsockopt(raw, level, name, (&raw const value).cast(), 4) })?;
    }
    let tick = libc::timeval { tv_sec: 0, tv_usec: 50_000 };
    // SAFETY: as above.
    checked(unsafe {
        let size = size_of::<libc::timeval>() as libc::socklen_t;
        libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const tick).cast(), size)
    })?;
    // Bound to a protocol it stands behind tc, as the stack does.
    let protocol = if ipv6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP };
    // SAFETY: all-zero is a valid address; its size is passed.
    checked(unsafe {
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (protocol as u16).to_be();
        address.sll_ifindex = index as libc::c_int;
        libc::bind(raw, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    })?;
    Ok(socket)
}

fn count(socket: &OwnedFd, ipv6: bool, stop: &AtomicBool) -> io::Result<GsoSeen> {
    const ETHERNET: usize = 14;
    let mut seen = GsoSeen::default();
    // Headers; `MSG_TRUNC` tells the length.
    let mut buffer = [0_u8; 128];
    loop {
        let stops = stop.load(Ordering::Relaxed);
        // SAFETY: the buffer lives through the call and its size is passed.
        let received = unsafe {
            libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_TRUNC)
        };
        let Ok(received) = usize::try_from(received) else {
            match io::Error::last_os_error() {
                error if !super::traffic::is_pause(&error) => return Err(error),
                _ if stops => break,
                _ => continue,
            }
        };
        let len = received.saturating_sub(HEADER);
        let protocol = buffer[HEADER + ETHERNET + if ipv6 { 6 } else { 9 }];
        if i32::from(protocol) != libc::IPPROTO_TCP {
            continue;
        }
        let gso_size = usize::from(u16::from_ne_bytes([buffer[4], buffer[5]]));
        // `hdr_len` of a packet that is received is what of it happens to lie in one piece (`virtio_net_hdr_from_skb`).
        let l4 = ETHERNET + if ipv6 { 40 } else { usize::from(buffer[HEADER + ETHERNET] & 15) * 4 };
        let header_len = l4 + usize::from(buffer[HEADER + l4 + 12] >> 4) * 4;
        seen.longest = seen.longest.max(len as u64);
        if buffer[1] == 0 || gso_size == 0 {
            seen.single += 1;
        } else {
            seen.merged += 1;
            seen.segments += len.saturating_sub(header_len).div_ceil(gso_size) as u64;
        }
    }
    // SAFETY: all-zero is a valid value of these plain words; the kernel writes no more than the size that is passed.
    seen.dropped = unsafe {
        let mut statistics: libc::tpacket_stats = zeroed();
        let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        let raw = socket.as_raw_fd();
        let place = (&raw mut statistics).cast();
        if libc::getsockopt(raw, libc::SOL_PACKET, libc::PACKET_STATISTICS, place, &raw mut size) != 0 {
            return Err(io::Error::last_os_error());
        }
        statistics.tp_drops.into()
    };
    Ok(seen)
}

//! A packet socket on one interface: what arrives, with its VLAN tag (packet(7)).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// A captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The frame, without the tag in `vlan`.
    pub bytes: Vec<u8>,
    /// TPID (high half) and TCI of the tag in metadata, 0 for none.
    pub vlan: u32,
    /// `skb->mark`, 0 on kernels that do not tell (before 5.19).
    pub mark: u32,
}

/// A packet socket.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// Longest packet of any backend.
const PACKET_MAX: usize = 1 << 20;
/// Room for what one poll delivers, many times over.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;

impl Capture {
    /// Captures what arrives at an interface of this thread's namespace, not what leaves it.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        let capture = Self::listen(ifindex, libc::ETH_P_ALL as u16)?;
        capture.option(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        Ok(capture)
    }

    /// Captures packets of an ethertype at an interface of this thread's namespace, or at all of them (0). A socket for
    /// `ETH_P_ALL` is asked before tc at ingress, and sees what leaves; one for any other type comes after tc, and sees what
    /// the stack sees.
    pub fn listen(ifindex: u32, ethertype: u16) -> io::Result<Self> {
        // SAFETY: plain system call; the result is checked.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` is a new descriptor that nobody else owns.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        let capture = Self { socket, buffer: vec![0; PACKET_MAX] };
        capture.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        capture.option(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        // Older kernels do not have it; then every mark is 0.
        let _ = capture.option(libc::SOL_SOCKET, SO_RCVMARK, 1);
        // SAFETY: all-zero is a valid address; its size is passed.
        let result = unsafe {
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ethertype.to_be();
            address.sll_ifindex = ifindex as libc::c_int;
            libc::bind(raw, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
        };
        if result == 0 { Ok(capture) } else { Err(io::Error::last_os_error()) }
    }

    /// Takes `count` packets, or fails after `patience`.
    pub fn take(&mut self, count: usize, patience: Duration) -> io::Result<Vec<Captured>> {
        let end = Instant::now() + patience;
        let mut packets = Vec::with_capacity(count);
        while packets.len() < count {
            match self.receive() {
                Ok(packet) => packets.push(packet),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(end)?,
                Err(error) => return Err(error),
            }
        }
        Ok(packets)
    }

    /// Throws away what has come so far.
    pub fn discard(&mut self) -> io::Result<()> {
        loop {
            match self.receive() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Everything that has come, waiting at most `patience` for the first.
    pub fn drain(&mut self, patience: Duration) -> io::Result<Vec<Captured>> {
        let mut packets = Vec::new();
        loop {
            match self.receive() {
                Ok(packet) => packets.push(packet),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && packets.is_empty() => {
                    match self.wait(Instant::now() + patience) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(packets),
                        Err(error) => return Err(error),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(packets),
                Err(error) => return Err(error),
            }
        }
    }

    /// Packets that the socket had no room for since this was asked last.
    pub fn lost(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the structure lives through the call and its size is passed.
        let result = unsafe {
            let at = (&raw mut statistics).cast();
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                at,
                &raw mut size,
            )
        };
        if result == 0 { Ok(statistics.tp_drops) } else { Err(io::Error::last_os_error()) }
    }

    fn option(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let size = size_of::<libc::c_int>() as u32;
        // SAFETY: `value` lives through the call and has the size that is passed.
        let result = unsafe {
            libc::setsockopt(self.socket.as_raw_fd(), level, name, (&raw const value).cast(), size)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn wait(&self, end: Instant) -> io::Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd is passed.
        match unsafe { libc::poll(&raw mut poll, 1, left.as_millis().min(60_000) as libc::c_int) } {
            1.. => Ok(()),
            0 => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a delivery did not arrive at the capture interface",
            )),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn receive(&mut self) -> io::Result<Captured> {
        // SAFETY: every pointer in `message` is to a local or to `self.buffer`, with its size.
        let (length, vlan, mark) = unsafe {
            let mut control = [0_u64; 32];
            let mut slice =
                libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
            let mut message: libc::msghdr = zeroed();
            message.msg_iov = &raw mut slice;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            let length = libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT);
            if length < 0 {
                return Err(io::Error::last_os_error());
            }
            let (mut vlan, mut mark) = (0, 0);
            let mut header = libc::CMSG_FIRSTHDR(&raw const message);
            while !header.is_null() {
                if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                    let data: libc::tpacket_auxdata =
                        libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                    if data.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                        vlan = u32::from(data.tp_vlan_tpid) << 16 | u32::from(data.tp_vlan_tci);
                    }
                }
                if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SO_MARK {
                    mark = libc::CMSG_DATA(header).cast::<u32>().read_unaligned();
                }
                header = libc::CMSG_NXTHDR(&raw const message, header);
            }
            (length as usize, vlan, mark)
        };
        Ok(Captured { bytes: self.buffer[..length].to_vec(), vlan, mark })
    }
}

/// asm-generic/socket.h; not in every version of the libc crate.
const SO_RCVMARK: libc::c_int = 75;
/// linux/if_packet.h; not in every version of the libc crate.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

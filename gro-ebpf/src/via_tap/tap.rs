//! A TAP device: what is written to it comes in at its interface (Documentation/networking/tuntap.rst).

use super::sys::{interface_request, named};
use bytes::Bytes;
use gro_core::user::VirtioNetHdr;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::os::fd::AsRawFd as _;

/// The device with its queues. It goes with the last of them.
#[derive(Debug)]
pub(super) struct Tap {
    /// Its name.
    pub(super) name: String,
    /// One for each writer.
    pub(super) queues: Vec<Queue>,
}

/// One queue.
#[derive(Debug)]
pub(super) struct Queue {
    device: File,
}

/// Bytes of the longest packet that a TAP device surely takes: it has 17 pieces of up to 32 KiB, and of what is left over behind
/// the last whole one each power of two takes one (`tun_alloc_skb`, drivers/net/tun.c).
pub(super) const LONGEST: u32 = 14 * 32_768;
/// The tag goes behind the two addresses.
const ADDRESSES: usize = 12;

impl Tap {
    /// Makes the device in this thread's network namespace. `pattern` may have a `%d`, for which the kernel finds a number.
    pub(super) fn open(pattern: &str, queues: u32) -> io::Result<Self> {
        let many = queues > 1;
        let (first, name) = Queue::open(pattern, many)?;
        let mut tap = Self { name, queues: vec![first] };
        for _ in 1..queues {
            tap.queues.push(Queue::open(&tap.name, many)?.0);
        }
        // Without a carrier the kernel sends nothing out of it, no neighbour discovery either. What is written comes in all the same.
        tap.queues[0].set(libc::TUNSETCARRIER, 0)?;
        let flags = (libc::IFF_UP | libc::IFF_NOARP) as libc::c_short;
        interface_request(&tap.name, libc::SIOCSIFFLAGS as libc::Ioctl, |request| {
            request.ifr_ifru.ifru_flags = flags;
        })?;
        Ok(tap)
    }

    /// Whether the kernel takes merged datagrams (Linux 6.2).
    pub(super) fn takes_udp(&self) -> bool {
        // Who offers to read such packets has a kernel that also takes them.
        let offloads = libc::c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_USO4 | libc::TUN_F_USO6);
        // SAFETY: the request's argument is a plain number.
        unsafe { libc::ioctl(self.queues[0].device.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) == 0 }
    }
}

impl Queue {
    fn open(name: &str, many: bool) -> io::Result<(Self, String)> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        let queue = Self { device };
        let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if many {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let mut request = named(name)?;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: a complete structure with a terminated name, which outlives the call.
        if unsafe { libc::ioctl(queue.device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // As `VirtioNetHdr::to_bytes` writes it, on a machine of either byte order.
        queue.set(libc::TUNSETVNETLE, 1)?;
        // SAFETY: the kernel wrote a terminated name.
        let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) };
        Ok((queue, name.to_string_lossy().into_owned()))
    }

    fn set(&self, request: libc::Ioctl, value: libc::c_int) -> io::Result<()> {
        // SAFETY: these requests read an int, which outlives the call.
        match unsafe { libc::ioctl(self.device.as_raw_fd(), request, &raw const value) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Has a packet come in at the device's interface: `head` and the pieces behind it, with a VLAN tag if `vlan` is not 0.
    /// When the call returns the stack is through with it, unless the machine is busy.
    pub(super) fn write(
        &self,
        header: VirtioNetHdr,
        vlan: u32,
        head: &[u8],
        pieces: &[Bytes],
    ) -> io::Result<()> {
        let header = tagged(header, vlan).to_bytes();
        let tag = vlan.to_be_bytes();
        let (addresses, rest) = head.split_at(ADDRESSES.min(head.len()));
        let tag = if vlan == 0 { &[][..] } else { &tag };
        let front = [&header[..], addresses, tag, rest].map(IoSlice::new);
        // A packet is what one call writes.
        let written = if pieces.is_empty() {
            (&self.device).write_vectored(&front)
        } else {
            let mut parts = Vec::with_capacity(front.len() + pieces.len());
            parts.extend(front);
            parts.extend(pieces.iter().map(|piece| IoSlice::new(piece)));
            (&self.device).write_vectored(&parts)
        }?;
        let len = header.len() + tag.len() + head.len() + pieces.iter().map(Bytes::len).sum::<usize>();
        if written == len { Ok(()) } else { Err(io::Error::other("a TAP device took half a packet")) }
    }
}

/// The header of a frame whose tag is put back.
fn tagged(mut header: VirtioNetHdr, vlan: u32) -> VirtioNetHdr {
    const TAG: u16 = 4;
    if vlan != 0 {
        for place in [&mut header.hdr_len, &mut header.csum_start] {
            // 0 where it says nothing.
            if *place != 0 {
                *place = place.saturating_add(TAG);
            }
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_moves_what_is_behind_it() {
        let header = VirtioNetHdr { csum_start: 34, hdr_len: 54, csum_offset: 16, ..VirtioNetHdr::default() };
        assert_eq!(tagged(header, 0), header);
        assert_eq!(tagged(header, 0x8100_0005), VirtioNetHdr { csum_start: 38, hdr_len: 58, ..header });
        assert_eq!(tagged(VirtioNetHdr::default(), 0x8100_0005), VirtioNetHdr::default());
    }
}

//! A packet socket with a receive ring: the kernel writes frames into memory that this process reads (packet(7),
//! Documentation/networking/packet_mmap.rst).
//!
//! Slots are as long as the interface's frames, up to 9 KB. A longer one, as a veth hands over that its sender did not segment,
//! comes cut off in its slot and whole through the socket's queue (`PACKET_COPY_THRESH`).

use super::sys::{self, option, read_option};
use bytes::Bytes;
use gro_core::user::VirtioNetHdr;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

/// A frame that arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    /// It, without the tag in `vlan`. In the ring's memory: not to be read after [`Ring::release`].
    pub(super) bytes: Bytes,
    /// What the kernel says of its checksum and segments.
    pub(super) header: VirtioNetHdr,
    /// TPID (high half) and TCI, 0 for none.
    pub(super) vlan: u32,
    /// The kernel vouches for the checksum.
    pub(super) is_verified: bool,
}

/// What a slot holds.
#[derive(Debug)]
pub(super) enum Slot {
    /// A frame.
    Frame(Arrived),
    /// Part of a frame; the rest is lost.
    Truncated,
}

/// The socket and its ring.
#[derive(Debug)]
pub(super) struct Ring {
    socket: OwnedFd,
    /// The whole ring, never looked at as a whole: the kernel writes into it.
    memory: Bytes,
    base: NonNull<u8>,
    layout: Layout,
    /// The slot whose turn it is.
    next: u32,
    /// Slots taken and not given back.
    taken: u32,
}

// SAFETY: `base` points into the mapping that `memory` keeps alive; only the owner of the ring follows it.
unsafe impl Send for Ring {}

/// Bytes before the frame in a slot: header, address, alignment and `virtio_net_hdr` (`tpacket_rcv`, net/packet/af_packet.c).
const BEFORE: usize = 96;
/// Queue of frames that are longer than a slot.
const RECEIVE_BUFFER: libc::c_int = 32 << 20;
const VIRTIO_NET_HDR: usize = 10;

impl Ring {
    /// Makes a socket that receives nothing yet, with a ring of at least `slots` frames of an interface with this MTU.
    pub(super) fn open(slots: u32, mtu: u32, filter: BorrowedFd<'_>) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain system call; the result is checked.
        let socket = sys::owned(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        let layout = Layout::of(slots, mtu);
        option(
            &socket,
            libc::SOL_PACKET,
            libc::PACKET_VERSION,
            &(libc::tpacket_versions::TPACKET_V2 as u32),
        )?;
        option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
        option(&socket, libc::SOL_PACKET, libc::PACKET_COPY_THRESH, &1)?;
        option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)?;
        option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &filter.as_raw_fd())?;
        option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &layout.request())?;
        let mapping = Mapping::of(&socket, layout.blocks as usize * layout.block)?;
        let base = mapping.address;
        Ok(Self { socket, memory: Bytes::from_owner(mapping), base, layout, next: 0, taken: 0 })
    }

    /// Receives from an interface.
    pub(super) fn bind(&self, ifindex: u32) -> io::Result<()> {
        // SAFETY: all-zero is a valid address; its size is passed.
        let result = unsafe {
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = ifindex as libc::c_int;
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), size)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Joins a group of sockets, among which frames are shared out by flow, or founds one. Gives the group's number.
    pub(super) fn join(&self, group: Option<u16>) -> io::Result<u16> {
        let flag = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
        let kind = libc::PACKET_FANOUT_HASH | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING | flag;
        let fanout = u32::from(group.unwrap_or(0)) | kind << 16;
        option(&self.socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &fanout)?;
        let joined: u32 = read_option(&self.socket, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
        Ok(joined as u16)
    }

    /// The next frame, if one is there. Its slot stays taken until [`Ring::release`].
    pub(super) fn take(&mut self) -> Option<Slot> {
        if self.taken >= self.layout.slots {
            return None;
        }
        let offset = self.layout.offset(self.next);
        let status = self.status(self.next).load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        self.next = self.layout.after(self.next);
        self.taken += 1;
        // SAFETY: the slot is within the mapping and aligned to 16 bytes; the kernel is done with it until it is given back.
        let slot: libc::tpacket2_hdr = unsafe { self.base.add(offset).cast::<libc::tpacket2_hdr>().read() };
        let vlan = match status & libc::TP_STATUS_VLAN_VALID {
            0 => 0,
            _ if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 => 0x8100_0000 | u32::from(slot.tp_vlan_tci),
            _ => u32::from(slot.tp_vlan_tpid) << 16 | u32::from(slot.tp_vlan_tci),
        };
        let is_verified = status & (libc::TP_STATUS_CSUM_VALID | libc::TP_STATUS_CSUMNOTREADY) != 0;
        if status & libc::TP_STATUS_COPY != 0 {
            return Some(match self.receive_long(slot.tp_len as usize) {
                Some((bytes, header)) => Slot::Frame(Arrived { bytes, header, vlan, is_verified }),
                None => Slot::Truncated,
            });
        }
        let (start, len) = (usize::from(slot.tp_mac), slot.tp_snaplen as usize);
        let whole = slot.tp_snaplen == slot.tp_len && start >= VIRTIO_NET_HDR;
        if !whole || start + len > self.layout.slot {
            return Some(Slot::Truncated);
        }
        let at = offset + start;
        // SAFETY: the ten bytes before the frame are in the slot, as above.
        let header: [u8; VIRTIO_NET_HDR] = unsafe { self.base.add(at - VIRTIO_NET_HDR).cast().read() };
        let header = parse_header(header);
        // Does not touch the bytes: they are read through this slice only, while the slot is taken.
        let bytes = self.memory.slice(at..at + len);
        Some(Slot::Frame(Arrived { bytes, header, vlan, is_verified }))
    }

    /// Gives every slot that was taken back to the kernel.
    pub(super) fn release(&mut self) {
        let mut slot = self.layout.before(self.next, self.taken);
        for _ in 0..self.taken {
            self.status(slot).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            slot = self.layout.after(slot);
        }
        self.taken = 0;
    }

    /// Frames that the kernel dropped since the last call, as the ring was full.
    pub(super) fn drops(&self) -> io::Result<u64> {
        let statistics: libc::tpacket_stats =
            read_option(&self.socket, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        Ok(u64::from(statistics.tp_drops))
    }

    /// An error that the kernel reports, as of an interface that went down.
    pub(super) fn error(&self) -> io::Result<libc::c_int> {
        read_option(&self.socket, libc::SOL_SOCKET, libc::SO_ERROR)
    }

    /// Whether the interface is still there.
    pub(super) fn is_bound(&self) -> io::Result<bool> {
        // SAFETY: all-zero is a valid address, and the size of it is passed.
        let (result, ifindex) = unsafe {
            let mut address: libc::sockaddr_ll = zeroed();
            let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let result = libc::getsockname(self.raw_fd(), (&raw mut address).cast(), &raw mut size);
            (result, address.sll_ifindex)
        };
        if result == 0 { Ok(ifindex > 0) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn status(&self, slot: u32) -> &AtomicU32 {
        // SAFETY: a slot begins with this word, within the mapping and aligned to 16 bytes; the kernel, too, writes it at once.
        unsafe { AtomicU32::from_ptr(self.base.add(self.layout.offset(slot)).cast().as_ptr()) }
    }

    /// A frame that did not fit its slot.
    fn receive_long(&self, len: usize) -> Option<(Bytes, VirtioNetHdr)> {
        let mut header = [0; VIRTIO_NET_HDR];
        let mut bytes = vec![0; len];
        let mut parts = [
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: VIRTIO_NET_HDR },
            libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len },
        ];
        // SAFETY: every pointer is to a local of the size beside it. All-zero is a valid message.
        let (received, flags) = unsafe {
            let mut message: libc::msghdr = zeroed();
            message.msg_iov = parts.as_mut_ptr();
            message.msg_iovlen = parts.len();
            (libc::recvmsg(self.raw_fd(), &raw mut message, libc::MSG_DONTWAIT), message.msg_flags)
        };
        let whole = received == (VIRTIO_NET_HDR + len) as isize && flags & libc::MSG_TRUNC == 0;
        whole.then(|| (bytes.into(), parse_header(header)))
    }
}

/// In this machine's byte order (`vio_le`).
fn parse_header(bytes: [u8; VIRTIO_NET_HDR]) -> VirtioNetHdr {
    let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    VirtioNetHdr {
        flags: bytes[0],
        gso_type: bytes[1],
        hdr_len: word(2),
        gso_size: word(4),
        csum_start: word(6),
        csum_offset: word(8),
    }
}

/// Where slots are: blocks of pages in which slots follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    slot: usize,
    block: usize,
    slots_a_block: u32,
    blocks: u32,
    slots: u32,
}

impl Layout {
    fn of(slots: u32, mtu: u32) -> Self {
        const ETHERNET: usize = 14;
        /// Larger ones are hard to find in fragmented memory.
        const BLOCK: usize = 1 << 18;
        /// Jumbo frames. What is longer comes through the socket's queue, rather than that all slots are as long.
        const LONGEST: usize = 9_216;
        let frame = ETHERNET + (mtu as usize).min(LONGEST);
        // A multiple of the cache line, and of what the kernel aligns to.
        let slot = (BEFORE + frame).next_multiple_of(64);
        let slots_a_block = (BLOCK / slot) as u32;
        let blocks = slots.clamp(1, 1 << 20).div_ceil(slots_a_block);
        Self { slot, block: BLOCK, slots_a_block, blocks, slots: blocks * slots_a_block }
    }

    fn request(self) -> libc::tpacket_req {
        libc::tpacket_req {
            tp_block_size: self.block as u32,
            tp_block_nr: self.blocks,
            tp_frame_size: self.slot as u32,
            tp_frame_nr: self.slots,
        }
    }

    fn offset(self, slot: u32) -> usize {
        let (block, within) = (slot / self.slots_a_block, slot % self.slots_a_block);
        block as usize * self.block + within as usize * self.slot
    }

    fn after(self, slot: u32) -> u32 {
        if slot + 1 == self.slots { 0 } else { slot + 1 }
    }

    fn before(self, slot: u32, steps: u32) -> u32 {
        if slot >= steps { slot - steps } else { slot + self.slots - steps }
    }
}

/// The ring's memory, unmapped with the last frame in it.
#[derive(Debug)]
struct Mapping {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: memory of this process; who may read or write which part of it is settled by the slots' status.
unsafe impl Send for Mapping {}

impl Mapping {
    fn of(socket: &OwnedFd, len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping anywhere; the result is checked.
        let address =
            unsafe { libc::mmap(null_mut(), len, protection, libc::MAP_SHARED, socket.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("a ring at address 0"))?;
        Ok(Self { address, len })
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping is as long as that and lives as long as `self`. `Bytes` asks once and keeps the address; nobody reads
        // a slot through it that the kernel may write.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_a_frame_and_do_not_overlap() {
        for (slots, mtu) in [(1, 68), (4096, 1500), (1000, 9000), (7, 65_535), (100, u32::MAX)] {
            let layout = Layout::of(slots, mtu);
            assert!(layout.slots >= slots && layout.slot >= BEFORE + 14 + mtu.min(9_216) as usize);
            assert_eq!((layout.slot % 16, layout.block % 4096), (0, 0));
            for slot in 1..layout.slots {
                let (one, next) = (layout.offset(slot - 1), layout.offset(slot));
                assert!(next >= one + layout.slot);
                assert_eq!(next / layout.block, (next + layout.slot - 1) / layout.block);
            }
            assert_eq!(layout.after(layout.slots - 1), 0);
            assert_eq!(layout.before(0, 1), layout.slots - 1);
            assert_eq!(layout.before(layout.after(0), 1), 0);
        }
    }

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let header = VirtioNetHdr {
            flags: VirtioNetHdr::NEEDS_CSUM,
            gso_type: VirtioNetHdr::GSO_TCPV6,
            hdr_len: 86,
            gso_size: 1428,
            csum_start: 54,
            csum_offset: 16,
        };
        let mut bytes = header.to_bytes();
        if cfg!(target_endian = "big") {
            bytes[2..].as_chunks_mut::<2>().0.iter_mut().for_each(|word| word.reverse());
        }
        assert_eq!(parse_header(bytes), header);
    }
}

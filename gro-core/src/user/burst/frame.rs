//! What goes into a [`super::Queue`] and what leaves it.

use crate::datapath::Meta;
use crate::user::{VirtioNetHdr, Why};
use core::marker::PhantomData;

/// One frame: Ethernet without FCS, one buffer. The outer VLAN tag may be beside it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) hash: u32,
    pub(super) vlan: u32,
    pub(super) check: Check,
}

/// What is known of a TCP or UDP checksum: the kernel's `ip_summed` (include/linux/skbuff.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// CHECKSUM_NONE: nothing. The engine reads the payload and verifies it.
    #[default]
    None,
    /// CHECKSUM_UNNECESSARY: somebody vouched for it.
    Unnecessary,
    /// CHECKSUM_COMPLETE: the device gives the ones'-complement sum over the whole frame, folded, and the engine verifies with it,
    /// without the payload.
    Complete(u16),
}

impl<'a> Frame<'a> {
    /// A frame of which nothing else is known: no RSS hash, no VLAN tag beside it, and a checksum to be verified.
    #[inline(always)]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, hash: 0, vlan: 0, check: Check::None }
    }

    /// With the RSS hash that a NIC calculated. Frames of one flow must have the same one; its low three bits choose the bucket.
    #[inline(always)]
    pub fn hash(self, hash: u32) -> Self {
        Self { hash, ..self }
    }

    /// With the outer VLAN tag that a device took off: TPID (high half) and TCI.
    #[inline(always)]
    pub fn vlan(self, vlan: u32) -> Self {
        Self { vlan, ..self }
    }

    /// With a checksum that somebody vouched for.
    #[inline(always)]
    pub fn verified(self) -> Self {
        self.check(Check::Unnecessary)
    }

    /// With what is known of its checksum.
    #[inline(always)]
    pub fn check(self, check: Check) -> Self {
        Self { check, ..self }
    }

    /// The bytes.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[inline(always)]
    pub(super) fn meta(&self) -> Meta {
        let verified = matches!(self.check, Check::Unnecessary);
        Meta { hash: self.hash, vlan: self.vlan, verified }
    }
}

/// A slice as `struct iovec` has it (POSIX, sys/uio.h): pointer and length, so that a list of them goes to `writev` as it is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Iov<'a> {
    base: *const u8,
    len: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Iov<'a> {
    pub(super) const EMPTY: Self = Self::new(&[]);

    #[inline(always)]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { base: bytes.as_ptr(), len: bytes.len(), bytes: PhantomData }
    }

    /// Forgets how long the bytes live, which whoever keeps it must know.
    #[inline(always)]
    pub(super) fn erase(self) -> Iov<'static> {
        Iov { base: self.base, len: self.len, bytes: PhantomData }
    }

    /// The bytes.
    #[inline(always)]
    #[expect(unsafe_code, reason = "a list for `writev` is of pointers and lengths")]
    pub fn bytes(&self) -> &'a [u8] {
        // SAFETY: it was made of a slice that lives for 'a; `erase` is undone before anybody but the store sees it
        // (`Store::list`).
        unsafe { core::slice::from_raw_parts(self.base, self.len) }
    }
}

// SAFETY: it is a `&[u8]`, which may be sent and shared.
#[expect(unsafe_code, reason = "raw pointers are neither by themselves")]
unsafe impl Send for Iov<'_> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "as above")]
unsafe impl Sync for Iov<'_> {}

impl core::ops::Deref for Iov<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl core::fmt::Debug for Iov<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Iov({} bytes)", self.len)
    }
}

/// A packet that leaves: a frame as it came, or a merged packet. Lives as long as the call of the visitor; the payload behind
/// [`Packet::iov`] is where the frames are.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'p> {
    pub(super) iov: &'p [Iov<'p>],
    pub(super) facts: Facts,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) meta: Meta,
    pub(super) why: Why,
}

/// What a merged packet is beside its bytes; all zero, but one segment, for a single frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) segs: u32,
    pub(super) gso_size: u16,
    pub(super) gso_type: u32,
    /// None where VIRTIO has no form for it.
    pub(super) virtio: Option<VirtioNetHdr>,
}

impl Facts {
    pub(super) const SINGLE: Self = Self {
        segs: 1,
        gso_size: 0,
        gso_type: 0,
        virtio: Some(VirtioNetHdr {
            flags: 0,
            gso_type: 0,
            hdr_len: 0,
            gso_size: 0,
            csum_start: 0,
            csum_offset: 0,
        }),
    };
}

impl<'p> Packet<'p> {
    /// The bytes, in order. A single frame is one slice, where it came in. A merged packet has its headers first, rewritten, in the
    /// queue's memory, then the payload of each segment, where that came in: 1,024 slices at most (UIO_MAXIOV).
    #[inline(always)]
    pub fn iov(&self) -> &'p [Iov<'p>] {
        self.iov
    }

    /// Segments, 1 for a single frame.
    #[inline(always)]
    pub fn segs(&self) -> u32 {
        self.facts.segs
    }

    /// Payload bytes of every segment but the last, 0 for a single frame.
    #[inline(always)]
    pub fn gso_size(&self) -> u16 {
        self.facts.gso_size
    }

    /// As [`crate::Merged::gso_type`], 0 for a single frame.
    #[inline(always)]
    pub fn gso_type(&self) -> u32 {
        self.facts.gso_type
    }

    /// What a TUN/TAP or virtio device takes before the frame: all zero for a single frame. `None` for a merged packet in a tunnel,
    /// for which VIRTIO 1.2 has no form, and for one with complete checksums ([`super::Summed::Complete`]).
    #[inline(always)]
    pub fn virtio(&self) -> Option<VirtioNetHdr> {
        self.facts.virtio
    }

    /// Number of the first frame in it, from 0, modulo 2^32.
    #[inline(always)]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Number of the last frame in it.
    #[inline(always)]
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Hash and VLAN tag of the first frame.
    #[inline(always)]
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// Why it left.
    #[inline(always)]
    pub fn why(&self) -> Why {
        self.why
    }

    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        self.iov.iter().map(|part| part.len).sum()
    }

    /// Whether it has no byte, as an empty frame that came in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

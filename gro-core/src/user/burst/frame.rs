//! What goes into a [`super::Queue`] and what leaves it.

use super::Summed;
use super::held::Origin;
use crate::datapath::Meta;
use crate::user::{VirtioNetHdr, Why};
use core::marker::PhantomData;

/// One frame: Ethernet without FCS, one buffer. The outer VLAN tag may be beside it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    /// RSS hash, and VLAN tag in the upper half: compared at once.
    pub(super) key: u64,
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
        Self { bytes, key: 0, check: Check::None }
    }

    /// With the RSS hash that a NIC calculated. Frames of one flow must have the same one; its low three bits choose the bucket.
    #[inline(always)]
    pub fn hash(self, hash: u32) -> Self {
        Self { key: self.key >> 32 << 32 | u64::from(hash), ..self }
    }

    /// With the outer VLAN tag that a device took off: TPID (high half) and TCI.
    #[inline(always)]
    pub fn vlan(self, vlan: u32) -> Self {
        Self { key: u64::from(vlan) << 32 | self.key & 0xffff_ffff, ..self }
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

    /// Bytes; a frame of 4 GB or more is too long for everything.
    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        self.bytes.len().min(u32::MAX as usize) as u32
    }

    #[inline(always)]
    pub(super) fn is_verified(&self) -> bool {
        matches!(self.check, Check::Unnecessary)
    }

    #[inline(always)]
    pub(super) fn meta(&self) -> Meta {
        let verified = self.is_verified();
        Meta { hash: self.key as u32, vlan: (self.key >> 32) as u32, verified }
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

    /// What is behind the first `at` bytes, no more than there are; these may be looked at again ([`Iov::before`]).
    #[inline(always)]
    pub(super) const fn behind(bytes: &'a [u8], at: usize) -> Self {
        let at = if at < bytes.len() { at } else { bytes.len() };
        // Not of a slice of `bytes`, which knew nothing of what is before it.
        Self { base: bytes.as_ptr().wrapping_add(at), len: bytes.len() - at, bytes: PhantomData }
    }

    /// The last `len` bytes before these.
    ///
    /// # Safety
    /// This is [`Iov::behind`] so many bytes or more.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the header of each segment, without a second list")]
    pub(super) unsafe fn before(&self, len: usize) -> &'a [u8] {
        // SAFETY: as the caller says, these bytes and those before them are of one slice that lives for 'a.
        unsafe { core::slice::from_raw_parts(self.base.wrapping_sub(len), len) }
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
    pub(super) facts: &'p Facts,
    pub(super) origin: &'p Origin,
    pub(super) why: Why,
}

/// What a merged packet is beside its bytes; all zero, but one segment, for a single frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) segs: u32,
    pub(super) gso_type: u32,
    pub(super) gso_size: u16,
    pub(super) header_len: u16,
    /// Where the transport header is, and its checksum in that.
    pub(super) l4: u16,
    pub(super) check_at: u16,
    pub(super) summed: Summed,
}

impl Facts {
    pub(super) const SINGLE: &'static Self = &Self {
        segs: 1,
        gso_type: 0,
        gso_size: 0,
        header_len: 0,
        l4: 0,
        check_at: 0,
        summed: Summed::Complete,
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
        let &Facts { segs, gso_type, gso_size, header_len, l4, check_at, summed } = self.facts;
        if segs == 1 {
            return Some(VirtioNetHdr::default());
        }
        let hdr = VirtioNetHdr {
            flags: VirtioNetHdr::NEEDS_CSUM,
            gso_type: VirtioNetHdr::gso_type_of(gso_type),
            hdr_len: header_len,
            gso_size,
            csum_start: l4,
            csum_offset: check_at,
        };
        (summed == Summed::Partial).then_some(hdr)
    }

    /// Number of the first frame in it, from 0, modulo 2^32.
    #[inline(always)]
    pub fn first(&self) -> u32 {
        self.origin.first
    }

    /// Number of the last frame in it.
    #[inline(always)]
    pub fn last(&self) -> u32 {
        self.origin.last
    }

    /// Hash and VLAN tag of the first frame.
    #[inline(always)]
    pub fn meta(&self) -> Meta {
        self.origin.meta()
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

//! Memory of a queue: the table, what the shortcut keeps of each held packet, and the lists of slices.

use super::frame::Iov;
use super::held::{Held, Tags};
use super::leave::HEADER_ROOM;
use crate::{Buckets, Header, Slot};

/// Slices of a chunk.
pub(super) const CHUNK: usize = 16;
/// Segments of a packet, at most: with its header one `writev` takes it (UIO_MAXIOV).
pub(super) const SEGMENTS_MAX: u32 = 1023;

/// All memory of a [`super::Queue`], to be put wherever the caller wants: nothing is allocated later. `CHUNKS` lists of 16 slices hold
/// the segments; the first 64 belong to the places of the table, the others to packets of more than 15 segments. Where they are used
/// up a packet leaves early, counted ([`super::Queue::early`]); 256 are enough for 64 packets of 63 segments.
#[derive(Debug)]
#[repr(C)]
pub struct Memory<const CHUNKS: usize = 256> {
    pub(super) table: Buckets,
    pub(super) side: Side<CHUNKS>,
    /// The first bytes of a frame that goes the core's way.
    pub(super) scratch: Header,
}

/// What is beside the core's table.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Side<const CHUNKS: usize> {
    pub(super) tags: Tags,
    pub(super) held: [Held; Slot::COUNT],
    pub(super) store: Store<CHUNKS>,
    /// The header of a merged packet that came the core's way.
    pub(super) header: [u8; HEADER_ROOM],
}

impl<const CHUNKS: usize> Memory<CHUNKS> {
    /// Nothing is held.
    pub const EMPTY: Self = Self {
        table: Buckets::EMPTY,
        side: Side {
            tags: Tags::EMPTY,
            held: [Held::EMPTY; Slot::COUNT],
            store: Store::EMPTY,
            header: [0; HEADER_ROOM],
        },
        scratch: Header::ZERO,
    };
}

/// Lists of slices, in chunks.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Store<const CHUNKS: usize> {
    chunks: [Chunk; CHUNKS],
    /// The chunk behind each.
    next: [u16; CHUNKS],
    /// The first free one, [`NONE`] if there is none.
    free: u16,
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Chunk([Iov<'static>; CHUNK]);

/// No chunk.
const NONE: u16 = u16::MAX;

/// The end of a list: where the next slice goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    chunk: u16,
    fill: u16,
}

impl End {
    pub(super) const NOWHERE: Self = Self { chunk: 0, fill: 0 };

    /// Whether the next slice needs another chunk.
    #[inline(always)]
    pub(super) fn is_full(self) -> bool {
        self.fill as usize == CHUNK
    }
}

impl<const CHUNKS: usize> Store<CHUNKS> {
    const EMPTY: Self = {
        assert!(
            CHUNKS >= Slot::COUNT && CHUNKS < NONE as usize,
            "a chunk for each place, and numbers for all"
        );
        let mut next = [NONE; CHUNKS];
        let mut index = Slot::COUNT;
        while index + 1 < CHUNKS {
            next[index] = index as u16 + 1;
            index += 1;
        }
        let free = if CHUNKS > Slot::COUNT { Slot::COUNT as u16 } else { NONE };
        Self { chunks: [Chunk([Iov::EMPTY; CHUNK]); CHUNKS], next, free }
    };

    /// Starts the list of `slot`: the whole first frame, and its payload.
    #[inline(always)]
    pub(super) fn start(&mut self, slot: usize, frame: &[u8], header_len: usize) -> End {
        let list = &mut self.chunks[slot].0;
        list[0] = Iov::new(frame).erase();
        list[1] = Iov::new(frame.get(header_len..).unwrap_or(&[])).erase();
        End { chunk: slot as u16, fill: 2 }
    }

    /// Adds a slice to a list that is not full.
    #[inline(always)]
    pub(super) fn push(&mut self, end: &mut End, bytes: &[u8]) {
        if let Some(chunk) = self.chunks.get_mut(usize::from(end.chunk)) {
            chunk.0[usize::from(end.fill) % CHUNK] = Iov::new(bytes).erase();
            end.fill += 1;
        }
    }

    /// Gives a full list another chunk; `false` if there is none.
    #[cold]
    #[inline(never)]
    pub(super) fn grow(&mut self, end: &mut End) -> bool {
        let new = self.free;
        let Some(&behind) = self.next.get(usize::from(new)) else { return false };
        self.free = behind;
        self.next[usize::from(end.chunk)] = new;
        self.next[usize::from(new)] = NONE;
        *end = End { chunk: new, fill: 0 };
        true
    }

    /// Calls `with` with the list of `slot`: `head` in place of the whole first frame, and the payload of `segs` segments. Without
    /// `head`, the first frame alone. Then the list is empty.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        slot: usize,
        end: End,
        segs: u32,
        head: Option<&[u8]>,
        with: impl FnOnce(&[Iov<'_>]),
    ) {
        let Some(head) = head else { return with(&self.chunks[slot].0[..1]) };
        self.chunks[slot].0[0] = Iov::new(head).erase();
        if usize::from(end.chunk) == slot {
            with(&self.chunks[slot].0[..(segs as usize + 1).min(CHUNK)]);
        } else if segs < 64 {
            self.take_long::<64>(slot, end, segs, with);
        } else {
            self.take_long::<{ SEGMENTS_MAX as usize + 1 }>(slot, end, segs, with);
        }
    }

    /// The same for a list of several chunks, which it makes one of up to `MOST` slices.
    #[cold]
    #[inline(never)]
    fn take_long<const MOST: usize>(
        &mut self,
        slot: usize,
        end: End,
        segs: u32,
        with: impl FnOnce(&[Iov<'_>]),
    ) {
        let mut all = [Iov::EMPTY; MOST];
        let (mut chunk, mut filled) = (slot, 0);
        for part in all.chunks_mut(CHUNK) {
            let Some(from) = self.chunks.get(chunk) else { break };
            part.copy_from_slice(&from.0[..part.len()]);
            filled += part.len();
            if chunk == usize::from(end.chunk) {
                break;
            }
            chunk = usize::from(self.next[chunk]);
        }
        with(&all[..(segs as usize + 1).min(filled)]);
        // The other chunks go back.
        let second = self.next[slot];
        self.next[slot] = NONE;
        self.next[usize::from(end.chunk)] = self.free;
        self.free = second;
    }

    /// The first frame of a list, whole.
    #[inline(always)]
    pub(super) fn first(&self, slot: usize) -> &[u8] {
        self.chunks[slot].0[0].bytes()
    }

    /// Forgets all lists.
    pub(super) fn clear(&mut self) {
        let Self { next, free, .. } = Self::EMPTY;
        (self.next, self.free) = (next, free);
    }
}

impl<const CHUNKS: usize> Side<CHUNKS> {
    pub(super) fn is_holding(&self) -> bool {
        self.held.iter().any(|held| held.segs > 0)
    }

    /// Forgets what is held.
    pub(super) fn clear(&mut self) {
        self.tags = Tags::EMPTY;
        for held in &mut self.held {
            held.segs = 0;
        }
        self.store.clear();
    }
}

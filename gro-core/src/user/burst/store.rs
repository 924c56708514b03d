//! Memory of a queue: the table, what the shortcut keeps of each held packet, and the lists of slices.

use super::frame::Iov;
use super::held::Held;
use super::leave::HEADER_ROOM;
use super::stacked::Layout;
use super::tags::Tags;
use crate::table::DEPTH;
use crate::{Buckets, Header, Slot};

/// Slices of a chunk.
pub(super) const CHUNK: usize = 16;
/// Segments of a packet, at most: with its header one `writev` takes it (UIO_MAXIOV).
pub(super) const SEGMENTS_MAX: u32 = 1023;

/// Chunks of a [`Memory`] if nothing else is said: enough for polls of 256 frames, in less than 64 KiB.
pub const DEFAULT_CHUNKS: usize = 80;

/// All memory of a [`super::Queue`], to be put wherever the caller wants: nothing is allocated later. `CHUNKS` lists of 16 slices hold
/// the segments; the first 64 belong to the places of the table, the others to packets of more than 15 segments. Where they are used
/// up a packet leaves early, counted ([`super::Queue::early`]). One more for each 16 frames of a poll beyond 256 is enough; where packets
/// are kept over polls, 256 are for 64 packets of 63 segments.
#[derive(Debug)]
#[repr(C)]
pub struct Memory<const CHUNKS: usize = DEFAULT_CHUNKS> {
    pub(super) table: Buckets,
    pub(super) side: Side<CHUNKS>,
    /// The first bytes of a frame that goes the core's way.
    pub(super) scratch: Header,
}

/// What is beside the core's table.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Side<const CHUNKS: usize> {
    /// Packets held.
    pub(super) holding: u32,
    pub(super) tags: Tags,
    pub(super) held: [Held; Slot::COUNT],
    pub(super) store: Store<CHUNKS>,
    pub(super) layout: Layout,
    /// The header of a merged packet that came the core's way.
    pub(super) header: [u8; HEADER_ROOM],
}

impl<const CHUNKS: usize> Memory<CHUNKS> {
    /// Nothing is held.
    pub const EMPTY: Self = Self {
        table: Buckets::EMPTY,
        side: Side {
            holding: 0,
            tags: Tags::EMPTY,
            held: [Held::EMPTY; Slot::COUNT],
            store: Store::EMPTY,
            layout: Layout::NONE,
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
    /// One list made of several chunks.
    gathered: [Iov<'static>; GATHERED],
}

/// Slices of a list that is mostly long enough: a packet of 64 KB has 45 segments of 1,448 bytes.
const GATHERED: usize = 64;

type Chunk = [Iov<'static>; CHUNK];

/// No chunk.
const NONE: u16 = u16::MAX;

/// The end of a list: where the next slice goes, and how many fit there.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    at: u16,
    room: u16,
}

impl End {
    pub(super) const NOWHERE: Self = Self { at: 0, room: 0 };

    /// Slices that fit before the list needs another chunk.
    #[inline(always)]
    pub(super) fn room(self) -> u32 {
        u32::from(self.room)
    }

    /// Behind so many more slices.
    #[inline(always)]
    pub(super) fn advance(&mut self, slices: u32) {
        self.at += slices as u16;
        self.room -= slices as u16;
    }

    /// The last chunk, which may be empty yet.
    fn chunk(self) -> usize {
        usize::from(self.at + self.room - 1) / CHUNK
    }
}

impl<const CHUNKS: usize> Store<CHUNKS> {
    const EMPTY: Self = {
        assert!(CHUNKS >= Slot::COUNT, "a chunk for each place");
        assert!(CHUNKS * CHUNK < NONE as usize, "a number for each slice");
        let mut next = [NONE; CHUNKS];
        let mut index = Slot::COUNT;
        while index + 1 < CHUNKS {
            next[index] = index as u16 + 1;
            index += 1;
        }
        let free = if CHUNKS > Slot::COUNT { Slot::COUNT as u16 } else { NONE };
        Self { chunks: [[Iov::EMPTY; CHUNK]; CHUNKS], next, free, gathered: [Iov::EMPTY; GATHERED] }
    };

    /// Starts the list of `slot` with the whole first frame.
    #[inline(always)]
    pub(super) fn hold(&mut self, slot: usize, frame: &[u8]) {
        self.chunks[slot % Slot::COUNT][0] = Iov::new(frame).erase();
    }

    /// Puts the first frame's payload behind it: more may follow.
    #[inline(always)]
    pub(super) fn start(&mut self, slot: usize, header_len: usize) -> End {
        let list = &mut self.chunks[slot % Slot::COUNT];
        list[1] = Iov::new(list[0].bytes().get(header_len..).unwrap_or(&[])).erase();
        End { at: (slot % Slot::COUNT * CHUNK) as u16 + 2, room: CHUNK as u16 - 2 }
    }

    /// Places for the next `count` slices of a list, no more than its room.
    #[inline(always)]
    pub(super) fn room(&mut self, end: End, count: u32) -> &mut [Iov<'static>] {
        let at = usize::from(end.at);
        self.flat().get_mut(at..at + count as usize).unwrap_or(&mut [])
    }

    /// Adds a slice to a list that has room.
    #[inline(always)]
    pub(super) fn push(&mut self, end: &mut End, bytes: &[u8]) {
        if let [place] = self.room(*end, 1) {
            *place = Iov::new(bytes).erase();
            end.advance(1);
        }
    }

    #[inline(always)]
    fn flat(&mut self) -> &mut [Iov<'static>] {
        self.chunks.as_flattened_mut()
    }

    /// Gives a full list another chunk; `false` if there is none.
    #[cold]
    #[inline(never)]
    pub(super) fn grow(&mut self, end: &mut End) -> bool {
        let new = self.free;
        let Some(&behind) = self.next.get(usize::from(new)) else { return false };
        self.free = behind;
        self.next[end.chunk()] = new;
        self.next[usize::from(new)] = NONE;
        *end = End { at: new * CHUNK as u16, room: CHUNK as u16 };
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
        let Some(head) = head else { return with(&self.chunks[slot][..1]) };
        self.chunks[slot][0] = Iov::new(head).erase();
        if self.next[slot] == NONE {
            with(&self.chunks[slot][..(segs as usize + 1).min(CHUNK)]);
        } else if segs < GATHERED as u32 {
            self.gather_short(slot, end);
            with(&self.gathered[..segs as usize + 1]);
            self.give_back(slot, end);
        } else {
            self.take_long(slot, end, segs, with);
        }
    }

    /// Makes one list of several chunks.
    #[inline(never)]
    fn gather_short(&mut self, slot: usize, end: End) {
        gather(&self.chunks, &self.next, (slot, end), &mut self.gathered);
    }

    #[cold]
    #[inline(never)]
    fn take_long(&mut self, slot: usize, end: End, segs: u32, with: impl FnOnce(&[Iov<'_>])) {
        let mut all = [Iov::EMPTY; SEGMENTS_MAX as usize + 1];
        gather(&self.chunks, &self.next, (slot, end), &mut all);
        with(&all[..(segs as usize + 1).min(all.len())]);
        self.give_back(slot, end);
    }

    /// All chunks of a list but the first are free again.
    fn give_back(&mut self, slot: usize, end: End) {
        let second = core::mem::replace(&mut self.next[slot], NONE);
        self.next[end.chunk()] = self.free;
        self.free = second;
    }

    /// The first frame of a list, whole.
    #[inline(always)]
    pub(super) fn first(&self, slot: usize) -> &[u8] {
        self.chunks[slot][0].bytes()
    }

    /// Forgets all lists.
    pub(super) fn clear(&mut self) {
        let Self { next, free, .. } = Self::EMPTY;
        (self.next, self.free) = (next, free);
    }
}

/// Puts the chunks of a list one behind the other.
fn gather(chunks: &[Chunk], next: &[u16], (slot, end): (usize, End), all: &mut [Iov<'static>]) {
    let mut chunk = slot;
    for part in all.chunks_mut(CHUNK) {
        let Some(from) = chunks.get(chunk) else { break };
        part.copy_from_slice(&from[..part.len()]);
        if chunk == end.chunk() {
            break;
        }
        chunk = usize::from(next[chunk]);
    }
}

impl<const CHUNKS: usize> Side<CHUNKS> {
    pub(super) fn is_holding(&self) -> bool {
        self.holding > 0
    }

    /// Forgets what is held.
    pub(super) fn clear(&mut self) {
        self.holding = 0;
        self.tags = Tags::EMPTY;
        for held in &mut self.held {
            held.segs = 0;
        }
        self.store.clear();
    }
}

/// The place with a number below [`Slot::COUNT`].
#[inline(always)]
pub(super) fn slot_of(slot: usize) -> Slot {
    Slot { bucket: (slot / DEPTH) as u8, way: (slot % DEPTH) as u8 }
}

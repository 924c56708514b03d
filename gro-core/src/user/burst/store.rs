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

/// A list of segments. One word, so that one addition counts a segment; from below, 16 bits each: where the next slice goes, how many
/// segments may join without a further look at anything but themselves, how many slices fit before the list needs another chunk, and how
/// many segments there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct List(u64);

impl List {
    /// Nothing is held.
    pub(super) const NONE: Self = Self(0);

    const LEFT: u32 = 16;
    const ROOM: u32 = 32;
    const SEGS: u32 = 48;
    /// What a segment changes. No part goes below zero, so that none borrows from the next one in the end.
    const ONE: u64 = (1_u64 + (1 << Self::SEGS)) - (1 << Self::ROOM) - (1 << Self::LEFT);

    /// The first frame alone: there is no list yet.
    pub(super) const SINGLE: Self = Self(1 << Self::SEGS);

    fn new(at: usize, room: usize, segs: u32) -> Self {
        Self(at as u64 | (room as u64) << Self::ROOM | u64::from(segs) << Self::SEGS)
    }

    #[inline(always)]
    fn part(self, shift: u32) -> u32 {
        u32::from((self.0 >> shift) as u16)
    }

    /// Slices that fit before the list needs another chunk.
    #[inline(always)]
    pub(super) fn room(self) -> u32 {
        self.part(Self::ROOM)
    }

    /// Segments: 0 where nothing is held.
    #[inline(always)]
    pub(super) fn segs(self) -> u32 {
        self.part(Self::SEGS)
    }

    /// Segments that may join by comparison alone.
    #[inline(always)]
    pub(super) fn left(self) -> u32 {
        self.part(Self::LEFT)
    }

    #[inline(always)]
    pub(super) fn with_left(self, left: u32) -> Self {
        Self(self.0 & !(0xffff << Self::LEFT) | u64::from(left) << Self::LEFT)
    }

    /// One more segment, of those left.
    #[inline(always)]
    pub(super) fn count(&mut self) {
        self.0 = self.0.wrapping_add(Self::ONE);
    }

    /// The last chunk, which may be empty yet.
    fn chunk(self) -> usize {
        (self.part(0) + self.room() - 1) as usize / CHUNK
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
    pub(super) fn start(&mut self, slot: usize, header_len: usize) -> List {
        let list = &mut self.chunks[slot % Slot::COUNT];
        list[1] = Iov::behind(list[0].bytes(), header_len).erase();
        List::new(slot % Slot::COUNT * CHUNK + 2, CHUNK - 2, 1)
    }

    /// Where the next slice of a list goes that has room.
    #[inline(always)]
    pub(super) fn place(&mut self, list: List) -> Option<&mut Iov<'static>> {
        self.chunks.as_flattened_mut().get_mut(list.part(0) as usize)
    }

    /// Adds a segment to a list that has room; what is left is to be found out again.
    #[inline(always)]
    pub(super) fn push(&mut self, list: &mut List, payload: Iov<'_>) {
        if let Some(place) = self.place(*list) {
            *place = payload.erase();
            *list = list.with_left(1);
            list.count();
        }
    }

    /// Gives a full list another chunk; `false` if there is none.
    #[cold]
    #[inline(never)]
    pub(super) fn grow(&mut self, list: &mut List) -> bool {
        let new = self.free;
        let Some(&behind) = self.next.get(usize::from(new)) else { return false };
        self.free = behind;
        self.next[list.chunk()] = new;
        self.next[usize::from(new)] = NONE;
        *list = List::new(usize::from(new) * CHUNK, CHUNK, list.segs());
        true
    }

    /// Calls `with` with the list of `slot`: `head` in place of the whole first frame, and the payload its segments. Without
    /// `head`, the first frame alone. Then the list is empty.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        slot: usize,
        list: List,
        head: Option<&[u8]>,
        with: impl FnOnce(&[Iov<'_>]),
    ) {
        let Some(head) = head else { return with(&self.chunks[slot][..1]) };
        self.chunks[slot][0] = Iov::new(head).erase();
        if self.next[slot] == NONE {
            with(&self.chunks[slot][..(list.segs() as usize + 1).min(CHUNK)]);
        } else if list.segs() < GATHERED as u32 {
            self.gather_short(slot, list);
            with(&self.gathered[..list.segs() as usize + 1]);
            self.give_back(slot, list);
        } else {
            self.take_long(slot, list, with);
        }
    }

    /// Makes one list of several chunks.
    #[inline(never)]
    fn gather_short(&mut self, slot: usize, list: List) {
        gather(&self.chunks, &self.next, (slot, list), &mut self.gathered);
    }

    #[cold]
    #[inline(never)]
    fn take_long(&mut self, slot: usize, list: List, with: impl FnOnce(&[Iov<'_>])) {
        let mut all = [Iov::EMPTY; SEGMENTS_MAX as usize + 1];
        gather(&self.chunks, &self.next, (slot, list), &mut all);
        with(&all[..(list.segs() as usize + 1).min(all.len())]);
        self.give_back(slot, list);
    }

    /// All chunks of a list but the first are free again.
    fn give_back(&mut self, slot: usize, list: List) {
        let second = core::mem::replace(&mut self.next[slot], NONE);
        self.next[list.chunk()] = self.free;
        self.free = second;
    }

    /// The headers and the length of payload of each segment of a list of so many, whose headers are all `header_len` bytes.
    #[expect(unsafe_code, reason = "see `Iov::before`")]
    pub(super) fn segments(
        &self,
        slot: usize,
        segs: u32,
        header_len: usize,
    ) -> impl Iterator<Item = (&[u8], usize)> {
        let mut chunk = slot;
        (1..=segs as usize).map(move |at| {
            if at % CHUNK == 0 {
                chunk = usize::from(self.next[chunk % CHUNKS]);
            }
            let payload = &self.chunks[chunk % CHUNKS][at % CHUNK];
            // SAFETY: all slices of a list but its first are behind the headers of a frame (`start`, `push`, and `room` in fast.rs),
            // which are equally long in a plain packet.
            (unsafe { payload.before(header_len) }, payload.bytes().len())
        })
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
fn gather(chunks: &[Chunk], next: &[u16], (slot, list): (usize, List), all: &mut [Iov<'static>]) {
    let mut chunk = slot;
    for part in all.chunks_mut(CHUNK) {
        let Some(from) = chunks.get(chunk) else { break };
        part.copy_from_slice(&from[..part.len()]);
        if chunk == list.chunk() {
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
            held.lane.list = List::NONE;
        }
        self.store.clear();
    }
}

/// The place with a number below [`Slot::COUNT`].
#[inline(always)]
pub(super) fn slot_of(slot: usize) -> Slot {
    Slot { bucket: (slot / DEPTH) as u8, way: (slot % DEPTH) as u8 }
}

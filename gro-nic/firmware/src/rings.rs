//! The device's end of the rings: events in, completions and scatter lists out.

use core::ops::Range;
use core::ptr::{read_volatile, with_exposed_provenance, with_exposed_provenance_mut, write_volatile};

use gro_core::checksum::{at_parity, fold, halves};
use gro_core::complete::{OUTER_PATCHES, PATCHES};
use gro_core::{
    ALIGN, Bypass, Config, Datapath, FlushReason, Header, Input, Merged, Meta, Packet, Payload, Slot, Window,
};

use super::abi::{completion, event, memory, packet, register, scatter};

/// Indices of both rings and the held packets' first and last buffers.
pub(crate) struct Rings {
    /// Events taken, and events known to be there.
    taken: u32,
    posted: u32,
    rx_mask: u32,
    /// Completions written, and entries known to be free.
    written: u32,
    room: u32,
    completion_size: u32,
    /// Addresses of the four areas of packet memory.
    rx: u32,
    completions: u32,
    scatter: u32,
    headers: u32,
    /// A buffer's number has no other bits.
    buffer_mask: u32,
    /// Waits for room in the completion ring.
    stalls: u32,
    /// Whether frames may be coalesced at all.
    pub(crate) coalesce: bool,
    /// Decision digest before the event at hand.
    pub(crate) digest: u64,
    held: [Held; Slot::COUNT],
}

#[derive(Clone, Copy)]
struct Held {
    first: u16,
    last: u16,
    hash: u32,
    vlan: u32,
}

/// An RX descriptor that the device owns: where it is, and its first half.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor {
    at: u32,
    /// Kind, flags and buffer; length and sum.
    words: [u32; 2],
}

impl Rings {
    pub(crate) const ZERO: Self = Self {
        taken: 0,
        posted: 0,
        rx_mask: 0,
        written: 0,
        room: 0,
        completion_size: 0,
        rx: 0,
        completions: 0,
        scatter: 0,
        headers: 0,
        buffer_mask: 0,
        stalls: 0,
        coalesce: false,
        digest: 0,
        held: [Held { first: 0, last: 0, hash: 0, vlan: 0 }; Slot::COUNT],
    };

    /// Reads where the rings are. `false` if one of them does not lie in packet memory.
    pub(crate) fn start(&mut self) -> bool {
        let buffers = read_register(register::BUFFERS);
        let rx = read_register(register::RX_SIZE);
        let completions = read_register(register::COMPLETION_SIZE);
        let area = |base: u32, count: u32, most: u32, stride: u32| {
            let start = read_register(base);
            let fits = count.is_power_of_two()
                && count <= most
                && start % packet::ALIGN == 0
                && start <= memory::PACKET_SIZE - most.min(count) * stride;
            fits.then_some(memory::PACKET_BASE + start)
        };
        let (Some(rx_base), Some(completion_base), Some(scatter), Some(headers)) = (
            area(register::RX_BASE, rx, packet::RX_MAX, packet::RX_STRIDE),
            area(register::COMPLETION_BASE, completions, packet::COMPLETION_MAX, packet::COMPLETION_STRIDE),
            area(register::SCATTER_BASE, buffers, packet::BUFFERS, packet::SCATTER_STRIDE),
            area(register::HEADERS_BASE, buffers, packet::BUFFERS, packet::HEADER_STRIDE),
        ) else {
            return false;
        };
        (self.rx, self.completions, self.scatter, self.headers) =
            (rx_base, completion_base, scatter, headers);
        self.rx_mask = rx - 1;
        self.completion_size = completions;
        self.room = completions;
        self.buffer_mask = buffers - 1;
        true
    }

    /// Address of the next event's descriptor; waits for one.
    #[inline(always)]
    pub(crate) fn next_event(&mut self) -> u32 {
        while self.taken == self.posted {
            self.posted = read_register(register::RX_PRODUCER);
            if self.taken == self.posted {
                wait();
            }
        }
        self.rx + (self.taken & self.rx_mask) * packet::RX_STRIDE
    }

    /// Hands the event's descriptor back.
    #[inline(always)]
    pub(crate) fn finish_event(&mut self) {
        self.taken = self.taken.wrapping_add(1);
        write_register(register::RX_CONSUMER, self.taken);
    }

    /// Offset of a free completion entry; waits for one, whatever the engine is in the midst of.
    #[inline(always)]
    fn free_completion(&mut self) -> u32 {
        while self.room == 0 {
            let taken = read_register(register::COMPLETION_CONSUMER);
            self.room = self.completion_size.wrapping_sub(self.written.wrapping_sub(taken));
            if self.room == 0 {
                self.stalls += 1;
                write_register(register::STALLS, self.stalls);
                wait();
            }
        }
        self.completions + (self.written & (self.completion_size - 1)) * packet::COMPLETION_STRIDE
    }

    /// The frame of an RX event, and what the engine is told of it.
    #[inline(always)]
    pub(crate) fn input<'a>(&self, rx: &Descriptor, len: u32, now: u32, config: &'a Config) -> Input<'a> {
        let header = self.header_entry(rx.buffer() & self.buffer_mask);
        let bytes = with_exposed_provenance::<Header>(header as usize);
        // SAFETY: the whole entry lies in packet memory (`start`), and the host does not touch it between posting the event and the
        // completion of the frame.
        let bytes = unsafe { &*bytes };
        let (hash, vlan) = rx.meta();
        let verified = (rx.words[0] >> 8) & event::VERIFIED != 0;
        let meta = Meta { hash, vlan, verified };
        Input { window: Window::new(bytes, len), meta, now, config }
    }

    /// Address of the header entry of a buffer.
    #[inline(always)]
    fn header_entry(&self, buffer: u32) -> u32 {
        self.headers + buffer * packet::HEADER_STRIDE
    }

    /// Writes the words that every completion has, and hands the entry to the host.
    #[inline(always)]
    fn complete(&mut self, at: u32, kind: u32, segs: u32, bytes: u32, meta: (u32, u32)) {
        write(at + completion::KIND, kind);
        write(at + completion::ID, self.written);
        write(at + completion::SEGS, segs);
        write(at + completion::BYTES, bytes);
        write(at + completion::HASH, meta.0);
        write(at + completion::VLAN, meta.1);
        write(at + completion::DIGEST, self.digest as u32);
        write(at + completion::DIGEST + 4, (self.digest >> 32) as u32);
        self.written = self.written.wrapping_add(1);
        self.room -= 1;
        write_register(register::COMPLETION_PRODUCER, self.written);
    }
}

/// Puts the payload of a frame that stays into its scatter entry; the link is written when another one follows.
#[inline(always)]
fn write_scatter(scatter: u32, buffer: u32, payload: Payload) {
    let at = scatter + buffer * packet::SCATTER_STRIDE;
    write16(at + scatter::OFFSET, payload.at as u16);
    write(at + scatter::LENGTH, payload.len);
}

impl Datapath for Rings {
    const LEARNS_LATE: bool = true;

    type Frame = Descriptor;

    #[inline(always)]
    fn admits(&mut self, _frame: &Descriptor, _packet: &Packet) -> bool {
        self.coalesce
    }

    #[inline(always)]
    fn takes_shortcuts(&self) -> bool {
        self.coalesce
    }

    #[inline(always)]
    fn frame_sum(&mut self, frame: &Descriptor) -> Option<u16> {
        Some(frame.sum() as u16)
    }

    /// The MAC summed the whole frame; what stands before `range` is taken off again.
    #[inline(always)]
    fn sum(&mut self, frame: &Descriptor, range: Range<u32>) -> Option<u16> {
        // The engine asks for what follows a header it has seen; anything else would need payload.
        if range.end != frame.length() || range.start > packet::HEADER_BYTES || range.start < 2 {
            return None;
        }
        // Words in memory order give the sum with its bytes swapped (RFC 1071), and 2^32 is 1 modulo 0xFFFF.
        let header = self.header_entry(frame.buffer() & self.buffer_mask);
        let mut sum = read(header) >> 16;
        let mut at = header + 4;
        let end = header + packet::HEADER_START + range.start;
        while at + 16 <= end {
            for word in 0..4 {
                sum = add_with_carry(sum, read(at + 4 * word));
            }
            at += 16;
        }
        while at + 4 <= end {
            sum = add_with_carry(sum, read(at));
            at += 4;
        }
        if at < end {
            sum = add_with_carry(sum, read(at) & ((1 << (8 * (end - at))) - 1));
        }
        let before = fold(halves(sum)).swap_bytes();
        let after = fold(frame.sum() + (!before) as u32);
        Some(at_parity(after, range.start % 2 != 0))
    }

    #[inline(always)]
    fn hold(&mut self, slot: Slot, frame: Descriptor, payload: Payload) {
        let buffer = frame.buffer() & self.buffer_mask;
        write_scatter(self.scatter, buffer, payload);
        let buffer = buffer as u16;
        let (hash, vlan) = frame.meta();
        self.held[slot.index()] = Held { first: buffer, last: buffer, hash, vlan };
    }

    #[inline(always)]
    fn append(&mut self, slot: Slot, frame: Descriptor, payload: Payload) {
        let buffer = frame.buffer() & self.buffer_mask;
        let before = core::mem::replace(&mut self.held[slot.index()].last, buffer as u16);
        let scatter = self.scatter;
        write_scatter(scatter, buffer, payload);
        write16(scatter + before as u32 * packet::SCATTER_STRIDE + scatter::NEXT, buffer as u16);
    }

    #[inline(never)]
    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason) {
        let held = self.held[slot.index()];
        let buffer = held.first as u32;
        let mut kind = completion::FRAME | completion::FLUSHED << 8 | (why as u32) << 16;
        let at = self.free_completion();
        let mut entries = 0;
        if merged.segs > 1 {
            kind += completion::MERGED - completion::FRAME;
            entries = merged.segs;
            let header = self.header_entry(buffer) + packet::HEADER_START;
            for index in 0..PATCHES {
                let patch = merged.patch(index);
                write16(header + patch.offset as u32, patch.value.swap_bytes());
            }
            if merged.has_outer() {
                for index in 0..OUTER_PATCHES {
                    let patch = merged.outer_patch(index);
                    write16(header + patch.offset as u32, patch.value.swap_bytes());
                }
            }
        }
        write(at + completion::BUFFER, buffer | (merged.header_len as u32) << 16);
        write(at + completion::GSO_SIZE, merged.gso_size as u32 | (merged.l4 as u32) << 16);
        write(at + completion::SCATTER_FIRST, buffer | (merged.pseudo as u32) << 16);
        write(at + completion::SCATTER_COUNT, entries);
        write(at + completion::GSO_TYPE, merged.gso_type);
        write(at + completion::JUMBO, merged.jumbo);
        write(at + completion::L3, merged.l3 as u32);
        self.complete(at, kind, merged.segs, merged.len, (held.hash, held.vlan));
    }

    #[inline(never)]
    fn pass(&mut self, frame: Descriptor, why: Bypass) {
        let buffer = frame.buffer() & self.buffer_mask;
        let at = self.free_completion();
        write(at + completion::BUFFER, buffer);
        write(at + completion::GSO_SIZE, 0);
        write(at + completion::SCATTER_FIRST, buffer);
        write(at + completion::SCATTER_COUNT, 0);
        write(at + completion::GSO_TYPE, 0);
        write(at + completion::JUMBO, 0);
        write(at + completion::L3, 0);
        let kind = completion::FRAME | (why as u32) << 16;
        self.complete(at, kind, 1, frame.length(), frame.meta());
    }
}

impl Descriptor {
    /// That at `at`, an address of the RX ring.
    #[inline(always)]
    pub(crate) fn read(at: u32) -> Self {
        Self { at, words: [read(at), read(at + 4)] }
    }

    pub(crate) fn kind(&self) -> u32 {
        self.words[0] & 0xff
    }

    /// Whether it is a frame whose length 16 bits can say.
    #[inline(always)]
    pub(crate) fn is_short_frame(&self) -> bool {
        self.words[0] & (0xff | event::LONG << 8) == event::RX
    }

    /// The length of a short frame.
    #[inline(always)]
    pub(crate) fn short_length(&self) -> u32 {
        self.words[1] & 0xffff
    }

    pub(crate) fn jiffies(&self) -> u32 {
        read(self.at + 8)
    }

    fn buffer(&self) -> u32 {
        self.words[0] >> 16
    }

    pub(crate) fn length(&self) -> u32 {
        let mask = if (self.words[0] >> 8) & event::LONG != 0 { u32::MAX } else { 0xffff };
        self.words[1] & mask
    }

    fn sum(&self) -> u32 {
        self.words[1] >> 16
    }

    /// RSS hash and VLAN tag.
    fn meta(&self) -> (u32, u32) {
        (read(self.at + 8), read(self.at + 12))
    }
}

#[inline(always)]
fn add_with_carry(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u32
}

/// Waits until the host has rung a doorbell, or for no time at all.
#[inline(always)]
pub(crate) fn wait() {
    // SAFETY: `wfi` changes nothing but the time.
    unsafe { core::arch::asm!("wfi", options(nostack, preserves_flags)) }
}

#[inline(always)]
pub(crate) fn read_register(offset: u32) -> u32 {
    // SAFETY: `offset` is a constant of `abi::register`, so this is a word of the register page.
    unsafe { read_volatile(with_exposed_provenance((memory::MMIO_BASE + offset) as usize)) }
}

#[inline(always)]
pub(crate) fn write_register(offset: u32, value: u32) {
    // SAFETY: as above; the register page holds no Rust object.
    unsafe { write_volatile(with_exposed_provenance_mut((memory::MMIO_BASE + offset) as usize), value) }
}

/// A word of packet memory.
#[inline(always)]
fn read(address: u32) -> u32 {
    // SAFETY: addresses are a base that `Rings::start` checked and a masked index: multiples of 4 in packet memory.
    unsafe { read_volatile(with_exposed_provenance(address as usize)) }
}

#[inline(always)]
fn write(address: u32, value: u32) {
    // SAFETY: as for `read`; no Rust object lives in a ring or in the scatter table.
    unsafe { write_volatile(with_exposed_provenance_mut(address as usize), value) }
}

/// A half word of packet memory.
#[inline(always)]
fn write16(address: u32, value: u16) {
    // SAFETY: as for `write`, at an even address. Header entries are written only when a packet leaves; no window of
    // that frame exists by then.
    unsafe { write_volatile(with_exposed_provenance_mut(address as usize), value) }
}

// No area is larger than packet memory, and a header entry holds what a window reads.
const _: () = {
    assert!(packet::RX_MAX * packet::RX_STRIDE <= memory::PACKET_SIZE);
    assert!(packet::COMPLETION_MAX * packet::COMPLETION_STRIDE <= memory::PACKET_SIZE);
    assert!(packet::BUFFERS * packet::SCATTER_STRIDE <= memory::PACKET_SIZE);
    assert!(packet::BUFFERS * packet::HEADER_STRIDE <= memory::PACKET_SIZE);
    assert!(packet::HEADER_START as usize == ALIGN && size_of::<Header>() <= packet::HEADER_STRIDE as usize);
    assert!((packet::ALIGN | packet::HEADER_STRIDE) as usize % align_of::<Header>() == 0);
};

//! The port: MAC and DMA engine of a lane. It takes frames from the wire and events from the host, and is the only one that
//! writes the RX ring.
//!
//! A frame goes into a free buffer of the host, its first bytes into the buffer's header entry, and a descriptor with the raw
//! sum of the frame, which a MAC computes while it receives, into the ring. The port trusts the host, not the core: its indices and its
//! free list are where no core can write.

use bytes::Bytes;
use gro_core::Meta;

use crate::abi::{event, packet, register};
use crate::machine::Core;

/// A frame with what the MAC says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// An Ethernet frame without FCS.
    pub bytes: Bytes,
    /// Number of the frame, from 0 in the order of posting, modulo 2^32.
    pub number: u32,
    /// RSS hash, VLAN tag that the MAC took off, and whether somebody vouched for the checksum.
    pub meta: Meta,
}

/// Host memory for received frames, by buffer number; who has a number in hand may use the place.
#[derive(Debug)]
pub struct Buffers {
    frames: Vec<Option<Frame>>,
    owned: u32,
}

/// What became of a frame on the wire.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is in the RX ring.
    Taken,
    /// It is lost.
    Dropped,
    /// It waits on the wire.
    Paused(Frame),
}

/// State of the port; what the host sees of it are registers.
#[derive(Debug, Default)]
pub(super) struct Port {
    /// Events put into the RX ring so far, modulo 2^32.
    pub(super) posted: u32,
    /// Buffers that the host gave; the last one comes first, which keeps few of them warm.
    pub(super) free: Vec<u16>,
    pub(super) event_argument: u32,
    /// An event that waits for room in the ring.
    pub(super) event: Option<[u32; 4]>,
    pub(super) flow_control: bool,
    paused: bool,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) drops_ring: u64,
    pub(super) drops_buffer: u64,
    pub(super) pauses: u64,
}

impl Buffers {
    /// Room for `count` frames.
    pub fn new(count: u32) -> Self {
        Self { frames: (0..count).map(|_| None).collect(), owned: 0 }
    }

    /// Frames in them.
    pub fn owned(&self) -> u32 {
        self.owned
    }

    /// Puts a frame into a buffer; gives it back if there is no such buffer, or a frame in it.
    ///
    /// # Errors
    /// The frame itself.
    pub fn put(&mut self, buffer: u16, frame: Frame) -> Result<(), Frame> {
        match self.frames.get_mut(usize::from(buffer)) {
            Some(place @ None) => {
                *place = Some(frame);
                self.owned += 1;
                Ok(())
            }
            _ => Err(frame),
        }
    }

    /// Takes the frame out of a buffer.
    pub fn take(&mut self, buffer: u16) -> Option<Frame> {
        let frame = self.frames.get_mut(usize::from(buffer))?.take()?;
        self.owned -= 1;
        Some(frame)
    }

    /// All frames in buffers.
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().flatten()
    }

    /// Takes all frames out, in no order.
    pub fn take_all(&mut self) -> Vec<Frame> {
        self.owned = 0;
        self.frames.iter_mut().filter_map(Option::take).collect()
    }
}

impl Port {
    /// Ring, free list and counters start anew; what the host set stays.
    pub(super) fn reset(&mut self) {
        *self = Self { flow_control: self.flow_control, ..Self::default() };
    }

    /// A frame is on the wire.
    pub(super) fn receive<C: Core>(&mut self, core: &mut C, buffers: &mut Buffers, frame: Frame) -> Arrival {
        let full = self.event.is_some() || !self.has_room(core);
        // A full ring takes no buffer.
        let buffer = if full { None } else { self.free.pop() };
        let Some(buffer) = buffer else {
            return self.refuse(full, frame);
        };
        let (descriptor, length) = describe(buffer, &frame);
        let present = frame.bytes.len().min(packet::HEADER_BYTES as usize);
        core.write_packet(header_start(core, buffer), &frame.bytes[..present]);
        if buffers.put(buffer, frame).is_err() {
            // A buffer that is not free was posted as free: the host's fault, and its frame.
            self.drops_buffer += 1;
            return Arrival::Dropped;
        }
        self.paused = false;
        self.frames += 1;
        self.bytes += u64::from(length);
        self.write(core, descriptor);
        Arrival::Taken
    }

    fn refuse(&mut self, full: bool, frame: Frame) -> Arrival {
        if self.flow_control {
            self.pause();
            return Arrival::Paused(frame);
        }
        if full {
            self.drops_ring += 1;
        } else {
            self.drops_buffer += 1;
        }
        Arrival::Dropped
    }

    /// Stops the wire until a frame is taken.
    pub(super) fn pause(&mut self) {
        self.pauses += u64::from(!self.paused);
        self.paused = true;
    }

    /// An event that is no frame.
    pub(super) fn event<C: Core>(&mut self, core: &mut C, kind: u32) {
        self.event = Some([kind, 0, self.event_argument, 0]);
        self.pump(core);
    }

    /// Puts the event that waits into the ring, once there is room.
    pub(super) fn pump<C: Core>(&mut self, core: &mut C) {
        if self.event.is_some()
            && self.has_room(core)
            && let Some(descriptor) = self.event.take()
        {
            self.write(core, descriptor);
        }
    }

    fn has_room<C: Core>(&self, core: &C) -> bool {
        let taken = core.register(register::RX_CONSUMER);
        self.posted.wrapping_sub(taken) < core.register(register::RX_SIZE)
    }

    /// Writes the next descriptor, then the producer index.
    fn write<C: Core>(&mut self, core: &mut C, descriptor: [u32; 4]) {
        let size = core.register(register::RX_SIZE);
        let index = self.posted & size.wrapping_sub(1);
        let mut bytes = [0; packet::RX_STRIDE as usize];
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(descriptor) {
            *place = word.to_le_bytes();
        }
        let base = core.register(register::RX_BASE);
        core.write_packet(base.wrapping_add(index.wrapping_mul(packet::RX_STRIDE)), &bytes);
        self.posted = self.posted.wrapping_add(1);
        core.set_register(register::RX_PRODUCER, self.posted);
    }
}

/// The descriptor of a frame, and the frame's length.
fn describe(buffer: u16, frame: &Frame) -> ([u32; 4], u32) {
    let mut flags = if frame.meta.verified { event::VERIFIED } else { 0 };
    let length = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
    let length_sum = if length > u32::from(u16::MAX) {
        flags |= event::LONG;
        length
    } else {
        length | u32::from(gro_core::user::sum(&frame.bytes)) << 16
    };
    let kind = event::RX | flags << 8 | u32::from(buffer) << 16;
    ([kind, length_sum, frame.meta.hash, frame.meta.vlan], length)
}

/// Offset in packet memory of the frame in a buffer's header entry.
fn header_start<C: Core>(core: &C, buffer: u16) -> u32 {
    let entry = u32::from(buffer) * packet::HEADER_STRIDE + packet::HEADER_START;
    core.register(register::HEADERS_BASE).wrapping_add(entry)
}

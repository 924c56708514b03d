//! tun-rs: the GRO table of a crate for TUN devices, a translation of wireguard-go's.
//!
//! It takes IP packets in buffers that can grow to 64 KiB, and copies payload into the first one: so it cannot work in the ring,
//! and has a copy of the frames in buffers of its own, of 2 MiB pages too.

use super::{Audit, Engine};
use crate::clock::Clock;
use crate::memory::Region;
use crate::ring::{Ring, shuffled};
use crate::workload::{BURST, Shape, Stream};
use anyhow::{Context as _, Result};
use std::hint::black_box;
use std::ptr::NonNull;
use tun_rs::{ExpandBuffer, GROTable};

const ETHERNET: usize = 14;
/// Room for the virtio header, which it writes before a packet.
const OFFSET: usize = 16;
const VIRTIO: usize = 10;
const CAPACITY: usize = 65_535;
/// Not a multiple of 64 KiB: the buffers would start in the same sets of the caches.
const STRIDE: usize = 65_536 + 192;
/// It writes a virtio header to each packet that leaves; no such header looks like this.
const UNTOUCHED: u8 = 0xee;

/// The crate's table, and its own copy of the ring's frames.
pub(crate) struct TunRs {
    table: GROTable,
    memory: Option<Region>,
    places: Vec<u32>,
    bufs: Vec<Buffer>,
}

impl TunRs {
    pub(crate) fn new() -> Self {
        Self { table: GROTable::new(), memory: None, places: Vec::new(), bufs: Vec::with_capacity(BURST) }
    }

    fn buffer(&self, frame: usize, len: usize) -> Buffer {
        let start = self.memory.as_ref().map_or(NonNull::dangling(), Region::start);
        // SAFETY: `load` made room for this many buffers.
        Buffer { start: unsafe { start.add(self.places[frame] as usize * STRIDE) }, len: OFFSET + len }
    }

    fn buffers(&mut self, ring: &Ring, burst: usize) {
        self.bufs.clear();
        for frame in ring.burst(burst) {
            let buffer = self.buffer(frame, ring.made(frame).len - ETHERNET);
            self.bufs.push(buffer);
        }
    }

    fn put_back(&mut self, ring: &Ring, burst: usize) {
        for frame in ring.burst(burst) {
            let head = &ring.head(frame)[ETHERNET..];
            self.buffer(frame, head.len()).as_mut()[OFFSET..].copy_from_slice(head);
        }
    }
}

impl Engine for TunRs {
    fn name(&self) -> &'static str {
        "tun-rs"
    }

    fn what(&self) -> String {
        "crate tun-rs 2.8.16: GROTable::apply_gro, which verifies the checksum of each packet and copies payload together".to_owned()
    }

    fn refuses(&self, stream: &Stream) -> Option<&'static str> {
        match stream.shape {
            Shape::Vlan => Some("a TUN device has no VLAN tags"),
            Shape::Vxlan => Some("tun-rs looks into no tunnel"),
            Shape::Ipv4 | Shape::Ipv6 | Shape::Udp => None,
        }
    }

    fn load(&mut self, ring: &Ring) -> Result<()> {
        let bytes = ring.frames() * STRIDE;
        if self.memory.as_ref().is_none_or(|memory| memory.len() < bytes) {
            self.memory = None;
            self.memory = Some(Region::new(bytes).context("memory for the buffers of tun-rs")?);
        }
        self.places = shuffled(ring.frames());
        for frame in 0..ring.frames() {
            let packet = &ring.frame(frame)[ETHERNET..];
            self.buffer(frame, packet.len()).as_mut()[OFFSET..].copy_from_slice(packet);
        }
        Ok(())
    }

    fn burst(&mut self, ring: &mut Ring, clock: &Clock, burst: usize) -> u64 {
        self.buffers(ring, burst);
        let start = Clock::start();
        // It refuses offsets only, which are right.
        let _ = black_box(self.table.apply_gro(&mut self.bufs, OFFSET, true));
        let stop = Clock::stop();
        self.put_back(ring, burst);
        clock.between(start, stop)
    }

    fn bytes<'a>(&'a self, ring: &'a Ring, frame: usize) -> &'a [u8] {
        let Buffer { start, len } = self.buffer(frame, ring.made(frame).len - ETHERNET);
        // SAFETY: initialised by `load`, and only written to while `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    fn audit(&mut self, ring: &mut Ring, burst: usize) -> Option<Audit> {
        self.buffers(ring, burst);
        let out = apply(&mut self.table, &mut self.bufs);
        self.put_back(ring, burst);
        let bytes = out.iter().map(|packet| packet.len + ETHERNET).sum();
        Some(Audit { packets: out.len(), bytes })
    }
}

/// A packet that came out, without Ethernet header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coalesced {
    pub(crate) len: usize,
    pub(crate) gso_size: usize,
    pub(crate) hdr_len: usize,
    /// Which of the buffers it is in.
    pub(crate) buffer: usize,
}

impl Coalesced {
    /// Frames in it.
    pub(crate) fn segs(&self) -> usize {
        if self.gso_size == 0 { 1 } else { (self.len - self.hdr_len).div_ceil(self.gso_size) }
    }
}

/// Coalesces packets in growing buffers that start with room for the virtio header; for a look, not for speed.
pub(crate) fn coalesce(packets: &[&[u8]]) -> (Vec<Coalesced>, Vec<Vec<u8>>) {
    let mut bufs: Vec<Vec<u8>> = packets
        .iter()
        .map(|packet| {
            let mut buffer = Vec::with_capacity(CAPACITY);
            buffer.resize(OFFSET, 0);
            buffer.extend_from_slice(packet);
            buffer
        })
        .collect();
    let out = apply(&mut GROTable::new(), &mut bufs);
    let bytes = out.iter().map(|packet| bufs[packet.buffer][OFFSET..].to_vec()).collect();
    (out, bytes)
}

/// Which buffers leave is its secret; that it writes a virtio header to each of them is not.
fn apply<B: ExpandBuffer>(table: &mut GROTable, bufs: &mut [B]) -> Vec<Coalesced> {
    for buffer in bufs.iter_mut() {
        buffer.as_mut()[OFFSET - VIRTIO..OFFSET].fill(UNTOUCHED);
    }
    if table.apply_gro(bufs, OFFSET, true).is_err() {
        return Vec::new();
    }
    let left = bufs.iter().enumerate().filter_map(|(buffer, bytes)| {
        let (bytes, header) = (bytes.as_ref(), &bytes.as_ref()[OFFSET - VIRTIO..OFFSET]);
        let word = |at| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
        let packet = Coalesced { len: bytes.len() - OFFSET, hdr_len: word(2), gso_size: word(4), buffer };
        (header != [UNTOUCHED; VIRTIO]).then_some(packet)
    });
    left.collect()
}

/// A packet in memory of ours, which may grow.
struct Buffer {
    start: NonNull<u8>,
    len: usize,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` is at most CAPACITY, less than there is of each buffer; one `Buffer` at a time is in use for each.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl ExpandBuffer for Buffer {
    fn buf_capacity(&self) -> usize {
        CAPACITY
    }

    fn buf_resize(&mut self, new_len: usize, value: u8) {
        let old = self.len;
        self.len = new_len.min(CAPACITY);
        if let Some(new) = self.as_mut().get_mut(old..) {
            new.fill(value);
        }
    }

    fn buf_extend_from_slice(&mut self, src: &[u8]) {
        let old = self.len;
        self.len += src.len().min(CAPACITY - old);
        let room = &mut self.as_mut()[old..];
        room.copy_from_slice(&src[..room.len()]);
    }
}

//! What leaves a queue: packets with the header that says what they are, and what was counted.

use super::coalescer::Leaving;
use super::ring::Arrived;
use super::tap::Take;
use crate::live::Snapshot;
use bytes::Bytes;
use gro_core::Bypass;
use gro_core::stats::Counters;
use gro_core::user::VirtioNetHdr;
use std::io;

/// Where packets go.
pub(super) struct Out<T> {
    tap: T,
    /// The engine's number of the first frame of the poll.
    pub(super) base: u32,
    /// The frames of the poll by that number, and the header that each has unless it is merged.
    pub(super) frames: Vec<(Bytes, VirtioNetHdr)>,
    pub(super) totals: Totals,
    /// The TAP device takes nothing any more.
    pub(super) fatal: Option<io::Error>,
}

impl<T: Take> Out<T> {
    /// With room for the frames of a poll.
    pub(super) fn new(tap: T, poll: usize) -> Self {
        Self { tap, base: 0, frames: Vec::with_capacity(poll), totals: Totals::ZERO, fatal: None }
    }

    /// What the coalescer gives.
    pub(super) fn deliver(&mut self, packet: Leaving) {
        self.totals.bytes += packet.len() as u64;
        if packet.segs <= 1 {
            let number = packet.first.wrapping_sub(self.base) as usize;
            let header = self.frames.get(number).map_or(VirtioNetHdr::default(), |frame| frame.1);
            return self.single(header, packet.vlan, &packet.head);
        }
        match packet.form {
            Some(header) => {
                if self.tap.take(header, packet.vlan, &packet.head, &packet.pieces).is_err() {
                    self.totals.tap_refused += 1;
                    self.one_by_one(&packet);
                }
            }
            // Of a tunnel, which the config excludes.
            None => self.one_by_one(&packet),
        }
    }

    /// The frames that a packet was merged from. Each piece of it ends where its frame ends.
    fn one_by_one(&mut self, packet: &Leaving) {
        for piece in &packet.pieces {
            let end = piece.as_ptr_range().end;
            let found = self.frames.iter().find(|(frame, _)| frame.as_ptr_range().end == end);
            if let Some((frame, header)) = found.cloned() {
                self.single(header, packet.vlan, &frame);
            }
        }
    }

    /// A packet that came with a header for it.
    pub(super) fn pass(&mut self, arrived: &Arrived) {
        self.single(arrived.header, arrived.vlan, &arrived.bytes);
    }

    fn single(&mut self, header: VirtioNetHdr, vlan: u32, frame: &[u8]) {
        if let Err(error) = self.tap.take(header, vlan, frame, &[]) {
            self.totals.tap_refused += 1;
            // Set down or deleted. Anything else is about this frame.
            if matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADFD | libc::ENODEV)) {
                let text = format!("the TAP device takes no packets ({error}): it was set down or deleted");
                self.fatal.get_or_insert(io::Error::other(text));
            }
        }
    }
}

/// What remains of the kernel's header for a frame that leaves as it came.
pub(super) fn unmerged(header: VirtioNetHdr) -> VirtioNetHdr {
    match header.flags & VirtioNetHdr::NEEDS_CSUM {
        0 => VirtioNetHdr::default(),
        flags => VirtioNetHdr { flags, gso_type: 0, hdr_len: 0, gso_size: 0, ..header },
    }
}

/// Whether the checksum that the kernel has yet to finish, if there is one, is that of the outermost TCP or UDP header. A merged
/// packet has room for one unfinished checksum, and that is the one.
pub(super) fn is_outermost(arrived: &Arrived) -> bool {
    const ETHERNET: u16 = 14;
    let (frame, header) = (&arrived.bytes, arrived.header);
    if header.flags & VirtioNetHdr::NEEDS_CSUM == 0 {
        return true;
    }
    let (protocol, l4) = match (frame.get(12..15), frame.get(23), frame.get(20)) {
        (Some(&[0x08, 0x00, version]), Some(&protocol), _) => {
            (protocol, ETHERNET + u16::from(version & 15) * 4)
        }
        (Some(&[0x86, 0xdd, _]), _, Some(&protocol)) => (protocol, ETHERNET + 40),
        _ => return false,
    };
    let field = match protocol {
        6 => 16,
        17 => 6,
        _ => return false,
    };
    (header.csum_start, header.csum_offset) == (l4, field)
}

/// What a queue counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Totals {
    /// The engine's counters.
    pub(super) counters: Counters,
    /// Its decision digest.
    pub(super) digest: u64,
    /// Bytes delivered of what went through the engine.
    pub(super) bytes: u64,
    /// Packets that came merged, and went on untouched.
    pub(super) already_merged: u64,
    /// Frames with an unfinished checksum that is not the outermost one's, and went on untouched.
    pub(super) foreign: u64,
    /// Their bytes.
    pub(super) foreign_bytes: u64,
    /// Frames of which only a part arrived.
    pub(super) truncated: u64,
    /// Frames that found the ring full.
    pub(super) ring_full: u64,
    /// Packets that the TAP device did not take.
    pub(super) tap_refused: u64,
}

impl Totals {
    pub(super) const ZERO: Self = Self {
        counters: Counters::ZERO,
        digest: 0,
        bytes: 0,
        already_merged: 0,
        foreign: 0,
        foreign_bytes: 0,
        truncated: 0,
        ring_full: 0,
        tap_refused: 0,
    };

    /// Adds them to what an attachment counted, as those of a queue.
    pub(super) fn add_to(&self, number: u32, snapshot: &mut Snapshot) {
        snapshot.add_cpu(number, &self.counters, self.digest);
        snapshot.bytes += self.bytes;
        add_passed(snapshot, Bypass::Protocol, self.foreign, self.foreign_bytes);
        let guards = &mut snapshot.guards;
        guards.already_merged += self.already_merged;
        guards.truncated += self.truncated;
        guards.ring_full += self.ring_full;
        guards.tap_refused += self.tap_refused;
    }
}

/// Adds frames that no engine saw.
pub(super) fn add_passed(snapshot: &mut Snapshot, why: Bypass, packets: u64, bytes: u64) {
    snapshot.wire_packets += packets;
    snapshot.wire_bytes += bytes;
    snapshot.packets += packets;
    snapshot.bytes += bytes;
    *snapshot.bypass.entry(why.name().to_owned()).or_default() += packets;
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_core::user::Engine;
    use gro_core::{Config, Linux618, Meta};
    use std::cell::RefCell;

    /// A TAP device without memory for long packets.
    #[derive(Default)]
    struct Short(RefCell<Vec<(VirtioNetHdr, u32, Vec<u8>)>>);

    impl Take for Short {
        fn take(&self, header: VirtioNetHdr, vlan: u32, head: &[u8], pieces: &[Bytes]) -> io::Result<()> {
            if !pieces.is_empty() {
                return Err(io::Error::from_raw_os_error(libc::ENOMEM));
            }
            self.0.borrow_mut().push((header, vlan, head.to_vec()));
            Ok(())
        }
    }

    const OPEN: VirtioNetHdr = VirtioNetHdr {
        flags: VirtioNetHdr::NEEDS_CSUM,
        gso_type: 0,
        hdr_len: 0,
        gso_size: 0,
        csum_start: 34,
        csum_offset: 16,
    };

    /// A TCP segment over IPv4, its checksum open.
    fn segment(flow: u8, number: u8) -> Bytes {
        let mut frame = vec![2; 12];
        frame.extend_from_slice(&[
            8, 0, 0x45, 0, 0, 140, 0, number, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend_from_slice(&[
            0x30,
            flow,
            0x14,
            0x51,
            0,
            0,
            0,
            100 * number,
            0,
            0,
            0,
            1,
            0x50,
            0x10,
            1,
            0,
            0,
            0,
            0,
            0,
        ]);
        frame.extend_from_slice(&[number; 100]);
        let words = frame[14..34].as_chunks::<2>().0;
        let sum: u32 = words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.into()
    }

    #[test]
    fn a_packet_that_is_refused_leaves_as_its_frames() {
        let mut engine = Engine::<Linux618>::new(Config::DEFAULT);
        let mut out = Out::new(Short::default(), 4);
        out.base = engine.state().frames();
        let frames: Vec<Bytes> =
            [(1, 0), (2, 0), (1, 1), (1, 2), (2, 1)].map(|(flow, number)| segment(flow, number)).into();
        for frame in &frames {
            let meta = Meta { hash: 7, vlan: 0x8100_0005, verified: true };
            out.frames.push((frame.clone(), OPEN));
            engine.receive(frame.clone(), meta, &mut |packet| out.deliver(packet.into()));
        }
        engine.poll_end(&mut |packet| out.deliver(packet.into()));
        assert_eq!((engine.state().counters.merged_packets, out.totals.tap_refused), (2, 2));
        let order = [0, 2, 3, 1, 4].map(|index: usize| (OPEN, 0x8100_0005, frames[index].to_vec()));
        assert_eq!(*out.tap.0.borrow(), order);
    }

    #[test]
    fn only_the_outermost_checksum_may_be_open() {
        let arrived = |header| Arrived { bytes: segment(1, 1), header, vlan: 0, is_verified: true };
        assert!(is_outermost(&arrived(OPEN)) && is_outermost(&arrived(VirtioNetHdr::default())));
        assert!(!is_outermost(&arrived(VirtioNetHdr { csum_start: 84, ..OPEN })));
        assert!(!is_outermost(&arrived(VirtioNetHdr { csum_offset: 6, ..OPEN })));
        let short = Arrived { bytes: segment(1, 1).slice(..10), ..arrived(OPEN) };
        assert!(!is_outermost(&short));
    }

    #[test]
    fn a_frame_that_was_not_merged_keeps_its_open_checksum() {
        let header = VirtioNetHdr { hdr_len: 54, ..OPEN };
        assert_eq!(unmerged(header), OPEN);
        // The kernel's word that it is valid is for us alone.
        assert_eq!(unmerged(VirtioNetHdr { flags: 2, ..header }), VirtioNetHdr::default());
    }
}

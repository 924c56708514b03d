//! One queue: frames out of its ring, through its engine, into the TAP device.

use super::flow_hash::flow_hash;
use super::programs::GateKeeper;
use super::ring::{Arrived, Ring, Slot};
use super::sys::monotonic_ns;
use super::tap::Queue;
use bytes::Bytes;
use gro_core::stats::Counters;
use gro_core::user::{Delivered, Engine, VirtioNetHdr};
use gro_core::{Config, Meta, Profile};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Frames of a poll. A NAPI poll has 64 at most, which is 92 KB at an MTU of 1500; here several flows share it, and a packet may
/// get longer.
const POLL: usize = 256;
/// How often an idle worker says that it lives.
const BEAT_NS: u64 = 100_000_000;
/// How often a busy worker says what it counted.
const PUBLISH_NS: u64 = 10_000_000;

/// What all workers see.
pub(super) struct Shared {
    /// Set to have the workers empty their rings and end.
    stop: AtomicBool,
    /// Readable (eventfd(2)) once `stop` is set.
    wake: OwnedFd,
    /// One for each worker.
    pub(super) queues: Vec<Published>,
    /// Why a worker ended.
    pub(super) failure: Mutex<Option<String>>,
    /// Opens and shuts the way of frames to the workers.
    pub(super) gate: GateKeeper,
}

/// What a worker tells.
#[derive(Debug)]
pub(super) struct Published {
    /// When it last began a turn.
    alive: AtomicU64,
    totals: Mutex<Totals>,
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

impl Shared {
    pub(super) fn new(queues: u32, wake: OwnedFd, gate: GateKeeper) -> Self {
        let published =
            |_| Published { alive: AtomicU64::new(monotonic_ns()), totals: Mutex::new(Totals::ZERO) };
        let queues = (0..queues).map(published).collect();
        Self { stop: AtomicBool::new(false), wake, queues, failure: Mutex::new(None), gate }
    }

    /// Has the workers empty their rings and end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let one = 1_u64;
        // SAFETY: writes the eight bytes of `one`. It cannot fail: nobody else writes, so the count is far from its limit.
        unsafe { libc::write(self.wake.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
    }

    fn fail(&self, reason: String) {
        self.gate.shut();
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.stop();
    }
}

impl Published {
    pub(super) fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    const ZERO: Self = Self {
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
}

/// Runs a queue until it is told to stop. What goes wrong ends all of them: then the kernel keeps its frames.
pub(super) fn run<P: Profile>(index: usize, config: Config, ring: Ring, tap: Queue, shared: &Shared) {
    let mut worker = Worker {
        ring,
        engine: Engine::<P>::new(config),
        out: Out { tap, base: 0, frames: Vec::with_capacity(POLL), totals: Totals::ZERO, fatal: None },
        shared,
        index,
        published: 0,
        beaten: 0,
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.turns()));
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.fail(error.to_string()),
        Err(_) => shared.fail("a worker panicked: a bug".to_owned()),
    }
    worker.publish();
}

struct Worker<'a, P> {
    ring: Ring,
    engine: Engine<P>,
    out: Out,
    shared: &'a Shared,
    index: usize,
    published: u64,
    beaten: u64,
}

impl<P: Profile> Worker<'_, P> {
    fn turns(&mut self) -> io::Result<()> {
        loop {
            let stops = self.shared.stop.load(Ordering::Acquire);
            let now = monotonic_ns();
            self.shared.queues[self.index].alive.store(now, Ordering::Relaxed);
            if now - self.beaten >= BEAT_NS {
                self.beat(now)?;
            }
            let frames = self.poll()?;
            if frames == 0 || now - self.published >= PUBLISH_NS {
                self.published = now;
                self.publish();
            }
            match (frames, stops) {
                (0, true) => return Ok(()),
                (0, false) => self.wait()?,
                _ => {}
            }
        }
    }

    /// What is ready, as one poll.
    fn poll(&mut self) -> io::Result<usize> {
        let Self { ring, engine, out, .. } = self;
        out.begin(engine.state().frames);
        let mut taken = 0;
        while taken < POLL
            && let Some(slot) = ring.take()
        {
            taken += 1;
            match slot {
                Slot::Truncated => out.totals.truncated += 1,
                Slot::Frame(arrived) if arrived.header.gso_type != 0 => {
                    engine.flush(&mut |packet| out.deliver(packet));
                    out.totals.already_merged += 1;
                    out.pass(&arrived);
                }
                Slot::Frame(arrived) if !is_outermost(&arrived) => {
                    engine.flush(&mut |packet| out.deliver(packet));
                    out.totals.foreign += 1;
                    out.totals.foreign_bytes += arrived.bytes.len() as u64;
                    out.pass(&arrived);
                }
                Slot::Frame(Arrived { bytes, header, vlan, is_verified }) => {
                    let meta = Meta { hash: flow_hash(&bytes), vlan, verified: is_verified };
                    out.frames.push((bytes.clone(), unmerged(header)));
                    engine.receive(bytes, meta, &mut |packet| out.deliver(packet));
                }
            }
        }
        if taken > 0 {
            engine.poll_end(&mut |packet| out.deliver(packet));
            out.frames.clear();
            // Everything that was in these slots is delivered: nothing is held over a poll.
            ring.release();
        }
        match out.fatal.take() {
            None => Ok(taken),
            Some(error) => Err(error),
        }
    }

    fn publish(&mut self) {
        let state = self.engine.state();
        (self.out.totals.counters, self.out.totals.digest) = (state.counters, state.digest.value());
        let published = &self.shared.queues[self.index];
        *published.totals.lock().unwrap_or_else(PoisonError::into_inner) = self.out.totals;
    }

    /// Tells the kernel that the workers work, if all of them do.
    fn beat(&mut self, now: u64) -> io::Result<()> {
        self.beaten = now;
        self.out.totals.ring_full += self.ring.drops()?;
        if !self.ring.is_bound()? {
            return Err(io::Error::other("the interface is gone"));
        }
        let is_alive =
            |queue: &Published| now.saturating_sub(queue.alive.load(Ordering::Relaxed)) < 5 * BEAT_NS;
        if self.shared.queues.iter().all(is_alive) {
            self.shared.gate.beat(now);
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polls = [poll(self.ring.raw_fd()), poll(self.shared.wake.as_raw_fd())];
        // SAFETY: as many pollfds as are passed.
        let ready = unsafe {
            libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, (BEAT_NS / 1_000_000) as libc::c_int)
        };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        // An interface that was set down comes back; the error is read, and so no longer reported.
        if polls[0].revents & libc::POLLERR != 0 {
            self.ring.error()?;
        }
        Ok(())
    }
}

/// Where packets go.
struct Out {
    tap: Queue,
    /// The engine's number of the first frame of the poll.
    base: u32,
    /// The frames of the poll by that number, and the header that each has unless it is merged.
    frames: Vec<(Bytes, VirtioNetHdr)>,
    totals: Totals,
    /// The TAP device takes nothing any more.
    fatal: Option<io::Error>,
}

impl Out {
    fn begin(&mut self, base: u32) {
        self.base = base;
    }

    fn deliver(&mut self, packet: Delivered) {
        self.totals.bytes += packet.len() as u64;
        let vlan = packet.meta.vlan;
        if packet.segs <= 1 {
            let number = packet.first.wrapping_sub(self.base) as usize;
            let header = self.frames.get(number).map_or(VirtioNetHdr::default(), |frame| frame.1);
            return self.single(header, vlan, &packet.header);
        }
        match packet.into_virtio() {
            Ok((header, packet)) => {
                if self.tap.write(header, vlan, &packet.header, &packet.segments).is_err() {
                    self.totals.tap_refused += 1;
                    self.one_by_one(&packet);
                }
            }
            // Of a tunnel, which the config excludes.
            Err(packet) => self.one_by_one(&packet),
        }
    }

    /// The frames that a packet was merged from. Each piece of it ends where its frame ends.
    fn one_by_one(&mut self, packet: &Delivered) {
        for piece in &packet.segments {
            let end = piece.as_ptr_range().end;
            let found = self.frames.iter().find(|(frame, _)| frame.as_ptr_range().end == end);
            if let Some((frame, header)) = found.cloned() {
                self.single(header, packet.meta.vlan, &frame);
            }
        }
    }

    /// A packet that came with a header for it.
    fn pass(&mut self, arrived: &Arrived) {
        self.single(arrived.header, arrived.vlan, &arrived.bytes);
    }

    fn single(&mut self, header: VirtioNetHdr, vlan: u32, frame: &[u8]) {
        if let Err(error) = self.tap.write(header, vlan, frame, &[]) {
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
fn unmerged(header: VirtioNetHdr) -> VirtioNetHdr {
    match header.flags & VirtioNetHdr::NEEDS_CSUM {
        0 => VirtioNetHdr::default(),
        flags => VirtioNetHdr { flags, gso_type: 0, hdr_len: 0, gso_size: 0, ..header },
    }
}

/// Whether the checksum that the kernel has yet to finish, if there is one, is that of the outermost TCP or UDP header. A merged
/// packet has room for one unfinished checksum, and that is the one.
fn is_outermost(arrived: &Arrived) -> bool {
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

//! One queue: frames out of its ring, through its coalescer, into the TAP device.

use super::coalescer::Coalescer;
use super::flow_hash::flow_hash;
use super::out::{Out, Totals, is_outermost, unmerged};
use super::programs::GateKeeper;
use super::ring::{Arrived, Ring, Slot};
use super::sys;
use super::sys::monotonic_ns;
use super::tap::Queue;
use gro_core::Meta;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Frames of a poll. A NAPI poll has 64 at most, which is 92 KB at an MTU of 1500; here several flows share it, and a packet may
/// get longer.
const POLL: usize = 256;
/// With a packet in hand that may grow, a worker looks this long for the next frame before it ends the poll: 2.4 us lie between
/// frames of 1,500 bytes at 5 Gb/s, and a worker that is faster than that would merge little.
const LINGER_NS: u64 = 3_000;
/// The time of a poll for that.
const PATIENCE_NS: u64 = 50_000;
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

/// Runs a queue until it is told to stop. What goes wrong ends all of them: then the kernel keeps its frames.
pub(super) fn run(index: usize, coalescer: impl Coalescer, ring: Ring, tap: Queue, shared: &Shared) {
    let mut worker =
        Worker { ring, coalescer, out: Out::new(tap, POLL), shared, index, published: 0, beaten: 0 };
    // A worker that moved would leave its packets in two backlogs, and the later ones might come first.
    if let Err(error) = sys::pin(index) {
        return shared.fail(format!("staying on one CPU: {error}"));
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.turns()));
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => shared.fail(error.to_string()),
        Err(_) => shared.fail("a worker panicked: a bug".to_owned()),
    }
    worker.publish();
}

struct Worker<'a, C> {
    ring: Ring,
    coalescer: C,
    out: Out<Queue>,
    shared: &'a Shared,
    index: usize,
    published: u64,
    beaten: u64,
}

impl<C: Coalescer> Worker<'_, C> {
    fn turns(&mut self) -> io::Result<()> {
        loop {
            let stops = self.shared.stop.load(Ordering::Acquire);
            let now = monotonic_ns();
            self.shared.queues[self.index].alive.store(now, Ordering::Relaxed);
            if now - self.beaten >= BEAT_NS {
                self.beat(now)?;
            }
            if self.coalescer.is_asked() {
                self.publish();
                self.coalescer.answer()?;
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
        let Self { ring, coalescer, out, .. } = self;
        out.base = coalescer.next_frame();
        let (mut taken, mut patience) = (0, PATIENCE_NS);
        while taken < POLL
            && let Some(slot) = ring.take().or_else(|| linger(ring, coalescer, &mut patience))
        {
            taken += 1;
            match slot {
                Slot::Truncated => out.totals.truncated += 1,
                Slot::Frame(arrived) if arrived.header.gso_type != 0 => {
                    coalescer.flush(&mut |packet| out.deliver(packet))?;
                    out.totals.already_merged += 1;
                    out.pass(&arrived);
                }
                Slot::Frame(arrived) if !is_outermost(&arrived) => {
                    coalescer.flush(&mut |packet| out.deliver(packet))?;
                    out.totals.foreign += 1;
                    out.totals.foreign_bytes += arrived.bytes.len() as u64;
                    out.pass(&arrived);
                }
                Slot::Frame(Arrived { bytes, header, vlan, is_verified }) => {
                    let meta = Meta { hash: flow_hash(&bytes), vlan, verified: is_verified };
                    out.frames.push((bytes.clone(), unmerged(header)));
                    coalescer.receive(bytes, meta, &mut |packet| out.deliver(packet))?;
                }
            }
        }
        if taken > 0 {
            coalescer.poll_end(&mut |packet| out.deliver(packet))?;
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
        (self.out.totals.counters, self.out.totals.digest) = self.coalescer.tally();
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

/// The next frame, if it comes soon and there is something that it may join.
fn linger(ring: &mut Ring, coalescer: &impl Coalescer, patience: &mut u64) -> Option<Slot> {
    if !coalescer.holds() || *patience == 0 {
        return None;
    }
    let (start, most) = (monotonic_ns(), LINGER_NS.min(*patience));
    loop {
        let (slot, waited) = (ring.take(), monotonic_ns() - start);
        if slot.is_some() || waited >= most {
            *patience = patience.saturating_sub(waited);
            return slot;
        }
        std::hint::spin_loop();
    }
}

//! Bursts of frames at the speed of memory: slices in, lists of slices out, nothing copied but headers, nothing allocated.
//!
//! Decisions are the core's: a frame that continues the packet in hand is told by one comparison of its headers with those of the
//! packet's first frame, in a tunnel too, the first frame of a new flow of TCP or UDP by a few more tests, and every other frame goes
//! through [`crate::receive`], the very function of the other backends. Backend `user` of `gro verify` is this; `user-plain` is the core
//! alone.
//!
//! ```
//! use gro_core::user::burst::{Frame, Memory, Queue};
//! use gro_core::{Config, Linux618};
//!
//! let mut queue = Queue::<Linux618>::new(Config::DEFAULT);
//! let received = [[0_u8; 60], [1; 60]]; // not IP: leave at once, untouched
//! let frames = received.each_ref().map(|bytes| Frame::new(bytes));
//! let mut left = 0;
//! queue.poll(&frames, &mut |packet| {
//!     assert_eq!(&*packet.iov()[0], &received[left]);
//!     left += 1;
//! });
//! assert_eq!(left, 2);
//!
//! // Without an allocator, in memory of the caller's:
//! static MEMORY: std::sync::Mutex<Memory> = std::sync::Mutex::new(Memory::EMPTY);
//! let mut memory = MEMORY.lock().unwrap();
//! let mut queue = Queue::<Linux618, _>::with_memory(Config::DEFAULT, &mut *memory);
//! queue.poll(&frames, &mut |_| {});
//! ```
#![doc = include_str!("examples.md")]

// a frame's way
mod core_way;
mod fast;
mod follow;
mod fresh;
mod leave;
mod mismatch;
mod receive;
mod stacked;
mod udp;
// what is on it
mod frame;
mod held;
mod isa;
mod prefetch;
mod shape;
mod store;
mod sums;
mod tags;

pub use frame::{Check, Frame, Iov, Packet};
pub use isa::Isa;
pub use store::{DEFAULT_CHUNKS, Memory};

use crate::datapath::{self, Event};
use crate::table::BUCKETS;
use crate::{Config, Profile, State, Table};
#[cfg(feature = "user")]
use alloc::boxed::Box;
use core::borrow::BorrowMut;
use core::marker::PhantomData;

/// One receive queue. No lock, no global: make one a queue of the device, and keep it on one thread.
#[derive(Debug)]
pub struct Queue<P, M = Standard, const CHUNKS: usize = DEFAULT_CHUNKS> {
    core: Core,
    memory: M,
    profile: PhantomData<P>,
}

/// Where a queue's memory is if nothing else is said: on the heap, if there is one.
#[cfg(feature = "user")]
pub type Standard = Box<Memory>;
/// Where a queue's memory is if nothing else is said.
#[cfg(not(feature = "user"))]
pub type Standard = &'static mut Memory;

/// All but the memory.
#[derive(Debug)]
struct Core {
    config: Config,
    isa: Isa,
    now: u32,
    summed: Summed,
    /// See [`Queue::early`].
    early: u64,
    state: State,
}

impl Core {
    /// Frames so far, modulo 2^32: none of them is still to be counted here.
    #[inline(always)]
    fn frames(&self) -> u32 {
        self.state.counters.wire_packets as u32
    }
}

/// The visitor, for code that is not made anew for each.
type Sink<'s> = &'s mut dyn FnMut(&Packet<'_>);

/// What the TCP or UDP checksum of a merged packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Summed {
    /// The sum of the pseudo-header: CHECKSUM_PARTIAL, as the kernel delivers it and as a TUN/TAP or virtio device takes it
    /// ([`Packet::virtio`]). In a tunnel it is complete.
    #[default]
    Partial,
    /// Right for the whole packet.
    Complete,
}

#[cfg(feature = "user")]
impl<P: Profile> Queue<P> {
    /// An empty queue on the heap.
    pub fn new(config: Config) -> Self {
        Self::with_memory(config, Box::new(Memory::EMPTY))
    }
}

impl<P: Profile, M: BorrowMut<Memory<CHUNKS>>, const CHUNKS: usize> Queue<P, M, CHUNKS> {
    /// An empty queue in memory of the caller's.
    pub fn with_memory(config: Config, mut memory: M) -> Self {
        const { assert!(P::SHORTCUT, "this is the shortcut") };
        clear(memory.borrow_mut());
        let isa = Isa::of_machine();
        let core = Core { config, isa, now: 0, summed: Summed::Partial, early: 0, state: State::ZERO };
        Self { core, memory, profile: PhantomData }
    }

    /// With checksums of merged packets as `summed` says.
    pub fn summed(mut self, summed: Summed) -> Self {
        self.core.summed = summed;
        self
    }

    /// With no more than the instructions of `isa`.
    pub fn at_most(mut self, isa: Isa) -> Self {
        self.core.isa = self.core.isa.min(isa);
        self
    }

    /// Sets the current jiffy, an input like the frames.
    pub fn set_time(&mut self, jiffies: u32) {
        self.core.now = jiffies;
    }

    /// One NAPI poll: takes frames and delivers everything to `sink`, in order, also what [`Config::flush_timeout`] would keep: the
    /// frames live only as long as this call. For more than that there is [`Queue::session`].
    pub fn poll(&mut self, frames: &[Frame<'_>], sink: &mut impl FnMut(&Packet<'_>)) {
        let mut session = self.session();
        session.receive(frames, sink);
        session.poll_end(sink);
        if session.queue.memory.borrow_mut().side.is_holding() {
            session.flush(sink);
        }
    }

    /// For frames that live for `'f`, over several polls. What is held when the session ends is forgotten: deliver it with
    /// [`Session::flush`].
    pub fn session<'q, 'f>(&'q mut self) -> Session<'q, 'f, P, M, CHUNKS> {
        self.forget();
        Session { queue: self, frames: PhantomData }
    }

    /// Decision digest and counters.
    pub fn state(&self) -> &State {
        &self.core.state
    }

    /// Packets that left before their time because [`Memory`] had no more room: for each a difference to the kernel.
    pub fn early(&self) -> u64 {
        self.core.early
    }

    /// Of frames that need not live any more.
    fn forget(&mut self) {
        let memory = self.memory.borrow_mut();
        if memory.side.is_holding() {
            clear(memory);
        }
    }
}

fn clear<const CHUNKS: usize>(memory: &mut Memory<CHUNKS>) {
    for bucket in 0..BUCKETS as u32 {
        if let Some((list, _)) = memory.table.bucket(bucket) {
            while list.count() > 0 {
                list.remove(list.oldest());
            }
        }
    }
    memory.side.clear();
}

/// Polls of frames that live for `'f`.
#[derive(Debug)]
pub struct Session<'q, 'f, P: Profile, M: BorrowMut<Memory<CHUNKS>>, const CHUNKS: usize> {
    queue: &'q mut Queue<P, M, CHUNKS>,
    /// Frames go in, and come out again: neither longer nor shorter lives will do.
    frames: PhantomData<core::cell::Cell<&'f [u8]>>,
}

impl<'f, P: Profile, M: BorrowMut<Memory<CHUNKS>>, const CHUNKS: usize> Session<'_, 'f, P, M, CHUNKS> {
    /// Sets the current jiffy.
    pub fn set_time(&mut self, jiffies: u32) {
        self.queue.set_time(jiffies);
    }

    /// Takes frames. Whatever leaves goes to `sink`, in order.
    pub fn receive(&mut self, frames: &[Frame<'f>], sink: &mut impl FnMut(&Packet<'_>)) {
        let Queue { core, memory, .. } = &mut *self.queue;
        isa::receive::<P, CHUNKS>(core.isa, core, memory.borrow_mut(), frames, sink);
    }

    /// The end of a NAPI poll.
    pub fn poll_end(&mut self, sink: &mut impl FnMut(&Packet<'_>)) {
        self.event(Event::PollEnd, sink);
    }

    /// The flush timer fired.
    pub fn tick(&mut self, sink: &mut impl FnMut(&Packet<'_>)) {
        self.event(Event::Tick, sink);
    }

    /// Delivers everything that is held.
    pub fn flush(&mut self, sink: &mut impl FnMut(&Packet<'_>)) {
        self.event(Event::Flush, sink);
    }

    /// As [`crate::event`]: buckets leave in order, the oldest packet of each first.
    #[inline(always)]
    fn event(&mut self, event: Event, sink: &mut impl FnMut(&Packet<'_>)) {
        let Queue { core, memory, .. } = &mut *self.queue;
        let memory = memory.borrow_mut();
        let frames = core.frames().wrapping_sub(core.state.poll_start);
        let keeps_young = event == Event::PollEnd && core.config.keeps_young::<P>(frames);
        datapath::begin::<P>(&mut core.state, event, &core.config);
        let kept = if keeps_young { core.now.into() } else { leave::Age::MAX };
        for bucket in 0..BUCKETS {
            leave::flush::<P, CHUNKS>(core, memory, (bucket, event.reason()), kept, sink);
        }
    }
}

impl<P: Profile, M: BorrowMut<Memory<CHUNKS>>, const CHUNKS: usize> Drop for Session<'_, '_, P, M, CHUNKS> {
    fn drop(&mut self) {
        self.queue.forget();
    }
}

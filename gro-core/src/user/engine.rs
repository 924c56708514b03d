//! One frame at a time, as [`Bytes`]: frames in, packets out as a header and a list of payload slices that own what they are of.
//!
//! Payload stays where it is; copied are the first bytes of a frame to look at, and the header of a merged packet. Without the shortcut
//! ([`crate::Plain`]) this is the reference that all backends are compared with.
//!
//! ```
//! use bytes::Bytes;
//! use gro_core::{Config, Linux618, Meta, user::Engine};
//!
//! let mut engine = Engine::<Linux618>::new(Config::DEFAULT);
//! let mut out = Vec::new();
//! let frame = Bytes::from_static(&[0; 60]); // not IP: comes out at once, untouched
//! engine.receive(frame.clone(), Meta::default(), &mut |packet| out.push(packet));
//! engine.poll_end(&mut |packet| out.push(packet));
//! assert_eq!(out[0].header, frame);
//! ```

use super::delivered::Delivered;
use super::{Why, load, sum};
use crate::complete::jumbo_header;
use crate::datapath::{self, Datapath, Event, GroResult, Input, Meta, State};
use crate::{Buckets, Bypass, Config, FlushReason, Header, Merged, Payload, Profile, Slot, Window, follow};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::{Buf as _, Bytes};
use core::marker::PhantomData;
use core::ops::Range;

/// One queue's engine. No lock, no global; make one a queue.
#[derive(Debug)]
pub struct Engine<P> {
    config: Config,
    now: u32,
    state: State,
    table: Box<Buckets>,
    held: Box<[Held]>,
    /// The first bytes of the frame in hand. A copy costs less than the second handle on a frame that looking at it in place
    /// would need: two atomic operations, and an allocation where the caller has the only one.
    scratch: Box<Header>,
    profile: PhantomData<P>,
}

/// Room for this many segments is made when a second one joins, which saves most packets every reallocation.
const SEGMENTS: usize = 16;

#[derive(Debug, Default)]
struct Held {
    frame: Bytes,
    /// Number of the first frame, from 0.
    first: u32,
    last: u32,
    meta: Meta,
    segments: Vec<Bytes>,
}

impl<P: Profile> Engine<P> {
    /// An empty engine.
    pub fn new(config: Config) -> Self {
        let held = (0..Slot::COUNT).map(|_| Held::default()).collect();
        Self {
            config,
            now: 0,
            state: State::ZERO,
            table: Box::new(Buckets::EMPTY),
            held,
            scratch: Box::new(Header::ZERO),
            profile: PhantomData,
        }
    }

    /// Sets the current jiffy, an input like the frames.
    pub fn set_time(&mut self, jiffies: u32) {
        self.now = jiffies;
    }

    /// Takes one Ethernet frame (without FCS; the outer VLAN tag may be in `meta`). Whatever leaves goes to `sink`, in order.
    pub fn receive(&mut self, frame: Bytes, meta: Meta, sink: &mut impl FnMut(Delivered)) -> GroResult {
        let len = frame.len().min(u32::MAX as usize) as u32;
        load(self.scratch.bytes_mut(), &frame);
        let input =
            Input { window: Window::new(&self.scratch, len), meta, now: self.now, config: &self.config };
        let number = self.state.frames();
        let mut path = Path { held: &mut self.held, number, meta, sink };
        let (state, table) = (&mut self.state, &mut *self.table);
        let result = match follow::<P, _, _>(state, table, &mut path, frame, &input) {
            Ok(result) => result,
            Err(frame) => datapath::receive::<P, _, _>(state, table, &mut path, frame, &input),
        };
        // Who reads the counters between two frames finds it in them.
        state.count_pending();
        result
    }

    /// The end of a NAPI poll.
    pub fn poll_end(&mut self, sink: &mut impl FnMut(Delivered)) {
        self.event(Event::PollEnd, sink);
    }

    /// The flush timer fired.
    pub fn tick(&mut self, sink: &mut impl FnMut(Delivered)) {
        self.event(Event::Tick, sink);
    }

    /// Delivers everything that is held.
    pub fn flush(&mut self, sink: &mut impl FnMut(Delivered)) {
        self.event(Event::Flush, sink);
    }

    fn event(&mut self, event: Event, sink: &mut impl FnMut(Delivered)) {
        let mut path = Path { held: &mut self.held, number: 0, meta: Meta::default(), sink };
        let clock = (self.now, &self.config);
        datapath::event::<P, _, _>(&mut self.state, &mut *self.table, &mut path, event, clock);
    }

    /// Decision digest and counters.
    pub fn state(&self) -> &State {
        &self.state
    }
}

struct Path<'a, S> {
    held: &'a mut [Held],
    number: u32,
    meta: Meta,
    sink: &'a mut S,
}

impl<S: FnMut(Delivered)> Datapath for Path<'_, S> {
    const LEARNS_LATE: bool = true;

    type Frame = Bytes;

    fn sum(&mut self, frame: &Bytes, range: Range<u32>) -> Option<u16> {
        frame.get(range.start as usize..range.end as usize).map(sum)
    }

    fn hold(&mut self, slot: Slot, frame: Bytes, _payload: Payload) {
        let held = &mut self.held[slot.index()];
        held.frame = frame;
        held.first = self.number;
        held.last = self.number;
        held.meta = self.meta;
    }

    fn append(&mut self, slot: Slot, mut frame: Bytes, payload: Payload) {
        let held = &mut self.held[slot.index()];
        held.last = self.number;
        // Equal headers are equally long, so the first payload starts where this one does.
        let payload = payload.at as usize;
        if held.segments.is_empty() {
            held.segments.reserve(SEGMENTS);
            held.segments.push(held.frame.slice(payload..));
        }
        // Cuts the handle in hand: another one of the same bytes would cost two atomic operations.
        frame.advance(payload);
        held.segments.push(frame);
    }

    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason) {
        let held = core::mem::take(&mut self.held[slot.index()]);
        let mut packet = Delivered {
            header: held.frame,
            segments: held.segments,
            gso_size: merged.gso_size,
            segs: merged.segs,
            gso_type: merged.gso_type,
            first: held.first,
            last: held.last,
            meta: held.meta,
            why: Why::Flush(why),
            merged: Some(*merged),
        };
        if merged.segs > 1 {
            let mut header = Vec::from(&packet.header[..usize::from(merged.header_len)]);
            for patch in merged.patches() {
                let at = usize::from(patch.offset);
                header[at..at + 2].copy_from_slice(&patch.value.to_be_bytes());
            }
            insert_jumbo(&mut header, merged.l3, merged.jumbo);
            packet.header = header.into();
        }
        (self.sink)(packet);
    }

    fn pass(&mut self, frame: Bytes, why: Bypass) {
        (self.sink)(Delivered {
            header: frame,
            segments: Vec::new(),
            gso_size: 0,
            segs: 1,
            gso_type: 0,
            first: self.number,
            last: self.number,
            meta: self.meta,
            why: Why::Bypass(why),
            merged: None,
        });
    }
}

/// Puts the hop-by-hop header of a jumbogram behind the IPv6 header at `l3`, if `jumbo` states a length ([`Merged::jumbo`]).
/// A header too short for an IPv6 header stays as it is.
pub fn insert_jumbo(header: &mut Vec<u8>, l3: u16, jumbo: u32) {
    const NEXT_HEADER: usize = 6;
    const IPV6_HEADER: usize = 40;
    let (next_at, at) = (usize::from(l3) + NEXT_HEADER, usize::from(l3) + IPV6_HEADER);
    if jumbo != 0 && header.len() >= at {
        let next = core::mem::take(&mut header[next_at]);
        header.splice(at..at, jumbo_header(next, jumbo));
    }
}

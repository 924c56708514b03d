//! Events on their way into the RX ring.

use bytes::Bytes;
use gro_core::Meta;
use gro_core::user::Why;

use super::{Delivered, Flushed, Nic, NicError};
use crate::abi::{bar, event, register};
use crate::device::{Arrival, Frame};
use crate::machine::Core;

/// What the device is to be told.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Frame(Frame),
    Time(u32),
    PollEnd,
    Tick,
    Flush,
    /// The device works with another config from here on.
    Config(gro_core::Config, bool),
}

/// What became of an event.
#[derive(Debug)]
pub(crate) enum Offer {
    Taken,
    Dropped,
    Waits(Event),
}

impl<C: Core> Nic<C> {
    /// A frame arrived: an Ethernet frame without FCS, its outer VLAN tag in `meta` if the MAC took it off.
    pub fn post(&mut self, frame: Bytes, meta: Meta) {
        let number = self.frames;
        self.frames = self.frames.wrapping_add(1);
        self.pending.push_back(Event::Frame(Frame { bytes: frame, number, meta }));
    }

    /// The clock stands at `jiffies` from now on; 0 before the first call. The device is told when it changes.
    pub fn time(&mut self, jiffies: u32) {
        if std::mem::replace(&mut self.jiffies, jiffies) != jiffies {
            self.pending.push_back(Event::Time(jiffies));
        }
    }

    /// A poll ended.
    pub fn poll_end(&mut self) {
        self.pending.push_back(Event::PollEnd);
    }

    /// The flush timer fired.
    pub fn tick(&mut self) {
        self.pending.push_back(Event::Tick);
    }

    /// Deliver everything that is held.
    pub fn flush(&mut self) {
        self.pending.push_back(Event::Flush);
    }

    /// From here on the device works with `engine`; without `coalesce` it passes every frame as it came, once what it holds is
    /// delivered.
    ///
    /// # Errors
    /// A setting that the image's schema does not accept; nothing changes then.
    pub fn configure(&mut self, engine: gro_core::Config, coalesce: bool) -> Result<(), NicError> {
        self.check_engine(engine, coalesce)?;
        if !coalesce {
            self.flush();
        }
        self.pending.push_back(Event::Config(engine, coalesce));
        Ok(())
    }

    /// Hands events to the port while the RX ring has room and a buffer is free. Whether it took any.
    pub(crate) fn feed(&mut self) -> bool {
        let mut fed = false;
        while self.has_room() {
            let Some(event) = self.pending.pop_front() else { break };
            if matches!(event, Event::Frame(_)) && self.device.read(bar::FREE_COUNT) == 0 {
                self.pending.push_front(event);
                break;
            }
            match self.offer(event) {
                Offer::Taken | Offer::Dropped => fed = true,
                Offer::Waits(event) => {
                    self.pending.push_front(event);
                    break;
                }
            }
        }
        fed
    }

    /// Whether the RX ring has room.
    pub(crate) fn has_room(&self) -> bool {
        let taken = self.device.read(register::RX_CONSUMER);
        self.posted().wrapping_sub(taken) < self.config.rx_entries
    }

    /// Hands one event to the port, which may have no place for it.
    pub(crate) fn offer(&mut self, event: Event) -> Offer {
        let (kind, argument) = match event {
            Event::Frame(frame) => return self.arrive(frame),
            Event::Time(jiffies) => (event::TIME, jiffies),
            Event::PollEnd => (event::POLL_END, 0),
            Event::Tick => (event::TICK, 0),
            Event::Flush => (event::FLUSH, 0),
            Event::Config(..) => (event::CONFIG, 0),
        };
        // The config page is the device's until it has read the one before.
        if self.device.read(bar::EVENT) != 0 || matches!(event, Event::Config(..)) && self.is_busy() {
            return Offer::Waits(event);
        }
        if let Event::Config(engine, coalesce) = event {
            (self.config.engine, self.config.coalesce) = (engine, coalesce);
            self.write_config();
        }
        self.device.write(bar::EVENT_ARGUMENT, argument);
        self.device.write(bar::EVENT, kind);
        if let Event::Flush = event {
            let kept = u32::from(self.device.read(bar::EVENT) != 0);
            self.flushed = Some(Flushed { end: self.posted().wrapping_add(kept), frames: self.next });
        }
        Offer::Taken
    }

    /// A frame is on the wire now: the port takes it at once, or does not. It counts as posted when it is taken.
    pub(crate) fn offer_frame(&mut self, bytes: Bytes, meta: Meta) -> Offer {
        let offer = self.arrive(Frame { bytes, number: self.frames, meta });
        if let Offer::Taken = offer {
            self.frames = self.frames.wrapping_add(1);
        }
        offer
    }

    fn arrive(&mut self, frame: Frame) -> Offer {
        let next = frame.number.wrapping_add(1);
        match self.device.receive(&mut self.buffers, frame) {
            Arrival::Taken => {
                self.next = next;
                Offer::Taken
            }
            Arrival::Dropped => Offer::Dropped,
            Arrival::Paused(frame) => Offer::Waits(Event::Frame(frame)),
        }
    }
}

/// A frame that leaves as it came.
pub(super) fn untouched(frame: Frame, why: Why) -> Delivered {
    Delivered {
        header: frame.bytes,
        segments: Vec::new(),
        gso_size: 0,
        segs: 1,
        gso_type: 0,
        first: frame.number,
        last: frame.number,
        meta: frame.meta,
        why,
        l4: 0,
        pseudo: 0,
    }
}

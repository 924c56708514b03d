//! Events on their way into the RX ring.

use bytes::Bytes;
use gro_core::Meta;
use gro_core::user::Why;

use super::{Delivered, Nic, Owned};
use crate::abi::{event, packet, register};
use crate::machine::Core;

/// What the host wants to tell the device.
#[derive(Debug)]
pub(super) enum Event {
    Frame(Owned),
    Time(u32),
    PollEnd,
    Tick,
    Flush,
    /// The device works with another config from here on.
    Config(gro_core::Config, bool),
}

impl<C: Core> Nic<C> {
    /// A frame arrived: an Ethernet frame without FCS, its outer VLAN tag in `meta` if the MAC took it off.
    pub fn post(&mut self, frame: Bytes, meta: Meta) {
        let number = self.frames;
        self.frames = self.frames.wrapping_add(1);
        self.pending.push_back(Event::Frame(Owned { frame, number, meta }));
    }

    /// The clock stands at `jiffies` from now on; 0 before the first call.
    pub fn time(&mut self, jiffies: u32) {
        self.pending.push_back(Event::Time(jiffies));
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
    pub fn configure(&mut self, engine: gro_core::Config, coalesce: bool) {
        if !coalesce {
            self.flush();
        }
        self.pending.push_back(Event::Config(engine, coalesce));
    }

    /// Moves events into the RX ring while it has room and a buffer is free. Whether any moved.
    pub(super) fn feed(&mut self) -> bool {
        let before = self.posted;
        let taken = self.core.register(register::RX_CONSUMER);
        while self.posted.wrapping_sub(taken) < self.config.rx_entries {
            let Some(event) = self.pending.pop_front() else { break };
            if let Err(event) = self.describe(event) {
                self.pending.push_front(event);
                break;
            }
            self.posted = self.posted.wrapping_add(1);
        }
        let posted = self.posted;
        self.core.set_register(register::RX_PRODUCER, posted);
        posted != before
    }

    /// Writes the next descriptor, or gives the event back if the device cannot have it now.
    fn describe(&mut self, event: Event) -> Result<(), Event> {
        let words = match event {
            Event::Frame(owned) => {
                let Some(buffer) = self.free.pop() else {
                    return Err(Event::Frame(owned));
                };
                self.write_header(buffer, &owned.frame);
                let mut flags = if owned.meta.verified { event::VERIFIED } else { 0 };
                let length = u32::try_from(owned.frame.len()).unwrap_or(u32::MAX);
                let length_sum = if length > u32::from(u16::MAX) {
                    flags |= event::LONG;
                    length
                } else {
                    length | u32::from(gro_core::user::sum(&owned.frame)) << 16
                };
                let words = [
                    event::RX | flags << 8 | u32::from(buffer) << 16,
                    length_sum,
                    owned.meta.hash,
                    owned.meta.vlan,
                ];
                if let Some(place) = self.owned.get_mut(usize::from(buffer)) {
                    *place = Some(owned);
                }
                words
            }
            Event::Time(jiffies) => [event::TIME, 0, jiffies, 0],
            Event::PollEnd => [event::POLL_END, 0, 0, 0],
            Event::Tick => [event::TICK, 0, 0, 0],
            Event::Flush => [event::FLUSH, 0, 0, 0],
            Event::Config(engine, coalesce) => {
                // The page is the device's until it has read the one before.
                if self.core.register(register::RX_CONSUMER) != self.posted {
                    return Err(Event::Config(engine, coalesce));
                }
                (self.config.engine, self.config.coalesce) = (engine, coalesce);
                self.write_config();
                [event::CONFIG, 0, 0, 0]
            }
        };
        let index = self.posted & (self.config.rx_entries - 1);
        let mut descriptor = [0; packet::RX_STRIDE as usize];
        for (place, word) in descriptor.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        self.core.write_packet(packet::RX_RING + index * packet::RX_STRIDE, &descriptor);
        Ok(())
    }

    /// Puts the frame's first bytes into the buffer's header entry. What lies behind them there is left as it was.
    fn write_header(&mut self, buffer: u16, frame: &[u8]) {
        let length = frame.len().min(packet::HEADER_BYTES as usize);
        self.core.write_packet(header_start(buffer), &frame[..length]);
    }
}

/// Offset in packet memory of the frame in a buffer's header entry.
pub(super) fn header_start(buffer: u16) -> u32 {
    packet::HEADERS + u32::from(buffer) * packet::HEADER_STRIDE + packet::HEADER_START
}

/// A frame that leaves as it came.
pub(super) fn untouched(owned: Owned, why: Why) -> Delivered {
    Delivered {
        header: owned.frame,
        segments: Vec::new(),
        gso_size: 0,
        segs: 1,
        gso_type: 0,
        first: owned.number,
        last: owned.number,
        meta: owned.meta,
        why,
        l4: 0,
        pseudo: 0,
    }
}

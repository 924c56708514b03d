//! One lane of the NIC at one queue: frames to the device, packets from it.

use bytes::Bytes;
use gro_core::stats::Counters;
use gro_core::{Config, Meta};
use gro_ebpf::via_tap::{Coalescer, Leaving};
use gro_nic::{Delivered, Health, Image, Nic, NicConfig, NicError};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

/// A lane, in the hands of the thread of its queue.
pub(crate) struct Lane {
    nic: Nic,
    orders: Receiver<Order>,
    /// The one in hand.
    order: Option<Order>,
    coalesce: bool,
    /// Frames that went to the device or wait for it, so far.
    posted: u32,
    /// Of them, those that came back.
    left: u32,
    /// Frames that were posted since the device last ran.
    fresh: u32,
    failure: Failure,
}

/// Why the device was given up, once it is; frames pass as they come from then on.
type Failure = Arc<OnceLock<String>>;

/// What a device says of itself, once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The program hash that its firmware reports.
    pub(crate) program_hash: [u8; 32],
    /// SHA-256 over its instruction memory, measured when it was loaded.
    pub(crate) measurement: [u8; 32],
}

/// To work with another config from here on.
struct Order {
    config: Config,
    coalesce: bool,
    done: Sender<()>,
}

/// The other end of a lane, for who switches it.
#[derive(Debug)]
pub(crate) struct Handle {
    orders: Sender<Order>,
    pub(crate) identity: Identity,
    failure: Failure,
}

/// Frames after which the device runs, as one that gets doorbells while frames still come.
const BATCH: u32 = 32;

impl Lane {
    /// Loads an image into a device and starts it.
    pub(crate) fn start(image: &Image, engine: Config, coalesce: bool) -> Result<(Self, Handle), NicError> {
        let nic = Nic::new(image, &NicConfig { engine, coalesce, watchdog: true, ..NicConfig::default() })?;
        let identity = Identity { program_hash: nic.program_hash(), measurement: nic.measurement() };
        let (orders, to_lane) = channel();
        let failure = Failure::default();
        let handle = Handle { orders, identity, failure: Arc::clone(&failure) };
        Ok((
            Self { nic, orders: to_lane, order: None, coalesce, posted: 0, left: 0, fresh: 0, failure },
            handle,
        ))
    }

    /// Has the device work off what was posted.
    fn work(&mut self, sink: &mut impl FnMut(Leaving)) -> io::Result<()> {
        self.fresh = 0;
        let left = &mut self.left;
        let result = self.nic.deliver(&mut |packet| {
            *left = left.wrapping_add(packet.segs);
            sink(leaving(packet));
        });
        if let Health::PassThrough(failure) = self.nic.health() {
            self.failure.get_or_init(|| failure.reason.to_string());
        }
        result.map_err(|error| io::Error::other(format!("the NIC: {error}")))
    }
}

impl Coalescer for Lane {
    fn receive(&mut self, frame: Bytes, meta: Meta, sink: &mut impl FnMut(Leaving)) -> io::Result<()> {
        self.nic.post(frame, meta);
        self.posted = self.posted.wrapping_add(1);
        self.fresh += 1;
        if self.fresh < BATCH { Ok(()) } else { self.work(sink) }
    }

    fn poll_end(&mut self, sink: &mut impl FnMut(Leaving)) -> io::Result<()> {
        self.nic.poll_end();
        self.work(sink)
    }

    fn flush(&mut self, sink: &mut impl FnMut(Leaving)) -> io::Result<()> {
        self.nic.flush();
        self.work(sink)
    }

    fn is_asked(&mut self) -> bool {
        self.order = self.order.take().or_else(|| self.orders.try_recv().ok());
        self.order.is_some()
    }

    /// Between polls the device holds nothing, so a switch here cannot cut a packet.
    fn answer(&mut self) -> io::Result<()> {
        let Some(Order { config, coalesce, done }) = self.order.take() else { return Ok(()) };
        self.nic.configure(config, coalesce).map_err(io::Error::other)?;
        let mut held = 0;
        self.work(&mut |_| held += 1)?;
        if held > 0 {
            return Err(io::Error::other("the NIC held packets behind the end of a poll: a bug"));
        }
        self.coalesce = coalesce;
        // Who asked may have gone.
        let _ = done.send(());
        Ok(())
    }

    fn next_frame(&self) -> u32 {
        self.posted
    }

    fn holds(&self) -> bool {
        self.coalesce && self.posted != self.left
    }

    fn tally(&self) -> (Counters, u64) {
        (self.nic.counters(), self.nic.digest())
    }
}

impl Handle {
    /// Why the lane passes every frame as it came, if its device was given up.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Has the lane work with a config; what it is given for the answer ends with the lane.
    pub(crate) fn configure(&self, config: Config, coalesce: bool) -> Receiver<()> {
        let (done, answer) = channel();
        // A lane that is gone answers nothing.
        let _ = self.orders.send(Order { config, coalesce, done });
        answer
    }
}

fn leaving(packet: Delivered) -> Leaving {
    let (first, segs, vlan) = (packet.first, packet.segs, packet.meta.vlan);
    let (form, packet) = match packet.into_virtio() {
        Ok((header, packet)) => (Some(header), packet),
        Err(packet) => (None, packet),
    };
    Leaving { first, segs, vlan, form, head: packet.header, pieces: packet.segments }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_fails_passes_frames_and_its_lane_says_why() {
        let image = Image::parse(gro_nic::LINUX_6_18).unwrap();
        let (mut lane, handle) = Lane::start(&image, Config::DEFAULT, true).unwrap();
        let mut out = Vec::new();
        lane.receive(vec![1; 60].into(), Meta::default(), &mut |packet| out.push(packet)).unwrap();
        lane.poll_end(&mut |packet| out.push(packet)).unwrap();
        assert_eq!((out.len(), handle.failure()), (1, None));
        // Its core is gone from one poll to the next.
        lane.nic.device_mut().write(gro_nic::abi::bar::CONTROL, 0);
        for _ in 0..3 {
            lane.receive(vec![2; 60].into(), Meta::default(), &mut |packet| out.push(packet)).unwrap();
            lane.poll_end(&mut |packet| out.push(packet)).unwrap();
        }
        assert!(out.iter().map(|packet| packet.first).eq(0..4) && !lane.holds());
        assert_eq!(handle.failure(), Some("the firmware waits although it has work"));
    }

    #[test]
    fn a_switch_takes_effect_between_polls_and_is_answered() {
        let image = Image::parse(gro_nic::LINUX_6_18).unwrap();
        let (mut lane, handle) = Lane::start(&image, Config::DEFAULT, true).unwrap();
        assert_eq!(handle.identity.program_hash, image.program_hash);
        assert_eq!(handle.identity.measurement, image.measurement());
        let answer = handle.configure(Config::DEFAULT, false);
        assert!(answer.try_recv().is_err());
        assert!(lane.is_asked() && lane.is_asked());
        lane.answer().unwrap();
        assert!(!lane.is_asked());
        answer.try_recv().unwrap();
        let mut out = Vec::new();
        for number in 0..3 * BATCH {
            assert_eq!(lane.next_frame(), number);
            lane.receive(vec![number as u8; 60].into(), Meta::default(), &mut |packet| out.push(packet))
                .unwrap();
            assert!(!lane.holds());
        }
        lane.poll_end(&mut |packet| out.push(packet)).unwrap();
        assert!(out.iter().map(|packet| packet.first).eq(0..3 * BATCH));
        let counted = lane.tally().0;
        assert_eq!((counted.packets, counted.wire_packets), (u64::from(3 * BATCH), u64::from(3 * BATCH)));
    }
}

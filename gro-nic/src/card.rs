//! A card of several lanes, each with its own core, rings and engine. A frame's RSS hash says which lane gets it.
//!
//! Lanes share nothing: a lane of many does with its frames what a card of one lane would do with the same frames.

use bytes::Bytes;
use gro_core::{Config, Meta};
use thiserror::Error;

use crate::abi::bar;
use crate::device::Device;
use crate::driver::{Delivered, Nic, NicConfig, NicError};
use crate::machine::{Core, Machine};

/// Why a card cannot be used, or can no longer.
#[derive(Debug, Error)]
pub enum CardError {
    /// A number of lanes that no card has.
    #[error("a card has 1 to {max} lanes, not {0}", max = bar::LANES_MAX)]
    Lanes(usize),
    /// One lane is of no use.
    #[error("lane {lane}: {error}")]
    Lane {
        /// Which one, from 0.
        lane: usize,
        /// Why.
        error: NicError,
    },
}

/// A card and the drivers of its lanes.
#[derive(Debug)]
pub struct Card<C: Core = Machine> {
    lanes: Vec<Nic<C>>,
}

impl Card {
    /// A simulated card with `lanes` lanes, each loaded with the image file through its window and started with `config`.
    ///
    /// # Errors
    /// More than 32 lanes or none; what [`Nic::attach`] says of a lane.
    pub fn load(file: &[u8], lanes: usize, config: &NicConfig) -> Result<Self, CardError> {
        Self::attach((0..lanes).map(|_| Device::simulated()).collect(), file, config)
    }
}

impl<C: Core> Card<C> {
    /// A card of these lanes; see [`Card::load`].
    ///
    /// # Errors
    /// As [`Card::load`].
    pub fn attach(lanes: Vec<Device<C>>, file: &[u8], config: &NicConfig) -> Result<Self, CardError> {
        let count = lanes.len();
        let attach = |(lane, device): (usize, Device<C>)| {
            let device = device.as_lane(lane as u32, count as u32);
            Nic::attach(device, file, config).map_err(|error| CardError::Lane { lane, error })
        };
        Self::of(lanes.into_iter().enumerate().map(attach).collect::<Result<_, _>>()?)
    }

    /// A card of lanes that are up. Those that came up alone know of no other: the first one's indirection table is set to all.
    ///
    /// # Errors
    /// More than 32 lanes or none.
    pub fn of(lanes: Vec<Nic<C>>) -> Result<Self, CardError> {
        let count = lanes.len();
        if !(1..=bar::LANES_MAX as usize).contains(&count) {
            return Err(CardError::Lanes(count));
        }
        let mut card = Self { lanes };
        card.set_indirection(&std::array::from_fn(|index| (index % count) as u8));
        Ok(card)
    }

    /// The lanes, by number.
    pub fn lanes(&self) -> &[Nic<C>] {
        &self.lanes
    }

    /// The lanes, to be used one by one.
    pub fn lanes_mut(&mut self) -> &mut [Nic<C>] {
        &mut self.lanes
    }

    /// The lane that gets frames with this RSS hash.
    pub fn lane_of(&self, hash: u32) -> usize {
        self.lanes[0].device().steer(hash).min(self.lanes.len() - 1)
    }

    /// Writes the RSS indirection table: the lane for each value of a hash's upper 7 bits. A lane that there is not counts as the last.
    pub fn set_indirection(&mut self, table: &[u8; bar::INDIRECTION_SIZE as usize]) {
        for (offset, word) in (bar::INDIRECTION..).step_by(4).zip(table.as_chunks::<4>().0) {
            self.lanes[0].device_mut().write(offset, u32::from_le_bytes(*word));
        }
    }

    /// A frame arrived; as [`Nic::post`] on its lane. Returns the lane.
    pub fn post(&mut self, frame: Bytes, meta: Meta) -> usize {
        let lane = self.lane_of(meta.hash);
        self.lanes[lane].post(frame, meta);
        lane
    }

    /// [`Nic::time`] on every lane.
    pub fn time(&mut self, jiffies: u32) {
        self.lanes.iter_mut().for_each(|lane| lane.time(jiffies));
    }

    /// [`Nic::poll_end`] on every lane.
    pub fn poll_end(&mut self) {
        self.lanes.iter_mut().for_each(Nic::poll_end);
    }

    /// [`Nic::tick`] on every lane.
    pub fn tick(&mut self) {
        self.lanes.iter_mut().for_each(Nic::tick);
    }

    /// [`Nic::flush`] on every lane.
    pub fn flush(&mut self) {
        self.lanes.iter_mut().for_each(Nic::flush);
    }

    /// [`Nic::configure`] on every lane.
    ///
    /// # Errors
    /// A setting that the image of a lane does not accept; none has changed then.
    pub fn configure(&mut self, engine: Config, coalesce: bool) -> Result<(), CardError> {
        let failed = |(lane, error)| CardError::Lane { lane, error };
        for (lane, nic) in self.lanes.iter().enumerate() {
            nic.check_engine(engine, coalesce).map_err(|error| failed((lane, error)))?;
        }
        let mut lanes = self.lanes.iter_mut().enumerate();
        lanes.try_for_each(|(lane, nic)| {
            nic.configure(engine, coalesce).map_err(|error| failed((lane, error)))
        })
    }

    /// [`Nic::deliver`] on every lane; the sink is told which lane a packet is of, and the numbers in it count that lane's frames.
    ///
    /// # Errors
    /// As [`Nic::deliver`].
    pub fn deliver(&mut self, sink: &mut dyn FnMut(usize, Delivered)) -> Result<(), CardError> {
        for (lane, nic) in self.lanes.iter_mut().enumerate() {
            nic.deliver(&mut |packet| sink(lane, packet)).map_err(|error| CardError::Lane { lane, error })?;
        }
        Ok(())
    }
}

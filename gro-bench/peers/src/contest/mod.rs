//! Who is measured: each takes the same bursts of the same ring, and is timed alone.

mod dpdk;
mod floor;
mod ours;
mod tun_rs;

pub(crate) use dpdk::Dpdk;
pub(crate) use ours::{Ours, config, descriptors};
pub(crate) use tun_rs::{TunRs, coalesce};

use crate::clock::Clock;
use crate::ring::Ring;
use crate::workload::Stream;
use anyhow::Result;

/// One of them.
pub(crate) trait Engine {
    /// As in the report.
    fn name(&self) -> &'static str;

    /// What it does, in a sentence.
    fn what(&self) -> String;

    /// Why it has no figure for these frames.
    fn refuses(&self, _stream: &Stream) -> Option<&'static str> {
        None
    }

    /// Sees frames before they are measured. Only who cannot work in the ring itself takes a copy.
    ///
    /// # Errors
    /// No memory.
    fn load(&mut self, _ring: &Ring) -> Result<()> {
        Ok(())
    }

    /// Takes a burst, puts back what it changed, and gives the ticks that it took. Timed is the engine alone: descriptors are filled before, as the driver does.
    fn burst(&mut self, ring: &mut Ring, clock: &Clock, burst: usize) -> u64;

    /// Where it has the bytes of a frame.
    fn bytes<'a>(&'a self, ring: &'a Ring, frame: usize) -> &'a [u8] {
        ring.frame(frame)
    }

    /// Takes a burst untimed, and counts what comes out. `None` for what has no output.
    fn audit(&mut self, _ring: &mut Ring, _burst: usize) -> Option<Audit> {
        None
    }
}

/// A burst, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) packets: usize,
    /// Of all packets, Ethernet header included.
    pub(crate) bytes: usize,
}

/// All that can run here, and why another cannot.
pub(crate) struct Contest {
    pub(crate) engines: Vec<Box<dyn Engine>>,
    /// Name and reason.
    pub(crate) skipped: Vec<(&'static str, String)>,
}

impl Contest {
    /// Everybody.
    pub(crate) fn everybody() -> Self {
        let mut engines: Vec<Box<dyn Engine>> =
            vec![Box::new(<Ours>::new(true)), Box::new(<Ours>::new(false))];
        let mut skipped = Vec::new();
        match Dpdk::all() {
            Ok(dpdk) => engines.extend(dpdk.into_iter().map(|it| Box::new(it) as Box<dyn Engine>)),
            Err(why) => skipped.push(("dpdk", why)),
        }
        engines.push(Box::new(TunRs::new()));
        engines.extend(floor::all().into_iter().map(|it| Box::new(it) as Box<dyn Engine>));
        Self { engines, skipped }
    }
}

//! What happens to a card and when, how fast its parts work, and what became of it.

use bytes::Bytes;
use gro_core::{Config, Meta};

/// How fast each part works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Instructions of a core between two looks at wire and driver, at least 1.
    pub slice: u64,
    /// `true`: a frame that a port cannot take waits, and all behind it (IEEE 802.3 pause). `false`: it is dropped.
    pub pause: bool,
    /// Cycles from one look of a driver at its completion ring to the next.
    pub drain_every: u64,
    /// Completions that it takes at most at each, at least 1.
    pub drain_most: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { slice: 64, pause: true, drain_every: 0, drain_most: u32::MAX }
    }
}

/// Something that happens to a card.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A frame is on the wire.
    Frame(Bytes, Meta),
    /// The clock stands at these jiffies.
    Time(u32),
    /// A poll ended.
    PollEnd,
    /// The flush timer fired.
    Tick,
    /// Deliver everything that is held.
    Flush,
    /// Work with this config, and coalesce or not.
    Configure(Config, bool),
}

/// When it happens, and to whom.
#[derive(Clone, Debug)]
pub struct Timed {
    /// In cycles since the start of the run.
    pub at: u64,
    /// The lane. `None`: the one that the frame's hash says, or every lane for anything but a frame.
    pub lane: Option<usize>,
    /// What.
    pub what: Happening,
}

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Cycles from the start to the last thing that happened.
    pub cycles: u64,
    /// Cycles that the wire was late at the end, because it had been paused.
    pub late: u64,
    /// By number.
    pub lanes: Vec<LaneReport>,
}

/// What a lane did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneReport {
    /// Places in the list of happenings of all that the port put into the RX ring, in that order; twice for a config without coalescing,
    /// which is a flush and a config.
    pub taken: Vec<u32>,
    /// Places of the frames that were dropped on the wire.
    pub dropped: Vec<u32>,
    /// Cycles in which the core did not wait.
    pub busy: u64,
}

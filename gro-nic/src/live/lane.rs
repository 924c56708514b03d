//! What a run knows of one lane.

use std::collections::VecDeque;

use super::timed::{Happening, LaneReport};
use crate::driver::Event;

#[derive(Default)]
pub(super) struct Lane {
    /// The core works, or has a doorbell to look at.
    pub(super) awake: bool,
    /// When the driver looks next, if it has a reason to.
    pub(super) drain: Option<u64>,
    pub(super) last_drain: u64,
    /// Events for which the port has no room yet.
    pub(super) mail: VecDeque<(u32, Event)>,
    /// Frames taken and dropped since the last poll that the device was told the end of.
    pub(super) fresh: u32,
    pub(super) missed: u32,
    /// Instructions since the core got on with anything, and waits while it had work.
    pub(super) stuck: u64,
    pub(super) idle: u32,
    pub(super) failed: bool,
    pub(super) report: LaneReport,
}

impl Lane {
    /// Whether a lane that loses frames is to be told of something that is no frame.
    pub(super) fn wants(&mut self, what: &Happening) -> bool {
        match what {
            Happening::PollEnd => {
                let told = self.mail.iter().any(|(_, event)| matches!(event, Event::PollEnd));
                let idle = self.fresh == 0 && (self.missed > 0 || told);
                (self.fresh, self.missed) = (0, 0);
                !idle
            }
            Happening::Time(_) => {
                // The last one counts.
                self.mail.retain(|(_, event)| !matches!(event, Event::Time(_)));
                true
            }
            _ => true,
        }
    }
}

//! A card in simulated time: frames arrive on the wire, cores run and drivers drain at the same time, each at its own pace.
//!
//! Time is the cores' cycles. Each core runs in slices; between two of them the wire and the drivers are looked at, so that doorbells ring
//! while a core is in the midst of something. What is seen of a core is up to one slice old: a ring may look full for that much longer, or
//! have room for that much earlier, than it has.

mod lane;
mod timed;

use crate::card::{Card, CardError};
use crate::driver::{Delivered, Event, Nic, NicError, Offer};
use crate::machine::{Core, Stop};
use lane::Lane;
pub use timed::{Happening, LaneReport, Pace, Report, Timed};

/// Runs `happenings`, which are in the order of time, to their end and until every lane has nothing left to do.
///
/// What was posted before is delivered first. Without pause, a lane that lost every frame of a poll is not told that the poll ended.
///
/// # Errors
/// A lane that failed and has no watchdog, or has more to do than fits its buffers; a config that its image does not accept.
pub fn run<C: Core>(
    card: &mut Card<C>,
    pace: &Pace,
    happenings: &[Timed],
    sink: &mut dyn FnMut(usize, Delivered),
) -> Result<Report, CardError> {
    card.deliver(sink)?;
    let start = card.lanes().iter().map(|nic| nic.device().timer()).max().unwrap_or(0);
    let lanes = card.lanes().len();
    let mut run = Run {
        card,
        pace,
        lanes: (0..lanes).map(|_| Lane::default()).collect(),
        blocked: None,
        late: 0,
        start,
    };
    for lane in 0..lanes {
        run.nic(lane).device_mut().idle_until(start);
        run.nic(lane).set_flow_control(pace.pause);
    }
    run.all(happenings, sink)
}

struct Run<'a, C: Core> {
    card: &'a mut Card<C>,
    pace: &'a Pace,
    lanes: Vec<Lane>,
    /// A frame that stands on the wire, its lane, and since when.
    blocked: Option<(u32, usize, u64)>,
    late: u64,
    start: u64,
}

/// Waits in a row, with work at hand, after which a core is said to be stalled. A doorbell that rings behind its last look at the
/// registers and before its `wfi` makes one.
const IDLE_MAX: u32 = 3;

/// What is next.
enum Next {
    Wire,
    Drain(usize),
    Slice(usize),
}

impl<C: Core> Run<'_, C> {
    fn all(
        mut self,
        happenings: &[Timed],
        sink: &mut dyn FnMut(usize, Delivered),
    ) -> Result<Report, CardError> {
        let mut wire = happenings.iter().zip(0..).peekable();
        let mut now = self.start;
        loop {
            let at = wire
                .peek()
                .filter(|_| self.blocked.is_none())
                .map(|(next, _)| self.start + next.at + self.late);
            match self.next(at) {
                Some((time, Next::Wire)) => {
                    now = now.max(time);
                    if let Some((timed, index)) = wire.next() {
                        self.happen(timed, index, time, sink)?;
                    }
                }
                Some((time, Next::Drain(lane))) => {
                    now = now.max(time);
                    self.drain(lane, time, sink)?;
                    self.unblock(lane, time, happenings, sink)?;
                }
                Some((_, Next::Slice(lane))) => {
                    self.slice(lane, sink)?;
                    let time = self.clock(lane);
                    now = now.max(time);
                    self.unblock(lane, time, happenings, sink)?;
                }
                None => match self.stuck_lane() {
                    // Nobody has anything to do, and yet there is something to be done: the device holds all buffers.
                    Some(lane) => {
                        let buffers = self.nic(lane).buffer_count();
                        self.fail(lane, NicError::NoBuffer(buffers), sink)?;
                        self.unblock(lane, now, happenings, sink)?;
                    }
                    None => break,
                },
            }
        }
        let cycles = now - self.start;
        Ok(Report {
            cycles,
            late: self.late,
            lanes: self.lanes.into_iter().map(|lane| lane.report).collect(),
        })
    }

    fn nic(&mut self, lane: usize) -> &mut Nic<C> {
        &mut self.card.lanes_mut()[lane]
    }

    fn clock(&self, lane: usize) -> u64 {
        self.card.lanes()[lane].device().timer()
    }

    /// The earliest thing to do; the wire before a driver before a core.
    fn next(&self, wire: Option<u64>) -> Option<(u64, Next)> {
        let mut best = wire.map(|time| (time, Next::Wire));
        let mut offer = |time: u64, next| {
            if best.as_ref().is_none_or(|(earliest, _)| time < *earliest) {
                best = Some((time, next));
            }
        };
        for (number, lane) in self.lanes.iter().enumerate() {
            if let Some(time) = lane.drain {
                offer(time, Next::Drain(number));
            }
            if lane.awake {
                offer(self.clock(number), Next::Slice(number));
            }
        }
        best
    }

    fn stuck_lane(&self) -> Option<usize> {
        let waits = |lane: &Lane| !lane.mail.is_empty();
        self.blocked.map(|(_, lane, _)| lane).or_else(|| self.lanes.iter().position(waits))
    }

    fn happen(
        &mut self,
        timed: &Timed,
        index: u32,
        time: u64,
        sink: &mut dyn FnMut(usize, Delivered),
    ) -> Result<(), CardError> {
        if let Happening::Frame(_, meta) = &timed.what {
            let lane = timed.lane.unwrap_or_else(|| self.card.lane_of(meta.hash));
            return self.arrive(timed, index, lane, time, sink);
        }
        let lanes = timed.lane.map_or(0..self.lanes.len(), |lane| lane..lane + 1);
        for lane in lanes {
            if self.lanes[lane].failed {
                continue;
            }
            if !self.pace.pause && !self.lanes[lane].wants(&timed.what) {
                continue;
            }
            match timed.what {
                Happening::Frame(..) => {}
                Happening::Time(jiffies) => self.mail(lane, index, Event::Time(jiffies)),
                Happening::PollEnd => self.mail(lane, index, Event::PollEnd),
                Happening::Tick => self.mail(lane, index, Event::Tick),
                Happening::Flush => self.mail(lane, index, Event::Flush),
                Happening::Configure(config, coalesce) => {
                    let checked = self.nic(lane).check_engine(config, coalesce);
                    checked.map_err(|error| CardError::Lane { lane, error })?;
                    if !coalesce {
                        self.mail(lane, index, Event::Flush);
                    }
                    self.mail(lane, index, Event::Config(config, coalesce));
                }
            }
            self.post_mail(lane, time);
        }
        Ok(())
    }

    fn mail(&mut self, lane: usize, index: u32, event: Event) {
        self.lanes[lane].mail.push_back((index, event));
    }

    /// Hands the port the events that wait for it.
    fn post_mail(&mut self, lane: usize, time: u64) {
        while let Some((index, event)) = self.lanes[lane].mail.pop_front() {
            match self.nic(lane).offer(event) {
                Offer::Taken => self.posted(lane, index, time),
                Offer::Dropped => {}
                Offer::Waits(event) => {
                    self.lanes[lane].mail.push_front((index, event));
                    break;
                }
            }
        }
    }

    /// The port rang the core's doorbell.
    fn posted(&mut self, lane: usize, index: u32, time: u64) {
        self.lanes[lane].report.taken.push(index);
        self.wake(lane, time);
    }

    fn wake(&mut self, lane: usize, time: u64) {
        if !self.lanes[lane].awake && !self.lanes[lane].failed {
            self.lanes[lane].awake = true;
            self.nic(lane).device_mut().idle_until(time);
        }
    }

    /// A frame is on the wire, or still is.
    fn arrive(
        &mut self,
        timed: &Timed,
        index: u32,
        lane: usize,
        time: u64,
        sink: &mut dyn FnMut(usize, Delivered),
    ) -> Result<(), CardError> {
        let Happening::Frame(bytes, meta) = &timed.what else { return Ok(()) };
        if self.lanes[lane].failed {
            self.nic(lane).post(bytes.clone(), *meta);
            let result = self.nic(lane).deliver(&mut |packet| sink(lane, packet));
            return result.map_err(|error| CardError::Lane { lane, error });
        }
        // With pause, order is kept whatever waits. A config waits for an empty ring, of which the port knows nothing.
        let behind = self.pace.pause && !self.lanes[lane].mail.is_empty();
        let offer = if behind {
            self.nic(lane).device_mut().pause();
            None
        } else {
            Some(self.nic(lane).offer_frame(bytes.clone(), *meta))
        };
        match offer {
            Some(Offer::Taken) => {
                self.lanes[lane].fresh += 1;
                self.posted(lane, index, time);
            }
            Some(Offer::Dropped) => {
                self.lanes[lane].missed += 1;
                self.lanes[lane].report.dropped.push(index);
            }
            Some(Offer::Waits(_)) | None => {
                let since = self.blocked.map_or(time, |(_, _, since)| since);
                self.blocked = Some((index, lane, since));
            }
        }
        Ok(())
    }

    /// Something happened to a lane: perhaps the frame on the wire can go on.
    fn unblock(
        &mut self,
        lane: usize,
        time: u64,
        happenings: &[Timed],
        sink: &mut dyn FnMut(usize, Delivered),
    ) -> Result<(), CardError> {
        let Some((index, at, since)) = self.blocked.filter(|&(_, at, _)| at == lane) else { return Ok(()) };
        let Some(timed) = happenings.get(index as usize) else { return Ok(()) };
        self.arrive(timed, index, at, time, sink)?;
        let gone = self.lanes[lane].failed || self.lanes[lane].report.taken.last() == Some(&index);
        if gone {
            self.blocked = None;
            self.late += time.saturating_sub(since);
        }
        Ok(())
    }

    fn drain(
        &mut self,
        lane: usize,
        time: u64,
        sink: &mut dyn FnMut(usize, Delivered),
    ) -> Result<(), CardError> {
        let most = self.pace.drain_most.max(1);
        self.lanes[lane].last_drain = time;
        self.lanes[lane].drain = None;
        let nic = self.nic(lane);
        let result = nic.drain(most, &mut |packet| sink(lane, packet)).and_then(|_| nic.check_flush());
        if let Err(error) = result {
            return self.fail(lane, error, sink);
        }
        self.schedule_drain(lane, time);
        self.post_mail(lane, time);
        self.wake(lane, time);
        Ok(())
    }

    fn schedule_drain(&mut self, lane: usize, time: u64) {
        let every = self.pace.drain_every;
        if self.lanes[lane].drain.is_none() && self.nic(lane).waiting() != 0 {
            self.lanes[lane].drain = Some(time.max(self.lanes[lane].last_drain + every));
        }
    }

    fn slice(&mut self, lane: usize, sink: &mut dyn FnMut(usize, Delivered)) -> Result<(), CardError> {
        match self.run_slice(lane) {
            Ok(()) => {
                let time = self.clock(lane);
                self.post_mail(lane, time);
                self.schedule_drain(lane, time);
                Ok(())
            }
            Err(error) => self.fail(lane, error, sink),
        }
    }

    fn run_slice(&mut self, lane: usize) -> Result<(), NicError> {
        let slice = self.pace.slice.max(1);
        let nic = &mut self.card.lanes_mut()[lane];
        let before = nic.device().timer();
        let stop = nic.device_mut().run(slice)?;
        // Time goes on even where a core says that it does not.
        let after = nic.device().timer().max(before + 1);
        nic.device_mut().idle_until(after);
        let moved = nic.has_moved()?;
        nic.check_flush()?;
        let limit = nic.run_limit();
        let (busy, full) = (nic.is_busy(), nic.is_full());
        let lane = &mut self.lanes[lane];
        lane.report.busy += after - before;
        if moved {
            (lane.stuck, lane.idle) = (0, 0);
        }
        match stop {
            Stop::Budget if !moved => {
                lane.stuck += slice;
                if lane.stuck >= limit {
                    return Err(NicError::Wedged(limit));
                }
            }
            Stop::Budget => {}
            Stop::Waiting if busy && !full => {
                lane.idle += 1;
                if lane.idle > IDLE_MAX {
                    return Err(NicError::Stalled);
                }
            }
            Stop::Waiting => (lane.awake, lane.stuck, lane.idle) = (false, 0, 0),
        }
        Ok(())
    }

    /// A lane is of no use any more.
    fn fail(
        &mut self,
        lane: usize,
        error: NicError,
        sink: &mut dyn FnMut(usize, Delivered),
    ) -> Result<(), CardError> {
        if !self.nic(lane).has_watchdog() {
            return Err(CardError::Lane { lane, error });
        }
        self.nic(lane).give_up(error, &mut |packet| sink(lane, packet));
        let failed = &mut self.lanes[lane];
        failed.mail.clear();
        (failed.failed, failed.awake, failed.drain) = (true, false, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

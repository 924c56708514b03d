//! What the firmware costs, event by event, and what that means at line rate.

use crate::abi::{event, packet, register};
use crate::driver::{Delivered, Nic, NicError};
use crate::machine::{Core as _, Machine, Stop};

/// Bytes of a frame on the wire that are not in it: FCS, preamble with start delimiter, and the gap behind it.
pub const WIRE_OVERHEAD: u64 = 4 + 8 + 12;
/// Shortest frame on the wire, FCS included; shorter ones are padded by who sends them.
pub const FRAME_MIN: u64 = 64;

/// Cycles of every event that a device took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meter {
    /// Of each frame, in order: from the moment at which the event before it was finished.
    pub frames: Vec<u32>,
    /// Of each event that is no frame, such as the end of a poll, at which most packets leave.
    pub others: Vec<u32>,
    /// Instructions retired in all of them.
    pub instructions: u64,
    /// Cycles of the event that is not finished yet.
    open: u64,
}

/// Numbers in short: mean, median, 99th percentile and largest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Sum over count; 0 of nothing.
    pub mean: f64,
    /// Smallest number that half of them do not exceed.
    pub median: u32,
    /// Smallest number that 99 % of them do not exceed.
    pub p99: u32,
    /// Largest.
    pub max: u32,
}

impl Distribution {
    /// Of these numbers.
    pub fn of(numbers: &[u32]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        let Some(&max) = sorted.last() else { return Self::default() };
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        let sum: u64 = sorted.iter().map(|&number| u64::from(number)).sum();
        Self { mean: sum as f64 / sorted.len() as f64, median: rank(50), p99: rank(99), max }
    }
}

impl Meter {
    /// Cycles of everything.
    pub fn cycles(&self) -> u64 {
        self.frames.iter().chain(&self.others).map(|&cycles| u64::from(cycles)).sum()
    }

    /// Cycles a frame, with what ends of polls and other events cost besides.
    pub fn cycles_per_frame(&self) -> f64 {
        self.cycles() as f64 / (self.frames.len().max(1)) as f64
    }
}

impl Nic {
    /// As [`Nic::deliver`], instruction by instruction, and tells `meter` what each event cost. A wait for work or for room counts to the
    /// event that ends it, so post much at a time.
    ///
    /// # Errors
    /// As [`Nic::deliver`]; there is no watchdog here.
    pub fn deliver_metered(
        &mut self,
        meter: &mut Meter,
        sink: &mut dyn FnMut(Delivered),
    ) -> Result<(), NicError> {
        let mut stuck = 0;
        loop {
            let fed = self.feed();
            while self.is_busy() {
                match self.take_event(meter)? {
                    true => stuck = 0,
                    // The completion ring is full, or the doorbell rang behind the last look.
                    false if stuck > 2 => return Err(NicError::Stalled),
                    false => stuck += 1,
                }
                if self.is_full() && self.drain(u32::MAX, sink)? != 0 {
                    stuck = 0;
                }
            }
            self.has_moved()?;
            self.drain(u32::MAX, sink)?;
            if self.has_nothing_pending() {
                return Ok(());
            } else if !fed {
                return Err(NicError::NoBuffer(self.buffer_count()));
            }
        }
    }

    /// Runs until the next event is finished; `false` if the firmware waits before.
    fn take_event(&mut self, meter: &mut Meter) -> Result<bool, NicError> {
        let limit = self.run_limit();
        let before = self.device().read(register::RX_CONSUMER);
        let at = packet::RX_RING + (before & (self.rx_entries() - 1)) * packet::RX_STRIDE + event::KIND;
        let mut kind = [0];
        self.device().read_packet(at, &mut kind);
        let Some((start, retired)) = self.device().core().map(clocks) else { return Ok(false) };
        for _ in 0..limit {
            let stop = self.device_mut().run(1)?;
            let taken =
                self.device().core().is_some_and(|core| core.register(register::RX_CONSUMER) != before);
            if taken || stop == Stop::Waiting {
                let Some((cycles, instructions)) = self.device().core().map(clocks) else { return Ok(false) };
                meter.instructions += instructions - retired;
                let open = meter.open + (cycles - start);
                if !taken {
                    meter.open = open;
                    return Ok(false);
                }
                meter.open = 0;
                let cycles = u32::try_from(open).unwrap_or(u32::MAX);
                let of_kind =
                    if u32::from(kind[0]) == event::RX { &mut meter.frames } else { &mut meter.others };
                of_kind.push(cycles);
                return Ok(true);
            }
        }
        Err(NicError::Wedged(limit))
    }
}

fn clocks(core: &Machine) -> (u64, u64) {
    (core.cycles().unwrap_or(0), core.instructions())
}

/// A port's speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Bits a second.
    pub bits: f64,
}

impl Line {
    /// In gigabits a second.
    pub fn gigabit(rate: u32) -> Self {
        Self { bits: f64::from(rate) * 1e9 }
    }

    /// Frames a second of `bytes` bytes each, FCS included.
    pub fn frames_per_second(self, bytes: u64) -> f64 {
        1.0 / self.seconds(bytes)
    }

    /// Seconds that a frame of `bytes` bytes, FCS included, takes on the wire.
    pub fn seconds(self, bytes: u64) -> f64 {
        // The FCS is in the size already.
        (bytes.max(FRAME_MIN) + WIRE_OVERHEAD - 4) as f64 * 8.0 / self.bits
    }
}

/// Cores with this clock that it takes for so many frames a second, were they shared out evenly.
pub fn cores(frames_per_second: f64, cycles_per_frame: f64, hertz: f64) -> f64 {
    frames_per_second * cycles_per_frame / hertz
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::NicConfig;
    use crate::traffic::{Random, hostile, senders};

    #[test]
    fn percentiles_are_numbers_that_are_there() {
        let numbers: Vec<u32> = (1..=200).rev().collect();
        let Distribution { mean, median, p99, max } = Distribution::of(&numbers);
        assert_eq!((mean, median, p99, max), (100.5, 100, 198, 200));
        assert_eq!(Distribution::of(&[7]), Distribution { mean: 7.0, median: 7, p99: 7, max: 7 });
        assert_eq!(Distribution::of(&[]), Distribution::default());
    }

    #[test]
    fn line_rates_are_those_of_the_book() {
        let line = Line::gigabit(100);
        assert_eq!(line.frames_per_second(64).round(), 148_809_524.0);
        assert_eq!(line.frames_per_second(1_518).round(), 8_127_438.0);
        assert_eq!(line.frames_per_second(20), line.frames_per_second(64));
        assert!((cores(line.frames_per_second(1_518), 123.04, 1e9) - 1.0).abs() < 0.001);
    }

    #[test]
    fn every_cycle_is_counted_to_one_event() {
        for config in
            [NicConfig::default(), NicConfig { rx_entries: 2, completion_entries: 1, ..NicConfig::default() }]
        {
            let mut nic = Nic::load(crate::LINUX_6_18, &config).unwrap();
            let mut twin = Nic::load(crate::LINUX_6_18, &config).unwrap();
            let (start, retired) = (nic.cycles().unwrap(), nic.instructions());
            let mut meter = Meter::default();
            let mut random = Random(8);
            let mut senders = senders(8);
            let (mut out, mut of_twin) = (0, 0);
            for n in 0..2_000 {
                let (frame, meta) = hostile(&mut random, &mut senders, n, false);
                twin.post(frame.clone(), meta);
                nic.post(frame, meta);
                if n % 64 == 63 {
                    nic.poll_end();
                    twin.poll_end();
                }
                if n % 300 == 0 {
                    nic.deliver_metered(&mut meter, &mut |_| out += 1).unwrap();
                    twin.deliver(&mut |_| of_twin += 1).unwrap();
                }
            }
            nic.flush();
            twin.flush();
            nic.deliver_metered(&mut meter, &mut |_| out += 1).unwrap();
            twin.deliver(&mut |_| of_twin += 1).unwrap();
            assert_eq!((out, nic.digest()), (of_twin, twin.digest()));
            assert_eq!((meter.frames.len(), meter.others.len()), (2_000, 2_000 / 64 + 1));
            // What was retired behind the last event, on the way to the wait, is of no event: that is where the run ends.
            assert_eq!(meter.cycles(), nic.cycles().unwrap() - start);
            assert_eq!(meter.instructions, nic.instructions() - retired);
            assert!(meter.frames.iter().all(|&cycles| cycles > 20));
            assert!(meter.cycles_per_frame() > Distribution::of(&meter.frames).mean);
        }
    }
}

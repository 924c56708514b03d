//! What an image costs on a trace, and what a card of such cores does at line rate.

use crate::backend::vlan_word;
use crate::schedule::{Step, schedule};
use crate::trace::Trace;
use gro_core::profile::POLL_BUDGET;
use gro_core::{Config, Meta};
use gro_nic::abi::bar::LANES_MAX;
use gro_nic::budget::{Distribution, Line, Meter, cores};
use gro_nic::live::{Happening, Pace, Timed, run};
use gro_nic::{Card, CardError, Image, Nic, NicConfig};
use serde::Serialize;

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;
/// Line rates of the table, in Gb/s.
pub const RATES: [u32; 3] = [100, 200, 400];
/// Frame sizes of the table in bytes, FCS included; 0 stands for the trace's own.
pub const SIZES: [u64; 4] = [64, 512, 1518, 0];

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Clock of a core, in hertz.
    pub hertz: f64,
    /// Frames of a live run at least: the trace is repeated until it has as many. What is lost is counted over the second half, when rings
    /// are as full as they get. 0: no live runs.
    pub frames: usize,
    /// Entries of a lane's RX ring.
    pub rx_entries: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { hertz: 1e9, frames: 40_000, rx_entries: 256 }
    }
}

/// The budget of one trace.
#[derive(Clone, Debug, Serialize)]
pub struct Budget {
    /// The trace's name.
    pub trace: String,
    /// Its frames.
    pub frames: usize,
    /// Mean bytes of a frame, FCS included.
    pub mean_bytes: f64,
    /// Packets that the firmware made of them.
    pub packets: u64,
    /// Instructions a frame, everything included.
    pub instructions_per_frame: f64,
    /// Cycles a frame, everything included.
    pub cycles_per_frame: f64,
    /// Cycles of the events that are frames.
    pub of_frames: Cycles,
    /// Cycles of the events that are not: ends of polls, in which most packets leave.
    pub of_others: Cycles,
    /// Frames a second that a core with a clock of 1 GHz can take.
    pub frames_per_second_per_ghz: f64,
    /// At line rate.
    pub at: Vec<AtRate>,
}

/// A [`Distribution`], and of how many.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cycles {
    /// Events.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: u32,
    /// 99th percentile.
    pub p99: u32,
    /// Largest.
    pub max: u32,
}

/// One line rate and frame size.
#[derive(Clone, Debug, Serialize)]
pub struct AtRate {
    /// Gb/s.
    pub gigabit: u32,
    /// Bytes of every frame, FCS included: the cost of the trace's frames at the distance of frames of this size. `None`: the trace's own.
    pub frame_bytes: Option<u64>,
    /// Frames a second.
    pub frames_per_second: f64,
    /// Cores that it takes if load is even: this many and no fraction.
    pub cores: u32,
    /// The same before it is rounded up.
    pub cores_exact: f64,
    /// Share of frames lost with that many cores, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_with_cores: Option<f64>,
    /// Share lost with one core less, measured; nothing where that is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_with_one_less: Option<f64>,
    /// A card that steers by RSS hash, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_rss: Option<ByRss>,
}

/// What a card does with the trace's flows as they are: few flows do not share out evenly.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ByRss {
    /// Lanes: as many as cores are needed, 32 at most.
    pub lanes: u32,
    /// Lanes that get any frame.
    pub used: u32,
    /// Share of frames in the fullest lane.
    pub fullest: f64,
    /// Share of frames lost.
    pub lost: f64,
}

/// Measures the budget of a trace.
///
/// # Errors
/// What [`Nic::deliver`] says.
pub fn budget(image: &Image, trace: &Trace, config: &Config, options: &Options) -> Result<Budget, CardError> {
    let (meter, packets) = meter(image, trace, config)?;
    let cycles_per_frame = meter.cycles_per_frame();
    let count = trace.frames.len().max(1);
    let mean_bytes =
        trace.frames.iter().map(|frame| on_wire(&frame.bytes) as f64).sum::<f64>() / count as f64;
    let live = Live { image, trace, config, options };
    let mut at = Vec::new();
    for gigabit in RATES {
        for size in SIZES {
            let line = Line::gigabit(gigabit);
            let seconds: f64 =
                trace.frames.iter().map(|frame| line.seconds(bytes_of(size, &frame.bytes))).sum();
            let frames_per_second = count as f64 / seconds;
            let exact = cores(frames_per_second, cycles_per_frame, options.hertz);
            let needed = exact.ceil().max(1.0) as u32;
            let mut row = AtRate {
                gigabit,
                frame_bytes: (size != 0).then_some(size),
                frames_per_second,
                cores: needed,
                cores_exact: exact,
                lost_with_cores: None,
                lost_with_one_less: None,
                by_rss: None,
            };
            if options.frames != 0 && !trace.frames.is_empty() {
                row.lost_with_cores = Some(live.evenly(line, size, needed)?);
                if needed > 1 {
                    row.lost_with_one_less = Some(live.evenly(line, size, needed - 1)?);
                }
                row.by_rss = Some(live.by_rss(line, size, needed.min(LANES_MAX))?);
            }
            at.push(row);
        }
    }
    Ok(Budget {
        trace: trace.name.clone(),
        frames: trace.frames.len(),
        mean_bytes,
        packets,
        instructions_per_frame: meter.instructions as f64 / count as f64,
        cycles_per_frame,
        of_frames: cycles(&meter.frames),
        of_others: cycles(&meter.others),
        frames_per_second_per_ghz: 1e9 / cycles_per_frame.max(1.0),
        at,
    })
}

/// Runs the trace through one core, which always has work, and reads its clock at every event.
fn meter(image: &Image, trace: &Trace, config: &Config) -> Result<(Meter, u64), CardError> {
    let config =
        NicConfig { engine: *config, rx_entries: 4096, completion_entries: 1024, ..NicConfig::default() };
    let of_lane = |error| CardError::Lane { lane: 0, error };
    let mut nic = Nic::new(image, &config).map_err(of_lane)?;
    let mut meter = Meter::default();
    let mut packets = 0;
    for step in schedule(trace, &config.engine) {
        match step {
            Step::Poll { frames, jiffies } => {
                nic.time(jiffies);
                frames.for_each(|number| nic.post(trace.frames[number].bytes.clone(), meta(trace, number)));
                nic.poll_end();
            }
            Step::Tick { jiffies } => {
                nic.time(jiffies);
                nic.tick();
            }
        }
    }
    nic.flush();
    nic.deliver_metered(&mut meter, &mut |_| packets += 1).map_err(of_lane)?;
    Ok((meter, packets))
}

struct Live<'a> {
    image: &'a Image,
    trace: &'a Trace,
    config: &'a Config,
    options: &'a Options,
}

impl Live<'_> {
    /// Share of frames lost when `count` cores get an even share each: all of them do the same, so one of them is run, with the trace at a
    /// `count`th of the line rate.
    fn evenly(&self, line: Line, size: u64, count: u32) -> Result<f64, CardError> {
        let steps = schedule(self.trace, self.config);
        let mut list = Vec::new();
        let mut at = 0.0;
        while self.is_short(&list) {
            for step in &steps {
                if let Step::Poll { frames, .. } = step {
                    for number in frames.clone() {
                        list.push(self.frame(number, at, 0));
                        at += self.cycles(line, size, number) * f64::from(count);
                    }
                }
                list.push(Timed { at: at as u64, lane: Some(0), what: Happening::PollEnd });
            }
        }
        Ok(lost(&self.run(1, &list)?, &list))
    }

    /// The trace steered over `lanes` lanes by its hashes, each of which ends its own polls.
    fn by_rss(&self, line: Line, size: u64, lanes: u32) -> Result<ByRss, CardError> {
        let steering = self.card(lanes as usize)?;
        let lane_of: Vec<usize> =
            self.trace.frames.iter().map(|frame| steering.lane_of(frame.hash)).collect();
        let mut shares = vec![0_u32; lanes as usize];
        lane_of.iter().for_each(|&lane| shares[lane] += 1);

        let mut list = Vec::new();
        let mut polls = vec![0; lanes as usize];
        let mut at = 0.0;
        while self.is_short(&list) {
            for (number, &lane) in lane_of.iter().enumerate() {
                list.push(self.frame(number, at, lane));
                at += self.cycles(line, size, number);
                polls[lane] += 1;
                if polls[lane] == POLL_BUDGET {
                    polls[lane] = 0;
                    list.push(Timed { at: at as u64, lane: Some(lane), what: Happening::PollEnd });
                }
            }
        }
        let reports = self.run(lanes as usize, &list)?;
        let fullest = shares.iter().max().copied().unwrap_or(0);
        Ok(ByRss {
            lanes,
            used: shares.iter().filter(|&&share| share != 0).count() as u32,
            fullest: f64::from(fullest) / lane_of.len() as f64,
            lost: lost(&reports, &list),
        })
    }

    fn is_short(&self, list: &[Timed]) -> bool {
        list.len() < self.options.frames
    }

    fn frame(&self, number: usize, at: f64, lane: usize) -> Timed {
        let what = Happening::Frame(self.trace.frames[number].bytes.clone(), meta(self.trace, number));
        Timed { at: at as u64, lane: Some(lane), what }
    }

    /// Cycles of a core from this frame on the wire to the next.
    fn cycles(&self, line: Line, size: u64, number: usize) -> f64 {
        line.seconds(bytes_of(size, &self.trace.frames[number].bytes)) * self.options.hertz
    }

    fn card(&self, lanes: usize) -> Result<Card, CardError> {
        let config = NicConfig {
            engine: *self.config,
            rx_entries: self.options.rx_entries,
            completion_entries: 1024,
            ..NicConfig::default()
        };
        let nic = |lane| Nic::new(self.image, &config).map_err(|error| CardError::Lane { lane, error });
        Card::of((0..lanes).map(nic).collect::<Result<_, _>>()?)
    }

    /// Places of the frames that were lost.
    fn run(&self, lanes: usize, list: &[Timed]) -> Result<Vec<u32>, CardError> {
        let mut card = self.card(lanes)?;
        let pace = Pace { pause: false, ..Pace::default() };
        let report = run(&mut card, &pace, list, &mut |_, _| {})?;
        Ok(report.lanes.into_iter().flat_map(|lane| lane.dropped).collect())
    }
}

/// Share of the frames in the second half that are in `dropped`.
fn lost(dropped: &[u32], list: &[Timed]) -> f64 {
    let half = list.len() / 2;
    let frames = list[half..].iter().filter(|timed| matches!(timed.what, Happening::Frame(..))).count();
    let dropped = dropped.iter().filter(|&&place| place as usize >= half).count();
    dropped as f64 / frames.max(1) as f64
}

fn meta(trace: &Trace, number: usize) -> Meta {
    let frame = &trace.frames[number];
    Meta { hash: frame.hash, vlan: vlan_word(frame.vlan), verified: false }
}

fn bytes_of(size: u64, frame: &[u8]) -> u64 {
    if size == 0 { on_wire(frame) } else { size }
}

/// A frame of a trace has no FCS.
fn on_wire(frame: &[u8]) -> u64 {
    (frame.len() as u64 + 4).max(gro_nic::budget::FRAME_MIN)
}

fn cycles(numbers: &[u32]) -> Cycles {
    let Distribution { mean, median, p99, max } = Distribution::of(numbers);
    Cycles { count: numbers.len(), mean, median, p99, max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Rules;
    use bytes::Bytes;

    /// Frames that are no IP: the cheapest there are, all alike.
    fn trace(frames: usize) -> Trace {
        let frame = |n: usize| (n as u64 * 1_000, Bytes::from(vec![0; 60]));
        Trace::from_frames("t", (0..frames).map(frame).collect(), &Rules::default())
    }

    #[test]
    fn one_core_less_loses_what_it_has_no_cycles_for() {
        let image = Image::parse(gro_nic::LINUX_6_18).unwrap();
        let options = Options { frames: 20_000, rx_entries: 64, ..Options::default() };
        let budget = budget(&image, &trace(2_000), &Config::DEFAULT, &options).unwrap();
        assert_eq!((budget.frames, budget.packets, budget.of_frames.count), (2_000, 2_000, 2_000));
        assert!(budget.instructions_per_frame < budget.cycles_per_frame);
        assert!(f64::from(budget.of_frames.max) >= budget.of_frames.mean);
        assert_eq!(budget.at.len(), 12);
        for row in &budget.at {
            assert!(f64::from(row.cores) >= row.cores_exact && f64::from(row.cores) - row.cores_exact < 1.0);
            let (enough, less) = (row.lost_with_cores.unwrap(), row.lost_with_one_less.unwrap_or(1.0));
            // What is measured is what arithmetic says, but for ends of polls that nobody is told of when frames are lost.
            let expected = 1.0 - f64::from(row.cores - 1) / row.cores_exact;
            assert!(enough < 0.01, "{row:?}");
            assert!((less - expected).abs() < 0.05, "{row:?} {expected}");
            // No flow, one lane.
            assert_eq!(row.by_rss.unwrap().used, 1);
            assert_eq!(row.by_rss.unwrap().fullest, 1.0);
            assert!(row.cores < 2 || row.by_rss.unwrap().lost > 0.3, "{row:?}");
        }
        // The trace's frames are 64 bytes on the wire.
        assert_eq!(budget.at[0].frames_per_second, budget.at[3].frames_per_second);
    }

    #[test]
    fn without_live_runs_nothing_is_said_of_losses() {
        let image = Image::parse(gro_nic::LINUX_6_18).unwrap();
        let options = Options { frames: 0, ..Options::default() };
        let budget = budget(&image, &trace(100), &Config::DEFAULT, &options).unwrap();
        assert!(budget.at.iter().all(|row| row.lost_with_cores.is_none() && row.by_rss.is_none()));
    }
}

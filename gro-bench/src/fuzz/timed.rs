//! Random polls under a flush timeout: what one of them leaves held meets what the next one brings.

use super::frames::{Frames, Random, batch};
use crate::trace::{Frame, Poll, Trace};
use gro_core::Config;

/// Polls of one run, or a few more.
const POLLS: usize = 100;
/// Between polls of a jiffy: over the longest gap within a poll, so that a capture file keeps them apart.
const GAP_NS: u64 = 100_000;
/// Frames of a jiffy before the next one is due: a kernel must get through with them in time.
const JIFFY_FRAMES: usize = 100;

/// Frames with the time of their poll, in the order of time. Each poll has a time of its own.
pub(super) fn timed(random: &mut Random, config: &Config, which: Frames) -> Vec<Frame> {
    let jiffy = 1_000_000_000 / u64::from(config.hz.max(1));
    let mut frames = Vec::new();
    let mut time_ns = jiffy / 4;
    let mut in_jiffy = 0;
    let mut polls = 0;
    while polls < POLLS {
        let mut batch = batch(random, which);
        let whole = random.once_in(5);
        while !batch.is_empty() {
            let most = if whole { batch.len() } else { random.of(&[1, 1, 2, 3, 5, 8, 20]) };
            let poll = batch.drain(..most.min(batch.len()));
            polls += 1;
            in_jiffy += poll.len();
            frames.extend(poll.map(|frame| Frame { time_ns, ..frame }));
            let next_jiffy = (time_ns / jiffy + 1) * jiffy + jiffy / 4;
            time_ns = match random.below(8) {
                0..4 if in_jiffy < JIFFY_FRAMES && time_ns + GAP_NS < next_jiffy - jiffy / 4 => {
                    time_ns + GAP_NS
                }
                7 => next_jiffy + u64::from(config.flush_timeout),
                _ => next_jiffy,
            };
            if time_ns >= next_jiffy {
                in_jiffy = 0;
            }
        }
    }
    frames
}

/// A poll for each time.
pub(super) fn trace(frames: Vec<Frame>) -> Trace {
    let mut polls: Vec<Poll> = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        match polls.last_mut() {
            Some(poll) if poll.time_ns == frame.time_ns => poll.frames.end = number + 1,
            _ => polls.push(Poll { time_ns: frame.time_ns, frames: number..number + 1 }),
        }
    }
    Trace { name: "random-timed".into(), frames, polls }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Step, schedule};

    #[test]
    fn polls_share_jiffies_follow_each_other_and_are_ended_by_ticks() {
        let config = Config { flush_timeout: 20_000_000, ..Config::DEFAULT };
        let trace = trace(timed(&mut Random(1), &config, Frames::Mixed));
        let steps = schedule(&trace, &config);
        let jiffies = |step: &Step| match step {
            Step::Poll { jiffies, .. } => Some(*jiffies),
            Step::Tick { .. } => None,
        };
        let pairs = steps.windows(2).map(|pair| (jiffies(&pair[0]), jiffies(&pair[1])));
        let polls: Vec<_> = pairs.filter_map(|(left, right)| Some((left?, right?))).collect();
        let same = polls.iter().filter(|(left, right)| left == right).count();
        let (next, ticks) = (polls.len() - same, steps.len() - trace.polls.len());
        assert!(same >= 10 && next >= 10 && ticks >= 5, "{same} {next} {ticks}");
        assert!(trace.polls.iter().all(|poll| (1..=64).contains(&poll.frames.len())));
        assert!(trace.polls.windows(2).all(|pair| pair[0].time_ns + GAP_NS <= pair[1].time_ns));
    }
}

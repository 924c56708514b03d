//! What an engine is told of a trace, in order: polls with their frames, and the flush timer.

use crate::trace::Trace;
use gro_core::Config;
use gro_core::profile::{FINE_HZ, POLL_BUDGET};
use std::ops::Range;

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A NAPI poll and its end.
    Poll {
        /// Indices into [`Trace::frames`].
        frames: Range<usize>,
        /// The jiffy, of every frame and of the end.
        jiffies: u32,
    },
    /// The flush timer fires: a poll without frames.
    Tick {
        /// The jiffy.
        jiffies: u32,
    },
}

/// The steps of a trace under a config; what is held behind the last one is flushed by the caller.
///
/// The timer starts at the end of each poll and fires `flush_timeout` later, unless another poll came before. A poll that used its
/// whole budget is followed by an empty one, because the kernel looks again at once; below 1,000 jiffies a second nothing is
/// held then, and the step is left out.
pub fn schedule(trace: &Trace, config: &Config) -> Vec<Step> {
    let timeout = u64::from(config.flush_timeout);
    let mut steps = Vec::with_capacity(trace.polls.len());
    for (index, poll) in trace.polls.iter().enumerate() {
        let jiffies = config.jiffies(poll.time_ns);
        steps.push(Step::Poll { frames: poll.frames.clone(), jiffies });
        if poll.frames.len() >= POLL_BUDGET as usize && config.hz >= FINE_HZ {
            let end = poll.frames.end;
            steps.push(Step::Poll { frames: end..end, jiffies });
        }
        let fires = poll.time_ns.saturating_add(timeout);
        if timeout != 0 && trace.polls.get(index + 1).is_none_or(|next| next.time_ns >= fires) {
            steps.push(Step::Tick { jiffies: config.jiffies(fires) });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Rules;
    use bytes::Bytes;

    fn steps(times: &[u64], config: Config) -> Vec<Step> {
        let frames = times.iter().map(|&time| (time, Bytes::from(vec![0; 14]))).collect();
        schedule(&Trace::from_frames("t", frames, &Rules::default()), &config)
    }

    fn poll(frames: Range<usize>, jiffies: u32) -> Step {
        Step::Poll { frames, jiffies }
    }

    #[test]
    fn the_timer_fires_when_no_poll_comes_in_time() {
        const MS: u64 = 1_000_000;
        let times = [0, MS, 3 * MS];
        assert_eq!(steps(&times, Config::DEFAULT), [poll(0..1, 0), poll(1..2, 0), poll(2..3, 0)]);
        let config = Config { flush_timeout: 2_000_000, ..Config::DEFAULT };
        let expected = [
            poll(0..1, 0),
            poll(1..2, 0),
            Step::Tick { jiffies: 0 },
            poll(2..3, 0),
            Step::Tick { jiffies: 1 },
        ];
        assert_eq!(steps(&times, config), expected);
    }

    #[test]
    fn a_whole_budget_is_looked_behind_where_it_matters() {
        let times = [7; 65];
        assert_eq!(steps(&times, Config::DEFAULT), [poll(0..64, 0), poll(64..65, 0)]);
        let fine = Config { hz: 1000, ..Config::DEFAULT };
        assert_eq!(steps(&times, fine), [poll(0..64, 0), poll(64..64, 0), poll(64..65, 0)]);
    }
}

//! What `cargo xtask bench-live` writes and prints.

use super::EXCHANGE;
use crate::acceptance::Machine;
use gro_bench::live::latency::Latency;
use serde::Serialize;

/// docs/benchmarks/live.json
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) schema: u32,
    pub(super) date: String,
    pub(super) machine: Machine,
    pub(super) conditions: Conditions,
    /// Cost of bulk traffic.
    pub(crate) bulk: Vec<Bulk>,
    /// Request and response.
    pub(crate) latency: Vec<Exchanges>,
}

#[derive(Debug, Serialize)]
pub(super) struct Conditions {
    pub(super) rounds: usize,
    pub(super) flows: usize,
    pub(super) mtu: u32,
    pub(super) bytes: u64,
    pub(super) wire: &'static str,
    pub(super) cpus: &'static str,
    pub(super) cpu_seconds: &'static str,
    /// CPUs that the machine kept busy by itself before the measurements: median and the most.
    pub(super) background_cpus: Spread,
}

/// Of the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Bulk {
    pub(crate) state: &'static str,
    pub(crate) rules: u32,
    pub(crate) load: &'static str,
    pub(crate) gbit_per_second: Spread,
    /// Of the whole machine, sender included.
    pub(crate) cpu_seconds_per_gb: Spread,
    /// Of it what is charged to the threads that send and receive (getrusage(2)), with what interrupts them. The rest is idle CPUs'
    /// interrupts, kernel threads and an agent.
    pub(crate) of_it_sender_and_receiver: Spread,
    /// Against no GRO of the same round.
    pub(crate) ratio_to_none: Spread,
    /// Frames of a merged packet, where the state tells.
    pub(crate) segments_a_merge: Option<Spread>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Exchanges {
    pub(crate) state: &'static str,
    pub(crate) rules: u32,
    pub(crate) bytes: usize,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    /// p50 against no GRO of the same round.
    pub(crate) p50_ratio_to_none: Spread,
}

/// One measurement, in the order in which they were taken.
pub(super) struct Sample {
    pub(super) state: &'static str,
    pub(super) rules: u32,
    pub(super) what: What,
}

pub(super) enum What {
    Bulk(&'static str, Cost),
    Exchanges(Latency),
}

#[derive(Clone, Copy)]
pub(super) struct Cost {
    pub(super) gbit_per_second: f64,
    pub(super) cpu_seconds_per_gb: f64,
    pub(super) of_ends: f64,
    pub(super) segments_a_merge: Option<f64>,
}

impl Bulk {
    pub(super) fn of(samples: &[Sample], state: &'static str, rules: u32, load: &'static str) -> Self {
        let of = |state: &str| -> Vec<Cost> {
            let of_state = samples.iter().filter(|sample| sample.state == state && sample.rules == rules);
            let costs = of_state.filter_map(|sample| match sample.what {
                What::Bulk(found, cost) if found == load => Some(cost),
                _ => None,
            });
            costs.collect()
        };
        let (own, none) = (of(state), of("none"));
        let column = |pick: fn(&Cost) -> f64| own.iter().map(pick).collect::<Vec<_>>();
        let ratios =
            own.iter().zip(&none).map(|(own, none)| own.cpu_seconds_per_gb / none.cpu_seconds_per_gb);
        let segments: Vec<f64> = own.iter().filter_map(|cost| cost.segments_a_merge).collect();
        Bulk {
            state,
            rules,
            load,
            gbit_per_second: spread(&column(|cost| cost.gbit_per_second)),
            cpu_seconds_per_gb: spread(&column(|cost| cost.cpu_seconds_per_gb)),
            of_it_sender_and_receiver: spread(&column(|cost| cost.of_ends)),
            ratio_to_none: spread(&ratios.collect::<Vec<_>>()),
            segments_a_merge: (!segments.is_empty()).then(|| spread(&segments)),
        }
    }
}

impl Exchanges {
    pub(super) fn of(samples: &[Sample], state: &'static str, rules: u32) -> Self {
        let of = |state: &str| -> Vec<Latency> {
            let of_state = samples.iter().filter(|sample| sample.state == state && sample.rules == rules);
            let exchanges = of_state.filter_map(|sample| match sample.what {
                What::Exchanges(latency) => Some(latency),
                What::Bulk(..) => None,
            });
            exchanges.collect()
        };
        let (own, none) = (of(state), of("none"));
        let column = |pick: fn(&Latency) -> f64| spread(&own.iter().map(pick).collect::<Vec<_>>());
        let ratios = own.iter().zip(&none).map(|(own, none)| own.p50 / none.p50);
        Exchanges {
            state,
            rules,
            bytes: EXCHANGE,
            p50_us: column(|latency| latency.p50),
            p99_us: column(|latency| latency.p99),
            p50_ratio_to_none: spread(&ratios.collect::<Vec<_>>()),
        }
    }
}

/// Rounded: what is behind the third decimal is noise.
pub(super) fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| (sorted.get(index).copied().unwrap_or(0.0) * 1e3).round() / 1e3;
    let last = sorted.len().saturating_sub(1);
    Spread { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, min: at(0), max: at(last) }
}

impl Report {
    /// A table.
    pub(super) fn print(&self) {
        println!(
            "{:9} {:>5} {:11} {:>20} {:>24} {:>22} {:>6}",
            "state", "rules", "load", "Gb/s", "cpu-s/GB", "of no GRO", "segs"
        );
        let words = |spread: Spread| format!("{:.2} ({:.2}-{:.2})", spread.median, spread.min, spread.max);
        for row in &self.bulk {
            let segments =
                row.segments_a_merge.map_or("-".to_owned(), |segments| format!("{:.1}", segments.median));
            println!(
                "{:9} {:>5} {:11} {:>20} {:>24} {:>22} {segments:>6}",
                row.state,
                row.rules,
                row.load,
                words(row.gbit_per_second),
                words(row.cpu_seconds_per_gb),
                words(row.ratio_to_none)
            );
        }
        println!("{:9} {:>5} {:>24} {:>26} {:>22}", "state", "rules", "p50 us", "p99 us", "p50 of no GRO");
        for row in &self.latency {
            println!(
                "{:9} {:>5} {:>24} {:>26} {:>22}",
                row.state,
                row.rules,
                words(row.p50_us),
                words(row.p99_us),
                words(row.p50_ratio_to_none)
            );
        }
        let idle = self.conditions.background_cpus;
        println!("the machine by itself kept {:.2} CPUs busy, at most {:.2}", idle.median, idle.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        let Spread { median, min, max } = spread(&[3.0, 1.0, 2.000_04]);
        assert_eq!((median, min, max), (2.0, 1.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0]).median, 2.5);
        assert_eq!(spread(&[]).median, 0.0);
    }
}

//! docs/benchmarks/engine.json

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) conditions: Conditions,
    pub(crate) engines: Vec<EngineNote>,
    pub(crate) bars: Vec<Bar>,
    pub(crate) ratios: Vec<Ratios>,
    /// Nanoseconds a frame, by traffic and state.
    pub(crate) cells: Vec<CellReport>,
    /// The same by number of flows, in a ring that is as long for each.
    pub(crate) flows: Part<Vec<CellReport>>,
    /// Our engine by size of its table.
    pub(crate) tables: Part<Vec<TableCost>>,
    pub(crate) memory: Part<Memory>,
    pub(crate) cores: Part<Vec<Cores>>,
    pub(crate) kernel: Part<Vec<KernelCost>>,
    pub(crate) rules: Part<Rules>,
    pub(crate) instructions: Part<Instructions>,
}

/// Something that not every machine can measure.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part<T> {
    Measured(T),
    /// Why not.
    Skipped(String),
}

impl<T> Part<T> {
    pub(crate) fn measured(&self) -> Option<&T> {
        match self {
            Self::Measured(part) => Some(part),
            Self::Skipped(_) => None,
        }
    }
}

impl<T> From<anyhow::Result<T>> for Part<T> {
    fn from(result: anyhow::Result<T>) -> Self {
        match result {
            Ok(part) => Self::Measured(part),
            Err(error) => Self::Skipped(format!("{error:#}")),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) tsc_ghz: f64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// Of x86-64, what this program was compiled for beyond the baseline; empty for the baseline, as everybody builds it.
    pub(crate) compiled_for: Vec<String>,
    /// What the processor has besides, which code that asks first may use.
    pub(crate) simd: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Conditions {
    pub(crate) rounds: usize,
    pub(crate) bursts_a_round: usize,
    pub(crate) frames_a_burst: usize,
    pub(crate) cpu: usize,
    pub(crate) statistic: String,
    pub(crate) timed: String,
    pub(crate) states: String,
    pub(crate) frames: String,
    pub(crate) memory: String,
    /// MiB of this process in huge pages.
    pub(crate) huge_mib: Option<u64>,
    pub(crate) seconds: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EngineNote {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) skipped: Option<String>,
}

/// A promise, and whether it was kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bar {
    pub(crate) what: String,
    /// Where it is closest to the bound, or furthest beyond.
    pub(crate) at: String,
    pub(crate) measured: Option<f64>,
    pub(crate) bound: f64,
    /// `at most` or `at least`.
    pub(crate) kind: String,
    pub(crate) unit: String,
    /// Absent when it was not measured.
    pub(crate) met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) why_not_measured: Option<String>,
}

/// How many times longer the others take.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ratios {
    pub(crate) cell: String,
    pub(crate) state: String,
    /// The faster of DPDK's calls with packet types from the NIC, to `gro`.
    pub(crate) dpdk: Option<f64>,
    /// DPDK with a parse of packet types, to `gro`.
    pub(crate) dpdk_parse: Option<f64>,
    /// tun-rs to `gro+checksum`.
    pub(crate) tun_rs: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CellReport {
    pub(crate) cell: String,
    pub(crate) state: String,
    pub(crate) frames: String,
    pub(crate) payload: String,
    pub(crate) flows: u32,
    pub(crate) run: u32,
    pub(crate) hash: String,
    pub(crate) ring_frames: usize,
    pub(crate) engines: Vec<Figure>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) engine: String,
    /// Nanoseconds a frame.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) ns: Option<Spread>,
    /// That come out of a burst of 64 frames.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) packets: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) not_supported: Option<String>,
}

/// Of the rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) cell: String,
    /// A queue itself and what it allocated when it was made.
    pub(crate) bytes_a_queue: usize,
    /// After a run over 100,000 flows.
    pub(crate) bytes_a_queue_used: usize,
    /// After it has run for a while.
    pub(crate) allocations_a_burst: f64,
}

/// Our engine with a table of some size.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TableCost {
    /// Of a queue, all in all.
    pub(crate) bytes: usize,
    pub(crate) cell: String,
    pub(crate) state: String,
    pub(crate) ns: Spread,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cores {
    pub(crate) cores: usize,
    pub(crate) state: String,
    pub(crate) million_packets_a_second: Spread,
}

/// GRO of the running kernel: its functions alone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KernelCost {
    pub(crate) cell: String,
    pub(crate) frames: usize,
    pub(crate) samples_in_gro: usize,
    pub(crate) samples_in_checksum: usize,
    /// Nanoseconds a frame in functions of GRO.
    pub(crate) gro_ns: f64,
    /// And in the checksum functions that those call.
    pub(crate) with_checksum_ns: f64,
    /// Nanoseconds a frame of the functions that take most.
    pub(crate) functions: Vec<(String, f64)>,
}

/// Who does as the kernel does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) reference: String,
    pub(crate) traces: Vec<TraceRules>,
    pub(crate) cases: Vec<CaseRules>,
    pub(crate) outputs: Vec<OutputRules>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TraceRules {
    pub(crate) trace: String,
    /// TCP over IPv4 in it.
    pub(crate) frames: usize,
    pub(crate) polls: usize,
    /// Of each peer: polls with the same packets (bytes and segments of each) as ours.
    pub(crate) equal: Vec<(String, usize)>,
}

/// A small burst: packets that come out, as the numbers of segments in them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CaseRules {
    pub(crate) case: String,
    pub(crate) kernel: String,
    pub(crate) peers: Vec<(String, String, bool)>,
}

/// What a merged packet says of itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OutputRules {
    pub(crate) engine: String,
    pub(crate) ip_checksum: bool,
    /// Complete, or the pseudo-header's with a note that a device completes it.
    pub(crate) tcp_checksum: bool,
    pub(crate) gso_size: bool,
}

/// Under callgrind, which knows no AVX-512.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Instructions {
    pub(crate) cell: String,
    pub(crate) code_path: String,
    pub(crate) gro: f64,
    pub(crate) gro_checksum: f64,
}

/// Median and ends of some measurements, in thousandths.
pub(crate) fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Spread::default() };
    let middle = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
    let round = |value: f64| (value * 1_000.0).round() / 1_000.0;
    Spread { median: round(middle), min: round(min), max: round(max) }
}

impl Report {
    /// A figure.
    pub(crate) fn ns(&self, cell: &str, state: &str, engine: &str) -> Option<Spread> {
        ns(&self.cells, cell, state, engine)
    }
}

/// A figure of some cells.
pub(crate) fn ns(cells: &[CellReport], cell: &str, state: &str, engine: &str) -> Option<Spread> {
    let found = cells.iter().find(|it| it.cell == cell && it.state == state)?;
    found.engines.iter().find(|figure| figure.engine == engine)?.ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_median_in_the_middle() {
        let Spread { median, min, max } = spread(&[3.0, 1.0, 2.000_04]);
        assert_eq!((median, min, max), (2.0, 1.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0]).median, 2.5);
        assert_eq!(spread(&[]), Spread::default());
    }
}

//! `tcp-mixed`: every rule of TCP coalescing as a named case, built frame by frame.
//!
//! A case is a few frames in a poll of their own, with ports of their own. Each recipe of [`cases`] runs for IPv4 and
//! IPv6, three payload sizes, with and without timestamps, and then again with three flows interleaved. The result
//! depends on the seed alone.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use gro_bench::trace::{Case, tcp_payload};

mod cases;
mod script;
mod segment;

use cases::{Only, Recipe, recipes};
pub(super) use script::mix;
use script::{STEP_NS, Script, Shape};

/// The frames of a built trace, and where its cases are.
pub(super) struct Mixed {
    pub(super) frames: Vec<Built>,
    pub(super) cases: Vec<Case>,
}

/// One built frame.
pub(super) struct Built {
    pub(super) time_ns: u64,
    pub(super) bytes: Vec<u8>,
    /// The name of the case that starts here.
    pub(super) comment: Option<String>,
}

/// Builds `tcp-mixed`.
///
/// # Errors
/// A recipe that breaks the trace's own rules (names, frame sizes), which is a mistake in its source.
pub(super) fn build(seed: u64) -> Result<Mixed> {
    let mut mixed = Mixed { frames: Vec::new(), cases: Vec::new() };
    let recipes = recipes();
    for recipe in &recipes {
        for shape in shapes().filter(|&shape| fits(recipe.only, shape)) {
            let script = mixed.play(recipe, shape, 0, seed);
            mixed.add(name(recipe.name, shape), script.frames, script.delivered);
        }
    }
    for recipe in recipes.iter().filter(|recipe| recipe.interleaves) {
        for shape in shapes().filter(|&shape| fits(recipe.only, shape) && INTERLEAVED.contains(&shape)) {
            let flows: Vec<Script> = (0..FLOWS).map(|flow| mixed.play(recipe, shape, flow, seed)).collect();
            // What leaves is the same per flow, but its order between flows is not part of the case.
            mixed.add(format!("{}.flows{FLOWS}", name(recipe.name, shape)), round_robin(flows), Vec::new());
        }
    }
    for v6 in [false, true] {
        for flows in CAPACITIES {
            mixed.capacity(Shape { v6, mss: 100, timestamps: false }, flows, seed);
        }
    }
    mixed.check()?;
    Ok(mixed)
}

/// `tcp6-long-chain`: three segments behind a 400-byte hop-by-hop header each, which the kernel merges and the engine,
/// whose window holds 256 bytes of headers, lets pass.
///
/// # Errors
/// As [`build`].
pub(super) fn build_long_chain(seed: u64) -> Result<Mixed> {
    let mut mixed = Mixed { frames: Vec::new(), cases: Vec::new() };
    let recipe = cases::long_chain();
    for shape in shapes().filter(|&shape| fits(recipe.only, shape)) {
        let script = mixed.play(&recipe, shape, 0, seed);
        mixed.add(name(recipe.name, shape), script.frames, script.delivered);
    }
    mixed.check()?;
    Ok(mixed)
}

/// Flows that play a recipe at once.
const FLOWS: u16 = 3;

/// Numbers of flows of the `capacity` cases. All share bucket 0, which holds eight.
const CAPACITIES: [u16; 5] = [8, 9, 16, 32, 512];

/// The shapes that are also played interleaved.
const INTERLEAVED: [Shape; 4] = [
    Shape { v6: false, mss: 1448, timestamps: true },
    Shape { v6: true, mss: 1448, timestamps: true },
    Shape { v6: false, mss: 100, timestamps: false },
    Shape { v6: true, mss: 100, timestamps: false },
];

/// 2026-01-01T00:00:00Z.
const START_NS: u64 = 1_767_225_600_000_000_000;

/// Silence before each case: longer than the gap that ends a poll.
const BETWEEN_CASES_NS: u64 = 1_000_000;

fn shapes() -> impl Iterator<Item = Shape> {
    [false, true].into_iter().flat_map(|v6| {
        [100, 1000, 1448].into_iter().flat_map(move |mss| {
            [false, true].into_iter().map(move |timestamps| Shape { v6, mss, timestamps })
        })
    })
}

fn fits(only: Only, shape: Shape) -> bool {
    let small = shape.mss == 100 && !shape.timestamps;
    match only {
        Only::All => true,
        Only::V4 => !shape.v6,
        Only::V6 => shape.v6,
        Only::Timestamps => shape.timestamps,
        Only::Mtu1500 => shape.mss == 1448,
        Only::Small => small,
        Only::SmallV4 => small && !shape.v6,
    }
}

fn name(recipe: &str, shape: Shape) -> String {
    let family = if shape.v6 { "ipv6" } else { "ipv4" };
    let options = if shape.timestamps { ".ts" } else { "" };
    format!("{recipe}.{family}.{}{options}", shape.mss)
}

fn round_robin(flows: Vec<Script>) -> Vec<(u64, Vec<u8>)> {
    let longest = flows.iter().map(|flow| flow.frames.len()).max().unwrap_or(0);
    let mut queues: Vec<_> = flows.into_iter().map(|flow| flow.frames.into_iter()).collect();
    (0..longest).flat_map(|_| queues.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect()
}

impl Mixed {
    fn play(&self, recipe: &Recipe, shape: Shape, flow: u16, seed: u64) -> Script {
        let mut script = Script::new(shape, self.cases.len() as u16, flow, seed);
        (recipe.build)(&mut script);
        script
    }

    /// Two segments of each of `count` flows, in two rounds.
    fn capacity(&mut self, shape: Shape, count: u16, seed: u64) {
        let flow = |flow| {
            let mut script = Script::new(shape, self.cases.len() as u16, flow, seed);
            script.full(2);
            script
        };
        let frames = round_robin((0..count).map(flow).collect());
        let mss = shape.mss as u32;
        // Eight held packets a bucket: a ninth flow evicts the first before its second segment comes.
        let delivered =
            if count <= 8 { vec![2 * mss; count.into()] } else { vec![mss; usize::from(count) * 2] };
        self.add(name(&format!("capacity_{count}"), shape), frames, delivered);
    }

    fn add(&mut self, name: String, frames: Vec<(u64, Vec<u8>)>, delivered: Vec<u32>) {
        let first = self.frames.len();
        let mut time_ns =
            self.frames.last().map_or(START_NS, |frame| frame.time_ns + BETWEEN_CASES_NS) - STEP_NS;
        let sent = frames.iter().map(|(_, bytes)| tcp_payload(&untagged(bytes))).collect();
        self.cases.push(Case { name: name.clone(), first, frames: frames.len(), sent, delivered });
        for (index, (gap, bytes)) in frames.into_iter().enumerate() {
            time_ns += gap;
            let comment = (index == 0).then(|| name.clone());
            self.frames.push(Built { time_ns, bytes, comment });
        }
    }

    fn check(&self) -> Result<()> {
        let names: BTreeSet<&str> = self.cases.iter().map(|case| case.name.as_str()).collect();
        ensure!(names.len() == self.cases.len(), "two cases of tcp-mixed share a name");
        for (index, frame) in self.frames.iter().enumerate() {
            let length = frame.bytes.len();
            ensure!((14..=9_000).contains(&length), "frame {index} of tcp-mixed has {length} bytes");
        }
        Ok(())
    }
}

/// The frame as GRO sees it, without the tag that the device strips.
fn untagged(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if bytes.get(12..14) == Some(&[0x81, 0x00]) && bytes.len() >= 18 {
        bytes.drain(12..16);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_depends_on_the_seed_alone_and_is_large_enough() {
        let (one, two) = (build(1).unwrap(), build(1).unwrap());
        assert!(one.frames.len() >= 5_000, "{}", one.frames.len());
        assert!(
            one.frames.iter().zip(&two.frames).all(|(a, b)| a.bytes == b.bytes && a.time_ns == b.time_ns)
        );
        let other = build(2).unwrap();
        assert!(one.frames.iter().zip(&other.frames).any(|(a, b)| a.bytes != b.bytes));
    }

    #[test]
    fn no_payload_is_lost_between_sent_and_delivered() {
        for case in build(1).unwrap().cases.iter().filter(|case| !case.delivered.is_empty()) {
            assert_eq!(case.sent.iter().sum::<u32>(), case.delivered.iter().sum::<u32>(), "{}", case.name);
        }
    }

    #[test]
    fn every_case_starts_a_poll() {
        let mixed = build(1).unwrap();
        for case in &mixed.cases[1..] {
            let (before, first) = (&mixed.frames[case.first - 1], &mixed.frames[case.first]);
            assert!(first.time_ns - before.time_ns > 50_000, "{}", case.name);
            assert_eq!(first.comment.as_deref(), Some(case.name.as_str()));
        }
    }
}

//! `tcp-mixed` and `udp-mixed`: every rule of TCP and UDP coalescing as a named case, built frame by frame; `tunnel-mixed` and
//! `tunnel-geneve`: those about tunnels; `tcp-jumbo`: what becomes BIG TCP.
//!
//! A case is a few frames in a poll of their own, with ports of their own. Each recipe of [`cases`] runs for IPv4 and
//! IPv6 and several payload sizes, TCP with and without timestamps, and then again with three flows interleaved. The
//! cases of [`table`] are about several flows and their receive hashes. The result depends on the seed alone.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use gro_bench::trace::{Case, payload};

mod cases;
mod script;
mod segment;
mod table;
mod tunnel;

use cases::{Only, Recipe};
pub(super) use script::mix;
use script::{STEP_NS, Script, Sent, Shape};
use tunnel::{Kind, Via};

/// The frames of a built trace, and where its cases are.
pub(super) struct Mixed {
    pub(super) frames: Vec<Built>,
    pub(super) cases: Vec<Case>,
}

/// One built frame.
pub(super) struct Built {
    pub(super) time_ns: u64,
    pub(super) bytes: Vec<u8>,
    /// The receive hash, where the frame has one.
    pub(super) hash: Option<u32>,
    /// The name of the case that starts here.
    pub(super) comment: Option<String>,
}

/// Builds `tcp-mixed`.
///
/// # Errors
/// A recipe that breaks the trace's own rules (names, frame sizes), which is a mistake in its source.
pub(super) fn build(seed: u64) -> Result<Mixed> {
    let mut mixed = Mixed { frames: Vec::new(), cases: Vec::new() };
    mixed.play_all(&cases::tcp(), &shapes().collect::<Vec<_>>(), &INTERLEAVED, seed);
    for shape in small(false) {
        for flows in CAPACITIES {
            mixed.capacity(shape, flows, seed);
        }
        for case in table::cases() {
            mixed.table(shape, case, seed);
        }
    }
    // What this trace is compared with does not coalesce UDP.
    for shape in small(true) {
        let script = mixed.play(&cases::udp_off(), shape, 0, seed);
        mixed.add(name("udp_off", shape), script.frames, script.delivered);
    }
    mixed.check()?;
    Ok(mixed)
}

/// Builds `udp-mixed`.
///
/// # Errors
/// As [`build`].
pub(super) fn build_udp(seed: u64) -> Result<Mixed> {
    let mut mixed = Mixed { frames: Vec::new(), cases: Vec::new() };
    let shape = |v6, mss| Shape { udp: true, v6, mss, timestamps: false, via: None };
    let shapes = [shape(false, 100), shape(false, 1_200), shape(true, 100), shape(true, 1_200)];
    mixed.play_all(&cases::udp(), &shapes, &shapes, seed);
    for shape in small(true) {
        for flows in [8, 9, 32] {
            mixed.capacity(shape, flows, seed);
        }
        for case in table::cases_without_order() {
            mixed.table(shape, case, seed);
        }
    }
    mixed.check()?;
    Ok(mixed)
}

/// Builds `tunnel-mixed`, or `tunnel-geneve`.
///
/// # Errors
/// As [`build`].
pub(super) fn build_tunnels(geneve: bool, seed: u64) -> Result<Mixed> {
    let mut mixed = Mixed { frames: Vec::new(), cases: Vec::new() };
    let shapes: Vec<Shape> = tunnels(if geneve { &Kind::GENEVE } else { &Kind::ASKED }).collect();
    let recipes = cases::tunnels();
    for tunnelled in &recipes {
        let fits = |shape: &&Shape| shape.via.is_some_and(|via| (tunnelled.fits)(**shape, via));
        for &shape in shapes.iter().filter(fits) {
            let script = mixed.play(&tunnelled.recipe, shape, 0, seed);
            mixed.add(name(tunnelled.recipe.name, shape), script.frames, script.delivered);
        }
    }
    for tunnelled in recipes.iter().filter(|tunnelled| tunnelled.recipe.interleaves) {
        for &shape in shapes.iter().filter(|shape| shape.mss == 100) {
            let flows = (0..FLOWS).map(|flow| mixed.play(&tunnelled.recipe, shape, flow, seed)).collect();
            let name = format!("{}.flows{FLOWS}", name(tunnelled.recipe.name, shape));
            mixed.add(name, round_robin(flows), Vec::new());
        }
    }
    mixed.check()?;
    Ok(mixed)
}

/// TCP and UDP over both families, in tunnels of `kinds` over both families; TCP also in full frames.
fn tunnels(kinds: &[Kind]) -> impl Iterator<Item = Shape> {
    let vias = kinds.iter().flat_map(|&kind| [false, true].map(|v6| Via { kind, v6 }));
    vias.flat_map(|via| {
        [false, true].into_iter().flat_map(move |v6| {
            let shape = Shape { udp: false, v6, mss: 100, timestamps: false, via: Some(via) };
            [shape, Shape { udp: true, ..shape }, Shape { mss: 1_400, timestamps: true, ..shape }]
        })
    })
}

/// Builds `tcp-jumbo`.
///
/// # Errors
/// As [`build`].
pub(super) fn build_jumbo(seed: u64) -> Result<Mixed> {
    let mut mixed = Mixed { frames: Vec::new(), cases: Vec::new() };
    let shape = |v6, timestamps| Shape { udp: false, v6, mss: 8_900, timestamps, via: None };
    let shapes = [shape(false, false), shape(false, true), shape(true, false), shape(true, true)];
    mixed.play_all(&cases::big(), &shapes, &shapes, seed);
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
const CAPACITIES: [u16; 9] = [4, 8, 9, 16, 32, 64, 128, 256, 512];

/// The shapes that are also played interleaved.
const INTERLEAVED: [Shape; 4] = [
    Shape { udp: false, v6: false, mss: 1448, timestamps: true, via: None },
    Shape { udp: false, v6: true, mss: 1448, timestamps: true, via: None },
    Shape { udp: false, v6: false, mss: 100, timestamps: false, via: None },
    Shape { udp: false, v6: true, mss: 100, timestamps: false, via: None },
];

/// 2026-01-01T00:00:00Z.
const START_NS: u64 = 1_767_225_600_000_000_000;

/// Silence before each case: longer than the gap that ends a poll.
const BETWEEN_CASES_NS: u64 = 1_000_000;

fn shapes() -> impl Iterator<Item = Shape> {
    [false, true].into_iter().flat_map(|v6| {
        [100, 1000, 1448].into_iter().flat_map(move |mss| {
            [false, true].into_iter().map(move |timestamps| Shape {
                udp: false,
                v6,
                mss,
                timestamps,
                via: None,
            })
        })
    })
}

/// The least payload in both families.
fn small(udp: bool) -> [Shape; 2] {
    [false, true].map(|v6| Shape { udp, v6, mss: 100, timestamps: false, via: None })
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
    // A case of TCP and one of UDP may differ in nothing else.
    let udp = if shape.udp && shape.via.is_some() { ".udp" } else { "" };
    let via = shape.via.map_or(String::new(), |via| {
        format!(".{}{}", via.kind.name(), if via.v6 { "_in_ipv6" } else { "_in_ipv4" })
    });
    format!("{recipe}.{family}.{}{options}{udp}{via}", shape.mss)
}

fn round_robin(flows: Vec<Script>) -> Vec<Sent> {
    let longest = flows.iter().map(|flow| flow.frames.len()).max().unwrap_or(0);
    let mut queues: Vec<_> = flows.into_iter().map(|flow| flow.frames.into_iter()).collect();
    (0..longest).flat_map(|_| queues.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect()
}

impl Mixed {
    /// All recipes in all shapes that they fit, and those that can be in the shapes of `interleaved` with several flows.
    fn play_all(&mut self, recipes: &[Recipe], shapes: &[Shape], interleaved: &[Shape], seed: u64) {
        for recipe in recipes {
            for &shape in shapes.iter().filter(|&&shape| fits(recipe.only, shape)) {
                let script = self.play(recipe, shape, 0, seed);
                self.add(name(recipe.name, shape), script.frames, script.delivered);
            }
        }
        for recipe in recipes.iter().filter(|recipe| recipe.interleaves) {
            for &shape in interleaved.iter().filter(|&&shape| fits(recipe.only, shape)) {
                let flows = (0..FLOWS).map(|flow| self.play(recipe, shape, flow, seed)).collect();
                // What leaves is the same per flow, but its order between flows is not part of the case.
                self.add(
                    format!("{}.flows{FLOWS}", name(recipe.name, shape)),
                    round_robin(flows),
                    Vec::new(),
                );
            }
        }
    }

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

    /// Segments of several flows in the order of the case.
    fn table(&mut self, shape: Shape, case: table::Case, seed: u64) {
        let number = self.cases.len() as u16;
        let flows = case.frames.iter().map(|frame| frame.flow + 1).max().unwrap_or(0);
        let mut flows: Vec<Script> = (0..flows).map(|flow| Script::new(shape, number, flow, seed)).collect();
        let mut frames = Vec::new();
        for frame in case.frames {
            let flow = &mut flows[usize::from(frame.flow)];
            if let Some(hash) = frame.hash {
                flow.hash(hash);
            }
            flow.data(frame.length);
            frames.append(&mut flow.frames);
        }
        self.add(name(case.name, shape), frames, case.delivered);
    }

    fn add(&mut self, name: String, frames: Vec<Sent>, delivered: Vec<u32>) {
        let first = self.frames.len();
        let mut time_ns =
            self.frames.last().map_or(START_NS, |frame| frame.time_ns + BETWEEN_CASES_NS) - STEP_NS;
        let sent = frames.iter().map(|frame| payload(&untagged(&frame.bytes))).collect();
        self.cases.push(Case { name: name.clone(), first, frames: frames.len(), sent, delivered });
        for (index, Sent { gap, bytes, hash }) in frames.into_iter().enumerate() {
            time_ns += gap;
            let comment = (index == 0).then(|| name.clone());
            self.frames.push(Built { time_ns, bytes, hash, comment });
        }
    }

    fn check(&self) -> Result<()> {
        let names: BTreeSet<&str> = self.cases.iter().map(|case| case.name.as_str()).collect();
        ensure!(names.len() == self.cases.len(), "two cases share a name");
        for (index, frame) in self.frames.iter().enumerate() {
            let length = frame.bytes.len();
            ensure!((14..=9_000).contains(&length), "frame {index} has {length} bytes");
        }
        Ok(())
    }
}

/// The frame as GRO sees it, without the tag that the device strips.
fn untagged(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8])) && bytes.len() >= 18 {
        bytes.drain(12..16);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Mixed; 4] {
        let [tunnels, geneve] = [false, true].map(|geneve| build_tunnels(geneve, 1).unwrap());
        [build(1).unwrap(), build_udp(1).unwrap(), tunnels, geneve]
    }

    #[test]
    fn the_traces_depend_on_the_seed_alone() {
        let same = |one: &Mixed, two: &Mixed| {
            one.frames.iter().zip(&two.frames).all(|(a, b)| a.bytes == b.bytes && a.time_ns == b.time_ns)
        };
        let (first, again) = (all(), all());
        for (one, two) in first.iter().zip(&again) {
            assert!(same(one, two) && one.frames.len() == two.frames.len());
        }
        assert!(!same(&first[0], &build(2).unwrap()) && !same(&first[1], &build_udp(2).unwrap()));
    }

    #[test]
    fn no_payload_is_lost_between_sent_and_delivered() {
        for mixed in all() {
            for case in mixed.cases.iter().filter(|case| !case.delivered.is_empty()) {
                assert_eq!(
                    case.sent.iter().sum::<u32>(),
                    case.delivered.iter().sum::<u32>(),
                    "{}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn every_case_starts_a_poll() {
        for mixed in all() {
            for case in &mixed.cases[1..] {
                let (before, first) = (&mixed.frames[case.first - 1], &mixed.frames[case.first]);
                assert!(first.time_ns - before.time_ns > 50_000, "{}", case.name);
                assert_eq!(first.comment.as_deref(), Some(case.name.as_str()));
            }
        }
    }
}

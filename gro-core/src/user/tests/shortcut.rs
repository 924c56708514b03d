//! The engine with and without the shortcut of plain frames: equal decisions and packets, whatever comes.

use super::*;
use crate::{
    Buckets, Datapath, Event, Header, Input, Merged, Patch, Payload, Plain, Slot, State, Window, event,
    receive,
};
use alloc::boxed::Box;

/// Of flows that are damaged, delayed, repeated and mixed at random.
pub(super) struct Stream {
    random: u64,
    next: Vec<Seg>,
    /// Length of most segments, if they come in runs.
    bulk: Option<usize>,
    /// The flow of the last frame.
    pub(super) which: usize,
}

impl Stream {
    pub(super) fn new(seed: u64) -> Self {
        let flow = |n: u16| Seg { v6: n % 3 == 1, port: 80 + n / 2, options: timestamps(n), ..seg(0) };
        Self { random: seed, next: (0..12).map(flow).collect(), bulk: None, which: 0 }
    }

    /// Of flows in runs of equal segments, half of them UDP, that are damaged less often.
    pub(super) fn bulk(seed: u64) -> Self {
        let len = [1, 101, 7, 640, 1447, 100][(seed % 6) as usize];
        let mut stream = Self { bulk: Some(len), ..Self::new(seed) };
        for flow in stream.next.iter_mut().skip(6) {
            flow.udp = true;
        }
        stream
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    pub(super) fn frame(&mut self) -> (Bytes, Meta) {
        if self.bulk.is_none() || self.below(24) == 0 {
            self.which = self.below(12) as usize;
        }
        let which = self.which;
        let len = match (self.bulk, self.below(9) as usize) {
            (Some(len), 0) if self.below(20) == 0 => self.below(2 * len as u64 + 2) as usize,
            (Some(len), _) => len,
            (None, index) => [0, 1, 99, 100, 100, 100, 100, 101, 1000][index],
        };
        let mut now = Seg { len, ..self.next[which].clone() };
        self.next[which].seq = now.seq.wrapping_add(len as u32);
        self.next[which].id = now.id.wrapping_add(1);
        let value = self.below(1 << 16) as u16;
        match self.below(if self.bulk.is_some() { 1500 } else { 120 }) {
            0 => now.flags = value as u8,
            1 => now.ack ^= u32::from(value),
            2 => now.id = value,
            3 => self.next[which].id = now.id, // from here on the same
            4 => now.window = value,
            5 => now.urgent = value,
            6 => now.ttl = value as u8,
            7 => now.tos = value as u8,
            8 => now.fragment = value,
            9 => now.label = u32::from(value),
            10 => now.seq = now.seq.wrapping_add(u32::from(value)),
            11 => now.trailer = usize::from(value % 50),
            12 => now.break_l4 = true,
            13 => now.options = timestamps(value),
            14 => now.options.clear(),
            15 => now.options = vec![1; usize::from(value % 11) * 4],
            16 => now.extensions = (0, vec![6, 0, 1, 4, 0, 0, 0, 0]),
            17 => now.udp = true,
            18 => self.next[which].seq = u32::MAX - 150,
            19..=22 => now.flags = 0x18,
            23 => now.flags = [0x90, 0xd0, 0x50, 0x11, 0x19][usize::from(value % 5)],
            24..=39 if self.bulk.is_some() => now.id = now.id.wrapping_sub(1 + value % 2),
            40..=79 if self.bulk.is_some() => now.break_l4 = true,
            _ => {}
        }
        let mut bytes = now.bytes().to_vec();
        let udp = if now.v6 { 54 } else { 34 };
        match self.below(if self.bulk.is_some() { 500 } else { 60 }) {
            5 if now.udp => bytes[udp + 6..udp + 8].fill(0),
            6 if now.udp => bytes[udp + 5] ^= 1,
            7 if now.udp => bytes[udp + 2..udp + 4].copy_from_slice(&4789_u16.to_be_bytes()),
            0 => bytes.truncate(usize::from(value) % (bytes.len() + 1)),
            1..=3 => {
                let at = usize::from(value) % bytes.len().min(90);
                bytes[at] ^= 1 << self.below(8);
            }
            4 => bytes.resize(65_500 + usize::from(value) % 100, 1),
            _ => {}
        }
        let hash = [which as u32, which as u32 / 4, 0]
            [usize::from(value.is_multiple_of(16)) + usize::from(value.is_multiple_of(64))];
        let vlan = if value.is_multiple_of(97) { 0x8100_0001 } else { 0 };
        (bytes.into(), Meta { hash, vlan, verified: value.is_multiple_of(5) })
    }
}

fn timestamps(value: u16) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &u32::from(value).to_be_bytes(), &[0, 0, 0, 9]].concat()
}

fn played<P: Profile>(seed: u64, frames: u32, config: Config) -> (Vec<Delivered>, State) {
    let (mut stream, mut out) = (Stream::new(seed), vec![]);
    let mut engine = Engine::<P>::new(config);
    for n in 0..frames {
        let (frame, meta) = stream.frame();
        engine.receive(frame, meta, &mut |packet| out.push(packet));
        match stream.below(30) {
            0 => engine.poll_end(&mut |packet| out.push(packet)),
            1 => engine.set_time(n / 64),
            2 => engine.tick(&mut |packet| out.push(packet)),
            _ => {}
        }
    }
    engine.flush(&mut |packet| out.push(packet));
    (out, *engine.state())
}

fn compare<P: Profile>(config: Config) {
    let mut joined = 0;
    for seed in 0..40 {
        let (short, long) = (played::<P>(seed, 2_000, config), played::<Plain<P>>(seed, 2_000, config));
        for (number, (short, long)) in short.0.iter().zip(&long.0).enumerate() {
            assert_eq!(short, long, "{}, seed {seed}, packet {number}", P::NAME);
        }
        assert_eq!(short, long, "{}, seed {seed}", P::NAME);
        joined += short.1.counters.merged_segments;
    }
    assert!(joined > 5_000, "too few joined to say anything: {joined}");
}

#[test]
fn the_shortcut_decides_as_the_long_way() {
    let timed = Config { flush_timeout: 20_000, udp: UdpMode::Forwarding, hz: 1000, ..Config::DEFAULT };
    let small = Config { gro_max_size: 700, gro_ipv4_max_size: 900, ..Config::DEFAULT };
    for config in [Config::DEFAULT, timed, small] {
        compare::<Linux612>(config);
        compare::<Linux618>(config);
        compare::<Linux7>(config);
    }
}

/// Both engines over these frames; says how many joined.
fn agree(frames: &[Bytes], meta: Meta) -> u64 {
    let run = |receive: &mut dyn FnMut(Bytes, &mut Vec<Delivered>)| {
        let mut out = vec![];
        frames.iter().for_each(|frame| receive(frame.clone(), &mut out));
        out
    };
    let (mut short, mut long) =
        (Engine::<Linux618>::new(Config::DEFAULT), Engine::<Plain<Linux618>>::new(Config::DEFAULT));
    let mut outs = [
        run(&mut |frame, out| _ = short.receive(frame, meta, &mut |packet| out.push(packet))),
        run(&mut |frame, out| _ = long.receive(frame, meta, &mut |packet| out.push(packet))),
    ];
    short.flush(&mut |packet| outs[0].push(packet));
    long.flush(&mut |packet| outs[1].push(packet));
    assert_eq!(outs[0], outs[1]);
    assert_eq!(short.state(), long.state());
    short.state().counters.merged_segments
}

/// Identifications from `first` on, which `step` tells apart.
fn counted(first: u16, step: u16, count: u16) -> Vec<Bytes> {
    let one = |n: u16| Seg { id: first.wrapping_add(n * step), ..seg(u32::from(n)) }.bytes();
    (0..count).map(one).collect()
}

#[test]
fn identifications_carry_and_wrap_and_stay() {
    for first in [0, 0xfe, 0xff, 0x12fe, 0xfffd, 0xffff] {
        for step in [0, 1] {
            assert_eq!(agree(&counted(first, step, 8), Meta::default()), 7, "{first:#x} {step}");
            // The header checksum passes all its values, both zeros among them.
            for checks in (0..1 << 16).step_by(97) {
                let flow = |n: u16| {
                    let id = first.wrapping_add(n * step);
                    Seg { id, tos: (checks >> 8) as u8, ttl: checks as u8 | 1, ..seg(u32::from(n)) }.bytes()
                };
                assert_eq!(agree(&(0..4).map(flow).collect::<Vec<_>>(), Meta::default()), 3, "{checks:#x}");
            }
        }
    }
}

/// What is added to the identification's word without its carry, or taken from the checksum's, is not what comes next.
#[test]
fn a_carry_in_the_wrong_place_does_not_join() {
    let patch = |frame: &Bytes, id: u16, fragment: u16, check: u16| {
        let mut bytes = frame.to_vec();
        for (at, value) in [(18, id), (20, fragment), (24, check)] {
            bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        Bytes::from(bytes)
    };
    let check = |frame: &Bytes| u16::from_be_bytes([frame[24], frame[25]]);
    // The carry of 0x12ff in the fragment's offset.
    let frames = counted(0x12ff, 1, 2);
    let next = patch(&frames[1], 0x1200, 0x4100, check(&frames[0]) - 1);
    assert_eq!(agree(&[frames[0].clone(), next, frames[1].clone()], Meta::default()), 1);
    // Behind the last identification, a checksum that counts on.
    let frames = counted(0xffff, 1, 2);
    let next = patch(&frames[1], 0, 0x4000, check(&frames[0]) - 1);
    assert_eq!(agree(&[frames[0].clone(), next], Meta::default()), 0);
    assert_eq!(agree(&frames, Meta::default()), 1);
}

#[test]
fn a_fixed_identification_does_not_count_on() {
    let mut frames = counted(7, 0, 5);
    frames.extend((5..8).map(|n| Seg { id: 8, ..seg(n) }.bytes()));
    assert_eq!(agree(&frames, Meta::default()), 4 + 2);
    assert_eq!(agree(&counted(7, 0, 5)[1..], Meta { verified: true, ..Meta::default() }), 3);
}

/// A datapath of somebody else's, with everything that [`Datapath`] has a default for.
#[derive(Default)]
struct Plainest(Vec<(u32, u32, Vec<Patch>)>);

impl Datapath for Plainest {
    type Frame = Bytes;

    fn sum(&mut self, frame: &Bytes, range: core::ops::Range<u32>) -> Option<u16> {
        frame.get(range.start as usize..range.end as usize).map(sum)
    }

    fn hold(&mut self, _slot: Slot, _frame: Bytes, _payload: Payload) {}

    fn append(&mut self, _slot: Slot, _frame: Bytes, _payload: Payload) {}

    fn emit(&mut self, _slot: Slot, merged: &Merged, _why: FlushReason) {
        self.0.push((merged.segs, merged.len, merged.patches().copied().collect()));
    }

    fn pass(&mut self, _frame: Bytes, _why: Bypass) {}
}

#[test]
fn a_datapath_of_defaults_has_the_same_packets() {
    let (config, frames) = (Config::DEFAULT, counted(100, 1, 5));
    let (mut state, mut table, mut path) = (State::ZERO, Box::new(Buckets::EMPTY), Plainest::default());
    let (mut engine, mut expected) = (Engine::<Linux618>::new(config), vec![]);
    let mut keep = |packet: Delivered| expected.extend(packet.merged);
    for frame in &frames {
        let mut header = Header::ZERO;
        header.load(frame);
        let window = Window::new(&header, frame.len() as u32);
        let input = Input { window, meta: Meta::default(), now: 0, config: &config };
        receive::<Linux618, _, _>(&mut state, &mut *table, &mut path, frame.clone(), &input);
        engine.receive(frame.clone(), Meta::default(), &mut keep);
    }
    event::<Linux618, _, _>(&mut state, &mut *table, &mut path, Event::Flush, (0, &config));
    engine.flush(&mut keep);
    let expected: Vec<_> = expected
        .iter()
        .map(|merged| (merged.segs, merged.len, merged.patches().copied().collect()))
        .collect();
    assert_eq!(path.0, expected);
    assert_eq!((path.0[0].0, state.digest), (5, engine.state().digest));
}

#[test]
fn odd_lengths_turn_what_follows() {
    for len in [1, 2, 3, 99, 100, 101, 1001] {
        for count in 1..9 {
            let flow = |n: u32| {
                let seq = (u32::MAX - 300).wrapping_add(n * len as u32);
                let last = n + 1 == count && n > 0;
                let flags = if last && len % 3 == 0 { 0x18 } else { 0x10 };
                let len = if last && len > 2 { len - 2 + (n as usize % 2) } else { len };
                Seg { seq, len, flags, options: timestamps(len as u16 / 50), ..seg(n) }.bytes()
            };
            agree(&(0..count).map(flow).collect::<Vec<_>>(), Meta::default());
        }
    }
}

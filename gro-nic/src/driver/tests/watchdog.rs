//! Images that hang, stop or lie at any stage: whatever they do, every frame comes out once.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::*;
use crate::live::{Happening, Pace, Timed};
use crate::machine::Watched;
use crate::traffic::senders;

/// `c.j .` and the defined illegal instruction.
const HANG: u16 = 0xa001;
const ILLEGAL: u16 = 0x0000;

/// Where the instructions of the image start: its text ends at the program hash.
fn instructions(image: &Image) -> Vec<usize> {
    let code = &image.code.bytes;
    let end = code.windows(32).position(|bytes| bytes == image.program_hash).unwrap();
    let mut starts = Vec::new();
    let mut at = 0;
    while at < end {
        starts.push(at);
        at += if code[at] & 3 == 3 { 4 } else { 2 };
    }
    starts
}

fn patched(at: usize, word: u16) -> Image {
    let mut image = image();
    image.code.bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
    image
}

/// Frames of a few connections, none damaged, so that order in each is kept; by the number of their posting.
struct Traffic {
    frames: Vec<(usize, Bytes)>,
}

impl Traffic {
    fn new(random: &mut Random, count: usize) -> Self {
        let mut senders = senders(6);
        let frames = (0..count).map(|_| {
            let flow = random.below(senders.len());
            let payload = [100, 100, 100, 1448][random.below(4)];
            let flags = if random.below(10) == 0 { 0x18 } else { 0x10 };
            (flow, senders[flow].segment(payload, flags, 3).into())
        });
        Self { frames: frames.collect() }
    }

    fn meta(&self, number: usize) -> Meta {
        Meta { hash: self.frames[number].0 as u32 * 0x1111_1111, vlan: 0, verified: false }
    }

    /// Everything that was posted came out once; in each flow in order, and as it came unless it was merged.
    fn check(&self, out: &[Delivered], context: &str) {
        let mut last: HashMap<usize, u32> = HashMap::new();
        let mut seen = vec![false; self.frames.len()];
        for packet in out {
            let (flow, bytes) = &self.frames[packet.first as usize];
            let numbers: Vec<u32> = (packet.first..=packet.last)
                .filter(|&number| self.frames[number as usize].0 == *flow)
                .collect();
            assert_eq!(numbers.len(), packet.segs as usize, "{context}");
            for number in numbers {
                assert!(!std::mem::replace(&mut seen[number as usize], true), "{context}: {number} twice");
                let before = last.insert(*flow, number);
                assert!(before.is_none_or(|before| before < number), "{context}: {number} is late");
            }
            if packet.segs == 1 {
                assert_eq!(packet.header, bytes, "{context}");
            }
        }
        let lost = seen.iter().position(|seen| !seen);
        assert_eq!(lost, None, "{context}: a frame is lost");
    }
}

/// Runs a device over the traffic step by step; `None` if it did not come up.
fn drive(image: &Image, traffic: &Traffic, config: &NicConfig) -> Option<(Nic, Vec<Delivered>)> {
    let mut nic = Nic::new(image, config).ok()?;
    let mut out = Vec::new();
    for (number, (_, bytes)) in traffic.frames.iter().enumerate() {
        nic.post(bytes.clone(), traffic.meta(number));
        if number % 23 == 22 {
            nic.poll_end();
        }
        if number % 5 == 0 {
            nic.deliver(&mut |packet| out.push(packet)).unwrap();
        }
    }
    nic.flush();
    nic.deliver(&mut |packet| out.push(packet)).unwrap();
    Some((nic, out))
}

fn config(random: &mut Random) -> NicConfig {
    NicConfig {
        rx_entries: 1 << random.below(7),
        completion_entries: 1 << random.below(5),
        run_limit: 200_000,
        watchdog: true,
        ..NicConfig::default()
    }
}

#[test]
fn an_image_that_hangs_or_stops_anywhere_costs_no_frame() {
    let starts = instructions(&image());
    let mut random = Random(0xfeed_beef_1234_5677);
    let (mut hung, mut stopped, mut fine, mut refused) = (0, 0, 0, 0);
    for _ in 0..500 {
        let word = [HANG, ILLEGAL][random.below(2)];
        let at = starts[random.below(starts.len())];
        let traffic = Traffic::new(&mut random, 120);
        let Some((nic, out)) = drive(&patched(at, word), &traffic, &config(&mut random)) else {
            refused += 1;
            continue;
        };
        traffic.check(&out, &format!("{word:#06x} at {at:#x}"));
        match nic.health() {
            Health::Working => fine += 1,
            Health::PassThrough(failure) => {
                let passed = out.iter().filter(|packet| packet.why == Why::Bypass(Bypass::Declined));
                assert_eq!(passed.count() as u64, failure.recovered + failure.passed);
                match (&failure.reason, word) {
                    (NicError::Wedged(200_000), HANG) => hung += 1,
                    (NicError::Core(CoreError::Trap(_)), ILLEGAL) => stopped += 1,
                    (reason, _) => panic!("{word:#06x} at {at:#x}: {reason}"),
                }
            }
        }
    }
    assert!(hung > 20 && stopped > 20 && fine > 20 && refused > 0, "{hung} {stopped} {fine} {refused}");
}

#[test]
fn an_image_that_lies_costs_no_frame_and_brings_none_twice() {
    // Any half word of the code may be any other: what the firmware does then is open, what the driver lets through is not.
    let image = image();
    let mut random = Random(0x0bad_cafe_0bad_cafe);
    let mut reasons: HashMap<&'static str, u32> = HashMap::new();
    for round in 0..700 {
        let at = random.below(image.code.bytes.len() / 2) * 2;
        let old = u16::from_le_bytes([image.code.bytes[at], image.code.bytes[at + 1]]);
        let word = old ^ 1 << random.below(16);
        let traffic = Traffic::new(&mut random, 120);
        let Some((nic, out)) = drive(&patched(at, word), &traffic, &config(&mut random)) else { continue };
        let mut seen = vec![false; traffic.frames.len()];
        let mut count = 0;
        for packet in &out {
            assert!(!std::mem::replace(&mut seen[packet.first as usize], true), "round {round}");
            count += packet.segs as usize;
        }
        assert_eq!(count, traffic.frames.len(), "round {round}: {word:#06x} at {at:#x}");
        let reason = match nic.health() {
            Health::Working => "none",
            Health::PassThrough(Failure { reason, .. }) => match reason {
                NicError::Core(_) => "stopped",
                NicError::Wedged(_) => "wedged",
                NicError::Stalled => "stalled",
                NicError::Completion { .. } => "completion",
                NicError::Index { .. } => "index",
                NicError::Kept(_) => "kept",
                reason => panic!("round {round}: {reason}"),
            },
        };
        *reasons.entry(reason).or_default() += 1;
    }
    let some = ["none", "stopped", "completion"];
    assert!(some.iter().all(|&reason| reasons.get(reason) > Some(&0)), "{reasons:?}");
}

#[test]
fn a_live_card_goes_on_when_a_lane_fails() {
    let good = image();
    let starts = instructions(&good);
    let mut random = Random(321);
    let mut failed = 0;
    for _ in 0..120 {
        let word = [HANG, ILLEGAL][random.below(2)];
        let at = starts[random.below(starts.len())];
        let bad = patched(at, word);
        let traffic = Traffic::new(&mut random, 150);
        let config = config(&mut random);
        // Lane 1 has the damaged image.
        let lanes: Result<Vec<_>, _> =
            [&good, &bad, &good].into_iter().map(|image| Nic::new(image, &config)).collect();
        let Ok(lanes) = lanes else { continue };
        let mut card = crate::Card::of(lanes).unwrap();
        let mut when = 0;
        let mut list: Vec<Timed> = Vec::new();
        for (number, (_, bytes)) in traffic.frames.iter().enumerate() {
            when += random.below(900) as u64;
            let what = Happening::Frame(bytes.clone(), traffic.meta(number));
            list.push(Timed { at: when, lane: None, what });
            if number % 23 == 22 {
                list.push(Timed { at: when, lane: None, what: Happening::PollEnd });
            }
        }
        list.push(Timed { at: when, lane: None, what: Happening::Flush });
        let drain_every = [0, 2_000][random.below(2)];
        let pace = Pace { slice: 50, drain_every, ..Pace::default() };
        // Numbers count a lane's own frames.
        let mut of_lane: Vec<Vec<usize>> = vec![Vec::new(); 3];
        for number in 0..traffic.frames.len() {
            of_lane[card.lane_of(traffic.meta(number).hash)].push(number);
        }
        let mut out: Vec<Vec<Delivered>> = vec![Vec::new(); 3];
        crate::live::run(&mut card, &pace, &list, &mut |lane, packet| out[lane].push(packet)).unwrap();
        for (lane, packets) in out.iter().enumerate() {
            let frames = of_lane[lane].iter().map(|&number| traffic.frames[number].clone()).collect();
            Traffic { frames }.check(packets, &format!("lane {lane}, {word:#06x} at {at:#x}"));
            let works = matches!(card.lanes()[lane].health(), Health::Working);
            assert!(works || lane == 1);
            failed += u32::from(!works);
        }
    }
    assert!(failed > 20, "{failed}");
}

#[test]
fn a_lost_core_is_noticed_and_later_frames_pass_at_once() {
    let mut random = Random(3);
    let traffic = Traffic::new(&mut random, 60);
    let image = image();
    let core = lost(&image, 4);
    let config = NicConfig { watchdog: true, ..NicConfig::default() };
    let mut nic = Nic::on(core, &image, &config).unwrap();
    let mut out = Vec::new();
    for (number, (_, bytes)) in traffic.frames.iter().enumerate() {
        let before = out.len();
        nic.post(bytes.clone(), traffic.meta(number));
        nic.deliver(&mut |packet| out.push(packet)).unwrap();
        let working = matches!(nic.health(), Health::Working);
        assert!(working || out.len() > before, "it passes at once");
    }
    traffic.check(&out, "lost");
    let Health::PassThrough(failure) = nic.health() else { panic!("it is lost") };
    assert!(matches!(failure.reason, NicError::Core(CoreError::Gone(_))));
    assert!(failure.recovered > 0 && failure.passed > 40);
    assert!(failure.reason.to_string().contains("the process ended"));
}

#[test]
fn a_device_that_takes_frames_and_says_nothing_is_found_at_a_flush() {
    // Its consumer follows the producer, and that is all it does.
    let image = image();
    for index in [1_u32, 0] {
        let core = silent(&image, 1 - index);
        let config = NicConfig { watchdog: true, ..NicConfig::default() };
        let mut nic = Nic::on(core, &image, &config).unwrap();
        let mut out = Vec::new();
        let traffic = Traffic::new(&mut Random(9), 20);
        for (number, (_, bytes)) in traffic.frames.iter().enumerate() {
            nic.post(bytes.clone(), traffic.meta(number));
        }
        nic.flush();
        nic.deliver(&mut |packet| out.push(packet)).unwrap();
        traffic.check(&out, "silent");
        let Health::PassThrough(failure) = nic.health() else { panic!("it says nothing") };
        match index {
            1 => assert!(matches!(failure.reason, NicError::Kept(20)), "{}", failure.reason),
            _ => assert!(matches!(failure.reason, NicError::Index { .. }), "{}", failure.reason),
        }
    }
}

#[test]
fn a_device_that_always_gets_on_and_never_ends_is_given_up() {
    // It takes one event in every run, for which it needs all of its budget, and completes nothing.
    let image = image();
    for stop in [Stop::Budget, Stop::Waiting] {
        for watchdog in [false, true] {
            let runs = Rc::new(Cell::new(0_u64));
            let config =
                NicConfig { rx_entries: 4096, run_limit: 2_000_000, watchdog, ..NicConfig::default() };
            let mut nic = Nic::on(creeping(&image, stop, &runs), &image, &config).unwrap();
            let traffic = Traffic::new(&mut Random(11), 1_000);
            for (number, (_, bytes)) in traffic.frames.iter().enumerate() {
                nic.post(bytes.clone(), traffic.meta(number));
            }
            let mut out = Vec::new();
            let result = nic.deliver(&mut |packet| out.push(packet));
            assert!(runs.get() <= RING_RUNS + 1, "{} runs", runs.get());
            if !watchdog {
                assert!(matches!(result, Err(NicError::Slow(32_000_000))), "{result:?}");
                continue;
            }
            result.unwrap();
            traffic.check(&out, "creeping");
            let Health::PassThrough(failure) = nic.health() else { panic!("it is given up") };
            assert!(matches!(failure.reason, NicError::Slow(32_000_000)), "{}", failure.reason);
            assert_eq!((failure.recovered, failure.passed), (1_000, 0));
        }
    }
}

/// A core that, once it has started, takes one event a run and needs a whole budget for it, whatever it says when it stops.
fn creeping(image: &Image, stop: Stop, runs: &Rc<Cell<u64>>) -> impl Core + use<> {
    let runs = Rc::clone(runs);
    let mut hung = Some(Machine::new(&patched(0, HANG)));
    let mut started = false;
    Watched::new(Machine::new(image), move |machine, budget| {
        if !std::mem::replace(&mut started, true) {
            return machine.run(budget);
        }
        if let Some(mut hung) = hung.take() {
            for offset in (0..bar::START).step_by(4) {
                hung.set_register(offset, machine.register(offset));
            }
            *machine = hung;
        }
        runs.set(runs.get() + 1);
        machine.run(budget)?;
        let taken = machine.register(register::RX_CONSUMER);
        if taken != machine.register(register::RX_PRODUCER) {
            machine.set_register(register::RX_CONSUMER, taken.wrapping_add(1));
        }
        Ok(stop)
    })
}

/// A core whose machine ends after `left` runs.
fn lost(image: &Image, mut left: u32) -> impl Core + use<> {
    Watched::new(Machine::new(image), move |machine, budget| {
        if left == 0 {
            return Err(CoreError::Gone("the process ended".into()));
        }
        left -= 1;
        machine.run(budget)
    })
}

/// A core that, once it has started, takes every event, or `ahead` more than there are, and completes nothing.
fn silent(image: &Image, ahead: u32) -> impl Core + use<> {
    let mut started = false;
    Watched::new(Machine::new(image), move |machine, budget| {
        if !std::mem::replace(&mut started, true) {
            return machine.run(budget);
        }
        let posted = machine.register(register::RX_PRODUCER);
        machine.set_register(register::RX_CONSUMER, posted.wrapping_add(ahead));
        Ok(Stop::Waiting)
    })
}

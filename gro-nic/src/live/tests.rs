//! The live card against the same events one by one, and against the userspace engine.

use std::collections::HashSet;

use bytes::Bytes;
use gro_core::user::Engine;
use gro_core::{Config, Linux618, Meta, program_hash};

use super::*;
use crate::abi::bar;
use crate::driver::NicConfig;
use crate::traffic::{Random, hostile, senders};

/// What is compared of a packet.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    bytes: Vec<u8>,
    segs: u32,
    gso_size: u16,
    gso_type: u32,
    first: u32,
    why: gro_core::user::Why,
}

impl From<Delivered> for Packet {
    fn from(packet: Delivered) -> Self {
        let Delivered { segs, gso_size, gso_type, first, why, .. } = packet;
        Self { bytes: packet.to_vec(), segs, gso_size, gso_type, first, why }
    }
}

/// Frames in bursts and everything else between them; a flush ends it.
fn happenings(random: &mut Random, frames: u32, gap: usize) -> Vec<Timed> {
    let mut senders = senders(12);
    let mut at = 0;
    let mut list = Vec::new();
    let timed = |at, what| Timed { at, lane: None, what };
    for n in 0..frames {
        at += random.below(2 * gap + 1) as u64;
        let (frame, mut meta) = hostile(random, &mut senders, n, true);
        // Hashes whose upper bits differ, so that lanes do.
        meta.hash = meta.hash.wrapping_mul(0x9e37_79b9);
        list.push(timed(at, Happening::Frame(frame, meta)));
        if random.below(30) == 0 {
            list.push(timed(
                at,
                match random.below(6) {
                    0 => Happening::Tick,
                    1 => Happening::Flush,
                    2 => Happening::Time(n / 100),
                    3 => Happening::Configure(
                        Config { gro_max_size: 1_000 + random.below(60_000) as u32, ..Config::DEFAULT },
                        random.below(4) != 0,
                    ),
                    _ => Happening::PollEnd,
                },
            ));
        }
    }
    list.push(timed(at, Happening::Flush));
    list
}

/// The userspace engine over what a lane's port took.
fn reference(taken: &[Timed]) -> (Vec<Packet>, u64) {
    let mut engine = Engine::<Linux618>::new(Config::DEFAULT);
    let mut out = Vec::new();
    for timed in taken {
        let sink = &mut |packet: gro_core::user::Delivered| {
            out.push(Packet {
                bytes: packet.to_vec(),
                segs: packet.segs,
                gso_size: packet.gso_size,
                gso_type: packet.gso_type,
                first: packet.first,
                why: packet.why,
            });
        };
        match &timed.what {
            Happening::Frame(bytes, meta) => {
                engine.receive(bytes.clone(), *meta, sink);
            }
            Happening::Time(jiffies) => engine.set_time(*jiffies),
            Happening::PollEnd => engine.poll_end(sink),
            Happening::Tick => engine.tick(sink),
            Happening::Flush => engine.flush(sink),
            Happening::Configure(..) => panic!("the reference has one config"),
        }
    }
    (out, engine.state().digest.value())
}

fn without_config(list: Vec<Timed>) -> Vec<Timed> {
    list.into_iter().filter(|timed| !matches!(timed.what, Happening::Configure(..))).collect()
}

/// Everything one by one, each to its end.
fn synchronous(list: &[Timed], config: &NicConfig) -> (Vec<Packet>, u64) {
    let mut nic = Nic::load(crate::LINUX_6_18, config).unwrap();
    let mut out = Vec::new();
    for timed in list {
        match &timed.what {
            Happening::Frame(bytes, meta) => nic.post(bytes.clone(), *meta),
            Happening::Time(jiffies) => nic.time(*jiffies),
            Happening::PollEnd => nic.poll_end(),
            Happening::Tick => nic.tick(),
            Happening::Flush => nic.flush(),
            Happening::Configure(engine, coalesce) => nic.configure(*engine, *coalesce).unwrap(),
        }
        nic.deliver(&mut |packet| out.push(packet.into())).unwrap();
    }
    (out, nic.digest())
}

fn live(list: &[Timed], lanes: usize, config: &NicConfig, pace: &Pace) -> (Card, Report, Vec<Vec<Packet>>) {
    let mut card = Card::load(crate::LINUX_6_18, lanes, config).unwrap();
    let mut out: Vec<Vec<Packet>> = (0..lanes).map(|_| Vec::new()).collect();
    let report = run(&mut card, pace, list, &mut |lane, packet| out[lane].push(packet.into())).unwrap();
    (card, report, out)
}

fn any_config(random: &mut Random) -> NicConfig {
    NicConfig {
        rx_entries: 1 << random.below(9),
        completion_entries: 1 << random.below(8),
        ..NicConfig::default()
    }
}

fn any_pace(random: &mut Random, pause: bool) -> Pace {
    Pace {
        slice: [1, 3, 17, 64, 500, 20_000][random.below(6)],
        pause,
        drain_every: [0, 50, 3_000, 100_000][random.below(4)],
        drain_most: [1, 2, 7, u32::MAX][random.below(4)],
    }
}

#[test]
fn with_pause_nothing_is_lost_and_every_pace_decides_the_same() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let (mut pauses, mut stalls) = (0, 0);
    for round in 0..24 {
        let gap = [0, 50, 400, 3_000][round % 4];
        let list = happenings(&mut random, 700, gap);
        let (expected, digest) = synchronous(&list, &NicConfig::default());
        for _ in 0..3 {
            let (config, pace) = (any_config(&mut random), any_pace(&mut random, true));
            let (card, report, out) = live(&list, 1, &config, &pace);
            let nic = &card.lanes()[0];
            assert_eq!(out[0], expected, "{config:?} {pace:?}");
            assert_eq!(nic.digest(), digest);
            assert!(report.lanes[0].dropped.is_empty());
            let device = nic.device();
            assert_eq!(device.read_wide(bar::FRAMES), 700);
            assert_eq!(device.read_wide(bar::DROPS_RING) + device.read_wide(bar::DROPS_BUFFER), 0);
            assert_eq!(device.read(bar::FREE_COUNT), config.buffers, "every buffer came back");
            assert!(report.lanes[0].busy <= report.cycles + pace.slice * 40);
            pauses += device.read_wide(bar::PAUSES);
            stalls += u64::from(device.read(bar::STALLS));
            assert_eq!(report.late != 0, device.read_wide(bar::PAUSES) != 0);
        }
    }
    assert!(pauses > 1_000 && stalls > 1_000, "back-pressure was there: {pauses} pauses, {stalls} stalls");
}

#[test]
fn without_pause_a_frame_is_lost_when_the_ring_is_full_and_only_then() {
    let mut random = Random(77);
    let (mut lost, mut merged) = (0, 0);
    if crate::Image::parse(crate::LINUX_6_18).unwrap().program_hash != program_hash::<Linux618>() {
        eprintln!("skipped: comparison with userspace, image built from other sources");
        return;
    }
    for round in 0..30 {
        let list = without_config(happenings(&mut random, 700, [0, 100, 250, 500][round % 4]));
        let lanes = [1, 1, 3][round % 3];
        let (config, pace) = (any_config(&mut random), any_pace(&mut random, false));
        let (card, report, out) = live(&list, lanes, &config, &pace);
        let mut seen = HashSet::new();
        for (lane, nic) in card.lanes().iter().enumerate() {
            let LaneReport { taken, dropped, .. } = &report.lanes[lane];
            let posted: Vec<Timed> = taken.iter().map(|&index| list[index as usize].clone()).collect();
            let (expected, digest) = reference(&posted);
            assert_eq!(out[lane], expected, "{config:?} {pace:?}");
            assert_eq!(nic.digest(), digest);
            for &index in dropped.iter().chain(taken) {
                if let Happening::Frame(_, meta) = list[index as usize].what {
                    assert!(seen.insert(index), "frame {index} twice");
                    assert_eq!(card.lane_of(meta.hash), lane);
                }
            }
            let device = nic.device();
            assert_eq!(device.read_wide(bar::DROPS_RING), dropped.len() as u64);
            assert_eq!(device.read_wide(bar::DROPS_BUFFER) + device.read_wide(bar::PAUSES), 0);
            let out_frames: u64 = out[lane].iter().map(|packet| u64::from(packet.segs)).sum();
            assert_eq!(out_frames, device.read_wide(bar::FRAMES));
            lost += dropped.len();
            merged += out[lane].iter().filter(|packet| packet.segs > 1).count();
        }
        assert_eq!(seen.len(), 700, "every frame came out or was counted as lost");
        assert_eq!(report.late, 0);
    }
    assert!(lost > 2_000 && merged > 300, "{lost} lost, {merged} merged");
}

#[test]
fn a_ring_with_room_loses_nothing_and_a_full_one_exactly_what_is_too_much() {
    // All frames at once, before the core can do anything.
    let mut random = Random(5);
    let mut list = without_config(happenings(&mut random, 100, 0));
    list.retain(|timed| matches!(timed.what, Happening::Frame(..)));
    for rx_entries in [1, 16, 64, 128] {
        let config = NicConfig { rx_entries, ..NicConfig::default() };
        let (card, report, _) = live(&list, 1, &config, &Pace { pause: false, ..Pace::default() });
        let lost = 100_u32.saturating_sub(rx_entries) as usize;
        assert_eq!(report.lanes[0].dropped.len(), lost);
        assert_eq!(card.lanes()[0].device().read_wide(bar::DROPS_RING), lost as u64);
    }
    // No buffer is another reason, with another counter.
    let config = NicConfig { rx_entries: 64, buffers: 4, ..NicConfig::default() };
    let (card, report, _) = live(&list, 1, &config, &Pace { pause: false, ..Pace::default() });
    assert_eq!(report.lanes[0].dropped.len(), 96);
    assert_eq!(card.lanes()[0].device().read_wide(bar::DROPS_BUFFER), 96);
}

#[test]
fn buffers_that_never_come_back_are_said_and_not_waited_for() {
    let mut senders = senders(1);
    let mut list: Vec<Timed> = (0..9)
        .map(|at| {
            let frame = Bytes::from(senders[0].segment(100, 0x10, 3));
            Timed { at, lane: None, what: Happening::Frame(frame, Meta::default()) }
        })
        .collect();
    list.push(Timed { at: 9, lane: None, what: Happening::Flush });
    let config = NicConfig { buffers: 4, ..NicConfig::default() };
    let mut card = Card::load(crate::LINUX_6_18, 1, &config).unwrap();
    let error = run(&mut card, &Pace::default(), &list, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, CardError::Lane { lane: 0, error: NicError::NoBuffer(4) }), "{error}");
    // With a watchdog they come out.
    let mut card = Card::load(crate::LINUX_6_18, 1, &NicConfig { watchdog: true, ..config }).unwrap();
    let mut numbers = Vec::new();
    run(&mut card, &Pace::default(), &list, &mut |_, packet| numbers.push(packet.first)).unwrap();
    assert_eq!(numbers, (0..9).collect::<Vec<_>>());
}

#[test]
fn the_timer_counts_what_the_core_sleeps() {
    let list = [Timed { at: 1_000_000, lane: None, what: Happening::PollEnd }];
    let (card, report, _) = live(&list, 1, &NicConfig::default(), &Pace::default());
    let device = card.lanes()[0].device();
    assert!(device.read_wide(bar::TIMER) > 1_000_000 && report.cycles >= 1_000_000);
    assert!(device.cycles().unwrap() < 10_000 && report.lanes[0].busy < 1_000);
    assert_eq!(device.read_wide(bar::INSTRET), device.instructions());
}

//! The committed image against the userspace engine, and the driver against a device that misbehaves.

mod watchdog;
mod wrap;

use std::collections::HashSet;

use bytes::Bytes;
use gro_core::user::{self, Engine, Why};
use gro_core::{Bypass, Linux618, Meta, UdpMode, program_hash};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::abi::{bar, completion};
use crate::image::ImageBuilder;
use crate::machine::Stop;
use crate::traffic::{Random, Sender, hostile, senders};

fn image() -> Image {
    Image::parse(crate::LINUX_6_18).unwrap()
}

fn nic(config: NicConfig) -> Nic {
    Nic::new(&image(), &config).unwrap()
}

/// Both engines on the same events; every packet is compared when it leaves. An image of other sources may decide
/// otherwise, so then only the rules that hold for any engine are checked.
struct Pair {
    current: bool,
    nic: Nic,
    engine: Engine<Linux618>,
    expected: VecDeque<user::Delivered>,
    seen: HashSet<u32>,
    frames_out: u64,
}

impl Pair {
    fn new(config: NicConfig) -> Self {
        let nic = nic(config);
        let current = nic.program_hash() == program_hash::<Linux618>();
        if !current {
            eprintln!("skipped: comparison, image built from other sources; run `cargo xtask images`");
        }
        let engine = Engine::new(config.engine);
        Self { current, nic, engine, expected: VecDeque::new(), seen: HashSet::new(), frames_out: 0 }
    }

    fn post(&mut self, frame: Bytes, meta: Meta) {
        self.engine.receive(frame.clone(), meta, &mut |packet| self.expected.push_back(packet));
        self.nic.post(frame, meta);
    }

    fn event(&mut self, which: usize, time: u32) {
        let sink = &mut |packet| self.expected.push_back(packet);
        match which {
            0 => self.nic.tick(),
            1 => self.nic.flush(),
            2 => self.nic.time(time),
            _ => self.nic.poll_end(),
        }
        match which {
            0 => self.engine.tick(sink),
            1 => self.engine.flush(sink),
            2 => self.engine.set_time(time),
            _ => self.engine.poll_end(sink),
        }
    }

    fn deliver(&mut self) {
        let Self { current, nic, expected, seen, frames_out, .. } = self;
        nic.deliver(&mut |got| {
            assert!(seen.insert(got.first), "frame {} left twice", got.first);
            *frames_out += u64::from(got.segs);
            if !*current {
                return;
            }
            let want = expected.pop_front().expect("the device delivers more than userspace");
            assert_eq!(got.header, want.header, "frames {} to {}", want.first, want.last);
            assert_eq!(got.segments, want.segments);
            assert_eq!((got.gso_size, got.segs, got.gso_type), (want.gso_size, want.segs, want.gso_type));
            assert_eq!((got.first, got.last), (want.first, want.last));
            assert_eq!((got.meta.hash, got.meta.vlan), (want.meta.hash, want.meta.vlan));
            assert_eq!(got.why, want.why);
            // What a TAP device is told of it.
            match (got.into_virtio(), want.into_virtio()) {
                (Ok((form, got)), Ok((wanted, want))) => {
                    assert_eq!((form, got.header), (wanted, want.header))
                }
                (got, want) => assert!(got.is_err() && want.is_err(), "only one has a form for it"),
            }
        })
        .unwrap();
        assert!(!*current || expected.is_empty(), "the device still holds what userspace delivered");
    }
}

/// Segments of a few flows, many of them damaged, between all other events.
fn storm(config: NicConfig, frames: u32, seed: u64, oversized: bool) -> Pair {
    let mut random = Random(seed);
    let mut pair = Pair::new(config);
    let mut senders = senders(24);
    for n in 0..frames {
        let (frame, meta) = hostile(&mut random, &mut senders, n, oversized);
        pair.post(frame, meta);
        if random.below(40) == 0 {
            pair.event(random.below(6), n / 200);
        }
        if random.below(150) == 0 {
            pair.deliver();
        }
    }
    pair.event(1, 0);
    pair.deliver();
    if pair.current {
        let state = pair.engine.state();
        assert_eq!(pair.nic.digest(), state.digest.value());
        assert_eq!(pair.nic.counters(), state.counters);
    }
    assert_eq!(pair.frames_out, u64::from(frames), "every frame leaves exactly once");
    assert_eq!(pair.nic.device.read(bar::FREE_COUNT), pair.nic.config.buffers, "every buffer came back");
    pair
}

#[test]
fn hostile_frames_leave_exactly_once_and_as_from_userspace() {
    let pair = storm(NicConfig::default(), 100_000, 0x2545_f491_4f6c_dd1d, false);
    let counters = pair.nic.counters();
    assert!(counters.merged_segments > 5_000, "{counters:?}");
    assert!(counters.bypass[Bypass::Checksum as usize] > 100);
    // Memory between data and stack starts as zero: half of the stack's room was never touched.
    let image = image();
    let data = image.data.memory_size as usize;
    let unused = &pair.nic.device.core().unwrap().bus().dmem()[data..data + image.stack_size() as usize / 2];
    assert!(unused.iter().all(|&byte| byte == 0));
}

#[test]
fn tiny_rings_wrap_fill_and_lose_nothing() {
    for (rx_entries, completion_entries) in [(1, 1), (2, 1), (1, 2), (4096, 1), (16, 64), (4096, 1024)] {
        let config = NicConfig { rx_entries, completion_entries, ..NicConfig::default() };
        storm(config, 4_000, 99, false);
    }
}

#[test]
fn config_reaches_the_engine() {
    let engine = Config {
        gro_max_size: 3_000,
        gro_ipv4_max_size: 2_000,
        flush_timeout: 20_000,
        udp: UdpMode::Forwarding,
        ..Config::DEFAULT
    };
    storm(NicConfig { engine, ..NicConfig::default() }, 10_000, 7, false);
    storm(NicConfig { engine: Config::TC, ..NicConfig::default() }, 10_000, 8, false);
}

#[test]
fn frames_over_65535_bytes_are_counted_and_pass() {
    let pair = storm(NicConfig::default(), 20_000, 5, true);
    assert!(pair.nic.counters().bypass[Bypass::TooLong as usize] > 5);
}

#[test]
fn a_merged_packet_costs_no_copy_of_payload() {
    let mut nic = nic(NicConfig::default());
    let mut sender = Sender { v6: false, port: 80, seq: 1, id: 1 };
    let frames: Vec<Bytes> = (0..3).map(|_| sender.segment(1448, 0x10, 3).into()).collect();
    for frame in &frames {
        nic.post(frame.clone(), Meta::default());
    }
    nic.poll_end();
    let mut out = vec![];
    nic.deliver(&mut |packet| out.push(packet)).unwrap();
    assert_eq!((out.len(), out[0].segs, out[0].gso_size, out[0].l4), (1, 3, 1448, 34));
    for (segment, frame) in out[0].segments.iter().zip(&frames) {
        assert_eq!(segment.as_ptr(), frame[66..].as_ptr());
    }
    assert_eq!(out[0].header.len(), 66);
    assert!(nic.instructions() > 0 && nic.cycles() > Some(nic.instructions()));
}

#[test]
fn what_the_device_says_of_itself_is_what_it_was_built_from() {
    let image = image();
    let nic = Nic::new(&image, &NicConfig::default()).unwrap();
    assert_eq!(nic.program_hash(), image.program_hash);
    assert_eq!(image.profile, "linux-6.18");
    let mut imem = image.code.bytes.clone();
    imem.resize(image.memory.imem.size as usize, 0);
    assert_eq!(nic.measurement()[..], Sha256::digest(&imem)[..]);
}

#[test]
fn a_wrong_set_up_is_refused() {
    let refused = |change: fn(&mut NicConfig)| {
        let mut config = NicConfig::default();
        change(&mut config);
        Nic::new(&image(), &config).unwrap_err()
    };
    assert!(matches!(refused(|c| c.rx_entries = 3), NicError::Config { .. }));
    assert!(matches!(refused(|c| c.rx_entries = 8192), NicError::Config { .. }));
    assert!(matches!(refused(|c| c.completion_entries = 0), NicError::Config { .. }));
    assert!(matches!(refused(|c| c.buffers = 20_000), NicError::Config { .. }));
    assert!(matches!(refused(|c| c.run_limit = 10), NicError::Wedged(10)));

    let mut other = image();
    other.program_hash[0] ^= 1;
    assert!(matches!(Nic::new(&other, &NicConfig::default()), Err(NicError::ProgramHash)));
    let image = image();
    let idle = ImageBuilder {
        code: crate::image::Segment {
            address: image.entry,
            bytes: vec![0x73, 0x00, 0x50, 0x10, 0xf5, 0xbf],
            memory_size: 6,
        },
        ..image.into()
    };
    let idle = Image::parse(&idle.build().unwrap()).unwrap();
    assert!(matches!(Nic::new(&idle, &NicConfig::default()), Err(NicError::NotReady(0))));
}

#[test]
fn a_setting_that_the_image_does_not_take_is_refused_by_its_name() {
    let narrowed = |change: &dyn Fn(&mut crate::image::Parameter)| {
        let mut builder = ImageBuilder::from(image());
        builder.config.iter_mut().for_each(change);
        builder.build().unwrap()
    };
    let of = |file: &[u8], config: &NicConfig| {
        let image = Image::parse(file).unwrap();
        let both = [Nic::load(file, config).unwrap_err(), Nic::new(&image, config).unwrap_err()];
        for error in &both {
            assert!(matches!(error, NicError::Parameter { .. }), "{error}");
        }
        both[0].to_string()
    };
    let default = NicConfig::default();
    let with = |change: fn(&mut Config)| {
        let mut config = default;
        change(&mut config.engine);
        config
    };

    let short_ring = narrowed(&|it| {
        if it.name == "rx_entries" {
            (it.max, it.default) = (64, 64)
        }
    });
    assert_eq!(of(&short_ring, &default), "rx_entries is 256; the image takes a power of two from 1 to 64");
    let short = NicConfig { rx_entries: 64, ..default };
    assert!(Nic::load(&short_ring, &short).is_ok());

    let file = narrowed(&|it| match it.name.as_str() {
        "gro_max_size" => (it.min, it.max) = (1_000, 70_000),
        "tunnels" => it.max = 3,
        "hz" => (it.min, it.max) = (100, 1_000),
        _ => {}
    });
    let too_big = with(|config| config.gro_max_size = 70_001);
    assert_eq!(of(&file, &too_big), "gro_max_size is 70001; the image takes 1000 to 70000");
    let tunnels = with(|config| config.tunnels = 4);
    assert_eq!(of(&file, &tunnels), "tunnels is 4; the image takes a set of the bits in 0x3");
    assert_eq!(of(&file, &with(|config| config.hz = 99)), "hz is 99; the image takes 100 to 1000");

    // The same while it runs: nothing changes.
    let mut nic = Nic::load(&file, &default).unwrap();
    let error = nic.configure(too_big.engine, true).unwrap_err();
    assert_eq!(error.to_string(), "gro_max_size is 70001; the image takes 1000 to 70000");
    assert!(nic.has_nothing_pending());
    nic.configure(with(|config| config.gro_max_size = 70_000).engine, true).unwrap();
    nic.deliver(&mut |_| {}).unwrap();
    assert_eq!(nic.device.read(register::GRO_MAX_SIZE), 70_000);

    let mut card = crate::Card::load(&file, 2, &default).unwrap();
    assert!(matches!(card.configure(tunnels.engine, true), Err(crate::CardError::Lane { lane: 0, .. })));
    let what = crate::live::Happening::Configure(tunnels.engine, true);
    let list = [crate::live::Timed { at: 0, lane: Some(1), what }];
    let result = crate::live::run(&mut card, &crate::live::Pace::default(), &list, &mut |_, _| {});
    assert!(matches!(result, Err(crate::CardError::Lane { lane: 1, error: NicError::Parameter { .. } })));
}

#[test]
fn buffers_that_never_come_back_are_an_error_not_a_hang() {
    let mut nic = nic(NicConfig { buffers: 4, ..NicConfig::default() });
    let mut sender = Sender { v6: false, port: 80, seq: 1, id: 1 };
    for _ in 0..5 {
        nic.post(sender.segment(100, 0x10, 3).into(), Meta::default());
    }
    nic.poll_end();
    assert!(matches!(nic.deliver(&mut |_| {}), Err(NicError::NoBuffer(4))));
}

#[test]
fn a_lying_device_is_an_error_not_a_panic() {
    // A merged packet is held; then the "device" writes completions of random bytes, mostly plausible ones.
    let mut random = Random(42);
    for _ in 0..30 {
        let mut nic = nic(NicConfig::default());
        for _ in 0..200 {
            let mut sender = Sender { v6: false, port: 80, seq: 1, id: 1 };
            for _ in 0..3 {
                nic.post(sender.segment(100, 0x10, 3).into(), Meta::default());
            }
            nic.deliver(&mut |_| {}).unwrap();
            let slot = (nic.completed & (nic.config.completion_entries - 1)) as usize;
            let start = packet::COMPLETION_RING as usize + 64 * slot;
            let id = nic.completed;
            let entry = &mut nic.device.core_mut().unwrap().bus_mut().packet_mut()[start..start + 64];
            for byte in entry.iter_mut() {
                *byte = if random.below(2) == 0 { 0 } else { random.below(256) as u8 };
            }
            entry[0] = random.below(4) as u8;
            entry[2] = random.below(30) as u8;
            entry[completion::ID as usize..][..4].copy_from_slice(&id.to_le_bytes());
            entry[completion::SCATTER_COUNT as usize..][..4].copy_from_slice(&[
                random.below(5) as u8,
                0,
                0,
                0,
            ]);
            let produced = id + random.below(3) as u32;
            nic.device.core_mut().unwrap().set_register(register::COMPLETION_PRODUCER, produced);
            let _ = nic.drain(u32::MAX, &mut |_| {});
            // Whatever was believed, go on with a device that agrees about the count.
            nic.flush();
            if nic.deliver(&mut |_| {}).is_err() {
                break;
            }
        }
    }
}

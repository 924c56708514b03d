//! The committed image against the userspace engine, and the driver against a device that misbehaves.

use std::collections::HashSet;

use gro_core::checksum::{field, halves};
use gro_core::user::{self, Engine};
use gro_core::{Bypass, Linux618, UdpMode, program_hash};

use super::*;
use crate::abi::completion;
use crate::image::ImageBuilder;

fn image() -> Image {
    Image::parse(crate::LINUX_6_18).unwrap()
}

fn nic(config: NicConfig) -> Nic {
    Nic::new(&image(), &config).unwrap()
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// One TCP connection that sends.
#[derive(Clone)]
struct Sender {
    v6: bool,
    port: u16,
    seq: u32,
    id: u16,
}

impl Sender {
    fn segment(&mut self, payload: usize, flags: u8, options: usize) -> Vec<u8> {
        let mut tcp = vec![];
        tcp.extend(self.port.to_be_bytes());
        tcp.extend([1, 187]);
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend([0, 0, 0, 9, (5 + options as u8) << 4, flags, 2, 0, 0, 0, 0, 0]);
        tcp.resize(20 + 4 * options, 1);
        tcp.extend((0..payload).map(|at| (at as u32 ^ self.seq) as u8));
        let mut frame = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02");
        let addresses: Vec<u8> = if self.v6 { (1..=32).collect() } else { vec![10, 0, 0, 1, 10, 0, 0, 2] };
        let pseudo = u32::from(user::sum(&addresses)) + 6 + halves(tcp.len() as u32);
        let check = field(pseudo + u32::from(user::sum(&tcp)));
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        if self.v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 7]);
            frame.extend((tcp.len() as u16).to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(addresses);
        } else {
            let mut ip = vec![0x45, 0];
            ip.extend((tcp.len() as u16 + 20).to_be_bytes());
            ip.extend(self.id.to_be_bytes());
            ip.extend([0x40, 0, 64, 6, 0, 0]);
            ip.extend(addresses);
            let check = field(u32::from(user::sum(&ip)));
            ip[10..12].copy_from_slice(&check.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        frame.extend(tcp);
        self.seq = self.seq.wrapping_add(payload as u32);
        self.id = self.id.wrapping_add(1);
        frame
    }
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
    let mut senders: Vec<_> =
        (0..24).map(|n| Sender { v6: n % 3 == 0, port: n, seq: u32::from(n) << 28, id: 65_530 }).collect();
    for n in 0..frames {
        let which = random.below(senders.len());
        let sender = &mut senders[which];
        let payload = match random.below(40) {
            0 => 0,
            1 => random.below(9000),
            2..=20 => 100,
            _ => random.below(100) + 1,
        };
        let flags = if random.below(12) == 0 { random.below(256) as u8 } else { 0x10 };
        let options = if random.below(20) == 0 { random.below(11) } else { 3 };
        let mut frame = sender.segment(payload, flags, options);
        match random.below(24) {
            0 => frame.truncate(random.below(frame.len() + 1)),
            1 => frame.resize(frame.len() + random.below(70), 0), // a trailer
            2 => (0..frame.len()).step_by(random.below(30) + 1).for_each(|at| frame[at] ^= at as u8),
            3..=6 => {
                // A lying length, a broken checksum, an odd option list, a reserved bit.
                let at = random.below(frame.len().min(90));
                frame[at] = random.below(256) as u8;
            }
            7 if n % 50 == 0 => frame.resize(random.below(65_536), 0x55),
            8 if oversized && n % 50 == 0 => frame.resize(65_536 + random.below(10_000), 0x55),
            9 => frame.clear(),
            _ => {}
        }
        let meta = Meta {
            hash: which as u32 * 7,
            vlan: if which == 5 { 0x8100_0064 } else { 0 },
            verified: random.below(3) == 0,
        };
        pair.post(frame.into(), meta);
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
    assert_eq!(pair.nic.free.len(), pair.nic.config.buffers as usize, "every buffer came back");
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
    let unused = &pair.nic.core.bus().dmem()[data..data + image.stack_size() as usize / 2];
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
        program_hash: image.program_hash,
        source_hash: image.source_hash,
        profile: image.profile,
        entry: image.entry,
        code: crate::image::Segment {
            address: image.entry,
            bytes: vec![0x73, 0x00, 0x50, 0x10, 0xf5, 0xbf],
            memory_size: 6,
        },
        data: image.data,
        memory: image.memory,
        rules: image.rules,
    };
    let idle = Image::parse(&idle.build().unwrap()).unwrap();
    assert!(matches!(Nic::new(&idle, &NicConfig::default()), Err(NicError::NotReady(0))));
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
            let entry = &mut nic.core.bus_mut().packet_mut()[start..start + 64];
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
            nic.core.set_register(register::COMPLETION_PRODUCER, id + random.below(3) as u32);
            let _ = nic.drain(&mut |_| {});
            // Whatever was believed, go on with a device that agrees about the count.
            nic.flush();
            if nic.deliver(&mut |_| {}).is_err() {
                break;
            }
        }
    }
}

//! The burst engine against the core alone: equal decisions, packets and counters, whatever comes and however it is cut into bursts.

use super::shortcut::Stream;
use super::*;
use crate::Plain;
use crate::stats::Counters;
use crate::user::burst::{Check, Frame, Isa, Memory, Packet, Queue, Summed};

/// A packet in one piece, with all that is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whole {
    bytes: Vec<u8>,
    segs: u32,
    gso: (u16, u32),
    frames: (u32, u32),
    meta: Meta,
    why: Why,
    virtio: Option<VirtioNetHdr>,
}

impl Whole {
    fn of(packet: &Packet<'_>) -> Self {
        Self {
            bytes: packet.iov().iter().flat_map(|part| part.to_vec()).collect(),
            segs: packet.segs(),
            gso: (packet.gso_size(), packet.gso_type()),
            frames: (packet.first(), packet.last()),
            meta: packet.meta(),
            why: packet.why(),
            virtio: packet.virtio(),
        }
    }

    fn from_plain(packet: Delivered, summed: Summed) -> Self {
        let (virtio, packet) = match summed {
            Summed::Complete => ((packet.segs <= 1).then(VirtioNetHdr::default), packet),
            Summed::Partial => match packet.into_virtio() {
                Ok((virtio, packet)) => (Some(virtio), packet),
                Err(packet) => (None, packet),
            },
        };
        Self {
            bytes: packet.to_vec(),
            segs: packet.segs,
            gso: (packet.gso_size, packet.gso_type),
            frames: (packet.first, packet.last),
            meta: packet.meta,
            why: packet.why,
            virtio,
        }
    }
}

enum Do {
    Frame(Bytes, Meta),
    PollEnd,
    Time(u32),
    Tick,
}

/// The frame in a tunnel that is always the same for its flow, damaged now and then.
fn in_tunnel(frame: &[u8], n: u32, stream: &mut Stream) -> Bytes {
    let (flow, is_v6) = (stream.which as u8, frame[12] == 0x86);
    let (protocol, inner) = match flow % 4 {
        0 => {
            // Of one flow the outer checksum is wrong, which only matters where nobody vouched for it.
            let check = if flow == 8 { 0x1234 } else { 0 };
            let udp = [50_000, 4789, frame.len() as u16 + 16, check].map(u16::to_be_bytes).concat();
            (17, [&udp[..], &[8, 0, 0, 0, 0, 0, flow, 0], frame].concat())
        }
        1 => (47, [&[0, 0], &frame[12..]].concat()),
        _ => (if is_v6 { 41 } else { 4 }, frame[14..].to_vec()),
    };
    let id = if flow.is_multiple_of(2) { n as u16 } else { 7 };
    let mut outer = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02".to_vec();
    if flow % 4 == 3 {
        outer.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        outer.extend((inner.len() as u16).to_be_bytes());
        outer.extend([protocol, 64]);
        outer.extend([flow & 4; 32]);
    } else {
        let mut ip = vec![0x45, 0];
        ip.extend((inner.len() as u16 + 20).to_be_bytes());
        ip.extend(id.to_be_bytes());
        ip.extend([if flow < 6 { 0x40 } else { 0 }, 0, 64, protocol, 0, 0, 10, 9, 9, flow & 4, 10, 9, 9, 1]);
        match stream.below(200) {
            0 => ip[1] = n as u8,
            1 => ip[3] ^= 1,
            2 => ip[5] = n as u8,
            3 => ip[6] ^= 0x80,
            _ => {}
        }
        let check = field(u32::from(sum(&ip)));
        ip[10..12].copy_from_slice(&check.to_be_bytes());
        outer.extend([8, 0]);
        outer.extend(ip);
    }
    let mut bytes = [outer, inner].concat();
    if stream.below(200) == 0 {
        let at = stream.below(bytes.len().min(110) as u64) as usize;
        bytes[at] ^= 1 << stream.below(8);
    }
    bytes.into()
}

fn script(seed: u64, frames: u32) -> Vec<Do> {
    let mut stream = if seed.is_multiple_of(2) { Stream::new(seed / 2) } else { Stream::bulk(seed / 2) };
    let (mut script, events) = (vec![], if seed.is_multiple_of(4) { 30 } else { 200 });
    for n in 0..frames {
        let (mut frame, meta) = stream.frame();
        if seed.is_multiple_of(3) && (14..60_000).contains(&frame.len()) {
            frame = in_tunnel(&frame, n, &mut stream);
        }
        script.push(Do::Frame(frame, meta));
        match stream.below(events) {
            0 => script.push(Do::PollEnd),
            1 => script.push(Do::Time(n / 64)),
            2 => script.push(Do::Tick),
            _ => {}
        }
    }
    script
}

fn plain<P: Profile>(script: &[Do], config: Config, summed: Summed) -> (Vec<Whole>, u64, Counters) {
    let mut out = vec![];
    let mut sink = |packet: Delivered| out.push(Whole::from_plain(packet, summed));
    let mut engine = Engine::<Plain<P>>::new(config);
    for what in script {
        match what {
            Do::Frame(frame, meta) => _ = engine.receive(frame.clone(), *meta, &mut sink),
            Do::PollEnd => engine.poll_end(&mut sink),
            Do::Time(jiffies) => engine.set_time(*jiffies),
            Do::Tick => engine.tick(&mut sink),
        }
    }
    engine.flush(&mut sink);
    let state = *engine.state();
    (out, state.digest.value(), state.counters)
}

fn bursts<P: Profile>(
    script: &[Do],
    config: Config,
    (isa, summed): (Isa, Summed),
) -> (Vec<Whole>, u64, Counters) {
    let mut out = vec![];
    let mut sink = |packet: &Packet<'_>| out.push(Whole::of(packet));
    let mut memory = Memory::<256>::EMPTY;
    let queue = Queue::<P, _, 256>::with_memory(config, &mut memory);
    let mut queue = queue.at_most(isa).summed(summed);
    let mut session = queue.session();
    let mut burst = vec![];
    for what in script {
        if !matches!(what, Do::Frame(..)) {
            session.receive(&burst, &mut sink);
            burst.clear();
        }
        match what {
            Do::Frame(frame, meta) => {
                let check = if meta.verified {
                    Check::Unnecessary
                } else if frame.len().is_multiple_of(3) {
                    Check::Complete(sum(frame))
                } else {
                    Check::None
                };
                burst.push(Frame::new(frame).hash(meta.hash).vlan(meta.vlan).check(check));
            }
            Do::PollEnd => session.poll_end(&mut sink),
            Do::Time(jiffies) => session.set_time(*jiffies),
            Do::Tick => session.tick(&mut sink),
        }
    }
    session.receive(&burst, &mut sink);
    session.flush(&mut sink);
    drop(session);
    assert_eq!(queue.early(), 0);
    (out, queue.state().digest.value(), queue.state().counters)
}

fn compare<P: Profile>(config: Config, seeds: core::ops::Range<u64>) {
    let mut joined = 0;
    for seed in seeds {
        let script = script(seed, 2_000);
        for summed in [Summed::Complete, Summed::Partial] {
            let plain = plain::<P>(&script, config, summed);
            for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
                let bursts = bursts::<P>(&script, config, (isa, summed));
                for (number, (burst, plain)) in bursts.0.iter().zip(&plain.0).enumerate() {
                    assert_eq!(burst, plain, "{}, seed {seed}, {isa:?}, packet {number}", P::NAME);
                }
                assert!(bursts == plain, "{}, seed {seed}, {isa:?}: packets, digest or counters", P::NAME);
                joined += bursts.2.merged_segments;
            }
        }
    }
    assert!(joined > 5_000, "too few joined to say anything: {joined}");
}

#[test]
fn bursts_are_decided_as_by_the_core_alone() {
    let tunnels = Config::DEFAULT.tunnels | crate::tunnel::VXLAN;
    let timed =
        Config { flush_timeout: 20_000, udp: UdpMode::Forwarding, hz: 1000, tunnels, ..Config::DEFAULT };
    let udp = Config { udp: UdpMode::Forwarding, tunnels, ..Config::DEFAULT };
    let small = Config { gro_max_size: 700, gro_ipv4_max_size: 900, ..udp };
    let big = Config { gro_max_size: 500_000, gro_ipv4_max_size: 500_000, ..timed };
    for config in [Config::DEFAULT, udp, timed, small, big] {
        compare::<Linux612>(config, 0..12);
        compare::<Linux618>(config, 12..24);
        compare::<Linux7>(config, 24..36);
    }
}

/// Little enough for Miri: `cargo +nightly miri test -p gro-core --features user --lib a_little_of_everything`, also with
/// `-Ctarget-cpu=x86-64-v3`.
#[test]
fn a_little_of_everything() {
    let tunnels = Config::DEFAULT.tunnels | crate::tunnel::VXLAN;
    let config = Config { udp: UdpMode::Forwarding, tunnels, ..Config::DEFAULT };
    for seed in [1, 3] {
        let script = script(seed, 150);
        for (isa, summed) in [(Isa::Baseline, Summed::Complete), (Isa::Avx2, Summed::Partial)] {
            let plain = plain::<Linux618>(&script, config, summed);
            assert!(bursts::<Linux618>(&script, config, (isa, summed)) == plain, "seed {seed}, {isa:?}");
            assert!(
                plain.2.merged_segments > 10,
                "too few joined to say anything: {}",
                plain.2.merged_segments
            );
        }
    }
}

/// `count` segments of one flow, the last one with PSH if `push`.
fn flow(count: u32, len: usize, push: bool) -> Vec<Bytes> {
    let segment = |n: u32| {
        let flags = if push && n + 1 == count { 0x18 } else { 0x10 };
        Seg { seq: 5000 + n * len as u32, len, flags, ..seg(n) }.bytes()
    };
    (0..count).map(segment).collect()
}

fn frames(bytes: &[Bytes]) -> Vec<Frame<'_>> {
    bytes.iter().map(|bytes| Frame::new(bytes)).collect()
}

#[test]
fn long_lists_come_in_one_piece() {
    let config = Config { gro_ipv4_max_size: 500_000, ..Config::DEFAULT };
    for count in [14, 15, 16, 17, 31, 32, 63, 64, 65, 200, 480] {
        let script: Vec<Do> =
            flow(count, 1000, false).into_iter().map(|frame| Do::Frame(frame, Meta::default())).collect();
        let (plain, ..) = plain::<Linux618>(&script, config, Summed::Complete);
        let (bursts, ..) = bursts::<Linux618>(&script, config, (Isa::Avx512, Summed::Complete));
        assert_eq!(plain.len(), 1, "{count}");
        assert!(plain == bursts, "{count}");
    }
}

#[test]
fn datagrams_merge_up_to_64_of_any_length() {
    for (len, v6, last) in
        [(1, false, 1), (100, true, 40), (101, false, 101), (1447, false, 3), (640, true, 641)]
    {
        let datagram =
            |n: u32| Seg { udp: true, v6, len: if n == 149 { last } else { len }, ..seg(n) }.bytes();
        let script: Vec<Do> = (0..150).map(|n| Do::Frame(datagram(n), Meta::default())).collect();
        let config = Config { udp: UdpMode::Forwarding, ..Config::DEFAULT };
        for summed in [Summed::Complete, Summed::Partial] {
            let plain = plain::<Linux618>(&script, config, summed);
            let most = plain.0.iter().map(|packet| packet.segs).max();
            assert_eq!(most, Some(if len > 1000 { 65_507 / len as u32 } else { 64 }), "{len}");
            for isa in [Isa::Baseline, Isa::Avx512] {
                assert!(plain == bursts::<Linux618>(&script, config, (isa, summed)), "{len}, {isa:?}");
            }
        }
    }
}

#[test]
fn little_memory_has_packets_leave_early_and_loses_nothing() {
    let sent = flow(100, 10, false);
    let mut memory = Memory::<66>::EMPTY;
    let mut queue = Queue::<Linux618, _, 66>::with_memory(Config::DEFAULT, &mut memory);
    for _ in 0..3 {
        let (mut payload, mut segs) = (vec![], 0);
        queue.poll(&frames(&sent), &mut |packet| {
            segs += packet.segs();
            let header = if packet.segs() > 1 { packet.iov()[0].len() } else { 54 };
            let all: Vec<u8> = packet.iov().iter().flat_map(|part| part.to_vec()).collect();
            payload.extend_from_slice(&all[header..]);
        });
        let expected: Vec<u8> = sent.iter().flat_map(|frame| frame[54..].to_vec()).collect();
        assert_eq!((segs, payload), (100, expected));
    }
    // 15 slices, 16 in each of two more chunks, and then there are no more.
    assert_eq!(queue.early(), 3 * 2);
}

#[test]
fn a_chunk_that_was_of_no_use_comes_back() {
    let mut sent = flow(15, 100, false);
    sent.push(Seg { ack: 10, ..seg(15) }.bytes());
    let mut queue = Queue::<Linux618>::new(Config::DEFAULT);
    for _ in 0..1000 {
        queue.poll(&frames(&sent), &mut |_| {});
    }
    assert_eq!(queue.early(), 0);
}

#[test]
fn no_list_is_longer_than_a_writev_takes() {
    let sent = flow(2000, 2, false);
    let config = Config { gro_ipv4_max_size: 500_000, ..Config::DEFAULT };
    let mut memory = Memory::<256>::EMPTY;
    let mut queue = Queue::<Linux618, _, 256>::with_memory(config, &mut memory);
    let mut lists = vec![];
    queue.poll(&frames(&sent), &mut |packet| lists.push(packet.iov().len()));
    assert_eq!(lists.iter().sum::<usize>(), 2000 + lists.len());
    assert_eq!((lists[0], queue.early()), (1024, 1));
}

#[test]
fn a_session_that_is_leaked_leaves_nothing_to_the_next() {
    let mut queue = Queue::<Linux618>::new(Config::DEFAULT);
    {
        let sent = flow(3, 100, false);
        let mut session = queue.session();
        session.receive(&frames(&sent), &mut |_| panic!("nothing leaves yet"));
        core::mem::forget(session);
    }
    let sent = flow(2, 100, false);
    let mut left = vec![];
    queue.poll(&frames(&sent), &mut |packet| left.push((packet.segs(), packet.first())));
    assert_eq!(left, [(2, 3)]);
}

#[test]
fn a_poll_delivers_what_a_timeout_would_keep() {
    let mut queue = Queue::<Linux618>::new(Config { flush_timeout: 20_000, ..Config::DEFAULT });
    let sent = flow(2, 100, false);
    let mut left = 0;
    queue.poll(&frames(&sent), &mut |packet| left += packet.segs());
    assert_eq!(left, 2);
}

#[test]
fn the_usual_memory_is_small_and_enough_for_long_polls() {
    assert!(size_of::<Memory>() <= 64 << 10, "{}", size_of::<Memory>());
    // The worst poll of 256 frames: as many packets as can be that need one chunk more.
    let flows: Vec<Vec<Bytes>> = (0..16)
        .map(|port| (0..16).map(|n| Seg { port, len: 100, seq: 5000 + 100 * n, ..seg(n) }.bytes()).collect())
        .collect();
    let mut queue = Queue::<Linux618>::new(Config::DEFAULT);
    let mut burst = vec![];
    for n in 0..16 {
        burst.extend(flows.iter().enumerate().map(|(hash, flow)| Frame::new(&flow[n]).hash(hash as u32)));
    }
    let mut segs = vec![];
    queue.poll(&burst, &mut |packet| segs.push(packet.segs()));
    assert_eq!((segs, queue.early()), (vec![16; 16], 0));
}

#[test]
fn identifications_and_header_checksums_go_round() {
    let check_of = |frame: &[u8]| u16::from_be_bytes([frame[24], frame[25]]);
    // With this identification the checksum is 0, and both zeros are right.
    let zero = (0..=u16::MAX)
        .find(|&id| check_of(&Seg { id, len: 100, ..seg(0) }.bytes()) == 0)
        .expect("one of all identifications has it");
    // What one of 20 segments has instead of the right checksum.
    let wrong: [fn(u16, u16) -> u16; 4] =
        [|right, _| right, |_, before| before.wrapping_sub(1), |_, before| before, |right, _| !right];
    let mut joined = 0;
    for (start, change, fixed) in [0xfff4, zero - 10]
        .into_iter()
        .flat_map(|start| wrong.map(|change| (start, change)))
        .flat_map(|(start, change)| [(start, change, false), (start, change, true)])
    {
        let mut before = 0;
        let segment = |n: u16| {
            let id = if fixed { start } else { start.wrapping_add(n) };
            let mut frame = Vec::from(Seg { id, seq: 100 * u32::from(n), len: 100, ..seg(0) }.bytes());
            let right = check_of(&frame);
            if [0, zero, zero.wrapping_add(1)].contains(&id) {
                frame[24..26].copy_from_slice(&change(right, before).to_be_bytes());
            }
            before = right;
            Do::Frame(frame.into(), Meta { verified: true, ..Meta::default() })
        };
        let script: Vec<Do> = (0..20).map(segment).collect();
        let plain = plain::<Linux618>(&script, Config::DEFAULT, Summed::Complete);
        for isa in [Isa::Baseline, Isa::Avx2, Isa::Avx512] {
            let bursts = bursts::<Linux618>(&script, Config::DEFAULT, (isa, Summed::Complete));
            assert!(bursts == plain, "from {start:#x}, {isa:?}");
        }
        joined += plain.2.merged_segments;
    }
    assert!(joined > 200, "too few joined to say anything: {joined}");
}

#[test]
fn a_visitor_that_panics_sees_no_packet_twice() {
    extern crate std;
    let flows: Vec<Vec<Bytes>> = [80, 81, 82]
        .map(|port| (0..3).map(|n| Seg { port, len: 100, seq: 5000 + 100 * n, ..seg(n) }.bytes()).collect())
        .into();
    let mut queue = Queue::<Linux618>::new(Config::DEFAULT);
    let mut session = queue.session();
    for flow in &flows {
        session.receive(&frames(flow), &mut |_| panic!("nothing leaves yet"));
    }
    let mut seen = vec![];
    for round in 0..4 {
        let flushed = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            session.flush(&mut |packet| {
                seen.push((packet.first(), packet.segs(), packet.len()));
                panic!("a visitor's own fault");
            });
        }));
        assert_eq!(flushed.is_err(), round < 3);
    }
    assert_eq!(seen, [0, 3, 6].map(|first| (first, 3, 54 + 300)));
}

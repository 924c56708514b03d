//! The rules of the kernel, as tables (verdicts and outputs measured on Linux 6.18), and what must hold for any input.

use super::*;
use crate::checksum::{field, halves};
use crate::datapath::{GroResult, Meta};
use crate::{Bypass, Config, FlushReason, Linux7, Linux612, Linux618, Profile, UdpMode};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

mod burst;
mod config;
mod shortcut;
mod tunnels;
mod virtio;

/// A TCP segment; the default is the `n`th of a flow of 1000-byte segments.
#[derive(Clone)]
struct Seg {
    v6: bool,
    udp: bool,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    urgent: u16,
    len: usize,
    id: u16,
    fragment: u16,
    tos: u8,
    ttl: u8,
    label: u32,
    port: u16,
    options: Vec<u8>,
    extensions: (u8, Vec<u8>),
    trailer: usize,
    break_l4: bool,
}

fn seg(n: u32) -> Seg {
    Seg {
        v6: false,
        udp: false,
        seq: 5000 + 1000 * n,
        ack: 9,
        flags: 0x10,
        window: 500,
        urgent: 0,
        len: 1000,
        id: 100 + n as u16,
        fragment: 0x4000,
        tos: 0,
        ttl: 64,
        label: 7,
        port: 80,
        options: vec![],
        extensions: (6, vec![]),
        trailer: 0,
        break_l4: false,
    }
}

impl Seg {
    fn bytes(&self) -> Bytes {
        let mut l4 = vec![];
        l4.extend(self.port.to_be_bytes());
        l4.extend(443_u16.to_be_bytes());
        if self.udp {
            l4.extend((self.len as u16 + 8).to_be_bytes());
            l4.extend([0, 0]);
        } else {
            l4.extend(self.seq.to_be_bytes());
            l4.extend(self.ack.to_be_bytes());
            l4.extend([((20 + self.options.len()) as u8) << 2, self.flags]);
            l4.extend(self.window.to_be_bytes());
            l4.extend([0, 0]);
            l4.extend(self.urgent.to_be_bytes());
            l4.extend(&self.options);
        }
        l4.extend((0..self.len).map(|at| (at as u32).wrapping_mul(37).wrapping_add(self.seq) as u8));
        let (protocol, at) = if self.udp { (17, 6) } else { (6, 16) };
        let mut frame = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02");
        let addresses: Vec<u8> = if self.v6 { (1..=32).collect() } else { vec![10, 0, 0, 1, 10, 0, 0, 2] };
        let pseudo = u32::from(sum(&addresses)) + u32::from(protocol) + l4.len() as u32;
        let check = field(pseudo + u32::from(sum(&l4))) ^ if self.break_l4 { 0x5555 } else { 0 };
        l4[at..at + 2].copy_from_slice(&check.to_be_bytes());
        if self.v6 {
            frame.extend([0x86, 0xdd]);
            let first = 6 << 28 | u32::from(self.tos) << 20 | self.label;
            frame.extend(first.to_be_bytes());
            frame.extend(((l4.len() + self.extensions.1.len()) as u16).to_be_bytes());
            let next = if self.extensions.1.is_empty() { protocol } else { self.extensions.0 };
            frame.extend([next, self.ttl]);
            frame.extend(addresses);
            frame.extend(&self.extensions.1);
        } else {
            let mut ip = vec![0x45, self.tos];
            ip.extend(((l4.len() + 20) as u16).to_be_bytes());
            ip.extend(self.id.to_be_bytes());
            ip.extend(self.fragment.to_be_bytes());
            ip.extend([self.ttl, protocol, 0, 0]);
            ip.extend(addresses);
            let check = field(u32::from(sum(&ip)));
            ip[10..12].copy_from_slice(&check.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        frame.extend(l4);
        frame.resize(frame.len() + self.trailer, 0);
        frame.into()
    }
}

fn run_with(config: Config, frames: impl IntoIterator<Item = (Bytes, Meta)>) -> (String, Vec<Delivered>) {
    run_as::<Linux618>(config, frames)
}

fn run_as<P: Profile>(
    config: Config,
    frames: impl IntoIterator<Item = (Bytes, Meta)>,
) -> (String, Vec<Delivered>) {
    let mut engine = Engine::<P>::new(config);
    let mut out = vec![];
    let mut verdicts = String::new();
    for (frame, meta) in frames {
        let result = engine.receive(frame, meta, &mut |packet| out.push(packet));
        verdicts.push(match result {
            GroResult::Merged => 'M',
            GroResult::Held => 'H',
            GroResult::Normal => 'N',
        });
    }
    engine.poll_end(&mut |packet| out.push(packet));
    (verdicts, out)
}

fn run(segments: &[Seg]) -> (String, Vec<u32>) {
    let frames = segments.iter().map(|seg| (seg.bytes(), Meta::default()));
    let (verdicts, out) = run_with(Config::DEFAULT, frames);
    (verdicts, out.iter().map(|packet| packet.segs).collect())
}

/// `count` segments, each changed by `change(index, segment)`, over IPv4 and over IPv6.
fn check(name: &str, count: u32, change: impl Fn(u32, &mut Seg), verdicts: &str, out: &[u32]) {
    for v6 in [false, true] {
        let segments: Vec<Seg> = (0..count)
            .map(|n| {
                let mut segment = Seg { v6, ..seg(n) };
                change(n, &mut segment);
                segment
            })
            .collect();
        let (got_verdicts, got_out) = run(&segments);
        assert_eq!((got_verdicts.as_str(), got_out.as_slice()), (verdicts, out), "{name}, v6 {v6}");
    }
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const URG: u8 = 32;
const ECE: u8 = 64;
const CWR: u8 = 128;

fn flag(on: impl Fn(u32) -> bool, bits: u8) -> impl Fn(u32, &mut Seg) {
    move |n, segment| segment.flags |= if on(n) { bits } else { 0 }
}

#[test]
fn tcp_rules_as_measured() {
    check("in order", 5, |_, _| {}, "HMMMM", &[5]);
    check("psh", 5, flag(|n| n == 2, PSH), "HMMHM", &[3, 2]);
    check("psh on all", 4, flag(|_| true, PSH), "NNNN", &[1, 1, 1, 1]);
    check("fin", 5, flag(|n| n == 2, FIN), "HMMHM", &[3, 2]);
    check("syn first", 3, flag(|n| n == 0, SYN), "NHM", &[1, 2]);
    check("rst", 5, flag(|n| n == 2, RST), "HMNHM", &[2, 1, 2]);
    check("urg", 5, flag(|n| n == 2, URG), "HMNHM", &[2, 1, 2]);
    check("ece on all", 4, flag(|_| true, ECE), "HMMM", &[4]);
    check("ece on third", 5, flag(|n| n == 2, ECE), "HMHHM", &[2, 1, 2]);
    check("cwr first", 3, flag(|n| n == 0, CWR), "HHM", &[1, 2]);
    check("cwr second", 3, flag(|n| n == 1, CWR), "HHH", &[1, 1, 1]);
    check("cwr last", 3, flag(|n| n == 2, CWR), "HMH", &[2, 1]);
    check("no ack flag", 3, |_, s| s.flags = 0, "HMM", &[3]);
    check("ack differs", 5, |n, s| s.ack += u32::from(n >= 2), "HMHMM", &[2, 3]);
    check("window differs", 5, |n, s| s.window += u16::from(n >= 2), "HMHMM", &[2, 3]);
    check("urgent pointer alone", 3, |n, s| s.urgent = n as u16, "HMM", &[3]);
    check("bad checksum", 5, |n, s| s.break_l4 = n == 2, "HMNHM", &[1, 2, 2]);
    check("sequence wraps", 4, |_, s| s.seq = s.seq.wrapping_sub(7000), "HMMM", &[4]);
    let swapped = |n: u32, s: &mut Seg| *s = Seg { v6: s.v6, ..seg([0, 1, 3, 2, 4, 5][n as usize]) };
    check("swap 3 and 4", 6, swapped, "HMHHHM", &[2, 1, 1, 2]);
    let timestamps =
        |n: u32, s: &mut Seg| s.options = vec![1, 1, 8, 10, 0, 0, 0, u8::from(n >= 2), 0, 0, 0, 1];
    check("timestamps", 5, timestamps, "HMHMM", &[2, 3]);
    let options = |n: u32, s: &mut Seg| s.options = vec![1; if n == 1 { 8 } else { 4 }];
    check("option length", 3, options, "HHH", &[1, 1, 1]);
}

#[test]
fn payload_rules_as_measured() {
    let lens = |lens: &'static [usize]| {
        move |n: u32, s: &mut Seg| {
            s.len = lens[n as usize];
            s.seq = 5000 + lens[..n as usize].iter().sum::<usize>() as u32;
        }
    };
    check("smaller in the middle", 4, lens(&[1000, 1000, 500, 1000]), "HMMH", &[3, 1]);
    check("larger third", 4, lens(&[500, 500, 1000, 1000]), "HMHM", &[2, 2]);
    check("large, small", 2, lens(&[100, 50]), "HM", &[2]);
    check("small, large", 2, lens(&[50, 100]), "HH", &[1, 1]);
    check("pure ack between", 4, lens(&[1000, 0, 1000, 1000]), "HNHM", &[1, 1, 2]);
    check("odd lengths", 4, lens(&[333, 333, 333, 5]), "HMMM", &[4]);
    check("padded", 3, |n, s| s.trailer = usize::from(n == 1), "HNH", &[1, 1, 1]);
    check("padded and bad", 2, |n, s| (s.trailer, s.break_l4) = (usize::from(n == 1), n == 1), "HN", &[1, 1]);
}

#[test]
fn ip_rules_as_measured() {
    check("tos", 3, |n, s| s.tos = u8::from(n == 1), "HHH", &[1, 1, 1]);
    check("ttl", 3, |n, s| s.ttl -= u8::from(n == 1), "HHH", &[1, 1, 1]);
    let ids =
        |ids: &[u16]| run(&ids.iter().zip(0..).map(|(&id, n)| Seg { id, ..seg(n) }).collect::<Vec<_>>()).1;
    assert_eq!(ids(&[5, 6, 8]), [2, 1]);
    assert_eq!(ids(&[5, 5, 6]), [2, 1]);
    assert_eq!(ids(&[65535, 0, 1]), [3]);
    assert_eq!(ids(&[8, 8, 8]), [3]);
    let df = |n: u32| Seg { fragment: if n == 1 { 0 } else { 0x4000 }, ..seg(n) };
    assert_eq!(run(&[df(0), df(1), df(2)]).1, [1, 1, 1]);
    let reserved = |n: u32| Seg { fragment: if n == 1 { 0xc000 } else { 0x4000 }, ..seg(n) };
    assert_eq!(run(&[reserved(0), reserved(1), reserved(2)]), ("HNH".into(), vec![1, 1, 1]));
    let fragment = |n: u32| Seg { fragment: if n == 1 { 0x2000 } else { 0x4000 }, ..seg(n) };
    assert_eq!(run(&[fragment(0), fragment(1), fragment(2)]), ("HNH".into(), vec![1, 1, 1]));
    let label = |n: u32| Seg { v6: true, label: n, ..seg(n) };
    assert_eq!(run(&[label(0), label(1)]), ("HH".into(), vec![1, 1]));
    let options =
        |n: u32, last: u8| Seg { v6: true, extensions: (60, vec![6, 0, 1, 4, 0, 0, 0, last]), ..seg(n) };
    assert_eq!(run(&[options(0, 0), options(1, 0), options(2, 1)]), ("HMH".into(), vec![2, 1]));
}

#[test]
fn udp_rules() {
    let forwarding = Config { udp: UdpMode::Forwarding, ..Config::DEFAULT };
    for v6 in [false, true] {
        let run = |config: Config, segments: Vec<Seg>| {
            let frames =
                segments.iter().map(|seg| (Seg { v6, udp: true, ..seg.clone() }.bytes(), Meta::default()));
            let (verdicts, out) = run_with(config, frames);
            (verdicts, out.iter().map(|packet| packet.segs).collect::<Vec<_>>())
        };
        let lens =
            |lens: &[usize]| lens.iter().zip(0..).map(|(&len, n)| Seg { len, ..seg(n) }).collect::<Vec<_>>();
        assert_eq!(run(Config::DEFAULT, lens(&[100; 3])), ("NNN".into(), vec![1; 3]));
        assert_eq!(run(forwarding, lens(&[100; 5])), ("HMMMM".into(), vec![5]));
        assert_eq!(run(forwarding, lens(&[100, 50, 50])), ("HMH".into(), vec![2, 1]));
        assert_eq!(run(forwarding, lens(&[50, 100, 100])), ("HHM".into(), vec![1, 2]));
        assert_eq!(run(forwarding, lens(&[0, 100])), ("NH".into(), vec![1, 1]));
        assert_eq!(run(forwarding, lens(&[100; 70])).1, [64, 6]);
        assert_eq!(run(forwarding, lens(&[1400; 50])).1, [46, 4]);
        let broken = |n: u32| Seg { break_l4: n == 1, id: 7, ..seg(n) };
        assert_eq!(run(forwarding, vec![broken(0), broken(1), broken(2)]), ("HNM".into(), vec![1, 2]));
        let ttl = |n: u32| Seg { ttl: 64 - u8::from(n == 1), ..seg(n) };
        assert_eq!(run(forwarding, vec![ttl(0), ttl(1)]), ("HH".into(), vec![1, 1]));
        let padded = |n: u32| Seg { trailer: usize::from(n == 1), ..seg(n) };
        assert_eq!(run(forwarding, vec![padded(0), padded(1)]).0, "HN");
    }
    // The longest chains that fit the window, unequal in their last byte.
    for bytes in [176, 184, 192] {
        let chain = |n: u32| {
            let mut chain = vec![0; bytes];
            (chain[0], chain[1], chain[bytes - 1]) = (17, (bytes / 8 - 1) as u8, n as u8);
            Seg { v6: true, udp: true, extensions: (60, chain), ..seg(n) }.bytes()
        };
        let frames = |last: u32| [chain(0), chain(last)].map(|frame| (frame, Meta::default()));
        assert_eq!(run_with(forwarding, frames(0)).0, "HM", "{bytes}");
        assert_eq!(run_with(forwarding, frames(1)).0, "HH", "{bytes}");
    }
    let mut unchecked = Seg { udp: true, ..seg(0) }.bytes().to_vec();
    unchecked[40..42].copy_from_slice(&[0, 0]);
    assert_eq!(run_with(forwarding, [(unchecked.into(), Meta::default())]).0, "N");
}

/// kernel-release differences: CWR, and IPv4 identification.
#[test]
fn profiles_differ_where_their_kernels_do() {
    fn of<P: Profile>(segments: &[Seg]) -> Vec<u32> {
        let frames = segments.iter().map(|seg| (seg.bytes(), Meta::default()));
        run_as::<P>(Config::DEFAULT, frames).1.iter().map(|packet| packet.segs).collect()
    }
    let all = |segments: &[Seg]| [of::<Linux612>(segments), of::<Linux618>(segments), of::<Linux7>(segments)];
    let cwr = |on: &[u32]| {
        (0..5)
            .map(|n| Seg { flags: if on.contains(&n) { 0x10 | CWR } else { 0x10 }, ..seg(n) })
            .collect::<Vec<_>>()
    };
    // The selftest's flags_cwr: 100, CWR, CWR, 100, 100.
    assert_eq!(all(&cwr(&[1, 2])), [vec![1, 1, 3], vec![1, 1, 1, 2], vec![1, 2, 2]]);
    // Only 6.12 lets a segment without CWR follow one with it.
    assert_eq!(all(&cwr(&[0])), [vec![5], vec![1, 4], vec![1, 4]]);
    let ids = |ids: &[u16], fragment| {
        ids.iter().zip(0..).map(|(&id, n)| Seg { id, fragment, ..seg(n) }).collect::<Vec<_>>()
    };
    assert_eq!(all(&ids(&[8, 8, 8], 0)), [vec![1, 1, 1], vec![3], vec![3]]);
    assert_eq!(all(&ids(&[8, 8, 8], 0x4000)), [vec![3], vec![3], vec![3]]);
    assert_eq!(all(&ids(&[8, 9, 10], 0)), [vec![3], vec![3], vec![3]]);
}

#[test]
fn nine_flows_in_one_bucket_evict_each_other() {
    let frames: Vec<Seg> = (0..18).map(|n| Seg { port: n % 9, ..seg(u32::from(n / 9)) }).collect();
    assert_eq!(run(&frames), ("H".repeat(18), vec![1; 18]));
    let spread = frames.iter().map(|s| (s.bytes(), Meta { hash: u32::from(s.port), ..Meta::default() }));
    assert_eq!(run_with(Config::DEFAULT, spread).1.len(), 9);
}

#[test]
fn hash_vlan_and_mac_separate_flows() {
    let with =
        |meta: Meta| run_with(Config::DEFAULT, [(seg(0).bytes(), Meta::default()), (seg(1).bytes(), meta)]).0;
    assert_eq!(with(Meta::default()), "HM");
    assert_eq!(with(Meta { hash: 8, ..Meta::default() }), "HH");
    assert_eq!(with(Meta { vlan: 0x8100_0005, ..Meta::default() }), "HH");
    let mut other = seg(1).bytes().to_vec();
    other[11] ^= 1;
    let frames = [(seg(0).bytes(), Meta::default()), (other.into(), Meta::default())];
    assert_eq!(run_with(Config::DEFAULT, frames).0, "HH");
}

#[test]
fn size_limit_is_exclusive_and_counts_from_the_network_header() {
    let frames = || (0..4).map(|n| (seg(n).bytes(), Meta::default()));
    let limit = |gro_ipv4_max_size| {
        let config = Config { gro_ipv4_max_size, ..Config::DEFAULT };
        run_with(config, frames()).1.iter().map(|packet| packet.segs).collect::<Vec<_>>()
    };
    assert_eq!(limit(40 + 2000), [1, 1, 1, 1]);
    assert_eq!(limit(40 + 2001), [2, 2]);
    assert_eq!(limit(65_536), [4]);
    assert_eq!(run(&(0..70).map(|n| Seg { len: 1000, ..seg(n) }).collect::<Vec<_>>()).1, [65, 5]);
}

#[test]
fn flush_timeout_keeps_the_current_jiffy_until_the_tick() {
    let config = Config { flush_timeout: 1_000_000, ..Config::DEFAULT };
    let mut engine = Engine::<Linux618>::new(config);
    let mut out = vec![];
    engine.set_time(10);
    engine.receive(seg(0).bytes(), Meta::default(), &mut |packet| out.push(packet));
    engine.poll_end(&mut |packet| out.push(packet));
    assert!(out.is_empty());
    engine.receive(seg(1).bytes(), Meta::default(), &mut |packet| out.push(packet));
    engine.set_time(11);
    engine.poll_end(&mut |packet| out.push(packet));
    assert_eq!(out[0].segs, 2);
    engine.receive(seg(2).bytes(), Meta::default(), &mut |packet| out.push(packet));
    engine.tick(&mut |packet| out.push(packet));
    assert_eq!((out.len(), out[1].why), (2, Why::Flush(FlushReason::Tick)));
    // A poll that used its whole budget delivers everything, whatever its age.
    for n in 0..64 {
        engine.receive(seg(n).bytes(), Meta::default(), &mut |packet| out.push(packet));
    }
    engine.poll_end(&mut |packet| out.push(packet));
    assert_eq!((out.len(), out[2].segs), (3, 64));
}

#[test]
fn merged_headers_are_what_a_sender_would_have_written() {
    for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        for (count, len) in [(2, 1000), (7, 333), (3, 1), (5, 1448)] {
            let last = count - 1;
            let frames = (0..count).map(|n| {
                let segment = Seg { v6, udp, seq: n * len, len: len as usize, urgent: n as u16, ..seg(n) };
                (Seg { flags: if n == last { 0x19 } else { 0x10 }, ..segment }.bytes(), Meta::default())
            });
            let config = Config { udp: UdpMode::Forwarding, ..Config::DEFAULT };
            let (_, out) = run_with(config, frames);
            let whole = Seg { v6, udp, seq: 0, len: (len * count) as usize, flags: 0x19, ..seg(0) };
            let mut expected = whole.bytes().to_vec();
            let got = out[0].to_vec();
            // The payload pattern restarts in every segment, so the checksum is asked of the bytes themselves.
            let l4 = if v6 { 54 } else { 34 };
            let (header, at) = if udp { (l4 + 8, l4 + 6) } else { (l4 + 20, l4 + 16) };
            expected[header..].copy_from_slice(&got[header..]);
            expected[at..at + 2].copy_from_slice(&[0, 0]);
            let addresses = if v6 { &expected[22..54] } else { &expected[26..34] };
            let pseudo =
                u32::from(sum(addresses)) + if udp { 17 } else { 6 } + halves((expected.len() - l4) as u32);
            let check = field(pseudo + u32::from(sum(&expected[l4..])));
            expected[at..at + 2].copy_from_slice(&check.to_be_bytes());
            assert_eq!(got, expected, "v6 {v6}, {count} x {len}");
            assert_eq!((out.len(), out[0].gso_size, out[0].segs), (1, len as u16, count));

            let (hdr, partial) = out[0].clone().into_virtio().unwrap();
            assert_eq!((hdr.flags, hdr.csum_start, hdr.gso_size), (1, l4 as u16, len as u16));
            assert_eq!(
                hdr.to_bytes()[2..6],
                [l4 as u8 + if udp { 8 } else { 20 }, 0, len as u8, (len >> 8) as u8]
            );
            let partial = partial.to_vec();
            let whole_sum = u32::from(sum(&partial[l4..]));
            assert_eq!(field(whole_sum), check, "finishing the partial checksum gives the complete one");
        }
    }
}

#[test]
fn every_frame_leaves_exactly_once_and_nothing_panics() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let mut engine = Engine::<Linux618>::new(Config::DEFAULT);
    let (mut into, mut out) = (0_u64, 0_u64);
    let mut bytes_out = 0;
    for n in 0..60_000 {
        let mut frame =
            Seg { v6: n & 8 != 0, len: if random(4) == 0 { random(60) as usize } else { 1000 }, ..seg(n) }
                .bytes()
                .to_vec();
        for _ in 0..random(4) {
            let at = random(frame.len() as u64) as usize;
            frame[at] = random(256) as u8;
        }
        let keep = if random(3) == 0 { random(frame.len() as u64 + 1) } else { frame.len() as u64 };
        frame.truncate(keep as usize);
        let meta = Meta { hash: (random(20) / 19) as u32, vlan: 0, verified: random(2) == 0 };
        into += 1;
        engine.receive(frame.into(), meta, &mut |packet| {
            (out, bytes_out) = (out + u64::from(packet.segs), bytes_out + packet.len())
        });
        if random(50) == 0 {
            engine.poll_end(&mut |packet| out += u64::from(packet.segs));
        }
    }
    engine.flush(&mut |packet| out += u64::from(packet.segs));
    assert_eq!(into, out);
    let counters = &engine.state().counters;
    assert_eq!(counters.wire_packets, into);
    assert_eq!(counters.packets + counters.merged_segments, into);
    assert!(counters.bypass[Bypass::Truncated as usize] > 1000 && counters.merged_segments > 0);
}

#[test]
fn wide_sums_fold_to_both_zeros() {
    for wide in (0..1 << 20).chain((0..1 << 40).step_by(0xffff_fff1)).chain(u64::MAX - 70_000..u64::MAX) {
        let expected = if wide == 0 { 0 } else { ((wide - 1) % 0xffff) as u16 + 1 };
        assert_eq!(fold_wide(wide), expected, "{wide:#x}");
    }
}

//! Traces for rules that no shipped trace shows, cut from one that has cases.

use crate::trace::{Case, Frame, Poll, Trace};
use bytes::Bytes;
use gro_core::{Config, UdpMode, checksum, user};

/// A trace, its cases and its config.
pub(super) type Built = (Trace, Vec<Case>, Config);

/// Builds from a shipped trace and its cases; `None` where that lacks what it takes.
pub(super) type Build = fn(&Trace, &[Case]) -> Option<Built>;

/// When a poll ends, in nanoseconds, and its frames.
type Polls = [(u64, usize); 2];

/// Cases of the shipped trace. A jiffy has 4 ms: each pair of polls shares one.
const CASES: [(&str, Polls); 3] = [
    ("data_burst.ipv4.100", [(1_000_000, 2), (1_200_000, 2)]),
    ("large_two_polls.ipv4.100", [(9_000_000, 64), (9_200_000, 6)]),
    // The timer fires in between.
    ("data_burst.ipv4.1000", [(16_200_000, 2), (19_000_000, 2)]),
];
const DATAGRAMS: (&str, Polls) = ("udp_segments", [(25_000_000, 40), (25_200_000, 40)]);
const TIMEOUT_NS: u32 = 1_000_000;

/// For rules that only a flush timeout shows: several polls in a jiffy, a poll of a whole budget, a timer that fires between two
/// polls, and more datagrams than a packet takes. `None` where the shipped trace does not have [`CASES`].
pub(super) fn timed(shipped: &Trace, cases: &[Case]) -> Option<Built> {
    let mut trace = empty("timed");
    let mut found = Vec::new();
    for (name, polls) in CASES {
        let case = cases.iter().find(|case| case.name == name)?;
        let frames = shipped.frames.get(case.first..case.first + case.frames)?;
        found.push(add(&mut trace, name, frames, polls)?);
    }
    let (name, polls) = DATAGRAMS;
    let frames = vec![datagram(); polls.iter().map(|(_, count)| count).sum()];
    found.push(add(&mut trace, name, &frames, polls)?);
    let config = Config { flush_timeout: TIMEOUT_NS, udp: UdpMode::Forwarding, ..Config::DEFAULT };
    Some((trace, found, config))
}

/// IPv4 identifications 5, 6, 5. `None` where the shipped trace has no case with 5, 6, 8.
pub(super) fn first_id_again(shipped: &Trace, cases: &[Case]) -> Option<Built> {
    const CASE: &str = "ip_id_5_6_8.ipv4.100";
    const ID: usize = 18;
    const CHECK: usize = 24;
    let case = cases.iter().find(|case| case.name == CASE)?;
    let mut frames = shipped.frames.get(case.first..case.first + case.frames)?.to_vec();
    let [first, _, third] = &mut frames[..] else { return None };
    let be16 = |bytes: &[u8], at| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (wanted, old) = (be16(&first.bytes, ID)?, be16(&third.bytes, ID)?);
    let check = checksum::replace(be16(&third.bytes, CHECK)?, old, wanted);
    let mut bytes = third.bytes.to_vec();
    bytes[ID..ID + 2].copy_from_slice(&wanted.to_be_bytes());
    bytes[CHECK..CHECK + 2].copy_from_slice(&check.to_be_bytes());
    third.bytes = bytes.into();
    let mut trace = empty("built");
    let case = add(&mut trace, "ip_id_5_6_5", &frames, [(0, 3), (0, 0)])?;
    Some((trace, vec![case], Config::DEFAULT))
}

fn empty(name: &str) -> Trace {
    Trace { name: name.into(), frames: Vec::new(), polls: Vec::new() }
}

/// `None` where the polls take other than all frames.
fn add(trace: &mut Trace, name: &str, mut frames: &[Frame], polls: Polls) -> Option<Case> {
    let first = trace.frames.len();
    for (time_ns, count) in polls {
        let (polled, rest) = frames.split_at_checked(count)?;
        frames = rest;
        if polled.is_empty() {
            continue;
        }
        let start = trace.frames.len();
        trace.frames.extend(polled.iter().map(|frame| Frame { time_ns, ..frame.clone() }));
        trace.polls.push(Poll { time_ns, frames: start..trace.frames.len() });
    }
    let count = trace.frames.len() - first;
    let case = Case { name: name.into(), first, frames: count, sent: Vec::new(), delivered: Vec::new() };
    frames.is_empty().then_some(case)
}

/// Sent again it continues itself: no sequence number, and an identification that stays the same.
fn datagram() -> Frame {
    const PAYLOAD: u16 = 100;
    const ADDRESSES: [u8; 8] = [10, 0, 0, 1, 10, 0, 0, 2];
    let udp_len = (8 + PAYLOAD).to_be_bytes();
    let mut ip = vec![0x45, 0];
    ip.extend((28 + PAYLOAD).to_be_bytes());
    ip.extend([0, 7, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(ADDRESSES);
    let check = checksum::field(u32::from(user::sum(&ip)));
    ip[10..12].copy_from_slice(&check.to_be_bytes());

    let mut udp = vec![0x10, 0, 0x20, 0];
    udp.extend(udp_len);
    udp.extend([0, 0]);
    udp.resize(usize::from(8 + PAYLOAD), b'u');
    let pseudo = [&ADDRESSES[..], &[0, 17], &udp_len].concat();
    let check = checksum::field(u32::from(user::sum(&pseudo)) + u32::from(user::sum(&udp)));
    udp[6..8].copy_from_slice(&check.to_be_bytes());

    let ethernet = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    Frame { time_ns: 0, bytes: Bytes::from([&ethernet[..], &ip, &udp].concat()), hash: 0, vlan: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineConfig;
    use crate::backend::{Backend, UserBackend};
    use crate::trace::Manifest;
    use std::path::Path;

    fn packets(build: Build) -> (Vec<u32>, Vec<Case>) {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../traces"));
        let file = folder.join("tcp-mixed.pcapng.zst");
        let manifest = Manifest::beside(&file).unwrap().unwrap();
        let cases = &manifest.entry("tcp-mixed.pcapng.zst").unwrap().cases;
        let (trace, found, config) = build(&Trace::open(&file).unwrap(), cases).unwrap();
        let outcome = UserBackend.run(&trace, &EngineConfig::of(config)).unwrap();
        (outcome.records.iter().map(|record| record.segs).collect(), found)
    }

    #[test]
    fn shows_what_only_a_flush_timeout_does() {
        let (segs, cases) = packets(timed);
        assert_eq!(segs, [4, 64, 6, 2, 2, 64, 16]);
        assert_eq!(cases.last().map(|case| (case.first, case.frames)), Some((78, 80)));
    }

    #[test]
    fn the_first_identification_comes_again() {
        let (segs, cases) = packets(first_id_again);
        assert_eq!((segs, cases.len()), (vec![2, 1], 1));
    }
}

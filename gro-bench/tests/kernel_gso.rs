//! The way back, by the kernel itself: what was merged and is forwarded to a device without segmentation offload leaves it as
//! the frames that came in.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{DEFAULT, path, shipped};
use gro_bench::backend::UserBackend;
use gro_bench::fuzz::{self, Frames, Random, pairs};
use gro_bench::round_trip::{Exception, RoundTrip, round_trip, round_trip_changed, round_trip_file};
use gro_bench::trace::{Manifest, Trace};
use gro_bench::{Backend, BackendError, EngineConfig};
use gro_core::complete::{GSO_TCPV6, GSO_UDP_L4};
use gro_core::user::VirtioNetHdr;
use gro_core::{Config, UdpMode};
use std::collections::BTreeMap;
use std::path::Path;

const SEED: u64 = 0x6772_6f5f_7472_6970;
const BATCHES: usize = 3_000;
const UDP: Config = Config { udp: UdpMode::Forwarding, ..Config::DEFAULT };

#[test]
fn every_shipped_trace_comes_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces");
    for path in gro_bench::trace::shipped(&folder).unwrap() {
        let Some(result) = ran(round_trip_file(&path, &Config::DEFAULT)) else { return };
        let name = path.file_name().unwrap().to_str().unwrap();
        eprintln!("{name}: {result:?}");
        let in_tunnels = result.exceptions.get(&Exception::Tunnel).copied().unwrap_or(0);
        assert!(result.holds() && result.identical + in_tunnels > 0, "{name}: {result:?}");
        assert_eq!(result.packets, merged(&path), "{name}");
        // Real TCP writes nothing that a merged packet has no room for.
        let recorded = ["tcp4-bulk", "tcp6-bulk", "tcp-many-flows", "tcp-sack-loss"];
        let is_recorded = recorded.iter().any(|trace| name.starts_with(trace));
        assert!(!is_recorded || result.exceptions.is_empty(), "{name}: {result:?}");
    }
}

#[test]
fn packets_of_the_tc_programs_size_come_back() {
    let Some(result) = ran(round_trip_file(&path("tcp-mixed"), &Config::TC)) else { return };
    assert!(result.holds() && result.identical > 1_000, "{result:?}");
}

/// A TAP device takes 17 fragments of up to 32 KiB and what is left over in powers of two, so not all of 524,280 bytes
/// (`tun_alloc_skb`, drivers/net/tun.c): there it says that it has no buffer space.
#[test]
fn big_tcp_comes_back() {
    let big = Config { gro_max_size: 400_000, gro_ipv4_max_size: 400_000, ..Config::DEFAULT };
    let Some(result) = ran(round_trip_file(&path("tcp-jumbo"), &big)) else { return };
    eprintln!("{result:?}");
    // The case with extension headers, with and without timestamps.
    assert_eq!(result.exceptions, BTreeMap::from([(Exception::JumboHeader, 2)]), "{result:?}");
    assert!(result.holds() && result.frames > 12 * result.packets, "{result:?}");
}

/// Fields that no stack of the shipped traces varies.
#[test]
fn random_packets_come_back() {
    let mut random = Random(SEED);
    let trace = fuzz::trace((0..BATCHES).map(|_| fuzz::batch(&mut random, Frames::Plain)).collect());
    let Some(result) = ran(round_trip(&trace, &UDP)) else { return };
    eprintln!("{BATCHES} random batches: {result:?}");
    assert!(result.holds() && result.packets > 1_000, "{result:?}");
    // With a VLAN tag, and of both protocols.
    let outcome = UserBackend.run(&trace, &EngineConfig::of(UDP)).unwrap();
    let merged = || outcome.records.iter().filter(|record| record.segs > 1);
    assert_eq!(result.packets, merged().count());
    assert!(merged().any(|record| record.vlan != 0));
    assert!(
        merged().any(|record| record.gso_type == GSO_UDP_L4)
            && merged().any(|record| record.gso_type == GSO_TCPV6)
    );
}

/// Each of the 65,536 sums of a first and a second segment, in TCP.
#[test]
fn every_sum_comes_back() {
    let trace = fuzz::trace(pairs());
    let Some(result) = ran(round_trip(&trace, &Config::DEFAULT)) else { return };
    eprintln!("pairs: {result:?}");
    assert!(result.holds(), "{result:?}");
    assert_eq!((result.packets, result.frames), (1 << 16, 1 << 17));
}

/// The comparison can fail: each of these spoils every packet.
#[test]
fn a_wrong_packet_is_noticed() {
    type Change = fn(&mut VirtioNetHdr, &mut Vec<u8>);
    let changes: [(&str, Change); 6] = [
        ("gso_size one less", |header, _| header.gso_size -= 1),
        ("gso_size one more", |header, _| header.gso_size += 1),
        ("no segmentation", |header, _| (header.gso_type, header.gso_size) = (0, 0)),
        ("MAC address", |_, bytes| bytes[0] ^= 2),
        ("last byte", |_, bytes| *bytes.last_mut().unwrap() ^= 1),
        ("pseudo-header sum", |header, bytes| {
            let at = usize::from(header.csum_start + header.csum_offset);
            bytes[at] ^= 1;
        }),
    ];
    let trace = shipped("random-udp");
    for (name, change) in changes {
        let Some(result) = ran(round_trip_changed(&trace, &UDP, change)) else { return };
        assert!(!result.holds() && result.packets > 500, "{name}: {result:?}");
        assert_eq!(result.different, result.packets, "{name}: {result:?}");
    }
}

#[test]
fn one_wrong_packet_of_many_is_named() {
    let mut number = 0;
    let spoil = |header: &mut VirtioNetHdr, _: &mut Vec<u8>| {
        number += 1;
        header.gso_size -= u16::from(number == 500);
    };
    let Some(result) = ran(round_trip_changed(&shipped("tcp4-bulk"), &Config::DEFAULT, spoil)) else {
        return;
    };
    assert_eq!((result.different, result.identical), (1, result.packets - 1));
    let merged = UserBackend.run(&shipped("tcp4-bulk"), &DEFAULT).unwrap();
    let wrong = merged.records.into_iter().filter(|record| record.segs > 1).nth(499).unwrap();
    let named = format!("from frame #{} on: segment 0 ", wrong.first.unwrap());
    assert!(result.difference.as_ref().unwrap().contains(&named), "{result:?}");
}

/// Merged packets of a trace, counted by the backend.
fn merged(path: &Path) -> usize {
    let trace = Trace::open(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let entry = Manifest::beside(path).unwrap().unwrap().entry(name).unwrap().clone();
    let outcome = UserBackend.run(&trace, &EngineConfig::of(entry.under(Config::DEFAULT))).unwrap();
    outcome.records.iter().filter(|record| record.segs > 1).count()
}

/// `None`, said aloud, where the kernel cannot be asked.
fn ran(result: Result<RoundTrip, BackendError>) -> Option<RoundTrip> {
    match result {
        Ok(result) => Some(result),
        Err(BackendError::Skipped(why)) => {
            eprintln!("round trip skipped: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

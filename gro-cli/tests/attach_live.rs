//! `gro attach` on live traffic: one small cell of what `cargo xtask acceptance attach` measures in full.
#![cfg(target_os = "linux")]

use gro_bench::live::leftovers::Before;
use gro_bench::live::recording::{At, record};
use gro_bench::live::traffic::{self, Load};
use gro_bench::live::{Counters, KernelLog, LiveError, Options, Place, Receiver, Topology, Wire};
use std::path::Path;

/// One test, so that nothing else of this file loads programs meanwhile.
#[test]
fn every_byte_arrives_and_nothing_stays() {
    let gro = Path::new(env!("CARGO_BIN_EXE_gro"));
    for wire in [Wire::Direct, Wire::BAD] {
        // One CPU at the receiver: the recording below wants an order.
        let options =
            Options { wire, checksum_offload: wire == Wire::BAD, rps_cpus: 1, ..Options::default() };
        let topology = match Topology::build(options) {
            Ok(topology) => topology,
            Err(error @ LiveError::Capability) => return eprintln!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        };
        let before = Before::take(&topology).unwrap();
        let counters = || topology.host(Place::B).within(Counters::read).unwrap();
        let (counted, mut log) = (counters(), KernelLog::watch().unwrap());
        let attached = Receiver::InPlace(Vec::new()).start(&topology, gro).unwrap();
        for ipv6 in [false, true] {
            let load = Load { bytes: 40_000_000, ipv6, ..Load::default() };
            let carried = traffic::run(&topology, &load).unwrap();
            assert!(
                carried.is_intact() && carried.bytes() == load.bytes,
                "{options:?} ipv6 {ipv6}: {carried:?}"
            );
        }
        if wire == Wire::Direct {
            let load =
                Load { flows: 2, bytes: 10_000_000, receive_buffer: Some(128 << 10), ..Load::default() };
            let compared = record(&topology, &load, At::Arriving).unwrap().compare().unwrap();
            assert!(compared.merged > 0, "{compared:?}");
        }
        let snapshot = attached.snapshot().unwrap().unwrap();
        assert!(snapshot.merged_packets > 0, "{options:?}: {snapshot:?}");
        let socket = snapshot.guards.get("socket");
        assert_eq!(socket, Some(&0), "a packet with a socket was about to be grown: {snapshot:?}");
        let pins = attached.detach().unwrap();
        let counted = counters().since(&counted);
        assert_eq!(counted.get("TcpInCsumErrors"), 0, "{options:?}");
        assert_eq!(log.warnings(), Vec::<String>::new(), "{options:?}");
        assert_eq!(before.left(&topology, &pins).unwrap(), Vec::<String>::new(), "{options:?}");
    }
}

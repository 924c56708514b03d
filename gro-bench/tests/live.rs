//! The live harness itself, with what the kernel has of its own: nobody who coalesces, and the kernel's GRO.
#![cfg(target_os = "linux")]

use gro_bench::live::latency::{self, Exchange};
use gro_bench::live::leftovers::Before;
use gro_bench::live::recording::{At, on_one_cpu, record};
use gro_bench::live::traffic::{self, Content, Load};
use gro_bench::live::{Counters, KernelLog, LiveError, Options, Place, Receiver, Topology, Wire};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// One after the other: they share the machine's log.
#[test]
fn traffic_arrives_as_it_was_sent() {
    for (wire, checksum_offload, mtu, ipv6) in [
        (Wire::Direct, false, 1_500, false),
        (Wire::Direct, true, 9_000, true),
        (Wire::BAD, false, 1_500, true),
        (Wire::BAD, true, 9_000, false),
        (Wire::Routed, false, 1_500, false),
        (Wire::Routed, true, 1_500, true),
    ] {
        let options = Options { mtu, checksum_offload, wire, ..Options::default() };
        let Some(topology) = built(options) else { return };
        for receiver in [Receiver::None, Receiver::KernelGro] {
            let what = format!("{options:?}, ipv6 {ipv6}, {}", receiver.name());
            let _state = receiver.start(&topology, Path::new("")).unwrap();
            let mut log = KernelLog::watch().unwrap();
            let counters = || topology.host(Place::B).within(Counters::read).unwrap();
            let before = counters();
            let bytes = if wire == Wire::BAD { 20_000_000 } else { 50_000_000 };
            let load = Load { bytes, ipv6, ..Load::default() };
            let carried = traffic::run(&topology, &load).unwrap();
            let counted = counters().since(&before);
            assert!(carried.is_intact() && carried.bytes() == bytes, "{what}: {carried:?}");
            assert_eq!(counted.get("TcpInCsumErrors") + counted.get("TcpInErrs"), 0, "{what}");
            assert_eq!(log.warnings(), Vec::<String>::new(), "{what}");
            let impaired = topology.impaired().unwrap();
            if wire == Wire::BAD {
                assert!(impaired.lost > 0 && impaired.late > 0, "{what}: {impaired:?}");
                assert!(carried.retransmitted > 0, "{what}");
                assert!(counted.get("TcpExtTCPOFOQueue") > 0, "{what}");
            } else {
                assert_eq!(impaired.seen, 0);
            }
            let gbit = carried.gbit_per_second();
            eprintln!("{what}: {gbit:.2} Gb/s, {} again, {impaired:?}", carried.retransmitted);
        }
    }
}

#[test]
fn what_the_kernel_merged_resegments_to_what_was_sent() {
    for (wire, ipv6) in [(Wire::Direct, false), (Wire::Direct, true), (Wire::BAD, false), (Wire::BAD, true)] {
        let Some(topology) = built(Options { wire, ..Options::default() }) else { return };
        for receiver in [Receiver::None, Receiver::KernelGro] {
            let _state = receiver.start(&topology, Path::new("")).unwrap();
            // What is on the way at once fits into the ring of a veth.
            let load = Load {
                flows: 2,
                bytes: 10_000_000,
                ipv6,
                receive_buffer: Some(128 << 10),
                ..Load::default()
            };
            let recording = on_one_cpu(|| record(&topology, &load, At::Leaving)).unwrap();
            assert!(recording.carried.is_intact());
            let compared = recording.compare().unwrap_or_else(|what| panic!("{wire:?} ipv6 {ipv6}: {what}"));
            eprintln!("{wire:?} ipv6 {ipv6} {}: {compared:?}", receiver.name());
            assert!(compared.flows == 2 && compared.frames > 5_000, "{compared:?}");
            assert_eq!(compared.merged > 0, receiver == Receiver::KernelGro, "{compared:?}");
        }
        let load = Load { flows: 1, bytes: 1_000_000, ipv6, ..Load::default() };
        let recording = on_one_cpu(|| record(&topology, &load, At::Leaving));
        let mut recording = recording.unwrap();
        let at = recording.seen.len() / 2;
        let mut other = recording.seen[at].to_vec();
        *other.last_mut().unwrap() ^= 1;
        recording.seen[at] = other.into();
        assert!(recording.compare().unwrap_err().contains("first difference"));
        recording.seen.remove(at);
        assert!(recording.compare().is_err());
    }
}

#[test]
fn a_response_takes_some_time() {
    let Some(topology) = built(Options { queues: 2, rps_cpus: 3, ..Options::default() }) else { return };
    let exchange = Exchange { size: 1_448, count: 200, ipv6: false, cpus: None };
    let latency = latency::measure(&topology, exchange).unwrap();
    assert!(latency.p50 > 0.0 && latency.p99 >= latency.p50, "{latency:?}");
}

#[test]
fn plain_content_is_not_looked_at() {
    let Some(topology) = built(Options::default()) else { return };
    let load = Load {
        flows: 3,
        bytes: 1_000_001,
        content: Content::Plain,
        pace: Some(100_000_000),
        ..Load::default()
    };
    let carried = traffic::run(&topology, &load).unwrap();
    assert_eq!(carried.bytes(), 1_000_001);
    assert!(carried.flows.iter().all(|flow| flow.sent.sha256 == [0; 32]));
}

/// What the harness says to `gro attach`, `stats` and `detach`, heard by a shell script.
#[test]
fn a_stand_in_for_gro_is_told_what_it_needs() {
    const SCRIPT: &str = r#"#!/bin/sh
folder=$(dirname "$0")
all="$*"
grep -q b0: /proc/self/net/dev || { echo "no b0 here" >&2; exit 2; }
while [ $# -gt 0 ]; do [ "$1" = --pin ] && pin=$2; shift; done
case $all in
*--bad*) echo "no such flag" >&2; exit 2 ;;
*--via-tap*) trap 'rm "$folder/up"; exit 0' TERM; echo $$ > "$folder/up"; while :; do sleep 0.02; done ;;
attach*) mkdir -p "$pin" ;;
stats*)
    [ -d "$pin" ] || [ -e "$folder/up" ] || { echo "not attached" >&2; exit 2; }
    echo '{"schema":1,"attachments":[{"merged_packets":2,"merged_segments":18,"mode":"x","guards":{"socket":0,"no_room":3}}]}' ;;
detach*) if [ -n "$pin" ]; then rmdir "$pin"; else kill "$(cat "$folder/up")"; fi ;;
esac
"#;
    let Some(topology) = built(Options::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let gro = folder.path().join("gro");
    std::fs::write(&gro, SCRIPT).unwrap();
    std::fs::set_permissions(&gro, std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = Before::take(&topology).unwrap();
    for receiver in [Receiver::InPlace(Vec::new()), Receiver::ViaTap(Vec::new())] {
        let attached = receiver.start(&topology, &gro).unwrap();
        let snapshot = attached.snapshot().unwrap().unwrap();
        assert_eq!((snapshot.segments_a_merge(), snapshot.troubles().as_str()), (10.0, "no_room 3"));
        let is_pinned = matches!(receiver, Receiver::InPlace(_));
        assert_eq!(attached.pins().entries().unwrap(), if is_pinned { vec!["b0"] } else { vec![] });
        let pins = attached.detach().unwrap();
        // Others may load programs meanwhile.
        let mut left = before.left(&topology, &pins).unwrap();
        left.retain(|what| what.starts_with("pin") || what.starts_with("qdisc"));
        assert_eq!(left, Vec::<String>::new());
        // Dropped, it is detached as well.
        drop(receiver.start(&topology, &gro).unwrap());
        assert!(!folder.path().join("up").exists());
    }
    for receiver in [Receiver::InPlace(vec!["--bad".to_owned()]), Receiver::ViaTap(vec!["--bad".to_owned()])]
    {
        let error = receiver.start(&topology, &gro).err().unwrap().to_string();
        assert!(error.contains("no such flag"), "{error}");
    }
}

fn built(options: Options) -> Option<Topology> {
    match Topology::build(options) {
        Ok(topology) => Some(topology),
        Err(LiveError::Capability) => {
            eprintln!("skipped: {}", LiveError::Capability);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

//! Two smoltcp hosts through the NIC: a stack that shares nothing with Linux takes its packets.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_bench::host_stack::{Transfer, Transferred, run};
use gro_core::{Bypass, Config};
use gro_nic::{Image, NicConfig};

/// 1 % lost, 1 % late, 0.1 % damaged.
const BAD: Transfer = Transfer { bytes: 3_000_000, ipv6: false, loss: 655, late: 655, damage: 66, seed: 1 };

fn transferred(config: &NicConfig, transfer: &Transfer) -> Transferred {
    let image = Image::parse(gro_nic::LINUX_6_18).unwrap();
    let transferred = run(&image, config, transfer).unwrap();
    eprintln!("{transferred}");
    assert!(transferred.is_intact() && transferred.bytes == transfer.bytes, "{transferred}");
    transferred
}

#[test]
fn a_bad_wire_changes_no_byte() {
    for (ipv6, seed) in [(false, 1), (true, 2)] {
        let transfer = Transfer { ipv6, seed, ..BAD };
        let bad = transferred(&NicConfig::default(), &transfer);
        assert!(bad.wire.lost > 0 && bad.wire.late > 0 && bad.wire.damaged > 0, "{bad}");
        let wrong = bad.nic.bypass[Bypass::Checksum as usize] + bad.nic.bypass[Bypass::IpChecksum as usize];
        assert!(bad.nic.merged_packets > 0 && wrong > 0, "{bad}");
        // The same seed, the same run.
        let again = transferred(&NicConfig::default(), &transfer);
        assert_eq!((again.wire, again.nic, again.seconds), (bad.wire, bad.nic, bad.seconds));
    }
}

#[test]
fn a_clean_wire_gives_packets_as_long_as_they_may_be() {
    let clean = Transfer { loss: 0, late: 0, damage: 0, ..BAD };
    let merged = transferred(&NicConfig::default(), &clean);
    assert!(merged.longest > 50_000 && merged.segments_a_merge() > 20.0, "{merged}");
    assert_eq!(merged.nic.bypass[Bypass::Checksum as usize], 0);
    let small = Config { gro_ipv4_max_size: 10_000, ..Config::DEFAULT };
    let small = transferred(&NicConfig { engine: small, ..NicConfig::default() }, &clean);
    assert!((5_000..10_014).contains(&small.longest), "{small}");
    let none = transferred(&NicConfig { coalesce: false, ..NicConfig::default() }, &clean);
    assert_eq!((none.nic.merged_packets, none.longest), (0, 1514));
}

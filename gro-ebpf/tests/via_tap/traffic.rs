//! What arrives is what was sent, in packets as long as they may be.

use crate::hosts::{Host, TSO, TX_CHECKSUM, missing};
use crate::pair::{MB, Pair, SERVER, counter, options, stop, transfer};
use crate::raw::Raw;
use gro_core::{Config, UdpMode};
use gro_ebpf::via_tap::ViaTapOptions;
use std::net::UdpSocket;
use std::time::Duration;

#[test]
fn streams_arrive_whole_and_merged() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    for mtu in [1500, 9000] {
        for checksum_offload in [true, false] {
            let pair = Pair::new(mtu, checksum_offload);
            let via = pair.start(options());
            for address in SERVER {
                pair.transfer(address, 50 * MB);
            }
            let last = stop(via, 2.0);
            assert!(last.wire_bytes > 100 * MB as u64 && last.bytes <= last.wire_bytes);
            assert_eq!(counter(&pair.server, "Tcp", "InCsumErrors"), 0);
        }
    }
}

#[test]
fn flows_are_shared_out_among_queues() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let via = pair.start(ViaTapOptions { queues: 3, ..options() });
    let flows: Vec<_> =
        (0..12).map(|flow| transfer(&pair.client, &pair.server, SERVER[flow % 2], 8 * MB)).collect();
    flows.into_iter().for_each(|flow| flow.join().unwrap());
    let last = stop(via, 2.0);
    assert!(last.cpus.iter().filter(|queue| queue.wire_packets > 1000).count() >= 2, "{:?}", last.cpus);
}

/// Packets that the sender did not segment are longer than a slot of the ring.
#[test]
fn what_comes_merged_goes_on_untouched() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    pair.client.offload("c0", TSO, true);
    let via = pair.start(options());
    for address in SERVER {
        pair.transfer(address, 50 * MB);
    }
    let last = stop(via, 0.0);
    assert!(last.guards.already_merged > 1000, "{last:?}");
}

/// An MTU that grew after the start, and is beyond the longest slot.
#[test]
fn frames_longer_than_a_slot_are_merged_too() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let via = pair.start(options());
    pair.client.command("ip link set c0 mtu 16000");
    pair.server.command("ip link set s0 mtu 16000");
    pair.transfer(SERVER[0], 50 * MB);
    stop(via, 2.0);
}

#[test]
fn big_tcp_arrives_whole() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(9000, true);
    // Longer bursts of the sender, over IPv6. Elsewhere a packet ends with its burst.
    pair.client.command("ip link set c0 gso_max_size 262144");
    let config = Config { gro_max_size: 400_000, gro_ipv4_max_size: 400_000, ..Config::DEFAULT };
    let via = pair.start(ViaTapOptions { config, ..options() });
    let long = pair.server.run(|| Raw::open("s0", 65_600));
    // How many frames are ready at once is not certain.
    for _ in 0..10 {
        for address in SERVER {
            pair.transfer(address, 20 * MB);
        }
        if let Some((packet, _)) = long.read() {
            eprintln!("a packet of {} bytes", packet.len());
            stop(via, 2.0);
            return;
        }
    }
    panic!("no packet was longer than 65,535 bytes");
}

/// A merged packet that a router sends on leaves it as the segments that came.
#[test]
fn forwarded_packets_are_segmented_again() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let (pair, far) = (Pair::new(1500, true), Host::new());
    let router = &pair.server;
    router.wire("r0", &far, "f0", 1500);
    // Neither segmentation nor checksums are left to the other side.
    router.offload("r0", TSO, false);
    router.offload("r0", TX_CHECKSUM, false);
    for (host, interface, number) in [(router, "r0", 1), (&far, "f0", 2)] {
        host.address(interface, &format!("10.79.0.{number}/24"));
        host.address(interface, &format!("fd79::{number}/64"));
    }
    router.sysctl("ipv4/ip_forward", "1");
    router.sysctl("ipv6/conf/all/forwarding", "1");
    for (host, network, by) in [(&pair.client, "79", "77"), (&far, "77", "79")] {
        let gate = if by == "77" { 2 } else { 1 };
        host.command(&format!("ip route add 10.{network}.0.0/24 via 10.{by}.0.{gate}"));
        host.command(&format!("ip -6 route add fd{network}::/64 via fd{by}::{gate}"));
    }
    let via = pair.start(options());
    let bytes = 50 * MB;
    for address in ["10.79.0.2", "fd79::2"] {
        let before = counter(&far, "IpExt", "InOctets");
        transfer(&pair.client, &far, address, bytes).join().unwrap();
        if address.contains('.') {
            let packets = counter(&far, "Ip", "InReceives");
            let octets = counter(&far, "IpExt", "InOctets") - before;
            // None is longer than the MTU.
            assert!(octets > bytes as u64 && octets / packets <= 1500, "{octets} bytes in {packets} packets");
        }
    }
    assert_eq!(counter(&far, "Tcp", "InCsumErrors"), 0);
    stop(via, 2.0);
}

/// Datagrams merge only when asked for, and a socket gets those that were sent.
#[test]
fn datagrams_stay_datagrams() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    const COUNT: usize = 2_000;
    const LEN: usize = 1_200;
    for (checksum_offload, udp) in
        [(true, UdpMode::Forwarding), (false, UdpMode::Forwarding), (true, UdpMode::Off)]
    {
        let pair = Pair::new(1500, checksum_offload);
        let config = Config { udp, ..Config::DEFAULT };
        let via = pair.start(ViaTapOptions { config, ..options() });
        for address in SERVER {
            let socket = pair.server.run(move || UdpSocket::bind((address, 0))).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let to = socket.local_addr().unwrap();
            let from = if address.contains('.') { "10.77.0.1" } else { "fd77::1" };
            let sender = pair.client.run(move || UdpSocket::bind((from, 0))).unwrap();
            let mut buffer = [0; 65_536];
            // In bursts that the socket has room for.
            for burst in 0..COUNT / 40 {
                for number in burst * 40..(burst + 1) * 40 {
                    // The last of a burst is shorter.
                    let len = if number % 40 == 39 { LEN / 2 } else { LEN };
                    sender.send_to(&[number as u8; LEN][..len], to).unwrap();
                }
                for number in burst * 40..(burst + 1) * 40 {
                    let len = socket.recv(&mut buffer).unwrap();
                    assert_eq!(len, if number % 40 == 39 { LEN / 2 } else { LEN }, "datagram {number}");
                    assert!(buffer[..len].iter().all(|&byte| byte == number as u8), "datagram {number}");
                }
            }
        }
        let last = stop(via, 0.0);
        assert_eq!(last.merged_packets > 0, udp == UdpMode::Forwarding, "{last:?}");
        assert_eq!(last.bypass["udp_off"] > 3_000, udp == UdpMode::Off, "{last:?}");
        assert_eq!(counter(&pair.server, "Udp", "InErrors"), 0);
    }
}

//! Encapsulations of which the running kernel cannot be asked: PPPoE and the rules of other releases, from their sources; tags in a
//! tunnel. The others are compared with the kernel itself by the harness.

use super::*;
use crate::VlanMode;
use crate::complete::{GSO_GRE, GSO_TCP_FIXEDID, GSO_TCP_FIXEDID_INNER, GSO_TCPV4};
use crate::profile::tunnel;

const LINK: &[u8; 12] = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02";

/// The IP packet of a segment.
fn packet(segment: &Seg) -> Vec<u8> {
    segment.bytes()[14..].to_vec()
}

fn pppoe(session: u16, error: u16, packet: &[u8]) -> Vec<u8> {
    let protocol = if packet[0] >> 4 == 6 { 0x0057_u16 } else { 0x0021 };
    let length = (packet.len() + 2) as u16 + error;
    let words = [0x8864, 0x1100, session, length, protocol].map(u16::to_be_bytes).concat();
    [&LINK[..], &words, packet].concat()
}

/// An IPv4 header with this identification and these flags in front of GRE.
fn gre(id: u16, fragment: u16, protocol: u16, inner: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend((inner.len() as u16 + 24).to_be_bytes());
    ip.extend([id, fragment].map(u16::to_be_bytes).concat());
    ip.extend([64, 47, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let check = field(u32::from(sum(&ip)));
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let gre = [[0, 0], protocol.to_be_bytes()].concat();
    [&LINK[..], &[8, 0], &ip, &gre, inner].concat()
}

fn run_frames<P: Profile>(config: Config, frames: Vec<Vec<u8>>) -> (String, Vec<Delivered>) {
    run_as::<P>(config, frames.into_iter().map(|frame| (frame.into(), Meta::default())))
}

#[test]
fn pppoe_merges_from_linux_7_on() {
    for v6 in [false, true] {
        let frame = |n: u32, session, error| pppoe(session, error, &packet(&Seg { v6, ..seg(n) }));
        let run = |frames| run_frames::<Linux7>(Config::DEFAULT, frames);

        let (verdicts, out) = run((0..3).map(|n| frame(n, 7, 0)).collect());
        assert_eq!((verdicts.as_str(), out.len()), ("HMM", 1));
        let merged = out[0].to_vec();
        // Behind the six bytes of its header, the PPP protocol included.
        assert_eq!(usize::from(u16::from_be_bytes([merged[18], merged[19]])), merged.len() - 20);
        assert_eq!(out[0].gso_size, 1000);
        assert!(out[0].gso_type & crate::complete::GSO_TUNNELS == 0);

        let (verdicts, _) = run(vec![frame(0, 7, 0), frame(1, 8, 0), frame(2, 7, 0)]);
        assert_eq!(verdicts, "HHH", "another session is another flow");
        let (verdicts, out) = run(vec![frame(0, 7, 0), frame(1, 7, 1), frame(2, 7, 0)]);
        assert_eq!(verdicts, "HNH", "a wrong length overtakes");
        assert_eq!(out[0].why, Why::Bypass(Bypass::Tunnel));

        for verdicts in [
            run_frames::<Linux618>(Config::DEFAULT, vec![frame(0, 7, 0), frame(1, 7, 0)]).0,
            run_frames::<Linux612>(Config::DEFAULT, vec![frame(0, 7, 0), frame(1, 7, 0)]).0,
        ] {
            assert_eq!(verdicts, "NN");
        }
    }
}

#[test]
fn pppoe_stands_in_front_of_a_tunnel_or_in_it_and_not_twice() {
    let inner = |n: u32| packet(&seg(n));
    let in_gre = |n: u32| gre(n as u16, 0x4000, 0x6558, &pppoe(7, 0, &inner(n)));
    let before = |n: u32| pppoe(7, 0, &gre(n as u16, 0x4000, 0x0800, &inner(n))[14..]);
    let both = |n: u32| pppoe(7, 0, &in_gre(n)[14..]);
    for (frame, verdicts, at) in
        [(&in_gre as &dyn Fn(u32) -> Vec<u8>, "HM", 52), (&before, "HM", 14), (&both, "NN", 0)]
    {
        let (got, out) = run_frames::<Linux7>(Config::DEFAULT, vec![frame(0), frame(1)]);
        assert_eq!(got, verdicts, "{at}");
        match out.as_slice() {
            [merged] => {
                let bytes = merged.to_vec();
                let length = usize::from(u16::from_be_bytes([bytes[at + 4], bytes[at + 5]]));
                assert_eq!(length, bytes.len() - at - 6, "{at}");
            }
            _ => assert!(out.iter().all(|packet| packet.why == Why::Bypass(Bypass::Nested))),
        }
    }
}

/// `inet_gro_flush` of both releases: 6.12 has one flag for all identifications and asks an outer one only without the
/// don't-fragment bit.
#[test]
fn outer_identifications_are_those_of_the_release() {
    const DF: u16 = 0x4000;
    // Outer fragment word and identifications; inner identifications, with DF; segments a packet under 6.12 and 6.18.
    type Case = (u16, [u16; 3], [u16; 3], &'static [u32], &'static [u32]);
    let cases: [Case; 6] = [
        (DF, [5, 6, 7], [1, 2, 3], &[3], &[3]),
        (DF, [5, 9, 2], [1, 2, 3], &[3], &[1, 1, 1]),
        (DF, [5, 5, 5], [1, 1, 1], &[3], &[3]),
        (0, [5, 6, 7], [1, 2, 3], &[3], &[3]),
        (0, [5, 5, 5], [1, 2, 3], &[1, 1, 1], &[3]),
        // The inner header fixes the flag with the second segment; the outer one is asked with it at the third.
        (0, [5, 6, 7], [1, 1, 1], &[2, 1], &[3]),
    ];
    for (fragment, outer, ids, old, new) in cases {
        let frames: Vec<Vec<u8>> = (0..3)
            .map(|n: u32| {
                let inner = packet(&Seg { id: ids[n as usize], ..seg(n) });
                gre(outer[n as usize], fragment, 0x0800, &inner)
            })
            .collect();
        let segs = |out: Vec<Delivered>| -> Vec<u32> { out.iter().map(|packet| packet.segs).collect() };
        let of_612 = segs(run_frames::<Linux612>(Config::DEFAULT, frames.clone()).1);
        let of_618 = segs(run_frames::<Linux618>(Config::DEFAULT, frames).1);
        assert_eq!((of_612.as_slice(), of_618.as_slice()), (old, new), "{fragment:#x} {outer:?} {ids:?}");
    }
}

#[test]
fn fixed_identifications_have_a_type_each_from_6_18_on() {
    let frames: Vec<Vec<u8>> =
        (0..2).map(|n| gre(9, 0x4000, 0x0800, &packet(&Seg { id: 4, ..seg(n) }))).collect();
    let kind = |out: &[Delivered]| out[0].gso_type;
    let old = run_frames::<Linux612>(Config::DEFAULT, frames.clone()).1;
    assert_eq!(kind(&old), GSO_TCPV4 | GSO_GRE | GSO_TCP_FIXEDID);
    let new = run_frames::<Linux618>(Config::DEFAULT, frames).1;
    assert_eq!(kind(&new), GSO_TCPV4 | GSO_GRE | GSO_TCP_FIXEDID | GSO_TCP_FIXEDID_INNER);
}

#[test]
fn tags_in_a_tunnel_are_looked_behind_where_tags_in_the_bytes_are() {
    let frame = |n: u32, tag: u8| {
        let inner = [&LINK[..], &[0x81, 0, 0, tag, 8, 0], &packet(&seg(n))].concat();
        gre(n as u16, 0, 0x6558, &inner)
    };
    let in_band = Config { vlan: VlanMode::InBand, ..Config::DEFAULT };
    let frames = vec![frame(0, 5), frame(1, 5), frame(2, 6)];
    assert_eq!(run_frames::<Linux618>(in_band, frames.clone()).0, "HMH");
    assert_eq!(run_frames::<Linux618>(Config::DEFAULT, frames.clone()).0, "NNN");
    let off = Config { tunnels: tunnel::IP_IN_IP, ..in_band };
    assert_eq!(run_frames::<Linux618>(off, frames).0, "NNN");
}

/// Nobody vouches for an inner checksum by vouching for one, but where there is no other (`csum_cnt` of `napi_gro_cb`).
#[test]
fn a_nic_vouches_for_the_first_checksum() {
    let verified = Meta { verified: true, ..Meta::default() };
    let broken = |n: u32| gre(n as u16, 0, 0x0800, &packet(&Seg { break_l4: true, ..seg(n) }));
    let frames = (0..2).map(|n| (Bytes::from(broken(n)), verified));
    assert_eq!(run_with(Config::DEFAULT, frames).0, "HM", "GRE without a checksum has none to vouch for");
    // With a UDP header in front, that is what was vouched for, even if its checksum is zero.
    let vxlan = |n: u32| {
        let inner = [&LINK[..], &[8, 0], &packet(&Seg { break_l4: n == 1, ..seg(n) })].concat();
        let udp = [50_000, 4789, inner.len() as u16 + 16, 0].map(u16::to_be_bytes).concat();
        let payload = [&udp[..], &[8, 0, 0, 0, 0, 0, 7, 0], &inner].concat();
        let mut frame = gre(n as u16, 0, 0x0800, &payload[4..]);
        // The same IPv4 header, of protocol 17 instead of 47 and without GRE.
        frame[23] = 17;
        let check = u16::from_be_bytes([frame[24], frame[25]]);
        let check = crate::checksum::replace(check, 47, 17);
        frame[24..26].copy_from_slice(&check.to_be_bytes());
        frame[34..38].copy_from_slice(&payload[..4]);
        frame
    };
    let config = Config { tunnels: tunnel::VXLAN, ..Config::DEFAULT };
    let frames = (0..3).map(|n| (Bytes::from(vxlan(n)), verified));
    assert_eq!(run_with(config, frames).0, "HNH");
}

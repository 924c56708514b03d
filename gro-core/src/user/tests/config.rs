//! What config and profile change: BIG TCP, in-band VLAN tags, jiffies a second.

use super::*;
use crate::VlanMode;

const BIG: Config =
    Config { gro_max_size: Config::MAX_SIZE, gro_ipv4_max_size: Config::MAX_SIZE, ..Config::DEFAULT };
/// Bytes of IPv6 and TCP header.
const HEADERS: usize = 60;

/// `count` segments of `len` bytes as one packet.
fn merged<P: Profile>(
    config: Config,
    v6: bool,
    extensions: &[u8],
    (count, len): (u32, usize),
) -> Vec<Delivered> {
    let frames = (0..count).map(|n| {
        let extensions = (60, extensions.to_vec());
        let segment = Seg { v6, len, seq: n * len as u32, extensions, ..seg(n) };
        (segment.bytes(), Meta::default())
    });
    run_as::<P>(config, frames).1
}

#[test]
fn ipv6_over_65535_bytes_states_its_length_in_a_jumbo_header() {
    // The payload length of the IPv6 header ends at 65,535: 40 bytes later than the limit of old.
    let [fits, jumbo] = [(9, 7279), (9, 7280)].map(|of| merged::<Linux618>(BIG, true, &[], of).remove(0));
    assert_eq!(
        (fits.len(), fits.segs, &fits.header[18..22]),
        (14 + HEADERS + 65_511, 9, &[0xff, 0xfb, 6, 64][..])
    );
    assert_eq!((jumbo.len(), jumbo.segs, jumbo.header.len()), (14 + 8 + HEADERS + 65_520, 9, 82));
    let length = 20 + 65_520 + 8_u32;
    let mut expected = vec![6, 0, 0xc2, 4];
    expected.extend(length.to_be_bytes());
    assert_eq!((&jumbo.header[18..22], &jumbo.header[54..62]), (&[0, 0, 0, 64][..], &expected[..]));

    let check = u16::from_be_bytes([jumbo.header[78], jumbo.header[79]]);
    let whole = jumbo.to_vec();
    let pseudo = u32::from(sum(&whole[22..54])) + 6 + halves(whole.len() as u32 - 62);
    assert_eq!(field(pseudo + u32::from(sum(&whole[62..]))), 0, "the checksum covers the whole packet");
    let (hdr, partial) = jumbo.into_virtio().unwrap();
    assert_eq!((hdr.csum_start, hdr.csum_offset, hdr.hdr_len), (62, 16, 82));
    let partial = partial.to_vec();
    assert_eq!(field(u32::from(sum(&partial[62..]))), check);
}

#[test]
fn big_packets_of_other_kinds_have_length_0() {
    let ipv4 = merged::<Linux618>(BIG, false, &[], (9, 7280)).remove(0);
    assert_eq!((ipv4.segs, &ipv4.header[16..18]), (9, &[0, 0][..]));
    assert_eq!(field(u32::from(sum(&ipv4.header[14..34]))), 0, "the header checksum follows");
    // 7.x has no jumbo header.
    let ipv6 = merged::<Linux7>(BIG, true, &[], (9, 7280)).remove(0);
    assert_eq!((ipv6.segs, ipv6.header.len(), &ipv6.header[18..22]), (9, 74, &[0, 0, 6, 64][..]));
}

#[test]
fn what_cannot_grow_stays_below_65536() {
    let segs = |out: Vec<Delivered>| out.iter().map(|packet| packet.segs).collect::<Vec<_>>();
    let options = |bytes: usize| {
        let mut chain = vec![0; bytes];
        (chain[0], chain[1]) = (6, (bytes / 8 - 1) as u8);
        chain
    };
    assert_eq!(segs(merged::<Linux618>(BIG, true, &options(8), (10, 8000))), [10]);
    // The kernel would write the jumbo header over the first of them.
    assert_eq!(segs(merged::<Linux618>(BIG, true, &options(16), (10, 8000))), [8, 2]);
    assert_eq!(segs(merged::<Linux7>(BIG, true, &options(16), (10, 8000))), [10]);
    let udp = (0..10).map(|n| (Seg { udp: true, len: 8000, ..seg(n) }.bytes(), Meta::default()));
    assert_eq!(segs(run_with(Config { udp: UdpMode::Forwarding, ..BIG }, udp).1), [8, 2]);
    // 65 segments of 8,000 bytes, below eight times 65,535.
    assert_eq!(segs(merged::<Linux618>(BIG, false, &[], (70, 8000))), [65, 5]);
}

#[test]
fn in_a_tunnel_only_ipv4_outside_grows_over_65535_bytes() {
    let outer = |v6: bool, payload: usize| {
        let mut header = if v6 { vec![0; 40] } else { vec![0; 20] };
        if v6 {
            (header[0], header[6], header[7]) = (0x60, 4, 64);
            header[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
        } else {
            (header[0], header[8], header[9]) = (0x45, 64, 4);
            header[2..4].copy_from_slice(&(payload as u16 + 20).to_be_bytes());
            let check = field(u32::from(sum(&header)));
            header[10..12].copy_from_slice(&check.to_be_bytes());
        }
        header
    };
    let run = |v6: bool| {
        let frames = (0..10).map(|n| {
            let mut bytes = Seg { len: 8000, seq: n * 8000, ..seg(n) }.bytes().to_vec();
            let header = outer(v6, bytes.len() - 14);
            bytes[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
            bytes.splice(14..14, header);
            (Bytes::from(bytes), Meta::default())
        });
        run_as::<Linux618>(BIG, frames).1
    };
    let ipv4 = run(false).remove(0);
    assert_eq!((ipv4.segs, &ipv4.header[16..18], &ipv4.header[36..38]), (10, &[0, 0][..], &[0, 0][..]));
    assert_eq!(field(u32::from(sum(&ipv4.header[14..34]))), 0, "the header checksum follows");
    assert_eq!(run(true).iter().map(|packet| packet.segs).collect::<Vec<_>>(), [8, 2]);
}

#[test]
fn in_band_tags_are_part_of_the_flow_and_of_its_size() {
    let tagged = |v6: bool, tag: [u8; 4], n: u32| {
        let mut bytes = Seg { v6, ..seg(n) }.bytes().to_vec();
        bytes.splice(12..12, tag);
        (Bytes::from(bytes), Meta::default())
    };
    let five = [0x81, 0, 0, 5];
    let run = |config: Config, v6: bool, tags: [[u8; 4]; 2]| {
        let (verdicts, out) = run_with(config, [tagged(v6, tags[0], 0), tagged(v6, tags[1], 1)]);
        (verdicts, out[0].to_vec())
    };
    let in_band = Config { vlan: VlanMode::InBand, ..Config::DEFAULT };
    for v6 in [false, true] {
        assert_eq!(run(Config::DEFAULT, v6, [five; 2]).0, "NN");
        assert_eq!(run(in_band, v6, [five, [0x81, 0, 0, 6]]).0, "HH");
        assert_eq!(run(in_band, v6, [five, [0x81, 0, 0x20, 5]]).0, "HH");
        assert_eq!(run(in_band, v6, [five, [0x88, 0xa8, 0, 5]]).0, "HH");

        let (verdicts, mut bytes) = run(in_band, v6, [five; 2]);
        assert_eq!((verdicts.as_str(), &bytes[12..16]), ("HM", &five[..]));
        bytes.drain(12..16);
        let untagged =
            run_with(Config::DEFAULT, (0..2).map(|n| (Seg { v6, ..seg(n) }.bytes(), Meta::default())));
        assert_eq!(bytes, untagged.1[0].to_vec(), "the tag aside it is the same packet");

        // The tag counts, and the limit is that of IPv4 for both: the device sees the tag's ethertype.
        let header = if v6 { 60 } else { 40 };
        let limit = |gro_ipv4_max_size| Config { gro_max_size: 1, gro_ipv4_max_size, ..in_band };
        assert_eq!(run(limit(4 + header + 2000), v6, [five; 2]).0, "HH");
        assert_eq!(run(limit(4 + header + 2001), v6, [five; 2]).0, "HM");
    }
}

#[test]
fn from_1000_jiffies_a_second_on_a_whole_budget_keeps_the_young() {
    let after_64 = |config: Config, frames: u32| {
        let mut engine = Engine::<Linux618>::new(config);
        let mut out = 0;
        for n in 0..frames {
            engine.receive(seg(n).bytes(), Meta::default(), &mut |_| out += 1);
        }
        engine.poll_end(&mut |_| out += 1);
        let kept = out == 0;
        // A poll without frames: the timer's, or the next look at an empty ring.
        engine.poll_end(&mut |_| out += 1);
        assert_eq!(out, 1);
        kept
    };
    let timeout = |hz, flush_timeout| Config { hz, flush_timeout, ..Config::DEFAULT };
    for (config, frames, kept) in [
        (timeout(250, 0), 63, false),
        (timeout(250, 1), 63, true),
        (timeout(250, 1), 64, false),
        (timeout(1000, 0), 63, false),
        (timeout(1000, 0), 64, true),
        (timeout(999, 0), 64, false),
    ] {
        assert_eq!(after_64(config, frames), kept, "{config:?}, {frames}");
    }
}

#[test]
fn merged_cwr_is_marked_as_the_release_does() {
    use crate::complete::{GSO_TCP_ACCECN, GSO_TCP_ECN, GSO_TCPV4};
    let frames = |with: fn(u32) -> bool| {
        (0..3).map(move |n| {
            (Seg { flags: if with(n) { 0x10 | CWR } else { 0x10 }, ..seg(n) }.bytes(), Meta::default())
        })
    };
    let first = run_as::<Linux612>(Config::DEFAULT, frames(|n| n == 0)).1.remove(0);
    assert_eq!((first.segs, first.gso_type, first.header[47]), (3, GSO_TCPV4 | GSO_TCP_ECN, 0x10 | CWR));
    let all = run_as::<Linux7>(Config::DEFAULT, frames(|_| true)).1.remove(0);
    assert_eq!((all.segs, all.gso_type, all.header[47]), (3, GSO_TCPV4 | GSO_TCP_ACCECN, 0x10 | CWR));
}

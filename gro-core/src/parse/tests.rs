//! What the parser makes of frames.

use super::*;
use crate::Linux618;
use crate::VlanMode;
use crate::checksum::{field, fold};
use crate::window::Header;
use alloc::vec::Vec;

/// A valid IPv4/TCP frame; tests change what they are about.
pub(crate) fn frame(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x00");
    bytes.extend([0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend([0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes.resize(54 + payload, 0x61);
    let total = (40 + payload) as u16;
    bytes[16..18].copy_from_slice(&total.to_be_bytes());
    let check = field(words(&bytes[14..34]));
    bytes[24..26].copy_from_slice(&check.to_be_bytes());
    bytes
}

pub(crate) fn words(bytes: &[u8]) -> u32 {
    let sum = |sum: u32, pair: &[u8]| {
        u32::from(fold(sum + u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))))
    };
    bytes.chunks(2).fold(0, sum)
}

pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<Packet, Bypass> {
    let mut storage = Header::ZERO;
    storage.bytes_mut().fill(0xee);
    storage.load(bytes);
    let mut packet = Packet::EMPTY;
    let window = Window::new(&storage, bytes.len() as u32);
    parse::<Linux618>(&window, &Config::DEFAULT, &mut packet).map(|()| packet)
}

#[test]
fn reads_every_field() {
    let packet = parse_bytes(&frame(100)).unwrap();
    assert_eq!((packet.l4, packet.payload, packet.payload_len), (34, 54, 100));
    assert_eq!((packet.seq, packet.ack, packet.control), (1, 2, 0x5010_0100));
    assert_eq!((packet.key.ports, packet.id_check >> 16), (80 << 16 | 256, 7));
    assert_eq!((packet.class, packet.mismatch), (0x1_0000 | 64, false));
}

#[test]
fn every_cut_is_refused_or_marked() {
    let whole = frame(10);
    for len in 0..whole.len() {
        match parse_bytes(&whole[..len]) {
            Err(why) => assert_eq!(why, Bypass::Truncated, "{len}"),
            Ok(packet) => assert!(packet.mismatch && len >= 54, "{len}"),
        }
    }
}

#[test]
fn names_what_it_cannot_look_at() {
    let changed = |at: usize, value: u8| {
        let mut bytes = frame(100);
        bytes[at] = value;
        parse_bytes(&bytes).unwrap_err()
    };
    assert_eq!(changed(12, 9), Bypass::NotIp);
    assert_eq!(changed(14, 0x46), Bypass::IpOptions);
    assert_eq!(changed(20, 0x20), Bypass::Fragment);
    assert_eq!(changed(24, 0x77), Bypass::IpChecksum);
    let mut other = frame(100);
    other[23] = 18;
    let check = u16::from_be_bytes([other[24], other[25]]) - 12;
    other[24..26].copy_from_slice(&check.to_be_bytes());
    assert_eq!(parse_bytes(&other).unwrap_err(), Bypass::Protocol);
    assert_eq!(changed(46, 0x40), Bypass::DataOffset);
    assert_eq!(parse_bytes(&Vec::from([0; 70_000])).unwrap_err(), Bypass::TooLong);
}

fn tagged(tags: &[[u8; 4]], vlan: VlanMode) -> Result<Packet, Bypass> {
    let mut bytes = frame(100);
    bytes.splice(12..12, tags.concat());
    parse_as(&bytes, vlan)
}

fn parse_as(bytes: &[u8], vlan: VlanMode) -> Result<Packet, Bypass> {
    let mut storage = Header::ZERO;
    storage.bytes_mut().fill(0xee);
    storage.load(bytes);
    let mut packet = Packet::EMPTY;
    let config = Config { vlan, ..Config::DEFAULT };
    parse::<Linux618>(&Window::new(&storage, bytes.len() as u32), &config, &mut packet).map(|()| packet)
}

const OUTER: [u8; 4] = [0x88, 0xa8, 0x20, 5];
const INNER: [u8; 4] = [0x81, 0, 0, 7];

#[test]
fn looks_behind_up_to_two_tags_where_they_are_in_band() {
    for (tags, words) in
        [(&[][..], &[][..]), (&[INNER], &[0x8100_0007]), (&[OUTER, INNER], &[0x88a8_2005, 0x8100_0007])]
    {
        let packet = tagged(tags, VlanMode::InBand).unwrap();
        let shift = 4 * tags.len() as u32;
        assert_eq!(packet.chain.words[..packet.chain.len as usize], *words);
        assert_eq!(packet.key.protocol >> 16, 0x0800);
        assert_eq!((packet.l3, packet.l4, packet.payload), (14 + shift, 34 + shift, 54 + shift));
        assert_eq!((packet.payload_len, packet.mismatch), (100, false));
    }
    assert_eq!(tagged(&[OUTER, OUTER, INNER], VlanMode::InBand), Err(Bypass::NotIp));
    assert_eq!(tagged(&[INNER], VlanMode::Stripped), Err(Bypass::NotIp));
}

#[test]
fn a_cut_tag_is_refused() {
    let mut bytes: Vec<u8> = frame(0);
    bytes.splice(12..12, INNER);
    for len in 14..18 {
        assert_eq!(parse_as(&bytes[..len], VlanMode::InBand), Err(Bypass::Truncated), "{len}");
    }
}

fn ipv6_frame(extensions: &[u8], next: u8) -> Vec<u8> {
    let mut bytes = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x86\xdd");
    let length = (extensions.len() + 20 + 100) as u16;
    bytes.extend([0x6a, 0xb1, 0x23, 0x45, (length >> 8) as u8, length as u8, next, 63]);
    bytes.extend(1..=32);
    bytes.extend_from_slice(extensions);
    bytes.extend([0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes.extend([0x61; 100]);
    bytes
}

#[test]
fn walks_extension_headers() {
    let plain = parse_bytes(&ipv6_frame(&[], 6)).unwrap();
    assert_eq!((plain.l4, plain.payload_len, plain.chain.len), (54, 100, 0));
    assert_eq!((plain.key.label, plain.class), (0x6001_2345, 0xab3f));

    let mut chain = Vec::from([43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 6, 1]);
    chain.extend([0; 14]);
    let extended = parse_bytes(&ipv6_frame(&chain, 0)).unwrap();
    assert_eq!((extended.l4, extended.payload_len, extended.chain.len), (86, 100, 8));
    assert!(!extended.mismatch);
}

#[test]
fn bypasses_fragments_long_chains_and_cut_headers() {
    assert_eq!(parse_bytes(&ipv6_frame(&[6, 0, 0, 0, 0, 0, 0, 0], 44)), Err(Bypass::Protocol));
    let mut long = alloc::vec![0; 400];
    long[..2].copy_from_slice(&[6, 49]);
    assert_eq!(parse_bytes(&ipv6_frame(&long, 0)), Err(Bypass::TooLong));
    assert_eq!(parse_bytes(&ipv6_frame(&[6, 255, 0, 0, 0, 0, 0, 0], 60)), Err(Bypass::Truncated));
    let many = [0; 8].repeat(26);
    assert_eq!(parse_bytes(&ipv6_frame(&many, 0)), Err(Bypass::TooLong));
}

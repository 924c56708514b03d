//! A VLAN tag comes and goes beside the frame. Raw sockets, as not every kernel has VLAN devices.

use crate::hosts::missing;
use crate::pair::{Pair, options, stop};
use crate::raw::Raw;
use std::time::{Duration, Instant};

const TAG: u32 = 0x8100_2005;
const PAYLOAD: usize = 1_000;
const FRAMES: usize = 40;

#[test]
fn a_tag_survives() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let via = pair.start(options());
    let sender = pair.client.run(|| Raw::open("c0", 0));
    let receiver = pair.server.run(|| Raw::open("s0", 0));
    // A poll takes what is ready, so how many frames merge is not certain.
    let mut merged = 0;
    let mut sequence = 1;
    for _ in 0..50 {
        let mut sent = Vec::new();
        for number in 0..FRAMES {
            let payload = [number as u8; PAYLOAD];
            sender.send(&tagged_segment(sequence, &payload));
            sequence += PAYLOAD as u32;
            sent.extend_from_slice(&payload);
        }
        merged += receive(&receiver, &sent);
        if merged > 0 {
            break;
        }
    }
    assert!(merged > 0, "no tagged packet was merged");
    stop(via, 2.0);
}

/// Takes every frame as it came (untagged in memory, tag beside it) and again as it was delivered. Gives how many packets were merged.
fn receive(socket: &Raw, sent: &[u8]) -> usize {
    const HEADERS: usize = 54;
    let (mut came, mut delivered) = (Vec::new(), Vec::new());
    let mut merged = 0;
    let end = Instant::now() + Duration::from_secs(10);
    while came.len() + delivered.len() < 2 * sent.len() {
        assert!(Instant::now() < end, "{} + {} of 2 x {}", came.len(), delivered.len(), sent.len());
        let Some((bytes, vlan)) = socket.read() else { continue };
        if bytes.get(12..14) != Some(&[0x08, 0x00]) || bytes.get(23) != Some(&6) {
            continue;
        }
        assert_eq!(vlan, TAG, "{} bytes", bytes.len());
        let payload = &bytes[HEADERS..];
        merged += usize::from(payload.len() > PAYLOAD);
        // The first one of a payload is the original, whatever is delivered in between.
        if payload.len() == PAYLOAD && sent[came.len()..].starts_with(payload) {
            came.extend_from_slice(payload);
        } else {
            delivered.extend_from_slice(payload);
        }
    }
    assert!(came == sent && delivered == sent);
    merged
}

fn tagged_segment(sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0x30, 0x39, 0x14, 0x51];
    tcp.extend_from_slice(&sequence.to_be_bytes());
    tcp.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 0x10, 0, 0, 0, 0, 0]);
    tcp.extend_from_slice(payload);
    let addresses = [10, 77, 9, 1, 10, 77, 9, 2];
    let len = (20 + tcp.len()) as u16;
    let mut ip = vec![0x45, 0, (len >> 8) as u8, len as u8];
    let number = (sequence / PAYLOAD as u32) as u16;
    ip.extend_from_slice(&number.to_be_bytes());
    ip.extend_from_slice(&[0x40, 0, 64, 6, 0, 0]);
    ip.extend_from_slice(&addresses);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = [0, 6, (tcp.len() >> 8) as u8, tcp.len() as u8];
    let sum = checksum(&[&addresses, &pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    frame.extend_from_slice(&TAG.to_be_bytes());
    frame.extend_from_slice(&[0x08, 0x00]);
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&tcp);
    frame
}

/// Of even pieces (RFC 1071).
fn checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.as_chunks::<2>().0);
    let sum: u32 = words.map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

//! Small bursts of one flow, each with one thing in it that decides what may be merged.

use super::Arrived;
use crate::cells;
use crate::workload::{Payload, Stream, Writer, fold, sum};

/// Payload bytes of a segment.
pub(crate) const PAYLOAD: usize = 1_000;

/// A burst with a name.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) frames: Vec<Arrived>,
}

const IP: usize = 14;
const TCP: usize = 34;

/// All of them; the first is plain.
pub(crate) fn all() -> Vec<Case> {
    let third = |change: fn(&mut Vec<u8>)| {
        move |number: usize, frame: &mut Vec<u8>| {
            if number == 2 {
                change(frame);
            }
        }
    };
    let from_third = |change: fn(&mut Vec<u8>)| {
        move |number: usize, frame: &mut Vec<u8>| {
            if number >= 2 {
                change(frame);
            }
        }
    };
    vec![
        case("four segments", |_, _| ()),
        case("another TTL from the third on", from_third(|frame| frame[IP + 8] = 60)),
        case("another TOS from the third on", from_third(|frame| frame[IP + 1] = 0x10)),
        case("PSH on the second", |number, frame| frame[TCP + 13] |= if number == 1 { 8 } else { 0 }),
        case("FIN on the third", third(|frame| frame[TCP + 13] |= 1)),
        case("CWR on the third", third(|frame| frame[TCP + 13] |= 0x80)),
        case("another window from the third on", from_third(|frame| frame[TCP + 15] ^= 1)),
        case("another ACK number from the third on", from_third(|frame| frame[TCP + 11] ^= 1)),
        case("another timestamp from the third on", from_third(|frame| frame[TCP + 27] ^= 1)),
        case("IP ID as before, and DF", |_, frame| frame[IP + 4..IP + 6].fill(0)),
        case("IP ID as before, without DF", |_, frame| frame[IP + 4..IP + 7].fill(0)),
        case("a wrong TCP checksum in the third", third(|frame| frame[TCP + 40] ^= 0xff)),
        case("a shorter segment in the middle", |number, frame| shorten(frame, number, 500)),
        case("a pure ACK as the third", third(|frame| set_payload(frame, 0))),
        out_of_order(),
    ]
}

fn out_of_order() -> Case {
    let mut case = case("the second before the first", |_, _| ());
    case.frames.swap(0, 1);
    case
}

fn case(name: &'static str, change: impl Fn(usize, &mut Vec<u8>)) -> Case {
    let mut writer = Writer::new(Stream { payload: Payload::Bytes(PAYLOAD), ..cells::plain(1, 1) });
    let frames = (0..4).map(|number| {
        let mut bytes = vec![0; writer.most()];
        let made = writer.write(&mut bytes);
        let broken = name.contains("wrong");
        change(number, &mut bytes);
        if !broken {
            complete(&mut bytes);
        }
        Arrived { bytes, hash: made.hash, vlan: 0 }
    });
    Case { name, frames: frames.collect() }
}

/// The second segment has fewer bytes, and those behind it follow it.
fn shorten(frame: &mut Vec<u8>, number: usize, payload: usize) {
    if number == 1 {
        set_payload(frame, payload);
    } else if number > 1 {
        let at = TCP + 4;
        let seq = u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        let seq = seq.wrapping_sub((PAYLOAD - payload) as u32);
        frame[at..at + 4].copy_from_slice(&seq.to_be_bytes());
    }
}

fn set_payload(frame: &mut Vec<u8>, payload: usize) {
    frame.truncate(TCP + 32 + payload);
    let len = (frame.len() - IP) as u16;
    frame[IP + 2..IP + 4].copy_from_slice(&len.to_be_bytes());
}

/// Makes both checksums right again.
fn complete(frame: &mut [u8]) {
    frame[IP + 10..IP + 12].fill(0);
    let check = !fold(sum(&frame[IP..TCP]));
    frame[IP + 10..IP + 12].copy_from_slice(&check.to_be_bytes());
    frame[TCP + 16..TCP + 18].fill(0);
    let check = !fold(sum(&frame[TCP..]) + pseudo(frame));
    frame[TCP + 16..TCP + 18].copy_from_slice(&check.to_be_bytes());
}

/// Whether the IPv4 header sums up.
pub(crate) fn ip_checksum_holds(frame: &[u8]) -> bool {
    fold(sum(&frame[IP..TCP])) == 0xffff
}

/// Whether TCP sums up, or the field holds the pseudo-header's sum for a device to complete.
pub(crate) fn tcp_checksum_holds(frame: &[u8], left_to_device: bool) -> bool {
    if left_to_device {
        u16::from_be_bytes([frame[TCP + 16], frame[TCP + 17]]) == fold(pseudo(frame))
    } else {
        fold(sum(&frame[TCP..]) + pseudo(frame)) == 0xffff
    }
}

fn pseudo(frame: &[u8]) -> u64 {
    sum(&frame[IP + 12..TCP]) + 6 + (frame.len() - TCP) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_valid_checksums_but_where_they_say_otherwise() {
        for case in all() {
            let valid = case.frames.iter().all(|frame| tcp_checksum_holds(&frame.bytes, false));
            assert_eq!(valid, !case.name.contains("wrong"), "{}", case.name);
            assert!(case.frames.iter().all(|frame| ip_checksum_holds(&frame.bytes)), "{}", case.name);
        }
    }
}

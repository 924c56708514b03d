//! What the kernel would lose: packets over 65,535 bytes whose jumbo header overwrites other headers (docs/adr/0004).

use crate::trace::Frame;
use gro_core::parse::parse;
use gro_core::{Config, HEADER_MAX, Linux618, Packet, STORAGE, Window};

/// Bytes of a jumbo header, and of other headers that it may displace.
const JUMBO_HEADER: usize = 8;
const ETHERNET: usize = 14;
const IPV6: [u8; 2] = [0x86, 0xdd];
const IPV6_HEADER: usize = 40;

/// Takes out what the kernel would lose; how many frames that was.
pub(super) fn exclude_lost(frames: &mut Vec<Frame>, config: &Config) -> usize {
    let before = frames.len();
    frames.retain(|frame| !is_lost(&frame.bytes, config));
    before - frames.len()
}

/// Whether a packet that this frame joins may grow so much that the kernel loses it.
fn is_lost(frame: &[u8], config: &Config) -> bool {
    let is_ipv6 = frame.get(12..ETHERNET) == Some(&IPV6);
    // The device knows the outer header only.
    let limit = if is_ipv6 { config.gro_max_size } else { config.gro_ipv4_max_size };
    limit > Config::DEFAULT.gro_max_size
        && (extension_bytes(frame) > JUMBO_HEADER || displaced(frame, config) > JUMBO_HEADER)
}

/// Bytes of hop-by-hop, routing and destination-options headers behind an IPv6 header.
pub fn extension_bytes(frame: &[u8]) -> usize {
    const CHAIN: usize = ETHERNET + IPV6_HEADER;
    if frame.get(12..ETHERNET) != Some(&IPV6) || frame.len() < CHAIN {
        return 0;
    }
    let (mut next, mut at) = (frame[20], CHAIN);
    while matches!(next, 0 | 43 | 60) && at + 2 <= frame.len() {
        next = frame[at];
        at += (usize::from(frame[at + 1]) + 1) * 8;
    }
    at - CHAIN
}

/// Bytes between the outermost IPv6 header and the TCP header, of a frame in a tunnel.
fn displaced(frame: &[u8], config: &Config) -> usize {
    let packet = tunnelled(frame, config);
    let first = match packet.outer_l3() as usize {
        0 => return 0,
        outer if frame.get(12..ETHERNET) == Some(&IPV6) => outer,
        _ if packet.is_ipv6() => packet.l3 as usize,
        _ => return 0,
    };
    (packet.l4 as usize).saturating_sub(first + IPV6_HEADER)
}

/// Whether GRO finds a tunnel in a frame, and what it merges in there.
pub(super) fn is_encapsulated(frame: &[u8], config: &Config) -> bool {
    tunnelled(frame, config).outer_l3() != 0
}

/// What the engine finds in a frame; nothing where it does not look.
fn tunnelled(frame: &[u8], config: &Config) -> Packet {
    let mut storage = [0; STORAGE];
    let len = frame.len().min(HEADER_MAX);
    storage[..len].copy_from_slice(&frame[..len]);
    let mut packet = Packet::EMPTY;
    match parse::<Linux618>(&Window::new(&storage, frame.len() as u32), config, &mut packet) {
        Ok(()) => packet,
        Err(_) => Packet::EMPTY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const BIG: u32 = Config::MAX_SIZE;

    /// A TCP header in these IP headers, given as version and bytes behind it.
    fn frame(headers: &[(u8, usize)]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(if headers[0].0 == 6 { IPV6 } else { [8, 0] });
        for (at, &(version, options)) in headers.iter().enumerate() {
            let next = headers.get(at + 1).map_or(6, |inner| if inner.0 == 6 { 41 } else { 4 });
            if version == 6 {
                let mut header = vec![0; IPV6_HEADER + options];
                (header[0], header[6]) = (0x60, if options > 0 { 60 } else { next });
                if options > 0 {
                    (header[IPV6_HEADER], header[IPV6_HEADER + 1]) = (next, (options / 8 - 1) as u8);
                }
                frame.extend(header);
            } else {
                let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, next];
                header.extend([0; 10]);
                let check = gro_core::checksum::field(u32::from(gro_core::user::sum(&header)));
                header[10..12].copy_from_slice(&check.to_be_bytes());
                frame.extend(header);
            }
        }
        frame.extend([0; 12]);
        frame.extend([0x50, 0x10, 0, 0, 0, 0, 0, 0, b'a']);
        frame
    }

    #[test]
    fn a_jumbo_header_may_displace_eight_bytes() {
        let both = Config { gro_max_size: BIG, gro_ipv4_max_size: BIG, ..Config::DEFAULT };
        let four = Config { gro_max_size: 65_536, ..both };
        let six = Config { gro_ipv4_max_size: 65_536, ..both };
        for (headers, lost, lost_four, lost_six) in [
            (&[(4, 0)][..], false, false, false),
            (&[(6, 0)], false, false, false),
            (&[(6, 8)], false, false, false),
            (&[(6, 16)], true, false, true),
            (&[(4, 0), (4, 0)], false, false, false),
            (&[(4, 0), (6, 8)], false, false, false),
            (&[(4, 0), (6, 16)], true, true, false),
            (&[(6, 0), (4, 0)], true, false, true),
            (&[(6, 0), (6, 0)], true, false, true),
        ] {
            let frame = frame(headers);
            assert_eq!(is_encapsulated(&frame, &both), headers.len() > 1, "{headers:?}");
            for (config, lost) in [(both, lost), (four, lost_four), (six, lost_six), (Config::DEFAULT, false)]
            {
                assert_eq!(is_lost(&frame, &config), lost, "{headers:?} {config:?}");
            }
        }
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let frame = |headers: &[(u8, usize)]| Frame {
            time_ns: 0,
            bytes: Bytes::from(frame(headers)),
            hash: 0,
            vlan: None,
        };
        let mut frames = vec![frame(&[(6, 16)]), frame(&[(4, 0)]), frame(&[(6, 0), (6, 0)])];
        let config = Config { gro_max_size: BIG, ..Config::DEFAULT };
        assert_eq!((exclude_lost(&mut frames, &config), frames.len()), (2, 1));
    }
}

//! UDP where it is coalesced, and what other rules do to a protocol without sequence numbers.

use super::{Only, Recipe, alone, kept_in_order, overtaken, recipe};
use crate::traces::mixed::script::Script;
use crate::traces::mixed::segment::{Layout, Segment, Transport, change_length, change_word};
use etherparse::IpNumber;

pub(super) fn data() -> Vec<Recipe> {
    vec![
        recipe("udp_single", Only::All, |c| {
            c.full(1);
            c.deliver(&[c.mss]);
        }),
        recipe("udp_same", Only::All, |c| {
            c.full(2);
            c.deliver(&[2 * c.mss]);
        }),
        recipe("udp_five", Only::All, |c| {
            c.full(5);
            c.deliver(&[5 * c.mss]);
        }),
        recipe("udp_shorter_closes", Only::All, |c| {
            c.full(2);
            c.data(c.mss / 2);
            c.full(2);
            c.deliver(&[2 * c.mss + c.mss / 2, 2 * c.mss]);
        }),
        recipe("udp_shorter_by_1_closes", Only::All, |c| {
            c.full(1);
            c.data(c.mss - 1);
            c.data(c.mss - 1);
            c.deliver(&[2 * c.mss - 1, c.mss - 1]);
        }),
        recipe("udp_longer_starts_anew", Only::All, |c| {
            c.data(c.mss / 2);
            c.data(c.mss / 2);
            c.full(2);
            c.deliver(&[c.mss / 2 * 2, 2 * c.mss]);
        }),
        recipe("udp_longer_by_1_starts_anew", Only::All, |c| {
            c.full(1);
            c.data(c.mss + 1);
            c.data(c.mss + 1);
            c.deliver(&[c.mss, 2 * (c.mss + 1)]);
        }),
        recipe("udp_1byte_closes", Only::All, |c| {
            c.full(1);
            c.data(1);
            c.full(1);
            c.deliver(&[c.mss + 1, c.mss]);
        }),
        recipe("udp_1byte_each", Only::All, |c| {
            for _ in 0..4 {
                c.data(1);
            }
            c.deliver(&[4]);
        }),
        recipe("udp_1byte_padded", Only::SmallV4, |c| {
            c.full(1);
            c.with(1, |s| s.damage(|frame, _| frame.resize(60, 0)));
            c.forget_identification();
            c.full(1);
            c.deliver(&[1, 2 * c.mss]);
        }),
        alone("udp_burst", Only::All, |c| {
            c.full(2);
            c.pause(100_000_000);
            c.full(2);
            c.deliver(&[2 * c.mss, 2 * c.mss]);
        }),
    ]
}

pub(super) fn header() -> Vec<Recipe> {
    vec![
        recipe("udp_port_source_differs", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| *s.ports()[0] ^= 0x4000);
            c.deliver(&[c.mss; 2]);
        }),
        recipe("udp_port_destination_differs", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| *s.ports()[1] ^= 0x4000);
            c.deliver(&[c.mss; 2]);
        }),
        // 192 bytes of extension headers: what the window has room for beside a UDP header.
        recipe("udp_v6ext_longest", Only::V6, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &longest(0)));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("udp_v6ext_longest_diff", Only::V6, |c| {
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &longest(0)));
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &longest(1)));
            c.deliver(&[c.mss; 2]);
        }),
        recipe("udp_csum_zero", Only::All, |c| overtaken(c, no_checksum)),
        recipe("udp_csum_zero_all", Only::All, |c| {
            for _ in 0..3 {
                c.with(c.mss, no_checksum);
            }
            c.deliver(&[c.mss; 3]);
        }),
        recipe("udp_csum_zero_first", Only::All, |c| {
            c.with(c.mss, no_checksum);
            c.full(2);
            c.deliver(&[c.mss, 2 * c.mss]);
        }),
        recipe("udp_csum", Only::All, |c| overtaken(c, bad_checksum)),
        recipe("udp_csum_all", Only::All, |c| {
            for _ in 0..3 {
                c.with(c.mss, bad_checksum);
            }
            c.deliver(&[c.mss; 3]);
        }),
        recipe("udp_csum_payload_flipped", Only::All, |c| {
            overtaken(c, |s| {
                s.damage(|frame, _| {
                    let last = frame.len() - 1;
                    frame[last] ^= 0x20;
                });
            });
        }),
        recipe("udp_csum_ffff", Only::All, |c| {
            c.full(1);
            c.with(c.mss, Segment::zero_checksum);
            c.full(1);
            c.deliver(&[3 * c.mss]);
        }),
    ]
}

pub(super) fn lengths() -> Vec<Recipe> {
    vec![
        recipe("udp_len_8", Only::All, |c| {
            c.full(1);
            c.extra(0, |_| ());
            c.forget_identification();
            c.full(1);
            c.deliver(&[0, 2 * c.mss]);
        }),
        recipe("udp_len_below_8", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| length(frame, at, |_| 7)))
        }),
        recipe("udp_len_0", Only::All, |c| overtaken(c, |s| s.damage(|frame, at| length(frame, at, |_| 0)))),
        recipe("udp_len_too_short", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| length(frame, at, |length| length - 1)));
        }),
        recipe("udp_len_too_long", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| length(frame, at, |length| length + 1)));
        }),
        recipe("udp_padded", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, _| frame.resize(frame.len() + 6, 0)));
        }),
        recipe("udp_padded_bad_csum", Only::All, |c| {
            overtaken(c, |s| {
                bad_checksum(s);
                s.damage(|frame, _| frame.resize(frame.len() + 6, 0));
            });
        }),
        recipe("udp_trailing_bytes", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, _| frame.extend_from_slice(b"trailer")));
        }),
        recipe("len_ip_too_short", Only::All, |c| {
            kept_in_order(c, |s| s.damage(|frame, at| change_length(frame, at, -4)));
        }),
        recipe("len_ip_too_long", Only::All, |c| {
            kept_in_order(c, |s| s.damage(|frame, at| change_length(frame, at, 4)));
        }),
        recipe("len_ip_bad_csum", Only::All, |c| {
            kept_in_order(c, |s| {
                bad_checksum(s);
                s.damage(|frame, at| change_length(frame, at, 4));
            });
        }),
        recipe("len_cut_in_payload", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, _| frame.truncate(frame.len() - 1)));
        }),
        recipe("len_cut_in_udp_header", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.transport + 5)));
        }),
        recipe("len_cut_behind_ip_header", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.transport)));
        }),
        recipe("len_cut_in_ip_header", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.ip + 10)));
        }),
    ]
}

/// Recipes of TCP whose last segment does not follow the first: without sequence numbers it merges.
pub(super) fn v6_out_of_order() -> Vec<Recipe> {
    vec![
        recipe("ip_flow_label", Only::V6, |c| {
            c.full(2);
            c.with(c.mss, |s| s.damage(|frame, at| frame[at.ip + 3] ^= 0x5a));
            c.full(2);
            c.deliver(&[4 * c.mss, c.mss]);
        }),
        recipe("ip_v6ext_some", Only::V6, |c| {
            c.full(1);
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]));
            c.full(1);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
    ]
}

pub(super) fn link() -> Vec<Recipe> {
    vec![
        // The same addresses and ports, whole in every respect, but another protocol.
        recipe("link_tcp_between", Only::All, |c| {
            c.full(1);
            let tcp = c.tcp(*c.segment(0).ports()[0], *c.segment(0).ports()[1]);
            c.extra(c.mss / 2, |s| {
                s.transport = Transport::Tcp(tcp);
                s.set_protocol(IpNumber::TCP);
            });
            c.forget_identification();
            c.full(1);
            c.deliver(&[2 * c.mss, c.mss / 2]);
        }),
        recipe("link_mac_differs", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| s.ethernet.source[5] = 7);
            c.with(c.mss, |s| s.ethernet.source[5] = 7);
            c.forget_identification();
            c.forget_identification();
            c.full(1);
            c.deliver(&[2 * c.mss, 2 * c.mss]);
        }),
        recipe("link_mac_destination_differs", Only::All, |c| {
            c.full(2);
            c.with(c.mss, |s| s.ethernet.destination[5] = 7);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("link_vlan_some", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| s.vlan = Some(5));
            c.forget_identification();
            c.full(1);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
    ]
}

pub(super) fn sizes() -> Vec<Recipe> {
    vec![
        alone("udp_64_segments", Only::Small, |c| {
            c.full(64);
            c.deliver(&[64 * c.mss]);
        }),
        alone("udp_65_segments", Only::Small, |c| {
            c.full(65);
            c.deliver(&[64 * c.mss, c.mss]);
        }),
        // 65,535 bytes from the network header on.
        alone("large_max", Only::All, |c| {
            let (full, rest) = room(c);
            for _ in 0..full {
                c.data(LARGE);
            }
            c.data(rest);
            c.data(LARGE);
            c.deliver(&[full * LARGE + rest, LARGE]);
        }),
        alone("large_rem", Only::All, |c| {
            let (full, rest) = room(c);
            for _ in 0..full {
                c.data(LARGE);
            }
            c.data(rest + 1);
            c.deliver(&[full * LARGE, rest + 1]);
        }),
    ]
}

/// Options of a header of 192 bytes.
fn longest(last: u8) -> Vec<u8> {
    let mut body = vec![0; 190];
    (body[0], body[1], body[189]) = (1, 188, last);
    body
}

/// Payload bytes of the datagrams that fill a packet.
const LARGE: usize = 1_400;

/// How many of them, and the largest one behind them.
fn room(c: &Script) -> (usize, usize) {
    let room = 65_535 - c.headers();
    (room / LARGE, room % LARGE)
}

fn no_checksum(s: &mut Segment) {
    s.damage(|frame, at| frame[at.transport + 6..at.transport + 8].fill(0));
}

fn bad_checksum(s: &mut Segment) {
    s.damage(|frame, at| frame[at.transport + 6] ^= 0x40);
}

/// Changes the length field; the checksum fits it again, so that nothing else is wrong.
fn length(frame: &mut [u8], at: &Layout, change: fn(u16) -> u16) {
    let field = at.transport + 4;
    let old = u16::from_be_bytes([frame[field], frame[field + 1]]);
    change_word(frame, at, 4, old ^ change(old));
}

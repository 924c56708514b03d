//! Frames of MTU 9000: what becomes BIG TCP where the config lets it. What leaves is stated for the default config.

use etherparse::IpNumber;

use super::{Only, Recipe, alone, recipe};
use crate::traces::mixed::script::Script;

pub(super) fn big() -> Vec<Recipe> {
    vec![
        alone("big_poll", Only::All, |c| {
            c.full(64);
            deliver(c, 64, 7);
        }),
        recipe("big_flow", Only::All, |c| {
            c.full(12);
            deliver(c, 12, 7);
        }),
        // 65,535 bytes behind the IPv6 header, and one more: where its length field ends.
        alone("big_length_fits", Only::All, |c| ends_at(c, 65_535)),
        alone("big_length_over", Only::All, |c| ends_at(c, 65_536)),
        alone("big_short_end", Only::All, |c| {
            c.full(10);
            c.data(1);
            c.full(1);
            c.deliver(&[7 * c.mss, 3 * c.mss + 1, c.mss]);
        }),
        alone("big_psh", Only::All, |c| {
            c.full(9);
            c.with(c.mss, |s| s.tcp().psh = true);
            c.full(1);
            c.deliver(&[7 * c.mss, 3 * c.mss, c.mss]);
        }),
        alone("big_vlan", Only::All, |c| {
            for _ in 0..12 {
                c.with(c.mss, |s| s.vlan = Some(5));
            }
            deliver(c, 12, 7);
        }),
        // The jumbo header goes in front of eight bytes of options.
        alone("big_v6ext", Only::V6, |c| {
            for _ in 0..12 {
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]));
            }
            deliver(c, 12, 7);
        }),
    ]
}

/// `count` full segments leave in packets of `most`.
fn deliver(c: &mut Script, count: usize, most: usize) {
    let rest = count % most;
    let mut packets = vec![most * c.mss; count / most];
    packets.extend((rest > 0).then_some(rest * c.mss));
    c.deliver(&packets);
}

/// One packet of `length` bytes behind 40 bytes of network header.
fn ends_at(c: &mut Script, length: usize) {
    let transport = c.headers() - if c.shape.v6 { 40 } else { 20 };
    let last = length - transport - 7 * c.mss;
    c.full(7);
    c.data(last);
    c.deliver(&[7 * c.mss, last]);
}

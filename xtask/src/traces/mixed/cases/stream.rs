//! What the sender does with its stream: sizes, order, loss.

use super::{Only, Recipe, alone, recipe};
use crate::traces::mixed::script::Script;

pub(super) fn data() -> Vec<Recipe> {
    vec![
        recipe("single", Only::All, |c| {
            c.full(1);
            c.deliver(&[c.mss]);
        }),
        recipe("data_same", Only::All, |c| {
            c.full(2);
            c.deliver(&[2 * c.mss]);
        }),
        recipe("data_in_order", Only::All, |c| {
            c.full(5);
            c.deliver(&[5 * c.mss]);
        }),
        recipe("data_lrg_sml", Only::All, |c| {
            c.full(1);
            c.data(c.mss / 2);
            c.deliver(&[c.mss + c.mss / 2]);
        }),
        recipe("data_sml_lrg", Only::All, |c| {
            c.data(c.mss / 2);
            c.full(1);
            c.deliver(&[c.mss / 2, c.mss]);
        }),
        recipe("data_lrg_1byte", Only::All, |c| {
            c.full(1);
            c.data(1);
            c.deliver(&[c.mss + 1]);
        }),
        recipe("data_lrg_1byte_padded", Only::SmallV4, |c| {
            c.full(1);
            c.with(1, |s| s.damage(|frame, _| frame.resize(60, 0)));
            c.deliver(&[c.mss, 1]);
        }),
        recipe("data_1byte_each", Only::All, |c| {
            for _ in 0..4 {
                c.data(1);
            }
            c.deliver(&[4]);
        }),
        recipe("data_odd_length", Only::All, |c| {
            for _ in 0..3 {
                c.data(c.mss - 1 + c.mss % 2);
            }
            c.deliver(&[3 * (c.mss - 1 + c.mss % 2)]);
        }),
        recipe("data_smaller_middle", Only::All, |c| {
            c.full(1);
            c.data(c.mss / 2);
            c.full(2);
            c.deliver(&[c.mss + c.mss / 2, 2 * c.mss]);
        }),
        recipe("data_larger_third", Only::All, |c| {
            c.data(c.mss / 2);
            c.data(c.mss / 2);
            c.full(2);
            c.deliver(&[c.mss / 2 * 2, 2 * c.mss]);
        }),
        alone("data_burst", Only::All, |c| {
            c.full(2);
            c.pause(100_000_000);
            c.full(2);
            c.deliver(&[2 * c.mss, 2 * c.mss]);
        }),
        recipe("ack", Only::All, |c| {
            c.data(0);
            c.data(0);
            c.with(0, |s| s.tcp().acknowledgment_number += 1);
            c.deliver(&[0, 0, 0]);
        }),
        recipe("ack_between_data", Only::All, |c| {
            c.full(1);
            c.data(0);
            c.full(2);
            c.deliver(&[c.mss, 0, 2 * c.mss]);
        }),
        recipe("seq_swapped_3_4_of_6", Only::All, |c| {
            c.full(2);
            c.lose(c.mss);
            c.full(1);
            c.rewind(2 * c.mss);
            c.full(1);
            c.lose(c.mss);
            c.full(2);
            c.deliver(&[2 * c.mss, c.mss, c.mss, 2 * c.mss]);
        }),
        recipe("seq_lost_and_sent_again", Only::All, |c| {
            c.full(2);
            c.lose(c.mss);
            c.full(2);
            c.rewind(3 * c.mss);
            c.full(1);
            c.lose(2 * c.mss);
            c.full(1);
            c.deliver(&[2 * c.mss, 2 * c.mss, c.mss, c.mss]);
        }),
        recipe("seq_duplicate", Only::All, |c| {
            c.full(1);
            c.rewind(c.mss);
            c.full(2);
            c.deliver(&[c.mss, 2 * c.mss]);
        }),
        recipe("seq_overlap", Only::All, |c| {
            c.full(1);
            c.rewind(1);
            c.full(1);
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("seq_wraps", Only::All, |c| {
            c.start_at(0_u32.wrapping_sub(c.mss as u32 + 7));
            c.full(3);
            c.deliver(&[3 * c.mss]);
        }),
        recipe("seq_wraps_at_segment", Only::All, |c| {
            c.start_at(0_u32.wrapping_sub(2 * c.mss as u32));
            c.full(4);
            c.deliver(&[4 * c.mss]);
        }),
    ]
}

pub(super) fn sizes() -> Vec<Recipe> {
    vec![
        alone("large_max", Only::Mtu1500, |c| {
            let rest = room(c, 45);
            c.full(45);
            c.data(rest);
            c.full(1);
            c.deliver(&[45 * c.mss + rest, c.mss]);
        }),
        alone("large_rem", Only::Mtu1500, |c| {
            let rest = room(c, 45) + 1;
            c.full(45);
            c.data(rest);
            c.deliver(&[45 * c.mss, rest]);
        }),
        alone("large_next", Only::Mtu1500, |c| {
            c.full(47);
            c.deliver(&[45 * c.mss, 2 * c.mss]);
        }),
        alone("large_jumbo", Only::Mtu1500, |c| {
            for _ in 0..9 {
                c.data(8_900);
            }
            c.deliver(&[7 * 8_900, 2 * 8_900]);
        }),
        alone("large_poll", Only::All, |c| {
            // 64 segments use up the budget of the poll; the 65th is in the next one.
            let count = if c.mss > 1_000 { 44 } else { 64 };
            c.full(count);
            c.deliver(&[count * c.mss]);
        }),
        alone("large_two_polls", Only::Small, |c| {
            c.full(70);
            c.deliver(&[64 * c.mss, 6 * c.mss]);
        }),
    ]
}

/// The largest last segment that still joins `count` full ones: the packet stays below 65,536 bytes.
fn room(c: &Script, count: usize) -> usize {
    65_535 - c.headers() - count * c.mss
}

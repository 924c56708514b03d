//! TCP header: flags, numbers, options, checksum.

use super::{Only, Recipe, from_third_of_five, overtaken, recipe, third_of_five};
use crate::traces::mixed::script::{Script, set_options, timestamps};
use crate::traces::mixed::segment::{Layout, Segment, change_word};

pub(super) fn flags() -> Vec<Recipe> {
    vec![
        recipe("flags_psh", Only::All, |c| {
            third_of_five(c, |s| s.tcp().psh = true);
            c.deliver(&[3 * c.mss, 2 * c.mss]);
        }),
        recipe("flags_psh_every", Only::All, |c| {
            for _ in 0..4 {
                c.with(c.mss, |s| s.tcp().psh = true);
            }
            c.deliver(&[c.mss; 4]);
        }),
        recipe("flags_psh_empty", Only::All, |c| {
            c.full(2);
            c.with(0, |s| s.tcp().psh = true);
            c.deliver(&[2 * c.mss, 0]);
        }),
        recipe("flags_syn", Only::All, |c| {
            empty_between(c, |s| s.tcp().syn = true);
            c.deliver(&[2 * c.mss, 0, 2 * c.mss]);
        }),
        recipe("flags_rst", Only::All, |c| {
            empty_between(c, |s| s.tcp().rst = true);
            c.deliver(&[2 * c.mss, 0, 2 * c.mss]);
        }),
        recipe("flags_urg", Only::All, |c| {
            empty_between(c, |s| {
                s.tcp().urg = true;
                s.tcp().urgent_pointer = 1;
            });
            c.deliver(&[2 * c.mss, 0, 2 * c.mss]);
        }),
        recipe("flags_fin_data", Only::All, |c| {
            third_of_five(c, |s| s.tcp().fin = true);
            c.deliver(&[3 * c.mss, 2 * c.mss]);
        }),
        recipe("flags_fin_psh_short_last", Only::All, |c| {
            c.full(3);
            c.with(c.mss / 2, |s| (s.tcp().fin, s.tcp().psh) = (true, true));
            c.deliver(&[3 * c.mss + c.mss / 2]);
        }),
        recipe("flags_fin_empty", Only::All, |c| {
            c.full(2);
            c.with(0, |s| s.tcp().fin = true);
            c.deliver(&[2 * c.mss, 0]);
        }),
        recipe("flags_syn_data_first", Only::All, |c| {
            c.with(c.mss, |s| s.tcp().syn = true);
            c.full(2);
            c.deliver(&[c.mss, 2 * c.mss]);
        }),
        recipe("flags_rst_data", Only::All, |c| {
            third_of_five(c, |s| s.tcp().rst = true);
            c.deliver(&[2 * c.mss, c.mss, 2 * c.mss]);
        }),
        recipe("flags_urg_data", Only::All, |c| {
            third_of_five(c, |s| s.tcp().urg = true);
            c.deliver(&[2 * c.mss, c.mss, 2 * c.mss]);
        }),
        recipe("flags_urg_ptr_alone", Only::All, |c| {
            third_of_five(c, |s| s.tcp().urgent_pointer = 7);
            c.deliver(&[5 * c.mss]);
        }),
        recipe("flags_no_ack", Only::All, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.tcp().ack = false);
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("flags_none_then_ack", Only::All, |c| {
            c.with(c.mss, |s| s.tcp().ack = false);
            c.full(2);
            c.deliver(&[c.mss, 2 * c.mss]);
        }),
        recipe("flags_ece_all", Only::All, |c| {
            for _ in 0..4 {
                c.with(c.mss, |s| s.tcp().ece = true);
            }
            c.deliver(&[4 * c.mss]);
        }),
        recipe("flags_ece_third", Only::All, |c| {
            third_of_five(c, |s| s.tcp().ece = true);
            c.deliver(&[2 * c.mss, c.mss, 2 * c.mss]);
        }),
        recipe("flags_cwr", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| s.tcp().cwr = true);
            c.with(c.mss, |s| s.tcp().cwr = true);
            c.full(2);
            c.deliver(&[c.mss, c.mss, c.mss, 2 * c.mss]);
        }),
        recipe("flags_cwr_first", Only::All, |c| {
            c.with(c.mss, |s| s.tcp().cwr = true);
            c.full(2);
            c.deliver(&[c.mss, 2 * c.mss]);
        }),
        recipe("flags_cwr_second", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| s.tcp().cwr = true);
            c.full(1);
            c.deliver(&[c.mss; 3]);
        }),
        recipe("flags_cwr_last", Only::All, |c| {
            c.full(2);
            c.with(c.mss, |s| s.tcp().cwr = true);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("flags_ae_third_on", Only::All, |c| {
            from_third_of_five(c, |s| s.tcp().ns = true);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("flags_reserved_third_on", Only::All, |c| {
            from_third_of_five(c, |s| s.damage(|frame, at| change_word(frame, at, 12, 0x0200)));
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
    ]
}

pub(super) fn header() -> Vec<Recipe> {
    vec![
        recipe("tcp_seq", Only::All, |c| {
            c.full(1);
            c.lose(1);
            c.full(1);
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("tcp_ack_third_on", Only::All, |c| {
            from_third_of_five(c, |s| s.tcp().acknowledgment_number += 100);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("tcp_window_third_on", Only::All, |c| {
            from_third_of_five(c, |s| s.tcp().window_size += 1);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("tcp_ports_differ", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| *s.ports()[0] ^= 0x4000);
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("tcp_port_destination_differs", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| *s.ports()[1] ^= 0x4000);
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("tcp_seq_psh", Only::All, |c| {
            // It completes what is held, and is not held itself.
            c.full(1);
            c.lose(1);
            c.with(c.mss, |s| s.tcp().psh = true);
            c.full(2);
            c.deliver(&[c.mss, c.mss, 2 * c.mss]);
        }),
        recipe("tcp_opt", Only::All, |c| {
            c.full(2);
            c.with(c.mss, |s| set_options(s.tcp(), &[1, 1, 1, 0]));
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("tcp_opt_sack_same", Only::All, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| set_options(s.tcp(), &[1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0]));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("tcp_opt_sack_third_on", Only::All, |c| {
            from_third_of_five(c, |s| set_options(s.tcp(), &[1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0]));
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("tcp_opt_40_bytes", Only::All, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| set_options(s.tcp(), &[1; 40]));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("tcp_opt_last_byte", Only::All, |c| {
            c.with(c.mss, |s| set_options(s.tcp(), &[1; 40]));
            c.with(c.mss, |s| {
                let mut options = [1; 40];
                options[39] = 0;
                set_options(s.tcp(), &options);
            });
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("tcp_ts", Only::Timestamps, |c| {
            c.with(c.mss, |s| timestamps(s.tcp(), 0, 0));
            c.with(c.mss, |s| timestamps(s.tcp(), 0, 0));
            c.with(c.mss, |s| timestamps(s.tcp(), 100, 0));
            c.with(c.mss, |s| set_options(s.tcp(), &[1, 8, 10, 0, 0, 0, 100, 0, 0, 0, 0, 1]));
            c.with(c.mss, |s| set_options(s.tcp(), &[8, 10, 0, 0, 0, 100, 0, 0, 0, 0, 1, 1]));
            c.deliver(&[2 * c.mss, c.mss, c.mss, c.mss]);
        }),
        recipe("tcp_ts_third_on", Only::Timestamps, |c| {
            from_third_of_five(c, |s| timestamps(s.tcp(), 1_001, 2_000));
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("tcp_ts_echo_third_on", Only::Timestamps, |c| {
            from_third_of_five(c, |s| timestamps(s.tcp(), 1_000, 2_001));
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("tcp_doff_below_5", Only::All, |c| {
            overtaken(c, |s| {
                s.damage(|frame, at| {
                    let word = u16::from_be_bytes([frame[at.transport + 12], frame[at.transport + 13]]);
                    change_word(frame, at, 12, (word & 0xf000) ^ 0x4000);
                });
            });
        }),
        recipe("tcp_doff_beyond_frame", Only::All, |c| doff_beyond(c, |_, _| ())),
        recipe("tcp_doff_beyond_padded", Only::All, |c| {
            doff_beyond(c, |frame, _| frame.resize(frame.len() + 6, 0));
        }),
    ]
}

pub(super) fn checksums() -> Vec<Recipe> {
    vec![
        recipe("tcp_csum", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| s.damage(|frame, at| frame[at.transport + 16] ^= 0x40));
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("tcp_csum_third", Only::All, |c| {
            third_of_five(c, |s| s.damage(|frame, at| frame[at.transport + 16] ^= 0x40));
            c.deliver(&[c.mss, 2 * c.mss, 2 * c.mss]);
        }),
        recipe("tcp_csum_gap", Only::All, |c| {
            // 0, bad, and the one behind it: the bad one leaves first.
            c.full(1);
            c.with(c.mss / 2, |s| s.damage(|frame, at| frame[at.transport + 16] ^= 0x40));
            c.full(1);
            c.deliver(&[c.mss / 2, c.mss, c.mss]);
        }),
        recipe("tcp_csum_overtakes", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame[at.transport + 17] ^= 1));
        }),
        recipe("tcp_csum_payload_flipped", Only::All, |c| {
            overtaken(c, |s| {
                s.damage(|frame, _| {
                    let last = frame.len() - 1;
                    frame[last] ^= 0x20;
                });
            });
        }),
        recipe("tcp_csum_0000", Only::All, |c| {
            c.full(1);
            c.with(c.mss, Segment::zero_checksum);
            c.full(1);
            c.deliver(&[3 * c.mss]);
        }),
        recipe("tcp_csum_ffff", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| {
                s.zero_checksum();
                s.damage(|frame, at| frame[at.transport + 16..at.transport + 18].fill(0xff));
            });
            c.full(1);
            c.deliver(&[3 * c.mss]);
        }),
        recipe("tcp_csum_0000_first", Only::All, |c| {
            c.with(c.mss, Segment::zero_checksum);
            c.full(2);
            c.deliver(&[3 * c.mss]);
        }),
        recipe("tcp_csum_ffff_alone", Only::All, |c| {
            c.with(c.mss, |s| {
                s.zero_checksum();
                s.damage(|frame, at| frame[at.transport + 16..at.transport + 18].fill(0xff));
            });
            c.deliver(&[c.mss]);
        }),
    ]
}

fn empty_between(c: &mut Script, change: impl FnOnce(&mut Segment)) {
    c.full(2);
    c.with(0, change);
    c.full(2);
}

fn doff_beyond(c: &mut Script, and: fn(&mut Vec<u8>, &Layout)) {
    c.full(1);
    c.extra(2, |s| {
        s.damage(|frame, at| {
            let word = u16::from_be_bytes([frame[at.transport + 12], frame[at.transport + 13]]);
            change_word(frame, at, 12, (word & 0xf000) ^ 0xf000);
        });
        s.damage(and);
    });
    c.forget_identification();
    c.full(1);
    c.deliver(&[0, 2 * c.mss]);
}

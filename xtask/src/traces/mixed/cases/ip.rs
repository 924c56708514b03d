//! IPv4 and IPv6 headers, and lengths that are not those of the frame.

use etherparse::IpNumber;

use super::{Only, Recipe, from_third_of_five, kept_in_order, long_padding, overtaken, recipe};
use crate::traces::mixed::script::Script;
use crate::traces::mixed::segment::{change_length, repair_ipv4};

pub(super) fn v4() -> Vec<Recipe> {
    vec![
        recipe("ip_id_df0_inc", Only::V4, |c| {
            identified(c, false, &[8, 9]);
            c.deliver(&[2 * c.mss]);
        }),
        recipe("ip_id_df1_inc", Only::V4, |c| {
            identified(c, true, &[8, 9]);
            c.deliver(&[2 * c.mss]);
        }),
        recipe("ip_id_df0_fixed", Only::V4, |c| {
            identified(c, false, &[8, 8]);
            c.deliver(&[2 * c.mss]);
        }),
        recipe("ip_id_df1_fixed", Only::V4, |c| {
            identified(c, true, &[8, 8]);
            c.deliver(&[2 * c.mss]);
        }),
        recipe("ip_id_df1_inc_fixed", Only::V4, |c| {
            identified(c, true, &[8, 9, 9]);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("ip_id_df1_fixed_inc", Only::V4, |c| {
            identified(c, true, &[8, 8, 9]);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("ip_id_5_6_8", Only::V4, |c| {
            identified(c, true, &[5, 6, 8]);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("ip_id_5_5_6", Only::V4, |c| {
            identified(c, false, &[5, 5, 6]);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("ip_id_wraps", Only::V4, |c| {
            identified(c, true, &[65535, 0, 1]);
            c.deliver(&[3 * c.mss]);
        }),
        recipe("ip_id_zero_fixed", Only::V4, |c| {
            identified(c, true, &[0, 0, 0, 0]);
            c.deliver(&[4 * c.mss]);
        }),
        recipe("ip_id_backwards", Only::V4, |c| {
            identified(c, true, &[9, 8, 7]);
            c.deliver(&[c.mss; 3]);
        }),
        recipe("ip_df_differs", Only::V4, |c| {
            c.full(1);
            c.with(c.mss, |s| s.v4().dont_fragment = false);
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("ip_reserved_bit", Only::V4, |c| {
            kept_in_order(c, |s| {
                s.damage(|frame, at| {
                    frame[at.ip + 6] |= 0x80;
                    repair_ipv4(frame, at);
                });
            });
        }),
        recipe("ip_csum", Only::V4, |c| {
            c.full(1);
            c.with(c.mss, |s| s.damage(|frame, at| frame[at.ip + 10] ^= 0x40));
            c.deliver(&[c.mss, c.mss]);
        }),
        recipe("ip_csum_overtakes", Only::V4, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame[at.ip + 11] ^= 1));
        }),
        recipe("ip_opt", Only::V4, |c| {
            overtaken(c, |s| s.v4().options = [1, 1, 1, 0].into());
        }),
        recipe("ip_opt_all", Only::V4, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.v4().options = [1, 1, 1, 0].into());
            }
            c.deliver(&[c.mss; 3]);
        }),
        recipe("ip_ihl_below_5", Only::V4, |c| {
            overtaken(c, |s| {
                s.damage(|frame, at| {
                    frame[at.ip] = 0x44;
                    repair_ipv4(frame, at);
                });
            });
        }),
        recipe("ip_version", Only::V4, |c| {
            overtaken(c, |s| {
                s.damage(|frame, at| {
                    frame[at.ip] = 0x65;
                    repair_ipv4(frame, at);
                });
            });
        }),
        recipe("ip_frag4", Only::V4, |c| {
            overtaken(c, |s| (s.v4().dont_fragment, s.v4().more_fragments) = (false, true));
        }),
        recipe("ip_frag4_last", Only::V4, |c| {
            overtaken(c, |s| {
                s.damage(|frame, at| {
                    frame[at.ip + 6..at.ip + 8].copy_from_slice(&[0, 185]);
                    repair_ipv4(frame, at);
                })
            });
        }),
        recipe("ip_ttl", Only::V4, |c| {
            from_third_of_five(c, |s| s.v4().time_to_live = 63);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("ip_ecn", Only::V4, |c| {
            from_third_of_five(c, |s| s.v4().ecn = etherparse::IpEcn::ONE);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("ip_tos", Only::V4, |c| {
            from_third_of_five(c, |s| s.v4().dscp = etherparse::IpDscp::EF);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("ip_addresses_differ", Only::V4, |c| {
            c.full(1);
            c.with(c.mss, |s| s.v4().destination[3] = 3);
            c.with(c.mss, |s| s.v4().source[3] = 9);
            c.deliver(&[c.mss; 3]);
        }),
    ]
}

pub(super) fn v6() -> Vec<Recipe> {
    vec![
        recipe("ip_ttl", Only::V6, |c| {
            from_third_of_five(c, |s| s.v6().hop_limit = 63);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("ip_ecn", Only::V6, |c| {
            from_third_of_five(c, |s| s.v6().traffic_class = 1);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("ip_tos", Only::V6, |c| {
            from_third_of_five(c, |s| s.v6().traffic_class = 0xb8);
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        recipe("ip_addresses_differ", Only::V6, |c| {
            c.full(1);
            c.with(c.mss, |s| s.v6().destination[15] = 3);
            c.with(c.mss, |s| s.v6().source[15] = 9);
            c.deliver(&[c.mss; 3]);
        }),
        recipe("ip_frag6", Only::V6, |c| {
            overtaken(c, |s| s.extend(IpNumber::IPV6_FRAGMENTATION_HEADER, &[0, 0, 0, 0, 0, 7]));
        }),
        recipe("ip_frag6_first", Only::V6, |c| {
            overtaken(c, |s| s.extend(IpNumber::IPV6_FRAGMENTATION_HEADER, &[0, 1, 0, 0, 0, 7]));
        }),
        recipe("ip_v6ext_same", Only::V6, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("ip_v6ext_diff", Only::V6, |c| {
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]));
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 1]));
            c.deliver(&[c.mss; 2]);
        }),
        recipe("ip_v6ext_hop_by_hop", Only::V6, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &[5, 2, 0, 0, 1, 0]));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("ip_v6ext_hop_by_hop_diff", Only::V6, |c| {
            for value in [0, 0, 1] {
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &[1, 4, 0, 0, 0, value]));
            }
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("ip_v6ext_routing", Only::V6, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_ROUTE_HEADER, &[4, 0, 0, 0, 0, 0]));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("ip_v6ext_routing_diff", Only::V6, |c| {
            for tag in [0, 0, 1] {
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_ROUTE_HEADER, &[4, 0, 0, 0, 0, tag]));
            }
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("ip_v6ext_three_kinds", Only::V6, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| {
                    s.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]);
                    s.extend(IpNumber::IPV6_ROUTE_HEADER, &[4, 0, 0, 0, 0, 0]);
                    s.extend(
                        IpNumber::IPV6_DESTINATION_OPTIONS,
                        &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                    );
                });
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("ip_v6ext_cut", Only::V6, |c| {
            overtaken(c, |s| {
                s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
                s.damage(|frame, at| frame.truncate(at.transport - 4));
            });
        }),
        recipe("ip_v6ext_longer_than_frame", Only::V6, |c| {
            overtaken(c, |s| {
                s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
                s.damage(|frame, at| frame[at.transport - 7] = 255);
            });
        }),
        // A chain beyond the engine's window, where kernel and engine still deliver the same: nothing could merge.
        recipe("ip_v6ext_long_chain_alone", Only::V6, |c| {
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &long_padding()));
            c.deliver(&[c.mss]);
        }),
        recipe("ip_no_next_header", Only::V6, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame[at.ip + 6] = 59));
        }),
    ]
}

/// Where TCP's order or flags decide too.
pub(super) fn v6_in_order() -> Vec<Recipe> {
    vec![
        recipe("ip_flow_label", Only::V6, |c| {
            c.full(2);
            c.with(c.mss, |s| s.damage(|frame, at| frame[at.ip + 3] ^= 0x5a));
            c.full(2);
            c.deliver(&[2 * c.mss, c.mss, 2 * c.mss]);
        }),
        recipe("ip_v6ext_some", Only::V6, |c| {
            c.full(1);
            c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]));
            c.full(1);
            c.deliver(&[c.mss; 3]);
        }),
        recipe("ip_v6ext_three_kinds_psh", Only::V6, |c| {
            for at in 0..4 {
                c.with(c.mss, |s| {
                    s.tcp().psh = at == 1;
                    s.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]);
                    s.extend(IpNumber::IPV6_ROUTE_HEADER, &[4, 0, 0, 0, 0, 0]);
                    s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
                });
            }
            c.deliver(&[2 * c.mss, 2 * c.mss]);
        }),
        recipe("ip_v6ext_long_chain_psh", Only::V6, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| {
                    s.tcp().psh = true;
                    s.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &long_padding());
                });
            }
            c.deliver(&[c.mss; 3]);
        }),
        recipe("ip_version", Only::V6, |c| {
            c.full(1);
            c.with(c.mss, |s| s.damage(|frame, at| frame[at.ip] = 0x40));
            c.full(1);
            c.deliver(&[c.mss; 3]);
        }),
    ]
}

pub(super) fn lengths() -> Vec<Recipe> {
    vec![
        recipe("len_padding", Only::All, |c| {
            kept_in_order(c, |s| s.damage(|frame, _| frame.resize(frame.len() + 6, 0)));
        }),
        recipe("len_padding_bad_csum", Only::All, |c| {
            kept_in_order(c, |s| {
                s.damage(|frame, at| {
                    frame[at.transport + 16] ^= 0x40;
                    frame.resize(frame.len() + 6, 0);
                });
            });
        }),
        recipe("len_trailing_bytes", Only::All, |c| {
            kept_in_order(c, |s| s.damage(|frame, _| frame.extend_from_slice(b"trailer")));
        }),
        recipe("len_ip_too_short", Only::All, |c| {
            kept_in_order(c, |s| s.damage(|frame, at| change_length(frame, at, -4)));
        }),
        recipe("len_ip_too_long", Only::All, |c| {
            kept_in_order(c, |s| s.damage(|frame, at| change_length(frame, at, 4)));
        }),
        recipe("len_cut_in_payload", Only::All, |c| {
            kept_in_order(c, |s| s.damage(|frame, _| frame.truncate(frame.len() - 1)));
        }),
        recipe("len_cut_in_ip_header", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.ip + 10)));
        }),
        recipe("len_cut_behind_ethernet", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.ip)));
        }),
        recipe("len_cut_in_tcp_header", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.transport + 10)));
        }),
        recipe("len_cut_behind_ip_header", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.transport)));
        }),
        recipe("len_cut_in_tcp_options", Only::Timestamps, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.transport + 26)));
        }),
    ]
}

fn identified(c: &mut Script, dont_fragment: bool, identifications: &[u16]) {
    for &identification in identifications {
        c.identify(identification);
        c.with(c.mss, |s| s.v4().dont_fragment = dont_fragment);
    }
}

//! The outer and the inner IP header.

use etherparse::{IpDscp, IpEcn, Ipv6FlowLabel};

use super::{
    IpNumber, Script, Segment, Shape, Tunnelled, Via, all_alike, asked, base, change_length,
    from_third_of_five, kept_in_order, other_destination, overtaken, repair_ipv4, tcp, third_differs,
    tunnelled, udp,
};
use crate::traces::mixed::segment::{Edit, Ip};
use crate::traces::mixed::tunnel::Kind;

/// What of the outer header must be equal.
pub(super) fn outer() -> Vec<Tunnelled> {
    vec![
        tunnelled("tun_outer_ttl", base, |c| {
            from_third_of_five(c, |s| match &mut s.outer().ip {
                Ip::V4(header) => header.time_to_live = 62,
                Ip::V6(header, _) => header.hop_limit = 62,
            });
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        tunnelled("tun_outer_tos", base, |c| {
            from_third_of_five(c, |s| match &mut s.outer().ip {
                Ip::V4(header) => header.dscp = IpDscp::EF,
                Ip::V6(header, _) => header.traffic_class = 0xb8,
            });
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        tunnelled("tun_outer_ecn", base, |c| {
            from_third_of_five(c, |s| match &mut s.outer().ip {
                Ip::V4(header) => header.ecn = IpEcn::ONE,
                Ip::V6(header, _) => header.traffic_class = 1,
            });
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        tunnelled("tun_outer_df_differs", outer4, |c| {
            third_differs(c, |s| s.outer().ip.v4().dont_fragment = false);
        }),
        tunnelled("tun_outer_destination_differs", base, |c| third_differs(c, other_destination)),
        tunnelled("tun_outer_source_differs", base, |c| {
            third_differs(c, |s| match &mut s.outer().ip {
                Ip::V4(header) => header.source[0] = 193,
                Ip::V6(header, _) => header.source[0] = 0xfc,
            });
        }),
        tunnelled("tun_outer_flow_label", outer6, |c| {
            third_differs(c, |s| s.outer().ip.v6().flow_label = label(0x5a));
        }),
        tunnelled("tun_outer_vlan_same", base, |c| all_alike(c, |s| s.outer().vlan = Some(5))),
        tunnelled("tun_outer_vlan_differs", base, |c| third_differs(c, |s| s.outer().vlan = Some(5))),
        tunnelled("tun_outer_v6ext_same", outer6, |c| {
            all_alike(c, |s| s.outer().ip.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]));
        }),
        tunnelled("tun_outer_v6ext_differs", outer6, |c| {
            for value in [0, 0, 1] {
                let body = [1, 4, 0, 0, 0, value];
                c.with(c.mss, |s| s.outer().ip.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &body));
            }
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        tunnelled(
            "tun_v6ext_outside_and_inside",
            |s, via| outer6(s, via) && s.v6,
            |c| {
                all_alike(c, |s| {
                    s.outer().ip.extend(IpNumber::IPV6_HEADER_HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]);
                    s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &[1, 4, 0, 0, 0, 0]);
                });
            },
        ),
        tunnelled("tun_outer_ip_csum", outer4, |c| {
            overtaken(c, |s| s.outer().damage(|frame, at| frame[at.ip + 11] ^= 1));
        }),
        tunnelled("tun_outer_ip_opt", outer4, |c| {
            overtaken(c, |s| s.outer().ip.v4().options = [1, 1, 1, 0].into());
        }),
        tunnelled("tun_outer_frag", outer4, |c| {
            overtaken(c, |s| {
                let header = s.outer().ip.v4();
                (header.dont_fragment, header.more_fragments) = (false, true);
            });
        }),
        tunnelled("tun_outer_frag6", outer6, |c| {
            overtaken(c, |s| {
                s.outer().ip.extend(IpNumber::IPV6_FRAGMENTATION_HEADER, &[0, 1, 0, 0, 0, 7]);
            });
        }),
    ]
}

/// Both identifications are followed, each on its own.
pub(super) fn identifications() -> Vec<Tunnelled> {
    vec![
        tunnelled("tun_id_inc_inc", outer4, |c| identified(c, [65_534, 65_535, 0], [8, 9, 10], &[3])),
        tunnelled("tun_id_inc_fixed", both4, |c| identified(c, [5, 6, 7], [8, 8, 8], &[3])),
        tunnelled("tun_id_fixed_inc", outer4, |c| identified(c, [5, 5, 5], [65_535, 0, 1], &[3])),
        tunnelled("tun_id_fixed_fixed", both4, |c| identified(c, [5, 5, 5], [0, 0, 0], &[3])),
        tunnelled("tun_id_fixed_without_df", outer4, |c| {
            c.identify(8);
            for _ in 0..3 {
                c.identify_outer(5);
                c.with(c.mss, |s| s.outer().ip.v4().dont_fragment = false);
            }
            c.deliver(&[3 * c.mss]);
        }),
        tunnelled("tun_id_outer_jumps", outer4, |c| identified(c, [5, 6, 8], [8, 9, 10], &[2, 1])),
        tunnelled("tun_id_outer_inc_fixed", outer4, |c| identified(c, [5, 6, 6], [8, 9, 10], &[2, 1])),
        tunnelled("tun_id_outer_fixed_inc", outer4, |c| identified(c, [5, 5, 6], [8, 9, 10], &[2, 1])),
        tunnelled("tun_id_outer_backwards", outer4, |c| identified(c, [5, 4, 3], [8, 9, 10], &[1, 1, 1])),
        tunnelled("tun_id_inner_jumps", inner4, |c| identified(c, [5, 6, 7], [8, 9, 11], &[2, 1])),
        tunnelled("tun_id_inner_inc_fixed", inner4, |c| identified(c, [5, 6, 7], [8, 9, 9], &[2, 1])),
        tunnelled("tun_id_inner_fixed_inc", inner4, |c| identified(c, [5, 6, 7], [8, 8, 9], &[2, 1])),
        tunnelled("tun_id_fixed_fixed_then_inc_inc", both4, |c| {
            identified(c, [5, 5, 6], [8, 8, 9], &[2, 1]);
        }),
        tunnelled(
            "tun_id_udp_fixed_fixed",
            |s, via| udp(s, via) && !s.v6 && !via.v6,
            |c| {
                identified(c, [5, 5, 5], [8, 8, 8], &[3]);
            },
        ),
    ]
}

/// Lengths that are not those of the bytes present.
pub(super) fn lengths() -> Vec<Tunnelled> {
    vec![
        tunnelled("tun_outer_len_too_short", base, |c| {
            outer_length(c, |frame, at| change_length(frame, at, -4));
        }),
        tunnelled("tun_outer_len_too_long", base, |c| {
            outer_length(c, |frame, at| change_length(frame, at, 4));
        }),
        tunnelled("tun_padding", base, |c| outer_length(c, |frame, _| frame.resize(frame.len() + 6, 0))),
        tunnelled("tun_outer_reserved_bit", outer4, |c| {
            outer_length(c, |frame, at| {
                frame[at.ip + 6] |= 0x80;
                repair_ipv4(frame, at);
            });
        }),
        // Nobody looks at checksums any more.
        tunnelled(
            "tun_outer_len_bad_csum",
            |s, via| base(s, via) && !via.kind.has_sum(),
            |c| {
                kept_in_order(c, |s| {
                    s.damage(|frame, at| frame[at.transport + at.checksum] ^= 0x40);
                    s.outer().damage(|frame, at| change_length(frame, at, 4));
                });
            },
        ),
        tunnelled(
            "tun_outer_len_bad_gre_csum",
            |s, via| tcp(s, via) && via.kind == Kind::GreSum,
            |c| {
                kept_in_order(c, |s| {
                    s.outer().damage(|frame, at| {
                        frame[at.transport + 4] ^= 0x40;
                        change_length(frame, at, 4);
                    });
                });
            },
        ),
        tunnelled("tun_inner_len_too_short", base, |c| {
            kept_in_order(c, |s| s.damage(|frame, at| change_length(frame, at, -4)));
        }),
        tunnelled("tun_inner_len_too_long", base, |c| {
            kept_in_order(c, |s| s.damage(|frame, at| change_length(frame, at, 4)));
        }),
        // The padding of a short Ethernet frame, for example.
        tunnelled("tun_inner_padding", base, |c| {
            kept_in_order(c, |s| s.damage(|frame, _| frame.resize(frame.len() + 6, 0)));
        }),
        tunnelled("tun_inner_padding_bad_csum", base, |c| {
            kept_in_order(c, |s| {
                s.damage(|frame, at| {
                    frame[at.transport + at.checksum] ^= 0x40;
                    frame.resize(frame.len() + 6, 0);
                });
            });
        }),
        tunnelled("tun_cut_in_inner_headers", base, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.transport + 10)));
        }),
        tunnelled("tun_cut_behind_tunnel", base, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame.truncate(at.ip)));
        }),
        tunnelled("tun_cut_behind_outer_ip", base, |c| {
            overtaken(c, |s| s.outer().damage(|frame, at| frame.truncate(at.transport)));
        }),
    ]
}

/// What is not that of the plain cases: the inner header.
pub(super) fn inner() -> Vec<Tunnelled> {
    vec![
        tunnelled("tun_inner_ttl", base, |c| {
            from_third_of_five(c, |s| match &mut s.ip {
                Ip::V4(header) => header.time_to_live = 62,
                Ip::V6(header, _) => header.hop_limit = 62,
            });
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        tunnelled("tun_inner_tos", base, |c| {
            from_third_of_five(c, |s| match &mut s.ip {
                Ip::V4(header) => header.dscp = IpDscp::EF,
                Ip::V6(header, _) => header.traffic_class = 0xb8,
            });
            c.deliver(&[2 * c.mss, 3 * c.mss]);
        }),
        tunnelled("tun_inner_df_differs", inner4, |c| third_differs(c, |s| s.v4().dont_fragment = false)),
        tunnelled("tun_inner_addresses_differ", base, |c| {
            third_differs(c, |s| match &mut s.ip {
                Ip::V4(header) => header.destination[3] = 3,
                Ip::V6(header, _) => header.destination[15] = 3,
            });
        }),
        tunnelled("tun_inner_ports_differ", base, |c| third_differs(c, |s| *s.ports()[0] ^= 0x4000)),
        tunnelled("tun_inner_flow_label", inner6, |c| {
            third_differs(c, |s| s.v6().flow_label = label(0x5a));
        }),
        tunnelled("tun_inner_v6ext_differs", inner6, |c| {
            for value in [0, 0, 1] {
                let body = [1, 4, 0, 0, 0, value];
                c.with(c.mss, |s| s.extend(IpNumber::IPV6_DESTINATION_OPTIONS, &body));
            }
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        tunnelled("tun_inner_protocol", base, |c| {
            overtaken(c, |s| s.set_protocol(IpNumber(253)));
        }),
        tunnelled("tun_inner_frag", inner4, |c| {
            overtaken(c, |s| (s.v4().dont_fragment, s.v4().more_fragments) = (false, true));
        }),
        tunnelled("tun_inner_ip_opt", inner4, |c| {
            overtaken(c, |s| s.v4().options = [1, 1, 1, 0].into());
        }),
        tunnelled("tun_inner_ip_csum", inner4, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame[at.ip + 11] ^= 1));
        }),
        tunnelled(
            "tun_inner_ethertype",
            |s, via| base(s, via) && via.kind.has_ethernet(),
            |c| {
                overtaken(c, |s| {
                    s.damage(|frame, at| frame[at.ip - 2..at.ip].copy_from_slice(&[0x88, 0xb5]))
                });
            },
        ),
        // GRO looks behind a tag in the bytes only where the kernel has VLAN_8021Q (config `in-band`).
        tunnelled(
            "tun_inner_vlan",
            |s, via| asked(s, via) && via.kind.has_ethernet(),
            |c| {
                overtaken(c, |s| s.vlan = Some(5));
            },
        ),
        tunnelled(
            "tun_inner_mac_differs",
            |s, via| base(s, via) && via.kind.has_ethernet(),
            |c| {
                third_differs(c, |s| s.ethernet.source[5] = 7);
            },
        ),
        tunnelled(
            "tun_inner_mac_destination_differs",
            |s, via| base(s, via) && via.kind.has_ethernet(),
            |c| {
                third_differs(c, |s| s.ethernet.destination[5] = 7);
            },
        ),
    ]
}

/// An outer length that is wrong keeps order, but where that leaves a UDP checksum which nobody verified: that overtakes.
fn outer_length(c: &mut Script, edit: Edit) {
    let unverified = c.shape.via.is_some_and(|via| via.kind.is_udp() && via.kind.has_sum());
    c.full(1);
    c.extra(c.mss / 2, |s: &mut Segment| s.outer().damage(edit));
    c.forget_identification();
    c.full(1);
    let damaged = c.payload_of(1);
    if unverified {
        c.deliver(&[damaged, 2 * c.mss]);
    } else {
        c.deliver(&[c.mss, damaged, c.mss]);
    }
}

/// Three full segments; what leaves is in full segments.
fn identified(c: &mut Script, outer: [u16; 3], inner: [u16; 3], delivered: &[usize]) {
    for (outer, inner) in outer.into_iter().zip(inner) {
        c.identify_outer(outer);
        c.identify(inner);
        c.full(1);
    }
    let delivered: Vec<usize> = delivered.iter().map(|segments| segments * c.mss).collect();
    c.deliver(&delivered);
}

fn label(value: u32) -> Ipv6FlowLabel {
    Ipv6FlowLabel::try_new(value).expect("it has 20 bits")
}

fn outer4(shape: Shape, via: Via) -> bool {
    base(shape, via) && !via.v6
}

fn outer6(shape: Shape, via: Via) -> bool {
    base(shape, via) && via.v6
}

fn inner4(shape: Shape, via: Via) -> bool {
    base(shape, via) && !shape.v6
}

fn inner6(shape: Shape, via: Via) -> bool {
    base(shape, via) && shape.v6
}

fn both4(shape: Shape, via: Via) -> bool {
    outer4(shape, via) && !shape.v6
}

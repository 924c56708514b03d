//! The header between the IP headers: GRE, UDP, VXLAN, Geneve.

use etherparse::EtherType;

use super::{Shape, Tunnelled, Via, all_alike, overtaken, tcp, third_differs, tunnelled};
use crate::traces::mixed::tunnel::{GRE_KEY, GRE_ROUTING, GRE_SEQUENCE, Kind};

pub(super) fn gre() -> Vec<Tunnelled> {
    vec![
        tunnelled("tun_gre_key_differs", gre_key, |c| third_differs(c, |s| s.outer().gre().key = 8)),
        tunnelled("tun_gre_key_some", plain_gre, |c| third_differs(c, |s| s.outer().gre().flags = GRE_KEY)),
        tunnelled("tun_gre_csum", gre_sum, |c| {
            overtaken(c, |s| s.outer().damage(|frame, at| frame[at.transport + 4] ^= 0x40));
        }),
        tunnelled("tun_gre_csum_payload_flipped", gre_sum, |c| {
            overtaken(c, |s| {
                s.outer().damage(|frame, _| {
                    let last = frame.len() - 1;
                    frame[last] ^= 1;
                });
            });
        }),
        // What is reserved beside the checksum is not compared.
        tunnelled("tun_gre_csum_reserved_differs", gre_sum, |c| {
            c.full(2);
            c.with(c.mss, |s| {
                s.outer().damage(|frame, at| {
                    // From the checksum to the reserved word: the sum stays.
                    let check = u16::from_be_bytes([frame[at.transport + 4], frame[at.transport + 5]]);
                    frame[at.transport + 4..at.transport + 6]
                        .copy_from_slice(&check.wrapping_sub(1).to_be_bytes());
                    frame[at.transport + 7] = 1;
                });
            });
            c.deliver(&[3 * c.mss]);
        }),
        // With a checksum and a key, the word behind the base header is compared, which is the checksum: over the key.
        tunnelled("tun_gre_csum_key_differs", gre_sum_key, |c| third_differs(c, |s| s.outer().gre().key = 8)),
        tunnelled("tun_gre_csum_key_of_same_sum", gre_sum_key, |c| {
            c.full(2);
            c.with(c.mss, |s| s.outer().gre().key = 7 << 16);
            c.deliver(&[3 * c.mss]);
        }),
        tunnelled("tun_gre_sequence", plain_gre, |c| {
            overtaken(c, |s| s.outer().gre().flags = GRE_SEQUENCE);
        }),
        tunnelled("tun_gre_sequence_all", plain_gre, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.outer().gre().flags = GRE_SEQUENCE);
            }
            c.deliver(&[c.mss; 3]);
        }),
        tunnelled("tun_gre_routing", plain_gre, |c| {
            overtaken(c, |s| s.outer().gre().flags = GRE_ROUTING);
        }),
        tunnelled("tun_gre_version", plain_gre, |c| overtaken(c, |s| s.outer().gre().flags = 1)),
        tunnelled("tun_gre_recursion", plain_gre, |c| overtaken(c, |s| s.outer().gre().flags = 0x0100)),
        tunnelled("tun_gre_protocol", plain_gre, |c| {
            overtaken(c, |s| s.outer().holds = Some(EtherType(0x88b5)));
        }),
    ]
}

pub(super) fn udp() -> Vec<Tunnelled> {
    vec![
        tunnelled("tun_udp_port_differs", udp_tunnel, |c| third_differs(c, |s| s.outer().udp().source = 9)),
        tunnelled("tun_udp_outer_csum_some", udp_tunnel, |c| {
            third_differs(c, |s| s.outer().udp().checksum ^= true);
        }),
        tunnelled(
            "tun_udp_outer_csum",
            |s, via| udp_tunnel(s, via) && via.kind.has_sum(),
            |c| {
                overtaken(c, |s| s.outer().damage(|frame, at| frame[at.transport + 6] ^= 0x40));
            },
        ),
        // Nobody verifies it; a merged packet has the right one.
        tunnelled("tun_udp_outer_len", udp_tunnel, |c| {
            c.full(1);
            c.with(c.mss, |s| s.outer().udp().excess = 5);
            c.full(1);
            c.deliver(&[3 * c.mss]);
        }),
        tunnelled("tun_udp_outer_len_first", udp_tunnel, |c| {
            c.with(c.mss, |s| s.outer().udp().excess = 5);
            c.full(2);
            c.deliver(&[3 * c.mss]);
        }),
        tunnelled("tun_vxlan_vni_differs", vxlan, |c| third_differs(c, |s| s.outer().udp().bytes[6] = 8)),
        tunnelled("tun_vxlan_flags_differ", vxlan, |c| third_differs(c, |s| s.outer().udp().bytes[0] = 0)),
        tunnelled("tun_vxlan_reserved_differs", vxlan, |c| {
            third_differs(c, |s| s.outer().udp().bytes[7] = 1)
        }),
        tunnelled("tun_vxlan_flags_same", vxlan, |c| all_alike(c, |s| s.outer().udp().bytes[0] = 0x44)),
        tunnelled("tun_vxlan_reserved_same", vxlan, |c| all_alike(c, |s| s.outer().udp().bytes[7] = 1)),
    ]
}

/// The sandbox has no Geneve device: these follow the kernel's source, and were not asked of a kernel.
pub(super) fn geneve() -> Vec<Tunnelled> {
    vec![
        tunnelled("tun_geneve_vni_differs", geneve_tunnel, |c| {
            third_differs(c, |s| s.outer().udp().bytes[6] = 8);
        }),
        tunnelled("tun_geneve_option_differs", geneve_tunnel, |c| {
            third_differs(c, |s| s.outer().udp().bytes[15] = 8);
        }),
        tunnelled("tun_geneve_option_some", geneve_tunnel, |c| {
            third_differs(c, |s| {
                s.outer().udp().bytes[0] = 0;
                s.outer().udp().bytes.truncate(8);
            });
        }),
        tunnelled("tun_geneve_critical_same", geneve_tunnel, |c| {
            all_alike(c, |s| s.outer().udp().bytes[1] = 0x40);
        }),
        tunnelled("tun_geneve_version", geneve_tunnel, |c| {
            overtaken(c, |s| s.outer().udp().bytes[0] |= 0x40);
        }),
        tunnelled("tun_geneve_oam", geneve_tunnel, |c| overtaken(c, |s| s.outer().udp().bytes[1] = 0x80)),
        tunnelled("tun_geneve_protocol", geneve_tunnel, |c| {
            overtaken(c, |s| s.outer().holds = Some(EtherType(0x88b5)));
        }),
    ]
}

fn plain_gre(shape: Shape, via: Via) -> bool {
    tcp(shape, via) && matches!(via.kind, Kind::Gre | Kind::Tap)
}

fn gre_key(shape: Shape, via: Via) -> bool {
    tcp(shape, via) && via.kind == Kind::GreKey
}

fn gre_sum(shape: Shape, via: Via) -> bool {
    tcp(shape, via) && via.kind == Kind::GreSum
}

fn gre_sum_key(shape: Shape, via: Via) -> bool {
    tcp(shape, via) && via.kind == Kind::GreSumKey
}

fn udp_tunnel(shape: Shape, via: Via) -> bool {
    tcp(shape, via) && via.kind.is_udp()
}

fn vxlan(shape: Shape, via: Via) -> bool {
    udp_tunnel(shape, via) && matches!(via.kind, Kind::Vxlan | Kind::VxlanSum)
}

fn geneve_tunnel(shape: Shape, via: Via) -> bool {
    tcp(shape, via) && Kind::GENEVE.contains(&via.kind)
}

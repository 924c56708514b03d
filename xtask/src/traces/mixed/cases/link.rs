//! Other protocols in between, MAC addresses and VLAN tags.

use etherparse::IpNumber;

use super::{Only, Recipe, overtaken, recipe};
use crate::traces::mixed::script::Script;
use crate::traces::mixed::segment::{Ip, Segment};

pub(super) fn between() -> Vec<Recipe> {
    vec![
        recipe("link_arp_between", Only::V4, |c| {
            c.full(1);
            let mut arp = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
            arp.extend_from_slice(&[2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
            c.raw(arp);
            c.full(1);
            c.deliver(&[0, 2 * c.mss]);
        }),
        recipe("link_icmp_between", Only::All, |c| {
            overtaken(c, |s| other_protocol(s, IpNumber::ICMP, IpNumber::IPV6_ICMP));
        }),
        recipe("link_unknown_protocol", Only::All, |c| {
            overtaken(c, |s| other_protocol(s, IpNumber(253), IpNumber(253)));
        }),
        recipe("link_llc_between", Only::All, |c| {
            c.full(1);
            let mut llc = vec![1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 38, 0x42, 0x42, 3];
            llc.resize(60, 0);
            c.raw(llc);
            c.full(1);
            c.deliver(&[0, 2 * c.mss]);
        }),
        recipe("link_unknown_ethertype", Only::All, |c| {
            overtaken(c, |s| s.damage(|frame, at| frame[at.ip - 2..at.ip].copy_from_slice(&[0x88, 0xb5])));
        }),
    ]
}

/// MAC addresses, where TCP's order decides too.
pub(super) fn addresses() -> Vec<Recipe> {
    vec![
        recipe("link_udp_between", Only::All, |c| {
            overtaken(c, |s| other_protocol(s, IpNumber::UDP, IpNumber::UDP));
        }),
        recipe("link_mac_differs", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| s.ethernet.source[5] = 7);
            c.with(c.mss, |s| s.ethernet.source[5] = 7);
            c.full(1);
            c.deliver(&[c.mss, 2 * c.mss, c.mss]);
        }),
        recipe("link_mac_destination_differs", Only::All, |c| {
            c.full(2);
            c.with(c.mss, |s| s.ethernet.destination[5] = 7);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("link_vlan_some", Only::All, |c| {
            c.full(1);
            c.with(c.mss, |s| s.vlan = Some(5));
            c.full(1);
            c.deliver(&[c.mss; 3]);
        }),
    ]
}

/// VLAN tags, which the device strips into metadata.
pub(super) fn tags() -> Vec<Recipe> {
    vec![
        recipe("link_vlan_same", Only::All, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| s.vlan = Some(5));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("link_vlan_differs", Only::All, |c| third_tag(c, [5, 5, 6])),
        recipe("link_vlan_priority_differs", Only::All, |c| third_tag(c, [0x2005, 0x2005, 0x4005])),
        recipe("link_vlan_drop_eligible_differs", Only::All, |c| third_tag(c, [5, 5, 0x1005])),
        recipe("link_vlan_zero_or_none", Only::All, |c| {
            for _ in 0..2 {
                c.with(c.mss, |s| s.vlan = Some(0));
            }
            c.full(1);
            c.deliver(&[2 * c.mss, c.mss]);
        }),
        recipe("link_vlan_service_tag_same", Only::All, |c| {
            for _ in 0..3 {
                c.with(c.mss, |s| (s.vlan, s.tpid) = (Some(5), 0x88a8));
            }
            c.deliver(&[3 * c.mss]);
        }),
        recipe("link_vlan_type_differs", Only::All, |c| {
            for tpid in [0x8100, 0x8100, 0x88a8] {
                c.with(c.mss, |s| (s.vlan, s.tpid) = (Some(5), tpid));
            }
            c.deliver(&[2 * c.mss, c.mss]);
        }),
    ]
}

fn third_tag(c: &mut Script, tags: [u16; 3]) {
    for tag in tags {
        c.with(c.mss, |s| s.vlan = Some(tag));
    }
    c.deliver(&[2 * c.mss, c.mss]);
}

/// Makes the transport header another protocol's; what follows is noise to it.
fn other_protocol(segment: &mut Segment, v4: IpNumber, v6: IpNumber) {
    match &mut segment.ip {
        Ip::V4(header) => header.protocol = v4,
        Ip::V6(header, _) => header.next_header = v6,
    }
}

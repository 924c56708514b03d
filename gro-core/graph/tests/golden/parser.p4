// A P4-16 parser, exported from a parse graph of gro. Export only: nothing reads it back.
// A header of which a frame can have several is a stack. Settings, and profiles from which on an entry is there, are parameters.
// Not in it, because a P4 parser has no word for it: which fields must be equal, checksums, IP, UDP and PPPoE lengths against the
// bytes of the frame, the longest header chain and the most headers of a frame. Where a header is wrong in two ways, the error may
// be the other one.
#include <core.p4>

error {
    condition,
    data_offset,
    fragment,
    header_length,
    ip_options,
    nested,
    not_ip,
    protocol,
    tunnel,
    udp_length,
    udp_no_checksum,
    udp_off,
    unknown_next
}

header ethernet_h {
    bit<48> destination;
    bit<48> source;
    bit<16> ethertype;
}

header vlan_outer_h {
    bit<16> tci;
    bit<16> ethertype;
}

header vlan_inner_h {
    bit<16> tci;
    bit<16> ethertype;
}

header pppoe_h {
    bit<16> version_type_code;
    bit<16> session;
    bit<16> length;
    bit<16> protocol;
}

header ipv4_h {
    bit<4> version;
    bit<4> ihl;
    bit<8> tos;
    bit<16> total_length;
    bit<16> identification;
    bit<1> reserved;
    bit<1> dont_fragment;
    bit<14> fragment;
    bit<8> ttl;
    bit<8> protocol;
    bit<16> checksum;
    bit<32> source;
    bit<32> destination;
}

header ipv4_rest_h {
    varbit<320> data;
}

header ipv6_h {
    bit<4> version;
    bit<8> traffic_class;
    bit<20> flow_label;
    bit<16> payload_length;
    bit<8> next_header;
    bit<8> hop_limit;
    bit<128> source;
    bit<128> destination;
}

header ipv6_extension_h {
    bit<8> next_header;
    bit<8> length;
    bit<48> data;
}

header ipv6_extension_rest_h {
    varbit<16320> data;
}

header tcp_h {
    bit<16> source_port;
    bit<16> destination_port;
    bit<32> sequence;
    bit<32> acknowledgement;
    bit<4> data_offset;
    bit<4> reserved;
    bit<4> cwr_ece_urg_ack;
    bit<1> psh;
    bit<2> rst_syn;
    bit<1> fin;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent_pointer;
}

header tcp_rest_h {
    varbit<320> data;
}

header udp_h {
    bit<16> bits_0;
    bit<16> bits_16;
    bit<32> bits_32;
}

header udp_datagram_h {
    bit<16> source_port;
    bit<16> destination_port;
    bit<16> length;
    bit<16> checksum;
}

header udp_tunnel_h {
    bit<16> source_port;
    bit<16> destination_port;
    bit<16> length;
    bit<16> checksum;
}

header vxlan_h {
    bit<8> flags;
    bit<24> reserved_1;
    bit<24> vni;
    bit<8> reserved_2;
}

header geneve_h {
    bit<2> version;
    bit<6> options_length;
    bit<1> flags;
    bit<7> flags_9;
    bit<16> protocol;
    bit<24> vni;
    bit<8> reserved;
}

header geneve_rest_h {
    varbit<2016> data;
}

header gre_h {
    bit<1> flags;
    bit<15> flags_1;
    bit<16> protocol;
}

header gre_rest_h {
    varbit<64> data;
}

struct headers_t {
    ethernet_h[2] ethernet;
    vlan_outer_h[2] vlan_outer;
    vlan_inner_h[2] vlan_inner;
    pppoe_h[2] pppoe;
    ipv4_h[2] ipv4;
    ipv4_rest_h[2] ipv4_rest;
    ipv6_h[2] ipv6;
    ipv6_extension_h[32] ipv6_extension;
    ipv6_extension_rest_h[32] ipv6_extension_rest;
    tcp_h tcp;
    tcp_rest_h tcp_rest;
    udp_datagram_h udp_datagram;
    udp_tunnel_h[2] udp_tunnel;
    vxlan_h vxlan;
    geneve_h geneve;
    geneve_rest_h geneve_rest;
    gre_h gre;
    gre_rest_h gre_rest;
}

parser gro_parser(
    packet_in packet,
    out headers_t hdr,
    in bool geneve,
    in bool gre,
    in bool ip_in_ip,
    in bool since_linux_7_x,
    in bool udp_forwarding,
    in bool vlan_in_band,
    in bool vxlan
) {
    bit<32> encaps;

    state start {
        encaps = 0;
        transition parse_ethernet;
    }

    state parse_ethernet {
        packet.extract(hdr.ethernet.next);
        transition select(hdr.ethernet.last.ethertype, (bit<1>)since_linux_7_x, (bit<1>)vlan_in_band) {
            (16w0x800, _, _): parse_ipv4;
            (16w0x86dd, _, _): parse_ipv6;
            (16w0x8100, _, 1w1): parse_vlan_outer;
            (16w0x88a8, _, 1w1): parse_vlan_outer;
            (16w0x8864, 1w1, _): parse_pppoe;
            default: refuse_not_ip;
        }
    }

    state parse_vlan_outer {
        packet.extract(hdr.vlan_outer.next);
        transition select(hdr.vlan_outer.last.ethertype, (bit<1>)since_linux_7_x) {
            (16w0x800, _): parse_ipv4;
            (16w0x86dd, _): parse_ipv6;
            (16w0x8100, _): parse_vlan_inner;
            (16w0x88a8, _): parse_vlan_inner;
            (16w0x8864, 1w1): parse_pppoe;
            default: refuse_not_ip;
        }
    }

    state parse_vlan_inner {
        packet.extract(hdr.vlan_inner.next);
        transition select(hdr.vlan_inner.last.ethertype, (bit<1>)since_linux_7_x) {
            (16w0x800, _): parse_ipv4;
            (16w0x86dd, _): parse_ipv6;
            (16w0x8864, 1w1): parse_pppoe;
            default: refuse_not_ip;
        }
    }

    state parse_pppoe {
        packet.extract(hdr.pppoe.next);
        verify((hdr.pppoe.last.version_type_code) == 0x1100, error.tunnel);
        transition select(hdr.pppoe.last.protocol) {
            16w0x21: parse_ipv4;
            16w0x57: parse_ipv6;
            default: refuse_not_ip;
        }
    }

    state parse_ipv4 {
        packet.extract(hdr.ipv4.next);
        verify((hdr.ipv4.last.version ++ hdr.ipv4.last.ihl) == 0x45, error.ip_options);
        verify((hdr.ipv4.last.fragment) == 0x0, error.fragment);
        verify((bit<32>)(hdr.ipv4.last.ihl) * 4 >= 20, error.header_length);
        packet.extract(hdr.ipv4_rest.next, ((bit<32>)(hdr.ipv4.last.ihl) * 4 - 20) * 8);
        transition select(hdr.ipv4.last.protocol, (bit<1>)gre, (bit<1>)ip_in_ip) {
            (8w0x6, _, _): parse_tcp;
            (8w0x11, _, _): parse_udp;
            (8w0x4, _, 1w1): parse_ipv4_in_ip;
            (8w0x29, _, 1w1): parse_ipv6_in_ip;
            (8w0x2f, 1w1, _): parse_gre;
            default: refuse_protocol;
        }
    }

    state parse_ipv6 {
        packet.extract(hdr.ipv6.next);
        transition select(hdr.ipv6.last.next_header, (bit<1>)gre, (bit<1>)ip_in_ip) {
            (8w0x6, _, _): parse_tcp;
            (8w0x11, _, _): parse_udp;
            (8w0x0, _, _): parse_ipv6_extension;
            (8w0x2b, _, _): parse_ipv6_extension;
            (8w0x3c, _, _): parse_ipv6_extension;
            (8w0x4, _, 1w1): parse_ipv4_in_ip;
            (8w0x29, _, 1w1): parse_ipv6_in_ip;
            (8w0x2f, 1w1, _): parse_gre;
            default: refuse_protocol;
        }
    }

    state parse_ipv6_extension {
        packet.extract(hdr.ipv6_extension.next);
        packet.extract(hdr.ipv6_extension_rest.next, ((bit<32>)(hdr.ipv6_extension.last.length) * 8) * 8);
        transition select(hdr.ipv6_extension.last.next_header, (bit<1>)gre, (bit<1>)ip_in_ip) {
            (8w0x6, _, _): parse_tcp;
            (8w0x11, _, _): parse_udp;
            (8w0x0, _, _): parse_ipv6_extension;
            (8w0x2b, _, _): parse_ipv6_extension;
            (8w0x3c, _, _): parse_ipv6_extension;
            (8w0x4, _, 1w1): parse_ipv4_in_ip;
            (8w0x29, _, 1w1): parse_ipv6_in_ip;
            (8w0x2f, 1w1, _): parse_gre;
            default: refuse_protocol;
        }
    }

    state parse_tcp {
        packet.extract(hdr.tcp);
        verify((bit<32>)(hdr.tcp.data_offset) * 4 >= 20, error.data_offset);
        packet.extract(hdr.tcp_rest, ((bit<32>)(hdr.tcp.data_offset) * 4 - 20) * 8);
        transition accept;
    }

    state parse_udp {
        udp_h udp_seen = packet.lookahead<udp_h>();
        transition select(udp_seen.bits_16, (bit<1>)geneve, (bit<1>)vxlan) {
            (16w0x12b5, _, 1w1): parse_udp_tunnel;
            (16w0x17c1, 1w1, _): parse_udp_tunnel;
            default: parse_udp_datagram;
        }
    }

    state parse_udp_datagram {
        verify(udp_forwarding, error.udp_off);
        packet.extract(hdr.udp_datagram);
        verify((hdr.udp_datagram.checksum) != 0x0, error.udp_no_checksum);
        verify((hdr.udp_datagram.length) > 0x8, error.udp_length);
        transition accept;
    }

    state parse_udp_tunnel {
        packet.extract(hdr.udp_tunnel.next);
        transition select(hdr.udp_tunnel.last.destination_port, (bit<1>)geneve, (bit<1>)vxlan) {
            (16w0x12b5, _, 1w1): parse_vxlan;
            (16w0x17c1, 1w1, _): parse_geneve;
            default: refuse_tunnel;
        }
    }

    state parse_vxlan {
        encaps = encaps + 1;
        verify(encaps <= 1, error.nested);
        packet.extract(hdr.vxlan);
        transition parse_ethernet;
    }

    state parse_geneve {
        encaps = encaps + 1;
        verify(encaps <= 1, error.nested);
        packet.extract(hdr.geneve);
        verify(((bit<8>)((bit<64>)((hdr.geneve.version) & 2w0x3) << 6)) == 0x0, error.tunnel);
        verify(((bit<8>)((bit<64>)((hdr.geneve.flags) & 1w0x1) << 7)) == 0x0, error.tunnel);
        packet.extract(hdr.geneve_rest, ((bit<32>)(hdr.geneve.options_length) * 4) * 8);
        transition select(hdr.geneve.protocol, (bit<1>)since_linux_7_x, (bit<1>)vlan_in_band) {
            (16w0x6558, _, _): parse_ethernet;
            (16w0x800, _, _): parse_ipv4;
            (16w0x86dd, _, _): parse_ipv6;
            (16w0x8100, _, 1w1): parse_vlan_outer;
            (16w0x88a8, _, 1w1): parse_vlan_outer;
            (16w0x8864, 1w1, _): parse_pppoe;
            default: refuse_not_ip;
        }
    }

    state parse_gre {
        encaps = encaps + 1;
        verify(encaps <= 1, error.nested);
        packet.extract(hdr.gre);
        verify(((bit<15>)((bit<64>)((hdr.gre.flags_1) & 15w0x5fff) >> 0)) == 0x0, error.tunnel);
        packet.extract(hdr.gre_rest, (((hdr.gre.flags ++ hdr.gre.flags_1) & 16w0x8000) == 16w0x8000 ? 32w32 : 32w0) + (((hdr.gre.flags ++ hdr.gre.flags_1) & 16w0x2000) == 16w0x2000 ? 32w32 : 32w0));
        transition select(hdr.gre.protocol, (bit<1>)since_linux_7_x, (bit<1>)vlan_in_band) {
            (16w0x800, _, _): parse_ipv4;
            (16w0x86dd, _, _): parse_ipv6;
            (16w0x6558, _, _): parse_ethernet;
            (16w0x8100, _, 1w1): parse_vlan_outer;
            (16w0x88a8, _, 1w1): parse_vlan_outer;
            (16w0x8864, 1w1, _): parse_pppoe;
            default: refuse_not_ip;
        }
    }

    state parse_ipv4_in_ip {
        encaps = encaps + 1;
        verify(encaps <= 1, error.nested);
        transition parse_ipv4;
    }

    state parse_ipv6_in_ip {
        encaps = encaps + 1;
        verify(encaps <= 1, error.nested);
        transition parse_ipv6;
    }

    state refuse_not_ip {
        verify(false, error.not_ip);
        transition reject;
    }

    state refuse_protocol {
        verify(false, error.protocol);
        transition reject;
    }

    state refuse_tunnel {
        verify(false, error.tunnel);
        transition reject;
    }
}

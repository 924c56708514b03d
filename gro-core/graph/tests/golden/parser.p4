// A P4-16 parser, exported from a parse graph of gro. Export only: nothing reads it back.
// Not in it, because a P4 parser has no word for it: which fields must be equal, checksums, IP and UDP lengths against the bytes
// of the frame, the longest header chain. Where a header is wrong in two ways, the error may be the other one.
#include <core.p4>

error {
    condition,
    data_offset,
    fragment,
    header_length,
    ip_options,
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
    ethernet_h[32] ethernet;
    vlan_outer_h[32] vlan_outer;
    vlan_inner_h[32] vlan_inner;
    pppoe_h[32] pppoe;
    ipv4_h[32] ipv4;
    ipv4_rest_h[32] ipv4_rest;
    ipv6_h[32] ipv6;
    ipv6_extension_h[32] ipv6_extension;
    ipv6_extension_rest_h[32] ipv6_extension_rest;
    tcp_h tcp;
    tcp_rest_h tcp_rest;
    udp_h[32] udp;
    udp_datagram_h udp_datagram;
    udp_tunnel_h[32] udp_tunnel;
    vxlan_h[32] vxlan;
    geneve_h[32] geneve;
    geneve_rest_h[32] geneve_rest;
    gre_h[32] gre;
    gre_rest_h[32] gre_rest;
}

parser gro_parser(
    packet_in packet,
    out headers_t hdr,
    in bool udp_forwarding
) {
    state start {
        transition parse_ethernet;
    }

    state parse_ethernet {
        packet.extract(hdr.ethernet.next);
        transition select(hdr.ethernet.last.ethertype) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            16w0x8100: parse_vlan_outer;
            16w0x88a8: parse_vlan_outer;
            16w0x8864: parse_pppoe;
            default: refuse_not_ip;
        }
    }

    state parse_vlan_outer {
        packet.extract(hdr.vlan_outer.next);
        transition select(hdr.vlan_outer.last.ethertype) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            16w0x8100: parse_vlan_inner;
            16w0x88a8: parse_vlan_inner;
            16w0x8864: parse_pppoe;
            default: refuse_not_ip;
        }
    }

    state parse_vlan_inner {
        packet.extract(hdr.vlan_inner.next);
        transition select(hdr.vlan_inner.last.ethertype) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            16w0x8864: parse_pppoe;
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
        transition select(hdr.ipv4.last.protocol) {
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            8w0x4: parse_ipv4_in_ip;
            8w0x29: parse_ipv6_in_ip;
            8w0x2f: parse_gre;
            default: refuse_protocol;
        }
    }

    state parse_ipv6 {
        packet.extract(hdr.ipv6.next);
        transition select(hdr.ipv6.last.next_header) {
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            8w0x0: parse_ipv6_extension;
            8w0x2b: parse_ipv6_extension;
            8w0x3c: parse_ipv6_extension;
            8w0x2c: parse_ipv6_extension;
            8w0x4: parse_ipv4_in_ip;
            8w0x29: parse_ipv6_in_ip;
            8w0x2f: parse_gre;
            default: refuse_protocol;
        }
    }

    state parse_ipv6_extension {
        packet.extract(hdr.ipv6_extension.next);
        packet.extract(hdr.ipv6_extension_rest.next, ((bit<32>)(hdr.ipv6_extension.last.length) * 8 + 8 - 8) * 8);
        transition select(hdr.ipv6_extension.last.next_header) {
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            8w0x0: parse_ipv6_extension;
            8w0x2b: parse_ipv6_extension;
            8w0x3c: parse_ipv6_extension;
            8w0x2c: parse_ipv6_extension;
            8w0x4: parse_ipv4_in_ip;
            8w0x29: parse_ipv6_in_ip;
            8w0x2f: parse_gre;
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
        hdr.udp.next = packet.lookahead<udp_h>();
        transition select(hdr.udp.last.bits_16) {
            16w0x12b5: parse_udp_tunnel;
            16w0x17c1: parse_udp_tunnel;
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
        transition select(hdr.udp_tunnel.last.destination_port) {
            16w0x12b5: parse_vxlan;
            16w0x17c1: parse_geneve;
            default: refuse_tunnel;
        }
    }

    state parse_vxlan {
        packet.extract(hdr.vxlan.next);
        transition parse_ethernet;
    }

    state parse_geneve {
        packet.extract(hdr.geneve.next);
        verify(((bit<8>)((bit<64>)((hdr.geneve.last.version) & 2w0x3) << 6)) == 0x0, error.tunnel);
        verify(((bit<8>)((bit<64>)((hdr.geneve.last.flags) & 1w0x1) << 7)) == 0x0, error.tunnel);
        packet.extract(hdr.geneve_rest.next, ((bit<32>)(hdr.geneve.last.options_length) * 4 + 8 - 8) * 8);
        transition select(hdr.geneve.last.protocol) {
            16w0x6558: parse_ethernet;
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            default: refuse_not_ip;
        }
    }

    state parse_gre {
        packet.extract(hdr.gre.next);
        verify(((bit<15>)((bit<64>)((hdr.gre.last.flags_1) & 15w0x5fff) >> 0)) == 0x0, error.tunnel);
        packet.extract(hdr.gre_rest.next, (((hdr.gre.last.flags ++ hdr.gre.last.flags_1) & 16w0x8000) == 16w0x8000 ? 32w32 : 32w0) + (((hdr.gre.last.flags ++ hdr.gre.last.flags_1) & 16w0x2000) == 16w0x2000 ? 32w32 : 32w0));
        transition select(hdr.gre.last.protocol) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            16w0x6558: parse_ethernet;
            16w0x8100: parse_vlan_outer;
            16w0x88a8: parse_vlan_outer;
            default: refuse_not_ip;
        }
    }

    state parse_ipv4_in_ip {
        transition parse_ipv4;
    }

    state parse_ipv6_in_ip {
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

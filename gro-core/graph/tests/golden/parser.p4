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

header ethernet_in_band_h {
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
    bit<16> source_port;
    bit<16> destination_port;
    bit<16> length;
    bit<16> checksum;
}

struct headers_t {
    ethernet_h ethernet;
    ethernet_in_band_h ethernet_in_band;
    vlan_outer_h vlan_outer;
    vlan_inner_h vlan_inner;
    ipv4_h ipv4;
    ipv4_rest_h ipv4_rest;
    ipv6_h ipv6;
    ipv6_extension_h[32] ipv6_extension;
    ipv6_extension_rest_h[32] ipv6_extension_rest;
    tcp_h tcp;
    tcp_rest_h tcp_rest;
    udp_h udp;
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
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ethertype) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            default: refuse_not_ip;
        }
    }

    state parse_ipv4 {
        packet.extract(hdr.ipv4);
        verify((hdr.ipv4.version ++ hdr.ipv4.ihl) == 0x45, error.ip_options);
        verify((hdr.ipv4.fragment) == 0x0, error.fragment);
        verify((bit<32>)(hdr.ipv4.ihl) * 4 >= 20, error.header_length);
        packet.extract(hdr.ipv4_rest, ((bit<32>)(hdr.ipv4.ihl) * 4 - 20) * 8);
        transition select(hdr.ipv4.protocol) {
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            default: refuse_protocol;
        }
    }

    state parse_ipv6 {
        packet.extract(hdr.ipv6);
        transition select(hdr.ipv6.next_header) {
            8w0x0: parse_ipv6_extension;
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            8w0x2b: parse_ipv6_extension;
            8w0x3c: parse_ipv6_extension;
            default: refuse_protocol;
        }
    }

    state parse_ipv6_extension {
        packet.extract(hdr.ipv6_extension.next);
        packet.extract(hdr.ipv6_extension_rest.next, ((bit<32>)(hdr.ipv6_extension.last.length) * 8 + 8 - 8) * 8);
        transition select(hdr.ipv6_extension.last.next_header) {
            8w0x0: parse_ipv6_extension;
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            8w0x2b: parse_ipv6_extension;
            8w0x3c: parse_ipv6_extension;
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
        verify(udp_forwarding, error.udp_off);
        packet.extract(hdr.udp);
        verify((hdr.udp.checksum) != 0x0, error.udp_no_checksum);
        verify((hdr.udp.length) > 0x8, error.udp_length);
        transition accept;
    }

    state refuse_not_ip {
        verify(false, error.not_ip);
        transition reject;
    }

    state refuse_protocol {
        verify(false, error.protocol);
        transition reject;
    }
}

parser gro_in_band_parser(
    packet_in packet,
    out headers_t hdr,
    in bool udp_forwarding
) {
    state start {
        transition parse_ethernet_in_band;
    }

    state parse_ethernet_in_band {
        packet.extract(hdr.ethernet_in_band);
        transition select(hdr.ethernet_in_band.ethertype) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            16w0x8100: parse_vlan_outer;
            16w0x88a8: parse_vlan_outer;
            default: refuse_not_ip;
        }
    }

    state parse_vlan_outer {
        packet.extract(hdr.vlan_outer);
        transition select(hdr.vlan_outer.ethertype) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            16w0x8100: parse_vlan_inner;
            16w0x88a8: parse_vlan_inner;
            default: refuse_not_ip;
        }
    }

    state parse_vlan_inner {
        packet.extract(hdr.vlan_inner);
        transition select(hdr.vlan_inner.ethertype) {
            16w0x800: parse_ipv4;
            16w0x86dd: parse_ipv6;
            default: refuse_not_ip;
        }
    }

    state parse_ipv4 {
        packet.extract(hdr.ipv4);
        verify((hdr.ipv4.version ++ hdr.ipv4.ihl) == 0x45, error.ip_options);
        verify((hdr.ipv4.fragment) == 0x0, error.fragment);
        verify((bit<32>)(hdr.ipv4.ihl) * 4 >= 20, error.header_length);
        packet.extract(hdr.ipv4_rest, ((bit<32>)(hdr.ipv4.ihl) * 4 - 20) * 8);
        transition select(hdr.ipv4.protocol) {
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            default: refuse_protocol;
        }
    }

    state parse_ipv6 {
        packet.extract(hdr.ipv6);
        transition select(hdr.ipv6.next_header) {
            8w0x0: parse_ipv6_extension;
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            8w0x2b: parse_ipv6_extension;
            8w0x3c: parse_ipv6_extension;
            default: refuse_protocol;
        }
    }

    state parse_ipv6_extension {
        packet.extract(hdr.ipv6_extension.next);
        packet.extract(hdr.ipv6_extension_rest.next, ((bit<32>)(hdr.ipv6_extension.last.length) * 8 + 8 - 8) * 8);
        transition select(hdr.ipv6_extension.last.next_header) {
            8w0x0: parse_ipv6_extension;
            8w0x6: parse_tcp;
            8w0x11: parse_udp;
            8w0x2b: parse_ipv6_extension;
            8w0x3c: parse_ipv6_extension;
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
        verify(udp_forwarding, error.udp_off);
        packet.extract(hdr.udp);
        verify((hdr.udp.checksum) != 0x0, error.udp_no_checksum);
        verify((hdr.udp.length) > 0x8, error.udp_length);
        transition accept;
    }

    state refuse_not_ip {
        verify(false, error.not_ip);
        transition reject;
    }

    state refuse_protocol {
        verify(false, error.protocol);
        transition reject;
    }
}

//! What each mutant does wrong, and where the rule that it lacks is.

use gro_core::Rule;

/// A rule's place, and what is wrong without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// What the rule is about.
    pub about: &'static str,
    /// The kernel function that has it.
    pub function: &'static str,
    /// What happens without it.
    pub broken: &'static str,
}

/// Describes the mutant without `rule`.
pub fn describe(rule: Rule) -> Description {
    const CONTAINER: &str = "container";
    const IPV4: &str = "IPv4";
    const IPV6: &str = "IPv6";
    const IP: &str = "IPv4, IPv6";
    const TCP: &str = "TCP";
    const UDP: &str = "UDP";
    const L4: &str = "TCP, UDP";
    const VLAN: &str = "VLAN";
    const TUNNEL: &str = "tunnels";
    let (about, function, broken) = match rule {
        Rule::Hash => (CONTAINER, "gro_list_prepare", "packets of another RSS hash join"),
        Rule::Bucket => (CONTAINER, "dev_gro_receive", "every flow is in bucket 0"),
        Rule::Vlan => (CONTAINER, "gro_list_prepare", "packets of another VLAN tag join"),
        Rule::Macs => (CONTAINER, "gro_list_prepare", "packets of other MAC addresses join"),
        Rule::Eviction => (CONTAINER, "gro_flush_oldest", "a ninth flow evicts the newest"),
        Rule::OldestFirst => (CONTAINER, "__napi_gro_flush_chain", "a bucket leaves newest first"),
        Rule::BucketOrder => (CONTAINER, "napi_gro_flush", "bucket 7 leaves first"),
        Rule::PollEnd => (CONTAINER, "napi_complete_done", "packets stay at the end of a poll"),
        Rule::Age => (
            CONTAINER,
            "__napi_gro_flush_chain",
            "packets of the current jiffy leave despite a flush timeout",
        ),
        Rule::Budget => (CONTAINER, "napi_poll", "packets stay after a poll that used its budget"),
        Rule::Timer => (CONTAINER, "napi_watchdog", "the flush timer delivers nothing"),
        Rule::Single => (CONTAINER, "napi_gro_complete", "a single frame leaves with a `gso_size`"),
        Rule::Ipv4MaxSize => (CONTAINER, "skb_gro_receive", "`gro_ipv4_max_size` is ignored"),
        Rule::Ipv6MaxSize => (CONTAINER, "skb_gro_receive", "`gro_max_size` is ignored"),
        Rule::LegacyMaxSize => (CONTAINER, "skb_gro_receive", "UDP grows beyond 65,535 bytes"),
        Rule::JumboHeader => (IPV6, "ipv6_gro_complete", "a jumbogram does not state its length"),
        Rule::Ipv4Options => (IPV4, "inet_gro_receive", "the first byte of the header is not looked at"),
        Rule::Ipv4Fragment => (IPV4, "inet_gro_receive", "fragments join"),
        Rule::Ipv4Checksum => (IPV4, "inet_gro_receive", "the header checksum is not verified"),
        Rule::Ipv4Length => (IPV4, "inet_gro_receive", "the total length is not looked at"),
        Rule::Ipv4Reserved => (IPV4, "inet_gro_receive", "the reserved flag is not looked at"),
        Rule::Protocol => {
            (IP, "inet_gro_receive, ipv6_gro_receive", "packets of another protocol are of the flow")
        }
        Rule::Addresses => (IP, "inet_gro_receive, ipv6_gro_receive", "packets of other addresses join"),
        Rule::Ttl => (IP, "inet_gro_flush, ipv6_gro_flush", "another TTL or hop limit joins"),
        Rule::Tos => (IP, "inet_gro_flush, ipv6_gro_flush", "another TOS or traffic class joins"),
        Rule::DontFragment => (IPV4, "inet_gro_flush", "another don't-fragment bit joins"),
        Rule::IpId => (IPV4, "inet_gro_flush", "any identification joins"),
        Rule::FixedIpId => (IPV4, "inet_gro_flush", "an identification that stays the same does not join"),
        Rule::FixedIdWithoutDf => {
            (IPV4, "inet_gro_flush", "without DF, an identification that stays the same does not join")
        }
        Rule::SecondDecides => (IPV4, "inet_gro_flush", "the first identification joins again after others"),
        Rule::IpIdWraps => (IPV4, "inet_gro_flush", "0 does not follow identification 65,535"),
        Rule::FixedIdType => (IPV4, "tcp4_gro_complete", "no packet is marked `SKB_GSO_TCP_FIXEDID`"),
        Rule::Ipv6Length => (IPV6, "ipv6_gro_receive", "the payload length is not looked at"),
        Rule::FlowLabel => (IPV6, "ipv6_gro_receive", "packets of another flow label join"),
        Rule::Extensions => (IPV6, "ipv6_gro_receive", "other extension headers of the same length join"),
        Rule::Ipv6Fragment => (IPV6, "ipv6_gro_pull_exthdrs", "fragment headers are skipped like others"),
        Rule::TcpChecksum => (TCP, "skb_gro_checksum_validate", "the checksum is not verified"),
        Rule::LengthFirst => {
            (L4, "tcp4_gro_receive, tcp6_gro_receive", "a wrong checksum overtakes despite a wrong IP length")
        }
        Rule::Ports => (L4, "tcp_gro_lookup, udp_gro_receive_segment", "packets of other ports join"),
        Rule::DataOffset => (TCP, "tcp_gro_pull_header", "a data offset below 5 is not refused"),
        Rule::Flags => (TCP, "tcp_gro_receive", "other flags and reserved bits join"),
        Rule::Window => (TCP, "tcp_gro_receive", "another window joins"),
        Rule::Cwr => (TCP, "tcp_gro_receive", "a segment with CWR joins one with CWR"),
        Rule::NoAckFlag => (TCP, "tcp_gro_receive", "a segment without ACK does not join"),
        Rule::FinPushDiffer => (TCP, "tcp_gro_receive", "a segment with FIN or PSH does not join"),
        Rule::Ack => (TCP, "tcp_gro_receive", "another acknowledgement number joins"),
        Rule::Options => (TCP, "tcp_gro_receive", "other options of the same length join"),
        Rule::Sequence => (TCP, "tcp_gro_receive", "any sequence number joins"),
        Rule::Empty => (TCP, "tcp_gro_receive", "an empty segment joins"),
        Rule::Larger => (L4, "tcp_gro_receive, udp_gro_receive_segment", "a longer segment joins"),
        Rule::Short => (L4, "tcp_gro_receive, udp_gro_receive_segment", "a shorter segment does not close"),
        Rule::Push => (TCP, "tcp_gro_receive", "PSH does not close"),
        Rule::Fin => (TCP, "tcp_gro_receive", "FIN does not close"),
        Rule::FinPushJoin => (TCP, "tcp_gro_receive", "FIN and PSH of a later segment are lost"),
        Rule::FlagsAlone => (TCP, "tcp_gro_receive", "a segment with FIN, PSH, RST, SYN or URG is held"),
        Rule::EmptyAlone => (TCP, "tcp_gro_receive", "an empty segment is held"),
        Rule::UrgentDiffers => (TCP, "tcp_gro_receive", "another urgent pointer does not join"),
        Rule::FlushFirst => {
            ("order", "dev_gro_receive", "what cannot join leaves the packet of its flow held")
        }
        Rule::UdpOff => (UDP, "udp_gro_receive", "datagrams are coalesced though nobody asked"),
        Rule::UdpNoChecksum => (UDP, "udp_gro_receive_segment", "datagrams without checksum join"),
        Rule::UdpChecksum => (UDP, "udp_gro_receive_segment", "the checksum is not verified"),
        Rule::UdpLength => (UDP, "udp_gro_receive_segment", "the length is not looked at"),
        Rule::UdpSegments => (UDP, "udp_gro_receive_segment", "a packet has more than 64 datagrams"),
        Rule::InBandVlan => (VLAN, "vlan_gro_receive", "packets of another in-band tag join"),
        Rule::OuterAddresses => {
            (TUNNEL, "inet_gro_receive, ipv6_gro_receive", "packets of other outer addresses join")
        }
        Rule::OuterClass => (
            TUNNEL,
            "gro_receive_network_flush",
            "another TTL, TOS or don't-fragment bit of the outer header joins",
        ),
        Rule::OuterIpId => (TUNNEL, "inet_gro_flush", "any identification of the outer header joins"),
        Rule::OuterChecksum => {
            (TUNNEL, "udp4_gro_receive, gre_gro_receive", "outer UDP and GRE checksums are not verified")
        }
        Rule::OuterUnverified => {
            (TUNNEL, "udp_gro_receive", "an outer UDP checksum behind a wrong length keeps order")
        }
        Rule::TunnelHeader => {
            (TUNNEL, "gre_gro_receive, udp_gro_receive, vxlan_gro_receive", "packets of another tunnel join")
        }
        Rule::TunnelRefused => (TUNNEL, "gre_gro_receive", "GRE with a sequence number joins"),
        Rule::InnerMacs => (TUNNEL, "eth_gro_receive", "packets of other inner MAC addresses join"),
        Rule::MergedOuter => (
            TUNNEL,
            "inet_gro_complete, ipv6_gro_complete, udp_gro_complete",
            "outer lengths of a merged packet are the first frame's",
        ),
        Rule::MergedLength => (
            IP,
            "inet_gro_complete, ipv6_gro_complete",
            "the IP length of a merged packet is the first frame's",
        ),
        Rule::MergedIpv4Checksum => {
            (IPV4, "inet_gro_complete", "the header checksum of a merged packet is the first frame's")
        }
        Rule::MergedChecksum => {
            (L4, "tcp_gro_complete, udp_gro_complete", "the checksum of a merged packet is 0")
        }
    };
    Description { about, function, broken }
}

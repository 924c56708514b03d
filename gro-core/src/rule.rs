//! The rules by name, so that a test can switch one off and see whether a comparison notices.
//!
//! Every profile applies every rule ([`Profile::on`]), which compiles to nothing; only the mutants of the test harness do not.

use crate::profile::Profile;

/// One rule of kernel GRO. The kernel function that has it is named where the rule is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// A flow has one RSS hash, all 32 bits.
    Hash,
    /// The low bits of the hash choose the bucket.
    Bucket,
    /// A flow has one VLAN tag in metadata.
    Vlan,
    /// A flow has one pair of MAC addresses.
    Macs,
    /// A ninth flow evicts the oldest of its bucket.
    Eviction,
    /// What leaves together leaves oldest first.
    OldestFirst,
    /// Buckets leave in order.
    BucketOrder,
    /// Everything leaves at the end of a poll.
    PollEnd,
    /// With a flush timeout, packets of the current jiffy stay.
    Age,
    /// A poll that used its budget keeps nothing, below 1,000 jiffies a second.
    Budget,
    /// The flush timer delivers everything.
    Timer,
    /// A held packet that nothing joined leaves as it came.
    Single,
    /// IPv4 packets stay below `gro_ipv4_max_size`.
    Ipv4MaxSize,
    /// IPv6 packets stay below `gro_max_size`.
    Ipv6MaxSize,
    /// Only TCP grows beyond 65,535 bytes.
    LegacyMaxSize,
    /// A TCP packet over IPv6 of more than 65,535 bytes gets a header with its length.
    JumboHeader,
    /// An IPv4 header with options overtakes.
    Ipv4Options,
    /// An IPv4 fragment overtakes.
    Ipv4Fragment,
    /// A wrong IPv4 header checksum overtakes.
    Ipv4Checksum,
    /// An IPv4 length other than the bytes present ends the merge.
    Ipv4Length,
    /// The reserved IPv4 flag ends the merge.
    Ipv4Reserved,
    /// A flow has one ethertype and one protocol.
    Protocol,
    /// A flow has one pair of addresses.
    Addresses,
    /// TTL or hop limit stays the same.
    Ttl,
    /// TOS or traffic class stays the same.
    Tos,
    /// The don't-fragment bit stays the same.
    DontFragment,
    /// The IPv4 identification counts on.
    IpId,
    /// The identification may stay the same, if it does so from the second segment on.
    FixedIpId,
    /// The identification may stay the same without the don't-fragment bit, too.
    FixedIdWithoutDf,
    /// Only the second segment decides whether the identification stays the same.
    SecondDecides,
    /// The identification counts modulo 2^16.
    IpIdWraps,
    /// A packet of one identification is marked `SKB_GSO_TCP_FIXEDID`.
    FixedIdType,
    /// An IPv6 length other than the bytes present ends the merge.
    Ipv6Length,
    /// An IPv6 flow has one flow label.
    FlowLabel,
    /// An IPv6 flow has equal extension headers.
    Extensions,
    /// An IPv6 fragment header overtakes, an atomic one too.
    Ipv6Fragment,
    /// A wrong checksum of TCP overtakes.
    TcpChecksum,
    /// Where the IP length is wrong the checksum is not looked at.
    LengthFirst,
    /// A flow has one pair of ports.
    Ports,
    /// A TCP data offset below 5 overtakes.
    DataOffset,
    /// TCP flags and reserved bits stay the same.
    Flags,
    /// The TCP window stays the same.
    Window,
    /// A segment with CWR does not join.
    Cwr,
    /// A segment without ACK may join.
    NoAckFlag,
    /// FIN and PSH may differ.
    FinPushDiffer,
    /// The acknowledgement number stays the same.
    Ack,
    /// TCP options stay the same.
    Options,
    /// The sequence number continues the packet.
    Sequence,
    /// An empty segment does not join.
    Empty,
    /// A segment longer than the first does not join.
    Larger,
    /// A segment shorter than the first closes the packet.
    Short,
    /// PSH closes the packet.
    Push,
    /// FIN closes the packet.
    Fin,
    /// FIN and PSH of a segment are the packet's.
    FinPushJoin,
    /// A segment with FIN, PSH, RST, SYN or URG is not held.
    FlagsAlone,
    /// An empty segment is not held.
    EmptyAlone,
    /// The urgent pointer may differ.
    UrgentDiffers,
    /// What cannot join a packet of its flow completes it first.
    FlushFirst,
    /// UDP is left alone unless it is asked for.
    UdpOff,
    /// A datagram without checksum is left alone.
    UdpNoChecksum,
    /// A wrong checksum of UDP overtakes.
    UdpChecksum,
    /// A UDP length other than the bytes present overtakes.
    UdpLength,
    /// A packet has at most 64 datagrams.
    UdpSegments,
    /// An in-band VLAN tag is part of the flow.
    InBandVlan,
    /// A tunnel has one pair of outer addresses.
    OuterAddresses,
    /// TTL, TOS and the don't-fragment bit of an outer header stay the same.
    OuterClass,
    /// The IPv4 identification of an outer header counts on, or stays the same from the second segment on.
    OuterIpId,
    /// A wrong checksum of an outer UDP header, or of GRE, overtakes.
    OuterChecksum,
    /// Behind a wrong outer length an outer UDP header with a checksum overtakes.
    OuterUnverified,
    /// A flow has one tunnel header: ports, key, network identifier, options.
    TunnelHeader,
    /// A tunnel header that GRO does not know overtakes.
    TunnelRefused,
    /// A flow in a tunnel has one pair of inner MAC addresses.
    InnerMacs,
    /// Outer lengths and checksums of a merged packet are its own.
    MergedOuter,
    /// The IP length of a merged packet is its own.
    MergedLength,
    /// The IPv4 header checksum of a merged packet is its own.
    MergedIpv4Checksum,
    /// The TCP or UDP checksum of a merged packet is its own.
    MergedChecksum,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 76] = [
        Self::Hash,
        Self::Bucket,
        Self::Vlan,
        Self::Macs,
        Self::Eviction,
        Self::OldestFirst,
        Self::BucketOrder,
        Self::PollEnd,
        Self::Age,
        Self::Budget,
        Self::Timer,
        Self::Single,
        Self::Ipv4MaxSize,
        Self::Ipv6MaxSize,
        Self::LegacyMaxSize,
        Self::JumboHeader,
        Self::Ipv4Options,
        Self::Ipv4Fragment,
        Self::Ipv4Checksum,
        Self::Ipv4Length,
        Self::Ipv4Reserved,
        Self::Protocol,
        Self::Addresses,
        Self::Ttl,
        Self::Tos,
        Self::DontFragment,
        Self::IpId,
        Self::FixedIpId,
        Self::FixedIdWithoutDf,
        Self::SecondDecides,
        Self::IpIdWraps,
        Self::FixedIdType,
        Self::Ipv6Length,
        Self::FlowLabel,
        Self::Extensions,
        Self::Ipv6Fragment,
        Self::TcpChecksum,
        Self::LengthFirst,
        Self::Ports,
        Self::DataOffset,
        Self::Flags,
        Self::Window,
        Self::Cwr,
        Self::NoAckFlag,
        Self::FinPushDiffer,
        Self::Ack,
        Self::Options,
        Self::Sequence,
        Self::Empty,
        Self::Larger,
        Self::Short,
        Self::Push,
        Self::Fin,
        Self::FinPushJoin,
        Self::FlagsAlone,
        Self::EmptyAlone,
        Self::UrgentDiffers,
        Self::FlushFirst,
        Self::UdpOff,
        Self::UdpNoChecksum,
        Self::UdpChecksum,
        Self::UdpLength,
        Self::UdpSegments,
        Self::InBandVlan,
        Self::OuterAddresses,
        Self::OuterClass,
        Self::OuterIpId,
        Self::OuterChecksum,
        Self::OuterUnverified,
        Self::TunnelHeader,
        Self::TunnelRefused,
        Self::InnerMacs,
        Self::MergedOuter,
        Self::MergedLength,
        Self::MergedIpv4Checksum,
        Self::MergedChecksum,
    ];

    /// `word` where the rule applies, else 0: a difference that does not count.
    #[inline(always)]
    pub(crate) fn of<P: Profile>(self, word: u32) -> u32 {
        if P::on(self) { word } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_has_every_rule_once() {
        assert!(Rule::ALL.iter().enumerate().all(|(number, rule)| *rule as usize == number));
        assert_eq!(Rule::ALL.last(), Some(&Rule::MergedChecksum));
    }
}

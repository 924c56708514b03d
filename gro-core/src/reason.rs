//! Why a held packet was delivered, and why a frame was not held.

/// Why a held packet left the table. The order is that of the tests in the kernel's `tcp_gro_receive`
/// (net/ipv4/tcp_offload.c): the first that fails names the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FlushReason {
    /// Nothing left.
    #[default]
    None = 0,
    /// The segment carries CWR.
    Cwr,
    /// A TCP flag other than FIN and PSH, a reserved bit or the data offset differs.
    Flags,
    /// The TCP window differs.
    Window,
    /// The acknowledgement number differs.
    Ack,
    /// A byte of the TCP options differs.
    Options,
    /// The DSCP/ECN byte (IPv4 TOS, IPv6 traffic class) differs.
    Tos,
    /// TTL or hop limit differs.
    Ttl,
    /// The don't-fragment bit differs.
    DontFragment,
    /// The IPv4 identification neither stays nor counts on.
    IpId,
    /// The segment has no payload (a pure ACK).
    Empty,
    /// The segment is larger than the first one.
    Larger,
    /// The sequence number is not the next one.
    Sequence,
    /// The merged packet would reach `gro_max_size`.
    Size,
    /// The IP length of the segment differs from the bytes present, or its reserved bit is set.
    Length,
    /// The segment joined and is shorter than the first.
    Short,
    /// The datagram joined as the 64th.
    Segments,
    /// The segment joined and carries PSH.
    Push,
    /// The segment joined and carries FIN.
    Fin,
    /// A ninth flow needed the place of the oldest.
    Evicted,
    /// The poll ended.
    PollEnd,
    /// The flush timer fired.
    Tick,
    /// The owner of the engine asked for everything.
    Requested,
}

impl FlushReason {
    /// Every reason in the order of its number.
    pub const ALL: [Self; 23] = [
        Self::None,
        Self::Cwr,
        Self::Flags,
        Self::Window,
        Self::Ack,
        Self::Options,
        Self::Tos,
        Self::Ttl,
        Self::DontFragment,
        Self::IpId,
        Self::Empty,
        Self::Larger,
        Self::Sequence,
        Self::Size,
        Self::Length,
        Self::Short,
        Self::Segments,
        Self::Push,
        Self::Fin,
        Self::Evicted,
        Self::PollEnd,
        Self::Tick,
        Self::Requested,
    ];

    /// The name used in statistics, JSON and trace comments.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cwr => "cwr",
            Self::Flags => "flags",
            Self::Window => "window",
            Self::Ack => "ack",
            Self::Options => "options",
            Self::Tos => "tos",
            Self::Ttl => "ttl",
            Self::DontFragment => "dont_fragment",
            Self::IpId => "ip_id",
            Self::Empty => "empty",
            Self::Larger => "larger",
            Self::Sequence => "sequence",
            Self::Size => "size",
            Self::Length => "length",
            Self::Short => "short",
            Self::Segments => "segments",
            Self::Push => "psh",
            Self::Fin => "fin",
            Self::Evicted => "evicted",
            Self::PollEnd => "poll_end",
            Self::Tick => "tick",
            Self::Requested => "requested",
        }
    }

    /// The reason that was put down as a word.
    #[inline(always)]
    pub(crate) fn of_word(word: u32) -> Self {
        match Self::ALL.into_iter().find(|&reason| reason as u32 == word) {
            Some(reason) => reason,
            None => Self::None,
        }
    }

    /// The reason with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Why a frame was delivered at once instead of being held.
///
/// Up to [`Bypass::Nested`], and with [`Bypass::Declined`], the frame is not looked at further and overtakes what is held of its
/// flow; from [`Bypass::Length`] to [`Bypass::Flags`] the held packet of its flow left first and order is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Bypass {
    /// The frame was not delivered at once.
    #[default]
    None = 0,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// A header is cut off by the end of the frame.
    Truncated,
    /// IPv4 version is not 4, or the header has options.
    IpOptions,
    /// An IPv4 fragment.
    Fragment,
    /// The IPv4 header checksum is wrong.
    IpChecksum,
    /// Neither TCP nor UDP (fragment headers of IPv6 and unknown extension headers included).
    Protocol,
    /// The TCP data offset is below 5.
    DataOffset,
    /// The headers do not fit [`crate::HEADER_MAX`] bytes, or the frame is longer than 65,535 bytes.
    TooLong,
    /// The backend had no storage for the flow table.
    NoTable,
    /// The TCP or UDP checksum is wrong, or nobody could verify it.
    Checksum,
    /// A UDP datagram, and UDP is not coalesced.
    UdpOff,
    /// A UDP datagram without checksum.
    UdpNoChecksum,
    /// The UDP length is 8 or less, or differs from the bytes present.
    UdpLength,
    /// A tunnel header that GRO does not look behind: GRE with routing, sequence number or another version, Geneve with
    /// another version or OAM.
    Tunnel,
    /// A tunnel inside a tunnel.
    Nested,
    /// The IP length differs from the bytes present, or the IPv4 reserved bit is set.
    Length,
    /// A TCP segment without payload.
    Empty,
    /// A segment with URG, PSH, RST, SYN or FIN that could not join anything.
    Flags,
    /// The datapath does not merge this flow ([`crate::Datapath::admits`]).
    Declined,
}

impl Bypass {
    /// Every reason in the order of its number.
    pub const ALL: [Self; 20] = [
        Self::None,
        Self::NotIp,
        Self::Truncated,
        Self::IpOptions,
        Self::Fragment,
        Self::IpChecksum,
        Self::Protocol,
        Self::DataOffset,
        Self::TooLong,
        Self::NoTable,
        Self::Checksum,
        Self::UdpOff,
        Self::UdpNoChecksum,
        Self::UdpLength,
        Self::Tunnel,
        Self::Nested,
        Self::Length,
        Self::Empty,
        Self::Flags,
        Self::Declined,
    ];

    /// The name used in statistics, JSON and trace comments.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NotIp => "not_ip",
            Self::Truncated => "truncated",
            Self::IpOptions => "ip_options",
            Self::Fragment => "fragment",
            Self::IpChecksum => "ip_checksum",
            Self::Protocol => "protocol",
            Self::DataOffset => "data_offset",
            Self::TooLong => "too_long",
            Self::NoTable => "no_table",
            Self::Checksum => "checksum",
            Self::UdpOff => "udp_off",
            Self::UdpNoChecksum => "udp_no_checksum",
            Self::UdpLength => "udp_length",
            Self::Tunnel => "tunnel",
            Self::Nested => "nested",
            Self::Length => "length",
            Self::Empty => "empty",
            Self::Flags => "flags",
            Self::Declined => "declined",
        }
    }

    /// The reason that was put down as a word.
    #[inline(always)]
    pub(crate) fn of_word(word: u32) -> Self {
        match Self::ALL.into_iter().find(|&reason| reason as u32 == word) {
            Some(reason) => reason,
            None => Self::None,
        }
    }

    /// The reason with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for (number, reason) in FlushReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(FlushReason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
            assert_eq!(FlushReason::from_number(number as u8), Some(reason));
        }
        for (number, reason) in Bypass::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(Bypass::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
            assert_eq!(Bypass::from_number(number as u8), Some(reason));
        }
        assert_eq!(Bypass::from_number(200), None);
    }
}

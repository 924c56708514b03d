//! From header bytes to the words that GRO compares: straight line, one function a layer.
//!
//! A frame that fails here is one that kernel GRO cannot look at: it is delivered at once and overtakes what is held of
//! its flow. The tests that only end a merge are in [`crate::coalesce`].

mod ethernet;
mod ipv4;
mod ipv6;
mod tcp;
mod udp;

use crate::profile::{Config, Profile, UdpMode};
use crate::reason::Bypass;
use crate::rule::Rule;
use crate::window::{HEADER_MAX, Window};

const ETHERNET_HEADER: u32 = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// A frame that no wire carries: the lengths of IPv4 and of descriptors are 16 bits.
const FRAME_MAX: u32 = 65_535;

/// What must be equal for two frames to be of one flow, apart from the RSS hash, the VLAN tag and the extension headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Key {
    /// Destination and source MAC address.
    pub macs: [u32; 3],
    /// Ethertype of the IP header (high half) and, IPv4, the protocol; IPv6, the first next header.
    pub protocol: u32,
    /// IPv6: version and flow label. IPv4: 0.
    pub label: u32,
    /// Source and destination address; IPv4 uses the first word of each.
    pub addresses: [u32; 8],
    /// Source port (high half) and destination port.
    pub ports: u32,
}

impl Key {
    /// No flow.
    pub(crate) const EMPTY: Self = Self { macs: [0; 3], protocol: 0, label: 0, addresses: [0; 8], ports: 0 };
}

/// One segment in plain words: of TCP, or a UDP datagram, which is a segment without sequence number, flags and options.
/// Offsets and lengths are bytes from the start of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    /// Flow identity.
    pub key: Key,
    /// In-band VLAN tags, outer first: TPID (high half) and TCI, 0 for none. Of no meaning where [`Packet::l3`] says that there
    /// is none.
    pub tags: [u32; TAGS],
    /// 1 for UDP, 0 for TCP.
    pub udp: u32,
    /// Offset of the IP header.
    pub l3: u32,
    /// Offset of the TCP or UDP header.
    pub l4: u32,
    /// Offset of the payload, which is the length of all headers.
    pub payload: u32,
    /// Bytes behind the headers up to the end of the frame, padding included (the kernel's `skb_gro_len`).
    pub payload_len: u32,
    /// TCP sequence number; like the other TCP fields 0 for UDP.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// The fourth word of the TCP header: data offset, reserved bits, flags, window (`tcp_flag_word`).
    pub control: u32,
    /// Checksum field (high half) and urgent pointer.
    pub check_urgent: u32,
    /// DSCP/ECN (bits 8..16) and TTL or hop limit (bits 0..8).
    pub class: u32,
    /// IPv4: identification (high half) and header checksum. IPv6: 0.
    pub id_check: u32,
    /// IPv4: the don't-fragment bit. IPv6: 0.
    pub dont_fragment: u32,
    /// The IP length differs from the bytes present, or the reserved bit is set: it cannot join, and the checksum is
    /// not looked at (`NAPI_GRO_CB(skb)->flush` in the kernel).
    pub mismatch: bool,
}

pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;
/// Offset of the network header in a frame without in-band VLAN tag; sizes count from here, tags included.
pub(crate) const L3_UNTAGGED: u32 = ETHERNET_HEADER;
/// In-band VLAN tags at most (IEEE 802.1ad: one of the service, one of the customer).
pub const TAGS: usize = 2;
/// Bytes of a VLAN tag: TCI, and the ethertype behind it.
const TAG: u32 = 4;
/// Bytes of the hop-by-hop header that holds the length of a jumbogram (RFC 2675).
pub(crate) const JUMBO_HEADER: u32 = 8;
/// Length of an IPv6 header without extension headers.
pub(crate) const IPV6_HEADER: u32 = 40;
/// Length of a TCP header without options.
pub(crate) const TCP_HEADER: u32 = 20;
/// Length of a UDP header.
pub(crate) const UDP_HEADER: u32 = 8;

impl Packet {
    /// No packet.
    pub const EMPTY: Self = Self {
        key: Key::EMPTY,
        tags: [0; TAGS],
        udp: 0,
        l3: 0,
        l4: 0,
        payload: 0,
        payload_len: 0,
        seq: 0,
        ack: 0,
        control: 0,
        check_urgent: 0,
        class: 0,
        id_check: 0,
        dont_fragment: 0,
        mismatch: false,
    };

    /// Whether the network header is IPv6.
    #[inline(always)]
    pub fn is_ipv6(&self) -> bool {
        self.key.protocol >> 16 == ETHERTYPE_IPV6 as u32
    }

    /// Words of IPv6 extension headers, at most [`crate::flow::EXTENSION_WORDS`].
    #[inline(always)]
    pub(crate) fn extension_words(&self) -> u32 {
        if self.is_ipv6() { (self.l4 - self.l3 - IPV6_HEADER) / 4 } else { 0 }
    }

    /// Whether VLAN tags are in the bytes: then the IP header is behind them.
    #[inline(always)]
    pub(crate) fn is_tagged(&self) -> bool {
        self.l3 != L3_UNTAGGED
    }

    /// Whether the kernel's jumbo header would overwrite extension headers: `ipv6_gro_complete` (net/ipv6/ip6_offload.c) makes
    /// room for it in front of the transport header and writes it behind the IPv6 header, which loses all but the last eight
    /// bytes between the two. Such a packet stays small here: a divergence on purpose.
    #[inline(always)]
    pub(crate) fn loses_extensions<P: Profile>(&self) -> bool {
        P::JUMBO_HEADER && self.extension_words() > JUMBO_HEADER / 4
    }

    /// Words of TCP options, at most [`crate::flow::OPTION_WORDS`].
    #[inline(always)]
    pub(crate) fn option_words(&self) -> u32 {
        (self.payload - self.l4).saturating_sub(TCP_HEADER) / 4
    }
}

/// Parses the headers of an Ethernet frame. The packet is written in place: a BPF stack has no room for another one. Each layer
/// writes all of its fields; what was there before does not matter.
#[inline(always)]
pub fn parse<P: Profile>(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Result<(), Bypass> {
    if window.len() < ETHERNET_HEADER {
        return Err(Bypass::Truncated);
    }
    if window.len() > FRAME_MAX {
        return Err(Bypass::TooLong);
    }
    packet.key.macs = [window.be32(0), window.be32(4), window.be32(8)];
    let ethertype = ethernet::parse(window, config, packet)?;
    packet.key.protocol = (ethertype as u32) << 16;
    let protocol = match ethertype {
        ETHERTYPE_IPV4 => ipv4::parse::<P>(window, packet)?,
        ETHERTYPE_IPV6 => ipv6::parse::<P>(window, packet)?,
        _ => return Err(Bypass::NotIp),
    };
    match protocol {
        PROTOCOL_TCP => tcp::parse::<P>(window, packet),
        PROTOCOL_UDP if config.udp as u32 == UdpMode::Off as u32 && P::on(Rule::UdpOff) => {
            Err(Bypass::UdpOff)
        }
        PROTOCOL_UDP => udp::parse::<P>(window, packet),
        _ => Err(Bypass::Protocol),
    }
}

/// Whether a header that ends at `end` fits the window and the frame.
#[inline(always)]
fn fits(window: &Window<'_>, end: u32) -> Result<(), Bypass> {
    if end > window.len() {
        Err(Bypass::Truncated)
    } else if end > HEADER_MAX as u32 {
        Err(Bypass::TooLong)
    } else {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Linux618;
    use crate::checksum::{field, fold};
    use crate::window::STORAGE;
    use alloc::vec::Vec;

    /// A valid IPv4/TCP frame; tests change what they are about.
    pub(crate) fn frame(payload: usize) -> Vec<u8> {
        let mut bytes = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x00");
        bytes.extend([0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        bytes.resize(54 + payload, 0x61);
        let total = (40 + payload) as u16;
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        let check = field(words(&bytes[14..34]));
        bytes[24..26].copy_from_slice(&check.to_be_bytes());
        bytes
    }

    pub(crate) fn words(bytes: &[u8]) -> u32 {
        let sum = |sum: u32, pair: &[u8]| {
            u32::from(fold(sum + u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))))
        };
        bytes.chunks(2).fold(0, sum)
    }

    pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<Packet, Bypass> {
        let mut storage = [0xee; STORAGE];
        let present = bytes.len().min(STORAGE);
        storage[..present].copy_from_slice(&bytes[..present]);
        let mut packet = Packet::EMPTY;
        let window = Window::new(&storage, bytes.len() as u32);
        parse::<Linux618>(&window, &Config::DEFAULT, &mut packet).map(|()| packet)
    }

    #[test]
    fn reads_every_field() {
        let packet = parse_bytes(&frame(100)).unwrap();
        assert_eq!((packet.l4, packet.payload, packet.payload_len), (34, 54, 100));
        assert_eq!((packet.seq, packet.ack, packet.control), (1, 2, 0x5010_0100));
        assert_eq!((packet.key.ports, packet.class, packet.id_check >> 16), (80 << 16 | 256, 64, 7));
        assert!(!packet.mismatch && packet.dont_fragment != 0);
    }

    #[test]
    fn every_cut_is_refused_or_marked() {
        let whole = frame(10);
        for len in 0..whole.len() {
            match parse_bytes(&whole[..len]) {
                Err(why) => assert_eq!(why, Bypass::Truncated, "{len}"),
                Ok(packet) => assert!(packet.mismatch && len >= 54, "{len}"),
            }
        }
    }

    #[test]
    fn names_what_it_cannot_look_at() {
        let changed = |at: usize, value: u8| {
            let mut bytes = frame(100);
            bytes[at] = value;
            parse_bytes(&bytes).unwrap_err()
        };
        assert_eq!(changed(12, 9), Bypass::NotIp);
        assert_eq!(changed(14, 0x46), Bypass::IpOptions);
        assert_eq!(changed(20, 0x20), Bypass::Fragment);
        assert_eq!(changed(24, 0x77), Bypass::IpChecksum);
        assert_eq!(changed(23, 18), Bypass::Protocol);
        assert_eq!(changed(46, 0x40), Bypass::DataOffset);
        assert_eq!(parse_bytes(&Vec::from([0; 70_000])).unwrap_err(), Bypass::TooLong);
    }
}

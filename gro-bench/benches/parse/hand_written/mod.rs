//! The parser that was written by hand before the one that is generated from `gro-core/parser.json`: what that is measured
//! against. It knows no tunnels.

mod ethernet;
mod ipv4;
mod ipv6;
mod tcp;
mod udp;

use gro_core::Bypass;
use gro_core::Rule;
use gro_core::{Config, Profile, UdpMode};
use gro_core::{HEADER_MAX, Window};

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
pub(crate) struct Key {
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
pub(crate) struct Packet {
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

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const L3_UNTAGGED: u32 = ETHERNET_HEADER;
const TAGS: usize = 2;
/// Bytes of a VLAN tag: TCI, and the ethertype behind it.
const TAG: u32 = 4;
const IPV6_HEADER: u32 = 40;
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;

impl Packet {
    /// No packet.
    pub(crate) const EMPTY: Self = Self {
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
}

/// Parses the headers of an Ethernet frame. The packet is written in place: a BPF stack has no room for another one. Each layer
/// writes all of its fields; what was there before does not matter.
#[inline(always)]
pub(crate) fn parse<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
) -> Result<(), Bypass> {
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

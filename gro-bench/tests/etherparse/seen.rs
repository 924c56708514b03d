//! What is in a frame, field by field: what the engine and etherparse must agree on.

use gro_core::Packet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The innermost headers, and what stands in front of them. Offsets are from the start of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Destination and source of the frame.
    pub(crate) macs: [[u8; 6]; 2],
    /// 0 without a tunnel.
    pub(crate) outer_l3: usize,
    pub(crate) l3: usize,
    pub(crate) l4: usize,
    pub(crate) payload: usize,
    pub(crate) payload_len: usize,
    pub(crate) is_ipv6: bool,
    pub(crate) version: u8,
    /// IPv6: the first next header.
    pub(crate) protocol: u8,
    pub(crate) label: u32,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) hop_limit: u8,
    pub(crate) class: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) identification: u16,
    pub(crate) header_checksum: u16,
    /// A length in any IP header differs from the bytes present, or its reserved bit is set.
    pub(crate) mismatch: bool,
    pub(crate) ports: [u16; 2],
    pub(crate) checksum: u16,
    pub(crate) transport: Transport,
}

/// What is not alike in TCP and UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp {
        sequence: u32,
        acknowledgement: u32,
        data_offset: u8,
        reserved: u8,
        /// FIN is bit 0, NS bit 8.
        flags: u16,
        window: u16,
        urgent: u16,
    },
    /// Sequence number, acknowledgement, flag word and urgent pointer are 0.
    Udp { rest: [u32; 4] },
}

impl Seen {
    /// What the engine says.
    pub(crate) fn of(packet: &Packet) -> Self {
        let key = &packet.key;
        let is_ipv6 = packet.is_ipv6();
        let address = |words: &[u32]| {
            if !is_ipv6 {
                return IpAddr::V4(Ipv4Addr::from(words[0]));
            }
            IpAddr::V6(Ipv6Addr::from(words.iter().fold(0, |all, &word| all << 32 | u128::from(word))))
        };
        let transport = if packet.udp == 0 {
            Transport::Tcp {
                sequence: packet.seq,
                acknowledgement: packet.ack,
                data_offset: (packet.control >> 28) as u8,
                reserved: (packet.control >> 25 & 7) as u8,
                flags: (packet.control >> 16 & 0x1ff) as u16,
                window: packet.control as u16,
                urgent: packet.check_urgent as u16,
            }
        } else {
            Transport::Udp { rest: [packet.seq, packet.ack, packet.control, packet.check_urgent & 0xffff] }
        };
        let macs: Vec<u8> = key.macs.iter().flat_map(|word| word.to_be_bytes()).collect();
        Self {
            macs: std::array::from_fn(|which| std::array::from_fn(|at| macs[6 * which + at])),
            outer_l3: packet.outer_l3() as usize,
            l3: packet.l3 as usize,
            l4: packet.l4 as usize,
            payload: packet.payload as usize,
            payload_len: packet.payload_len as usize,
            is_ipv6,
            version: if is_ipv6 { (key.label >> 28) as u8 } else { 4 },
            protocol: key.protocol as u8,
            label: key.label & 0x0fff_ffff,
            source: address(&key.addresses[..4]),
            destination: address(&key.addresses[4..]),
            hop_limit: packet.class as u8,
            class: (packet.class >> 8) as u8,
            dont_fragment: packet.class >> 16 != 0,
            identification: (packet.id_check >> 16) as u16,
            header_checksum: packet.id_check as u16,
            mismatch: packet.mismatch,
            ports: [(key.ports >> 16) as u16, key.ports as u16],
            checksum: (packet.check_urgent >> 16) as u16,
            transport,
        }
    }

    /// Nothing yet.
    pub(crate) fn nothing() -> Self {
        Self::of(&Packet::EMPTY)
    }
}

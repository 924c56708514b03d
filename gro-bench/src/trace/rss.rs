//! The receive hash of a NIC: Toeplitz over addresses and ports, with the key that Microsoft publishes.
//!
//! Input is what NICs hash by default: addresses and ports for TCP, addresses alone for every other IP packet and for
//! fragments, nothing for the rest (hash 0). Ports behind IPv6 extension headers count; inner headers do not.

/// The verification key of the RSS specification, which many drivers also use.
pub const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// The hash of a frame whose outer VLAN tag is already stripped; 0 when it is not IP.
pub fn hash(frame: &[u8]) -> u32 {
    let Some((ethertype, packet)) = frame.get(12..14).zip(frame.get(14..)) else { return 0 };
    match ethertype {
        [0x08, 0x00] => ipv4(packet),
        [0x86, 0xdd] => ipv6(packet),
        _ => None,
    }
    .unwrap_or(0)
}

/// Toeplitz over at most 36 bytes: for every set bit, the 32 bits of the key that start at its place.
pub fn toeplitz(key: &[u8; 40], input: &[u8]) -> u32 {
    debug_assert!(input.len() <= 36, "the key has 32 bits beyond 36 bytes of input only");
    let mut window = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
    let mut hash = 0;
    for (byte, next) in input.iter().zip(&key[4..]) {
        for bit in (0..8).rev() {
            if byte >> bit & 1 == 1 {
                hash ^= window;
            }
            window = window << 1 | u32::from(next >> bit & 1);
        }
    }
    hash
}

const TCP: u8 = 6;

fn ipv4(packet: &[u8]) -> Option<u32> {
    let header = packet.get(..20).filter(|header| header[0] >> 4 == 4)?;
    let addresses = &header[12..20];
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let offset = usize::from(header[0] & 15) * 4;
    let ports =
        if header[9] == TCP && !fragment && offset >= 20 { packet.get(offset..offset + 4) } else { None };
    Some(tuple(addresses, ports))
}

fn ipv6(packet: &[u8]) -> Option<u32> {
    let header = packet.get(..40).filter(|header| header[0] >> 4 == 6)?;
    Some(tuple(&header[8..40], ipv6_ports(packet, header[6])))
}

/// TCP ports behind hop-by-hop, routing and destination options; none behind a fragment header.
fn ipv6_ports(packet: &[u8], mut next: u8) -> Option<&[u8]> {
    let mut offset = 40;
    // Each turn moves at least 8 bytes on, so the end of the packet bounds it.
    loop {
        match next {
            TCP => return packet.get(offset..offset + 4),
            0 | 43 | 60 => {
                let extension = packet.get(offset..offset + 2)?;
                next = extension[0];
                offset += (usize::from(extension[1]) + 1) * 8;
            }
            _ => return None,
        }
    }
}

fn tuple(addresses: &[u8], ports: Option<&[u8]>) -> u32 {
    let ports = ports.unwrap_or_default();
    let mut input = [0; 36];
    let length = addresses.len() + ports.len();
    input[..addresses.len()].copy_from_slice(addresses);
    input[addresses.len()..length].copy_from_slice(ports);
    toeplitz(&KEY, &input[..length])
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Destination and port, source and port, hash of the addresses, hash with ports: the specification's own table.
    const VECTORS: [(&str, u16, &str, u16, u32, u32); 8] = [
        ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178),
        ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea),
        ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a),
        ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f),
        ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2),
        ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d),
        ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf),
        (
            "fe80::200:f8ff:fe21:67cf",
            38024,
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            0x4b61e985,
            0x02d1feef,
        ),
    ];

    fn octets(address: &str) -> Vec<u8> {
        match address.parse().unwrap() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }

    /// A frame with the given transport protocol; for IPv6 behind `extensions` destination-option headers.
    fn frame(source: &str, destination: &str, ports: (u16, u16), protocol: u8, extensions: usize) -> Vec<u8> {
        let (source, destination) = (octets(source), octets(destination));
        let mut frame = vec![2; 12];
        if source.len() == 4 {
            frame.extend_from_slice(&[0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
        } else {
            let next = if extensions > 0 { 60 } else { protocol };
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, next, 64]);
        }
        frame.extend_from_slice(&source);
        frame.extend_from_slice(&destination);
        for left in (0..extensions).rev() {
            frame.extend_from_slice(&[if left > 0 { 60 } else { protocol }, 0, 1, 4, 0, 0, 0, 0]);
        }
        frame.extend_from_slice(&ports.0.to_be_bytes());
        frame.extend_from_slice(&ports.1.to_be_bytes());
        frame.extend_from_slice(&[0; 16]);
        frame
    }

    #[test]
    fn the_published_vectors_hold() {
        for (destination, to, source, from, addresses, with_ports) in VECTORS {
            let tcp = frame(source, destination, (from, to), TCP, 0);
            assert_eq!(hash(&tcp), with_ports, "{destination}");
            assert_eq!(hash(&frame(source, destination, (from, to), 17, 0)), addresses, "{destination}");
        }
    }

    #[test]
    fn extension_headers_are_skipped_and_fragments_have_no_ports() {
        let (destination, to, source, from, addresses, with_ports) = VECTORS[5];
        assert_eq!(hash(&frame(source, destination, (from, to), TCP, 3)), with_ports);
        assert_eq!(hash(&frame(source, destination, (from, to), 44, 1)), addresses);
        let (destination, to, source, from, addresses, _) = VECTORS[0];
        let mut fragment = frame(source, destination, (from, to), TCP, 0);
        fragment[20] = 0x20;
        assert_eq!(hash(&fragment), addresses);
    }

    #[test]
    fn short_and_foreign_frames_hash_to_something_without_panic() {
        let (destination, to, source, from, addresses, _) = VECTORS[5];
        let whole = frame(source, destination, (from, to), TCP, 2);
        for length in 0..whole.len() {
            let expected = if length < 54 { 0 } else { addresses };
            assert!(hash(&whole[..length]) == expected || length >= 74, "{length}");
        }
        let mut arp = whole;
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(hash(&arp), 0);
    }
}

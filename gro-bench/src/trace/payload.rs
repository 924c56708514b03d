//! How many TCP or UDP payload bytes a frame carries: the unit in which conformance cases count.

/// Payload bytes of a frame without VLAN tag; 0 when it is neither TCP nor UDP, a fragment, or cut inside its headers.
///
/// In tunnels it is that of the innermost packet, however deep: IP in IP, GRE, VXLAN and Geneve on their ports. IP lengths are believed where the bytes are there, so padding does not count. TCP header lengths below their least
/// count as that, which gives frames with damaged headers a number, too. The length in a UDP header is not looked at.
pub fn payload(frame: &[u8]) -> u32 {
    length(frame, &[TCP, UDP])
}

/// As [`payload`], 0 when it is not TCP.
pub fn tcp_payload(frame: &[u8]) -> u32 {
    length(frame, &[TCP])
}

fn length(frame: &[u8], protocols: &[u8]) -> u32 {
    let length = innermost(frame).and_then(|(protocol, segment)| {
        let header = match protocol {
            _ if !protocols.contains(&protocol) => return None,
            TCP => usize::from(segment.get(12)? >> 4).max(5) * 4,
            _ => 8,
        };
        segment.len().checked_sub(header)
    });
    length.and_then(|length| u32::try_from(length).ok()).unwrap_or(0)
}

/// The protocol of the innermost packet, and what lies behind its IP headers.
fn innermost(frame: &[u8]) -> Option<(u8, &[u8])> {
    let (mut ethertype, mut packet) = (ETHERNET, frame);
    loop {
        let (protocol, behind) = match ethertype {
            ETHERNET => {
                (ethertype, packet) = (word(packet, 12)?, packet.get(14..)?);
                continue;
            }
            IPV4 => ipv4(packet)?,
            IPV6 => ipv6(packet)?,
            _ => return None,
        };
        (ethertype, packet) = match protocol {
            4 => (IPV4, behind),
            41 => (IPV6, behind),
            GRE => {
                // Checksum, key, sequence number: a word each.
                let words = (word(behind, 0)? & 0xb000).count_ones() as usize;
                (word(behind, 2)?, behind.get(4 + 4 * words..)?)
            }
            UDP if word(behind, 2) == Some(VXLAN) => (ETHERNET, behind.get(16..)?),
            UDP if word(behind, 2) == Some(GENEVE) => {
                let options = usize::from(behind.get(8)? & 0x3f);
                (word(behind, 10)?, behind.get(16 + 4 * options..)?)
            }
            _ => return Some((protocol, behind)),
        };
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Of a frame in a tunnel, and here of the frame itself.
const ETHERNET: u16 = 0x6558;
const VXLAN: u16 = 4_789;
const GENEVE: u16 = 6_081;

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The protocol, and what lies behind the IP headers.
fn ipv4(packet: &[u8]) -> Option<(u8, &[u8])> {
    let header = packet.get(..20)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if fragment {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([header[2], header[3]])).min(packet.len());
    Some((header[9], packet.get(usize::from(header[0] & 15).max(5) * 4..length)?))
}

fn ipv6(packet: &[u8]) -> Option<(u8, &[u8])> {
    let header = packet.get(..40)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]])) + 40;
    let packet = packet.get(..length).unwrap_or(packet);
    let (mut next, mut offset) = (header[6], 40);
    while matches!(next, 0 | 43 | 60) {
        let extension = packet.get(offset..offset + 2)?;
        next = extension[0];
        offset += (usize::from(extension[1]) + 1) * 8;
    }
    Some((next, packet.get(offset..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u16, present: usize, offset: u8) -> Vec<u8> {
        let mut frame = vec![0; 14 + present];
        frame[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        frame[23] = TCP;
        if let Some(byte) = frame.get_mut(46) {
            *byte = offset << 4;
        }
        frame
    }

    #[test]
    fn lengths_follow_the_headers_and_the_bytes_present() {
        assert_eq!(payload(&frame(140, 140, 5)), 100);
        assert_eq!(payload(&frame(41, 46, 5)), 1);
        assert_eq!(payload(&frame(200, 140, 5)), 100);
        assert_eq!(payload(&frame(140, 140, 3)), 100);
        assert_eq!(payload(&frame(40, 40, 15)), 0);
        assert_eq!(payload(&frame(140, 30, 5)), 0);
        let mut datagram = frame(38, 46, 0);
        datagram[23] = UDP;
        assert_eq!((payload(&datagram), tcp_payload(&datagram)), (10, 0));
        datagram[23] = 1;
        assert_eq!(payload(&datagram), 0);
    }

    /// 100 bytes in a tunnel, whose headers are `header`.
    fn tunnel(protocol: u8, header: &[u8], inner: &[u8]) -> u32 {
        let mut bytes = frame(20 + (header.len() + inner.len()) as u16, 20, 0);
        bytes[23] = protocol;
        payload(&[&bytes, header, inner].concat())
    }

    #[test]
    fn tunnels_are_walked_to_their_end() {
        let inner = frame(140, 140, 5);
        let packet = &inner[14..];
        assert_eq!(tunnel(4, &[], packet), 100);
        assert_eq!(tunnel(GRE, &[0, 0, 8, 0], packet), 100);
        assert_eq!(tunnel(GRE, &[0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1], &inner), 100);
        assert_eq!(tunnel(UDP, &[0, 1, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0], &inner), 100);
        let geneve = [0, 1, 0x17, 0xc1, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0];
        assert_eq!(tunnel(UDP, &geneve, packet), 100);
        assert_eq!((tunnel(41, &[], packet), tunnel(GRE, &[0, 0, 8], &[])), (0, 0));
    }

    #[test]
    fn extension_headers_are_walked() {
        let mut frame = vec![0; 14 + 40 + 8 + 20 + 7];
        frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        frame[18..20].copy_from_slice(&35_u16.to_be_bytes());
        frame[20] = 60;
        frame[54] = TCP;
        frame[74] = 5 << 4;
        assert_eq!(payload(&frame), 7);
        frame[20] = 44;
        assert_eq!(payload(&frame), 0);
    }
}

//! How many TCP or UDP payload bytes a frame carries: the unit in which conformance cases count.

/// Payload bytes of a frame without VLAN tag; 0 when it is neither TCP nor UDP, a fragment, or cut inside its headers.
///
/// IP lengths are believed where the bytes are there, so padding does not count. TCP header lengths below their least
/// count as that, which gives frames with damaged headers a number, too. The length in a UDP header is not looked at.
pub fn payload(frame: &[u8]) -> u32 {
    length(frame, &[TCP, UDP])
}

/// As [`payload`], 0 when it is not TCP.
pub fn tcp_payload(frame: &[u8]) -> u32 {
    length(frame, &[TCP])
}

fn length(frame: &[u8], protocols: &[u8]) -> u32 {
    let Some((ethertype, packet)) = frame.get(12..14).zip(frame.get(14..)) else { return 0 };
    let found = match ethertype {
        [0x08, 0x00] => ipv4(packet),
        [0x86, 0xdd] => ipv6(packet),
        _ => None,
    };
    let length = found.and_then(|(protocol, segment)| {
        let header = match protocol {
            _ if !protocols.contains(&protocol) => return None,
            TCP => usize::from(segment.get(12)? >> 4).max(5) * 4,
            _ => 8,
        };
        segment.len().checked_sub(header)
    });
    length.and_then(|length| u32::try_from(length).ok()).unwrap_or(0)
}

const TCP: u8 = 6;
const UDP: u8 = 17;

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

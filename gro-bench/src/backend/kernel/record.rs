//! What the observer and the packet socket said of one packet, as the harness compares it.

use crate::Record;
use crate::backend::BackendError;
use crate::sandbox::Captured;
use gro_core::complete::GSO_UDP_TUNNEL_CSUM;
use gro_core::{GroResult, checksum};
use gro_ebpf::{Packet, Partial};

/// The kernel's `gro_result` (include/linux/netdevice.h).
pub(super) fn verdict(result: u32) -> Result<GroResult, BackendError> {
    match result {
        // GRO_MERGED, and GRO_MERGED_FREE: whether the skb's head was of use any more.
        0 | 1 => Ok(GroResult::Merged),
        2 => Ok(GroResult::Held),
        3 => Ok(GroResult::Normal),
        // GRO_CONSUMED: taken by asynchronous IPsec, which no sandbox has.
        _ => Err(BackendError::Failed(format!("GRO's verdict on a frame is {result}"))),
    }
}

/// Bytes of the MAC addresses, behind which a tag stands.
const MACS: usize = 12;
/// Bytes of a tag.
const TAG: usize = 4;

/// The canonical form: the packet as delivered, but for a checksum that the kernel left to the NIC.
pub(super) fn record(packet: Packet, captured: Captured) -> Result<Record, BackendError> {
    let Captured { mut bytes, mut vlan, .. } = captured;
    if vlan != 0 && bytes.len() >= MACS && packet.len as usize == bytes.len() + TAG {
        // It was in the bytes until `skb_vlan_untag` (net/core/skbuff.c), behind GRO and in front of the socket.
        bytes.splice(MACS..MACS, vlan.to_be_bytes());
        vlan = 0;
    }
    let mut completed = packet.partial.is_none_or(|partial| complete(&mut bytes, partial).is_some());
    if packet.gso_type & GSO_UDP_TUNNEL_CSUM != 0 {
        // The inner one counts for it.
        let outer =
            outer_udp(&bytes).and_then(|start| complete(&mut bytes, Partial { start, offset: UDP_OFFSET }));
        completed &= outer.is_some();
    }
    if packet.len as usize != bytes.len() || !completed {
        let text = format!("{packet:?} was captured with {} bytes", bytes.len());
        return Err(BackendError::Failed(text));
    }
    Ok(Record {
        bytes: bytes.into(),
        gso_size: packet.gso_size,
        segs: packet.segs,
        gso_type: packet.gso_type,
        vlan,
        first: None,
        last: None,
        why: None,
    }
    .canonical())
}

/// Place of the checksum in a UDP header.
const UDP_OFFSET: u32 = 6;

/// Where the UDP header behind the first IP header starts, whose checksum is left to the NIC as well (`udp4_gro_complete`,
/// net/ipv4/udp_offload.c).
fn outer_udp(bytes: &[u8]) -> Option<u32> {
    let byte = |at: usize| bytes.get(at).copied();
    let mut at = MACS;
    while matches!((byte(at)?, byte(at + 1)?), (0x81, 0x00) | (0x88, 0xa8)) {
        at += TAG;
    }
    at += 2;
    if byte(at)? >> 4 == 4 {
        return Some((at + 20) as u32);
    }
    let mut next = byte(at + 6)?;
    at += 40;
    // Extension headers that GRO looks behind.
    while matches!(next, 0 | 43 | 60) {
        next = byte(at)?;
        at += (usize::from(byte(at + 1)?) + 1) * 8;
    }
    Some(at as u32)
}

/// Completes a `CHECKSUM_PARTIAL` field as `skb_checksum_help` (net/core/dev.c) does: the sum starts with the pseudo-header's,
/// which is in the field. `None` when the field lies outside.
///
/// What sums to 0xFFFF is written 0x0000 for TCP and left for UDP (RFC 768, where 0 means none).
fn complete(bytes: &mut [u8], Partial { start, offset }: Partial) -> Option<()> {
    let sum = gro_core::user::sum(bytes.get(start as usize..)?);
    let field = match checksum::field(u32::from(sum)) {
        0 if offset == UDP_OFFSET => 0xffff,
        field => field,
    };
    let at = (start + offset) as usize;
    bytes.get_mut(at..at + 2)?.copy_from_slice(&field.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_was_in_the_bytes_counts_for_the_checksum() {
        let partial = Some(Partial { start: 18, offset: 2 });
        let packet = Packet { len: 22, hash: 0, segs: 2, gso_size: 1, gso_type: 1, partial };
        // The socket's bytes lack the tag, and the sum is to start behind it.
        let captured = Captured {
            bytes: [[0; 14].as_slice(), &[0xf0, 0, 0, 0x0f]].concat(),
            vlan: 0x8100_0005,
            mark: 0,
        };
        let tagged = record(packet, captured.clone()).unwrap();
        assert_eq!((tagged.bytes[14..].to_vec(), tagged.vlan), (vec![0xf0, 0, 0x0f, 0xf0], 0x8100_0005));
        // A tag that the device had stripped is in no length.
        let packet = Packet { len: 18, partial: None, ..packet };
        assert_eq!(record(packet, captured.clone()).unwrap().bytes, captured.bytes);
        assert!(record(Packet { len: 20, ..packet }, captured).is_err());
    }

    #[test]
    fn completes_to_the_right_zero() {
        // The field holds the pseudo-header's sum; the other word makes all of it 0xFFFF.
        let mut tcp = [0xaa, 0xff, 0xf0, 0, 0x0f];
        assert_eq!(complete(&mut tcp, Partial { start: 1, offset: 2 }), Some(()));
        assert_eq!(tcp, [0xaa, 0xff, 0xf0, 0, 0]);
        let mut udp = [0xff, 0xf0, 0, 0, 0, 0, 0, 0x0f];
        complete(&mut udp, Partial { start: 0, offset: 6 });
        assert_eq!(udp, [0xff, 0xf0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(complete(&mut tcp, Partial { start: 1, offset: 3 }), None);
        assert_eq!(complete(&mut tcp, Partial { start: 6, offset: 0 }), None);
    }

    #[test]
    fn completes_the_outer_checksum_with_the_inner_one() {
        let mut frame = vec![0; 14 + 40 + 8 + 8 + 8];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        (frame[14], frame[20], frame[54], frame[68], frame[69]) = (0x60, 60, 17, 0xf0, 0x0f);
        assert_eq!(outer_udp(&frame), Some(62));
        let partial = Some(Partial { start: 70, offset: 6 });
        let gso_type = GSO_UDP_TUNNEL_CSUM;
        let packet = Packet { len: 78, hash: 0, segs: 2, gso_size: 1, gso_type, partial };
        let bytes = record(packet, Captured { bytes: frame, vlan: 0, mark: 0 }).unwrap().bytes;
        // The inner datagram sums to nothing: its field is 0xFFFF, and the outer one completes 0xF00F.
        assert_eq!((&bytes[68..70], &bytes[76..78]), (&[0x0f, 0xf0][..], &[0xff; 2][..]));
    }

    #[test]
    fn knows_the_verdicts() {
        assert_eq!(verdict(1), verdict(0));
        assert_eq!((verdict(2), verdict(3)), (Ok(GroResult::Held), Ok(GroResult::Normal)));
        assert!(verdict(4).is_err());
    }
}

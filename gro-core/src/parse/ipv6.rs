//! IPv6 (RFC 8200) with its hop-by-hop, routing and destination-options headers, as `ipv6_gro_receive` and
//! `ipv6_gro_pull_exthdrs` (net/ipv6/ip6_offload.c) read them.

use super::{IPV6_HEADER, Packet, fits};
use crate::profile::Profile;
use crate::reason::Bypass;
use crate::rule::Rule;
use crate::window::Window;

/// Version and flow label of the first word; the traffic class between them may differ within a flow.
const IDENTITY: u32 = 0xf00f_ffff;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const FRAGMENT: u8 = 44;
/// Extension headers are at least eight bytes, and the window ends the chain.
const EXTENSIONS_MAX: u32 = 26;

/// Gives the protocol behind the last header.
#[inline(always)]
pub(super) fn parse<P: Profile>(window: &Window<'_>, packet: &mut Packet) -> Result<u8, Bypass> {
    let l3 = packet.l3;
    fits(window, l3 + IPV6_HEADER)?;
    let first = window.be32(l3);
    let second = window.be32(l3 + 4);
    let first_next = (second >> 8) as u8;

    let mut next = first_next;
    let mut offset = l3 + IPV6_HEADER;
    for _ in 0..EXTENSIONS_MAX {
        let skipped = next == HOP_BY_HOP || next == ROUTING || next == DESTINATION;
        if !skipped && (P::on(Rule::Ipv6Fragment) || next != FRAGMENT) {
            break;
        }
        fits(window, offset + 8)?;
        next = window.u8(offset);
        offset += (window.u8(offset + 1) as u32 + 1) * 8;
        fits(window, offset)?;
    }

    packet.key.protocol |= first_next as u32;
    packet.key.label = first & IDENTITY;
    for (index, word) in packet.key.addresses.iter_mut().enumerate() {
        *word = window.be32(l3 + 8 + 4 * index as u32);
    }
    packet.class = (first >> 12) & 0xff00 | second & 0xff;
    packet.id_check = 0;
    packet.dont_fragment = 0;
    packet.l4 = offset;
    packet.mismatch = second >> 16 != window.len() - l3 - IPV6_HEADER && P::on(Rule::Ipv6Length);
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse_bytes;
    use crate::reason::Bypass;
    use alloc::vec::Vec;

    fn frame(extensions: &[u8], next: u8) -> Vec<u8> {
        let mut bytes = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x86\xdd");
        let length = (extensions.len() + 20 + 100) as u16;
        bytes.extend([0x6a, 0xb1, 0x23, 0x45, (length >> 8) as u8, length as u8, next, 63]);
        bytes.extend(1..=32);
        bytes.extend_from_slice(extensions);
        bytes.extend([0, 80, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        bytes.extend([0x61; 100]);
        bytes
    }

    #[test]
    fn walks_extension_headers() {
        let plain = parse_bytes(&frame(&[], 6)).unwrap();
        assert_eq!((plain.l4, plain.payload_len, plain.extension_words()), (54, 100, 0));
        assert_eq!((plain.key.label, plain.class), (0x6001_2345, 0xab3f));

        let mut chain = Vec::from([43, 0, 1, 4, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 6, 1]);
        chain.extend([0; 14]);
        let extended = parse_bytes(&frame(&chain, 0)).unwrap();
        assert_eq!((extended.l4, extended.payload_len, extended.extension_words()), (86, 100, 8));
        assert!(!extended.mismatch);
    }

    #[test]
    fn bypasses_fragments_long_chains_and_cut_headers() {
        assert_eq!(parse_bytes(&frame(&[6, 0, 0, 0, 0, 0, 0, 0], 44)), Err(Bypass::Protocol));
        let mut long = alloc::vec![0; 400];
        long[..2].copy_from_slice(&[6, 49]);
        assert_eq!(parse_bytes(&frame(&long, 0)), Err(Bypass::TooLong));
        assert_eq!(parse_bytes(&frame(&[6, 255, 0, 0, 0, 0, 0, 0], 60)), Err(Bypass::Truncated));
        let many = [0; 8].repeat(26);
        assert_eq!(parse_bytes(&frame(&many, 0)), Err(Bypass::TooLong));
    }
}

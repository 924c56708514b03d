//! Ethernet and VLAN tags (IEEE 802.1Q), as `eth_type_trans` (net/ethernet/eth.c) and `vlan_gro_receive` (net/8021q/vlan_core.c)
//! read them.

use super::{ETHERNET_HEADER, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, L3_UNTAGGED, Packet, TAG, TAGS, fits};
use crate::profile::{Config, VlanMode};
use crate::reason::Bypass;
use crate::window::Window;

/// Gives the ethertype behind the tags.
#[inline(always)]
pub(super) fn parse(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Result<u16, Bypass> {
    let mut ethertype = window.be16(ETHERNET_HEADER - 2);
    packet.l3 = L3_UNTAGGED;
    if config.vlan as u32 != VlanMode::InBand as u32 {
        return Ok(ethertype);
    }
    packet.tags = [0; TAGS];
    for index in 0..TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_SERVICE_VLAN {
            break;
        }
        fits(window, packet.l3 + TAG)?;
        let tag = window.be32(packet.l3);
        packet.tags[index] = (ethertype as u32) << 16 | tag >> 16;
        ethertype = tag as u16;
        packet.l3 += TAG;
    }
    Ok(ethertype)
}

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::super::{ETHERTYPE_IPV4, parse};
    use super::*;
    use crate::Linux618;
    use crate::window::STORAGE;
    use alloc::vec::Vec;

    fn tagged(tags: &[[u8; 4]], vlan: VlanMode) -> Result<Packet, Bypass> {
        let mut bytes = frame(100);
        bytes.splice(12..12, tags.concat());
        parse_as(&bytes, vlan)
    }

    fn parse_as(bytes: &[u8], vlan: VlanMode) -> Result<Packet, Bypass> {
        let mut storage = [0xee; STORAGE];
        let present = bytes.len().min(STORAGE);
        storage[..present].copy_from_slice(&bytes[..present]);
        let mut packet = Packet::EMPTY;
        let config = Config { vlan, ..Config::DEFAULT };
        parse::<Linux618>(&Window::new(&storage, bytes.len() as u32), &config, &mut packet).map(|()| packet)
    }

    const OUTER: [u8; 4] = [0x88, 0xa8, 0x20, 5];
    const INNER: [u8; 4] = [0x81, 0, 0, 7];

    #[test]
    fn looks_behind_up_to_two_tags_where_they_are_in_band() {
        for (tags, words) in
            [(&[][..], [0, 0]), (&[INNER], [0x8100_0007, 0]), (&[OUTER, INNER], [0x88a8_2005, 0x8100_0007])]
        {
            let packet = tagged(tags, VlanMode::InBand).unwrap();
            let shift = 4 * tags.len() as u32;
            assert_eq!(packet.tags, words);
            assert_eq!(packet.key.protocol >> 16, u32::from(ETHERTYPE_IPV4));
            assert_eq!((packet.l3, packet.l4, packet.payload), (14 + shift, 34 + shift, 54 + shift));
            assert_eq!((packet.payload_len, packet.mismatch), (100, false));
        }
        assert_eq!(tagged(&[OUTER, OUTER, INNER], VlanMode::InBand), Err(Bypass::NotIp));
        assert_eq!(tagged(&[INNER], VlanMode::Stripped), Err(Bypass::NotIp));
    }

    #[test]
    fn a_cut_tag_is_refused() {
        let mut bytes: Vec<u8> = frame(0);
        bytes.splice(12..12, INNER);
        for len in 14..18 {
            assert_eq!(parse_as(&bytes[..len], VlanMode::InBand), Err(Bypass::Truncated), "{len}");
        }
    }
}

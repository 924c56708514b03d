//! Ethernet and VLAN tags (IEEE 802.1Q), as `eth_type_trans` (net/ethernet/eth.c) and `vlan_gro_receive` (net/8021q/vlan_core.c)
//! read them.

use super::{ETHERNET_HEADER, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, L3_UNTAGGED, Packet, TAG, TAGS, fits};
use gro_core::Bypass;
use gro_core::Window;
use gro_core::{Config, VlanMode};

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

//! UDP (RFC 768), as `udp_gro_receive_segment` (net/ipv4/udp_offload.c) reads it.

use super::{Packet, UDP_HEADER, fits};
use gro_core::Bypass;
use gro_core::Profile;
use gro_core::Rule;
use gro_core::Window;

#[inline(always)]
pub(super) fn parse<P: Profile>(window: &Window<'_>, packet: &mut Packet) -> Result<(), Bypass> {
    let l4 = packet.l4;
    packet.payload = l4 + UDP_HEADER;
    fits(window, packet.payload)?;
    let length_check = window.be32(l4 + 4);
    // A datagram without checksum could not be segmented into what it came from.
    if length_check & 0xffff == 0 && P::on(Rule::UdpNoChecksum) {
        return Err(Bypass::UdpNoChecksum);
    }
    packet.payload_len = window.len() - packet.payload;
    let length = length_check >> 16;
    if (length <= UDP_HEADER || length != UDP_HEADER + packet.payload_len) && P::on(Rule::UdpLength) {
        return Err(Bypass::UdpLength);
    }
    packet.udp = 1;
    packet.key.ports = window.be32(l4);
    packet.seq = 0;
    packet.ack = 0;
    packet.control = 0;
    packet.check_urgent = length_check << 16;
    Ok(())
}

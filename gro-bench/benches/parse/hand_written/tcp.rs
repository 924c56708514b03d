//! TCP (RFC 9293), as `tcp_gro_pull_header` (net/ipv4/tcp_offload.c) reads it.

use super::{Packet, TCP_HEADER, fits};
use gro_core::Bypass;
use gro_core::Profile;
use gro_core::Rule;
use gro_core::Window;

#[inline(always)]
pub(super) fn parse<P: Profile>(window: &Window<'_>, packet: &mut Packet) -> Result<(), Bypass> {
    let l4 = packet.l4;
    packet.udp = 0;
    fits(window, l4 + TCP_HEADER)?;
    packet.key.ports = window.be32(l4);
    packet.seq = window.be32(l4 + 4);
    packet.ack = window.be32(l4 + 8);
    packet.control = window.be32(l4 + 12);
    packet.check_urgent = window.be32(l4 + 16);
    let header = (packet.control >> 28) * 4;
    if header < TCP_HEADER && P::on(Rule::DataOffset) {
        return Err(Bypass::DataOffset);
    }
    packet.payload = l4 + header;
    fits(window, packet.payload)?;
    packet.payload_len = window.len() - packet.payload;
    Ok(())
}

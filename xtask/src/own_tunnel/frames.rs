//! The tutorial's trace: TCP in a made-up tunnel over UDP, built with etherparse.

use anyhow::{Context as _, Result};
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, PacketBuilder, UdpHeader};
use gro_bench::trace::PcapngWriter;
use std::path::Path;

/// The UDP port on which the tunnel is.
const PORT: u16 = 5555;
/// Segments in each tunnel.
const SEGMENTS: usize = 12;
/// Tunnels, which are told by nothing but their id and a checksum.
pub(super) const TUNNELS: usize = 2;
/// Frames of the trace.
pub(super) const FRAMES: usize = TUNNELS * SEGMENTS;
const PAYLOAD: usize = 1_000;

/// Writes it: the frames of the tunnels by turns, all in one poll.
pub(super) fn write(path: &Path) -> Result<()> {
    let mut writer = PcapngWriter::new(Vec::new(), "TCP in a made-up tunnel on UDP port 5555")?;
    for number in 0..FRAMES {
        let frame = frame(number % TUNNELS, number / TUNNELS)?;
        writer.write(number as u64, &frame, None)?;
    }
    std::fs::write(path, writer.finish()?).with_context(|| path.display().to_string())
}

/// Segment `number` of a bulk transfer in `tunnel`. The inner headers are the same in all tunnels.
fn frame(tunnel: usize, number: usize) -> Result<Vec<u8>> {
    let inner_ip = ip(IpNumber::TCP, [192, 168, 0, 1], [192, 168, 0, 2], 500 + number, 20 + PAYLOAD)?;
    let payload: Vec<u8> = (0..PAYLOAD).map(|at| (at * 7 + number) as u8).collect();
    let tcp = PacketBuilder::ip(etherparse::IpHeaders::Ipv4(inner_ip, Default::default()))
        .tcp(40_000, 80, (number * PAYLOAD) as u32 + 1_000_000, 500)
        .ack(77);
    let mut inner = Vec::with_capacity(tcp.size(PAYLOAD));
    tcp.write(&mut inner, &payload)?;

    let mut toy = vec![0x10, 0x00];
    toy.extend(EtherType::IPV4.0.to_be_bytes());
    toy.extend((tunnel as u32 + 7).to_be_bytes());
    toy.extend(inner);

    let outer_ip =
        ip(IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2], 9_000 + number, UdpHeader::LEN + toy.len())?;
    let length = u16::try_from(UdpHeader::LEN + toy.len())?;
    let mut udp = UdpHeader { source_port: 50_000, destination_port: PORT, length, checksum: 0 };
    // One tunnel without a checksum of its own, as most have none, and one with it.
    if tunnel == 1 {
        udp.checksum = udp.calc_checksum_ipv4(&outer_ip, &toy)?;
    }
    let ethernet = Ethernet2Header {
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
        ether_type: EtherType::IPV4,
    };
    let mut bytes = Vec::new();
    ethernet.write(&mut bytes)?;
    outer_ip.write(&mut bytes)?;
    udp.write(&mut bytes)?;
    bytes.extend(toy);
    Ok(bytes)
}

fn ip(protocol: IpNumber, from: [u8; 4], to: [u8; 4], id: usize, payload: usize) -> Result<Ipv4Header> {
    let mut header = Ipv4Header::new(u16::try_from(payload)?, 64, protocol, from, to)?;
    header.identification = id as u16;
    header.header_checksum = header.calc_header_checksum();
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    #[test]
    fn the_frames_are_the_tunnel_of_the_tutorial() {
        for number in 0..FRAMES {
            let (tunnel, segment) = (number % TUNNELS, number / TUNNELS);
            let bytes = frame(tunnel, segment).unwrap();
            let outer = SlicedPacket::from_ethernet(&bytes).unwrap();
            let Some(TransportSlice::Udp(udp)) = outer.transport else { panic!("{outer:?}") };
            assert_eq!((udp.destination_port(), udp.checksum() == 0), (PORT, tunnel == 0));
            let toy = udp.payload();
            assert_eq!(toy[..4], [0x10, 0, 8, 0]);
            assert_eq!(toy[4..8], [0, 0, 0, tunnel as u8 + 7]);
            let inner = SlicedPacket::from_ip(&toy[8..]).unwrap();
            let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (inner.net, inner.transport)
            else {
                panic!("no TCP in the tunnel")
            };
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(tcp.payload().len(), PAYLOAD);
        }
    }
}

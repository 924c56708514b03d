//! What `struct virtio_net_hdr` cannot say.

use super::*;
use crate::tunnel;

/// IPv4 and what is behind it up to the inner IPv4 header, which stays where it was.
fn encapsulated(frame: &Bytes, id: u16, protocol: u8, between: &[u8]) -> Bytes {
    let mut ip = vec![0x45, 0];
    ip.extend((20 + (between.len() + frame.len() - 14) as u16).to_be_bytes());
    ip.extend(id.to_be_bytes());
    ip.extend([0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let check = field(u32::from(sum(&ip)));
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    [&frame[..14], &ip, between, &frame[14..]].concat().into()
}

#[test]
fn a_merged_packet_in_a_tunnel_comes_back_as_it_is() {
    let gre = [0, 0, 8, 0];
    // To the port of VXLAN, without checksum; the length is not looked at.
    let mut vxlan = vec![0x80, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0];
    vxlan.extend(*b"\x06\0\0\0\0\x01\x06\0\0\0\0\x02\x08\x00");
    for (bit, protocol, between) in
        [(tunnel::IP_IN_IP, 4, &[][..]), (tunnel::GRE, 47, &gre), (tunnel::VXLAN, 17, &vxlan)]
    {
        let frames: Vec<_> =
            (0..3).map(|n| encapsulated(&seg(n).bytes(), n as u16, protocol, between)).collect();
        let run = |tunnels: u32| {
            let frames = frames.iter().map(|frame| (frame.clone(), Meta::default()));
            run_with(Config { tunnels, ..Config::DEFAULT }, frames).1
        };
        let packet = run(bit).remove(0);
        assert_eq!((packet.segs, packet.fits_virtio()), (3, false), "protocol {protocol}");
        let same = packet.clone().into_virtio().unwrap_err();
        assert_eq!(same.to_vec(), packet.to_vec());
        assert_eq!((same.segs, same.gso_type, same.gso_size), (3, packet.gso_type, 1000));

        // A single frame needs no word, and without the bit there are no others.
        for (packet, frame) in run(0).into_iter().zip(&frames) {
            assert!(packet.fits_virtio());
            let (hdr, packet) = packet.into_virtio().unwrap();
            assert_eq!((hdr, &packet.header), (VirtioNetHdr::default(), frame));
        }
    }
}

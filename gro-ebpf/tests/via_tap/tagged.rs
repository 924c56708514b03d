//! A VLAN tag comes and goes beside the frame. Raw sockets, as not every kernel has VLAN devices.

use crate::hosts::missing;
use crate::pair::{Pair, options, stop};
use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

const TAG: u32 = 0x8100_2005;
const PAYLOAD: usize = 1_000;
const FRAMES: usize = 40;

#[test]
fn a_tag_survives() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let via = pair.start(options());
    let (sender, receiver) = (pair.client.run(|| raw("c0")), pair.server.run(|| raw("s0")));
    // A poll takes what is ready, so how many frames merge is not certain.
    let mut merged = 0;
    let mut sequence = 1;
    for _ in 0..50 {
        let mut sent = Vec::new();
        for number in 0..FRAMES {
            let payload = [number as u8; PAYLOAD];
            send(&sender, &tagged_segment(sequence, &payload));
            sequence += PAYLOAD as u32;
            sent.extend_from_slice(&payload);
        }
        merged += receive(&receiver, &sent);
        if merged > 0 {
            break;
        }
    }
    assert!(merged > 0, "no tagged packet was merged");
    stop(via, 2.0);
}

/// Takes every frame as it came (untagged in memory, tag beside it) and again as it was delivered. Gives how many packets were merged.
fn receive(socket: &OwnedFd, sent: &[u8]) -> usize {
    const HEADERS: usize = 54;
    let (mut came, mut delivered) = (Vec::new(), Vec::new());
    let mut merged = 0;
    let end = Instant::now() + Duration::from_secs(10);
    while came.len() + delivered.len() < 2 * sent.len() {
        assert!(Instant::now() < end, "{} + {} of 2 x {}", came.len(), delivered.len(), sent.len());
        let Some((bytes, vlan)) = read(socket) else { continue };
        if bytes.get(12..14) != Some(&[0x08, 0x00]) || bytes.get(23) != Some(&6) {
            continue;
        }
        assert_eq!(vlan, TAG, "{} bytes", bytes.len());
        let payload = &bytes[HEADERS..];
        merged += usize::from(payload.len() > PAYLOAD);
        // The first one of a payload is the original, whatever is delivered in between.
        if payload.len() == PAYLOAD && sent[came.len()..].starts_with(payload) {
            came.extend_from_slice(payload);
        } else {
            delivered.extend_from_slice(payload);
        }
    }
    assert!(came == sent && delivered == sent);
    merged
}

fn tagged_segment(sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0x30, 0x39, 0x14, 0x51];
    tcp.extend_from_slice(&sequence.to_be_bytes());
    tcp.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 0x10, 0, 0, 0, 0, 0]);
    tcp.extend_from_slice(payload);
    let addresses = [10, 77, 9, 1, 10, 77, 9, 2];
    let len = (20 + tcp.len()) as u16;
    let mut ip = vec![0x45, 0, (len >> 8) as u8, len as u8];
    let number = (sequence / PAYLOAD as u32) as u16;
    ip.extend_from_slice(&number.to_be_bytes());
    ip.extend_from_slice(&[0x40, 0, 64, 6, 0, 0]);
    ip.extend_from_slice(&addresses);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let pseudo = [0, 6, (tcp.len() >> 8) as u8, tcp.len() as u8];
    let sum = checksum(&[&addresses, &pseudo, &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8];
    frame.extend_from_slice(&TAG.to_be_bytes());
    frame.extend_from_slice(&[0x08, 0x00]);
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&tcp);
    frame
}

/// Of even pieces (RFC 1071).
fn checksum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.as_chunks::<2>().0);
    let sum: u32 = words.map(|&word| u32::from(u16::from_be_bytes(word))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// A packet socket of an interface, which does not hear what is sent.
fn raw(interface: &str) -> OwnedFd {
    let name = CString::new(interface).unwrap();
    // SAFETY: plain system calls with locals of the sizes that are passed; the results are checked.
    unsafe {
        let raw = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        assert!(raw >= 0, "{}", io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(raw);
        let timeout = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
        let size = size_of::<libc::timeval>() as u32;
        assert_eq!(
            libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const timeout).cast(), size),
            0
        );
        let (one, buffer) = (1, 64 << 20);
        for (level, option, value) in [
            (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &buffer),
            (libc::SOL_PACKET, libc::PACKET_AUXDATA, &one),
            (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &one),
        ] {
            assert_eq!(libc::setsockopt(raw, level, option, (&raw const *value).cast(), 4), 0);
        }
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as libc::c_int;
        let size = size_of::<libc::sockaddr_ll>() as u32;
        assert_eq!(libc::bind(raw, (&raw const address).cast(), size), 0);
        socket
    }
}

fn send(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: the frame outlives the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
}

/// A packet and its tag.
fn read(socket: &OwnedFd) -> Option<(Vec<u8>, u32)> {
    let mut buffer = vec![0; 1 << 17];
    let mut control = [0_u64; 32];
    // SAFETY: every pointer is to a local, with its size; all-zero is a valid message.
    unsafe {
        let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut message: libc::msghdr = zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut slice, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
        let len = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
        buffer.truncate(usize::try_from(len).ok()?);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        assert!(!header.is_null());
        let data: libc::tpacket_auxdata =
            libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
        let is_tagged = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
        let vlan = u32::from(data.tp_vlan_tpid) << 16 | u32::from(data.tp_vlan_tci);
        Some((buffer, if is_tagged { vlan } else { 0 }))
    }
}

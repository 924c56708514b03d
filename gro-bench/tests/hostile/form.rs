//! What a merge keeps of a frame: the frame with everything else put into one form.

use bytes::Bytes;
use etherparse::checksum::Sum16BitWords;
use gro_core::{Config, tunnel};

/// The form of a frame. Lost in a merge are
///
/// - the urgent pointer without URG, and so the TCP checksum over it,
/// - which of the two zeros of ones' complement a sender wrote,
/// - that UDP datagrams had one identification, outside and in a tunnel, because no GSO type says so, and that headers around TCP
///   over IPv6 had one (`tcp6_gro_complete`, net/ipv6/tcpv6_offload.c, sets none),
/// - an outer UDP length that lied, which nobody looks at, and the checksum over it, but not whether there was one and it was right,
/// - what a GRE header with a checksum has in the seven bytes behind it, which are not compared.
pub(crate) fn form(frame: &Bytes, config: &Config) -> Bytes {
    let Some(headers) = Headers::of(frame, config) else { return frame.clone() };
    let mut frame = frame.to_vec();
    let last = headers.last();
    if let Some((check, at)) = headers.outer_check {
        one_form_of_outer(&mut frame, check, at, &headers.first);
    }
    for ip in [Some(&headers.first), headers.inner.as_ref()].into_iter().flatten().filter(|ip| !ip.v6) {
        if last.protocol == UDP || last.v6 {
            frame[ip.at + 4..ip.at + 6].fill(0);
            frame[ip.at + 10..ip.at + 12].fill(0);
        }
        if frame[ip.at + 10..ip.at + 12] == [0xff; 2] {
            frame[ip.at + 10..ip.at + 12].fill(0);
        }
    }
    if last.protocol == TCP
        && let Some(fields) = frame.get_mut(last.l4 + 16..last.l4 + 20)
    {
        fields.fill(0);
    }
    frame.into()
}

/// A checksum in front of a tunnel that is right becomes 1; one that is wrong keeps its frame from every merge and stays.
fn one_form_of_outer(frame: &mut [u8], check: Check, at: usize, outer: &Ip) {
    let length = (frame.len() - at) as u32;
    let sum = match check {
        Check::Gre => Sum16BitWords::new(),
        Check::Udp => Sum16BitWords::new().add_4bytes(length.to_be_bytes()).add_2bytes([0, UDP]).add_slice(
            &frame[if outer.v6 { outer.at + 8..outer.at + 40 } else { outer.at + 12..outer.at + 20 }],
        ),
    };
    let is_right = sum.add_slice(&frame[at..]).ones_complement() == 0;
    match check {
        Check::Gre => {
            let key = if frame[at] & 0x20 != 0 { 4 } else { 0 };
            frame[at + 6..at + 8 + key].fill(0);
            if is_right {
                frame[at + 4..at + 6].copy_from_slice(&[0, 1]);
            }
        }
        Check::Udp => {
            frame[at + 4..at + 6].copy_from_slice(&(length as u16).to_be_bytes());
            if is_right && frame[at + 6..at + 8] != [0, 0] {
                frame[at + 6..at + 8].copy_from_slice(&[0, 1]);
            }
        }
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A header in front of a tunnel that may have a checksum.
#[derive(Clone, Copy)]
enum Check {
    Gre,
    Udp,
}

/// Where the headers lie, if they are all there: in at most one tunnel.
struct Headers {
    first: Ip,
    inner: Option<Ip>,
    outer_check: Option<(Check, usize)>,
}

struct Ip {
    at: usize,
    v6: bool,
    l4: usize,
    protocol: u8,
}

impl Headers {
    fn of(frame: &[u8], config: &Config) -> Option<Self> {
        let first = Ip::behind_link(frame, ETHERNET, 0)?;
        let at = first.l4;
        let on = |bit: u32| config.tunnels & bit != 0;
        let (inner, outer_check) = match first.protocol {
            4 if on(tunnel::IP_IN_IP) => (Some((0x0800, at)), None),
            41 if on(tunnel::IP_IN_IP) => (Some((0x86dd, at)), None),
            47 if on(tunnel::GRE) => {
                let flags = word(frame, at)?;
                let end = at + 4 + [0x8000, 0x2000].iter().filter(|&bit| flags & bit != 0).count() * 4;
                let check = (flags & 0x8000 != 0).then_some((Check::Gre, at));
                (Some((word(frame, at + 2)?, end)), check)
            }
            UDP => match word(frame, at + 2)? {
                4789 if on(tunnel::VXLAN) => (Some((ETHERNET, at + 16)), Some((Check::Udp, at))),
                6081 if on(tunnel::GENEVE) => {
                    let end = at + 16 + usize::from(frame.get(at + 8)? & 0x3f) * 4;
                    (Some((word(frame, at + 10)?, end)), Some((Check::Udp, at)))
                }
                _ => (None, None),
            },
            _ => (None, None),
        };
        let inner = match inner {
            Some((ethertype, at)) => Some(Ip::behind_link(frame, ethertype, at)?),
            None => None,
        };
        Some(Self { first, inner, outer_check })
    }

    fn last(&self) -> &Ip {
        self.inner.as_ref().unwrap_or(&self.first)
    }
}

/// A frame in a tunnel, and here also the frame itself.
const ETHERNET: u16 = 0x6558;

impl Ip {
    /// The IP header behind an Ethernet header and VLAN tags.
    fn behind_link(frame: &[u8], mut ethertype: u16, mut at: usize) -> Option<Self> {
        loop {
            at += match ethertype {
                ETHERNET => 14,
                0x8100 | 0x88a8 => 4,
                _ => break,
            };
            ethertype = word(frame, at - 2)?;
        }
        let header = frame.get(at..)?;
        match ethertype {
            0x0800 if header.len() >= 20 => Some(Self { at, v6: false, l4: at + 20, protocol: header[9] }),
            0x86dd if header.len() >= 40 => {
                let (mut protocol, mut l4) = (header[6], at + 40);
                while let (0 | 43 | 60, Some(header)) = (protocol, frame.get(l4..l4 + 8)) {
                    protocol = header[0];
                    l4 += (usize::from(header[1]) + 1) * 8;
                }
                Some(Self { at, v6: true, l4, protocol })
            }
            _ => None,
        }
    }
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

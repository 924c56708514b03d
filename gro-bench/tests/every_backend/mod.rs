//! One case, every backend: a test is written once and never knows where it runs.
#![allow(dead_code, reason = "every test binary uses its own part")]

pub(crate) mod lanes;
pub(crate) mod tunnels;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    TcpHeaderSlice,
};
use gro_bench::trace::{Entry, FILE_NAME, Manifest, Trace};
use gro_bench::{BackendError, EngineConfig, Outcome, backend};
use gro_core::Config;
use std::path::{Path, PathBuf};

/// Backends that run on every machine; a build in which they do not is broken.
const ALWAYS: [&str; 2] = ["user", "nic"];

/// The configs of a comparison.
pub(crate) const TC: EngineConfig = EngineConfig::of(Config::TC);
pub(crate) const DEFAULT: EngineConfig = EngineConfig::of(Config::DEFAULT);

/// Runs `trace` on every backend and shows each outcome to `check`. Backends that cannot run are named with the reason.
pub(crate) fn on_every_backend(trace: &Trace, engine: &EngineConfig, mut check: impl FnMut(&str, &Outcome)) {
    for mut backend in backend::all() {
        let (name, trace_name) = (backend.name(), &trace.name);
        match backend.run(trace, engine) {
            Ok(outcome) => check(name, &outcome),
            Err(BackendError::Failed(why)) => panic!("{name} failed on {trace_name}: {why}"),
            Err(why) if ALWAYS.contains(&name) => panic!("{name} must run on {trace_name}: {why}"),
            Err(BackendError::Skipped(why)) => eprintln!("{trace_name}: {name} skipped: {why}"),
            Err(BackendError::NotApplicable(why)) => eprintln!("{trace_name}: {name} not applicable: {why}"),
        }
    }
}

/// A shipped trace.
pub(crate) fn shipped(name: &str) -> Trace {
    Trace::open(&path(name)).unwrap()
}

/// Its file.
pub(crate) fn path(name: &str) -> PathBuf {
    folder().join(format!("{name}.pcapng.zst"))
}

/// What the manifest says of it.
pub(crate) fn entry(name: &str) -> Entry {
    let manifest = Manifest::read(&folder().join(FILE_NAME)).unwrap().expect("traces/manifest.json is there");
    manifest.entry(&format!("{name}.pcapng.zst")).expect("the manifest lists the trace").clone()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces")
}

/// A TCP segment as etherparse reads it: a second opinion on every offset and checksum.
pub(crate) struct Tcp<'a> {
    frame: &'a [u8],
    ip: usize,
    ipv6: bool,
    tcp: usize,
    payload: usize,
}

impl<'a> Tcp<'a> {
    /// `None` for what GRO does not look at: other protocols, fragments, IPv4 options, headers that are cut.
    pub(crate) fn parse(frame: &'a [u8]) -> Option<Self> {
        let ethernet = Ethernet2HeaderSlice::from_slice(frame).ok()?;
        let ip = ethernet.slice().len();
        let (ipv6, mut next, mut tcp) = match ethernet.ether_type() {
            EtherType::IPV4 => {
                let header = Ipv4HeaderSlice::from_slice(&frame[ip..]).ok()?;
                if header.is_fragmenting_payload() || !header.options().is_empty() {
                    return None;
                }
                (false, header.protocol(), ip + header.slice().len())
            }
            EtherType::IPV6 => {
                let header = Ipv6HeaderSlice::from_slice(&frame[ip..]).ok()?;
                (true, header.next_header(), ip + header.slice().len())
            }
            _ => return None,
        };
        let merged_over = [
            IpNumber::IPV6_HEADER_HOP_BY_HOP,
            IpNumber::IPV6_ROUTE_HEADER,
            IpNumber::IPV6_DESTINATION_OPTIONS,
        ];
        while ipv6 && merged_over.contains(&next) {
            let header = Ipv6RawExtHeaderSlice::from_slice(&frame[tcp..]).ok()?;
            next = header.next_header();
            tcp += header.slice().len();
        }
        let header = (next == IpNumber::TCP).then(|| TcpHeaderSlice::from_slice(&frame[tcp..]).ok())??;
        Some(Self { frame, ip, ipv6, tcp, payload: tcp + header.slice().len() })
    }

    /// Whether the IP length is that of the bytes present.
    pub(crate) fn has_exact_length(&self) -> bool {
        let (field, from) = if self.ipv6 { (self.ip + 4, self.ip + 40) } else { (self.ip + 2, self.ip) };
        usize::from(be16(self.frame, field)) == self.frame.len() - from
    }

    /// Whether the IPv4 header checksum is right; true for IPv6.
    pub(crate) fn has_good_header(&self) -> bool {
        self.ipv6 || Sum16BitWords::new().add_slice(&self.frame[self.ip..self.tcp]).ones_complement() == 0
    }

    /// Whether the TCP checksum over all bytes present is right.
    pub(crate) fn has_good_checksum(&self) -> bool {
        let length = (self.frame.len() - self.tcp) as u32;
        let addresses = if self.ipv6 { self.ip + 8..self.ip + 40 } else { self.ip + 12..self.ip + 20 };
        let pseudo = Sum16BitWords::new().add_4bytes(length.to_be_bytes()).add_2bytes([0, IpNumber::TCP.0]);
        pseudo.add_slice(&self.frame[addresses]).add_slice(&self.frame[self.tcp..]).ones_complement() == 0
    }

    /// The bytes by which the kernel tells flows apart: MAC addresses and ethertype, protocol, IPv6 version, flow label and
    /// extension headers, IP addresses, ports. Both directions of a connection are flows of their own.
    pub(crate) fn flow(&self) -> Vec<u8> {
        let frame = self.frame;
        let mut flow = frame[..self.ip].to_vec();
        if self.ipv6 {
            flow.extend([frame[self.ip] & 0xf0, frame[self.ip + 1] & 0x0f]);
            flow.extend(&frame[self.ip + 2..self.ip + 4]);
            flow.push(frame[self.ip + 6]);
            flow.extend(&frame[self.ip + 8..self.tcp]);
        } else {
            flow.extend(&frame[self.ip + 12..self.tcp]);
        }
        flow.extend(&frame[self.tcp..self.tcp + 4]);
        flow
    }

    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.frame[self.payload..]
    }

    pub(crate) fn window(&self) -> u16 {
        be16(self.frame, self.tcp + 14)
    }

    pub(crate) fn sequence(&self) -> u32 {
        u32::from(be16(self.frame, self.tcp + 4)) << 16 | u32::from(be16(self.frame, self.tcp + 6))
    }

    pub(crate) fn ack(&self) -> u32 {
        u32::from(be16(self.frame, self.tcp + 8)) << 16 | u32::from(be16(self.frame, self.tcp + 10))
    }

    pub(crate) fn flags(&self) -> u8 {
        self.frame[self.tcp + 13]
    }

    /// The frame with what a merge may lose put into one form: see [`canonical`].
    fn in_one_form(&self, urgent: bool) -> Vec<u8> {
        let mut frame = self.frame.to_vec();
        let mut fields = vec![self.tcp + 16];
        if !self.ipv6 {
            fields.push(self.ip + 10);
        }
        for at in fields {
            if frame[at..at + 2] == [0xff, 0xff] {
                frame[at..at + 2].fill(0);
            }
        }
        if !urgent {
            frame[self.tcp + 16..self.tcp + 20].fill(0);
        }
        frame
    }
}

/// The frame with checksum 0xFFFF written 0x0000. Ones' complement has two zeros: a receiver accepts both, a merge keeps
/// only the value, and GSO writes 0x0000 as the kernel's `csum_fold` does.
pub(crate) fn canonical(frame: &[u8]) -> Vec<u8> {
    Tcp::parse(frame).map_or_else(|| frame.to_vec(), |tcp| tcp.in_one_form(true))
}

/// As [`canonical`], without urgent pointer and the checksum over it: GRO merges segments whose urgent pointers differ (without
/// URG they mean nothing), and a merged packet has one.
pub(crate) fn without_urgent_pointer(frame: &[u8]) -> Vec<u8> {
    Tcp::parse(frame).map_or_else(|| frame.to_vec(), |tcp| tcp.in_one_form(false))
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

//! A recorded run: the frames that went to the receiver, and what its stack saw, which re-segments to exactly those frames.
//!
//! What is sent is captured where it leaves for the receiver, by a socket for all protocols. What is seen is captured at the
//! receiver by a socket that is bound to an IP version: such sockets come after tc at ingress.

use super::topology::{Place, Topology, index};
use super::traffic::{self, Carried, Load};
use super::{LiveError, step};
use crate::Record;
use crate::sandbox::{Capture, Captured};
use crate::segment::segment;
use crate::trace::tcp_payload;
use bytes::Bytes;
use gro_core::complete::{GSO_TCP_FIXEDID, GSO_TCPV4, GSO_TCPV6};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What was captured of a run: TCP from the sender to the receiver.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The frames, in the order in which they went to the receiver.
    pub sent: Vec<Bytes>,
    /// The packets that the receiver's stack saw, in their order.
    pub seen: Vec<Bytes>,
    /// How the traffic itself fared.
    pub carried: Carried,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Flows.
    pub flows: usize,
    /// Frames sent.
    pub frames: usize,
    /// Packets seen.
    pub packets: usize,
    /// Of them merged.
    pub merged: usize,
}

/// Runs `work` where it and everything that it starts, threads and processes, are on one CPU. With two, a flow's frames may come by
/// two backlogs (a timer of TCP fires where it pleases), and then they have no order that could be compared.
///
/// # Errors
/// What `work` says, or that the system refuses.
pub fn on_one_cpu<T: Send>(work: impl FnOnce() -> Result<T, LiveError> + Send) -> Result<T, LiveError> {
    std::thread::scope(|scope| {
        let pinned = || {
            // SAFETY: plain question to the C library.
            let cpu = unsafe { libc::sched_getcpu() }.max(0) as usize;
            traffic::pin(Some(cpu))?;
            work()
        };
        joined(scope.spawn(pinned).join())
    })
}

/// Where frames are captured on their way to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// As they leave for it. For [`on_one_cpu`]: of two, one could be captured first and the other arrive first.
    Leaving,
    /// At its interface, ahead of what coalesces at tc; GRO is ahead of this. Frames that go round are known by their marks. For a
    /// receiver with one CPU ([`Options::rps_cpus`](super::Options::rps_cpus)).
    Arriving,
}

/// Runs `load` and captures both sides. The sender must compute checksums itself: frames are compared with their sums.
///
/// # Errors
/// Those of the traffic, and a capture that missed something.
pub fn record(topology: &Topology, load: &Load, at: At) -> Result<Recording, LiveError> {
    let (done, listening) = (AtomicBool::new(false), std::sync::Barrier::new(3));
    let receiver = topology.under_test().0;
    let (hop, hop_name) = match at {
        At::Leaving => topology.last_hop(),
        At::Arriving => topology.under_test(),
    };
    let ethertype = if load.ipv6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP } as u16;
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            hop.enter().and_then(|()| watch(index(hop_name), libc::ETH_P_ALL as u16, &listening, &done))
        });
        let seen = scope.spawn(|| receiver.enter().and_then(|()| watch(Ok(0), ethertype, &listening, &done)));
        listening.wait();
        let carried = traffic::run(topology, load);
        done.store(true, Ordering::Relaxed);
        let (sent, seen) = (joined(sent.join())?, joined(seen.join())?);
        let sender = topology.address(Place::A, load.ipv6);
        let of_sender = |packets: Vec<Captured>| {
            let first = packets.into_iter().filter(|packet| packet.mark == 0);
            let frames = first.map(|packet| Bytes::from(packet.bytes));
            frames.filter(|frame| flow(frame).is_some_and(|flow| flow.0 == sender)).collect()
        };
        Ok(Recording { sent: of_sender(sent), seen: of_sender(seen), carried: carried? })
    })
}

fn joined<T>(result: std::thread::Result<T>) -> T {
    match result {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Silence after which nothing more comes.
const SILENCE: Duration = Duration::from_millis(100);

/// Captures, by a thread in its namespace, until `done` and silence.
fn watch(
    ifindex: Result<u32, LiveError>,
    ethertype: u16,
    listening: &std::sync::Barrier,
    done: &AtomicBool,
) -> Result<Vec<Captured>, LiveError> {
    let capture = ifindex
        .and_then(|ifindex| Capture::listen(ifindex, ethertype).map_err(step("opening a packet socket")));
    // Also without one: the others wait.
    listening.wait();
    let mut capture = capture?;
    let mut packets = Vec::new();
    loop {
        let last = done.load(Ordering::Relaxed);
        let more = capture.drain(SILENCE).map_err(step("capturing"))?;
        if last && more.is_empty() {
            break;
        }
        packets.extend(more);
    }
    match capture.lost().map_err(step("asking a packet socket"))? {
        0 => Ok(packets),
        lost => Err(LiveError::Traffic(format!("a capture missed {lost} packets; try again with less load"))),
    }
}

impl Recording {
    /// Re-segments what was seen and compares it, flow by flow, with what was sent.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn compare(&self) -> Result<Compared, String> {
        let mut sent: BTreeMap<Flow, VecDeque<&Bytes>> = BTreeMap::new();
        for frame in &self.sent {
            sent.entry(flow(frame).ok_or("a frame without a flow")?).or_default().push_back(frame);
        }
        let mut found =
            Compared { flows: sent.len(), frames: self.sent.len(), packets: self.seen.len(), merged: 0 };
        for (number, packet) in self.seen.iter().enumerate() {
            let key = flow(packet).ok_or("a packet without a flow")?;
            let left = sent.get_mut(&key).ok_or_else(|| format!("packet {number}: nobody sent this flow"))?;
            let record = as_sent(packet, left)
                .ok_or_else(|| format!("packet {number} of {key:?}: nothing more was sent"))?;
            found.merged += usize::from(record.segs > 1);
            let frames = segment(&record).map_err(|error| format!("packet {number} of {key:?}: {error}"))?;
            for (piece, frame) in frames.iter().enumerate() {
                let wanted = left.pop_front();
                if wanted != Some(frame) {
                    let at = wanted.and_then(|wanted| wanted.iter().zip(frame).position(|(a, b)| a != b));
                    let fate = match left.iter().position(|later| *later == frame) {
                        Some(later) => format!("it was sent {} frames later", later + 1),
                        None => "it is none of those still to come".to_owned(),
                    };
                    return Err(format!(
                        "packet {number} of {key:?}, segment {piece} of {}: {} bytes instead of {}, first difference at {at:?}; {fate}",
                        frames.len(),
                        frame.len(),
                        wanted.map_or(0, |wanted| wanted.len()),
                    ));
                }
            }
        }
        match sent.iter().find(|(_, left)| !left.is_empty()) {
            None => Ok(found),
            Some((key, left)) => Err(format!("{key:?}: {} frames were sent and not seen", left.len())),
        }
    }
}

/// What a packet says of itself, and what it does not: a captured packet has no segment size, so that of the next frame sent is
/// taken, and whether its identifications were fixed.
fn as_sent(packet: &Bytes, left: &VecDeque<&Bytes>) -> Option<Record> {
    let first = left.front()?;
    let (whole, size) = (tcp_payload(packet), tcp_payload(first));
    let segs = if size == 0 { 1 } else { whole.div_ceil(size).max(1) };
    let ipv6 = is_ipv6(packet);
    let identification = |frame: &Bytes| frame.get(18..20).map(<[u8]>::to_vec);
    let fixed = !ipv6 && left.get(1).is_some_and(|second| identification(second) == identification(first));
    let gso_type = match (segs > 1, ipv6, fixed) {
        (false, ..) => 0,
        (_, true, _) => GSO_TCPV6,
        (_, _, true) => GSO_TCPV4 | GSO_TCP_FIXEDID,
        _ => GSO_TCPV4,
    };
    let gso_size = if segs > 1 { size } else { 0 };
    Some(Record {
        bytes: packet.clone(),
        gso_size,
        segs,
        gso_type,
        vlan: 0,
        first: None,
        last: None,
        why: None,
    })
}

/// Source and destination, then their ports.
type Flow = (IpAddr, IpAddr, u16, u16);

/// Of TCP right behind Ethernet and IP, which is all that the traffic is.
fn flow(frame: &[u8]) -> Option<Flow> {
    let (source, destination, ports) = if is_ipv6(frame) {
        let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(at..at + 16)?).ok()?));
        (frame.get(20) == Some(&6)).then_some((address(22)?, address(38)?, 54))?
    } else {
        let is_tcp = frame.get(12..15)? == [8, 0, 0x45] && frame.get(23) == Some(&6);
        let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(at..at + 4)?).ok()?));
        is_tcp.then_some((address(26)?, address(30)?, 34))?
    };
    let port = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    Some((source, destination, port(ports)?, port(ports + 2)?))
}

fn is_ipv6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
}

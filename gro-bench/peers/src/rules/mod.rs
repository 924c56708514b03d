//! Who does as the kernel does: packets of each peer beside those of our engine, which `gro verify` shows equal to the kernel's.
//!
//! Speed is worth something for the same work only. Compared are the packets of a poll, whatever their order: bytes and segments
//! of each.

mod cases;
mod peer;

use crate::engine::{Queue, frame, whole};
use crate::report::{CaseRules, OutputRules, Rules, TraceRules};
use crate::workload::Made;
use anyhow::Result;
use cases::Case;
use gro_bench::trace::{self, Trace};
use gro_core::Config;
use gro_core::user::VirtioNetHdr;
use peer::Peer;
use std::path::Path;

/// Bytes and segments of a packet.
pub(crate) type Shape = (usize, usize);

/// A frame, and what a NIC says of it.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hash: u32,
    pub(crate) vlan: u32,
}

/// A packet that came out, in one piece.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    pub(crate) segs: usize,
    pub(crate) gso_size: usize,
    /// Whether it says that a device completes the TCP checksum.
    pub(crate) needs_checksum: bool,
}

/// Compares.
///
/// # Errors
/// Traces that cannot be read, or a peer that does not start.
pub(crate) fn compare(traces: &Path, quick: bool) -> Result<Rules> {
    let mut peers = peer::all()?;
    let mut paths = trace::shipped(traces)?;
    if quick {
        paths.truncate(4);
    }
    let mut rows = Vec::new();
    for path in &paths {
        let row = one_trace(&Trace::open(path)?, &mut peers);
        if row.polls > 0 {
            eprintln!("rules  {:18} {:4} polls, equal: {:?}", row.trace, row.polls, row.equal);
            rows.push(row);
        }
    }
    let cases = cases::all();
    Ok(Rules {
        reference: "this project's engine under the kernel's defaults, frames not verified; TCP over IPv4 alone, which every peer \
                    coalesces; equal polls have the same packets, by bytes and segments, in any order"
            .to_owned(),
        traces: rows,
        cases: cases.iter().map(|case| one_case(case, &mut peers)).collect(),
        outputs: outputs(&cases[0], &mut peers),
    })
}

fn one_trace(trace: &Trace, peers: &mut [Peer]) -> TraceRules {
    let mut row = TraceRules { trace: trace.name.clone(), frames: 0, polls: 0, equal: Vec::new() };
    row.equal.extend(peers.iter().map(|peer| (peer.name().to_owned(), 0)));
    for poll in &trace.polls {
        let frames: Vec<Arrived> = trace.frames[poll.frames.clone()]
            .iter()
            .filter(|frame| frame.bytes.len() > 34 && frame.bytes[12..14] == [8, 0] && frame.bytes[23] == 6)
            .map(|frame| {
                let vlan = frame.vlan.map_or(0, |tag| u32::from(tag.tpid) << 16 | u32::from(tag.tci));
                Arrived { bytes: frame.bytes.to_vec(), hash: frame.hash, vlan }
            })
            .collect();
        if frames.is_empty() {
            continue;
        }
        row.frames += frames.len();
        row.polls += 1;
        let expected = shapes(&ours(&frames));
        for (peer, (_, equal)) in peers.iter_mut().zip(&mut row.equal) {
            *equal += usize::from(shapes(&peer.coalesce(&frames)) == expected);
        }
    }
    row
}

fn one_case(case: &Case, peers: &mut [Peer]) -> CaseRules {
    let kernel = ours(&case.frames);
    let expected = shapes(&kernel);
    let peers = peers.iter_mut().map(|peer| {
        let found = peer.coalesce(&case.frames);
        (peer.name().to_owned(), words(&found), shapes(&found) == expected)
    });
    CaseRules { case: case.name.to_owned(), kernel: words(&kernel), peers: peers.collect() }
}

/// What a merged packet of plain segments says of itself.
fn outputs(plain: &Case, peers: &mut [Peer]) -> Vec<OutputRules> {
    let of = |engine: &str, packets: &[Output]| {
        let merged = packets.iter().find(|packet| packet.segs > 1);
        OutputRules {
            engine: engine.to_owned(),
            ip_checksum: merged.is_some_and(|packet| cases::ip_checksum_holds(&packet.bytes)),
            tcp_checksum: merged
                .is_some_and(|packet| cases::tcp_checksum_holds(&packet.bytes, packet.needs_checksum)),
            gso_size: merged.is_some_and(|packet| packet.gso_size == cases::PAYLOAD),
        }
    };
    let mut rows = vec![of("gro", &ours(&plain.frames))];
    for peer in peers {
        let packets = peer.coalesce(&plain.frames);
        rows.push(of(peer.name(), &packets));
    }
    rows
}

fn ours(frames: &[Arrived]) -> Vec<Output> {
    let mut queue = <Queue>::new(Config::DEFAULT);
    let lent: Vec<_> = frames
        .iter()
        .map(|arrived| {
            let made = Made { len: arrived.bytes.len(), hash: arrived.hash, vlan: arrived.vlan };
            frame(&arrived.bytes, made, false)
        })
        .collect();
    let mut out = Vec::new();
    queue.poll(&lent, |packet| {
        out.push(Output {
            bytes: whole(packet),
            segs: packet.segs() as usize,
            gso_size: packet.gso_size().into(),
            needs_checksum: packet
                .virtio()
                .is_some_and(|header| header.flags & VirtioNetHdr::NEEDS_CSUM != 0),
        });
    });
    out
}

fn shapes(packets: &[Output]) -> Vec<Shape> {
    let mut shapes: Vec<Shape> = packets.iter().map(|packet| (packet.bytes.len(), packet.segs)).collect();
    shapes.sort_unstable();
    shapes
}

/// Segments of each packet.
fn words(packets: &[Output]) -> String {
    let segs: Vec<String> = packets.iter().map(|packet| packet.segs.to_string()).collect();
    segs.join(" + ")
}

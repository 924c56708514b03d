//! The peers, for a look at what comes out of them.

use super::{Arrived, Output};
use crate::contest::coalesce;
use crate::dpdk::{Kind, Library, PARSE};
use crate::memory::Region;
use anyhow::Result;

const ETHERNET: usize = 14;
/// Of an element: DPDK's mbuf, its headroom and the longest frame of a trace.
const ROOM: usize = 1 << 16;
const HEADROOM: usize = 256;
/// Frames of a poll at most.
const POLL: usize = 64;

/// One of them.
pub(crate) enum Peer {
    Dpdk(Library, Region),
    TunRs,
}

/// All that can run here.
///
/// # Errors
/// No memory.
pub(crate) fn all() -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    if let Ok(library) = Library::start() {
        peers.push(Peer::Dpdk(library, Region::new(POLL * ROOM)?));
    }
    peers.push(Peer::TunRs);
    Ok(peers)
}

impl Peer {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Dpdk(..) => "dpdk+parse",
            Self::TunRs => "tun-rs",
        }
    }

    /// Coalesces the frames of a poll.
    pub(crate) fn coalesce(&mut self, frames: &[Arrived]) -> Vec<Output> {
        match self {
            Self::Dpdk(library, memory) => dpdk(*library, memory, &frames[..frames.len().min(POLL)]),
            Self::TunRs => tun_rs(frames),
        }
    }
}

fn dpdk(library: Library, memory: &mut Region, frames: &[Arrived]) -> Vec<Output> {
    let mut elements = [std::ptr::null_mut(); POLL];
    for (number, frame) in frames.iter().enumerate() {
        let bytes = &frame.bytes[..frame.bytes.len().min(ROOM - HEADROOM - 1)];
        // SAFETY: an element of the region, which has POLL of ROOM bytes, and room for the bytes behind the headroom. Nobody
        // else uses it.
        unsafe {
            let element = memory.start().add(number * ROOM).as_ptr();
            element.add(HEADROOM).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            library.receive(element, ROOM, bytes.len(), Kind::Unparsed, frame.vlan);
            elements[number] = element;
        }
    }
    // SAFETY: all of them were received just now.
    let packets = unsafe { library.burst(&mut elements[..frames.len()], PARSE) };
    let read = elements[..packets].iter().map(|&element| {
        // SAFETY: it came out just now.
        unsafe {
            let out = library.out(element);
            let mut bytes = vec![0; out.len as usize];
            library.read(element, &mut bytes);
            Output { bytes, segs: out.segs as usize, gso_size: out.gso_size as usize, needs_checksum: false }
        }
    });
    read.collect()
}

/// It sees IP packets; their Ethernet headers are put back, for the same lengths.
fn tun_rs(frames: &[Arrived]) -> Vec<Output> {
    let packets: Vec<&[u8]> = frames.iter().map(|frame| &frame.bytes[ETHERNET..]).collect();
    let (out, bytes) = coalesce(&packets);
    let outputs = out.into_iter().zip(bytes).map(|(packet, ip)| {
        let bytes = frames[packet.buffer].bytes[..ETHERNET].iter().copied().chain(ip).collect();
        let merged = packet.gso_size > 0;
        Output { bytes, segs: packet.segs(), gso_size: packet.gso_size, needs_checksum: merged }
    });
    outputs.collect()
}

//! Frames by flow, to be compared with what came back of them.

use super::{Tcp, canonical, entry, without_urgent_pointer};
use bytes::Bytes;
use gro_bench::trace::{Trace, Vlan};
use std::collections::{BTreeMap, BTreeSet};

/// Frames whose order must survive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// One direction of one connection, and the VLAN tag.
    Flow(Vec<u8>, u32),
    /// Frames that GRO cannot look at: they overtake what is held of their flow, but leave at once and so in order.
    Overtaking,
}

pub(crate) type Lanes = BTreeMap<Lane, Vec<Vec<u8>>>;

/// Flows of which something is known not to come back.
#[derive(Default)]
pub(crate) struct Losses {
    pub(crate) urgent_pointers: BTreeSet<Lane>,
    pub(crate) order: BTreeSet<Lane>,
}

impl Losses {
    /// Those of trace `tcp-mixed`, by its cases.
    pub(crate) fn of_tcp_mixed(trace: &Trace) -> Self {
        let cases = entry("tcp-mixed").cases;
        let of = |name: &str| -> BTreeSet<Lane> {
            let cases = cases.iter().filter(|case| case.name.starts_with(name));
            let frames = cases.flat_map(|case| &trace.frames[case.first..case.first + case.frames]);
            frames.map(|frame| lane(&frame.bytes, vlan(frame.vlan))).collect()
        };
        Self { urgent_pointers: of("flags_urg_ptr"), order: of("hash_overtakes") }
    }
}

pub(crate) fn lanes(frames: impl Iterator<Item = (Bytes, u32)>, losses: &Losses) -> Lanes {
    let mut lanes = Lanes::new();
    for (frame, vlan) in frames {
        let lane = lane(&frame, vlan);
        let frame = if losses.urgent_pointers.contains(&lane) {
            without_urgent_pointer(&frame)
        } else {
            canonical(&frame)
        };
        lanes.entry(lane).or_default().push(frame);
    }
    for lane in &losses.order {
        lanes.entry(lane.clone()).or_default().sort();
    }
    lanes
}

/// The first frame of a lane that is another one.
pub(crate) fn difference(sent: &Lanes, came: &Lanes) -> Option<String> {
    for (lane, sent) in sent {
        let came = came.get(lane).map_or(&[][..], |frames| frames);
        let most = sent.len().max(came.len());
        if let Some(at) = (0..most).find(|&at| sent.get(at) != came.get(at)) {
            let (sent_len, came_len) = (sent.len(), came.len());
            return Some(format!(
                "{lane:02x?}: frame {at} is another one; {sent_len} sent, {came_len} came\n  sent {:02x?}\n  came {:02x?}",
                sent.get(at),
                came.get(at)
            ));
        }
    }
    came.keys().find(|lane| !sent.contains_key(lane)).map(|lane| format!("{lane:02x?} was never sent"))
}

pub(crate) fn lane(frame: &[u8], vlan: u32) -> Lane {
    match Tcp::parse(frame) {
        // With a wrong length the checksum is not looked at, and order is kept.
        Some(tcp) if tcp.has_good_header() && (!tcp.has_exact_length() || tcp.has_good_checksum()) => {
            Lane::Flow(tcp.flow(), vlan)
        }
        _ => Lane::Overtaking,
    }
}

pub(crate) fn vlan(tag: Option<Vlan>) -> u32 {
    tag.map_or(0, |tag| u32::from(tag.tpid) << 16 | u32::from(tag.tci))
}

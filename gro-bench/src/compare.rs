//! The first difference between two outcomes, in words.

use crate::{Outcome, Record};
use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use std::fmt::Write as _;

/// Where two backends part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Place of the first differing record in the order of deliveries.
    pub record: usize,
    /// Number of the first frame of that record, from 0, where a backend tells.
    pub frame: Option<u32>,
    /// Both sides, in words.
    pub words: String,
}

/// The first record that differs, if any does.
pub fn compare(left: (&str, &Outcome), right: (&str, &Outcome)) -> Option<Difference> {
    let ((left_name, left), (right_name, right)) = (left, right);
    let most = left.records.len().max(right.records.len());
    let record = (0..most).find(|&at| match (left.records.get(at), right.records.get(at)) {
        (Some(left), Some(right)) => !left.is_same(right),
        _ => true,
    })?;
    let sides = [(left_name, left.records.get(record)), (right_name, right.records.get(record))];
    let frame = sides.iter().filter_map(|(_, side)| side.and_then(|side| side.first)).min();
    let mut words = format!("delivery {record} differs");
    if let Some(frame) = frame {
        let _ = write!(words, ", first at frame #{frame}");
    }
    let width = left_name.len().max(right_name.len());
    for (name, side) in sides {
        let _ = write!(words, "\n  {name:width$}  {}", side.map_or("nothing more".into(), describe));
    }
    if let (Some(left), Some(right)) = (sides[0].1, sides[1].1)
        && let Some(at) = left.bytes.iter().zip(&right.bytes).position(|(left, right)| left != right)
    {
        let _ = write!(
            words,
            "\n  first differing byte: {at} ({:#04x}, {:#04x})",
            left.bytes[at], right.bytes[at]
        );
    }
    Some(Difference { record, frame, words })
}

/// A record in one line: what a reader of tcpdump expects.
fn describe(record: &Record) -> String {
    let mut text = String::new();
    if let (Some(first), Some(last)) = (record.first, record.last) {
        let _ = write!(text, "#{first}..#{last} ");
    }
    let _ = write!(text, "{} bytes, {} segs, gso_size {}", record.bytes.len(), record.segs, record.gso_size);
    if record.gso_type != 0 {
        let _ = write!(text, ", gso_type {:#x}", record.gso_type);
    }
    if record.vlan != 0 {
        let _ = write!(text, ", vlan {:#x}", record.vlan);
    }
    let headers = PacketHeaders::from_ethernet_slice(&record.bytes).ok();
    if let Some(headers) = headers {
        match &headers.net {
            Some(NetHeaders::Ipv4(ip, _)) => {
                let _ = write!(text, ", IPv4 id {} ttl {}", ip.identification, ip.time_to_live);
            }
            Some(NetHeaders::Ipv6(ip, _)) => {
                let _ = write!(text, ", IPv6 label {:#x}", ip.flow_label.value());
            }
            _ => {}
        }
        if let Some(TransportHeader::Tcp(tcp)) = &headers.transport {
            let _ = write!(
                text,
                ", TCP {} > {} seq {} ack {} win {} sum {:#06x}",
                tcp.source_port,
                tcp.destination_port,
                tcp.sequence_number,
                tcp.acknowledgment_number,
                tcp.window_size,
                tcp.checksum
            );
        }
    }
    if let Some(why) = record.why {
        let _ = write!(text, ", left: {}", why.name());
    }
    text
}

//! The reference interpreter: one header after the other, exactly as the document says. Slow and obvious; it is the referee of
//! every parser that is generated or written by hand.
//!
//! A header is looked at in this order: the settings it needs; its first `min-hdr-length` bytes are there; the next protocol
//! is known, if `next-proto-first` asks for that now; conditions; the stated length is not too short, and its bytes are there;
//! the length field under `gro` agrees with the frame; options; the next protocol is known.

use crate::gro::{Settings, Unequal};
use crate::model::{Graph, HeaderLength, Node, Parser, Test, Tlvs};

/// What a parser sees in a frame. Offsets and lengths are bytes from the start of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The headers that are whole and acceptable, outermost first.
    pub steps: Vec<Step>,
    /// Where the headers end.
    pub end: usize,
    /// Why packets that this frame belongs to leave first: names of `gro.flush` bits, or of the node whose length is unequal.
    pub flush: Vec<String>,
    /// Why parsing ended.
    pub stop: Stop,
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index of its node.
    pub node: usize,
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// What its next-protocol field says, if it has one.
    pub key: Option<u64>,
    /// Its options, if the document describes them.
    pub tlvs: Vec<Tlv>,
}

/// One option in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv {
    /// Its type.
    pub kind: u64,
    /// First byte.
    pub offset: usize,
    /// Bytes, type and length included.
    pub length: usize,
}

/// Where and why parsing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Index of the node that was looked at.
    pub node: usize,
    /// Why.
    pub why: Why,
    /// What GRO calls it: the frame is refused for this reason. `None` for [`Why::Done`], or where the document has no word.
    pub reason: Option<String>,
}

/// Why parsing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The last header has no next one.
    Done,
    /// The header ends behind the frame.
    Truncated,
    /// The header ends behind `max-header-length`, or the frame is longer than `max-frame-length`.
    TooLong,
    /// Nothing in the table for this key.
    Unknown(u64),
    /// The condition with this index does not hold.
    Condition(usize),
    /// The header says that it is shorter than `min-hdr-length`.
    Short,
    /// The length under `gro` is not that of the bytes present.
    Length,
    /// A setting is off.
    Off,
    /// An option ends behind its header, or there are more than `max-tlvs`.
    Options,
    /// More headers than `max-nodes`.
    Nodes,
    /// More headers with `encap` than `max-encaps`.
    Encaps,
}

/// Walks the headers of a frame.
pub fn walk(graph: &Graph, parser: &Parser, frame: &[u8], settings: &Settings<'_>) -> Walk {
    let mut walk = Walk {
        steps: Vec::new(),
        end: 0,
        flush: Vec::new(),
        stop: Stop { node: parser.root, why: Why::Done, reason: None },
    };
    let mut encaps = 0;
    let mut next = Some(parser.root);
    while let Some((index, node)) = next.and_then(|index| Some((index, graph.nodes.get(index)?))) {
        encaps += u32::from(node.encap);
        let stop = if parser.max_nodes.is_some_and(|most| walk.steps.len() >= most as usize) {
            Err(refuse(Why::Nodes, None))
        } else if encaps > parser.max_encaps || node.gro.is_session() && has_session(graph, &walk) {
            Err(refuse(Why::Encaps, parser.gro.max_encaps.as_ref()))
        } else {
            header(graph, parser, node, frame, settings, &mut walk)
        };
        match stop {
            Ok((step, follower)) => {
                walk.steps.push(Step { node: index, ..step });
                walk.stop.node = index;
                next = follower;
            }
            Err((why, reason)) => {
                walk.stop = Stop { node: index, why, reason };
                return walk;
            }
        }
    }
    walk
}

fn has_session(graph: &Graph, walk: &Walk) -> bool {
    walk.steps.iter().any(|step| graph.nodes.get(step.node).is_some_and(|node| node.gro.is_session()))
}

type Refusal = (Why, Option<String>);

fn refuse(why: Why, reason: Option<&String>) -> Refusal {
    let usual = match why {
        Why::Truncated => Some("truncated"),
        Why::TooLong => Some("too_long"),
        _ => None,
    };
    let reason = reason.cloned().or_else(|| usual.map(str::to_owned));
    (why, reason)
}

/// One header at `walk.end`, and the node that follows it.
fn header(
    graph: &Graph,
    parser: &Parser,
    node: &Node,
    frame: &[u8],
    settings: &Settings<'_>,
    walk: &mut Walk,
) -> Result<(Step, Option<usize>), Refusal> {
    let start = walk.end;
    if let Some(requires) =
        node.gro.requires.as_ref().filter(|need| !settings.switches.contains(&need.switch.as_str()))
    {
        return Err(refuse(Why::Off, Some(&requires.bypass)));
    }
    fits(parser, frame, start, node.min_length as usize)?;
    let bytes = &frame[start..];

    let key = node.next.and_then(|next| next.field.read(bytes));
    let follower = match (node.next, key) {
        (Some(next), Some(key)) => {
            let entry = graph.entry(next.table, key, settings).map(|entry| entry.node);
            entry.or(next.wildcard).map(Some).ok_or(refuse(Why::Unknown(key), node.gro.unknown_next.as_ref()))
        }
        _ => Ok(node.next_node),
    };
    if node.gro.next_proto_first {
        follower.clone()?;
    }
    for (index, condition) in node.conditions.iter().enumerate() {
        if !holds(&condition.test, bytes) {
            let refusals = node.gro.refusals.iter();
            let reason = refusals.into_iter().find(|(name, _)| Some(name) == condition.name.as_ref());
            return Err(refuse(Why::Condition(index), reason.map(|(_, reason)| reason)));
        }
    }

    let length = header_length(graph, node, bytes);
    let length = usize::try_from(length).ok().filter(|&length| length >= node.min_length as usize);
    let length = length.ok_or_else(|| refuse(Why::Short, node.gro.short_header.as_ref()))?;
    fits(parser, frame, start, length)?;
    if let Some(present) = &node.gro.length {
        let stated = present.field.read(bytes).unwrap_or(0).saturating_add(present.add.into());
        match &present.unequal {
            _ if stated == bytes.len() as u64 => {}
            Unequal::Flush => walk.flush.push(node.name.clone()),
            Unequal::Bypass(reason) => return Err(refuse(Why::Length, Some(reason))),
        }
    }
    for bits in &node.gro.flush {
        if bits.field.read(bytes).unwrap_or(0) != 0 {
            walk.flush.push(bits.name.clone());
        }
    }
    let tlvs = match &node.tlvs {
        Some(tlvs) => options(tlvs, start, &bytes[..length]).ok_or_else(|| refuse(Why::Options, None))?,
        None => Vec::new(),
    };
    let follower = follower?;
    walk.end = if node.overlay { start } else { start + length };
    Ok((Step { node: 0, offset: start, length, key, tlvs }, follower))
}

fn fits(parser: &Parser, frame: &[u8], start: usize, length: usize) -> Result<(), Refusal> {
    let end = start + length;
    let frame_too_long = frame.len() > parser.gro.max_frame_length as usize;
    if end > frame.len() {
        Err(refuse(Why::Truncated, None))
    } else if end > parser.gro.max_header_length as usize || frame_too_long {
        Err(refuse(Why::TooLong, None))
    } else {
        Ok(())
    }
}

fn header_length(graph: &Graph, node: &Node, bytes: &[u8]) -> i128 {
    match node.length {
        None => i128::from(node.min_length),
        Some(HeaderLength::Computed { field, multiplier, add }) => {
            i128::from(field.read(bytes).unwrap_or(0)) * i128::from(multiplier) + i128::from(add)
        }
        Some(HeaderLength::FlagFields) => {
            let Some(flags) = node.flag_fields else { return i128::from(node.min_length) };
            let value = flags.flags.read(bytes).unwrap_or(0);
            let fields = graph.flag_tables.get(flags.table).map_or(&[][..], |table| &table.fields);
            let there = fields.iter().filter(|field| value & field.mask == field.flag);
            i128::from(node.min_length) + there.map(|field| i128::from(field.size)).sum::<i128>()
        }
    }
}

fn holds(test: &Test, bytes: &[u8]) -> bool {
    match test {
        Test::Compare { comparison, field, value } => {
            field.read(bytes).is_some_and(|read| comparison.holds(read, *value))
        }
        Test::All(parts) => parts.iter().all(|part| holds(part, bytes)),
        Test::Any(parts) => parts.iter().any(|part| holds(part, bytes)),
    }
}

/// The options of a header that begins at `start`.
fn options(tlvs: &Tlvs, start: usize, header: &[u8]) -> Option<Vec<Tlv>> {
    let mut found = Vec::new();
    let mut at = tlvs.start as usize;
    while at < header.len() {
        let option = &header[at..];
        let kind = tlvs.kind.read(option)?;
        if tlvs.eol == Some(kind) {
            break;
        }
        let length = if tlvs.pad1 == Some(kind) { 1 } else { tlvs.length.read(option)? };
        let length = usize::try_from(length).ok().filter(|&length| length > 0 && length <= option.len())?;
        if tlvs.max.is_some_and(|most| found.len() >= most as usize) {
            return None;
        }
        found.push(Tlv { kind, offset: start + at, length });
        at += length;
    }
    Some(found)
}

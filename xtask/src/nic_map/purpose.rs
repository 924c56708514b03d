//! What a function is for. An instruction belongs to the innermost function that has a purpose of its own: what reads a field of the
//! header for the parser is of the parser, and what adds with a carry for a checksum is of the checksum.

use std::borrow::Cow;

/// Code that the compiler made of several places.
pub(super) const SHARED: &str = "joined by the compiler from several places of one function";

const START: &str = "start-up: stack, rings checked, program announced";
const LOOP: &str = "event loop: which event, to whom";
const CONFIG: &str = "config page read";
const EVENTS: &str = "RX ring: next descriptor, doorbell, hand-back";
const COMPLETIONS: &str = "completion ring: room, entries, doorbell";
const EMIT: &str = "completion of a merged packet: header patches and entry";
const PASS: &str = "completion of a frame that passes";
const SCATTER: &str = "scatter list: a frame joins or begins a packet";
const HEADER: &str = "header load: the frame's entry and what the engine is told of it";
const PLACE: &str = "shortcut: where the flow is held";
const FOLLOW: &str = "shortcut, follow: a frame that may join, and its joining";
const FIRST: &str = "shortcut, first: whether a frame is plain, its sums";
const HOLD: &str = "shortcut, hold: what followers are compared with";
const LEARN: &str = "shortcut, learn: what is known late, sums among it";
const PARSER: &str = "parser: what all headers share";
const CHAIN: &str = "parser: words of outer headers, kept to be compared";
const DISPATCH: &str = "parser: from one header to the next";
const COMPARE: &str = "flow compare: flows of the bucket, keys, options";
const FLOW: &str = "flow state: begin, join, sums";
const TABLE: &str = "flow table: buckets and their order of age";
const DECIDE: &str = "decide: what happens to a segment and to its packet";
const JUDGE: &str = "core: a frame from the parser to its verdict";
const PLACED: &str = "core: a verdict carried out";
const LEAVES: &str = "core: a packet leaves, a frame passes";
const POLL_END: &str = "poll end, tick and flush";
const COMPLETE: &str = "complete: lengths, checksums and flags of a merged packet";
const DIGEST: &str = "digest";
const COUNTERS: &str = "counters";
const CHECKSUM: &str = "checksum";
const LIMITS: &str = "config and rules applied: size limits, reasons";
const BUILTINS: &str = "compiler builtins";

/// Purposes by path; the longest one that a function's path begins with counts.
const PURPOSES: [(&str, &str); 63] = [
    ("_start", START),
    ("firmware::program::announce", START),
    ("firmware::program::rings::Rings::start", START),
    ("firmware::program::run", LOOP),
    ("firmware::program::Device::follow", LOOP),
    ("firmware::program::Device::receive", LOOP),
    ("firmware::program::Device::event", POLL_END),
    ("firmware::program::Device::config", CONFIG),
    ("firmware::program::rings::Descriptor", EVENTS),
    ("firmware::program::rings::wait", EVENTS),
    ("firmware::program::rings::Rings::next_event", EVENTS),
    ("firmware::program::rings::Rings::finish_event", EVENTS),
    ("firmware::program::rings::Rings::free_completion", COMPLETIONS),
    ("firmware::program::rings::Rings::complete", COMPLETIONS),
    ("firmware::program::rings::Rings::emit", EMIT),
    ("firmware::program::rings::Rings::pass", PASS),
    ("firmware::program::rings::write_scatter", SCATTER),
    ("firmware::program::rings::Rings::hold", SCATTER),
    ("firmware::program::rings::Rings::append", SCATTER),
    ("firmware::program::rings::Rings::header_entry", HEADER),
    ("firmware::program::rings::Rings::input", HEADER),
    ("firmware::program::rings::Rings::frame_sum", CHECKSUM),
    ("firmware::program::rings::Rings::sum", CHECKSUM),
    ("firmware::program::rings::add_with_carry", CHECKSUM),
    ("firmware::program::rings::Rings::admits", JUDGE),
    ("firmware::program::rings::Rings::takes_shortcuts", JUDGE),
    ("gro_core::shortcut", FOLLOW),
    ("gro_core::shortcut::receive", PLACE),
    ("gro_core::shortcut::place", PLACE),
    ("gro_core::shortcut::start", FIRST),
    ("gro_core::shortcut::is_right", CHECKSUM),
    ("gro_core::shortcut::first", FIRST),
    ("gro_core::shortcut::first::sum", CHECKSUM),
    ("gro_core::flow::Flow::begin", HOLD),
    ("gro_core::flow::Flow::add_late", FOLLOW),
    ("gro_core::flow::Flow::leaves_for", DECIDE),
    ("gro_core::flow::Flow::know", LEARN),
    ("gro_core::flow::Flow::learn", LEARN),
    ("gro_core::flow::Flow::sums", LEARN),
    ("gro_core::flow::Flow::find_plain", HOLD),
    ("gro_core::flow::Flow::keep_plain", HOLD),
    ("gro_core::flow::Flow::allow_shortcut", HOLD),
    ("gro_core::parse", PARSER),
    ("gro_core::parse::packet::Chain", CHAIN),
    ("gro_core::parse::sum", CHECKSUM),
    ("gro_core::parse::sum_between", CHECKSUM),
    ("gro_core::flow", FLOW),
    ("gro_core::flow::Flow::is_same", COMPARE),
    ("gro_core::flow::Flow::difference", COMPARE),
    ("gro_core::table", TABLE),
    ("gro_core::table::Bucket::find", COMPARE),
    ("gro_core::coalesce", DECIDE),
    ("gro_core::datapath", JUDGE),
    ("gro_core::datapath::place", PLACED),
    ("gro_core::leave", LEAVES),
    ("gro_core::state", COUNTERS),
    ("gro_core::datapath::pass", LEAVES),
    ("gro_core::complete", COMPLETE),
    ("gro_core::digest", DIGEST),
    ("gro_core::stats", COUNTERS),
    ("gro_core::checksum", CHECKSUM),
    ("gro_core::profile", LIMITS),
    ("compiler_builtins", BUILTINS),
];

/// Functions that say nothing of what they are called for.
const HELPERS: [&str; 8] = [
    "gro_core::window",
    "gro_core::rule",
    "gro_core::reason",
    "firmware::program::rings::read",
    "firmware::program::rings::write",
    "firmware::program::rings::write16",
    "firmware::program::rings::read_register",
    "firmware::program::rings::write_register",
];

/// Steps of an event, by the functions of `gro_core::leave` that take them.
const EVENT_STEPS: [&str; 5] = ["event", "begin", "step", "leaves", "release"];

/// What a function is for, if it is for anything of its own.
pub(super) fn of(path: &str) -> Option<String> {
    if let Some(header) = path.strip_prefix("gro_core::parse::generated::") {
        let name = header.split("::").next().unwrap_or(header);
        return Some(if name == "headers" { DISPATCH.to_owned() } else { format!("parser: `{name}`") });
    }
    if let Some(step) = path.strip_prefix("gro_core::leave::")
        && EVENT_STEPS.contains(&step)
    {
        return Some(POLL_END.to_owned());
    }
    let known = PURPOSES.iter().filter(|(start, _)| begins_with(path, start));
    known.max_by_key(|(start, _)| start.len()).map(|&(_, purpose)| purpose.to_owned())
}

/// Whether a function of ours belongs to whoever calls it.
pub(super) fn is_helper(path: &str) -> bool {
    HELPERS.iter().any(|start| begins_with(path, start))
}

/// Whole parts of a path.
fn begins_with(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What a constant is for, by its symbol.
pub(super) fn of_constant(symbol: &str) -> String {
    let what: Cow<'_, str> = match symbol {
        "GRO_PROGRAM_HASH" => "identity: program hash".into(),
        "GRO_SOURCE_HASH" => "identity: source hash".into(),
        "GRO_PROFILE" => "identity: profile name".into(),
        // A `match` that became a jump through a table: the number of its function, and its own.
        _ if symbol.starts_with(".LJTI") => "tables of jumps".into(),
        _ if symbol.starts_with(".Lswitch.table") => "tables of values".into(),
        // Their names are hashes.
        _ if symbol.starts_with(".Lanon") => "arrays without a name".into(),
        _ => format!("`{symbol}`").into(),
    };
    what.into_owned()
}

/// What fields are for whose source has one comment for several of them.
const FIELDS: [(&str, &str, &str); 21] = [
    ("Device", "state", "State of the engine"),
    ("Device", "table", "Flow table"),
    ("Device", "rings", "Bookkeeping of the rings"),
    ("Buckets", "buckets", "Buckets of the flow table"),
    ("Buckets", "hand", "The frame in hand"),
    ("Bucket", "count", "Held packets"),
    ("Bucket", "flows", "Held packets, with what their followers are compared with"),
    ("Merged", "patches", "Fields of the header that are rewritten"),
    ("Merged", "outer", "Fields of outer headers that are rewritten"),
    ("Rings", "posted", "Events known to be there"),
    ("Rings", "rx_mask", "Entries of the RX ring, less one"),
    ("Rings", "room", "Completion entries known to be free"),
    ("Rings", "completion_size", "Entries of the completion ring"),
    ("Rings", "completions", "Address of the completion ring"),
    ("Rings", "scatter", "Address of the scatter list"),
    ("Rings", "headers", "Address of the header entries"),
    ("Rings", "held", "Of each held packet: first and last buffer, RSS hash, VLAN tag of the first frame"),
    ("Packet", "from", "Where the bytes start whose words are still to go into the chain"),
    ("Packet", "next", "The header with which parsing goes on"),
    ("Hand", "fixed_id", "Fixed identifications of the verdict"),
    ("Hand", "sum", "The sum with which the checksum is verified"),
];

/// What a field is for that has no comment of its own.
pub(super) fn of_field(of: &str, field: &str) -> Option<&'static str> {
    FIELDS.iter().find(|(owner, name, _)| (*owner, *name) == (of, field)).map(|&(.., purpose)| purpose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_counts_and_parts_are_whole() {
        assert_eq!(of("gro_core::flow::Flow::is_same::{closure#0}").as_deref(), Some(COMPARE));
        assert_eq!(of("gro_core::flow::Flow::is_same_as").as_deref(), Some(FLOW));
        assert_eq!(of("gro_core::parse::generated::ipv4").as_deref(), Some("parser: `ipv4`"));
        assert_eq!(of("gro_core::leave::step").as_deref(), Some(POLL_END));
        assert_eq!(of("gro_core::new_module::f"), None);
        assert!(is_helper("gro_core::window::Window::be32") && !is_helper("gro_core::windows"));
    }
}

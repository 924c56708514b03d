//! The engine's parser as Rust: straight-line code, a function for each header, and the constants with which headers are compared.
//!
//! What is common to all headers is written by hand in `gro-core/src/parse/mod.rs`; this writes the calls. A graph that the
//! engine has no place for is refused with the node and the reason: it knows one Ethernet header in front, tags, IPv4 and IPv6
//! with extension headers, TCP and UDP, and tunnels of any header in between.

mod masks;
mod node;
mod words;

use crate::gro::{EntryGro, Layer};
use crate::model::{Entry, Graph, Node, Parser, Table};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What the engine cannot parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Unsupported {
    /// The node, table or parser.
    pub place: String,
    /// Why.
    pub why: String,
}

type Emitted = Result<String, Unsupported>;

fn refuse(node: &Node, why: impl Into<String>) -> Unsupported {
    Unsupported { place: format!("node {}", node.name), why: why.into() }
}

const PREFACE: &str = "\
//! Generated from `gro-core/parser.json` by `cargo xtask codegen`: change that, not this.
//!
//! One function a header, in the order in which a frame has them. A function checks that its header is there and acceptable, writes
//! what the engine compares into the packet, and says which header follows. `w0`, `w1` and so on are a header's 32-bit words;
//! of some only the bytes that are used are read.

";

/// `gro-core/src/parse/generated.rs`, not yet formatted.
///
/// # Errors
/// [`Unsupported`] names what the engine has no place for.
pub(super) fn rust(graph: &Graph) -> Result<String, Unsupported> {
    let parser = match &graph.parsers[..] {
        [parser] => parser,
        others => {
            let why = format!("{} parsers; the engine is one", others.len());
            return Err(Unsupported { place: "parsers".to_owned(), why });
        }
    };
    if parser.max_encaps != 1 {
        let why = format!("max-encaps {}; the engine keeps one outer header", parser.max_encaps);
        return Err(Unsupported { place: format!("parser {}", parser.name), why });
    }
    let order = order(graph, parser)?;
    let mut text = PREFACE.to_owned();
    let mut body = masks::masks(graph, &order);
    body += &headers(graph, &order);
    let functions: Vec<node::Function> =
        order.iter().map(|&index| node::function(graph, parser, index)).collect::<Result<_, _>>()?;
    body += &driver(graph, parser, &order, &functions)?;
    body.extend(functions.iter().map(|function| function.text.as_str()));
    body += &tables(graph, &order);
    text += &imports(&body);
    Ok(text + &body)
}

/// Only what the rest uses.
fn imports(body: &str) -> String {
    let of = |path: &str, names: &[&str]| {
        let word = |name: &&&str| {
            body.match_indices(**name).any(|(at, _)| {
                let around =
                    |sign: Option<char>| sign.is_none_or(|sign| !sign.is_alphanumeric() && sign != '_');
                around(body[..at].chars().next_back()) && around(body[at + name.len()..].chars().next())
            })
        };
        let used: Vec<&str> = names.iter().filter(word).copied().collect();
        if used.is_empty() { String::new() } else { format!("use {path}::{{{}}};\n", used.join(", ")) }
    };
    let mut text = of("super", &["Cursor", "Packet", "Parsed", "TunnelKind", "fits", "sum"]);
    text += &of("crate::profile", &["Config", "Profile", "Release", "UdpMode", "VlanMode", "tunnel"]);
    text += &of("crate::reason", &["Bypass"]);
    text += &of("crate::rule", &["Rule"]);
    text += &of("crate::window", &["Window"]);
    text + "\n"
}

/// The nodes that the parser reaches, each behind those that lead to it. What follows a tunnel is another part and may stand
/// before it; tunnels come last.
fn order(graph: &Graph, parser: &Parser) -> Result<Vec<usize>, Unsupported> {
    let mut reached = BTreeSet::from([parser.root]);
    let mut open = vec![parser.root];
    while let Some(index) = open.pop() {
        for (_, next) in graph.edges(&graph.nodes[index]) {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    let follows = |from: usize, to: usize| {
        from != to
            && !graph.nodes[from].encap
            && graph.edges(&graph.nodes[from]).iter().any(|&(_, next)| next == to)
    };
    let mut order = Vec::new();
    while !reached.is_empty() {
        let ready = reached.iter().filter(|&&node| !reached.iter().any(|&other| follows(other, node)));
        let next = ready.min_by_key(|&&node| (graph.nodes[node].gro.layer == Some(Layer::Tunnel), node));
        let Some(&next) = next else {
            let names: Vec<&str> = reached.iter().map(|&node| graph.nodes[node].name.as_str()).collect();
            let why = format!("{} lead to each other without a header with encap", names.join(", "));
            return Err(Unsupported { place: format!("parser {}", parser.name), why });
        };
        reached.remove(&next);
        order.push(next);
    }
    Ok(order)
}

/// The constants by which one header names the next.
fn headers(graph: &Graph, order: &[usize]) -> String {
    let mut text = "/// The headers by number.\npub(super) struct Header;\n\nimpl Header {\n".to_owned();
    if let Some(&root) = order.first() {
        let _ = writeln!(
            text,
            "/// The one that a frame begins with.\npub(super) const FIRST: u32 = Self::{};",
            constant(&graph.nodes[root].name)
        );
    }
    for (number, &index) in order.iter().enumerate() {
        let _ = writeln!(text, "const {}: u32 = {number};", constant(&graph.nodes[index].name));
    }
    text + "}\n\n"
}

/// The function that takes one header after the other.
fn driver(graph: &Graph, parser: &Parser, order: &[usize], functions: &[node::Function]) -> Emitted {
    let mut text = "\
/// Parses headers from `next` on, up to the payload or up to where another part begins.
#[inline(always)]
pub(super) fn headers<P: Profile>(
    window: &Window<'_>, config: &Config, packet: &mut Packet, mut cursor: Cursor, mut next: u32,
) -> Result<Parsed, Bypass> {
    let cursor = &mut cursor;
"
    .to_owned();
    let mut tunnels = false;
    for (&index, written) in order.iter().zip(functions) {
        let node = &graph.nodes[index];
        let (name, header) = (function(&node.name), constant(&node.name));
        let is_tunnel = node.gro.layer == Some(Layer::Tunnel);
        if is_tunnel && !tunnels {
            tunnels = true;
            let reason = reason(parser.gro.max_encaps.as_deref().unwrap_or("nested"));
            let _ = writeln!(
                text,
                "// From here on a tunnel.\nif packet.is_encapsulated() {{ return Err(Bypass::{reason}); }}"
            );
        }
        let profile = if written.needs_profile { "::<P>" } else { "" };
        let call = format!("{name}{profile}(window, config, packet, cursor)");
        let repeats = graph.edges(node).iter().any(|&(_, next)| next == index);
        let ends = node.encap || node.next.is_none() && node.next_node.is_none();
        let _ = if repeats {
            let most = longest_run(graph, parser, node, order);
            let rule = identity_rule(node).ok_or_else(|| {
                refuse(node, "a header that repeats needs a rule \"identity\" under \"mutants\"")
            })?;
            writeln!(
                text,
                "if next == Header::{header} {{
                    let start = cursor.at;
                    for _ in 0..{most} {{
                        next = {call}?;
                        if next != Header::{header} {{ break; }}
                    }}
                    return Ok(packet.pause::<P>({rule}, start, cursor.at, next));
                }}"
            )
        } else if ends {
            writeln!(text, "if next == Header::{header} {{ return {call}; }}")
        } else {
            writeln!(text, "if next == Header::{header} {{ next = {call}?; }}")
        };
    }
    Ok(text + "// No header has another number.\nErr(Bypass::Protocol)\n}\n\n")
}

/// Most headers of one kind behind each other that fit the longest chain.
fn longest_run(graph: &Graph, parser: &Parser, node: &Node, order: &[usize]) -> u32 {
    let mut before = vec![u32::MAX; graph.nodes.len()];
    before[parser.root] = 0;
    for &index in order {
        let from = &graph.nodes[index];
        let length = if from.overlay { 0 } else { from.min_length };
        for (_, next) in graph.edges(from) {
            if before[index] != u32::MAX {
                before[next] = before[next].min(before[index] + length);
            }
        }
    }
    let start = graph.nodes.iter().position(|other| std::ptr::eq(other, node)).map_or(0, |at| before[at]);
    let room = parser.gro.max_header_length.min(crate::LENGTH_MAX as u32).saturating_sub(start);
    room / node.min_length.max(1) + 1
}

/// A function for each table: the header that follows, by key.
fn tables(graph: &Graph, order: &[usize]) -> String {
    let used: BTreeSet<usize> =
        order.iter().filter_map(|&index| graph.nodes[index].next.map(|next| next.table)).collect();
    let mut text = String::new();
    for index in used {
        let Some(table) = graph.tables.get(index) else { continue };
        let mut arms = String::new();
        for entry in &table.entries {
            let header = constant(&graph.nodes[entry.node].name);
            let key = key(graph, table, entry.key, order);
            let guard = guard(&entry.gro);
            let note = entry.name.as_ref().map_or_else(String::new, |name| format!("// {name}\n"));
            let _ = writeln!(arms, "{note}{key}{guard} => Header::{header},");
        }
        let config = if arms.contains("config") { "config" } else { "_config" };
        let name = table_function(graph, index);
        let profile = if needs_profile(table) { "<P: Profile>" } else { "" };
        let shortcut = shortcut(table);
        let _ = writeln!(
            text,
            "/// Table `{}`.\n#[inline(always)]\npub(super) fn {name}{profile}(key: u32, {config}: &Config) -> Option<u32> {{
                {shortcut} Some(match key {{ {arms} _ => return None, }})
            }}\n",
            table.name.as_deref().unwrap_or(&name)
        );
    }
    text
}

/// Where each entry needs a tunnel that is looked into, and none is: no key needs to be read.
fn shortcut(table: &Table) -> String {
    let bit = |entry: &Entry| {
        let switch = is_on(entry.gro.only_if.as_deref()?);
        switch.strip_prefix("config.tunnels & ")?.strip_suffix(" != 0")
    };
    let bits: Option<BTreeSet<&str>> = table.entries.iter().map(bit).collect();
    match bits {
        Some(bits) if !bits.is_empty() => {
            let all = Vec::from_iter(bits).join(" | ");
            format!("if config.tunnels & ({all}) == 0 {{ return None; }}")
        }
        _ => String::new(),
    }
}

/// Whether an entry depends on the profile, which a test harness may take a rule from.
fn needs_profile(table: &Table) -> bool {
    table.entries.iter().any(|entry| entry.gro.since.is_some() || entry.gro.without.is_some())
}

/// The call that looks a key up.
fn look_up(graph: &Graph, index: usize) -> String {
    let profile = if graph.tables.get(index).is_some_and(needs_profile) { "::<P>" } else { "" };
    format!("{}{profile}(key, config)", table_function(graph, index))
}

/// As the field is usually written: one byte in decimal, more in hexadecimal, ports in decimal.
fn key(graph: &Graph, table: &Table, key: u64, order: &[usize]) -> String {
    let named = |node: &Node| {
        node.next.and_then(|next| graph.tables.get(next.table)).is_some_and(|own| std::ptr::eq(own, table))
    };
    let users = order.iter().map(|&index| &graph.nodes[index]).filter(|node| named(node));
    let wide = users.filter_map(|node| node.next).any(|next| next.field.length > 1);
    let ports = table.name.as_deref().is_some_and(|name| name.contains("udp"));
    if wide && !ports { format!("{key:#06x}") } else { key.to_string() }
}

fn table_function(graph: &Graph, index: usize) -> String {
    match graph.tables.get(index).and_then(|table| table.name.as_deref()) {
        Some(name) => function(name),
        None => format!("table_{index}"),
    }
}

/// The condition under which an entry is there.
fn guard(gro: &EntryGro) -> String {
    let mut conditions = Vec::new();
    conditions.extend(gro.only_if.as_deref().map(|switch| is_on(switch).to_owned()));
    conditions.extend(
        gro.since
            .as_deref()
            .map(|profile| format!("P::RELEASE as u32 >= Release::{} as u32", release(profile))),
    );
    conditions.extend(gro.without.as_deref().map(|rule| format!("!P::on(Rule::{rule})")));
    if conditions.is_empty() { String::new() } else { format!(" if {}", conditions.join(" && ")) }
}

/// Whether a setting is on, of [`crate::SWITCHES`].
fn is_on(switch: &str) -> &'static str {
    match switch {
        "udp-forwarding" => "config.udp as u32 == UdpMode::Forwarding as u32",
        "vlan-in-band" => "config.vlan as u32 == VlanMode::InBand as u32",
        "ip-in-ip" => "config.tunnels & tunnel::IP_IN_IP != 0",
        "gre" => "config.tunnels & tunnel::GRE != 0",
        "vxlan" => "config.tunnels & tunnel::VXLAN != 0",
        _ => "config.tunnels & tunnel::GENEVE != 0",
    }
}

/// The engine's name of a profile, of [`crate::PROFILES`].
fn release(profile: &str) -> &'static str {
    match profile {
        "linux-6.12" => "Linux612",
        "linux-6.18" => "Linux618",
        _ => "Linux7",
    }
}

/// The rule by which a test takes a header out of a flow's identity.
fn identity_rule(node: &Node) -> Option<String> {
    node.gro.mutant("identity").map(|rule| format!("Rule::{rule}"))
}

/// `and P::on(...)` for a test with a name that a test harness may switch off.
fn unless_off(node: &Node, test: &str) -> String {
    node.gro.mutant(test).map_or_else(String::new, |rule| format!(" && P::on(Rule::{rule})"))
}

/// A reason as a variant of the engine's `Bypass`: `ip_options` is `IpOptions`.
fn reason(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

/// A name as a function's.
fn function(name: &str) -> String {
    let text: String =
        name.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '_' }).collect();
    let text = text.to_ascii_lowercase();
    // What Rust would read as something else.
    const TAKEN: [&str; 10] =
        ["fn", "match", "type", "self", "headers", "fits", "sum", "loop", "move", "mod"];
    if text.starts_with(|sign: char| sign.is_ascii_digit()) || TAKEN.contains(&text.as_str()) {
        format!("header_{text}")
    } else {
        text
    }
}

/// A name as a constant's.
fn constant(name: &str) -> String {
    function(name).to_ascii_uppercase()
}

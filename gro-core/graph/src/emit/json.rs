//! Normalised Parser IR: one spelling of everything, defaults left out. What it writes reads back to the same graph.

use crate::gro::{Bits, Covers, FieldRule, Layer, NodeGro, OptionalField, Tests, TunnelKind, Unequal};
use crate::model::{
    Action, Comparison, Condition, Field, FlagField, Graph, HeaderLength, Metadata, Next, Node, Parser,
    Table, Test, TlvEntry, Tlvs,
};

/// Columns that an object may take on one line.
const COLUMNS: usize = 110;

/// The graph as a document.
pub fn json(graph: &Graph) -> String {
    let named = |tables: &[Table]| -> Vec<Out> {
        let named = tables.iter().filter_map(|table| Some((table.name.as_ref()?, table)));
        named.map(|(name, table)| Out::of([("name", text(name)), ("ents", entries(graph, table))])).collect()
    };
    let flag_tables =
        graph.flag_tables.iter().filter_map(|table| Some((table.name.as_ref()?, &table.fields)));
    let flag_tables =
        flag_tables.map(|(name, fields)| Out::of([("name", text(name)), ("ents", flag_fields(fields))]));
    let tlv_tables = graph.tlv_tables.iter();
    let tlv_tables =
        tlv_tables.map(|table| Out::of([("name", text(&table.name)), ("ents", tlv_entries(&table.entries))]));
    let tlv_nodes = graph.tlv_nodes.iter();
    let tlv_nodes =
        tlv_nodes.map(|node| Out::of([("name", text(&node.name)), ("metadata", metadata(&node.metadata))]));
    let document = Out::of([
        ("parsers", Out::List(graph.parsers.iter().map(|item| parser(graph, item)).collect())),
        ("parse-nodes", Out::List(graph.nodes.iter().map(|item| node(graph, item)).collect())),
        ("proto-tables", Out::List(named(&graph.tables))),
        ("flag-fields-tables", Out::List(flag_tables.collect())),
        ("tlv-tables", Out::List(tlv_tables.collect())),
        ("tlv-nodes", Out::List(tlv_nodes.collect())),
    ]);
    let mut text = String::new();
    document.write(&mut text, 0);
    text.push('\n');
    text
}

fn parser(graph: &Graph, parser: &Parser) -> Out {
    let (gro, optional) = (&parser.gro, |name: &Option<String>| name.as_deref().map_or(Out::None, text));
    let limit = |value: u32| if value == u32::MAX { Out::None } else { number(value) };
    Out::of([
        ("name", text(&parser.name)),
        ("root-node", name_of(graph, Some(parser.root))),
        ("okay-target", optional(&parser.okay_target)),
        ("fail-target", optional(&parser.fail_target)),
        ("max-nodes", parser.max_nodes.map_or(Out::None, number)),
        ("max-encaps", number(parser.max_encaps)),
        (
            "gro",
            Out::of([
                ("profile", optional(&gro.profile)),
                ("max-frame-length", limit(gro.max_frame_length)),
                ("max-header-length", limit(gro.max_header_length)),
                ("bypass", Out::of([("max-encaps", optional(&gro.max_encaps))])),
            ]),
        ),
    ])
}

fn node(graph: &Graph, node: &Node) -> Out {
    let length = match node.length {
        None => Out::None,
        Some(HeaderLength::FlagFields) => Out::of([("flag-fields-length", Out::Bool(true))]),
        Some(HeaderLength::Computed { field, multiplier, add }) => {
            let multiplier = if multiplier == 1 { Out::None } else { number(multiplier) };
            let add = if add == 0 { Out::None } else { Out::Plain(add.to_string()) };
            field_and(field, [("multiplier", multiplier), ("add", add)])
        }
    };
    let flags = node.flag_fields.map_or(Out::None, |flags| {
        let (length, mask) = (flags.flags.length, mask(flags.flags));
        let table = graph.flag_tables.get(flags.table);
        let name = table.and_then(|table| table.name.as_deref()).map_or(Out::None, text);
        let inline =
            table.filter(|table| table.name.is_none()).map_or(Out::None, |table| flag_fields(&table.fields));
        let offset = number(flags.flags.offset);
        Out::of([
            ("flags-offset", offset),
            ("flags-length", number(length)),
            ("flags-mask", mask),
            ("table", name),
            ("ents", inline),
        ])
    });
    Out::of([
        ("name", text(&node.name)),
        ("min-hdr-length", number(node.min_length)),
        ("hdr-length", length),
        ("next-proto", node.next.map_or(Out::None, |next| self::next(graph, next))),
        ("next-node", name_of(graph, node.next_node)),
        ("encap", flag(node.encap)),
        ("overlay", flag(node.overlay)),
        ("cond-exprs", conditions(&node.conditions)),
        ("metadata", metadata(&node.metadata)),
        ("tlvs-parse-node", node.tlvs.as_ref().map_or(Out::None, tlvs)),
        ("flag-fields-parse-node", flags),
        ("gro", gro(&node.gro)),
    ])
}

fn next(graph: &Graph, next: Next) -> Out {
    let table = graph.tables.get(next.table);
    let name = table.and_then(|table| table.name.as_deref()).map_or(Out::None, text);
    let inline = table.filter(|table| table.name.is_none()).map_or(Out::None, |table| entries(graph, table));
    field_and(
        next.field,
        [("table", name), ("ents", inline), ("wildcard-node", name_of(graph, next.wildcard))],
    )
}

fn entries(graph: &Graph, table: &Table) -> Out {
    let entry = |entry: &crate::model::Entry| {
        let name = entry.name.as_deref().map_or(Out::None, text);
        let optional = |word: &Option<String>| word.as_deref().map_or(Out::None, text);
        let gro = Out::of([
            ("if", optional(&entry.gro.only_if)),
            ("since", optional(&entry.gro.since)),
            ("without", optional(&entry.gro.without)),
        ]);
        let node = name_of(graph, Some(entry.node));
        Out::of([("name", name), ("key", hex(entry.key)), ("node", node), ("gro", gro)])
    };
    even_empty(table.entries.iter().map(entry).collect())
}

fn flag_fields(fields: &[FlagField]) -> Out {
    let field = |field: &FlagField| {
        let mask = if field.mask == field.flag { Out::None } else { hex(field.mask) };
        let name = field.name.as_deref().map_or(Out::None, text);
        Out::of([
            ("name", name),
            ("flag", hex(field.flag)),
            ("mask", mask),
            ("field-len", number(field.size)),
        ])
    };
    even_empty(fields.iter().map(field).collect())
}

fn tlvs(tlvs: &Tlvs) -> Out {
    let optional = |value: Option<u64>| value.map_or(Out::None, |value| Out::Plain(value.to_string()));
    let inline = if tlvs.entries.is_empty() { Out::None } else { tlv_entries(&tlvs.entries) };
    Out::of([
        ("start-offset", number(tlvs.start)),
        ("tlv-type", field_and(tlvs.kind, [])),
        ("tlv-length", field_and(tlvs.length, [])),
        ("pad1", optional(tlvs.pad1)),
        ("eol", optional(tlvs.eol)),
        ("max-tlvs", tlvs.max.map_or(Out::None, number)),
        ("table", tlvs.table.as_deref().map_or(Out::None, text)),
        ("ents", inline),
    ])
}

fn tlv_entries(entries: &[TlvEntry]) -> Out {
    Out::List(
        entries.iter().map(|entry| Out::of([("key", hex(entry.key)), ("node", text(&entry.node))])).collect(),
    )
}

fn conditions(conditions: &[Condition]) -> Out {
    let Some(first) = conditions.first() else { return Out::None };
    let fail = match first.otherwise {
        Action::StopOkay => Out::None,
        Action::StopFail => text("stop_fail"),
    };
    let ents = conditions.iter().map(|condition| test(&condition.test, condition.name.as_deref())).collect();
    Out::of([("default-fail", fail), ("ents", Out::List(ents))])
}

fn test(test: &Test, name: Option<&str>) -> Out {
    let name = name.map_or(Out::None, text);
    let group = |kind, parts: &[Test]| {
        let parts = parts.iter().map(|part| self::test(part, None)).collect();
        Out::of([("name", name.clone()), ("type", text(kind)), ("ents", even_empty(parts))])
    };
    match test {
        Test::All(parts) => group("and", parts),
        Test::Any(parts) => group("or", parts),
        Test::Compare { comparison, field, value } => {
            let kind = word(&Comparison::ALL, *comparison);
            Out::joined([("name", name), ("type", text(kind))], field_and(*field, [("value", hex(*value))]))
        }
    }
}

fn metadata(metadata: &[Metadata]) -> Out {
    if metadata.is_empty() {
        return Out::None;
    }
    let optional = |value: Option<u32>| value.map_or(Out::None, number);
    let entry = |entry: &Metadata| {
        Out::of([
            ("type", text(&entry.kind)),
            ("md-off", number(entry.md_off)),
            ("hdr-src-off", optional(entry.hdr_src_off)),
            ("length", optional(entry.length)),
            ("mask", entry.mask.map_or(Out::None, hex)),
        ])
    };
    Out::of([("ents", Out::List(metadata.iter().map(entry).collect()))])
}

fn gro(gro: &NodeGro) -> Out {
    let optional = |word: &Option<String>| word.as_deref().map_or(Out::None, text);
    let refusals =
        Out::Object(gro.refusals.iter().map(|(name, reason)| (name.clone(), text(reason))).collect());
    let bypass = Out::of([
        ("unknown-next", optional(&gro.unknown_next)),
        ("short-header", optional(&gro.short_header)),
        ("cond-exprs", refusals),
    ]);
    let requires = gro
        .requires
        .as_ref()
        .map_or(Out::None, |need| Out::of([("switch", text(&need.switch)), ("bypass", text(&need.bypass))]));
    let checksum = gro.checksum.as_ref().map_or(Out::None, |sum| {
        field_and(
            sum.field,
            [
                ("covers", text(word(&Covers::ALL, sum.covers))),
                ("zero-is-none", flag(sum.zero_is_none)),
                ("when", sum.when.map_or(Out::None, |when| field_and(when, []))),
                ("bypass", text(&sum.bypass)),
            ],
        )
    });
    let length = gro.length.as_ref().map_or(Out::None, |length| {
        let unequal = match &length.unequal {
            Unequal::Flush => "flush",
            Unequal::Bypass(reason) => reason,
        };
        let add = if length.add == 0 { Out::None } else { number(length.add) };
        field_and(length.field, [("add", add), ("unequal", text(unequal))])
    });
    let field = |field: &crate::gro::GroField| {
        let mask = field.mask.map_or(Out::None, hex);
        let (offset, rule) = (number(field.offset), text(word(&FieldRule::ALL, field.rule)));
        Out::of([
            ("name", text(&field.name)),
            ("field-off", offset),
            ("field-len", number(field.length)),
            ("mask", mask),
            ("rule", rule),
            ("into", field.into.as_ref().map_or(Out::None, |(word, _)| text(word))),
            ("into-shift", field.into.as_ref().map_or(Out::None, |&(_, shift)| shifted(shift))),
        ])
    };
    let optional_field = |field: &OptionalField| {
        let rule = text(word(&FieldRule::ALL, field.rule));
        let more = field_and(field.field, [("when", field_and(field.when, [])), ("rule", rule)]);
        Out::joined([("name", text(&field.name))], more)
    };
    let optional_fields = Out::List(gro.optional.iter().map(optional_field).collect());
    let mutants = Out::Object(gro.mutants.iter().map(|(name, rule)| (name.clone(), text(rule))).collect());
    let fields = Out::List(gro.fields.iter().map(field).collect());
    Out::of([
        ("layer", gro.layer.map_or(Out::None, |layer| text(word(&Layer::ALL, layer)))),
        ("ethertype", gro.ethertype.map_or(Out::None, |ethertype| hex(ethertype.into()))),
        ("tunnel", gro.tunnel.map_or(Out::None, |kind| text(word(&TunnelKind::ALL, kind)))),
        ("requires", requires),
        ("next-proto-first", flag(gro.next_proto_first)),
        ("bypass", bypass),
        ("checksum", checksum),
        ("length", length),
        ("flush", bits(&gro.flush)),
        ("never-joins", tests(&gro.never_joins)),
        ("never-held", tests(&gro.never_held)),
        ("closes", tests(&gro.closes)),
        ("fields", fields),
        ("optional-fields", optional_fields),
        ("rest", gro.rest.map_or(Out::None, |rule| text(word(&FieldRule::ALL, rule)))),
        ("mutants", mutants),
    ])
}

fn tests(tests: &Tests) -> Out {
    Out::of([
        ("bits", bits(&tests.bits)),
        ("empty", flag(tests.empty)),
        ("longer", flag(tests.longer)),
        ("shorter", flag(tests.shorter)),
        ("segments", tests.segments.map_or(Out::None, number)),
    ])
}

fn bits(bits: &[Bits]) -> Out {
    Out::List(
        bits.iter()
            .map(|bits| Out::joined([("name", text(&bits.name))], field_and(bits.field, [])))
            .collect(),
    )
}

fn field_and<const N: usize>(field: Field, more: [(&str, Out); N]) -> Out {
    let shift = if field.shift == 0 { Out::None } else { number(field.shift) };
    let own = [
        ("field-off", number(field.offset)),
        ("field-len", number(field.length)),
        ("mask", mask(field)),
        ("right-shift", shift),
    ];
    Out::joined(own, Out::of(more))
}

/// A list that must be there.
fn even_empty(items: Vec<Out>) -> Out {
    if items.is_empty() { Out::Plain("[]".to_owned()) } else { Out::List(items) }
}

fn mask(field: Field) -> Out {
    if field.mask == Field::full_mask(field.length) { Out::None } else { hex(field.mask) }
}

fn name_of(graph: &Graph, index: Option<usize>) -> Out {
    index.and_then(|index| graph.nodes.get(index)).map_or(Out::None, |node| text(&node.name))
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, other)| *other == value).map_or("", |(word, _)| word)
}

fn text(value: &str) -> Out {
    Out::Plain(serde_json::Value::from(value).to_string())
}

fn number(value: u32) -> Out {
    Out::Plain(value.to_string())
}

fn hex(value: u64) -> Out {
    Out::Plain(format!("\"{value:#x}\""))
}

fn shifted(bits: u32) -> Out {
    if bits == 0 { Out::None } else { number(bits) }
}

fn flag(value: bool) -> Out {
    if value { Out::Bool(true) } else { Out::None }
}

/// JSON with its keys in our order, and without what is not there.
#[derive(Clone)]
enum Out {
    None,
    Bool(bool),
    Plain(String),
    List(Vec<Out>),
    Object(Vec<(String, Out)>),
}

impl Out {
    fn of<const N: usize>(pairs: [(&str, Out); N]) -> Self {
        let there = pairs.into_iter().filter(|(_, value)| !value.is_none());
        Self::Object(there.map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn joined<const N: usize>(pairs: [(&str, Out); N], rest: Self) -> Self {
        match (Self::of(pairs), rest) {
            (Self::Object(mut first), Self::Object(more)) => {
                first.extend(more);
                Self::Object(first)
            }
            (first, _) => first,
        }
    }

    fn is_none(&self) -> bool {
        match self {
            Self::None => true,
            Self::List(items) => items.is_empty(),
            Self::Object(pairs) => pairs.is_empty(),
            _ => false,
        }
    }

    fn line(&self) -> String {
        match self {
            Self::None => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Plain(text) => text.clone(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::line).collect::<Vec<_>>().join(", ")),
            Self::Object(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(key, value)| format!("\"{key}\": {}", value.line())).collect();
                format!("{{ {} }}", pairs.join(", "))
            }
        }
    }

    /// On one line where that is short and holds no list of objects.
    fn write(&self, text: &mut String, depth: usize) {
        let line = self.line();
        if 2 * depth + line.len() <= COLUMNS && self.is_flat() {
            return text.push_str(&line);
        }
        let indent = "  ".repeat(depth);
        let (open, close, items): (_, _, Vec<(String, &Self)>) = match self {
            Self::List(items) => ('[', ']', items.iter().map(|item| (String::new(), item)).collect()),
            Self::Object(pairs) => {
                ('{', '}', pairs.iter().map(|(key, value)| (format!("\"{key}\": "), value)).collect())
            }
            _ => return text.push_str(&line),
        };
        text.push(open);
        for (number, (key, item)) in items.iter().enumerate() {
            text.push_str(if number == 0 { "\n" } else { ",\n" });
            text.push_str(&format!("{indent}  {key}"));
            item.write(text, depth + 1);
        }
        text.push_str(&format!("\n{indent}{close}"));
    }

    fn is_flat(&self) -> bool {
        let plain = |value: &Self| !matches!(value, Self::List(_) | Self::Object(_));
        match self {
            Self::List(items) => items.len() <= 1 && items.iter().all(Self::is_flat),
            Self::Object(pairs) => pairs.iter().all(|(_, value)| plain(value) || value.is_flat()),
            _ => true,
        }
    }
}

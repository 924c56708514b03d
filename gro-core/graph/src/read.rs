//! From text to a graph: names become indices, the spellings of the family become one.

mod fields;
mod gro;
mod node;
mod object;

use crate::error::{Fault, GraphError};
use crate::model::{Entry, FlagField, FlagTable, Graph, Parser, Table, TlvEntry, TlvNode, TlvTable};
use crate::{DOCUMENT_MAX, ENTRIES_MAX, check, json};
use fields::metadata;
pub(crate) use object::wrong;
use object::{Context, Object, place};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// Headers with `encap` at most, where a document does not say.
const MAX_ENCAPS: u32 = 4;
/// Most parsers of a document.
const PARSERS_MAX: usize = 64;

impl Graph {
    /// Reads a document. `file` names it in messages. Beside the graph it gives notes: keys that it does not know or that are
    /// for other tools, and did not use.
    ///
    /// # Errors
    /// [`GraphError`] names file, place and reason of the first thing that is wrong.
    pub fn read(file: &str, text: &str) -> Result<(Self, Vec<String>), GraphError> {
        let fault = |place: String, fault| GraphError { file: file.to_owned(), place, fault };
        let mut context = Context::default();
        let graph = document(text, &mut context).map_err(|wrong| fault(wrong.place, wrong.fault))?;
        check::check(&graph).map_err(|wrong| fault(wrong.place, wrong.fault))?;
        Ok((graph, context.notes))
    }
}

/// What is wrong, and where in the document.
pub(crate) struct Wrong {
    pub(crate) place: String,
    pub(crate) fault: Fault,
}

pub(crate) type Result1<T> = Result<T, Wrong>;

/// Names of nodes and tables, with their index.
pub(crate) type Names = HashMap<String, usize>;

fn document(text: &str, context: &mut Context) -> Result1<Graph> {
    if text.len() > DOCUMENT_MAX {
        return Err(wrong("document", Fault::Many { what: "bytes", count: text.len(), most: DOCUMENT_MAX }));
    }
    let value = json::parse(text).map_err(|error| wrong("document", Fault::Json(error.to_string())))?;
    let mut top = Object::new("document", &value)?;
    let parsers = top.list("parsers")?;
    let nodes = top.list("parse-nodes")?;
    let tables = top.list("proto-tables")?;
    let flag_tables = top.list("flag-fields-tables")?;
    let tlv_tables = top.list("tlv-tables")?;
    let tlv_nodes = top.either_list("tlv-nodes", "tlvs")?;
    top.end(context);
    if parsers.is_empty() {
        return Err(wrong("document", Fault::Missing("parsers")));
    }
    if parsers.len() > PARSERS_MAX {
        return Err(wrong(
            "document",
            Fault::Many { what: "parsers", count: parsers.len(), most: PARSERS_MAX },
        ));
    }

    context.nodes = names("node", "parse-nodes", nodes)?;
    context.tables = names("table", "proto-tables", tables)?;
    context.flag_tables = names("table", "flag-fields-tables", flag_tables)?;
    names("parser", "parsers", parsers)?;
    for name in names("table", "tlv-tables", tlv_tables)?.into_keys() {
        if context.tables.contains_key(&name) {
            return Err(wrong("tlv-tables", Fault::Duplicate { kind: "table", name }));
        }
        context.tlv_tables.insert(name);
    }
    context.tlv_nodes = names("node", "tlv-nodes", tlv_nodes)?.into_keys().collect();

    let mut graph = Graph::default();
    for value in tables {
        let mut object = Object::new(&place("table", value), value)?;
        let (name, entries) = (object.name()?, object.entries()?.unwrap_or(&[]));
        object.unused(context, "default");
        let entries = self::entries(&object.place, entries, context)?;
        object.end(context);
        graph.tables.push(Table { name: Some(name), entries });
    }
    for value in flag_tables {
        let mut object = Object::new(&place("table", value), value)?;
        let (name, entries) = (object.name()?, object.entries()?.unwrap_or(&[]));
        let fields = flag_fields(&object.place, entries, context)?;
        object.end(context);
        graph.flag_tables.push(FlagTable { name: Some(name), fields });
    }
    for value in tlv_tables {
        let mut object = Object::new(&place("table", value), value)?;
        let (name, entries) = (object.name()?, object.entries()?.unwrap_or(&[]));
        let entries = tlv_entries(&object.place, entries, context)?;
        object.end(context);
        graph.tlv_tables.push(TlvTable { name, entries });
    }
    for value in tlv_nodes {
        let mut object = Object::new(&place("node", value), value)?;
        let (name, metadata) = (object.name()?, metadata(&mut object, context)?);
        object.end(context);
        graph.tlv_nodes.push(TlvNode { name, metadata });
    }
    for value in nodes {
        let node = node::read(value, context, &mut graph)?;
        graph.nodes.push(node);
    }
    for value in parsers {
        graph.parsers.push(parser(value, context)?);
    }
    Ok(graph)
}

/// Every thing of a list by name, each name once.
fn names(kind: &'static str, list: &str, values: &[Value]) -> Result1<Names> {
    if values.len() > ENTRIES_MAX {
        return Err(wrong(list, Fault::Many { what: "entries", count: values.len(), most: ENTRIES_MAX }));
    }
    let mut names = Names::new();
    for (index, value) in values.iter().enumerate() {
        let name = Object::new(&format!("{list}[{index}]"), value)?.name()?;
        if names.insert(name.clone(), index).is_some() {
            return Err(wrong(list, Fault::Duplicate { kind, name: format!("\"{name}\"") }));
        }
    }
    Ok(names)
}

fn parser(value: &Value, context: &mut Context) -> Result1<Parser> {
    let mut object = Object::new(&place("parser", value), value)?;
    let name = object.name()?;
    let root = object.text("root-node")?.ok_or_else(|| object.wrong(Fault::Missing("root-node")))?;
    let root = context.node(&object.place, root)?;
    let mut target = |key| Ok(object.text(key)?.map(str::to_owned));
    let (okay_target, fail_target) = (target("okay-target")?, target("fail-target")?);
    let max_nodes = object.small("max-nodes")?;
    let max_encaps = object.small("max-encaps")?.unwrap_or(MAX_ENCAPS);
    let gro = gro::parser(&mut object, context)?;
    for other in ["encap-target", "max-frames", "frame-size", "metameta-size", "num-counters", "num-keys"] {
        object.unused(context, other);
    }
    object.end(context);
    Ok(Parser { name, root, okay_target, fail_target, max_nodes, max_encaps, gro })
}

/// The entries of a next-protocol table.
fn entries(place: &str, values: &[Value], context: &mut Context) -> Result1<Vec<Entry>> {
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for value in bounded(place, values)? {
        let mut object = Object::new(place, value)?;
        let name = object.text("name")?.map(str::to_owned);
        let key = object.needed("key")?;
        let node = object.text("node")?.ok_or_else(|| object.wrong(Fault::Missing("node")))?;
        let node = context.node(place, node)?;
        let gro = gro::entry(&mut object, context)?;
        object.unused(context, "encap");
        object.end(context);
        if !seen.insert(key) {
            return Err(wrong(place, Fault::Duplicate { kind: "key", name: format!("{key:#x}") }));
        }
        entries.push(Entry { name, key, node, gro });
    }
    Ok(entries)
}

fn flag_fields(place: &str, values: &[Value], context: &mut Context) -> Result1<Vec<FlagField>> {
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for value in bounded(place, values)? {
        let mut object = Object::new(place, value)?;
        let name = object.text("name")?.map(str::to_owned);
        let flag = object.needed("flag")?;
        let mask = object.number("mask")?.unwrap_or(flag);
        let size = object.either("field-len", "size")?.ok_or_else(|| object.wrong(Fault::Missing("size")))?;
        let size = object.limited("size", size)?;
        object.unused(context, "node");
        object.end(context);
        if !seen.insert((flag, mask)) {
            return Err(wrong(place, Fault::Duplicate { kind: "flag", name: format!("{flag:#x}") }));
        }
        fields.push(FlagField { name, flag, mask, size });
    }
    Ok(fields)
}

fn tlv_entries(place: &str, values: &[Value], context: &mut Context) -> Result1<Vec<TlvEntry>> {
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for value in bounded(place, values)? {
        let mut object = Object::new(place, value)?;
        let key = object.needed("key")?;
        let name = object.text("name")?;
        let node = object.text("node")?.or(name).ok_or_else(|| object.wrong(Fault::Missing("node")))?;
        object.end(context);
        if !context.tlv_nodes.contains(node) {
            context.node(place, node)?;
        }
        if !seen.insert(key) {
            return Err(wrong(place, Fault::Duplicate { kind: "key", name: format!("{key:#x}") }));
        }
        entries.push(TlvEntry { key, node: node.to_owned() });
    }
    Ok(entries)
}

fn bounded<'a>(place: &str, values: &'a [Value]) -> Result1<&'a [Value]> {
    if values.len() > ENTRIES_MAX {
        return Err(wrong(place, Fault::Many { what: "entries", count: values.len(), most: ENTRIES_MAX }));
    }
    Ok(values)
}

//! Numbers in headers, and what is made of them.

use super::object::{Context, Object, wrong};
use super::{Result1, entries, tlv_entries};
use crate::error::Fault;
use crate::model::{
    Action, Comparison, Condition, Field, FlagFields, FlagTable, Graph, HeaderLength, Metadata, Next, Table,
    Test, Tlvs,
};
use serde_json::Value;

const ACTIONS: [(&str, Action); 2] = [("stop_okay", Action::StopOkay), ("stop_fail", Action::StopFail)];

/// `field-off`, `field-len`, `mask`, `right-shift` or `shift`. Fields are big-endian, so `endian-swap` says nothing here.
pub(super) fn field(object: &mut Object<'_>, context: &mut Context) -> Result1<Field> {
    let offset = object.needed("field-off")?;
    let offset = object.limited("field-off", offset)?;
    let length = object.needed("field-len")?;
    let mask = object.number("mask")?;
    let shift = object.either("right-shift", "shift")?.unwrap_or(0);
    object.unused(context, "endian-swap");
    numbered(object, "field", offset, length, mask, shift)
}

fn numbered(
    object: &Object<'_>,
    key: &str,
    offset: u32,
    length: u64,
    mask: Option<u64>,
    shift: u64,
) -> Result1<Field> {
    let fault = |fault| Err(object.wrong(fault));
    if !(1..=8).contains(&length) {
        return fault(Fault::Width { key: key.to_owned(), length });
    }
    let full = Field::full_mask(length as u32);
    let mask = mask.unwrap_or(full);
    if mask == 0 || mask & !full != 0 {
        return fault(Fault::Mask { key: key.to_owned(), mask, length });
    }
    if shift >= 8 * length {
        return fault(Fault::Large { key: "right-shift".to_owned(), value: shift, most: 8 * length - 1 });
    }
    Ok(Field { offset, length: length as u32, mask, shift: shift as u32 })
}

pub(super) fn header_length(object: &mut Object<'_>, context: &mut Context) -> Result1<Option<HeaderLength>> {
    let Some(mut length) = object.object("hdr-length")? else { return Ok(None) };
    let read = if length.flag("flag-fields-length")? {
        HeaderLength::FlagFields
    } else {
        let field = field(&mut length, context)?;
        let multiplier = length.small("multiplier")?.unwrap_or(1);
        HeaderLength::Computed { field, multiplier, add: length.signed("add")?.unwrap_or(0) }
    };
    length.end(context);
    Ok(Some(read))
}

pub(super) fn next(
    object: &mut Object<'_>,
    context: &mut Context,
    graph: &mut Graph,
) -> Result1<Option<Next>> {
    // Some write the table's name beside `next-proto`.
    let beside = object.text("table")?;
    let wildcard_beside = object.text("wildcard-proto-node")?;
    let Some(mut next) = object.object("next-proto")? else {
        return match beside {
            Some(_) => Err(object.wrong(Fault::Missing("next-proto"))),
            None => Ok(None),
        };
    };
    let field = field(&mut next, context)?;
    let inline = next.entries()?;
    let named = next.text("table")?.or(beside);
    let table = match (inline, named) {
        (Some(_), Some(_)) => return Err(next.wrong(Fault::Both("ents", "table"))),
        (None, None) => return Err(next.wrong(Fault::Missing("ents"))),
        (None, Some(name)) => context.table(&next.place, name)?,
        (Some(values), None) => {
            let entries = entries(&next.place, values, context)?;
            graph.tables.push(Table { name: None, entries });
            graph.tables.len() - 1
        }
    };
    let wildcard = next.text("wildcard-node")?.or(wildcard_beside);
    let wildcard = wildcard.map(|name| context.node(&next.place, name)).transpose()?;
    next.unused(context, "default");
    next.end(context);
    Ok(Some(Next { field, table, wildcard }))
}

pub(super) fn conditions(object: &mut Object<'_>, context: &mut Context) -> Result1<Vec<Condition>> {
    let Some(mut list) = object.object("cond-exprs")? else { return Ok(Vec::new()) };
    let otherwise = list.word("default-fail", &ACTIONS)?.unwrap_or_default();
    if list.has("list") {
        return Err(list.wrong(Fault::Unsupported("a named list of conditions (\"list\")")));
    }
    let mut conditions = Vec::new();
    for value in list.entries()?.unwrap_or(&[]) {
        let name = match value.get("name") {
            Some(_) => Some(Object::new(&list.place, value)?.name()?),
            None => None,
        };
        conditions.push(Condition { name, test: test(&list.place, value, context)?, otherwise });
    }
    list.end(context);
    Ok(conditions)
}

fn test(place: &str, value: &Value, context: &mut Context) -> Result1<Test> {
    let mut object = Object::new(place, value)?;
    object.text("name")?;
    let kind = object.needed_text("type")?;
    let read = if matches!(kind, "and" | "or") {
        let parts = object.entries()?.ok_or_else(|| object.wrong(Fault::Missing("ents")))?;
        let parts = parts.iter().map(|part| test(place, part, context)).collect::<Result1<Vec<_>>>()?;
        if kind == "and" { Test::All(parts) } else { Test::Any(parts) }
    } else {
        let comparison = object.one_of(kind, &Comparison::ALL)?;
        let field = field(&mut object, context)?;
        let value = object.needed("value")?;
        let possible =
            value <= field.most() || !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if !possible {
            return Err(wrong(place, Fault::Unreachable { key: "value", value, most: field.most() }));
        }
        Test::Compare { comparison, field, value }
    };
    object.end(context);
    Ok(read)
}

pub(super) fn metadata(object: &mut Object<'_>, context: &mut Context) -> Result1<Vec<Metadata>> {
    // A name of a function, or of a list elsewhere: nothing to keep.
    if object.text("metadata").is_ok() {
        object.unused(context, "metadata");
        return Ok(Vec::new());
    }
    let Some(mut list) = object.object("metadata")? else { return Ok(Vec::new()) };
    list.unused(context, "list");
    let mut metadata = Vec::new();
    for value in list.entries()?.unwrap_or(&[]) {
        let mut entry = Object::new(&list.place, value)?;
        entry.text("name")?;
        let hdr_src_off = entry.small("hdr-src-off")?;
        let inferred = if hdr_src_off.is_some() { "extract" } else { "constant" };
        let kind = entry.text("type")?.unwrap_or(inferred).to_owned();
        let md_off = entry.small("md-off")?.ok_or_else(|| entry.wrong(Fault::Missing("md-off")))?;
        let (length, mask) = (entry.small("length")?, entry.number("mask")?);
        for other in ["endian-swap", "is-frame", "value", "index", "right-shift", "struct-off", "nibb-length"]
        {
            entry.unused(context, other);
        }
        entry.end(context);
        metadata.push(Metadata { kind, md_off, hdr_src_off, length, mask });
    }
    list.end(context);
    Ok(metadata)
}

pub(super) fn tlvs(object: &mut Object<'_>, context: &mut Context, min_length: u32) -> Result1<Option<Tlvs>> {
    let key = if object.has("tlv-parse-node") { "tlv-parse-node" } else { "tlvs-parse-node" };
    let Some(mut tlvs) = object.object(key)? else { return Ok(None) };
    let part = |tlvs: &mut Object<'_>, context: &mut Context, key| {
        let mut part = tlvs.object(key)?.ok_or_else(|| tlvs.wrong(Fault::Missing(key)))?;
        for factor in ["multiplier", "add"] {
            if part.has(factor) {
                return Err(part.wrong(Fault::Unsupported("an option length that is not in bytes")));
            }
        }
        let field = field(&mut part, context)?;
        part.end(context);
        Ok(field)
    };
    let (kind, length) = (part(&mut tlvs, context, "tlv-type")?, part(&mut tlvs, context, "tlv-length")?);
    let start = tlvs.small("start-offset").map_err(|_| {
        tlvs.wrong(Fault::Unsupported("a \"start-offset\" of options that is read from the header"))
    })?;
    if tlvs.has("tlv-start-offset") {
        return Err(tlvs.wrong(Fault::Unsupported("\"tlv-start-offset\"")));
    }
    let (pad1, eol, max) = (tlvs.number("pad1")?, tlvs.number("eol")?, tlvs.small("max-tlvs")?);
    let inline = tlvs.entries()?;
    let table = tlvs.text("table")?.map(str::to_owned);
    if inline.is_some() && table.is_some() {
        return Err(tlvs.wrong(Fault::Both("ents", "table")));
    }
    if let Some(name) = table.as_ref().filter(|name| !context.tlv_tables.contains(*name)) {
        context.table(&tlvs.place, name)?;
    }
    let entries = tlv_entries(&tlvs.place, inline.unwrap_or(&[]), context)?;
    for other in ["padn", "default", "wildcard-node", "max-non-padding", "max-padding-length", "min-tlv-len"]
    {
        tlvs.unused(context, other);
    }
    tlvs.end(context);
    Ok(Some(Tlvs { start: start.unwrap_or(min_length), kind, length, pad1, eol, max, table, entries }))
}

pub(super) fn flag_fields(
    object: &mut Object<'_>,
    context: &mut Context,
    graph: &mut Graph,
) -> Result1<Option<FlagFields>> {
    let Some(mut flags) = object.object("flag-fields-parse-node")? else { return Ok(None) };
    let offset = flags.needed("flags-offset")?;
    let offset = flags.limited("flags-offset", offset)?;
    let (length, mask) = (flags.needed("flags-length")?, flags.number("flags-mask")?);
    let field = numbered(&flags, "flags", offset, length, mask, 0)?;
    let inline = flags.entries()?;
    let table = match (inline, flags.text("table")?) {
        (Some(_), Some(_)) => return Err(flags.wrong(Fault::Both("ents", "table"))),
        (None, None) => return Err(flags.wrong(Fault::Missing("table"))),
        (None, Some(name)) => context.flag_table(&flags.place, name)?,
        (Some(values), None) => {
            let fields = super::flag_fields(&flags.place, values, context)?;
            graph.flag_tables.push(FlagTable { name: None, fields });
            graph.flag_tables.len() - 1
        }
    };
    for other in ["flags-reverse-order", "endian-swap", "hdr-length"] {
        flags.unused(context, other);
    }
    flags.end(context);
    Ok(Some(FlagFields { flags: field, table }))
}

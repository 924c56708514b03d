//! What stands under the key `gro`. It is ours, so an unknown word in it is refused; an unknown key is a note as everywhere.

use super::Result1;
use super::fields::field;
use super::object::{Context, Object};
use crate::error::Fault;
use crate::gro::{
    Bits, Checksum, Covers, EntryGro, FieldRule, GroField, Layer, NodeGro, OptionalField, ParserGro,
    PresentLength, Requires, Tests, TunnelKind, Unequal,
};
use crate::model::Field;
use crate::{PROFILES, REASONS, SWITCHES, WORDS};

const FLUSH: &str = "flush";

pub(super) fn parser(object: &mut Object<'_>, context: &mut Context) -> Result1<ParserGro> {
    let mut gro = ParserGro::default();
    let Some(mut ours) = object.object("gro")? else { return Ok(gro) };
    gro.profile = ours.text("profile")?.map(str::to_owned);
    gro.max_frame_length = ours.small("max-frame-length")?.unwrap_or(gro.max_frame_length);
    gro.max_header_length = ours.small("max-header-length")?.unwrap_or(gro.max_header_length);
    if let Some(mut bypass) = ours.object("bypass")? {
        gro.max_encaps = reason(&mut bypass, "max-encaps")?;
        bypass.end(context);
    }
    ours.end(context);
    Ok(gro)
}

pub(super) fn entry(object: &mut Object<'_>, context: &mut Context) -> Result1<EntryGro> {
    let Some(mut ours) = object.object("gro")? else { return Ok(EntryGro::default()) };
    let gro = EntryGro {
        only_if: listed(&mut ours, "if", &SWITCHES)?,
        since: listed(&mut ours, "since", &PROFILES)?,
        without: ours.text("without")?.map(|rule| identifier(&ours, rule)).transpose()?,
    };
    ours.end(context);
    Ok(gro)
}

/// One of some words.
fn listed(object: &mut Object<'_>, key: &'static str, known: &[&str]) -> Result1<Option<String>> {
    let Some(word) = object.text(key)? else { return Ok(None) };
    if known.contains(&word) {
        return Ok(Some(word.to_owned()));
    }
    Err(object.wrong(Fault::Word { word: word.to_owned(), known: known.join(", ") }))
}

/// The name of a rule of the engine: it becomes a name in Rust.
fn identifier(object: &Object<'_>, rule: &str) -> Result1<String> {
    let plain = rule.chars().all(|sign| sign.is_ascii_alphanumeric());
    if plain && rule.starts_with(|sign: char| sign.is_ascii_uppercase()) {
        return Ok(rule.to_owned());
    }
    Err(object
        .wrong(Fault::Word { word: rule.to_owned(), known: "the rules in gro-core/src/rule.rs".into() }))
}

pub(super) fn node(object: &mut Object<'_>, context: &mut Context) -> Result1<NodeGro> {
    let Some(mut ours) = object.object("gro")? else { return Ok(NodeGro::default()) };
    let mut gro = NodeGro {
        layer: ours.word("layer", &Layer::ALL)?,
        requires: requires(&mut ours, context)?,
        next_proto_first: ours.flag("next-proto-first")?,
        rest: ours.word("rest", &FieldRule::ALL)?,
        length: length(&mut ours, context)?,
        flush: bits(&mut ours, FLUSH, context)?,
        checksum: checksum(&mut ours, context)?,
        ethertype: ours.small("ethertype")?,
        tunnel: ours.word("tunnel", &TunnelKind::ALL)?,
        mutants: mutants(&mut ours)?,
        fields: fields(&mut ours, context)?,
        optional: optional(&mut ours, context)?,
        never_joins: tests(&mut ours, "never-joins", context)?,
        never_held: tests(&mut ours, "never-held", context)?,
        closes: tests(&mut ours, "closes", context)?,
        ..NodeGro::default()
    };
    if let Some(mut bypass) = ours.object("bypass")? {
        gro.unknown_next = reason(&mut bypass, "unknown-next")?;
        gro.short_header = reason(&mut bypass, "short-header")?;
        if let Some(list) = bypass.object("cond-exprs")? {
            for (name, value) in list.pairs() {
                let text = value
                    .as_str()
                    .ok_or_else(|| list.wrong(Fault::Kind { key: name.clone(), expected: "a string" }))?;
                gro.refusals.push((name.clone(), known(&list, text)?));
            }
        }
        bypass.end(context);
    }
    ours.end(context);
    Ok(gro)
}

fn reason(object: &mut Object<'_>, key: &'static str) -> Result1<Option<String>> {
    let Some(text) = object.text(key)? else { return Ok(None) };
    known(object, text).map(Some)
}

fn needed_reason(object: &mut Object<'_>, key: &'static str) -> Result1<String> {
    reason(object, key)?.ok_or_else(|| object.wrong(Fault::Missing(key)))
}

fn known(object: &Object<'_>, word: &str) -> Result1<String> {
    if REASONS.contains(&word) {
        return Ok(word.to_owned());
    }
    Err(object.wrong(Fault::Word { word: word.to_owned(), known: REASONS.join(", ") }))
}

fn requires(ours: &mut Object<'_>, context: &mut Context) -> Result1<Option<Requires>> {
    let Some(mut requires) = ours.object("requires")? else { return Ok(None) };
    let switch = listed(&mut requires, "switch", &SWITCHES)?;
    let switch = switch.ok_or_else(|| requires.wrong(Fault::Missing("switch")))?;
    let bypass = needed_reason(&mut requires, "bypass")?;
    requires.end(context);
    Ok(Some(Requires { switch, bypass }))
}

fn length(ours: &mut Object<'_>, context: &mut Context) -> Result1<Option<PresentLength>> {
    let Some(mut length) = ours.object("length")? else { return Ok(None) };
    let field = field(&mut length, context)?;
    let add = length.small("add")?.unwrap_or(0);
    let unequal = match length.needed_text("unequal")? {
        FLUSH => Unequal::Flush,
        word => Unequal::Bypass(known(&length, word)?),
    };
    length.end(context);
    Ok(Some(PresentLength { field, add, unequal }))
}

fn checksum(ours: &mut Object<'_>, context: &mut Context) -> Result1<Option<Checksum>> {
    let Some(mut checksum) = ours.object("checksum")? else { return Ok(None) };
    let field = field(&mut checksum, context)?;
    let covers = checksum.word("covers", &Covers::ALL)?;
    let covers = covers.ok_or_else(|| checksum.wrong(Fault::Missing("covers")))?;
    let zero_is_none = checksum.flag("zero-is-none")?;
    let when = when(&mut checksum, context)?;
    let bypass = needed_reason(&mut checksum, "bypass")?;
    checksum.end(context);
    Ok(Some(Checksum { field, covers, zero_is_none, when, bypass }))
}

fn when(object: &mut Object<'_>, context: &mut Context) -> Result1<Option<Field>> {
    let Some(mut when) = object.object("when")? else { return Ok(None) };
    let field = field(&mut when, context)?;
    when.end(context);
    Ok(Some(field))
}

fn mutants(ours: &mut Object<'_>) -> Result1<Vec<(String, String)>> {
    let Some(list) = ours.object("mutants")? else { return Ok(Vec::new()) };
    let mut mutants = Vec::new();
    for (name, value) in list.pairs() {
        let expected = Fault::Kind { key: name.clone(), expected: "a string" };
        let rule = value.as_str().ok_or_else(|| list.wrong(expected))?;
        mutants.push((name.clone(), identifier(&list, rule)?));
    }
    Ok(mutants)
}

fn optional(ours: &mut Object<'_>, context: &mut Context) -> Result1<Vec<OptionalField>> {
    let place = format!("{}: optional-fields", ours.place);
    let mut fields = Vec::new();
    for value in ours.list("optional-fields")? {
        let mut object = Object::new(&place, value)?;
        let (name, field) = (object.name()?, field(&mut object, context)?);
        let when = when(&mut object, context)?.ok_or_else(|| object.wrong(Fault::Missing("when")))?;
        let rule = object.word("rule", &FieldRule::ALL)?;
        let rule = rule.ok_or_else(|| object.wrong(Fault::Missing("rule")))?;
        object.text("note")?;
        object.end(context);
        fields.push(OptionalField { name, when, field, rule });
    }
    Ok(fields)
}

fn bits(ours: &mut Object<'_>, key: &'static str, context: &mut Context) -> Result1<Vec<Bits>> {
    let place = format!("{}: {key}", ours.place);
    let mut bits = Vec::new();
    for value in ours.list(key)? {
        let mut object = Object::new(&place, value)?;
        let (name, field) = (object.name()?, field(&mut object, context)?);
        object.end(context);
        bits.push(Bits { name, field });
    }
    Ok(bits)
}

fn tests(ours: &mut Object<'_>, key: &'static str, context: &mut Context) -> Result1<Tests> {
    let Some(mut object) = ours.object(key)? else { return Ok(Tests::default()) };
    let tests = Tests {
        bits: bits(&mut object, "bits", context)?,
        empty: object.flag("empty")?,
        longer: object.flag("longer")?,
        shorter: object.flag("shorter")?,
        segments: object.small("segments")?,
    };
    object.end(context);
    Ok(tests)
}

fn fields(ours: &mut Object<'_>, context: &mut Context) -> Result1<Vec<GroField>> {
    let place = format!("{}: fields", ours.place);
    let mut fields = Vec::new();
    for value in ours.list("fields")? {
        let mut object = Object::new(&place, value)?;
        let name = object.name()?;
        let rule = object.word("rule", &FieldRule::ALL)?;
        let rule = rule.ok_or_else(|| object.wrong(Fault::Missing("rule")))?;
        let mut small = |key| object.small(key)?.ok_or_else(|| object.wrong(Fault::Missing(key)));
        let (offset, length) = (small("field-off")?, small("field-len")?);
        let mask = object.number("mask")?;
        if let Some(mask) = mask {
            let fits = (1..=8).contains(&length) && mask != 0 && mask & !Field::full_mask(length) == 0;
            if !fits {
                return Err(object.wrong(Fault::Mask { key: name, mask, length: length.into() }));
            }
        } else if length == 0 {
            return Err(object.wrong(Fault::Width { key: name, length: 0 }));
        }
        let word = listed(&mut object, "into", &WORDS)?;
        let shift = object.small("into-shift")?;
        let into = match (word, shift) {
            (Some(word), shift) => Some((word, shift.unwrap_or(0))),
            (None, None) => None,
            (None, Some(_)) => return Err(object.wrong(Fault::Missing("into"))),
        };
        object.end(context);
        fields.push(GroField { name, offset, length, mask, rule, into });
    }
    Ok(fields)
}

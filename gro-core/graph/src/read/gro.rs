//! What stands under the key `gro`. It is ours, so an unknown word in it is refused; an unknown key is a note as everywhere.

use super::Result1;
use super::fields::field;
use super::object::{Context, Object};
use crate::REASONS;
use crate::error::Fault;
use crate::gro::{
    Bits, Checksum, FieldRule, GroField, Layer, NodeGro, ParserGro, PresentLength, Requires, Tests, Unequal,
};
use crate::model::Field;

const FLUSH: &str = "flush";
const COVERS: [(&str, bool); 2] = [("header", false), ("payload", true)];

pub(super) fn parser(object: &mut Object<'_>, context: &mut Context) -> Result1<ParserGro> {
    let mut gro = ParserGro::default();
    let Some(mut ours) = object.object("gro")? else { return Ok(gro) };
    gro.profile = ours.text("profile")?.map(str::to_owned);
    gro.max_frame_length = ours.small("max-frame-length")?.unwrap_or(gro.max_frame_length);
    gro.max_header_length = ours.small("max-header-length")?.unwrap_or(gro.max_header_length);
    ours.end(context);
    Ok(gro)
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
        fields: fields(&mut ours, context)?,
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
    let switch = requires.needed_text("switch")?.to_owned();
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
    let payload = checksum.word("covers", &COVERS)?;
    let payload = payload.ok_or_else(|| checksum.wrong(Fault::Missing("covers")))?;
    let bypass = needed_reason(&mut checksum, "bypass")?;
    checksum.end(context);
    Ok(Some(Checksum { field, payload, bypass }))
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
        object.end(context);
        fields.push(GroField { name, offset, length, mask, rule });
    }
    Ok(fields)
}

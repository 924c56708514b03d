//! One object of a document: keys are taken by name and kind; what nobody took becomes a note.

use super::{Names, Result1, Wrong};
use crate::error::Fault;
use crate::{LENGTH_MAX, NAME_MAX};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// What the rest of the document says, and the notes so far.
#[derive(Default)]
pub(super) struct Context {
    pub(super) nodes: Names,
    pub(super) tables: Names,
    pub(super) flag_tables: Names,
    pub(super) tlv_tables: HashSet<String>,
    pub(super) tlv_nodes: HashSet<String>,
    pub(super) notes: Vec<String>,
}

impl Context {
    pub(super) fn node(&self, place: &str, name: &str) -> Result1<usize> {
        find(&self.nodes, "node", place, name)
    }

    pub(super) fn table(&self, place: &str, name: &str) -> Result1<usize> {
        find(&self.tables, "table", place, name)
    }

    pub(super) fn flag_table(&self, place: &str, name: &str) -> Result1<usize> {
        find(&self.flag_tables, "flag-fields table", place, name)
    }
}

fn find(names: &Names, kind: &'static str, place: &str, name: &str) -> Result1<usize> {
    names.get(name).copied().ok_or_else(|| wrong(place, Fault::Dangling { kind, name: name.to_owned() }))
}

pub(crate) fn wrong(place: &str, fault: Fault) -> Wrong {
    Wrong { place: place.to_owned(), fault }
}

/// Words for an object with a name.
pub(super) fn place(kind: &str, value: &Value) -> String {
    match value.get("name").and_then(Value::as_str) {
        Some(name) => format!("{kind} {name}"),
        None => kind.to_owned(),
    }
}

pub(super) struct Object<'a> {
    pub(super) place: String,
    map: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Object<'a> {
    pub(super) fn new(place: &str, value: &'a Value) -> Result1<Self> {
        let expected = Fault::Kind { key: place.to_owned(), expected: "an object" };
        let map = value.as_object().ok_or_else(|| wrong(place, expected))?;
        Ok(Self { place: place.to_owned(), map, taken: Vec::new() })
    }

    pub(super) fn wrong(&self, fault: Fault) -> Wrong {
        wrong(&self.place, fault)
    }

    fn kind(&self, key: &str, expected: &'static str) -> Wrong {
        self.wrong(Fault::Kind { key: key.to_owned(), expected })
    }

    /// The value of a key, which counts as used from now on. `null` is as good as nothing.
    fn take(&mut self, key: &'static str) -> Option<&'a Value> {
        self.taken.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn object(&mut self, key: &'static str) -> Result1<Option<Object<'a>>> {
        let place = format!("{}: {key}", self.place);
        self.take(key).map(|value| Object::new(&place, value)).transpose()
    }

    pub(super) fn list(&mut self, key: &'static str) -> Result1<&'a [Value]> {
        let expected = self.kind(key, "a list");
        match self.take(key) {
            None => Ok(&[]),
            Some(value) => value.as_array().map(Vec::as_slice).ok_or(expected),
        }
    }

    pub(super) fn either_list(&mut self, one: &'static str, other: &'static str) -> Result1<&'a [Value]> {
        self.exclude(one, other)?;
        let (one, other) = (self.list(one)?, self.list(other)?);
        Ok(if one.is_empty() { other } else { one })
    }

    /// `ents` or `entries`, as a document has it.
    pub(super) fn entries(&mut self) -> Result1<Option<&'a [Value]>> {
        self.exclude("ents", "entries")?;
        let there = self.has("ents") || self.has("entries");
        let list = self.either_list("ents", "entries")?;
        Ok(there.then_some(list))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    fn exclude(&self, one: &'static str, other: &'static str) -> Result1<()> {
        if self.has(one) && self.has(other) {
            return Err(self.wrong(Fault::Both(one, other)));
        }
        Ok(())
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result1<Option<&'a str>> {
        let expected = self.kind(key, "a string");
        self.take(key).map(|value| value.as_str().ok_or(expected)).transpose()
    }

    pub(super) fn needed_text(&mut self, key: &'static str) -> Result1<&'a str> {
        self.text(key)?.ok_or_else(|| self.wrong(Fault::Missing(key)))
    }

    /// The name of the object itself.
    pub(super) fn name(&mut self) -> Result1<String> {
        let name = self.needed_text("name")?;
        let sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-' | '.');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(sign) {
            return Err(self.wrong(Fault::Name(name.chars().take(NAME_MAX).collect())));
        }
        Ok(name.to_owned())
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result1<bool> {
        let expected = self.kind(key, "true or false");
        Ok(self.take(key).map(|value| value.as_bool().ok_or(expected)).transpose()?.unwrap_or(false))
    }

    /// A number from 0, or a string of it, decimal or `0x` and hexadecimal.
    pub(super) fn number(&mut self, key: &'static str) -> Result1<Option<u64>> {
        let expected = self.kind(key, "a number from 0 to 2^64 - 1, or a string of one, decimal or 0x...");
        self.take(key).map(|value| unsigned(value).ok_or(expected)).transpose()
    }

    pub(super) fn needed(&mut self, key: &'static str) -> Result1<u64> {
        self.number(key)?.ok_or_else(|| self.wrong(Fault::Missing(key)))
    }

    /// A number under one of two keys.
    pub(super) fn either(&mut self, one: &'static str, other: &'static str) -> Result1<Option<u64>> {
        self.exclude(one, other)?;
        let (one, other) = (self.number(one)?, self.number(other)?);
        Ok(one.or(other))
    }

    /// A number that may be below 0.
    pub(super) fn signed(&mut self, key: &'static str) -> Result1<Option<i32>> {
        let expected = self.kind(key, "a number from -65535 to 65535");
        let read = |value: &Value| match value {
            Value::String(text) if text.starts_with('-') => text.parse().ok(),
            Value::Number(number) if number.is_i64() => number.as_i64(),
            _ => unsigned(value).and_then(|value| i64::try_from(value).ok()),
        };
        let small = |value: &i64| value.unsigned_abs() <= LENGTH_MAX;
        self.take(key)
            .map(|value| read(value).filter(small).map(|value| value as i32).ok_or(expected))
            .transpose()
    }

    /// A number that measures something in bytes, or counts.
    pub(super) fn small(&mut self, key: &'static str) -> Result1<Option<u32>> {
        self.number(key)?.map(|value| self.limited(key, value)).transpose()
    }

    pub(super) fn limited(&self, key: &str, value: u64) -> Result1<u32> {
        let large = || self.wrong(Fault::Large { key: key.to_owned(), value, most: LENGTH_MAX });
        u32::try_from(value).ok().filter(|_| value <= LENGTH_MAX).ok_or_else(large)
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        known: &[(&'static str, T)],
    ) -> Result1<Option<T>> {
        let Some(word) = self.text(key)? else { return Ok(None) };
        self.one_of(word, known).map(Some)
    }

    pub(super) fn one_of<T: Copy>(&self, word: &str, known: &[(&'static str, T)]) -> Result1<T> {
        let unknown = || {
            let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.wrong(Fault::Word { word: word.to_owned(), known: known.join(", ") })
        };
        known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value).ok_or_else(unknown)
    }

    /// A key that is for other tools.
    pub(super) fn unused(&mut self, context: &mut Context, key: &'static str) {
        if self.take(key).is_some() {
            context.notes.push(format!("{}: \"{key}\" is for other tools", self.place));
        }
    }

    /// Notes what nobody took.
    pub(super) fn end(self, context: &mut Context) {
        for key in self.map.keys().filter(|key| !self.taken.contains(&key.as_str())) {
            context.notes.push(format!("{}: \"{key}\" is not known and was ignored", self.place));
        }
    }

    /// Every key and value, for an object whose keys are names.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    let Value::String(text) = value else { return value.as_u64() };
    let digits = |text: &str, radix| {
        // `from_str_radix` takes a sign.
        let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, radix).ok().filter(|_| plain)
    };
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => digits(hex, 16),
        None => digits(text, 10),
    }
}

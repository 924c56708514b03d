//! Data by purpose: every field of every static, as the debug information has it, with what its source says of it.

use super::purpose::of_field;
use super::{Dwarf, Slice};
use addr2line::gimli::{self, AttributeValue, DebugInfoOffset, DebuggingInformationEntry, Unit, constants};
use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SectionKind};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The statics, and what lies between and behind them.
pub(super) struct Data {
    pub(super) statics: Vec<Static>,
    /// Bytes of the sections that are no static's.
    pub(super) padding: u64,
}

#[derive(PartialEq, Eq)]
pub(super) struct Static {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// They add up to `bytes`.
    pub(super) fields: Vec<Field>,
}

/// A field, in all places where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) places: u64,
    /// Of one place.
    pub(super) bytes: u64,
    pub(super) purpose: String,
}

/// A field with no more bytes than this in all its places is not taken apart.
const SMALL: u64 = 64;

impl Data {
    /// Bytes of all of it.
    pub(super) fn bytes(&self) -> u64 {
        self.padding + self.statics.iter().map(|it| it.bytes).sum::<u64>()
    }
}

pub(super) fn read(elf: &object::File<'_>, dwarf: &Dwarf<'_>, root: &Path) -> Result<Data> {
    let types = Types::read(dwarf)?;
    let sources = sources(root)?;
    let mut statics = Vec::new();
    let mut total = 0;
    for section in elf.sections() {
        let writable = matches!(section.flags(), SectionFlags::Elf { sh_flags } if sh_flags & 1 != 0);
        if !writable || !matches!(section.kind(), SectionKind::Data | SectionKind::UninitializedData) {
            continue;
        }
        total += section.size();
        for symbol in elf.symbols().filter(|it| it.section_index() == Some(section.index()) && it.size() != 0)
        {
            let linkage = symbol.name()?;
            let name = format!("{:#}", rustc_demangle::demangle(linkage));
            let of = types.statics.get(linkage).with_context(|| format!("no type is known of {name}"))?;
            let mut fields = Vec::new();
            let name = name.rsplit("::").next().unwrap_or(&name).to_owned();
            types.take_apart(*of, &name, (1, symbol.size(), ""), &sources, &mut fields)?;
            let sum: u64 = fields.iter().map(|field| field.places * field.bytes).sum();
            ensure!(sum == symbol.size(), "the fields of {name} have {sum} bytes, not {}", symbol.size());
            statics.push(Static { name, bytes: symbol.size(), fields });
        }
    }
    let used: u64 = statics.iter().map(|it| it.bytes).sum();
    let padding = total.checked_sub(used).context("statics overlap")?;
    Ok(Data { statics, padding })
}

/// What debug information says of types.
#[derive(Default)]
struct Types {
    /// The type of a static, by the name that the linker has for it.
    statics: BTreeMap<String, DebugInfoOffset>,
    types: BTreeMap<DebugInfoOffset, Type>,
}

enum Type {
    Struct {
        name: String,
        bytes: u64,
        members: Vec<Member>,
    },
    Array {
        of: DebugInfoOffset,
        count: u64,
    },
    /// Anything that is not taken apart.
    Other {
        bytes: u64,
    },
}

struct Member {
    name: String,
    of: DebugInfoOffset,
}

impl Types {
    fn read(dwarf: &Dwarf<'_>) -> Result<Self> {
        let mut types = Self::default();
        let mut units = dwarf.units();
        while let Some(header) = units.next()? {
            let unit = dwarf.unit(header)?;
            let mut tree = unit.entries_tree(None)?;
            types.add(dwarf, &unit, tree.root()?, None)?;
        }
        Ok(types)
    }

    /// Reads an entry and those below it; `parent` is the type that they are of.
    fn add(
        &mut self,
        dwarf: &Dwarf<'_>,
        unit: &Unit<Slice<'_>>,
        node: gimli::EntriesTreeNode<'_, '_, '_, Slice<'_>>,
        parent: Option<DebugInfoOffset>,
    ) -> Result<()> {
        let entry = node.entry();
        let place = entry.offset().to_debug_info_offset(&unit.header).context("not in .debug_info")?;
        let name = |attribute| name(dwarf, unit, entry, attribute);
        let number = |attribute| -> Result<Option<u64>> {
            Ok(entry.attr_value(attribute)?.and_then(|value| value.udata_value()))
        };
        let of = reference(unit, entry)?;
        match entry.tag() {
            constants::DW_TAG_structure_type => {
                let (name, bytes) = (name(constants::DW_AT_name)?, number(constants::DW_AT_byte_size)?);
                let bytes = bytes.unwrap_or(0);
                self.types.insert(
                    place,
                    Type::Struct { name: name.unwrap_or_default(), bytes, members: Vec::new() },
                );
            }
            constants::DW_TAG_array_type => {
                if let Some(of) = of {
                    self.types.insert(place, Type::Array { of, count: 0 });
                }
            }
            constants::DW_TAG_member => {
                if let (Some(Type::Struct { members, .. }), Some(of), Some(name)) =
                    (parent.and_then(|parent| self.types.get_mut(&parent)), of, name(constants::DW_AT_name)?)
                {
                    members.push(Member { name, of });
                }
            }
            constants::DW_TAG_subrange_type => {
                if let Some(Type::Array { count, .. }) = parent.and_then(|parent| self.types.get_mut(&parent))
                {
                    let last = number(constants::DW_AT_upper_bound)?;
                    *count = number(constants::DW_AT_count)?.or(last.map(|last| last + 1)).unwrap_or(0);
                }
            }
            constants::DW_TAG_variable => {
                if let (Some(of), Some(name)) = (of, name(constants::DW_AT_linkage_name)?) {
                    self.statics.insert(name, of);
                }
            }
            _ => {
                if let Some(bytes) = number(constants::DW_AT_byte_size)? {
                    self.types.insert(place, Type::Other { bytes });
                }
            }
        }
        let mut children = node.children();
        while let Some(child) = children.next()? {
            self.add(dwarf, unit, child, Some(place))?;
        }
        Ok(())
    }

    fn bytes(&self, of: DebugInfoOffset) -> Result<u64> {
        match self.types.get(&of).context("a type without a size")? {
            Type::Struct { bytes, .. } | Type::Other { bytes } => Ok(*bytes),
            Type::Array { of, count } => Ok(self.bytes(*of)? * count),
        }
    }

    /// Adds the fields of what stands at `path` in so many places, of so many bytes each, and what is between them.
    fn take_apart(
        &self,
        of: DebugInfoOffset,
        path: &str,
        (places, bytes, purpose): (u64, u64, &str),
        sources: &[String],
        fields: &mut Vec<Field>,
    ) -> Result<()> {
        let here = |path: String, bytes| Field { path, places, bytes, purpose: purpose.to_owned() };
        match self.types.get(&of).context("a type that is not described")? {
            Type::Struct { name, members, .. } if places * bytes > SMALL && !members.is_empty() => {
                let mut left = bytes;
                for member in members {
                    let size = self.bytes(member.of)?;
                    left = left.checked_sub(size).context("fields that overlap")?;
                    let said = said(sources, name, &member.name);
                    let path = format!("{path}.{}", member.name);
                    let purpose = said.as_deref().or_else(|| of_field(name, &member.name)).unwrap_or(purpose);
                    self.take_apart(member.of, &path, (places, size, purpose), sources, fields)?;
                }
                if left != 0 {
                    fields.push(Field { purpose: "padding".into(), ..here(path.to_owned(), left) });
                }
            }
            Type::Array { of, count } if matches!(self.types.get(of), Some(Type::Struct { .. })) => {
                let each = self.bytes(*of)?;
                let what = (places * count, each, purpose);
                self.take_apart(*of, &format!("{path}[{count}]"), what, sources, fields)?;
            }
            _ if bytes == 0 => {}
            _ => {
                ensure!(
                    !purpose.is_empty(),
                    "nothing says what {path} is for: give it a comment, or a line in xtask/src/nic_map/purpose.rs"
                );
                fields.push(here(path.to_owned(), bytes));
            }
        }
        Ok(())
    }
}

fn name(
    dwarf: &Dwarf<'_>,
    unit: &Unit<Slice<'_>>,
    entry: &DebuggingInformationEntry<'_, '_, Slice<'_>>,
    attribute: gimli::DwAt,
) -> Result<Option<String>> {
    let Some(value) = entry.attr_value(attribute)? else { return Ok(None) };
    Ok(Some(dwarf.attr_string(unit, value)?.to_string_lossy().into_owned()))
}

fn reference(
    unit: &Unit<Slice<'_>>,
    entry: &DebuggingInformationEntry<'_, '_, Slice<'_>>,
) -> Result<Option<DebugInfoOffset>> {
    Ok(match entry.attr_value(constants::DW_AT_type)? {
        Some(AttributeValue::UnitRef(offset)) => offset.to_debug_info_offset(&unit.header),
        Some(AttributeValue::DebugInfoRef(offset)) => Some(offset),
        _ => None,
    })
}

/// The sources of what runs on the device.
fn sources(root: &Path) -> Result<Vec<String>> {
    let mut folders = vec![root.join("gro-core/src"), root.join("gro-nic/firmware/src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(fs::read_to_string(path)?);
            }
        }
    }
    Ok(sources)
}

/// The first sentence of the comment on a field.
fn said(sources: &[String], of: &str, field: &str) -> Option<String> {
    let of = of.split('<').next().unwrap_or(of);
    let head = format!("struct {of} {{\n");
    let body = sources.iter().find_map(|text| text.split_once(&head))?.1.split_once("\n}")?.0;
    let mut comment = String::new();
    for line in body.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            comment.push_str(more);
            continue;
        }
        let name = line.split_once(':').map(|(name, _)| name.rsplit(' ').next().unwrap_or(name));
        if name == Some(field) {
            let sentence = comment.split_inclusive(". ").next()?.trim().trim_end_matches('.');
            return (!sentence.is_empty()).then(|| sentence.replace(['[', ']'], ""));
        }
        comment.clear();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_field_is_the_first_sentence_of_its_comment() {
        let source = "struct A {\n    /// One [`x`]. More.\n    pub a: u32,\n    b: u32,\n    /// Two,\n    /// or more.\n    c: u8,\n}\n";
        let said = |field| said(&[source.to_owned()], "A", field);
        assert_eq!(said("a").as_deref(), Some("One `x`"));
        assert_eq!(said("b"), None);
        assert_eq!(said("c").as_deref(), Some("Two, or more"));
        assert_eq!(said("d"), None);
    }
}

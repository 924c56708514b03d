//! Text by purpose and by source: of each instruction, the functions that it was inlined through.

use super::{CONSTANTS, Dwarf, Row, Slice, TEXT, purpose, section};
use addr2line::{Context, Frame};
use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::collections::BTreeMap;

/// The bytes of the text section, twice: the rows of each table add up to `bytes`.
pub(super) struct Text {
    pub(super) bytes: u64,
    pub(super) purposes: Vec<Row>,
    pub(super) modules: Vec<Row>,
}

/// Instructions start at even addresses, and none is shorter.
const STEP: u64 = 2;
/// A byte for which the debug information names no function of ours.
const UNKNOWN: &str = "remainder: in no function that the line tables know";

pub(super) fn read(elf: &object::File<'_>, dwarf: Dwarf<'_>) -> Result<Text> {
    let section = section(elf, TEXT)?;
    let (start, bytes) = (section.address(), section.size());
    let context = Context::from_dwarf(dwarf)?;
    // It is said even where nothing is left.
    let mut purposes = BTreeMap::from([(UNKNOWN.to_owned(), 0)]);
    let mut modules = BTreeMap::new();
    for address in (start..start + bytes).step_by(STEP as usize) {
        let frames = frames(&context, address)?;
        let length = STEP.min(start + bytes - address);
        *purposes.entry(purpose_of(&frames, elf, address)?).or_default() += length;
        *modules.entry(module_of(&frames)).or_default() += length;
    }
    Ok(Text { bytes, purposes: rows(purposes), modules: rows(modules) })
}

/// A function at an address, from the innermost to the one that stands in the symbol table.
struct Function {
    /// Its path, without what is generic in it.
    path: String,
    /// Of ours: its source file.
    file: Option<String>,
    /// Whether the compiler knows where in it this is.
    has_line: bool,
}

fn frames(context: &Context<Slice<'_>>, address: u64) -> Result<Vec<Function>> {
    let mut found = Vec::new();
    let mut frames = context.find_frames(address).skip_all_loads()?;
    while let Some(Frame { function, location, .. }) = frames.next()? {
        let Some(function) = function else { continue };
        let location = location.as_ref();
        let file = location.and_then(|location| location.file).and_then(ours);
        let has_line = location.and_then(|location| location.line).is_some_and(|line| line != 0);
        found.push(Function { path: plain_path(&function.raw_name()?), file, has_line });
    }
    Ok(found)
}

/// A source file of the project, by its path in it.
fn ours(file: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in file.strip_prefix("/gro/")?.split('/') {
        if part == ".." { parts.pop().map(drop).unwrap_or_default() } else { parts.push(part) }
    }
    Some(parts.join("/"))
}

fn purpose_of(frames: &[Function], elf: &object::File<'_>, address: u64) -> Result<String> {
    // Code that several places share has no line, and says nothing but the function that it is in.
    if let [only] = frames
        && !only.has_line
    {
        return Ok(purpose::SHARED.to_owned());
    }
    for Function { path, .. } in frames {
        if let Some(purpose) = purpose::of(path) {
            return Ok(purpose);
        }
        if ["gro_core::", "firmware::"].iter().any(|ours| path.starts_with(ours)) && !purpose::is_helper(path)
        {
            bail!("no purpose is known of {path}: add it to xtask/src/nic_map/purpose.rs");
        }
    }
    Ok(symbol_at(elf, address).as_deref().and_then(purpose::of).unwrap_or_else(|| UNKNOWN.to_owned()))
}

fn module_of(frames: &[Function]) -> String {
    let file = frames.iter().find_map(|function| function.file.clone());
    file.map_or_else(|| "none of ours".to_owned(), |file| format!("`{file}`"))
}

/// The last symbol at or before an address.
fn symbol_at(elf: &object::File<'_>, address: u64) -> Option<String> {
    let before = elf.symbols().filter(|symbol| symbol.address() <= address && symbol.is_global());
    let symbol = before.max_by_key(|symbol| symbol.address())?;
    Some(plain_path(symbol.name().ok()?))
}

/// `<a::B<C> as d::E>::f::<G>` is `a::B::f`; the crate of the profile is `firmware`.
fn plain_path(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    let name = match name.strip_prefix('<').and_then(split_at_end) {
        Some((subject, rest)) => subject.split(" as ").next().unwrap_or_default().to_owned() + rest,
        None => name,
    };
    let mut path = String::new();
    let mut depth = 0;
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ if depth == 0 => path.push(letter),
            _ => {}
        }
    }
    let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    if let Some(first) = parts.first_mut().filter(|first| first.starts_with("gro_linux")) {
        *first = "firmware";
    }
    parts.join("::")
}

/// What stands before the `>` that ends a subject, and behind it.
fn split_at_end(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

/// The constants by symbol; tables of jumps have no size of their own and reach to the next symbol.
pub(super) fn constants(elf: &object::File<'_>) -> Result<Vec<Row>> {
    let section = section(elf, CONSTANTS)?;
    let end = section.address() + section.size();
    let inside = section.address()..end;
    let mut symbols: Vec<(u64, u64, String)> = elf
        .symbols()
        .filter(|symbol| inside.contains(&symbol.address()))
        .map(|symbol| Ok((symbol.address(), symbol.size(), symbol.name()?.to_owned())))
        .collect::<Result<_>>()?;
    symbols.sort();
    let mut sizes = BTreeMap::new();
    let mut at = inside.start;
    for (index, (start, size, name)) in symbols.iter().enumerate() {
        let next = symbols.get(index + 1).map_or(end, |symbol| symbol.0);
        *sizes.entry("padding".to_owned()).or_default() +=
            start.checked_sub(at).context("symbols overlap")?;
        let size = if *size == 0 { next - start } else { *size };
        *sizes.entry(purpose::of_constant(name)).or_default() += size;
        at = start + size;
    }
    *sizes.entry("padding".to_owned()).or_default() += end.checked_sub(at).context("a symbol is too long")?;
    Ok(rows(sizes))
}

/// The most bytes first, and the remainder last.
fn rows(sizes: BTreeMap<String, u64>) -> Vec<Row> {
    let sizes = sizes.into_iter().filter(|(what, bytes)| *bytes != 0 || what == UNKNOWN);
    let mut rows: Vec<Row> = sizes.map(|(what, bytes)| Row { what, bytes }).collect();
    rows.sort_by_key(|row| (row.what == UNKNOWN, std::cmp::Reverse(row.bytes)));
    rows
}

#[cfg(test)]
mod tests {
    use super::plain_path;

    #[test]
    fn a_path_has_neither_generics_nor_traits() {
        let paths = [
            ("gro_core::parse::rest::<gro_core::profile::Linux618>", "gro_core::parse::rest"),
            ("<gro_core::window::Window<'_>>::be32", "gro_core::window::Window::be32"),
            (
                "<gro_linux_6_18::program::rings::Rings as gro_core::datapath::Datapath>::sum::{closure#0}",
                "firmware::program::rings::Rings::sum::{closure#0}",
            ),
            ("<u32>::swap_bytes", "u32::swap_bytes"),
            ("_start", "_start"),
        ];
        for (name, path) in paths {
            assert_eq!(plain_path(name), path);
        }
    }
}

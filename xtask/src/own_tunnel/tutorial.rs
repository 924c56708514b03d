//! What a machine reads in the tutorial: JSON blocks, each with its place in the parse graph, and commands.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::path::Path;

/// The document that the blocks go into.
pub(super) const DOCUMENT: &str = "gro-core/parser.json";

/// The tutorial.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tutorial {
    /// Where each block goes, and what it is.
    pub(super) blocks: Vec<(String, String)>,
    /// Lines for a shell, in order.
    pub(super) commands: Vec<String>,
}

impl Tutorial {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// A fenced `json` block belongs to the path in the line before it, `sh` blocks are commands; all else is for people.
    fn parse(text: &str) -> Result<Self> {
        let mut tutorial = Self::default();
        let mut before = "";
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(language) = line.strip_prefix("```") else {
                before = if line.trim().is_empty() { before } else { line };
                continue;
            };
            let inside: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            match language {
                "json" => {
                    let path = path_in(before)
                        .with_context(|| format!("line {}: no path before the block", number + 1))?;
                    tutorial.blocks.push((path.to_owned(), inside.join("\n")));
                }
                "sh" => tutorial.commands.extend(inside.into_iter().map(str::to_owned)),
                _ => {}
            }
            before = "";
        }
        ensure!(
            !tutorial.blocks.is_empty() && !tutorial.commands.is_empty(),
            "no blocks to add, or no commands"
        );
        Ok(tutorial)
    }

    /// The document with the blocks in it.
    pub(super) fn apply(&self, document: &str) -> Result<String> {
        let mut document: Value = serde_json::from_str(document).context(DOCUMENT)?;
        for (path, block) in &self.blocks {
            let value = serde_json::from_str(block).with_context(|| format!("the block for {path}"))?;
            add(&mut document, path, value)?;
        }
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }
}

/// The one text in backticks that starts with a slash.
fn path_in(line: &str) -> Option<&str> {
    let mut paths = line.split('`').skip(1).step_by(2).filter(|text| text.starts_with('/'));
    paths.next().filter(|_| paths.next().is_none())
}

/// Puts a value where a path says: a JSON Pointer that calls items of a list by their `name` and ends in `-`, the list's end.
fn add(document: &mut Value, path: &str, value: Value) -> Result<()> {
    let list = path.strip_prefix('/').and_then(|path| path.strip_suffix("/-"));
    let list = list.with_context(|| format!("{path}: a path is /…/-"))?;
    let mut place = document;
    for part in list.split('/') {
        let next = match place {
            Value::Object(object) => object.get_mut(part),
            Value::Array(items) => items.iter_mut().find(|item| item["name"] == part),
            _ => None,
        };
        place = next.with_context(|| format!("{path}: {DOCUMENT} has no {part} there"))?;
    }
    let Value::Array(items) = place else { bail!("{path}: not a list") };
    let same = |item: &&Value| item["name"] == value["name"] && !value["name"].is_null();
    ensure!(!items.iter().any(|item| same(&item)), "{path}: {} is there already", value["name"]);
    items.push(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Title\n\nAdd to `/tables/ports/ents/-` a `word`:\n\n```json\n{\n  \"name\": \"toy\" }\n```\n\nAnd to `/nodes/-`:\n```json\n7\n```\nThen\n\n```sh\ncargo one\ncargo two\n```\n```text\n$ gro\n```\n";
    const DOCUMENT: &str =
        r#"{"nodes": [1], "tables": [{"name": "x"}, {"name": "ports", "ents": [{"name": "a"}]}]}"#;

    #[test]
    fn blocks_go_where_the_line_before_says() {
        let tutorial = Tutorial::parse(TEXT).unwrap();
        assert_eq!(tutorial.commands, ["cargo one", "cargo two"]);
        assert_eq!(tutorial.blocks[0], ("/tables/ports/ents/-".into(), "{\n  \"name\": \"toy\" }".into()));
        let edited: Value = serde_json::from_str(&tutorial.apply(DOCUMENT).unwrap()).unwrap();
        assert_eq!(edited["nodes"], serde_json::json!([1, 7]));
        assert_eq!(edited["tables"][1]["ents"], serde_json::json!([{"name": "a"}, {"name": "toy"}]));
        assert_eq!(edited["tables"][0], serde_json::json!({"name": "x"}));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let parse = |text: &str| format!("{:#}", Tutorial::parse(text).unwrap_err());
        assert!(parse(&TEXT.replace("`/nodes/-`", "the nodes")).contains("line 11: no path"));
        assert!(parse(&TEXT.replace("`word`", "`/word`")).contains("line 5: no path"));
        assert!(parse("nothing").contains("no commands"));
        let apply = |text: &str, document: &str| {
            format!("{:#}", Tutorial::parse(text).unwrap().apply(document).unwrap_err())
        };
        assert!(apply(TEXT, &DOCUMENT.replace("ports", "port")).contains("has no ports there"));
        assert!(apply(TEXT, &DOCUMENT.replace("[1]", "{}")).contains("/nodes/-: not a list"));
        assert!(apply(TEXT, &DOCUMENT.replace("\"a\"", "\"toy\"")).contains("is there already"));
        assert!(apply(&TEXT.replace("/nodes/-", "/nodes"), DOCUMENT).contains("a path is"));
        assert!(apply(&TEXT.replace("\n7\n", "\n7,\n"), DOCUMENT).contains("the block for /nodes/-"));
    }
}

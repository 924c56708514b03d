//! The document: tables that add up.

use super::data::{Field, Static};
use super::{Program, Row};
use std::fmt::Write as _;

/// docs/firmware-map.md for these programs.
pub(super) fn page(programs: &[Program]) -> String {
    let mut page = String::from(
        "# What each byte of the firmware is for\n\n\
         Written by `cargo xtask nic-map`, which builds the firmware with line tables, refuses if its code is not the committed\n\
         image's to the byte, and takes every figure from the build; `cargo xtask nic-map --check` fails when this page is another.\n\n",
    );
    let _ = writeln!(
        page,
        "The image is that of profile `{}`. An instruction belongs to the innermost function, of those that it was inlined through, that\n\
         has a purpose of its own: a field that the parser reads is the parser's, and a sum that is folded is the checksum's. The second\n\
         table has the same bytes by the file of the innermost function of ours. Each table ends with its sum, which is the size of its part.",
        super::RELEASE.name()
    );
    for program in programs {
        add(&mut page, program);
    }
    // The same data, unless a word of the processor is in it.
    let mut said: Vec<&Program> = Vec::new();
    for program in programs {
        if said.iter().all(|other| other.data.statics != program.data.statics) {
            let same = programs.iter().filter(|other| other.data.statics == program.data.statics);
            let names: Vec<&str> = same.map(|other| other.isa.name()).collect();
            let _ = write!(page, "\n## {}: data by field\n", names.join(" and "));
            fields(&mut page, &program.data.statics);
            said.push(program);
        }
    }
    page
}

fn add(page: &mut String, program: &Program) {
    let isa = program.isa.name();
    let constants: u64 = program.constants.iter().map(|row| row.bytes).sum();
    let data = program.data.bytes();
    let used = program.text.bytes + constants;
    let memory = program.instruction_memory;
    let parts_of = |rows: &[(&str, u64)]| -> Vec<Row> {
        rows.iter().map(|&(what, bytes)| Row { what: what.to_owned(), bytes }).collect()
    };

    let _ = write!(page, "\n## {isa}: instruction memory\n");
    let parts =
        [("text", program.text.bytes), ("constants", constants), ("free", memory.saturating_sub(used))];
    table(page, "part", &parts_of(&parts), "instruction memory");
    let _ = write!(page, "\n### Text by purpose\n");
    table(page, "purpose", &program.text.purposes, "text");
    let _ = write!(page, "\n### Text by source\n");
    table(page, "source", &program.text.modules, "text");
    let _ = write!(page, "\n### Constants\n");
    table(page, "purpose", &program.constants, "constants");

    let _ = write!(page, "\n## {isa}: data memory\n");
    let stack = program.data_memory.saturating_sub(data);
    let parts = [
        ("data, zero at the start", data),
        ("stack, as much as the machine code can take", program.stack_bound),
        ("free, between both", stack.saturating_sub(program.stack_bound)),
    ];
    table(page, "part", &parts_of(&parts), "data memory");
    let mut rows = groups(&program.data.statics);
    let what = "between and behind statics, for their alignment".to_owned();
    rows.push(Row { what, bytes: program.data.padding });
    let _ = write!(page, "\n### Data by purpose\n");
    table(page, "part", &rows, "data");
}

/// Every field of every static.
fn fields(page: &mut String, statics: &[Static]) {
    for it in statics {
        let _ = write!(
            page,
            "\n### `{}`\n\n| bytes | places | each | field | what for |\n|---:|---:|---:|---|---|\n",
            it.name
        );
        for Field { path, places, bytes, purpose } in &it.fields {
            let all = number(places * bytes);
            let _ = writeln!(page, "| {all} | {places} | {bytes} | `{path}` | {purpose} |");
        }
        let _ = writeln!(page, "| **{}** | | | **sum** | |", number(it.bytes));
    }
}

/// The fields by the part of the static that they are in: two names deep where there are several, else one.
fn groups(statics: &[Static]) -> Vec<Row> {
    let all: Vec<&Field> = statics.iter().flat_map(|it| &it.fields).collect();
    let start = |path: &str, depth: usize| path.split('.').take(depth).collect::<Vec<_>>().join(".");
    let mut rows: Vec<Row> = Vec::new();
    for field in &all {
        let deep = start(&field.path, 3);
        let several = all.iter().filter(|other| start(&other.path, 3) == deep).count() > 1;
        let what =
            if several { format!("`{deep}`") } else { format!("`{}`, the rest", start(&field.path, 2)) };
        let bytes = field.places * field.bytes;
        match rows.iter_mut().find(|row| row.what == what) {
            Some(row) => row.bytes += bytes,
            None => rows.push(Row { what, bytes }),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    rows
}

/// Rows and their sum.
fn table(page: &mut String, head: &str, rows: &[Row], whole: &str) {
    let _ = write!(page, "\n| bytes | {head} |\n|---:|---|\n");
    for Row { what, bytes } in rows {
        let _ = writeln!(page, "| {} | {what} |", number(*bytes));
    }
    let sum: u64 = rows.iter().map(|row| row.bytes).sum();
    let _ = writeln!(page, "| **{}** | **{whole}** |", number(sum));
}

/// With a comma between thousands.
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

//! `gro graph`

use anyhow::Context as _;
use clap::ValueEnum;
use gro_graph::{BUILT_IN, DOCUMENT_MAX, Graph, emit};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

/// Draw the parse graph, or write it for other tools.
///
/// Without FILE it is the document of the engine in this program, gro-core/parser.json. A FILE that is no graph is refused with
/// the node and the reason; keys of it that were not used are named on standard error.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro graph --format svg > parser.svg\n  gro graph | dot -Tpng > parser.png\n  \
                        gro graph --format json my-parser.json\n  gro graph --format p4 > parser.p4\n\n\
                        Exit status: 0 done, 2 FILE cannot be read or is no parse graph."
)]
pub(crate) struct Args {
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Dot)]
    format: Format,
    /// Document to read (JSON; `-` for standard input)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Graphviz
    Dot,
    /// A picture; needs no other program
    Svg,
    /// Normalised Parser IR
    Json,
    /// A P4-16 parser, export only
    P4,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let (name, text) = match &args.file {
        None => ("gro-core/parser.json".to_owned(), BUILT_IN.to_owned()),
        Some(file) if crate::verify::is_stdin(file) => {
            ("standard input".to_owned(), read(std::io::stdin().lock()).context("standard input")?)
        }
        Some(file) => {
            let name = file.display().to_string();
            let text = std::fs::File::open(file).and_then(read);
            (name.clone(), text.with_context(|| format!("{name}: cannot be read"))?)
        }
    };
    let (graph, notes) = Graph::read(&name, &text)?;
    for note in notes {
        eprintln!("{name}: {note}");
    }
    let text = match args.format {
        Format::Dot => emit::dot(&graph),
        Format::Svg => emit::svg(&graph),
        Format::Json => emit::json(&graph),
        Format::P4 => emit::p4(&graph),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(0)
}

/// One byte more than a document may have, so that the reader refuses it.
fn read(reader: impl std::io::Read) -> std::io::Result<String> {
    let mut text = String::new();
    reader.take(DOCUMENT_MAX as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

//! `gro nic`

#[cfg(target_os = "linux")]
pub(crate) mod control;
#[cfg(target_os = "linux")]
mod lane;
#[cfg(target_os = "linux")]
mod run;

use anyhow::Context as _;
use gro_nic::{Image, image::MAX_FILE};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Look into NIC images, and run them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Rules(RulesArgs),
    #[cfg(target_os = "linux")]
    Run(run::Args),
}

/// Print the parse graph that an image carries, byte for byte.
///
/// It is the document that the engine in the image was generated from (JSON), and part of the image's program hash. The whole image
/// is checked before anything is printed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro nic rules gro-nic/image/gro-linux-6.18.nicimg | cmp - gro-core/parser.json\n  \
                        gro nic rules my.nicimg > rules.json && gro graph --format svg rules.json > rules.svg\n\n\
                        Exit status: 0 done, 2 IMAGE cannot be read or is no NIC image."
)]
struct RulesArgs {
    /// A .nicimg file (`-` for standard input)
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        Command::Rules(args) => rules(args),
        #[cfg(target_os = "linux")]
        Command::Run(args) => run::run(args),
    }
}

fn rules(args: &RulesArgs) -> anyhow::Result<u8> {
    let image = open(&args.image)?;
    let mut out = std::io::stdout().lock();
    out.write_all(image.rules.as_bytes())?;
    out.flush()?;
    Ok(0)
}

pub(crate) fn open(path: &Path) -> anyhow::Result<Image> {
    let (name, file) = if crate::verify::is_stdin(path) {
        ("standard input".to_owned(), read(std::io::stdin().lock()))
    } else {
        (path.display().to_string(), std::fs::File::open(path).and_then(read))
    };
    let file = file.with_context(|| format!("{name}: cannot be read"))?;
    Image::parse(&file).with_context(|| {
        format!("{name}: no whole image; `cargo xtask images` builds them into gro-nic/image")
    })
}

/// One byte more than an image may have, so that its reader refuses it.
fn read(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut file = Vec::new();
    reader.take(MAX_FILE as u64 + 1).read_to_end(&mut file)?;
    Ok(file)
}

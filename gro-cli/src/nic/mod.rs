//! `gro nic`: one file a subcommand.

mod bench;
#[cfg(target_os = "linux")]
pub(crate) mod control;
mod info;
#[cfg(target_os = "linux")]
mod lane;
mod load;
mod rules;
#[cfg(target_os = "linux")]
mod run;
mod sign;

use anyhow::Context as _;
use gro_nic::{Image, image::MAX_FILE};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Look into NIC images, sign them, check what a device would say to them, and run them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Info(info::Args),
    Load(load::Args),
    Rules(rules::Args),
    Sign(sign::Args),
    Bench(bench::BenchArgs),
    #[cfg(target_os = "linux")]
    Run(run::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        Command::Info(args) => info::run(args),
        Command::Load(args) => load::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Sign(args) => sign::run(args),
        Command::Bench(args) => bench::run(args),
        #[cfg(target_os = "linux")]
        Command::Run(args) => run::run(args),
    }
}

/// The image that a subcommand is about.
#[derive(Debug, clap::Args)]
struct Source {
    /// A .nicimg file (`-` for standard input)
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

impl Source {
    /// What the user calls it.
    fn name(&self) -> String {
        if crate::verify::is_stdin(&self.image) {
            "standard input".to_owned()
        } else {
            self.image.display().to_string()
        }
    }

    /// Reads it.
    fn file(&self) -> anyhow::Result<Vec<u8>> {
        let file = if crate::verify::is_stdin(&self.image) {
            read(std::io::stdin().lock())
        } else {
            std::fs::File::open(Path::new(&self.image)).and_then(read)
        };
        file.with_context(|| format!("{}: cannot be read", self.name()))
    }

    /// Reads and checks all of it.
    fn open(&self) -> anyhow::Result<Image> {
        Image::parse(&self.file()?).with_context(|| {
            format!("{}: no whole image; `cargo xtask images` builds them into gro-nic/image", self.name())
        })
    }
}

/// Reads and checks an image.
pub(crate) fn open(path: &Path) -> anyhow::Result<Image> {
    Source { image: path.to_owned() }.open()
}

/// One byte more than an image may have, so that its reader refuses it.
fn read(reader: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut file = Vec::new();
    reader.take(MAX_FILE as u64 + 1).read_to_end(&mut file)?;
    Ok(file)
}

//! `gro nic rules`

use super::Source;
use std::io::Write as _;

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
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let image = args.source.open()?;
    let mut out = std::io::stdout().lock();
    out.write_all(image.rules.as_bytes())?;
    out.flush()?;
    Ok(0)
}

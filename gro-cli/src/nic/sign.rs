//! `gro nic sign`

use super::Source;
use anyhow::{Context as _, bail};
use gro_nic::image::{Hex, public_key, sign};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Sign an image with an ed25519 key.
///
/// The signature is over the image id, which covers everything else in the file; it goes into the image's SIG slot, in place of one that is there.
/// The image is checked before and after, and replaced as a whole or not at all.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  (umask 077; head -c 32 /dev/urandom > nic.key)\n  \
                        gro nic sign --key nic.key my.nicimg\n  \
                        gro nic sign --key nic.key gro-nic/image/gro-linux-6.18.nicimg --output signed.nicimg\n  \
                        gro nic load signed.nicimg --key $(gro nic sign --key nic.key --public)\n\n\
                        Exit status: 0 signed, 2 KEY or IMAGE cannot be read or is none.")]
pub(super) struct Args {
    /// File with the secret key: an ed25519 seed, 32 bytes or 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the signed image; IMAGE itself if it is not given
    #[arg(long, short, value_name = "FILE", conflicts_with = "public")]
    output: Option<PathBuf>,
    /// Only print the public key, which `gro nic load --key` takes
    #[arg(long, conflicts_with = "image")]
    public: bool,
    #[command(flatten)]
    source: Option<Source>,
}

/// Bytes of a seed.
const SEED: usize = 32;

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let secret = secret(&args.key)?;
    let public = Hex(public_key(&secret));
    let mut out = std::io::stdout().lock();
    let Some(source) = &args.source else {
        // With --public there is no IMAGE, and else there is one.
        writeln!(out, "{public}")?;
        return Ok(0);
    };
    let name = source.name();
    let target = match &args.output {
        Some(output) => output,
        None if crate::verify::is_stdin(&source.image) => {
            bail!("--output FILE: standard input cannot be replaced")
        }
        None => &source.image,
    };
    let file = source.file()?;
    let signed = sign(&file, &secret).with_context(|| format!("{name}: not signed: it is no whole image"))?;
    replace(target, &signed).with_context(|| format!("{}: cannot be written", target.display()))?;
    writeln!(out, "{}: signed with {public}", target.display())?;
    Ok(0)
}

/// The seed in a file. What is in it is never shown.
fn secret(path: &Path) -> anyhow::Result<[u8; SEED]> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    if let Ok(seed) = <[u8; SEED]>::try_from(&bytes[..]) {
        return Ok(seed);
    }
    let text = std::str::from_utf8(&bytes).map(|text| text.trim().to_ascii_lowercase());
    match text.ok().and_then(|text| text.parse::<Hex<SEED>>().ok()) {
        Some(seed) => Ok(seed.0),
        None => bail!(
            "{}: no ed25519 seed, which is {SEED} bytes or {} hexadecimal digits; `head -c {SEED} /dev/urandom` makes one",
            path.display(),
            2 * SEED
        ),
    }
}

/// Puts a file in its place when all of it is written.
fn replace(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A symbolic link stays one.
    let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = target.with_file_name(name);
    let written = fs::write(&beside, bytes).and_then(|()| {
        if let Ok(old) = fs::metadata(&target) {
            fs::set_permissions(&beside, old.permissions())?;
        }
        fs::rename(&beside, &target)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written
}

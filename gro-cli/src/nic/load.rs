//! `gro nic load`

use super::Source;
use anyhow::{Context as _, bail, ensure};
use gro_nic::image::Hex;
use gro_nic::{Nic, NicConfig};
use std::io::Write as _;

/// Check whether a device would take an image: a load without traffic.
///
/// The whole file is checked; then the simulated device loads it, measures its instruction memory, starts it and asks it for its program
/// hash. A refusal says what is wrong and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gro nic load gro-nic/image/gro-linux-6.18.nicimg\n  \
                        gro nic load my.nicimg --key 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29\n\n\
                        Exit status: 0 accepted, 2 refused, or IMAGE cannot be read.")]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
    /// Refuse an image that is not signed with this ed25519 public key (64 hexadecimal digits)
    #[arg(long, value_name = "KEY")]
    key: Option<Hex<32>>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let name = args.source.name();
    let image = args.source.open()?;
    if let Some(key) = &args.key {
        image.verify_signature(&key.0).with_context(|| format!("{name}: refused"))?;
    }
    let nic = Nic::new(&image, &NicConfig::default())
        .with_context(|| format!("{name}: refused: the device does not come up with it"))?;
    let Some(code) = image.manifest.code.get("rv32imc") else {
        bail!("{name}: refused: its manifest has no measurement for this device");
    };
    ensure!(
        nic.measurement() == code.measurement.0,
        "{name}: refused: the device measures {}, the manifest says {}",
        Hex(nic.measurement()),
        code.measurement
    );
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}: accepted")?;
    writeln!(out, "  profile      {}", image.profile)?;
    writeln!(out, "  image id     {}", Hex(image.id))?;
    writeln!(out, "  program hash {} (header and firmware)", Hex(nic.program_hash()))?;
    writeln!(out, "  measurement  {} (manifest and device)", code.measurement)?;
    match &image.signer {
        Some(signer) => writeln!(out, "  signed with  {}", Hex(*signer))?,
        None => writeln!(out, "  not signed")?,
    }
    Ok(0)
}

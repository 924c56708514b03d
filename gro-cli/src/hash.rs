//! `gro hash`

use gro_bench::hex;
use gro_core::Release;
use std::io::Write as _;

/// Print the program hash of the library, of the tc object and of the NIC image.
///
/// The hash covers the engine's sources and the profile; it is compiled into every artefact and read back from each built one
/// here. Equal hashes say that all were built from the same engine; `gro verify` shows that they behave alike.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 all equal, 1 they differ, 2 an artefact cannot be read.")]
pub(crate) struct Args {
    /// Rule set; that of the running kernel, or linux-6.18 where none matches it
    #[arg(long, value_name = "PROFILE", value_parser = crate::engine::profile)]
    profile: Option<Release>,
    /// Print JSON (schema 1)
    #[arg(short, long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Hashes {
    schema: u32,
    equal: bool,
    profile: &'static str,
    source: String,
    library: String,
    tc: String,
    nic: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let profile = crate::engine::profile_or_running(args.profile);
    let library = profile.program_hash();
    let tc = gro_ebpf::Object::committed(profile).program_hash()?;
    // Booted, so that it is the firmware's own word; a device refuses an image whose header says another hash.
    let image = gro_nic::Image::parse(gro_nic::committed(profile))?;
    let nic = gro_nic::Nic::new(&image, &gro_nic::NicConfig::default())?.program_hash();
    let hashes = Hashes {
        schema: 1,
        equal: library == tc && library == nic,
        profile: profile.name(),
        source: hex(&gro_core::source_hash()),
        library: hex(&library),
        tc: hex(&tc),
        nic: hex(&nic),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&hashes)?)?;
    } else {
        writeln!(out, "profile  {}", hashes.profile)?;
        writeln!(out, "source   {}", hashes.source)?;
        for (name, hash) in [("library", &hashes.library), ("tc", &hashes.tc), ("nic", &hashes.nic)] {
            let note = if *hash == hashes.library { "" } else { "  differs: run cargo xtask images" };
            writeln!(out, "{name:8} {hash}{note}")?;
        }
    }
    Ok(u8::from(!hashes.equal))
}

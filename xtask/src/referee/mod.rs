//! `cargo xtask referee`: the simulator beside processor RTL.

mod build;

use anyhow::Result;

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only install the cores and build what runs them.
    #[arg(long)]
    build: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    build::ready()?;
    if args.build {
        return Ok(());
    }
    Ok(())
}

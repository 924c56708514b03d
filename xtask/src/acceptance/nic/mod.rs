//! Figures of the NIC. Each part is a document of its own, `docs/acceptance/nic-PART.json`: they take long, and each is about
//! something else.

mod host_stack;
mod offload;
mod tap;

use super::{Args, Figure};
use crate::bench_live;
use anyhow::{Result, ensure};

pub(super) struct Part {
    /// As `--only` names it.
    pub(super) name: &'static str,
    /// Of everything random behind the figures.
    pub(super) seeds: &'static str,
    pub(super) figures: Vec<Figure>,
}

/// A part: its name, its seeds and what measures it.
type Measure = (&'static str, &'static str, fn(&Args) -> Result<Vec<Figure>>);

const PARTS: [Measure; 3] = [
    ("tap", "content of flows 1", tap::figures),
    ("offload", "content of flows 1", offload::figures),
    ("smoltcp", "wire and content 1 and 2", host_stack::figures),
];

/// The parts that are asked for, all if none is.
pub(super) fn parts(args: &Args) -> Result<Vec<Part>> {
    for only in &args.only {
        let known: Vec<_> = PARTS.iter().map(|part| part.0).collect();
        ensure!(known.contains(&only.as_str()), "nic has no part {only}; it has {}", known.join(", "));
    }
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    PARTS
        .iter()
        .filter(|part| wanted(part.0))
        .map(|&(name, seeds, figures)| Ok(Part { name, seeds, figures: figures(args)? }))
        .collect()
}

/// The binary, which can run a NIC.
fn binary(args: &Args) -> Result<std::path::PathBuf> {
    let gro = bench_live::binary(args.gro.as_deref())?;
    ensure!(gro_bench::live::can_attach(&gro), "{} cannot attach", gro.display());
    Ok(gro)
}

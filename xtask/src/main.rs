//! Tasks of the project that cargo itself does not have: `cargo xtask <TASK>`.
#![forbid(unsafe_op_in_unsafe_fn)]

use clap::Parser;

mod acceptance;
mod bench;
#[cfg(target_os = "linux")]
mod bench_live;
mod check;
mod codegen;
mod determinism;
mod digests;
mod fuzz;
mod fuzz_image;
mod images;
mod mutants;
mod nic_map;
mod own_tunnel;
mod provenance;
mod referee;
mod round_trip;
#[path = "../../gro-core/source_hash.rs"]
mod source_hash;
mod toolchain;
mod traces;

/// Builds device images, records traces, runs every check.
#[derive(Parser, Debug)]
#[command(name = "xtask")]
enum Task {
    /// Installs what is missing, builds the images and runs every test.
    Test,
    /// Writes the engine's parser from gro-core/parser.json.
    Codegen(codegen::Args),
    /// Builds the device images and their manifest.
    Images(images::Args),
    /// Writes what each byte of the NIC's program and data is for into docs/firmware-map.md.
    NicMap(nic_map::Args),
    /// Records and builds the traces that ship with the project.
    Traces(traces::Args),
    /// Writes the expected digests into the traces' manifest, once all backends agree.
    Digests,
    /// Compares our backends with the running kernel on random batches.
    FuzzKernel(fuzz::Args),
    /// Changes and forges NIC images: the loader must refuse them, or the machine contain them.
    FuzzImage(fuzz_image::Args),
    /// Sends the merged packets of the shipped traces through the running kernel's GSO.
    RoundTrip,
    /// Switches each rule off and names what notices, in SPECIFICATION.md.
    Mutants(mutants::Args),
    /// Repeats random batches through the running kernel, which must do the same each time.
    Determinism(determinism::Args),
    /// Does what the tutorial about a tunnel of one's own says, in a copy of the checkout, and looks that it merges.
    OwnTunnel,
    /// Runs images on processor RTL and compares with the simulator.
    Referee(referee::Args),
    /// Measures what the userspace engine costs beside its peers, and writes docs/benchmarks/engine.json and engine.html.
    Bench(bench::Args),
    /// Measures what it costs to receive live traffic, by who coalesces, and writes docs/benchmarks/live.json.
    #[cfg(target_os = "linux")]
    BenchLive(bench_live::Args),
    /// Measures the figures of an issue and writes them, dated, to docs/acceptance.
    Acceptance(acceptance::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Test => check::test(),
        Task::Codegen(args) => codegen::run(&args),
        Task::Images(args) => images::run(&args),
        Task::NicMap(args) => nic_map::run(&args),
        Task::Traces(args) => traces::run(&args),
        Task::Digests => digests::run(),
        Task::FuzzKernel(args) => fuzz::run(&args),
        Task::FuzzImage(args) => fuzz_image::run(&args),
        Task::RoundTrip => round_trip::run(),
        Task::Mutants(args) => mutants::run(&args),
        Task::Determinism(args) => determinism::run(&args),
        Task::Referee(args) => referee::run(&args),
        Task::Bench(args) => bench::run_task(&args),
        Task::OwnTunnel => own_tunnel::run(),
        #[cfg(target_os = "linux")]
        Task::BenchLive(args) => bench_live::run_task(&args).map(drop),
        Task::Acceptance(args) => acceptance::run_all(&args),
    }
}

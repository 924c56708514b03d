//! Tasks of the project that cargo itself does not have: `cargo xtask <TASK>`.

use clap::Parser;

mod traces;

/// Builds device images, records traces, runs every check.
#[derive(Parser, Debug)]
#[command(name = "xtask")]
enum Task {
    /// Records and builds the traces that ship with the project.
    Traces(traces::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Traces(args) => traces::run(&args),
    }
}

//! `gro`: one engine, several targets, and the proof that they agree.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod attach;
#[cfg(target_os = "linux")]
mod detach;
mod engine;
mod explain;
mod graph;
mod hash;
#[cfg(target_os = "linux")]
mod live;
mod man;
mod nic;
#[cfg(target_os = "linux")]
mod offload;
mod progress;
mod replay;
#[cfg(target_os = "linux")]
mod stats;
mod verify;

use clap::{CommandFactory as _, Parser, Subcommand};
use std::process::ExitCode;

/// Generic receive offload as a program: attach it to an interface, compare its backends, replay captures, identify builds.
///
/// Exit status: 0 equal or done, 1 different, 2 trouble.
#[derive(Debug, Parser)]
#[command(name = "gro", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Args),
    #[cfg(target_os = "linux")]
    Attach(attach::Args),
    #[cfg(target_os = "linux")]
    Detach(detach::Args),
    #[cfg(target_os = "linux")]
    Stats(stats::Args),
    Replay(replay::Args),
    Explain(explain::Args),
    Graph(graph::Args),
    Hash(hash::Args),
    Nic(nic::Args),
    #[cfg(target_os = "linux")]
    Offload(offload::Args),
    Man(man::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Verify(args) => verify::run(&args),
        #[cfg(target_os = "linux")]
        Command::Attach(args) => attach::run(&args),
        #[cfg(target_os = "linux")]
        Command::Detach(args) => detach::run(&args),
        #[cfg(target_os = "linux")]
        Command::Stats(args) => stats::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Hash(args) => hash::run(&args),
        Command::Nic(args) => nic::run(&args),
        #[cfg(target_os = "linux")]
        Command::Offload(args) => offload::run(&args),
        Command::Man(args) => man::run(&args, Cli::command()),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gro: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The reader of our output, `head` say, had enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.chain().any(closed)
}

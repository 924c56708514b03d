//! `gro detach`

use gro_ebpf::device::netns;
use gro_ebpf::live::offloads::Restored;
use gro_ebpf::live::registry;
use std::io::Write as _;
use std::path::PathBuf;

/// Detach from an interface: deliver what is held, remove the program or end the agent, restore offloads.
///
/// Where nothing is attached there is nothing to do: that is said, and is no error.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro detach -i eth0\n\nExit status: 0 nothing is attached any more, 2 trouble."
)]
pub(crate) struct Args {
    /// Interface to detach from
    #[arg(short, long, value_name = "IF")]
    interface: String,
    /// Directory of the pins; /sys/fs/bpf/gro/IF@NETNS
    #[arg(long, value_name = "DIR")]
    pin: Option<PathBuf>,
    /// Network namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.netns {
        Some(name) => netns::within(name, || detach(args))?,
        None => detach(args),
    }
}

fn detach(args: &Args) -> anyhow::Result<u8> {
    let Some(found) = registry::find(&args.interface, args.pin.as_deref())? else {
        eprintln!("note: nothing is attached to {}", args.interface);
        return Ok(0);
    };
    let detached = found.detach()?;
    tell(&args.interface, &detached.restored);
    match detached.last {
        Some(last) => writeln!(
            std::io::stdout(),
            "detached from {}: {} packets came in, {} were delivered, {} of them merged",
            last.interface,
            last.wire_packets,
            last.packets,
            last.merged_packets
        )?,
        None => eprintln!("note: the agent had been killed; what it left is removed"),
    }
    Ok(0)
}

/// What became of the offloads.
pub(crate) fn tell(interface: &str, restored: &Restored) {
    for change in &restored.done {
        eprintln!(
            "note: {interface}: {} is {} again",
            change.feature,
            if change.from { "on" } else { "off" }
        );
    }
    for left in &restored.left {
        eprintln!("note: {interface}: {} was not taken back: {}", left.change, left.why);
    }
}

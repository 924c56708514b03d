//! `gro attach`

use crate::live::Live;
use anyhow::Context as _;
use gro_core::{Config, Release, UdpMode};
use gro_ebpf::device::netns;
use gro_ebpf::live::agent::{self, Event, Events};
use gro_ebpf::live::preflight::{self, Asked, Clear, Finding, NotClear};
use gro_ebpf::live::{Attachment, Hook, Mode, Options, pins, registry};
use gro_ebpf::via_tap::{ViaTap, ViaTapOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Coalesce the traffic of an interface: in place with the tc program, or through a TAP device.
///
/// In place (the default) the program is attached at tc ingress, before the other programs there, and stays when this command ends:
/// `gro stats` shows its counters, `gro detach` delivers what it holds and removes it. It merges TCP that a socket of this machine
/// receives, up to 16,000 bytes a packet.
///
/// --via-tap runs the engine in this process, which sends merged packets back to the interface through a TAP device: up to 448 KB,
/// with the segment size that forwarding needs, and UDP on request. It stays in the foreground.
///
/// First it looks at the interface: what would be in the way is said with its cure, and nothing is changed unless --manage-offloads says so.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro attach -i eth0 --manage-offloads && gro stats -i eth0\n  gro attach -i eth0 --foreground\n  \
                        gro attach -i eth0 --via-tap --gro-max-size 65536 --udp\n\n\
                        Exit status: 0 attached (--foreground and --via-tap: and detached again), 2 trouble.\n\
                        `gro man` has what to expect, with figures."
)]
pub(crate) struct Args {
    /// Interface whose incoming traffic is coalesced
    #[arg(short, long, value_name = "IF")]
    interface: String,
    /// Network namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// Most bytes of a merged packet, its IP header included: to 16000 in place, which is its default, to 458752 via TAP, where it is 65536
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(Config::MAX_SIZE)))]
    gro_max_size: Option<u32>,
    /// Switch offloads off that merge before the engine does; detaching restores them
    #[arg(long)]
    manage_offloads: bool,
    /// Rule set; that of the running kernel, or linux-6.18 where none matches it
    #[arg(long, value_name = "PROFILE", value_parser = crate::engine::profile)]
    profile: Option<Release>,
    /// Stay, show counters each second, and detach at the end (^C)
    #[arg(long)]
    foreground: bool,
    /// Print JSON (schema 1): what was attached; with --foreground a snapshot in a line each second
    #[arg(short, long)]
    json: bool,
    #[command(flatten)]
    in_place: InPlaceArgs,
    #[command(flatten)]
    via_tap: ViaTapArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "In place")]
struct InPlaceArgs {
    /// Before the other programs of the hook (the default): they see merged packets
    #[arg(long, conflicts_with = "via_tap")]
    first: bool,
    /// Behind the other programs of the hook
    #[arg(long, conflicts_with_all = ["first", "via_tap"])]
    last: bool,
    /// Use a filter of a clsact qdisc though the kernel has TCX
    #[arg(long, conflicts_with = "via_tap")]
    clsact: bool,
    /// Directory of the pins, in a BPF file system; /sys/fs/bpf/gro/IF@NETNS
    #[arg(long, value_name = "DIR", conflicts_with = "via_tap")]
    pin: Option<PathBuf>,
    /// Merge also flows that no socket here receives: only for traffic that leaves over an MTU of 16000 or more, or not at all
    #[arg(long, conflicts_with = "via_tap")]
    forwarding: bool,
    /// Merged packets that may be on their way, on each CPU; each takes a buffer of 32 KiB
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536), conflicts_with = "via_tap")]
    carriers: u32,
    /// Frames that may be on their way round the backlog, on each CPU: a power of two
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=65_536), conflicts_with = "via_tap")]
    flights: u32,
    /// For tests: drop one of N carriers
    #[arg(long, value_name = "N", default_value_t = 0, hide = true, conflicts_with = "via_tap")]
    drop_carriers: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Via TAP")]
struct ViaTapArgs {
    /// Deliver through a TAP device, from this process
    #[arg(long)]
    via_tap: bool,
    /// Name of the TAP device; %d becomes a number
    #[arg(long, value_name = "NAME", default_value = "gro%d", requires = "via_tap")]
    tap: String,
    /// Queues, each with an engine and a thread; one for each CPU
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256), requires = "via_tap")]
    queues: Option<u32>,
    /// Coalesce UDP, too
    #[arg(long, requires = "via_tap")]
    udp: bool,
    /// Frames that the ring of each queue has room for
    #[arg(long, value_name = "FRAMES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(64..=1_048_576), requires = "via_tap")]
    ring: u32,
}

/// What `-j` prints when it is done, or when something is in the way.
#[derive(serde::Serialize)]
struct Report<'a> {
    schema: u32,
    attached: Option<Attached<'a>>,
    /// Offloads that were switched.
    changes: &'a [gro_ebpf::live::offloads::Change],
    findings: &'a [Finding],
}

#[derive(serde::Serialize)]
struct Attached<'a> {
    interface: &'a str,
    netns: u64,
    mode: Mode,
    hook: &'a str,
    profile: &'a str,
    program_hash: &'a str,
    /// Directory of the pins, or address of the agent.
    path: &'a Path,
}

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.netns {
        Some(name) => netns::within(name, || attach(args))?,
        None => attach(args),
    }
}

fn attach(args: &Args) -> anyhow::Result<u8> {
    let netns = netns::current().context("reading the network namespace")?;
    let config = config(args)?;
    let pin = args.in_place.pin.clone().unwrap_or_else(|| pins::directory(&args.interface, netns));
    let asked = Asked {
        interface: &args.interface,
        mode: if args.via_tap.via_tap { Mode::ViaTap } else { Mode::InPlace },
        pin: &pin,
        hook: args.in_place.clsact.then_some(Hook::Clsact),
        profile: args.profile,
        config,
        forwarding: args.in_place.forwarding,
        netns: args.netns.as_deref(),
    };
    let clear = match preflight::clear(&asked, args.manage_offloads) {
        Err(NotClear::Blocked(findings)) if args.json => {
            print(&Report { schema: 1, attached: None, changes: &[], findings: &findings })?;
            return Err(NotClear::Blocked(findings).into());
        }
        clear => clear?,
    };
    if !args.json {
        for finding in &clear.findings {
            eprintln!("note: {finding}");
        }
        for change in &clear.notes.changes {
            eprintln!("note: {}: {change}, until it is detached", args.interface);
        }
    }
    let result = match asked.mode {
        Mode::InPlace => in_place(args, &asked, &clear),
        Mode::ViaTap => via_tap(args, &asked, &clear, &agent::address(&args.interface, netns)),
    };
    result.map(|()| 0)
}

fn in_place(args: &Args, asked: &Asked<'_>, clear: &Clear) -> anyhow::Result<()> {
    let options = Options {
        interface: args.interface.clone(),
        first: !args.in_place.last,
        pin: asked.pin.to_owned(),
        config: asked.config,
        forwarding: asked.forwarding,
        profile: profile(args),
        carriers: args.in_place.carriers,
        flights: args.in_place.flights,
        hook: asked.hook,
        notes: clear.notes.to_text(),
        drop_carriers: args.in_place.drop_carriers,
    };
    // Before there is something to detach, so that no signal ends the process in between.
    let mut events = args.foreground.then(|| Events::new(SECOND)).transpose()?;
    let attachment = Attachment::attach(&options).inspect_err(|_| restore(args, clear))?;
    let place = if options.first { "first" } else { "last" };
    report(args, clear, &attachment.snapshot()?, asked.pin, || {
        let hook = match attachment.hook() {
            Hook::Tcx => "TCX",
            Hook::Clsact => "clsact",
        };
        format!("attached to {} by {hook}, {place}; pins in {}", args.interface, asked.pin.display())
    })?;
    let Some(events) = &mut events else { return Ok(()) };
    let mut live = Live::new(args.json, attachment.snapshot()?);
    let mut stay = || -> anyhow::Result<bool> {
        loop {
            match events.wait()? {
                Event::Stop => return Ok(true),
                Event::Asked(_) => {}
                Event::Tick if !pins::is_used(asked.pin) => return Ok(false),
                Event::Tick => live.show(attachment.snapshot()?)?,
            }
        }
    };
    // A reader that left ends it as ^C does; so does trouble, which is told when it is detached.
    let stayed = stay();
    if matches!(stayed, Ok(false)) {
        live.end(None)?;
        eprintln!("note: somebody else detached it");
        return Ok(());
    }
    let detached = registry::detach(attachment, asked.pin)?;
    crate::detach::tell(&args.interface, &detached.restored);
    live.end(detached.last)?;
    stayed.map(drop)
}

fn via_tap(args: &Args, asked: &Asked<'_>, clear: &Clear, address: &Path) -> anyhow::Result<()> {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
    let options = ViaTapOptions {
        interface: args.interface.clone(),
        tap: args.via_tap.tap.clone(),
        queues: args.via_tap.queues.unwrap_or(cpus),
        config: asked.config,
        profile: profile(args),
        ring_frames: args.via_tap.ring,
    };
    let start = || -> anyhow::Result<_> {
        let mut events = Events::new(SECOND)?;
        events.listen(address, &clear.notes)?;
        Ok((events, ViaTap::start(&options)?))
    };
    let (mut events, tap) = start().inspect_err(|_| restore(args, clear))?;
    report(args, clear, &tap.snapshot(), address, || {
        format!("delivering {} via {}; ^C or `gro detach -i {0}` ends it", args.interface, tap.tap())
    })?;
    let mut live = Live::new(args.json, tap.snapshot());
    let result = loop {
        match events.wait() {
            Ok(Event::Stop) => break Ok(()),
            Ok(Event::Asked(stream)) => {
                // Who asked and did not wait for the answer has none.
                let _ = agent::answer(stream, &tap.snapshot());
            }
            // Ending it says why.
            Ok(Event::Tick) if !tap.is_running() => break Ok(()),
            Ok(Event::Tick) => {
                if live.show(tap.snapshot()).is_err() {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    let last = tap.stop();
    restore(args, clear);
    live.end(Some(last?))?;
    Ok(result?)
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let via_tap = args.via_tap.via_tap;
    let base = Config::DEFAULT;
    let most = gro_ebpf::abi::MAX_SIZE;
    let size = args.gro_max_size.unwrap_or(if via_tap { base.gro_max_size } else { most });
    anyhow::ensure!(
        via_tap || size <= most,
        "--gro-max-size {size}: tc builds packets of {most} bytes at most; --via-tap delivers longer ones"
    );
    Ok(Config {
        gro_max_size: size,
        gro_ipv4_max_size: size,
        hz: gro_bench::kernel::hz().unwrap_or(base.hz),
        udp: if args.via_tap.udp { UdpMode::Forwarding } else { UdpMode::Off },
        ..base
    })
}

/// Where no rule set matches the running kernel, pre-flight has said so.
fn profile(args: &Args) -> Release {
    args.profile.or_else(|| gro_bench::kernel::profile().ok()).unwrap_or_default()
}

/// Puts the offloads back; what hinders that is told, and hides no other error.
fn restore(args: &Args, clear: &Clear) {
    match clear.notes.restore() {
        Ok(restored) => crate::detach::tell(&args.interface, &restored),
        Err(error) => eprintln!("gro: {error}"),
    }
}

fn report(
    args: &Args,
    clear: &Clear,
    snapshot: &gro_ebpf::live::Snapshot,
    path: &Path,
    sentence: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if !args.json {
        writeln!(std::io::stdout(), "{}", sentence())?;
        return Ok(());
    }
    let attached = Attached {
        interface: &snapshot.interface,
        netns: snapshot.netns,
        mode: snapshot.mode,
        hook: &snapshot.hook,
        profile: &snapshot.profile,
        program_hash: &snapshot.program_hash,
        path,
    };
    print(&Report {
        schema: 1,
        attached: Some(attached),
        changes: &clear.notes.changes,
        findings: &clear.findings,
    })
}

fn print(report: &Report<'_>) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{}", serde_json::to_string(report)?)?;
    Ok(())
}

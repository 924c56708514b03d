//! `gro nic run`

use super::control::{self, ConfigStatus, LaneStatus, Request, Status};
use super::lane::{Handle, Lane};
use crate::engine::Switch;
use crate::live::Live;
use anyhow::{Context as _, bail, ensure};
use gro_bench::hex;
use gro_bench::trace::Trace;
use gro_core::{Config, Meta, Release, UdpMode};
use gro_ebpf::device::ethtool::{self, Offload};
use gro_ebpf::device::{Device, netns, sysfs};
use gro_ebpf::live::Snapshot;
use gro_ebpf::live::agent::{Event, Events};
use gro_ebpf::live::offloads::Notes;
use gro_ebpf::via_tap::{Player, ViaTap, ViaTapOptions, deliverable};
use gro_nic::Image;
use gro_nic::identity::config_hash;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Run a NIC: an image on the simulated device, between an interface or a capture and a network device of this host.
///
/// Frames go by way of rings, firmware, completions and driver to a TAP device, as packets with a segment size (`virtio_net_hdr`)
/// where the NIC merged them. Of an interface it takes what `gro attach --via-tap` takes: TCP, and UDP on request; the rest stays in the
/// kernel, and so does what the host sends. What comes in at the TAP device goes on as from the interface, so that addresses, routes
/// and sockets stay as they are. When the process ends, in whatever way, frames go their usual way again.
///
/// A capture is played as fast as the device works, its polls as recorded, and goes up the stack at the TAP device.
///
/// A lane whose firmware hangs, stops or lies is given up: it loses no frame and passes every one as it comes. Its status says why, and the
/// command ends with status 2.
///
/// A running NIC listens at /run/gro/nic/TAP@NETNS.sock, for `gro offload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gro nic run --rx eth0 --tap gro0\n  \
                        gro nic run --image my.nicimg --rx eth0 --tap gro0 --offload off --gro-max-size 16000 &\n  \
                        gro attach -i gro0 && gro offload on -i gro0\n  \
                        ip tuntap add gro1 mode tap && tcpdump -ni gro1 & gro nic run --rx traces/tcp4-bulk.pcapng.zst --tap gro1\n\n\
                        Exit status: 0 ended as asked (^C) or played, 2 trouble.")]
pub(crate) struct Args {
    /// Image to load (`-` for standard input); the built-in one of the running kernel's rule set
    #[arg(long, value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Interface that is the NIC's port, or a capture (pcapng or pcap, plain or zstd)
    #[arg(long, value_name = "IF|FILE")]
    rx: String,
    /// Name of its network device; %d becomes a number
    #[arg(long, value_name = "NAME", default_value = "gro%d")]
    tap: String,
    /// Most bytes of a merged packet, its IP header included, up to 458752
    #[arg(long, value_name = "BYTES", default_value_t = Config::DEFAULT.gro_max_size, value_parser = clap::value_parser!(u32).range(1..=i64::from(Config::MAX_SIZE)))]
    gro_max_size: u32,
    /// Coalesce UDP, too
    #[arg(long)]
    udp: bool,
    /// Whether it coalesces from the start, or passes every frame as it came
    #[arg(long, value_enum, value_name = "on|off", default_value = "on")]
    offload: Switch,
    /// Lanes, each a device core with its rings, among which flows are shared out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    lanes: u32,
    /// Frames that the ring of the interface has room for, each lane
    #[arg(long, value_name = "FRAMES", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    ring: u32,
    /// CPUs that run the stack behind the network device, as bits in hexadecimal (its rps_cpus); those without a lane, if there are
    /// some. 0 leaves it to the lane's CPU, where each packet is through before the next one comes: a program at the device then finds
    /// nothing to merge
    #[arg(long, value_name = "MASK", value_parser = mask)]
    rps: Option<u64>,
    /// Network namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// Print JSON (schema 1): the status in a line each second
    #[arg(short, long)]
    json: bool,
}

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.netns {
        Some(name) => netns::within(name, || in_place(args))?,
        None => in_place(args),
    }
}

fn in_place(args: &Args) -> anyhow::Result<u8> {
    let image = match &args.image {
        Some(path) => super::open(path)?,
        None => Image::parse(gro_nic::committed(crate::engine::profile_or_running(None)))?,
    };
    let profile = Release::by_name(&image.profile).with_context(|| {
        format!("the image follows {}, which this build of gro does not know", image.profile)
    })?;
    let config = Config {
        gro_max_size: args.gro_max_size,
        gro_ipv4_max_size: args.gro_max_size,
        udp: if args.udp { UdpMode::Forwarding } else { UdpMode::Off },
        ..Config::DEFAULT
    };
    let nic = Setting {
        image: &image,
        profile,
        // As the lanes will have it.
        config: deliverable(config)?,
        netns: netns::current().context("reading the network namespace")?,
        coalesce: matches!(args.offload, Switch::On),
    };
    if Device::find(&args.rx).context("looking the interface up")?.is_some() {
        return port(args, nic);
    }
    let path = Path::new(&args.rx);
    ensure!(path.exists(), "--rx {}: there is no interface and no file of that name", args.rx);
    play(args, nic, path)
}

/// What the NIC is, but for its lanes.
struct Setting<'a> {
    image: &'a Image,
    profile: Release,
    config: Config,
    netns: u64,
    coalesce: bool,
}

impl Setting<'_> {
    fn status(&self, rx: &str, tap: &str, lanes: &[Handle], mut counters: Snapshot) -> Status {
        let lanes: Vec<_> = lanes
            .iter()
            .map(|lane| LaneStatus {
                program_hash: hex(&lane.identity.program_hash),
                measurement: hex(&lane.identity.measurement),
                failure: lane.failure().map(str::to_owned),
            })
            .collect();
        self.profile.name().clone_into(&mut counters.profile);
        counters.program_hash = lanes.first().map(|lane| lane.program_hash.clone()).unwrap_or_default();
        Status {
            schema: 1,
            rx: rx.to_owned(),
            tap: tap.to_owned(),
            netns: self.netns,
            pid: std::process::id(),
            image_id: hex(&self.image.id),
            profile: self.image.profile.clone(),
            lanes,
            config: ConfigStatus::from(&self.config),
            config_hash: hex(&config_hash(&self.image.profile, &self.config)),
            coalesce: self.coalesce,
            counters,
        }
    }
}

/// Between an interface and its stack.
fn port(args: &Args, mut nic: Setting<'_>) -> anyhow::Result<u8> {
    let options = ViaTapOptions {
        interface: args.rx.clone(),
        tap: args.tap.clone(),
        queues: args.lanes,
        config: nic.config,
        profile: nic.profile,
        ring_frames: args.ring,
    };
    // Before there is something to end, so that no signal ends the process in between.
    let mut events = Events::new(SECOND)?;
    let mut lanes = Vec::new();
    let port = ViaTap::start_with(&options, |_, config| {
        let (lane, handle) = Lane::start(nic.image, config, nic.coalesce).map_err(std::io::Error::other)?;
        lanes.push(handle);
        Ok(lane)
    })?;
    let tap = port.tap().to_owned();
    // A device whose driver merges by itself has the kernel's GRO off; it would not see a packet here anyway.
    ethtool::set(&tap, Offload::Gro, false).with_context(|| format!("{tap}: switching GRO off"))?;
    share(&tap, args)?;
    let address = control::address(&tap, nic.netns);
    control::make_folder().context("making the folder of the control socket")?;
    events.listen(&address, &Notes::default())?;
    if !args.json {
        let mut out = std::io::stdout();
        let state = if nic.coalesce { "coalescing" } else { "passing every frame" };
        writeln!(out, "{} is the port of {tap}, {state}; control socket {}", args.rx, address.display())?;
    }
    let status = |nic: &Setting<'_>, lanes: &[Handle]| nic.status(&args.rx, &tap, lanes, port.snapshot());
    let mut live = Live::new(false, status(&nic, &lanes).counters);
    let show = |status: Status, live: &mut Live| -> std::io::Result<()> {
        match args.json {
            true => writeln!(std::io::stdout(), "{}", serde_json::to_string(&status)?),
            false => live.show(status.counters),
        }
    };
    let mut told = vec![false; lanes.len()];
    let result = loop {
        match events.wait() {
            Ok(Event::Stop) => break Ok(()),
            Ok(Event::Asked(stream)) => {
                // Who asked and did not wait for the answer has none.
                let _ = control::serve(&stream, |request| {
                    if let Request::Configure { coalesce } = request {
                        configure(&lanes, nic.config, coalesce)?;
                        nic.coalesce = coalesce;
                    }
                    Ok(status(&nic, &lanes))
                });
            }
            // Ending it says why.
            Ok(Event::Tick) if !port.is_running() => break Ok(()),
            Ok(Event::Tick) => {
                for (lane, told) in lanes.iter().zip(&mut told).filter(|(_, told)| !**told) {
                    let Some(why) = lane.failure() else { continue };
                    eprintln!("gro: a lane was given up, and passes every frame as it comes: {why}");
                    *told = true;
                }
                if show(status(&nic, &lanes), &mut live).is_err() {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    let last = nic.status(&args.rx, &tap, &lanes, port.stop()?);
    end(args, live, last)?;
    Ok(result.map(|()| 0)?)
}

fn mask(text: &str) -> Result<u64, std::num::ParseIntError> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
}

/// Says which CPUs run the stack behind the device.
fn share(tap: &str, args: &Args) -> anyhow::Result<()> {
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32).min(64);
    let others = (args.lanes.min(cpus)..cpus).fold(0, |mask, cpu| mask | 1_u64 << cpu);
    let mask = args.rps.unwrap_or(others);
    for queue in (0..args.lanes).filter(|_| mask != 0) {
        let attribute = format!("queues/rx-{queue}/rps_cpus");
        sysfs::set(tap, &attribute, &format!("{mask:x}"))
            .with_context(|| format!("{tap}: setting {attribute}; --rps 0 leaves it"))?;
    }
    Ok(())
}

/// All lanes at once: each switches between two of its polls.
fn configure(lanes: &[Handle], config: Config, coalesce: bool) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let answers: Vec<_> = lanes.iter().map(|lane| lane.configure(config, coalesce)).collect();
    let deadline = Instant::now() + PATIENCE;
    for answer in answers {
        answer
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .context("a lane did not switch; those that did stay switched")?;
    }
    Ok(())
}

/// A capture into a TAP device.
fn play(args: &Args, nic: Setting<'_>, path: &Path) -> anyhow::Result<u8> {
    if args.lanes != 1 {
        bail!("--lanes {}: a capture is played by one lane", args.lanes);
    }
    let trace = Trace::open(path)?;
    let mut lanes = Vec::new();
    let mut player = Player::open(&args.tap, nic.config, |config| {
        let (lane, handle) = Lane::start(nic.image, config, nic.coalesce).map_err(std::io::Error::other)?;
        lanes.push(handle);
        Ok(lane)
    })?;
    let tap = player.tap().to_owned();
    ethtool::set(&tap, Offload::Gro, false).with_context(|| format!("{tap}: switching GRO off"))?;
    let live = Live::new(false, player.snapshot());
    for poll in &trace.polls {
        let frames = trace.frames.get(poll.frames.clone()).unwrap_or_default();
        let told = |frame: &gro_bench::trace::Frame| {
            let vlan = frame.vlan.map_or(0, |tag| u32::from(tag.tpid) << 16 | u32::from(tag.tci));
            (frame.bytes.clone(), Meta { hash: frame.hash, vlan, verified: false })
        };
        player.poll(frames.iter().map(told))?;
    }
    let last = nic.status(&args.rx, &tap, &lanes, player.snapshot());
    end(args, live, last)?;
    Ok(0)
}

fn end(args: &Args, live: Live, last: Status) -> anyhow::Result<()> {
    if args.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&last)?)?;
    } else {
        live.end(Some(last.counters))?;
    }
    // No frame was lost, but the figures are not those of a NIC that works.
    match last.lanes.iter().find_map(|lane| lane.failure.as_ref()) {
        Some(why) => bail!("a lane was given up, and passed every frame since as it came: {why}"),
        None => Ok(()),
    }
}

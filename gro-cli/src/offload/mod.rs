//! `gro offload`

mod links;
mod switch;

use crate::nic::control::{self, Request, Status};
use anyhow::{Context as _, bail};
use gro_ebpf::device::netns;
use gro_ebpf::live::{Activity, Attachment, pins};
use gro_nic::Image;
use links::Link;
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;

/// Hand coalescing over to a NIC and back, if it does exactly what the kernel's program does.
///
/// The NIC is a running `gro nic run`, the program that of `gro attach` on the NIC's network device. --check compares what both say
/// of themselves: the program hash in the loaded program's frozen map with the one that the firmware reports, the device's measurement of
/// its memory with the image, rule sets, and config hashes. `on` goes on only if every link agrees: the program delivers what it holds and
/// rests, then the NIC coalesces. `off` goes back, whether or not they agree: the NIC delivers what it holds and passes every frame, then
/// the program coalesces. No packet is lost, overtaken within its flow or merged twice by either switch.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro nic run --rx eth0 --tap gro0 --offload off --gro-max-size 16000 &\n  gro attach -i gro0\n  \
                        gro offload --check -i gro0\n  gro offload on -i gro0 && gro offload --check -j | jq .offload\n  gro offload off\n\n\
                        Exit status: 0 they agree, or done; 1 a link broke, nothing was switched; 2 it cannot be found out or did not work."
)]
pub(crate) struct Args {
    /// Switch
    #[arg(value_enum, value_name = "on|off", required_unless_present = "check", conflicts_with = "check")]
    switch: Option<crate::engine::Switch>,
    /// Only compare
    #[arg(long)]
    check: bool,
    /// Network device of the NIC; may be left out where there is one NIC
    #[arg(short, long, value_name = "TAP")]
    interface: Option<String>,
    /// What the NIC's image should be (`-` for standard input); the built-in one of its rule set
    #[arg(long, value_name = "IMAGE")]
    image: Option<PathBuf>,
    /// Directory of the program's pins; /sys/fs/bpf/gro/TAP@NETNS
    #[arg(long, value_name = "DIR")]
    pin: Option<PathBuf>,
    /// Network namespace: a name of `ip netns`, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// Print JSON (schema 1)
    #[arg(short, long)]
    json: bool,
}

/// What `-j` prints.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    interface: &'a str,
    /// Whether every link agrees.
    agree: bool,
    /// Who coalesces now.
    offload: &'a str,
    links: &'a [Link],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.netns {
        Some(name) => netns::within(name, || offload(args))?,
        None => offload(args),
    }
}

fn offload(args: &Args) -> anyhow::Result<u8> {
    let netns = netns::current().context("reading the network namespace")?;
    let tap = match &args.interface {
        Some(tap) => tap.clone(),
        None => only(control::taps(netns).context("looking for running NICs: run as root")?)?,
    };
    let address = control::address(&tap, netns);
    let mut status = control::ask(&address, Request::Status)?;
    let pin = args.pin.clone().unwrap_or_else(|| pins::directory(&tap, netns));
    let mut attachment = Attachment::open(&pin)
        .with_context(|| format!("the program on {tap} (`gro attach -i {tap}` attaches it)"))?;

    let links = links::compare(&status, &mut attachment, reference(args, &status)?.as_ref())?;
    let agree = links.iter().all(|link| link.agrees);
    let refused = match args.switch {
        None => false,
        Some(crate::engine::Switch::On) if !agree => true,
        Some(crate::engine::Switch::On) if who(status.coalesce, attachment.activity()?) == "on" => false,
        Some(crate::engine::Switch::On) => {
            status = switch::on(&address, &mut attachment)?;
            false
        }
        Some(crate::engine::Switch::Off) => {
            status = switch::off(&address, &mut attachment)?;
            false
        }
    };
    let offload = who(status.coalesce, attachment.activity()?);
    let mut out = std::io::stdout().lock();
    if args.json {
        let report = Report { schema: 1, interface: &tap, agree, offload, links: &links };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        for link in &links {
            writeln!(out, "{link}")?;
        }
        let coalesces = match offload {
            "on" => "the NIC coalesces, the program rests",
            "off" => "the program coalesces, the NIC passes every frame",
            "both" => "both coalesce",
            "nic" => "the NIC coalesces, the program still delivers what it holds",
            _ => "nobody coalesces",
        };
        writeln!(out, "{tap}: {}; {coalesces}", if agree { "all agree" } else { "they do not agree" })?;
    }
    out.flush()?;
    if refused {
        for link in links.iter().filter(|link| !link.agrees) {
            eprintln!("gro: not switched: {link}");
        }
    }
    let fails = match args.switch {
        Some(crate::engine::Switch::Off) => false,
        _ => !agree,
    };
    Ok(u8::from(fails))
}

/// The only NIC.
fn only(mut taps: Vec<String>) -> anyhow::Result<String> {
    match (taps.pop(), taps.is_empty()) {
        (Some(tap), true) => Ok(tap),
        (Some(tap), false) => bail!("there are several NICs: give -i, one of {}, {tap}", taps.join(", ")),
        (None, _) => bail!("no NIC runs here: `gro nic run` starts one"),
    }
}

/// What the image of the NIC should be; `None` where there is none to compare with.
fn reference(args: &Args, status: &Status) -> anyhow::Result<Option<Image>> {
    if let Some(path) = &args.image {
        return crate::nic::open(path).map(Some);
    }
    let profile = gro_core::Release::by_name(&status.profile);
    Ok(profile.map(|profile| Image::parse(gro_nic::committed(profile))).transpose()?)
}

fn who(nic: bool, program: Activity) -> &'static str {
    match (nic, program) {
        (true, Activity::Rests) => "on",
        (false, Activity::Coalesces) => "off",
        (true, Activity::Coalesces) => "both",
        (true, _) => "nic",
        (false, _) => "neither",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_nic_needs_no_name() {
        assert_eq!(only(vec!["gro0".into()]).unwrap(), "gro0");
        assert!(only(vec!["gro0".into(), "gro1".into()]).unwrap_err().to_string().contains("gro0, gro1"));
        assert!(only(Vec::new()).unwrap_err().to_string().contains("gro nic run"));
    }
}

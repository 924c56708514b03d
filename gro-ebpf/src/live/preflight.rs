//! What stands in the way of an attachment, why, and the cure.
//!
//! [`Facts`] are read from the system, `judge` makes [`Finding`]s of them. What only the kernel can tell, the verifier's word
//! above all, comes as an error of the attachment itself.

mod facts;

pub use facts::{AgentState, Facts, PinState};

use super::offloads::{Change, Notes, OffloadError};
use super::{Hook, Mode};
use crate::device::Xdp;
use gro_core::{Config, Release};
use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// What is to be attached.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Interface of the calling thread's namespace.
    pub interface: &'a str,
    /// Who is to deliver.
    pub mode: Mode,
    /// Directory of the pins, for [`Mode::InPlace`].
    pub pin: &'a Path,
    /// The hook, if one was asked for.
    pub hook: Option<Hook>,
    /// The rule set, if one was asked for.
    pub profile: Option<Release>,
    /// The engine's config.
    pub config: Config,
    /// Whether flows without a local socket are merged, too.
    pub forwarding: bool,
    /// Name of the calling thread's namespace, so that a cure names it.
    pub netns: Option<&'a str>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// An attachment fails, or does nothing of use.
    Blocks,
    /// It works, with a limit.
    Warns,
}

/// Something in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is so.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to do; commands in backticks.
    pub cure: String,
    /// Whether it works nevertheless.
    pub severity: Severity,
    /// What `--manage-offloads` does about it.
    pub managed: Option<Change>,
}

impl Finding {
    /// Whether it blocks, and nothing that is managed takes it away.
    pub fn blocks(&self, managed: bool) -> bool {
        self.severity == Severity::Blocks && !(managed && self.managed.is_some())
    }
}

impl Display for Finding {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}; {}", self.what, self.why, self.cure)
    }
}

/// Looks at the system, and at the interface in the namespace of the calling thread.
pub fn look(asked: &Asked<'_>) -> Vec<Finding> {
    judge(&Facts::gather(asked), asked)
}

/// The way is clear for an attachment.
#[derive(Clone, Debug)]
pub struct Clear {
    /// What was found that does not block.
    pub findings: Vec<Finding>,
    /// The offloads that were switched for it.
    pub notes: Notes,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum NotClear {
    /// Findings that block, and those that only warn behind them.
    #[error("{}", list(.0))]
    Blocked(Vec<Finding>),
    /// An offload could not be switched.
    #[error(transparent)]
    Offloads(#[from] OffloadError),
}

/// Looks whether an attachment can be made; switches the offloads in its way if that is wanted (`managed`). Whoever then fails to
/// attach restores [`Clear::notes`].
pub fn clear(asked: &Asked<'_>, managed: bool) -> Result<Clear, NotClear> {
    let mut findings = look(asked);
    let mut notes = Notes::default();
    if findings.iter().any(|finding| finding.blocks(managed)) {
        return Err(NotClear::Blocked(findings));
    }
    let changes: Vec<_> = findings.iter().filter_map(|finding| finding.managed.clone()).collect();
    if managed && !changes.is_empty() {
        notes = Notes::apply(asked.interface, &changes)?;
        findings = look(asked);
        if findings.iter().any(|finding| finding.blocks(false)) {
            notes.restore()?;
            return Err(NotClear::Blocked(findings));
        }
    }
    Ok(Clear { findings, notes })
}

/// A line for each that blocks.
fn list(findings: &[Finding]) -> String {
    let blocking = findings.iter().filter(|finding| finding.severity == Severity::Blocks);
    blocking.map(Finding::to_string).collect::<Vec<_>>().join("\n     ")
}

/// Linux 6.6 brought TCX.
const TCX: (u32, u32) = (6, 6);

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What the facts mean for what is asked, the worst first.
pub(crate) fn judge(facts: &Facts, asked: &Asked<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |severity, what: String, why: &str, cure: String| {
        findings.push(Finding { what, why: why.into(), cure, severity, managed: None });
    };
    let interface = asked.interface;
    let inside = asked.netns.map(|name| format!("ip netns exec {name} ")).unwrap_or_default();

    let Some(device) = &facts.device else {
        add(
            Severity::Blocks,
            format!("there is no interface {interface}"),
            "there is nothing to attach to",
            format!("`{inside}ip link` shows those of this network namespace; --netns NAME enters another"),
        );
        return findings;
    };
    let needed = needed_capabilities(facts.capabilities, asked.mode);
    let missing: Vec<_> = needed.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        // All of them: setcap(8) replaces what there was.
        let list = needed.iter().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(",");
        add(
            Severity::Blocks,
            format!("this process has no {}", missing.join(" and ")),
            "the kernel refuses without",
            format!("run as root, or once `setcap {list}+ep $(command -v gro)`"),
        );
    }
    if !device.is_ethernet {
        add(
            Severity::Blocks,
            format!("{interface} has no Ethernet headers"),
            "the engine reads headers from Ethernet on",
            "attach to the Ethernet interface below it".into(),
        );
    }
    if !device.is_up {
        add(
            Severity::Warns,
            format!("{interface} is down"),
            "nothing arrives at it",
            format!("`{inside}ip link set dev {interface} up`"),
        );
    }
    presence(facts, asked, &mut add);
    match asked.mode {
        Mode::InPlace => in_place(facts, asked, &inside, device.mtu, &mut add),
        Mode::ViaTap => {
            if !facts.has_tun {
                add(
                    Severity::Blocks,
                    "/dev/net/tun is missing".into(),
                    "packets are delivered through a TAP device",
                    "`modprobe tun`; in a container, give it the device".into(),
                );
            }
        }
    }
    xdp(device.xdp, asked, &inside, &mut add);
    if asked.profile.is_none() && Release::of_kernel(&facts.release).is_none() {
        let known = Release::ALL.map(Release::name).join(", ");
        add(
            Severity::Warns,
            format!("no rule set was compared with Linux {}", facts.release),
            "packets are merged by the rules of another release, which may differ from this kernel's own GRO",
            format!("`--profile {}` says that it is meant; there are {known}", Release::default().name()),
        );
    }
    if facts.steers_flows {
        add(
            Severity::Warns,
            format!("RFS is on for {interface}"),
            "a flow that moves to another CPU meets another engine there, and what the first holds of it may arrive later",
            format!(
                "write 0 to /sys/class/net/{interface}/queues/rx-*/rps_flow_cnt, or keep it and expect some reordering"
            ),
        );
    }
    offloads(facts, asked, &inside, &mut findings);
    findings.sort_by_key(|finding| finding.severity == Severity::Warns);
    findings
}

/// What is attached already.
fn presence(facts: &Facts, asked: &Asked<'_>, add: &mut impl FnMut(Severity, String, &str, String)) {
    let (interface, pin) = (asked.interface, asked.pin.display());
    let netns = asked.netns.map(|name| format!(" --netns {name}")).unwrap_or_default();
    let detach = format!("`gro detach -i {interface}{netns}`");
    match facts.pins {
        PinState::None => {}
        PinState::Used => add(
            Severity::Blocks,
            format!("gro is attached to {interface} already: its pins are in {pin}"),
            "two engines would hold each other's packets",
            format!("{detach} first"),
        ),
        PinState::Stale => add(
            Severity::Blocks,
            format!("{pin} has the pins of an interface that is gone"),
            "its maps and program stay in memory as long as they are there",
            format!("{detach} removes them"),
        ),
    }
    match facts.agent {
        AgentState::None => {}
        AgentState::Running => add(
            Severity::Blocks,
            format!("an agent delivers {interface} via TAP already"),
            "two engines would take the same frames",
            format!("{detach} first"),
        ),
        AgentState::Killed => add(
            Severity::Warns,
            format!("an agent of {interface} was killed"),
            "the offloads that it had switched are as it left them",
            format!("{detach} restores them"),
        ),
    }
}

fn in_place(
    facts: &Facts,
    asked: &Asked<'_>,
    inside: &str,
    mtu: u32,
    add: &mut impl FnMut(Severity, String, &str, String),
) {
    let (interface, pin) = (asked.interface, asked.pin.display());
    if !facts.pin_in_bpffs {
        add(
            Severity::Blocks,
            format!("{pin} is in no BPF file system"),
            "pins keep the program when this command ends",
            "`mount -t bpf bpf /sys/fs/bpf`, or --pin DIR in one that is mounted".into(),
        );
    }
    match (asked.hook, release(&facts.release) >= Some(TCX)) {
        (None, false) => add(
            Severity::Warns,
            format!("Linux {} has no TCX (6.6 has)", facts.release),
            "a filter of a clsact qdisc is attached instead, which others may delete or put theirs before",
            "--clsact says that it is meant".into(),
        ),
        (Some(Hook::Tcx), false) => add(
            Severity::Blocks,
            format!("Linux {} has no TCX (6.6 has)", facts.release),
            "it was asked for",
            "leave the choice to gro, or ask for --clsact".into(),
        ),
        _ => {}
    }
    // Two full frames of one flow share their headers, 40 bytes at least.
    const HEADERS: u32 = 40;
    let size = asked.config.gro_max_size.max(asked.config.gro_ipv4_max_size);
    if mtu.saturating_mul(2).saturating_sub(HEADERS) >= size {
        add(
            Severity::Warns,
            format!("the MTU of {interface} is {mtu}"),
            &format!(
                "two full frames make more than the {size} bytes that tc can deliver: nothing will merge"
            ),
            format!(
                "`gro attach -i {interface} --via-tap` merges up to 64 KB and more; or `{inside}ip link set dev {interface} mtu 1500`"
            ),
        );
    }
    if asked.forwarding {
        add(
            Severity::Warns,
            "--forwarding without --via-tap".into(),
            "merged packets carry no gso_size: one that is longer than the MTU of the way out is dropped there",
            "--via-tap delivers packets that are cut again when they are forwarded".into(),
        );
    }
}

fn xdp(xdp: Xdp, asked: &Asked<'_>, inside: &str, add: &mut impl FnMut(Severity, String, &str, String)) {
    let interface = asked.interface;
    match xdp {
        Xdp::Generic => {
            let again = match asked.mode {
                Mode::InPlace => {
                    "it runs once more on each packet that is sent round the backlog: what it counts or redirects, it does twice"
                }
                Mode::ViaTap => {
                    "it runs once more on each packet that comes back: what it counts or redirects, it does twice"
                }
            };
            add(
                Severity::Warns,
                format!("{interface} has a generic XDP program"),
                again,
                format!(
                    "`{inside}ip link set dev {interface} xdpgeneric off`, or attach it in the driver (`xdpdrv`)"
                ),
            );
        }
        Xdp::Native => add(
            Severity::Warns,
            format!("{interface} has an XDP program in its driver"),
            "frames that it drops or redirects do not get here; those that it passes are merged",
            format!("nothing, if that is meant; `{inside}ip link set dev {interface} xdpdrv off` otherwise"),
        ),
        Xdp::None => {}
    }
}

/// An offload that merges before the engine does: the kernel's name, ethtool's, and who merges.
const MERGING: [(&str, &str, &str); 3] = [
    (
        "rx-gro",
        "gro",
        "the kernel merges before tc: the program would see merged packets, and passes them untouched",
    ),
    (
        "rx-gro-hw",
        "rx-gro-hw",
        "the device merges: the program would see merged packets, and passes them untouched",
    ),
    ("rx-lro", "lro", "the driver merges, and not as GRO does: what it merges cannot be told apart again"),
];
/// What makes the kernel's GRO another one; without effect when that is off.
const VARIANTS: [&str; 2] = ["rx-gro-list", "rx-udp-gro-forwarding"];

fn offloads(facts: &Facts, asked: &Asked<'_>, inside: &str, findings: &mut Vec<Finding>) {
    let interface = asked.interface;
    let Some(features) = &facts.features else {
        return findings.push(Finding {
            what: format!("the offloads of {interface} cannot be read"),
            why: "if the kernel or the device merges, there is nothing left to do".into(),
            cure: format!("compare with `{inside}ethtool -k {interface}`"),
            severity: Severity::Warns,
            managed: None,
        });
    };
    for (name, short, why) in MERGING {
        let Some(feature) = features.get(name).filter(|feature| feature.on) else { continue };
        let mut finding = Finding {
            what: format!("{interface}: {name} is on"),
            why: why.into(),
            cure: format!(
                "`{inside}ethtool -K {interface} {short} off`, or --manage-offloads, which restores it at detach"
            ),
            severity: Severity::Blocks,
            managed: Some(Change { feature: name.into(), from: true, to: false }),
        };
        if !feature.switchable {
            // What arrives merged passes; there is no way to more.
            finding.severity = Severity::Warns;
            finding.cure = "its driver does not let it be switched off (`ethtool -k`: fixed): see its documentation; what the device leaves apart is merged all the same".into();
            finding.managed = None;
        }
        findings.push(finding);
    }
    if !features.is_on("rx-gro") {
        return;
    }
    for name in VARIANTS.into_iter().filter(|name| features.is_on(name)) {
        findings.push(Finding {
            what: format!("{interface}: {name} is on"),
            why: "it changes how the kernel's GRO merges; without effect once that is off".into(),
            cure: format!(
                "nothing more than rx-gro needs; `{inside}ethtool -K {interface} {name} off` if you like"
            ),
            severity: Severity::Warns,
            managed: None,
        });
    }
}

/// The capabilities that a mode needs, and whether they are in a set of bits.
fn needed_capabilities(set: u64, mode: Mode) -> Vec<(&'static str, bool)> {
    let has = |bit: u32| set & 1 << bit != 0;
    // capabilities(7): CAP_SYS_ADMIN stands for both.
    let or_admin = |bit| has(bit) || has(CAP_SYS_ADMIN);
    let mut needed = vec![
        ("CAP_BPF", or_admin(CAP_BPF)),
        ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
        ("CAP_PERFMON", or_admin(CAP_PERFMON)),
    ];
    if mode == Mode::ViaTap {
        needed.push(("CAP_NET_RAW", has(CAP_NET_RAW)));
    }
    needed
}

/// Major and minor number of a release.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|sign: char| !sign.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests;

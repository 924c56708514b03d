//! What pre-flight reads from the system.

use super::Asked;
use crate::device::ethtool::Features;
use crate::device::{Device, netns, sysfs};
use crate::live::{Attachment, Mode, agent, pins};
use std::fs;
use std::path::Path;

/// What is so, as far as it matters for an attachment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// As `uname -r` says it.
    pub release: String,
    /// The effective capabilities of the calling thread, by their numbers.
    pub capabilities: u64,
    /// The interface, if it is there.
    pub device: Option<Device>,
    /// Its offloads, if they can be read.
    pub features: Option<Features>,
    /// Whether the directory of the pins is in a BPF file system.
    pub pin_in_bpffs: bool,
    /// What is in that directory.
    pub pins: PinState,
    /// Who delivers via TAP.
    pub agent: AgentState,
    /// Whether RFS may move a flow from CPU to CPU.
    pub steers_flows: bool,
    /// Whether there are TAP devices.
    pub has_tun: bool,
}

/// What a directory of pins has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinState {
    /// Nothing.
    None,
    /// An attachment to the interface.
    Used,
    /// An attachment to one that is gone, maybe of the same name.
    Stale,
}

/// What is at an agent's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentState {
    /// Nothing.
    None,
    /// An agent.
    Running,
    /// The socket of one that did not end by itself.
    Killed,
}

impl Facts {
    /// Reads them, for the namespace of the calling thread. What cannot be read counts as not there.
    pub fn gather(asked: &Asked<'_>) -> Self {
        let device = Device::find(asked.interface).ok().flatten();
        Self {
            release: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            capabilities: capabilities(&fs::read_to_string("/proc/thread-self/status").unwrap_or_default()),
            features: device.as_ref().and_then(|device| Features::read(&device.name).ok()),
            pin_in_bpffs: pins::can_hold(asked.pin),
            pins: device
                .as_ref()
                .map_or(PinState::None, |device| pin_state(asked.pin, |found| found == device.index)),
            agent: netns::current()
                .map_or(AgentState::None, |netns| agent_state(&agent::address(asked.interface, netns))),
            steers_flows: asked.mode == Mode::InPlace && steers_flows(asked.interface),
            has_tun: Path::new("/dev/net/tun").exists(),
            device,
        }
    }
}

fn pin_state(directory: &Path, is_ours: impl FnOnce(u32) -> bool) -> PinState {
    if !pins::is_used(directory) {
        return PinState::None;
    }
    match Attachment::open(directory).and_then(|attachment| attachment.snapshot()) {
        Ok(snapshot) if !is_ours(snapshot.ifindex) => PinState::Stale,
        _ => PinState::Used,
    }
}

fn agent_state(address: &Path) -> AgentState {
    match agent::ask(address) {
        Err(agent::AgentError::Absent(_)) if address.exists() => AgentState::Killed,
        Err(agent::AgentError::Absent(_)) => AgentState::None,
        _ => AgentState::Running,
    }
}

/// RFS needs both tables (Documentation/networking/scaling.rst).
fn steers_flows(interface: &str) -> bool {
    let is_set = |text: &str| text.trim().parse::<u64>().is_ok_and(|entries| entries > 0);
    let global = fs::read_to_string("/proc/sys/net/core/rps_sock_flow_entries").unwrap_or_default();
    is_set(&global)
        && sysfs::of_receive_queues(interface, "rps_flow_cnt")
            .is_ok_and(|queues| queues.iter().any(|count| is_set(count)))
}

/// `CapEff` of a status file in /proc.
fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_hexadecimal() {
        assert_eq!(capabilities("Name:\tgro\nCapEff:\t000001fffeffffff\n"), 0x01ff_feff_ffff);
        for text in ["", "CapEff:\n", "CapEff: xyz"] {
            assert_eq!(capabilities(text), 0);
        }
    }

    #[test]
    fn an_empty_place_has_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(pin_state(folder.path(), |_| true), PinState::None);
        let address = folder.path().join("a.sock");
        assert_eq!(agent_state(&address), AgentState::None);
        drop(std::os::unix::net::UnixListener::bind(&address).unwrap());
        assert_eq!(agent_state(&address), AgentState::Killed);
    }
}

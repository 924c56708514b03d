//! Who coalesces at the receiver.

use super::topology::{Host, Topology};
use super::{LiveError, Pins, step, succeeded};
use gro_ebpf::device::ethtool::{self, Offload};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::FromRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A state of the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// Nobody.
    None,
    /// The kernel's own GRO.
    KernelGro,
    /// `gro attach`, with these arguments more.
    InPlace(Vec<String>),
    /// `gro attach --via-tap`, with these arguments more.
    ViaTap(Vec<String>),
}

impl Receiver {
    /// In tables and files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::KernelGro => "kernel",
            Self::InPlace(_) => "in-place",
            Self::ViaTap(_) => "via-tap",
        }
    }

    /// Whether it needs a `gro` that can attach.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::InPlace(_) | Self::ViaTap(_))
    }

    /// Puts the interface under test into this state. `gro` is the binary.
    ///
    /// # Errors
    /// [`LiveError::Gro`] with what it said.
    pub fn start<'a>(&self, topology: &'a Topology, gro: &Path) -> Result<Attached<'a>, LiveError> {
        self.start_in(topology, gro, Pins::make()?)
    }

    /// As [`Receiver::start`], with a given place for what is pinned.
    ///
    /// # Errors
    /// As of [`Receiver::start`].
    pub fn start_in<'a>(
        &self,
        topology: &'a Topology,
        gro: &Path,
        pins: Pins,
    ) -> Result<Attached<'a>, LiveError> {
        let (host, interface) = topology.under_test();
        let mut attached = Attached {
            receiver: self.clone(),
            host,
            interface,
            gro: gro.to_owned(),
            pins,
            agent: None,
            is_attached: true,
        };
        match self {
            Self::None => {}
            Self::KernelGro => attached.set_gro(true)?,
            Self::InPlace(more) => {
                // Nothing is there to be detached when this fails.
                attached.is_attached = false;
                let mut arguments = vec!["attach".to_owned(), "-i".to_owned(), interface.to_owned()];
                arguments.extend(attached.pin());
                arguments.extend(more.iter().cloned());
                attached.gro(&arguments)?;
                attached.is_attached = true;
            }
            Self::ViaTap(more) => attached.start_agent(more)?,
        }
        Ok(attached)
    }
}

/// The state that an interface is in. Dropping it ends it.
pub struct Attached<'a> {
    receiver: Receiver,
    host: &'a Host,
    interface: &'static str,
    gro: PathBuf,
    pins: Pins,
    agent: Option<Agent>,
    is_attached: bool,
}

struct Agent {
    child: Child,
    said: File,
}

/// What the harness reads of `gro stats -j`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// `tcx`, `clsact` or `packet`.
    pub hook: String,
    /// Frames that came in.
    pub wire_packets: u64,
    /// Packets delivered.
    pub packets: u64,
    /// Of them merged.
    pub merged_packets: u64,
    /// Frames that joined a held packet, its first one not counted.
    pub merged_segments: u64,
    /// Packets by why they left.
    pub flush: BTreeMap<String, u64>,
    /// Frames by why they were let pass.
    pub bypass: BTreeMap<String, u64>,
    /// Of in-place delivery.
    pub carriers: BTreeMap<String, u64>,
    /// What must not be, and what there was no room for.
    pub guards: BTreeMap<String, u64>,
}

impl Snapshot {
    /// What was counted between `before` and this; the maps of this moment as they are.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            wire_packets: self.wire_packets.saturating_sub(before.wire_packets),
            packets: self.packets.saturating_sub(before.packets),
            merged_packets: self.merged_packets.saturating_sub(before.merged_packets),
            merged_segments: self.merged_segments.saturating_sub(before.merged_segments),
            ..self.clone()
        }
    }

    /// Frames of a merged packet, on the average.
    pub fn segments_a_merge(&self) -> f64 {
        (self.merged_segments + self.merged_packets) as f64 / self.merged_packets.max(1) as f64
    }

    /// Why packets left, the most frequent first, in words.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.flush.iter().filter(|&(_, &count)| count > 0).collect();
        reasons.sort_by_key(|&(_, &count)| std::cmp::Reverse(count));
        reasons.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }

    /// A guard's or a carrier's count that is not 0, in words.
    pub fn troubles(&self) -> String {
        let all = self.carriers.iter().chain(&self.guards).filter(|&(_, &count)| count > 0);
        all.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }
}

/// How long an agent may take to come up, and to go.
const PATIENCE: Duration = Duration::from_secs(15);

impl Attached<'_> {
    /// The counters, where the state has some.
    ///
    /// # Errors
    /// [`LiveError::Gro`] when they cannot be had.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, LiveError> {
        #[derive(Deserialize)]
        struct Document {
            attachments: Vec<Snapshot>,
        }
        if !self.receiver.is_ours() {
            return Ok(None);
        }
        let mut arguments = ["stats", "-i", self.interface, "-j"].map(str::to_owned).to_vec();
        arguments.extend(self.pin());
        let output = self.gro(&arguments)?;
        let document: Document = serde_json::from_slice(&output.stdout)
            .map_err(|error| step("reading what `gro stats -j` says")(io::Error::other(error)))?;
        match <[Snapshot; 1]>::try_from(document.attachments) {
            Ok([snapshot]) => Ok(Some(snapshot)),
            Err(all) => Err(step("reading what `gro stats -j` says")(io::Error::other(format!(
                "{} attachments of {}",
                all.len(),
                self.interface
            )))),
        }
    }

    /// Ends the state: everything held is delivered.
    ///
    /// # Errors
    /// [`LiveError::Gro`] when `gro detach` fails, or leaves its agent running.
    pub fn detach(mut self) -> Result<Pins, LiveError> {
        self.end()?;
        Ok(std::mem::replace(&mut self.pins, Pins::make()?))
    }

    /// The place of pins.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    fn end(&mut self) -> Result<(), LiveError> {
        if !std::mem::take(&mut self.is_attached) {
            return Ok(());
        }
        match self.receiver {
            Receiver::None => Ok(()),
            Receiver::KernelGro => self.set_gro(false),
            Receiver::InPlace(_) | Receiver::ViaTap(_) => {
                let mut arguments = ["detach", "-i", self.interface].map(str::to_owned).to_vec();
                arguments.extend(self.pin());
                self.gro(&arguments)?;
                self.agent.take().map_or(Ok(()), |agent| agent.wait())
            }
        }
    }

    fn set_gro(&self, on: bool) -> Result<(), LiveError> {
        let interface = self.interface;
        self.host.within(|| ethtool::set(interface, Offload::Gro, on).map_err(step("switching GRO")))
    }

    /// Where in-place delivery pins; an agent pins nothing.
    fn pin(&self) -> Vec<String> {
        match self.receiver {
            Receiver::InPlace(_) => {
                vec!["--pin".to_owned(), self.pins.directory(self.interface).display().to_string()]
            }
            _ => Vec::new(),
        }
    }

    fn start_agent(&mut self, more: &[String]) -> Result<(), LiveError> {
        // SAFETY: the name is a terminated string.
        let raw = unsafe { libc::memfd_create(c"gro".as_ptr(), libc::MFD_CLOEXEC) };
        if raw < 0 {
            return Err(step("making room for messages")(io::Error::last_os_error()));
        }
        // SAFETY: `raw` is a new descriptor that nobody else owns.
        let said = unsafe { File::from_raw_fd(raw) };
        let mut command = Command::new(&self.gro);
        command.args(["attach", "-i", self.interface, "--via-tap"]).args(more);
        let stderr = said.try_clone().map_err(step("making room for messages"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = self.host.within(|| command.spawn().map_err(step("starting `gro attach`")))?;
        self.agent = Some(Agent { child, said });
        let end = Instant::now() + PATIENCE;
        loop {
            match self.snapshot() {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let agent = self.agent.as_mut().filter(|_| Instant::now() < end);
                    let ended = agent.map(|agent| agent.child.try_wait());
                    if !matches!(ended, Some(Ok(None))) {
                        self.is_attached = false;
                        let said = self.agent.take().map(Agent::end).unwrap_or_default();
                        return Err(if said.is_empty() {
                            error
                        } else {
                            LiveError::Gro {
                                command: "gro attach --via-tap".to_owned(),
                                status: "trouble".to_owned(),
                                message: said,
                            }
                        });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// Runs `gro` in the host under test.
    fn gro(&self, arguments: &[String]) -> Result<Output, LiveError> {
        let mut command = Command::new(&self.gro);
        command.args(arguments).stdin(Stdio::null());
        let output = self.host.within(|| command.output().map_err(step(format!("running {command:?}"))))?;
        succeeded(arguments, output)
    }
}

impl Agent {
    /// Waits for its end, which was asked for.
    fn wait(mut self) -> Result<(), LiveError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    let (command, status) = ("gro attach --via-tap".to_owned(), status.to_string());
                    return Err(LiveError::Gro { command, status, message: self.end() });
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        let message = format!("still running after gro detach; {}", self.end());
        Err(LiveError::Gro {
            command: "gro attach --via-tap".to_owned(),
            status: "no status".to_owned(),
            message,
        })
    }

    /// Ends it, and gives what it said.
    fn end(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut text = String::new();
        let _ = self.said.rewind().and_then(|()| self.said.read_to_string(&mut text));
        text.trim().to_owned()
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error}");
        }
        // The namespace goes with its devices; a process would stay.
        drop(self.agent.take().map(Agent::end));
    }
}

/// Whether `gro` is there and can attach.
pub fn can_attach(gro: &Path) -> bool {
    let mut command = Command::new(gro);
    command.args(["attach", "--help"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

//! The backends: the same engine in three places, and the kernel that it follows. Tests are written once and run on each.

#[cfg(target_os = "linux")]
mod kernel;
mod nic;
#[cfg(unix)]
mod nic_rtl;
#[cfg(target_os = "linux")]
mod tc;
mod user;

#[cfg(target_os = "linux")]
pub use kernel::KernelBackend;
pub use nic::NicBackend;
#[cfg(unix)]
pub use nic_rtl::RtlBackend;
#[cfg(target_os = "linux")]
pub use tc::TcBackend;
pub use user::{PlainBackend, UserBackend};

use crate::Outcome;
use crate::trace::{Trace, Vlan};
use gro_core::{Config, Release, Rule, VlanMode};

/// What an engine is run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// What an administrator sets.
    pub config: Config,
    /// The rule set.
    pub profile: Release,
    /// A rule to switch off, in backend `user` under `linux-6.18` only: shows that a comparison can fail.
    pub mutant: Option<Rule>,
}

impl EngineConfig {
    /// Profile `linux-6.18`, every rule on.
    pub const fn of(config: Config) -> Self {
        Self { config, profile: Release::Linux618, mutant: None }
    }
}

/// Why a backend has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// This machine or this build cannot run it.
    #[error("{0}")]
    Skipped(String),
    /// It cannot run under this config, by its nature.
    #[error("{0}")]
    NotApplicable(String),
    /// It ran and went wrong.
    #[error("{0}")]
    Failed(String),
}

/// A place where the engine runs.
pub trait Backend {
    /// As on the command line.
    fn name(&self) -> &'static str;

    /// Runs a whole trace: every poll, and a flush at the end.
    fn run(&mut self, trace: &Trace, engine: &EngineConfig) -> Result<Outcome, BackendError>;
}

/// The backends that are compared unless others are named, in the order of the table.
pub fn all() -> Vec<Box<dyn Backend>> {
    vec![Box::new(UserBackend), Box::new(PlainBackend), tc(), Box::new(NicBackend::committed()), kernel()]
}

/// Machines of other make for the NIC image. They are slower or not everywhere, so they run when they are named.
pub fn referees() -> Vec<Box<dyn Backend>> {
    let referees = vec![qemu(), qemu_rv64()];
    #[cfg(unix)]
    let referees = {
        let rtl =
            gro_nic::referee::RtlCore::ALL.map(|core| Box::new(RtlBackend::new(core)) as Box<dyn Backend>);
        referees.into_iter().chain(rtl).collect()
    };
    referees
}

/// The backend with this name, of [`all`] or [`referees`].
pub fn by_name(name: &str) -> Option<Box<dyn Backend>> {
    all().into_iter().chain(referees()).find(|backend| backend.name() == name)
}

#[cfg(target_os = "linux")]
fn tc() -> Box<dyn Backend> {
    Box::new(TcBackend::committed())
}

#[cfg(target_os = "linux")]
fn kernel() -> Box<dyn Backend> {
    Box::new(KernelBackend)
}

#[cfg(target_os = "linux")]
fn qemu() -> Box<dyn Backend> {
    Box::new(NicBackend::qemu())
}

#[cfg(target_os = "linux")]
fn qemu_rv64() -> Box<dyn Backend> {
    Box::new(NicBackend::qemu_rv64())
}

#[cfg(not(target_os = "linux"))]
fn tc() -> Box<dyn Backend> {
    Box::new(NeedsLinux("tc"))
}

#[cfg(not(target_os = "linux"))]
fn kernel() -> Box<dyn Backend> {
    Box::new(NeedsLinux("kernel"))
}

#[cfg(not(target_os = "linux"))]
fn qemu() -> Box<dyn Backend> {
    Box::new(NeedsLinux("nic-qemu"))
}

#[cfg(not(target_os = "linux"))]
fn qemu_rv64() -> Box<dyn Backend> {
    Box::new(NeedsLinux("nic-qemu-rv64"))
}

/// Stands for a backend of another platform.
#[cfg(not(target_os = "linux"))]
struct NeedsLinux(&'static str);

#[cfg(not(target_os = "linux"))]
impl Backend for NeedsLinux {
    fn name(&self) -> &'static str {
        self.0
    }
    fn run(&mut self, _: &Trace, _: &EngineConfig) -> Result<Outcome, BackendError> {
        Err(BackendError::Skipped("needs Linux".into()))
    }
}

/// Refuses an image that was built from other sources.
fn check_image(hash: [u8; 32], profile: Release) -> Result<(), BackendError> {
    let source = profile.program_hash();
    if hash == source {
        return Ok(());
    }
    let (image, source) = (crate::hex(&hash[..8]), crate::hex(&source[..8]));
    Err(BackendError::Skipped(format!(
        "image built from {image}, source is {source}; run cargo xtask images"
    )))
}

/// Refuses what the injector cannot carry into the kernel as it is.
#[cfg(target_os = "linux")]
fn injectable(trace: &Trace) -> Result<(), BackendError> {
    use gro_ebpf::abi::FRAME_MAX;
    let refuse = |text: String| Err(BackendError::NotApplicable(text));
    for (number, frame) in trace.frames.iter().enumerate() {
        let len = frame.bytes.len();
        if !(14..=FRAME_MAX as usize).contains(&len) {
            return refuse(format!("frame #{number} has {len} bytes; the injector takes 14 to {FRAME_MAX}"));
        }
        // skb_vlan_untag (net/core/skbuff.c) frees it.
        if frame.vlan.is_none() && len < 18 && matches!(frame.bytes[12..14], [0x81, 0x00] | [0x88, 0xa8]) {
            return refuse(format!("frame #{number} is cut inside a VLAN tag; the kernel drops it unseen"));
        }
    }
    Ok(())
}

/// A frame of a trace as the injector takes it.
#[cfg(target_os = "linux")]
fn injected(frame: &crate::trace::Frame) -> gro_ebpf::Frame<'_> {
    gro_ebpf::Frame { bytes: &frame.bytes, hash: frame.hash, vlan: vlan_word(frame.vlan), mark: 0 }
}

/// TPID and TCI in one word, 0 for none.
pub(crate) fn vlan_word(vlan: Option<Vlan>) -> u32 {
    vlan.map_or(0, |vlan| u32::from(vlan.tpid) << 16 | u32::from(vlan.tci))
}

/// The trace with its VLAN tags back in the bytes, where the config wants them there.
fn in_band(trace: &Trace, config: &Config) -> Option<Trace> {
    (config.vlan == VlanMode::InBand).then(|| trace.with_tags_in_band())
}

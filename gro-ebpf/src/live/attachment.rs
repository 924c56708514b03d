//! The tc program at the ingress of an interface.

use super::pinned::{self, Directory, Filter, KICK, LINK, Notes, PROGRAM};
use super::{Carriers, Guards, Mode, Snapshot, SnapshotConfig, drain};
use crate::abi::{self, FLIGHTS_MAX, Faults, InPlace, Round, RoundCounters, Settings, mode};
use crate::device::netns;
use crate::device::rtnetlink::Rtnetlink;
use crate::kernel_types::KernelTypes;
use crate::program::{LoadError, StateValue, classifier, describe, describe_load};
use crate::{Object, ObjectError};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader, Pod, VerifierLogLevel};
use gro_core::{Config, Release, UdpMode};
use std::ffi::CString;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// Where the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A TCX link; Linux 6.6.
    Tcx,
    /// A filter of a clsact qdisc.
    Clsact,
}

impl Hook {
    /// As in [`Snapshot::hook`]: `tcx` or `clsact`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// What is attached, where and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Interface of the calling thread's namespace.
    pub interface: String,
    /// Before the other programs of the hook, or behind them.
    pub first: bool,
    /// Directory of the pins; it is made.
    pub pin: PathBuf,
    /// The engine's config. In-place mode has no UDP, no tunnels and no flush timeout, whatever it says of them.
    pub config: Config,
    /// Whether flows without a local socket are merged, too.
    pub forwarding: bool,
    /// Rule set.
    pub profile: Release,
    /// Buffers a CPU, of 32 KiB each: merged packets that can be on their way.
    pub carriers: u32,
    /// Frames a CPU that can be on their way round: a power of two up to [`FLIGHTS_MAX`].
    pub flights: u32,
    /// `None` for the best that this kernel has.
    pub hook: Option<Hook>,
    /// Opaque text that is kept with the pins: what to restore at detach.
    pub notes: String,
    /// For tests: one of so many carriers is dropped; 0 for none.
    pub drop_carriers: u32,
}

/// Why there is no attachment, or why something of it failed.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
    /// There is no such interface in this namespace.
    #[error("no interface {0} in this network namespace; `ip link` shows those that are there")]
    Interface(String),
    /// The directory of the pins.
    #[error("{path}: {source}; pins need a BPF file system: `mount -t bpf bpf /sys/fs/bpf`")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There are pins already.
    #[error("{0} has pins: something is attached, or was left behind; `gro detach` takes it away")]
    Used(PathBuf),
    /// There are no pins.
    #[error("nothing is attached: no pins in {0}")]
    NotAttached(PathBuf),
    /// A pin failed.
    #[error("pinning {0}: {1}; is it in a BPF file system (`mount -t bpf bpf /sys/fs/bpf`)?")]
    Pin(PathBuf, String),
    /// The committed object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The program does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The program does not attach.
    #[error("attaching to {interface} by {hook}: {text}")]
    Attach {
        /// To which interface.
        interface: String,
        /// By which hook.
        hook: &'static str,
        /// What the kernel said.
        text: String,
    },
    /// The object lacks something.
    #[error("the object has no {0}")]
    Missing(&'static str),
    /// What is attached is not what it should be.
    #[error("{0}")]
    Foreign(String),
    /// The kernel does not tell something.
    #[error("the kernel does not tell {0}")]
    Untold(&'static str),
    /// The kernel refused something.
    #[error("{0}: {1}")]
    Kernel(&'static str, String),
    /// The notes of an attachment.
    #[error("the notes of {0} cannot be read: {1}; they are of another version of gro: detach with that one")]
    Notes(PathBuf, String),
}

impl LiveError {
    pub(super) fn map(name: &'static str, error: &dyn Display) -> Self {
        Self::Kernel(name, error.to_string())
    }
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct RoundValue(Round);
// SAFETY: plain words; every bit pattern is a value.
unsafe impl Pod for RoundValue {}

/// The attached program: the pins of one interface.
pub struct Attachment {
    pub(super) pin: PathBuf,
    pub(super) notes: Notes,
    settings: Array<MapData, Settings>,
    state: PerCpuArray<MapData, StateValue>,
    round: PerCpuArray<MapData, RoundValue>,
    faults: PerCpuArray<MapData, Faults>,
    program_hash: [u8; 32],
}

impl Attachment {
    /// Attaches in the network namespace of the calling thread.
    ///
    /// # Errors
    /// What is missing or wrong, with its cure; then nothing is left behind.
    pub fn attach(options: &Options) -> Result<Self, LiveError> {
        check(options)?;
        let ifindex = index(&options.interface)?;
        let directory = Directory::make(&options.pin)?;
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::STATS)
            .map_max_entries("HELD", options.carriers)
            .map_max_entries("FLIGHTS", options.flights)
            .map_max_entries("TURNS", options.flights)
            .load(Object::committed(options.profile).bytes())
            .map_err(|error| describe_load(&error))?;
        for name in ["gro", "kick"] {
            let program = classifier(&mut ebpf, name)?;
            program.load().map_err(|error| LoadError::Refused(describe(&error)))?;
            let pin = directory.pin(if name == "gro" { PROGRAM } else { KICK });
            program.pin(&pin).map_err(|error| LiveError::Pin(pin, describe(&error)))?;
        }
        directory.pin_maps(&ebpf)?;
        set(&mut pinned::array(&options.pin, "settings")?, settings(options, ifindex))?;

        let mut notes = Notes {
            interface: options.interface.clone(),
            ifindex,
            netns: netns::current().map_err(no_namespace)?,
            profile: options.profile.name().into(),
            filter: None,
            text: options.notes.clone(),
        };
        // Before anything is attached: what is attached must be found again.
        write_notes(&options.pin, &notes)?;
        match hook(options.hook) {
            Hook::Tcx => attach_tcx(&mut ebpf, options, &directory)?,
            Hook::Clsact => {
                notes.filter = Some(attach_filter(&mut ebpf, options)?);
                write_notes(&options.pin, &notes)?;
            }
        }
        directory.keep();
        Self::open(&options.pin)
    }

    /// The attachment of these pins.
    ///
    /// # Errors
    /// [`LiveError::NotAttached`] where there are none.
    pub fn open(pin: &Path) -> Result<Self, LiveError> {
        let notes = read_notes(pin)?;
        let settings = pinned::array(pin, "settings")?;
        let program_hash = pinned::array::<[u8; 32]>(pin, "program_hash")?
            .get(&0, 0)
            .map_err(|error| LiveError::map("program_hash", &error))?;
        let (state, round) = (pinned::per_cpu(pin, "state")?, pinned::per_cpu(pin, "round")?);
        let faults = pinned::per_cpu(pin, "faults")?;
        Ok(Self { pin: pin.into(), notes, settings, state, round, faults, program_hash })
    }

    /// Where it is attached.
    pub fn hook(&self) -> Hook {
        if self.notes.filter.is_some() { Hook::Clsact } else { Hook::Tcx }
    }

    /// [`Options::notes`].
    pub fn notes(&self) -> &str {
        &self.notes.text
    }

    /// Name of the interface at the time of the attachment, and the number (inode) of its network namespace.
    pub fn interface(&self) -> (&str, u64) {
        (&self.notes.interface, self.notes.netns)
    }

    /// What it counted so far.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn snapshot(&self) -> Result<Snapshot, LiveError> {
        let settings = self.settings()?;
        let config = SnapshotConfig::new(&settings.config, settings.in_place.forwarding != 0);
        let Notes { interface, ifindex, netns, profile, .. } = &self.notes;
        let mut snapshot = Snapshot::new(interface, *ifindex, *netns, Mode::InPlace, config);
        snapshot.hook = self.hook().name().into();
        snapshot.profile.clone_from(profile);
        snapshot.program_hash = self.program_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let states = self.state.get(&0, 0).map_err(|error| LiveError::map("state", &error))?;
        for (cpu, StateValue(state)) in (0..).zip(states.iter()) {
            snapshot.add_cpu(cpu, &state.counters, state.digest.value());
        }
        let mut saved = 0;
        for RoundValue(round) in self.rounds()? {
            let counters = round.counters;
            saved += counters.saved_bytes;
            snapshot.wire_packets += counters.aside_packets;
            snapshot.wire_bytes += counters.aside_bytes;
            snapshot.packets += counters.aside_packets;
            add(&mut snapshot.carriers, &mut snapshot.guards, &counters);
        }
        let faults = self.faults.get(&0, 0).map_err(|error| LiveError::map("faults", &error))?;
        let failed = faults.iter().map(|faults| faults.refused + u64::from(faults.helper != 0));
        snapshot.guards.helper_errors += failed.sum::<u64>();
        snapshot.bytes = snapshot.wire_bytes.saturating_sub(saved);
        Ok(snapshot)
    }

    /// Delivers what is held, detaches, unpins. Must run in the network namespace of the interface; where the interface is gone,
    /// what was attached is gone with it, and only the pins are taken away.
    ///
    /// # Errors
    /// What the kernel said. What could be taken away is.
    pub fn detach(mut self) -> Result<(), LiveError> {
        let here = netns::current().map_err(no_namespace)? == self.notes.netns
            && index(&self.notes.interface).ok() == Some(self.notes.ifindex);
        let drained = if here { self.drain() } else { Ok(()) };
        let detached = if here { self.take_away() } else { Ok(()) };
        let removed = pinned::remove(&self.pin)
            .map_err(|source| LiveError::Directory { path: self.pin.clone(), source });
        drained.and(detached).and(removed)
    }

    /// What the program is told.
    pub(super) fn settings(&self) -> Result<Settings, LiveError> {
        self.settings.get(&0, 0).map_err(|error| LiveError::map("settings", &error))
    }

    pub(super) fn set_mode(&mut self, mode: u32) -> Result<(), LiveError> {
        let settings = self.settings()?;
        set(&mut self.settings, Settings { mode, ..settings })
    }

    /// Has everything delivered that is held. The program drains from then on.
    pub(super) fn drain(&mut self) -> Result<(), LiveError> {
        let mut settings = self.settings()?;
        settings.mode = mode::DRAINING;
        settings.in_place.lose = 0;
        set(&mut self.settings, settings)?;
        let pin = self.pin.join(KICK);
        let kick =
            SchedClassifier::from_pin(&pin).map_err(|error| LiveError::Pin(pin.clone(), describe(&error)))?;
        let left = drain::drain(&kick, || {
            let under_way = |RoundValue(round): &RoundValue| round.turns.wrapping_sub(round.done);
            Ok(self.rounds()?.iter().map(under_way).collect())
        })?;
        match left {
            0 => Ok(()),
            left => {
                Err(LiveError::Kernel("draining", format!("{left} frames did not come back; they are lost")))
            }
        }
    }

    fn take_away(&self) -> Result<(), LiveError> {
        let failed = |text: String| LiveError::Kernel("detaching", text);
        let Some(filter) = self.notes.filter else {
            let link = PinnedLink::from_pin(self.pin.join(LINK)).map_err(|error| failed(describe(&error)))?;
            // The last reference is dropped with it.
            return link.unpin().map(drop).map_err(|error| failed(error.to_string()));
        };
        let handle = TcHandle::from(filter.handle);
        let interface = &self.notes.interface;
        // Dropped, and so detached.
        SchedClassifierLink::attached(interface, TcAttachType::Ingress, filter.priority, handle, None)
            .map(drop)
            .and_then(|()| match filter.made_qdisc {
                true => Rtnetlink::remove_empty_clsact(self.notes.ifindex),
                false => Ok(()),
            })
            .map_err(|error| failed(error.to_string()))
    }

    fn rounds(&self) -> Result<Vec<RoundValue>, LiveError> {
        self.round.get(&0, 0).map(|values| values.to_vec()).map_err(|error| LiveError::map("round", &error))
    }
}

fn check(options: &Options) -> Result<(), LiveError> {
    let most = abi::MAX_SIZE;
    let Options { config, carriers, flights, .. } = options;
    if config.gro_max_size.max(config.gro_ipv4_max_size) > most {
        return Err(LiveError::Option(format!(
            "gro_max_size {}: a tc program cannot build a packet over {most} bytes; --via-tap can",
            config.gro_max_size.max(config.gro_ipv4_max_size)
        )));
    }
    if *carriers == 0 || *carriers > FLIGHTS_MAX {
        return Err(LiveError::Option(format!("{carriers} carriers: 1 to {FLIGHTS_MAX} can be had")));
    }
    if !flights.is_power_of_two() || *flights > FLIGHTS_MAX {
        return Err(LiveError::Option(format!(
            "{flights} flights: it must be a power of two up to {FLIGHTS_MAX}"
        )));
    }
    Ok(())
}

fn settings(options: &Options, ifindex: u32) -> Settings {
    // Without type information each checksum is verified.
    let types = KernelTypes::running().ok();
    let (ip_summed, ip_summed_bit) =
        types.map_or((0, 0), |types| (types.offsets.ip_summed + 1, types.offsets.ip_summed_bit));
    Settings {
        // UDP without a segment size would be one datagram; behind a tunnel nobody looked for a socket.
        config: Config { udp: UdpMode::Off, tunnels: 0, flush_timeout: 0, ..options.config },
        mode: mode::IN_PLACE,
        capture: 0,
        now: 0,
        in_place: InPlace {
            ifindex,
            buffers: options.carriers,
            flights: options.flights,
            forwarding: u32::from(options.forwarding),
            ip_summed,
            ip_summed_bit,
            lose: options.drop_carriers,
        },
    }
}

/// TCX came with Linux 6.6.
fn hook(wanted: Option<Hook>) -> Hook {
    let has_tcx = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0));
    wanted.unwrap_or(if has_tcx { Hook::Tcx } else { Hook::Clsact })
}

fn attach_tcx(ebpf: &mut Ebpf, options: &Options, directory: &Directory) -> Result<(), LiveError> {
    let failed = |text| LiveError::Attach { interface: options.interface.clone(), hook: "TCX", text };
    let order = if options.first { LinkOrder::first() } else { LinkOrder::last() };
    let program = classifier(ebpf, "gro")?;
    let link = program
        .attach_with_options(&options.interface, TcAttachType::Ingress, TcAttachOptions::TcxOrder(order))
        .and_then(|link| program.take_link(link))
        .map_err(|error| failed(describe(&error)))?;
    let link = FdLink::try_from(link).map_err(|error| failed(describe(&error)))?;
    let pin = directory.pin(LINK);
    link.pin(&pin).map(drop).map_err(|error| LiveError::Pin(pin, describe(&error)))
}

fn attach_filter(ebpf: &mut Ebpf, options: &Options) -> Result<Filter, LiveError> {
    let failed = |text| LiveError::Attach { interface: options.interface.clone(), hook: "clsact", text };
    let made_qdisc = qdisc_add_clsact(&options.interface).is_ok();
    // Filters go by priority; the kernel's own choice would be before all others.
    let priority = if options.first { 1 } else { u16::MAX };
    let program = classifier(ebpf, "gro")?;
    let how = TcAttachOptions::Netlink(NlOptions { priority, ..NlOptions::default() });
    let link = program
        .attach_with_options(&options.interface, TcAttachType::Ingress, how)
        .and_then(|link| program.take_link(link))
        .map_err(|error| failed(describe(&error)))?;
    let said = link.priority().and_then(|priority| Ok((priority, u32::from(link.handle()?))));
    let (priority, handle) = said.map_err(|error| failed(describe(&error)))?;
    // A filter outlives us unless it is detached.
    std::mem::forget(link);
    Ok(Filter { priority, handle, made_qdisc })
}

fn add(carriers: &mut Carriers, guards: &mut Guards, counters: &RoundCounters) {
    carriers.issued += counters.carriers;
    carriers.returned += counters.returned;
    carriers.lost += counters.lost;
    carriers.recovered += counters.recovered;
    carriers.ordered += counters.ordered;
    carriers.requeued += counters.requeued;
    carriers.astray += counters.astray;
    carriers.lost_frames += counters.lost_frames;
    guards.socket += counters.socket;
    guards.already_merged += counters.already_merged;
    guards.too_long += counters.too_long;
    guards.not_local += counters.not_local;
    guards.no_room += counters.no_room;
    guards.scattered += counters.scattered;
    guards.no_buffer += counters.no_buffer;
    guards.no_number += counters.no_number;
    guards.helper_errors += counters.helper_errors;
}

fn set(map: &mut Array<MapData, Settings>, settings: Settings) -> Result<(), LiveError> {
    map.set(0, settings, 0).map_err(|error| LiveError::map("settings", &error))
}

fn write_notes(pin: &Path, notes: &Notes) -> Result<(), LiveError> {
    let text = serde_json::to_vec(notes).map_err(|error| LiveError::Notes(pin.into(), error.to_string()))?;
    let mut value = [0; abi::NOTES];
    let room = value.get_mut(..text.len()).ok_or_else(|| {
        LiveError::Option(format!("notes of {} bytes: there is room for {}", text.len(), abi::NOTES))
    })?;
    room.copy_from_slice(&text);
    pinned::array::<[u8; abi::NOTES]>(pin, "notes")?
        .set(0, value, 0)
        .map_err(|error| LiveError::map("notes", &error))
}

fn read_notes(pin: &Path) -> Result<Notes, LiveError> {
    let value = pinned::array::<[u8; abi::NOTES]>(pin, "notes")?
        .get(&0, 0)
        .map_err(|error| LiveError::map("notes", &error))?;
    let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
    serde_json::from_slice(text).map_err(|error| LiveError::Notes(pin.into(), error.to_string()))
}

fn index(interface: &str) -> Result<u32, LiveError> {
    let name = CString::new(interface).map_err(|_| LiveError::Interface(interface.into()))?;
    // SAFETY: `name` is a terminated string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(LiveError::Interface(interface.into())),
        index => Ok(index),
    }
}

fn no_namespace(error: io::Error) -> LiveError {
    LiveError::Kernel("looking up the network namespace", error.to_string())
}

//! The tc program in the running kernel.

use crate::abi::{Faults, Record, Settings};
use crate::object_file::{Object, SECTION};
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader, Pod, VerifierLogLevel};
use gro_core::State;

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel or this process cannot.
    #[error("needs CAP_BPF and CAP_NET_ADMIN: run as root")]
    Capability,
    /// The kernel lacks something, in words.
    #[error("{0}")]
    Unsupported(String),
    /// The verifier or the loader refused the object.
    #[error("the kernel refused the program: {0}")]
    Refused(String),
    /// A map operation failed.
    #[error("BPF map {0}: {1}")]
    Map(&'static str, String),
    /// The object lacks something.
    #[error("the object has no {0}")]
    Missing(&'static str),
}

/// What the kernel says of the loaded program.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Instructions the verifier walked, of a limit of one million.
    pub verified_instructions: u32,
    /// Bytes of native code.
    pub jited: u32,
    /// Bytes of instructions.
    pub translated: u32,
    /// The program's tag.
    pub tag: u64,
}

/// The tc program, loaded. Dropping it detaches and unloads it.
pub struct Program {
    ebpf: Ebpf,
    records: RingBuf<MapData>,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct StateValue(pub(crate) State);
// SAFETY: plain words without padding that matters; every bit pattern is a value.
unsafe impl Pod for StateValue {}
// SAFETY: plain words without padding. It is only written to its map, never read from it, so its enum is always valid.
unsafe impl Pod for Settings {}
// SAFETY: as above.
unsafe impl Pod for Faults {}

impl Program {
    /// Loads the object; it takes part in nothing until it is attached.
    pub fn load(object: &Object<'_>) -> Result<Self, LoadError> {
        let mut ebpf = load(object)?;
        let program = classifier(&mut ebpf, "gro")?;
        program.load().map_err(|error| LoadError::Refused(describe(&error)))?;
        let records = ebpf.take_map("RECORDS").ok_or(LoadError::Missing("map RECORDS"))?;
        let records =
            RingBuf::try_from(records).map_err(|error| LoadError::Map("RECORDS", error.to_string()))?;
        Ok(Self { ebpf, records })
    }

    /// The deepest stack of the program, all frames of a call chain together, in the verifier's words (`280+168`).
    ///
    /// The kernel gives its verifier's statistics with an error only. So the program is loaded once more with no file descriptor
    /// left: it is verified, and then there is no number to return it under.
    pub fn stack_depth(object: &Object<'_>) -> Result<String, LoadError> {
        let mut ebpf = load(object)?;
        let program = classifier(&mut ebpf, "gro")?;
        let refused = without_descriptors(|| program.load());
        let Some(Err(error)) = refused else { return Err(LoadError::Missing("limit of file descriptors")) };
        let text = describe(&error);
        let after = text.split_once("stack depth ").ok_or_else(|| LoadError::Refused(text.clone()))?.1;
        // The last number is that of a frame that was never entered.
        let depth = after.split_whitespace().next().unwrap_or_default().trim_end_matches("+0");
        Ok(depth.to_owned())
    }

    /// What the kernel says of it.
    pub fn loaded(&mut self) -> Result<Loaded, LoadError> {
        let program = classifier(&mut self.ebpf, "gro")?;
        let info = program.info().map_err(|error| LoadError::Refused(error.to_string()))?;
        Ok(Loaded {
            verified_instructions: info.verified_instruction_count().unwrap_or(0),
            jited: info.size_jitted(),
            translated: info.size_translated().unwrap_or(0),
            tag: info.tag(),
        })
    }

    /// The program hash, read back from the loaded program's frozen map.
    pub fn program_hash(&self) -> Result<[u8; 32], LoadError> {
        let map = self.ebpf.map(SECTION).ok_or(LoadError::Missing("map .rodata.program_hash"))?;
        Array::<_, [u8; 32]>::try_from(map)
            .and_then(|array| array.get(&0, 0))
            .map_err(|error| LoadError::Map("program_hash", error.to_string()))
    }

    /// Attaches it to the ingress of an interface of this thread's network namespace.
    pub fn attach(&mut self, interface: &str) -> Result<(), LoadError> {
        let program = classifier(&mut self.ebpf, "gro")?;
        program
            .attach(interface, TcAttachType::Ingress)
            .map(drop)
            .map_err(|error| LoadError::Refused(format!("attaching to {interface}: {}", describe(&error))))
    }

    /// Sets config, mode and time.
    pub fn set(&mut self, settings: Settings) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("SETTINGS").ok_or(LoadError::Missing("map SETTINGS"))?;
        Array::<_, Settings>::try_from(map)
            .and_then(|mut array| array.set(0, settings, 0))
            .map_err(|error| LoadError::Map("SETTINGS", error.to_string()))
    }

    /// The next delivery, if there is one.
    pub fn next_record(&mut self) -> Option<Record> {
        let item = self.records.next()?;
        let words: Vec<u32> =
            item.as_chunks::<4>().0.iter().map(|&bytes| u32::from_ne_bytes(bytes)).collect();
        let &[kind, segs, gso_size, gso_type, len, hash, vlan, why, first, last] = words.as_slice() else {
            return None;
        };
        Some(Record { kind, segs, gso_size, gso_type, len, hash, vlan, why, first, last })
    }

    /// The engine's state on one CPU.
    pub fn state(&self, cpu: usize) -> Result<State, LoadError> {
        Ok(self.per_cpu::<StateValue>("STATE")?.get(cpu).ok_or(LoadError::Missing("such a CPU"))?.0)
    }

    /// What went wrong, on all CPUs.
    pub fn faults(&self) -> Result<Faults, LoadError> {
        let values = self.per_cpu::<Faults>("FAULTS")?;
        Ok(values.iter().fold(Faults::default(), |sum, faults| Faults {
            refused: sum.refused + faults.refused,
            helper: sum.helper | faults.helper,
            record: sum.record + faults.record,
        }))
    }

    fn per_cpu<T: Pod>(&self, name: &'static str) -> Result<Vec<T>, LoadError> {
        let map = self.ebpf.map(name).ok_or(LoadError::Missing(name))?;
        let values = PerCpuArray::<_, T>::try_from(map)
            .and_then(|array| array.get(&0, 0))
            .map_err(|error| LoadError::Map(name, error.to_string()))?;
        Ok(values.to_vec())
    }
}

pub(crate) fn load(object: &Object<'_>) -> Result<Ebpf, LoadError> {
    EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(object.bytes())
        .map_err(|error| describe_load(&error))
}

pub(crate) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing("such a program"))?;
    program.try_into().map_err(|_| LoadError::Missing("classifier of that name"))
}

/// Runs `work` while this process cannot get another file descriptor. `None` when the limit cannot be set.
fn without_descriptors<T>(work: impl FnOnce() -> T) -> Option<T> {
    use std::os::fd::AsRawFd as _;
    let lowest_free = std::fs::File::open("/dev/null").ok()?.as_raw_fd();
    // SAFETY: `old` and `new` are plain structures of the size the calls expect.
    unsafe {
        let mut old: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut old) != 0 {
            return None;
        }
        let new = libc::rlimit { rlim_cur: lowest_free as libc::rlim_t, rlim_max: old.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const new) != 0 {
            return None;
        }
        let result = work();
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const old);
        Some(result)
    }
}

pub(crate) fn describe_load(error: &aya::EbpfError) -> LoadError {
    let text = describe(error);
    if text.contains("not permitted") { LoadError::Capability } else { LoadError::Refused(text) }
}

/// An error with its causes, which aya keeps apart.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

//! The kernel's side: three small programs, their maps, and where they are attached (gro-ebpf/program/src/via.rs).

use super::abi::{Gate, Passed, REASONS};
use super::sys::random;
use crate::live::Hook;
use crate::object_file::Object;
use crate::program::{LoadError, classifier, describe, describe_load};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, SocketFilter, TcAttachType};
use aya::{Ebpf, EbpfLoader, Pod};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Mutex, PoisonError};

// SAFETY: plain words without padding; every bit pattern is a value.
unsafe impl Pod for Gate {}
// SAFETY: as above.
unsafe impl Pod for Passed {}

/// The programs, loaded. They go with this value, or with the process.
pub(super) struct Programs {
    ebpf: Ebpf,
}

/// Map `GATE`, and what is in it.
pub(super) struct GateKeeper(Mutex<(Array<MapData, Gate>, Gate)>);

impl Programs {
    /// Loads them for the interface with this index.
    pub(super) fn load(ifindex: u32, udp: bool) -> Result<(Self, GateKeeper), LoadError> {
        let magic = random().map_err(|error| LoadError::Unsupported(format!("no random number: {error}")))?;
        let mut ebpf = EbpfLoader::new()
            .override_global("MAGIC", &magic, true)
            .override_global("INTERFACE", &ifindex, true)
            .load(Object::via_tap().bytes())
            .map_err(|error| describe_load(&error))?;
        for name in [INGRESS, TAP] {
            classifier(&mut ebpf, name)?.load().map_err(refused)?;
        }
        let filter = ebpf.program_mut(FILTER).ok_or(LoadError::Missing(FILTER))?;
        let filter: &mut SocketFilter =
            filter.try_into().map_err(|_| LoadError::Missing("socket filter of that name"))?;
        filter.load().map_err(refused)?;
        let gate = ebpf.take_map("GATE").ok_or(LoadError::Missing("map GATE"))?;
        let gate = Array::try_from(gate).map_err(|error| LoadError::Map("GATE", error.to_string()))?;
        let value = Gate { beat: 0, open: 0, udp: u32::from(udp) };
        Ok((Self { ebpf }, GateKeeper(Mutex::new((gate, value)))))
    }

    /// The filter of the packet sockets.
    pub(super) fn filter(&self) -> Result<BorrowedFd<'_>, LoadError> {
        let program = self.ebpf.program(FILTER).ok_or(LoadError::Missing(FILTER))?;
        program.fd().map(|fd| fd.as_fd()).map_err(|error| LoadError::Refused(describe(&error)))
    }

    /// Attaches the two classifiers, ahead of every other program.
    pub(super) fn attach(&mut self, interface: &str, tap: &str, hook: Hook) -> Result<(), LoadError> {
        // The TAP's first: what the interface's drops must have its way.
        attach(classifier(&mut self.ebpf, TAP)?, tap, TAP, hook)?;
        attach(classifier(&mut self.ebpf, INGRESS)?, interface, INGRESS, hook)
    }

    /// Detaches them.
    pub(super) fn detach(&mut self) {
        for name in [INGRESS, TAP] {
            if let Ok(program) = classifier(&mut self.ebpf, name) {
                // Detaches, and closes; what cannot be detached is gone with its interface.
                let _ = program.unload();
            }
        }
    }

    /// Frames that the kernel kept, by reason.
    pub(super) fn passed(&self) -> [Passed; REASONS as usize] {
        let mut sums = [Passed::default(); REASONS as usize];
        if let Some(Ok(map)) = self.ebpf.map("PASSED").map(PerCpuArray::<_, Passed>::try_from) {
            for (sum, reason) in sums.iter_mut().zip(0..) {
                for passed in map.get(&reason, 0).iter().flat_map(|values| values.iter()) {
                    sum.packets += passed.packets;
                    sum.bytes += passed.bytes;
                }
            }
        }
        sums
    }
}

/// The programs note and compare the address of a packet, which takes CAP_PERFMON.
fn refused(error: ProgramError) -> LoadError {
    let text = describe(&error);
    let is_right =
        ["not permitted", "leaks addr", "pointer comparison prohibited"].iter().any(|why| text.contains(why));
    if is_right { LoadError::Capability } else { LoadError::Refused(text) }
}

const FILTER: &str = "via_filter";
const INGRESS: &str = "via_ingress";
const TAP: &str = "via_tap";

/// TCX goes with the process. A clsact filter stays when the process is killed, and lets everything pass.
fn attach(program: &mut SchedClassifier, interface: &str, name: &str, hook: Hook) -> Result<(), LoadError> {
    let options = match hook {
        Hook::Tcx => TcAttachOptions::TcxOrder(LinkOrder::first()),
        Hook::Clsact => {
            // There already, more often than not.
            let _ = qdisc_add_clsact(interface);
            // One that a killed process left.
            let _ = qdisc_detach_program(interface, TcAttachType::Ingress, name);
            TcAttachOptions::Netlink(NlOptions { priority: 1, ..NlOptions::default() })
        }
    };
    program
        .attach_with_options(interface, TcAttachType::Ingress, options)
        .map(drop)
        .map_err(|error| LoadError::Refused(format!("attaching to {interface}: {}", describe(&error))))
}

impl GateKeeper {
    /// Has frames taken from now on.
    pub(super) fn open(&self, now: u64) {
        self.set(|gate| (gate.open, gate.beat) = (1, now));
    }

    /// Has the kernel keep its frames from now on.
    pub(super) fn shut(&self) {
        self.set(|gate| gate.open = 0);
    }

    /// Says that the workers work.
    pub(super) fn beat(&self, now: u64) {
        self.set(|gate| gate.beat = gate.beat.max(now));
    }

    fn set(&self, change: impl FnOnce(&mut Gate)) {
        let mut keeper = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (map, gate) = &mut *keeper;
        change(gate);
        // A map of one entry has that entry. If not, the beat is missing soon, and the kernel keeps its frames.
        let _ = map.set(0, *gate, 0);
    }
}

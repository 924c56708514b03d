//! Watches the running kernel's own GRO on one interface: what it decided on each frame, and what it made of them.
//!
//! Raw tracepoints and reads of kernel memory, nothing that changes a packet. What a packet socket cannot tell comes from
//! here: the number of segments, the exact GSO type and the checksum state.

use crate::abi::{Offsets, Seen, Target};
use crate::kernel_types::KernelTypes;
use crate::object_file::Object;
use crate::program::{LoadError, describe, describe_load};
use aya::maps::{MapData, RingBuf};
use aya::programs::{ProgramError, RawTracePoint};
use aya::{Ebpf, EbpfLoader, Pod};
use gro_core::complete::{GSO_TCP_FIXEDID, GSO_TCP_FIXEDID_INNER};

/// The observer program, loaded and attached. Dropping it detaches and unloads it.
pub struct Observer {
    /// Keeps the programs attached.
    _ebpf: Ebpf,
    seen: RingBuf<MapData>,
    types: &'static KernelTypes,
}

/// What GRO did, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It is done with the next frame; the kernel's `gro_result` (include/linux/netdevice.h).
    Frame(u32),
    /// A packet goes up the stack.
    Packet(Packet),
}

/// Metadata of a packet that left GRO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Bytes of the frame.
    pub len: u32,
    /// The flow hash: that of its first frame.
    pub hash: u32,
    /// Segments; 1 for a single frame, of which the kernel says 0.
    pub segs: u32,
    /// Payload bytes of each segment but the last, 0 for a single frame.
    pub gso_size: u32,
    /// `SKB_GSO_*` bits by the numbers of [`gro_core::complete`]. `SKB_GSO_DODGY` is left out: it says how far the kernel
    /// trusts the one who made the skb, and nothing about the packet.
    pub gso_type: u32,
    /// Where the checksum is to be completed, when it is not.
    pub partial: Option<Partial>,
}

/// A checksum field that holds the pseudo-header's sum only (`CHECKSUM_PARTIAL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// First byte to sum, from the start of the frame.
    pub start: u32,
    /// The field's place, from `start`.
    pub offset: u32,
}

/// The observer's programs by name, and the tracepoints they belong to.
const PROGRAMS: [(&str, &str); 3] = [
    ("enter", "napi_gro_receive_entry"),
    ("leave", "napi_gro_receive_exit"),
    ("deliver", "netif_receive_skb"),
];

// SAFETY: plain words without padding; every bit pattern is a value.
unsafe impl Pod for Offsets {}
// SAFETY: as above.
unsafe impl Pod for Target {}

impl Observer {
    /// Loads the committed observer and starts it.
    ///
    /// # Errors
    /// [`LoadError::Unsupported`] on a kernel without BTF or without one of the tracepoints, [`LoadError::Capability`] without
    /// the rights, otherwise what the kernel said.
    pub fn load(target: Target) -> Result<Self, LoadError> {
        let types = KernelTypes::running()?;
        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", &types.offsets, true)
            .override_global("TARGET", &target, true)
            .load(Object::observer().bytes())
            .map_err(|error| describe_load(&error))?;
        let seen = ebpf.take_map("SEEN").ok_or(LoadError::Missing("map SEEN"))?;
        let seen = RingBuf::try_from(seen).map_err(|error| LoadError::Map("SEEN", error.to_string()))?;
        for (name, tracepoint) in PROGRAMS {
            let program = ebpf.program_mut(name).ok_or(LoadError::Missing("such a program"))?;
            let program: &mut RawTracePoint =
                program.try_into().map_err(|_| LoadError::Missing("raw tracepoint of that name"))?;
            program.load().map_err(|error| LoadError::Refused(describe(&error)))?;
            program.attach(tracepoint).map_err(|error| refused(tracepoint, &error))?;
        }
        Ok(Self { _ebpf: ebpf, seen, types })
    }

    /// The next thing it saw, if there is one.
    pub fn next_event(&mut self) -> Option<Observed> {
        let item = self.seen.next()?;
        let words: Vec<u32> =
            item.as_chunks::<4>().0.iter().map(|&bytes| u32::from_ne_bytes(bytes)).collect();
        let &[kind, verdict, len, hash, ip_summed, start, offset, gso_size, gso_segs, gso_type] =
            words.as_slice()
        else {
            return None;
        };
        if kind == Seen::VERDICT {
            return Some(Observed::Frame(verdict));
        }
        Some(Observed::Packet(Packet {
            len: len + ETHERNET_HEADER,
            hash,
            segs: gso_segs.max(1),
            gso_size,
            gso_type: canonical(gso_type, self.types),
            partial: (ip_summed == Seen::CHECKSUM_PARTIAL).then_some(Partial { start, offset }),
        }))
    }
}

/// `skb->len` does not count it at that place.
const ETHERNET_HEADER: u32 = 14;

fn canonical(gso_type: u32, types: &KernelTypes) -> u32 {
    let KernelTypes { fixed_id, fixed_id_inner, dodgy, .. } = *types;
    let moved = |from, to| if gso_type & from != 0 { to } else { 0 };
    let same = gso_type & !(fixed_id | fixed_id_inner | dodgy);
    same | moved(fixed_id, GSO_TCP_FIXEDID) | moved(fixed_id_inner, GSO_TCP_FIXEDID_INNER)
}

fn refused(tracepoint: &str, error: &ProgramError) -> LoadError {
    let ProgramError::SyscallError(call) = error else { return LoadError::Refused(describe(error)) };
    match call.io_error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => LoadError::Capability,
        Some(libc::ENOENT | libc::EINVAL) => {
            LoadError::Unsupported(format!("this kernel has no raw tracepoint {tracepoint}"))
        }
        _ => LoadError::Refused(describe(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gso_types_are_those_of_the_engine() {
        let Ok(types) = KernelTypes::running() else {
            eprintln!("skipped: no type information of the kernel");
            return;
        };
        assert_eq!(canonical(1 | types.fixed_id | types.dodgy, types), 1 | GSO_TCP_FIXEDID);
        assert_eq!(canonical(types.fixed_id_inner, types) != 0, types.fixed_id_inner != 0);
        assert_eq!(canonical(types.fixed_id_inner, types) & !GSO_TCP_FIXEDID_INNER, 0);
        assert_eq!(canonical(0x450, types), 0x450);
    }
}

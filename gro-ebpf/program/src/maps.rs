//! The program's maps and their checked access.

use super::abi::{self, Faults, Flight, FlowEntry, Record, Round, Settings, Turn};
use aya_ebpf::helpers::generated::bpf_map_lookup_percpu_elem;
use aya_ebpf::{
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use core::mem::offset_of;
use gro_core::{BUCKETS, Bucket, Hand, Header, Input, Parsed, Profile, Slot, State};

/// Bytes behind a frame that may be read or cleared when its checksum is summed.
const SLACK: usize = 512;

/// The frame in hand.
#[repr(C)]
pub(crate) struct Backup {
    /// Its length, where the verifier knows nothing of it: what it learns of a value on the way it keeps apart for each way.
    /// 0 when there is none, as for an event.
    pub(crate) len: u32,
    pub(crate) hash: u32,
    pub(crate) vlan: u32,
    pub(crate) number: u32,
    /// Before the bytes, as in a [`gro_core::Header`].
    align: [u8; gro_core::ALIGN],
    pub(crate) bytes: [u8; 16_384 + SLACK],
}

impl Backup {
    /// The first bytes, as the engine looks at them.
    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: `align` and what is behind it are longer than a header, and lie at a multiple of its alignment (checked below).
        unsafe { &*self.align.as_ptr().cast() }
    }
}

const _: () = {
    assert!(offset_of!(Backup, align) % align_of::<Header>() == 0);
    assert!(offset_of!(Backup, bytes) == offset_of!(Backup, align) + gro_core::ALIGN);
};

/// A held packet: the first frame and, behind it, the payload of those that joined.
#[repr(C)]
pub(crate) struct Held {
    pub(crate) len: u32,
    pub(crate) hash: u32,
    pub(crate) vlan: u32,
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// Of a packet that is whole: segments, the payload of each, `SKB_GSO_*` and a flush reason.
    pub(crate) segs: u32,
    pub(crate) gso_size: u32,
    pub(crate) gso_type: u32,
    pub(crate) why: u32,
    /// In-place mode, from here on: one of the states below.
    pub(crate) state: u32,
    /// Place of the packet in the engine's table while it is open.
    pub(crate) slot: u32,
    /// 1 when its checksum field is to hold the pseudo-header sum only, as in its frames (`CHECKSUM_PARTIAL`).
    pub(crate) partial: u32,
    /// Bytes of the first frame, and of its headers, which are rewritten.
    pub(crate) first_len: u32,
    pub(crate) header_len: u32,
    /// Of a free one: one more than the next free one, 0 for none.
    pub(crate) next: u32,
    pad: [u32; 1],
    pub(crate) bytes: [u8; HELD_MAX],
}

impl Held {
    /// Nothing is in it.
    pub(crate) const FREE: u32 = 0;
    /// The engine holds its packet.
    pub(crate) const OPEN: u32 = 1;
    /// Its packet is whole and waits for its carrier.
    pub(crate) const CLOSED: u32 = 2;
}

/// An append writes up to 16,383 bytes at an offset of up to [`OFFSET_MAX`]; a map value has at most 32 KiB.
const HELD_MAX: usize = 32_704;
/// Longest packet that a segment may still join.
pub(crate) const OFFSET_MAX: u32 = 16_320;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static STATE: PerCpuArray<State> = PerCpuArray::with_max_entries(1, 0);
#[map]
static TABLE: PerCpuArray<Bucket> = PerCpuArray::with_max_entries(BUCKETS as u32, 0);
#[map]
static HAND: PerCpuArray<Hand> = PerCpuArray::with_max_entries(1, 0);
#[map]
static HELD: PerCpuArray<Held> = PerCpuArray::with_max_entries(Slot::COUNT as u32, 0);
#[map]
static ROUND: PerCpuArray<Round> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FLIGHTS: PerCpuArray<Flight> = PerCpuArray::with_max_entries(1, 0);
#[map]
static TURNS: PerCpuArray<Turn> = PerCpuArray::with_max_entries(1, 0);
#[map]
static FLOWS: PerCpuArray<FlowEntry> = PerCpuArray::with_max_entries(abi::FLOWS, 0);
#[map]
static BACKUP: PerCpuArray<Backup> = PerCpuArray::with_max_entries(1, 0);
#[map]
static NOTES: Array<[u8; abi::NOTES]> = Array::with_max_entries(1, 0);
#[map]
static FAULTS: PerCpuArray<Faults> = PerCpuArray::with_max_entries(1, 0);
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The engine's flow table.
pub(crate) struct Table;

impl gro_core::Table for Table {
    #[inline(always)]
    fn bucket(&mut self, index: u32) -> Option<(&mut Bucket, &mut Hand)> {
        // SAFETY: the map value is this CPU's own, and tc runs with preemption of the same program excluded (BH off).
        let bucket = TABLE.get_ptr_mut(index).map(|bucket| unsafe { &mut *bucket })?;
        Some((bucket, hand()?))
    }

    /// A global function: the verifier walks it once, whatever led to the call.
    #[inline(always)]
    fn parse<P: Profile>(&mut self, _: &Input<'_>, first: bool) -> Option<Parsed> {
        match super::gro_parse(u32::from(first)) {
            0 => Some(Parsed::Whole),
            1 => Some(Parsed::Part),
            2 => Some(Parsed::Refused),
            _ => None,
        }
    }
}

/// The frame in hand.
#[inline(always)]
pub(crate) fn hand() -> Option<&'static mut Hand> {
    // SAFETY: as in `Table::bucket`; nobody keeps it while it is fetched again.
    HAND.get_ptr_mut(0).map(|hand| unsafe { &mut *hand })
}

#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

#[inline(always)]
pub(crate) fn state() -> Option<&'static mut State> {
    // SAFETY: as in `Table::bucket`; it is fetched once a run.
    STATE.get_ptr_mut(0).map(|state| unsafe { &mut *state })
}

#[inline(always)]
pub(crate) fn backup() -> Option<&'static mut Backup> {
    // SAFETY: as in `Table::bucket`; it is fetched once a run.
    BACKUP.get_ptr_mut(0).map(|backup| unsafe { &mut *backup })
}

/// The buffer of a held packet.
#[inline(always)]
pub(crate) fn held(slot: Slot) -> Option<&'static mut Held> {
    buffer(round()?.buffers[slot.index()])
}

#[inline(always)]
pub(crate) fn buffer(index: u32) -> Option<&'static mut Held> {
    // SAFETY: as in `Table::bucket`; no caller keeps one buffer while it fetches it again.
    HELD.get_ptr_mut(index).map(|held| unsafe { &mut *held })
}

#[inline(always)]
pub(crate) fn round() -> Option<&'static mut Round> {
    // SAFETY: as in `Table::bucket`; who calls something that fetches it, too, fetches it anew.
    ROUND.get_ptr_mut(0).map(|round| unsafe { &mut *round })
}

#[inline(always)]
pub(crate) fn flight(index: u32) -> Option<&'static mut Flight> {
    // SAFETY: as in `Table::bucket`; no caller keeps one while it fetches it again.
    FLIGHTS.get_ptr_mut(index).map(|flight| unsafe { &mut *flight })
}

#[inline(always)]
pub(crate) fn turn(index: u32) -> Option<&'static mut Turn> {
    // SAFETY: as in `Table::bucket`; no caller keeps one while it fetches it again.
    TURNS.get_ptr_mut(index).map(|turn| unsafe { &mut *turn })
}

/// An skb of another CPU, which may change this meanwhile.
#[inline(always)]
pub(crate) fn flight_of(cpu: u32, index: u32) -> Option<Flight> {
    // SAFETY: `FLIGHTS` is a map with such values.
    unsafe { of_cpu((&raw const FLIGHTS).cast(), cpu, index) }
}

/// A turn of another CPU, which may change this meanwhile.
#[inline(always)]
pub(crate) fn turn_of(cpu: u32, index: u32) -> Option<Turn> {
    // SAFETY: `TURNS` is a map with such values.
    unsafe { of_cpu((&raw const TURNS).cast(), cpu, index) }
}

/// # Safety
/// `map` must be one with values of plain words `T`, one for each CPU.
#[inline(always)]
unsafe fn of_cpu<T: Copy>(map: *const core::ffi::c_void, cpu: u32, index: u32) -> Option<T> {
    // SAFETY: the key lives through the call.
    let value = unsafe { bpf_map_lookup_percpu_elem(map.cast_mut(), (&raw const index).cast(), cpu) };
    let value: *const T = value.cast();
    // SAFETY: a value of the map.
    (!value.is_null()).then(|| unsafe { value.read_volatile() })
}

#[inline(always)]
pub(crate) fn flow(index: u32) -> Option<&'static mut FlowEntry> {
    // SAFETY: as in `Table::bucket`; no caller keeps one while it fetches it again.
    FLOWS.get_ptr_mut(index).map(|flow| unsafe { &mut *flow })
}

/// Who attached the program. The program does not look at it, but a map to which nothing refers is not in the object.
#[inline(always)]
pub(crate) fn notes() -> Option<&'static [u8; abi::NOTES]> {
    NOTES.get(0)
}

/// What went wrong, to be counted without a branch: each would double what the verifier walks.
#[inline(always)]
pub(crate) fn faults() -> Option<&'static mut Faults> {
    // SAFETY: as in `Table::bucket`; it is fetched once a run.
    FAULTS.get_ptr_mut(0).map(|faults| unsafe { &mut *faults })
}

/// Sends a record. It is written in place: the stack has no room for another one. `false` when the ring buffer is full.
#[inline(always)]
pub(crate) fn record(fill: impl FnOnce(&mut Record)) -> bool {
    match RECORDS.reserve::<Record>(0) {
        Some(mut entry) => {
            fill(entry.write(Record::ZERO));
            entry.submit(0);
            true
        }
        None => false,
    }
}

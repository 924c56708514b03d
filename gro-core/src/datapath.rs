//! What a backend must offer, and the one driver that all backends run.
//!
//! Order is part of the contract: for one frame at most one held packet leaves, before the frame is held or delivered
//! (a mismatch or an eviction), or after it joined (a segment that closes). Every frame is moved into exactly one of
//! `hold`, `append` and `pass`, and every held frame leaves by exactly one `emit`.

use crate::checksum::{fold, halves};
use crate::coalesce::{Action, Verdict, alone, decide};
use crate::complete::Merged;
use crate::digest::Digest;
use crate::parse::{Packet, parse};
use crate::profile::{Config, POLL_BUDGET, Profile};
use crate::reason::{Bypass, FlushReason};
use crate::stats::Counters;
use crate::table::{BUCKETS, Bucket, DEPTH, Slot, Table};
use crate::window::Window;
use core::ops::Range;

/// Moves bytes. A frame is a slice, an skb, a descriptor.
pub trait Datapath {
    /// Moved, not borrowed, so that it cannot be delivered twice.
    type Frame;

    /// The ones'-complement sum of bytes `range` of the frame, folded to 16 bits, when nobody vouched for its checksum.
    /// `None` when it cannot be had: the frame then bypasses.
    fn sum(&mut self, frame: &Self::Frame, range: Range<u32>) -> Option<u16>;

    /// Keeps the whole frame in an empty slot.
    fn hold(&mut self, slot: Slot, frame: Self::Frame, packet: &Packet);

    /// Appends the frame's payload (`packet.payload`, `packet.payload_len`) to the packet in `slot`.
    fn append(&mut self, slot: Slot, frame: Self::Frame, packet: &Packet);

    /// Delivers the packet in `slot`, its header rewritten by `merged`, and empties the slot.
    fn emit(&mut self, slot: Slot, merged: &Merged, why: FlushReason);

    /// Delivers a frame as it came.
    fn pass(&mut self, frame: Self::Frame, why: Bypass);
}

/// What came with a frame beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// RSS hash, 0 where no NIC set one.
    pub hash: u32,
    /// Outer VLAN tag taken off by the device: TPID (high half) and TCI, 0 for none.
    pub vlan: u32,
    /// Somebody vouched for the TCP checksum (CHECKSUM_UNNECESSARY).
    pub verified: bool,
}

/// One frame's headers and circumstances. One argument, because BPF functions take five at most.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The headers.
    pub window: Window<'a>,
    /// What came with them.
    pub meta: Meta,
    /// The current jiffy; only compared for equality.
    pub now: u32,
    /// What the administrator set.
    pub config: &'a Config,
}

/// What the engine keeps beside the table. All zero is the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// Over every decision so far.
    pub digest: Digest,
    /// Frames since the last end of a poll.
    pub poll_frames: u32,
    /// Frames so far, modulo 2^32.
    pub frames: u32,
    /// What happened so far.
    pub counters: Counters,
}

impl State {
    /// The start.
    pub const ZERO: Self = Self { digest: Digest::ZERO, poll_frames: 0, frames: 0, counters: Counters::ZERO };
}

/// What became of a frame, as the kernel's `gro_result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GroResult {
    /// It joined a held packet.
    Merged = 0,
    /// It is held.
    Held = 2,
    /// It was delivered at once.
    Normal = 3,
}

/// Takes one frame (`dev_gro_receive`, net/core/gro.c).
#[inline(always)]
pub fn receive<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> GroResult {
    state.counters.arrived(input.window.len());
    state.frames = state.frames.wrapping_add(1);
    state.poll_frames = state.poll_frames.saturating_add(1);

    let bypass = match parse(&input.window) {
        Ok(packet) if is_valid(&packet, datapath, &frame, input) => {
            let index = input.meta.hash & (BUCKETS as u32 - 1);
            match table.bucket(index) {
                Some(bucket) => return place::<P, D>(state, bucket, datapath, frame, (&packet, input)),
                None => Bypass::NoTable,
            }
        }
        Ok(_) => Bypass::TcpChecksum,
        Err(why) => why,
    };
    state.digest.mix((bypass as u32) << 24, state.frames);
    state.counters.passed(bypass);
    datapath.pass(frame, bypass);
    GroResult::Normal
}

/// The end of a NAPI poll (`napi_complete_done`, net/core/dev.c): without a flush timeout, or when the poll used its whole
/// budget, everything leaves; else what is older than the current jiffy.
#[inline(always)]
pub fn poll_end<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    now: u32,
    config: &Config,
) {
    let all = config.flush_timeout == 0 || state.poll_frames >= POLL_BUDGET;
    state.poll_frames = 0;
    leave(state, table, datapath, if all { None } else { Some(now) }, FlushReason::PollEnd);
}

/// The flush timer (`napi_watchdog`, net/core/dev.c): a poll without frames, which delivers everything.
#[inline(always)]
pub fn tick<P: Profile, T: Table, D: Datapath>(state: &mut State, table: &mut T, datapath: &mut D) {
    leave(state, table, datapath, None, FlushReason::Tick);
}

/// The owner wants everything, as when an interface goes down.
#[inline(always)]
pub fn flush<P: Profile, T: Table, D: Datapath>(state: &mut State, table: &mut T, datapath: &mut D) {
    leave(state, table, datapath, None, FlushReason::Requested);
}

/// The checksum of a segment that may join (`skb_gro_checksum_validate`, include/net/gro.h).
#[inline(always)]
fn is_valid<D: Datapath>(packet: &Packet, datapath: &mut D, frame: &D::Frame, input: &Input<'_>) -> bool {
    if packet.mismatch || input.meta.verified {
        return true;
    }
    let len = input.window.len();
    match datapath.sum(frame, packet.l4..len) {
        Some(sum) => fold(packet.pseudo_sum() + halves(len - packet.l4) + sum as u32) == 0xffff,
        None => false,
    }
}

#[inline(always)]
fn place<P: Profile, D: Datapath>(
    state: &mut State,
    bucket: &mut Bucket,
    datapath: &mut D,
    frame: D::Frame,
    (packet, input): (&Packet, &Input<'_>),
) -> GroResult {
    let index = (input.meta.hash & (BUCKETS as u32 - 1)) as u8;
    let found = bucket.find(packet, input);
    let (mut way, verdict) = match found {
        Some(way) => {
            let held = bucket.flow(way);
            let difference = held.difference(packet, &input.window);
            let max_size = input.config.max_size(packet.is_ipv6());
            (way, decide::<P>(held, difference, packet, max_size))
        }
        None => (bucket.oldest(), alone(packet)),
    };

    // Before the action: the held packet of the flow, or the oldest where a new flow finds no place.
    let Verdict { mut flush, action, close, pass, fixed_id } = verdict;
    if flush == FlushReason::None && action == Action::Hold && bucket.count() >= DEPTH as u32 {
        flush = FlushReason::Evicted;
    }
    if flush != FlushReason::None {
        emit(state, bucket, datapath, Slot { bucket: index, way }, flush);
    }

    if action == Action::Hold {
        way = bucket.insert();
    }
    let slot = Slot { bucket: index, way };
    let word = action as u32 | (flush as u32) << 8 | (close as u32) << 16 | (pass as u32) << 24;
    state.digest.mix(word ^ (slot.index() as u32) << 2, state.frames ^ packet.seq);
    match action {
        Action::Merge => {
            bucket.flow_mut(way).join(packet, fixed_id);
            state.counters.merged_segments += 1;
            datapath.append(slot, frame, packet);
            if close != FlushReason::None {
                emit(state, bucket, datapath, slot, close);
            }
            GroResult::Merged
        }
        Action::Hold => {
            bucket.flow_mut(way).start(packet, input);
            datapath.hold(slot, frame, packet);
            GroResult::Held
        }
        Action::Normal => {
            state.counters.passed(pass);
            datapath.pass(frame, pass);
            GroResult::Normal
        }
    }
}

/// Buckets in order, oldest first inside each (`napi_gro_flush`); with `keep`, a bucket ends at the first packet of that
/// jiffy.
#[inline(always)]
fn leave<T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    keep: Option<u32>,
    why: FlushReason,
) {
    for index in 0..BUCKETS as u32 {
        let Some(bucket) = table.bucket(index) else { continue };
        for _ in 0..DEPTH {
            if bucket.count() == 0 {
                break;
            }
            let way = bucket.oldest();
            if keep == Some(bucket.flow(way).age) {
                break;
            }
            emit(state, bucket, datapath, Slot { bucket: index as u8, way }, why);
        }
    }
}

#[inline(always)]
fn emit<D: Datapath>(state: &mut State, bucket: &mut Bucket, datapath: &mut D, slot: Slot, why: FlushReason) {
    let merged = Merged::of(bucket.flow(slot.way));
    bucket.remove(slot.way);
    state.counters.flushed(why, merged.segs);
    state.digest.mix((why as u32) << 8 | slot.index() as u32, merged.segs << 16 ^ merged.len);
    datapath.emit(slot, &merged, why);
}

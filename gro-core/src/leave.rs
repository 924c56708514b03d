//! How packets leave: at an event, which comes between frames, or for a frame.

use crate::complete::is_many;
use crate::datapath::Datapath;
use crate::profile::{Config, Profile};
use crate::reason::FlushReason;
use crate::rule::Rule;
use crate::state::State;
use crate::table::{BUCKETS, Bucket, Slot, Table};

/// What happens between frames, in one ordered stream with them. The numbers are those of the [`FlushReason`] they give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Event {
    /// The end of a NAPI poll (`napi_complete_done`, net/core/dev.c): everything leaves, or what is older than the current jiffy
    /// where there is a flush timeout and the poll had frames, but not its whole budget. After a whole budget everything
    /// leaves below 1,000 jiffies a second, and what is older from there on (`napi_poll`).
    PollEnd = FlushReason::PollEnd as u8,
    /// The flush timer (`napi_watchdog`, net/core/dev.c): a poll without frames, which delivers everything.
    Tick = FlushReason::Tick as u8,
    /// The owner wants everything, as when an interface goes down.
    Flush = FlushReason::Requested as u8,
}

impl Event {
    /// Why packets leave at it.
    #[inline(always)]
    pub fn reason(self) -> FlushReason {
        match self {
            Self::PollEnd => FlushReason::PollEnd,
            Self::Tick => FlushReason::Tick,
            Self::Flush => FlushReason::Requested,
        }
    }
}

/// Takes one event. Buckets leave in order, the oldest packet of each first (`napi_gro_flush`, net/core/gro.c).
#[inline(always)]
pub fn event<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    event: Event,
    clock: (u32, &Config),
) {
    if D::LEARNS_LATE {
        state.count_pending();
    }
    begin::<P>(state, event, clock.1);
    let unheard = event as u8 == Event::PollEnd as u8 && !P::on(Rule::PollEnd)
        || event as u8 == Event::Tick as u8 && !P::on(Rule::Timer);
    if unheard {
        return;
    }
    let mut turn = 0;
    for _ in 0..EVENT_STEPS {
        if !leaves::<P, T, D>(state, table, datapath, turn, (event, clock.0)) {
            turn += 1;
        }
        if turn >= BUCKETS as u32 {
            break;
        }
    }
}

/// Most steps of an event: every place of the table, and one to leave each bucket.
pub const EVENT_STEPS: u32 = (Slot::COUNT + BUCKETS) as u32;

/// Starts an event that the caller takes in steps: a BPF program does that with `bpf_loop`, so that the verifier walks a step
/// once.
#[inline(always)]
pub fn begin<P: Profile>(state: &mut State, event: Event, config: &Config) {
    let polled = event as u8 == Event::PollEnd as u8;
    state.keeps_young =
        (polled && config.keeps_young::<P>(state.frames().wrapping_sub(state.poll_start))) as u32;
    state.poll_start = state.frames();
    state.cursor = 0;
}

/// One step of an event: a packet leaves, or the next bucket's turn comes. `false` at the end, after [`EVENT_STEPS`] at most.
#[inline(always)]
pub fn step<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    event: Event,
    now: u32,
) -> bool {
    if leaves::<P, T, D>(state, table, datapath, state.cursor, (event, now)) {
        return true;
    }
    state.cursor += 1;
    state.cursor < BUCKETS as u32
}

/// Whether a packet leaves the bucket whose turn it is.
#[inline(always)]
fn leaves<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    turn: u32,
    (event, now): (Event, u32),
) -> bool {
    let last = BUCKETS as u32 - 1;
    let index = turn & last;
    let index = if P::on(Rule::BucketOrder) { index } else { last - index };
    if let Some((list, _)) = table.bucket(index)
        && list.count() > 0
    {
        let way = if P::on(Rule::OldestFirst) { list.oldest() } else { list.newest() };
        if !(state.keeps_young != 0 && list.flow(way).age == now) {
            let slot = Slot { bucket: index as u8, way };
            emit::<P, D>(state, list, datapath, (slot, event.reason() as u32));
            return true;
        }
    }
    false
}

/// Has the held packet in `slot` leave, whatever else is held; nothing where there is none. For a datapath in which packets have
/// an end of their own: a held packet of the tc program leaves when its first frame comes round again.
#[inline(always)]
pub fn release<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    slot: Slot,
    why: FlushReason,
) {
    if let Some((list, _)) = table.bucket(slot.bucket as u32)
        && list.flow(slot.way).segs > 0
    {
        emit::<P, D>(state, list, datapath, (slot, why as u32));
    }
}

/// The packet in a slot leaves, for a [`FlushReason`].
#[inline(always)]
pub(crate) fn emit<P: Profile, D: Datapath>(
    state: &mut State,
    list: &mut Bucket,
    datapath: &mut D,
    leaves: (Slot, u32),
) {
    if D::LEARNS_LATE {
        emit_apart::<P, D>(state, list, datapath, leaves);
    } else {
        let flow = list.flow(leaves.0.way);
        state.merged.write::<P>(flow);
        emit_completed::<D>(state, list, datapath, leaves);
    }
}

/// A function of its own: several places need it, and a NIC's instruction memory is small.
#[inline(never)]
fn emit_apart<P: Profile, D: Datapath>(
    state: &mut State,
    list: &mut Bucket,
    datapath: &mut D,
    leaves: (Slot, u32),
) {
    let flow = list.flow_mut(leaves.0.way);
    if P::on(Rule::Single) && flow.segs == 1 {
        state.merged.write_single(flow);
    } else if flow.late != 0 {
        state.merged.write_late::<P>(flow);
    } else {
        state.merged.write::<P>(flow);
    }
    emit_completed::<D>(state, list, datapath, leaves);
}

#[inline(always)]
fn emit_completed<D: Datapath>(
    state: &mut State,
    list: &mut Bucket,
    datapath: &mut D,
    (slot, why): (Slot, u32),
) {
    let State { digest, counters, merged, .. } = state;
    list.remove(slot.way);
    counters.flushed(why, is_many(merged.segs));
    digest.mix(why << 8 | slot.index() as u32, merged.segs << 16 ^ merged.len);
    datapath.emit(slot, merged, FlushReason::of_word(why));
}

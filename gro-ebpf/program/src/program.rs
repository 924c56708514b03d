//! The tc program: gro-core over skbs.
//!
//! Redirect mode, for comparisons: every delivery is a synchronous clone-redirect to the capture interface, in the order
//! of the engine's calls. The end of a poll, a tick and a flush are marker frames, which cannot overtake and which
//! carry what they release.
//!
//! In-place mode, for live traffic: see `in_place.rs`. What differs between the modes are the effects; the engine, and the function
//! that calls it, are the same instructions.

#[path = "../../src/abi.rs"]
pub mod abi;
mod in_place;
mod maps;
mod tc;

use crate::Rules;
use abi::{FRAME_MAX, Record, Round, Settings, marker, mode};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::{EbpfContext as _, macros::classifier, programs::TcContext};
use core::ffi::c_void;
use gro_core::{BUCKETS, DEPTH, Event, FlushReason, Input, Meta, Profile as _, Slot, Window, parse};
use maps::{Backup, Table};
use tc::Tc;

/// A section, and so a frozen map, of its own: the hash can be read from the object file and from the loaded program.
#[unsafe(link_section = ".rodata.program_hash")]
#[unsafe(no_mangle)]
static PROGRAM_HASH: [u8; 32] = Rules::PROGRAM_HASH;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[classifier]
fn gro(ctx: TcContext) -> i32 {
    run(ctx.as_ptr().cast()).unwrap_or(TC_ACT_UNSPEC)
}

/// For a drain, through BPF_PROG_TEST_RUN: sends a frame to the ingress that `gro` is attached to.
#[classifier]
fn kick(ctx: TcContext) -> i32 {
    in_place::kick(ctx.as_ptr().cast()).unwrap_or(TC_ACT_SHOT as i32)
}

/// `None` lets the packet pass untouched.
#[inline(always)]
fn run(skb: *mut __sk_buff) -> Option<i32> {
    let mode = maps::settings()?.mode;
    if mode == mode::IN_PLACE || mode == mode::DRAINING {
        return in_place::run(skb);
    }
    if mode != mode::REDIRECT {
        return None;
    }
    let faults = maps::faults()?;
    // Growing an skb that a socket owns corrupts that socket's accounting; a GSO skb was merged by somebody else.
    // SAFETY: `skb` is the context the kernel passed.
    let (foreign, len, mark) =
        unsafe { (!(*skb).__bindgen_anon_2.sk.is_null() || (*skb).gso_size != 0, (*skb).len, (*skb).mark) };
    if foreign || len > FRAME_MAX {
        faults.refused += 1;
        return None;
    }
    if mark & marker::MASK == marker::MAGIC {
        event(skb, mark)?;
    } else {
        show(skb);
    }
    Some(TC_ACT_SHOT as i32)
}

/// Shows a frame to the engine; `false` when it could not be read. In three global functions, as [`gro_parse`]: one after the other, they
/// share a stack.
#[inline(always)]
pub(crate) fn show(skb: *mut __sk_buff) -> bool {
    gro_read(skb) != 0 && (gro_follow(skb) != 0 || gro_frame(skb) != 0)
}

/// Reads the frame in hand: 1, or 0 when it cannot be read.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_read(skb: *mut __sk_buff) -> u32 {
    // SAFETY: `skb` is the context the kernel passed.
    u32::from(read(skb, unsafe { (*skb).len }).is_some())
}

#[inline(always)]
fn read(skb: *mut __sk_buff, len: u32) -> Option<()> {
    let (state, faults, round) = (maps::state()?, maps::faults()?, maps::round()?);
    // The whole frame where it is delivered from there or its sum is wanted.
    let part = if in_place::is_vouched(round.ip_summed) { in_place::header_part(skb, len) } else { len };
    round.part = part;
    let Some(backup) = tc::back_up(skb, len, part) else {
        faults.refused += 1;
        return None;
    };
    // SAFETY: `skb` is the context the kernel passed.
    let hash = unsafe { (*skb).hash } ^ in_place::hash_bit(round.ip_summed);
    (backup.hash, backup.vlan, backup.number) = (hash, tc::tag(skb), state.frames());
    Some(())
}

/// Has the frame in hand join the packet of its flow, if it is plain: 1, or 0 when it is to go the long way.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_follow(skb: *mut __sk_buff) -> u32 {
    /// Ethernet, IPv6 and TCP with all options.
    const HEADERS_MOST: u32 = 114;
    let (Some(settings), Some(state), Some(faults), Some(round), Some(backup)) =
        (maps::settings(), maps::state(), maps::faults(), maps::round(), maps::backup())
    else {
        return 0;
    };
    if round.part < HEADERS_MOST && round.part < backup.len {
        return 0;
    }
    let input = input(settings, round, backup);
    let mut tc = Tc { skb, faults };
    u32::from(gro_core::receive_follower::<Rules, _, _>(state, &mut Table, &mut tc, (), &input).is_ok())
}

/// The long way: 1, or 0 without a map.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_frame(skb: *mut __sk_buff) -> u32 {
    let (Some(settings), Some(state), Some(faults), Some(round), Some(backup)) =
        (maps::settings(), maps::state(), maps::faults(), maps::round(), maps::backup())
    else {
        return 0;
    };
    let input = input(settings, round, backup);
    let mut tc = Tc { skb, faults };
    gro_core::receive::<Rules, _, _>(state, &mut Table, &mut tc, (), &input);
    1
}

#[inline(always)]
fn input<'a>(settings: &'a Settings, round: &Round, backup: &'a Backup) -> Input<'a> {
    let verified = in_place::is_vouched(round.ip_summed);
    let meta = Meta { hash: backup.hash, vlan: backup.vlan, verified };
    let window = Window::new(backup.header(), tc::opaque_in(&backup.len));
    Input { window, meta, now: settings.now, config: &settings.config }
}

/// Parses a part of the headers of the frame in hand: [`Parsed`] as a number, or 3 without a map. Everything comes from maps, so
/// that the verifier can walk it on its own.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_parse(first: u32) -> u32 {
    let (Some(settings), Some(backup), Some(hand)) = (maps::settings(), maps::backup(), maps::hand()) else {
        return 3;
    };
    let window = Window::new(backup.header(), backup.len);
    if first != 0 {
        parse::begin(&mut hand.packet);
    } else {
        parse::take_run(&window, &mut hand.packet);
    }
    let Some(hand) = maps::hand() else { return 3 };
    parse::next::<Rules>(&window, &settings.config, &mut hand.packet) as u32
}

/// Whether in-place mode may merge the frame in hand: 1 or 0. Global, as [`gro_parse`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_admit(skb: *mut __sk_buff) -> u32 {
    u32::from(in_place::admits(skb).unwrap_or(false))
}

/// Delivers a held packet that is whole. Global, as [`gro_parse`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_deliver(skb: *mut __sk_buff, buffer: u32) -> u32 {
    u32::from(tc::deliver_held(skb, buffer).is_some())
}

/// Delivers a frame as it came. Global, as [`gro_parse`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_pass(skb: *mut __sk_buff, why: u32) -> u32 {
    u32::from(tc::deliver_frame(skb, why).is_some())
}

/// Has a held packet leave the engine's table, for in-place mode. Global, as [`gro_parse`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_release(slot: u32) -> u32 {
    let Some(state) = maps::state() else { return 0 };
    let slot = Slot {
        bucket: (slot / DEPTH as u32) as u8 & (BUCKETS as u8 - 1),
        way: slot as u8 & (DEPTH as u8 - 1),
    };
    gro_core::release::<Rules, _, _>(state, &mut Table, &mut tc::Closing, slot, FlushReason::PollEnd);
    1
}

/// What becomes of a frame that came round, or -2 when it did not go round. Global, as [`gro_parse`].
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_return(skb: *mut __sk_buff) -> i32 {
    in_place::came_round(skb).unwrap_or(in_place::NOT_OURS)
}

/// A function of its own: inlined, it has LLVM lay out the frame's path so that the verifier walks it many times over.
#[inline(never)]
fn event(skb: *mut __sk_buff, mark: u32) -> Option<()> {
    let (settings, state, faults) = (maps::settings()?, maps::state()?, maps::faults()?);
    let number = mark & !marker::MASK;
    let event = event_of(number)?;
    gro_core::begin::<Rules>(state, event, &settings.config);
    maps::backup()?.len = 0;
    let mut run = Run { skb, number };
    // SAFETY: `step` has the signature of a `bpf_loop` callback, and `run` outlives the call.
    unsafe { bpf_loop(gro_core::EVENT_STEPS, step as *mut c_void, (&raw mut run).cast(), 0) };
    // SAFETY: a read of a static; volatile ties the hash to the code, so that the loaded program refers to its map.
    let hash = unsafe { core::ptr::read_volatile(PROGRAM_HASH.as_ptr().cast()) };
    let sent = maps::record(|record| (record.kind, record.hash) = (Record::MARKER, hash));
    faults.record += u64::from(!sent);
    Some(())
}

/// What the steps of an event share.
struct Run {
    skb: *mut __sk_buff,
    /// Of the event: a word, because the verifier would lose the range of an enum.
    number: u32,
}

#[inline(always)]
fn event_of(number: u32) -> Option<Event> {
    [Event::PollEnd, Event::Tick, Event::Flush].into_iter().find(|&event| event as u32 == number)
}

/// Callback of `bpf_loop`: 0 goes on, 1 ends it.
extern "C" fn step(_index: u64, run: *mut Run) -> i64 {
    // SAFETY: `event` passed its `run`.
    let Run { skb, number } = unsafe { run.read() };
    let (Some(settings), Some(state), Some(faults)) = (maps::settings(), maps::state(), maps::faults())
    else {
        return 1;
    };
    let Some(event) = event_of(number) else { return 1 };
    let mut tc = Tc { skb, faults };
    i64::from(!gro_core::step::<Rules, _, _>(state, &mut Table, &mut tc, event, settings.now))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

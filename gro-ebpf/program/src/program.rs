//! The tc program: gro-core over skbs.
//!
//! Redirect mode (`SETTINGS.capture` is set): every delivery is a synchronous clone-redirect to that interface, in the order
//! of the engine's calls. The end of a poll, a tick and a flush are marker frames, which cannot overtake and which
//! carry what they release. Without a capture interface every packet passes untouched.

#[path = "../../src/abi.rs"]
pub mod abi;
mod maps;
mod tc;

use crate::Rules;
use abi::{FRAME_MAX, Record, marker};
use aya_ebpf::bindings::{__sk_buff, TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::bpf_loop;
use aya_ebpf::{EbpfContext as _, macros::classifier, programs::TcContext};
use core::ffi::c_void;
use gro_core::{Event, Input, Meta, Profile as _, Window, parse};
use maps::Table;
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
    run(ctx.as_ptr().cast()).unwrap_or(TC_ACT_OK as i32)
}

/// `None` lets the packet pass untouched.
#[inline(always)]
fn run(skb: *mut __sk_buff) -> Option<i32> {
    if maps::settings()?.capture == 0 {
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
        frame(skb, len)?;
    }
    Some(TC_ACT_SHOT as i32)
}

/// A function of its own, as `event`: the stacks of the two do not add up.
#[inline(never)]
fn frame(skb: *mut __sk_buff, len: u32) -> Option<()> {
    let (settings, state, faults) = (maps::settings()?, maps::state()?, maps::faults()?);
    let Some(backup) = tc::back_up(skb, len) else {
        faults.refused += 1;
        return None;
    };
    // SAFETY: `skb` is the context the kernel passed.
    let meta = Meta { hash: unsafe { (*skb).hash }, vlan: tc::tag(skb), verified: false };
    let window = backup.bytes.first_chunk()?;
    let window = Window::new(window, tc::opaque_in(&backup.len));
    let input = Input { window, meta, now: settings.now, config: &settings.config };
    let mut tc =
        Tc { skb, capture: settings.capture, frame: Some((backup, meta)), number: state.frames, faults };
    gro_core::receive::<Rules, _, _>(state, &mut Table, &mut tc, (), &input);
    Some(())
}

/// Parses a part of the headers of the frame in hand: [`Parsed`] as a number, or 3 without a map. Everything comes from maps, so
/// that the verifier can walk it on its own.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn gro_parse(first: u32) -> u32 {
    let (Some(settings), Some(backup), Some(hand)) = (maps::settings(), maps::backup(), maps::hand()) else {
        return 3;
    };
    let Some(bytes) = backup.bytes.first_chunk() else { return 3 };
    let window = Window::new(bytes, backup.len);
    if first != 0 {
        parse::begin(&mut hand.packet);
    } else {
        parse::take_run(&window, &mut hand.packet);
    }
    let Some(hand) = maps::hand() else { return 3 };
    parse::next::<Rules>(&window, &settings.config, &mut hand.packet) as u32
}

/// A function of its own: inlined, it has LLVM lay out the frame's path so that the verifier walks it many times over.
#[inline(never)]
fn event(skb: *mut __sk_buff, mark: u32) -> Option<()> {
    let (settings, state, faults) = (maps::settings()?, maps::state()?, maps::faults()?);
    let number = mark & !marker::MASK;
    let event = event_of(number)?;
    gro_core::begin::<Rules>(state, event, &settings.config);
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
    let mut tc = Tc { skb, capture: settings.capture, frame: None, number: 0, faults };
    i64::from(!gro_core::step::<Rules, _, _>(state, &mut Table, &mut tc, event, settings.now))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

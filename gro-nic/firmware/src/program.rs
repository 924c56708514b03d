//! The NIC's program: takes events from the RX ring in order, lets the core decide, and writes completions.
//!
//! It has no clock, no heap, no interrupt and no CSR access; when there is nothing to do it waits with `wfi` and then
//! looks again, so a core whose `wfi` does nothing runs it as well. Payload is never touched.

#[path = "../../src/abi.rs"]
#[expect(dead_code, unreachable_pub, reason = "the host's half of the contract is not used here")]
mod abi;
mod rings;

use crate::Rules;
use abi::{event, register, status};
use core::arch::global_asm;
use core::mem::offset_of;
use core::panic::PanicInfo;
use gro_core::{Buckets, Config, Event, Profile, State, UdpMode, VlanMode, stats::Counters};
use rings::{Descriptor, Rings, read_register, wait, write_register};

// What the image builder copies into the image header, found in the ELF file by name.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.identity")]
static GRO_PROGRAM_HASH: [u8; 32] = gro_core::program_hash::<Rules>();
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.identity")]
static GRO_SOURCE_HASH: [u8; 32] = gro_core::source_hash();
#[unsafe(no_mangle)]
#[unsafe(link_section = ".rodata.identity")]
static GRO_PROFILE: [u8; 32] = padded(Rules::NAME);

/// All of the device's data: zero at the start, which is where the engine starts.
struct Device {
    state: State,
    table: Buckets,
    rings: Rings,
}

static mut DEVICE: Device = Device { state: State::ZERO, table: Buckets::EMPTY, rings: Rings::ZERO };

global_asm!(".section .text.start", ".globl _start", "_start:", "la sp, __stack_top", "j {run}", run = sym run);

extern "C" fn run() -> ! {
    // SAFETY: `run` is entered once, by `_start`, and nothing else names `DEVICE`.
    let device = unsafe { &mut *(&raw mut DEVICE) };
    announce(device);
    if read_register(register::ABI) != abi::ABI || !device.rings.start() {
        write_register(register::STATUS, status::REFUSED);
        loop {
            wait();
        }
    }
    let mut config = device.config();
    write_register(register::STATUS, status::READY);

    let mut now = 0;
    let mut rejected = 0;
    loop {
        let at = device.rings.next_event();
        if !device.follow(at, &config) {
            let descriptor = Descriptor::read(at);
            device.rings.digest = device.state.digest.value();
            match descriptor.kind() {
                event::RX => device.receive(descriptor, now, &config),
                event::TIME => now = descriptor.jiffies(),
                event::POLL_END => device.event(Event::PollEnd, now, &config),
                event::TICK => device.event(Event::Tick, now, &config),
                event::FLUSH => device.event(Event::Flush, now, &config),
                event::CONFIG => config = device.config(),
                _ => {
                    rejected += 1;
                    write_register(register::REJECTED, rejected);
                }
            }
        }
        device.rings.finish_event();
    }
}

impl Device {
    /// Reads the config page.
    #[inline(never)]
    fn config(&mut self) -> Config {
        self.rings.coalesce = read_register(register::COALESCE) != 0;
        Config {
            gro_max_size: read_register(register::GRO_MAX_SIZE),
            gro_ipv4_max_size: read_register(register::GRO_IPV4_MAX_SIZE),
            flush_timeout: read_register(register::FLUSH_TIMEOUT),
            udp: match read_register(register::UDP_FORWARDING) {
                0 => UdpMode::Off,
                _ => UdpMode::Forwarding,
            },
            hz: read_register(register::HZ),
            vlan: match read_register(register::VLAN_IN_BAND) {
                0 => VlanMode::Stripped,
                _ => VlanMode::InBand,
            },
            tunnels: read_register(register::TUNNELS),
        }
    }

    /// Takes the event at `at` if it is a frame that is just what its packet waits for, as most are.
    #[inline(always)]
    fn follow(&mut self, at: u32, config: &Config) -> bool {
        let Self { state, table, rings } = self;
        let descriptor = Descriptor::read(at);
        if !descriptor.is_short_frame() {
            return false;
        }
        let input = rings.input(&descriptor, descriptor.short_length(), 0, config);
        gro_core::follow::<Rules, _, _>(state, table, rings, descriptor, &input).is_ok()
    }

    #[inline(never)]
    fn receive(&mut self, descriptor: Descriptor, now: u32, config: &Config) {
        let Self { state, table, rings } = self;
        let input = rings.input(&descriptor, descriptor.length(), now, config);
        gro_core::receive::<Rules, _, _>(state, table, rings, descriptor, &input);
    }

    #[inline(never)]
    fn event(&mut self, event: Event, now: u32, config: &Config) {
        let Self { state, table, rings } = self;
        gro_core::event::<Rules, _, _>(state, table, rings, event, (now, config));
    }
}

/// Says which program runs here and where its counters are.
fn announce(device: &Device) {
    for (index, word) in GRO_PROGRAM_HASH.as_chunks::<4>().0.iter().enumerate() {
        write_register(register::PROGRAM_HASH + 4 * index as u32, u32::from_le_bytes(*word));
    }
    write_register(register::STATE_ADDRESS, &raw const device.state as u32);
}

const fn padded(name: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut index = 0;
    while index < name.len() {
        bytes[index] = name.as_bytes()[index];
        index += 1;
    }
    bytes
}

// The layout the host reads; what the engine keeps behind it is its own.
const _: () = {
    assert!(offset_of!(State, digest) == abi::state::DIGEST as usize);
    assert!(offset_of!(State, poll_start) == abi::state::POLL_START as usize);
    assert!(offset_of!(State, counters) == abi::state::COUNTERS as usize);
    assert!(abi::state::COUNTERS as usize + size_of::<Counters>() == abi::state::SIZE as usize);
};

/// There is no panic in this image: if one were reachable, this undefined name would stop the linker.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn panic_is_reachable() -> !;
    }
    // SAFETY: the function does not exist, so no image with this call does.
    unsafe { panic_is_reachable() }
}

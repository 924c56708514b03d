//! Ring indices run free: what happens when they pass 2^32.

use super::*;
use crate::traffic::{hostile, senders};

/// Far enough before the end that the two indices pass it in one short run; a multiple of every ring size.
const AHEAD: u32 = 0u32.wrapping_sub(4096);

/// Moves the firmware's and the driver's indices on by [`AHEAD`], as if that many events and completions had been there. Where the
/// firmware keeps its own is found by their values.
fn move_on(nic: &mut Nic) {
    let (events, completions) = (nic.consumed, nic.produced);
    assert!(events != completions && events > 1_000 && completions > 700, "values that are nothing else");
    let core = nic.device.core_mut().unwrap();
    let state = (core.register(register::STATE_ADDRESS) - memory::DMEM_BASE) as usize / 4;
    let counters = state..state + abi::state::SIZE as usize / 4;
    let words = core.bus_mut().dmem_mut().as_chunks_mut::<4>().0;
    let (mut of_events, mut of_completions) = (0, 0);
    for (at, word) in words.iter_mut().enumerate() {
        if counters.contains(&at) {
            continue;
        }
        let value = u32::from_le_bytes(*word);
        if value == events {
            of_events += 1;
        } else if value == completions {
            of_completions += 1;
        } else {
            continue;
        }
        *word = value.wrapping_add(AHEAD).to_le_bytes();
    }
    // Taken and known to be posted; written.
    assert_eq!((of_events, of_completions), (2, 1), "indices in data memory");
    for register in [
        register::RX_PRODUCER,
        register::RX_CONSUMER,
        register::COMPLETION_PRODUCER,
        register::COMPLETION_CONSUMER,
    ] {
        let value = core.register(register);
        core.set_register(register, value.wrapping_add(AHEAD));
    }
    nic.device.move_port_on(AHEAD);
    for index in [&mut nic.consumed, &mut nic.produced, &mut nic.completed] {
        *index = index.wrapping_add(AHEAD);
    }
    assert_eq!(nic.posted(), nic.consumed);
}

#[test]
fn indices_pass_their_end_unnoticed() {
    for (rx_entries, completion_entries) in [(256, 256), (1, 1), (4096, 16)] {
        let config = NicConfig { rx_entries, completion_entries, ..NicConfig::default() };
        let mut pair = Pair::new(config);
        let mut random = Random(17);
        let mut senders = senders(9);
        // Numbers of no other meaning: as many frames as there are events would be found, too.
        for n in 0..8_000 {
            let (frame, meta) = hostile(&mut random, &mut senders, n, false);
            pair.post(frame, meta);
            if random.below(20) == 0 {
                pair.event(random.below(6), n / 300);
            }
            if random.below(100) == 0 || n == 1_500 {
                pair.deliver();
            }
            if n == 1_500 {
                move_on(&mut pair.nic);
            }
        }
        pair.event(1, 0);
        pair.deliver();
        assert!(pair.nic.consumed < 10_000 && pair.nic.produced < 10_000, "both passed the end");
        assert_eq!(pair.frames_out, 8_000);
        if pair.current {
            assert_eq!(pair.nic.digest(), pair.engine.state().digest.value());
        }
    }
}

#[test]
fn the_order_of_frames_survives_the_end_of_their_numbers() {
    let mut nic = nic(NicConfig { rx_entries: 4, ..NicConfig::default() });
    nic.frames = u32::MAX - 4;
    let mut sender = senders(1).remove(0);
    for _ in 0..20 {
        nic.post(sender.segment(100, 0x10, 3).into(), Meta::default());
    }
    // Some are with the device, some are not.
    nic.feed();
    nic.run_until_waiting(&mut 0).unwrap();
    nic.feed();
    let mut numbers = Vec::new();
    nic.give_up(NicError::Stalled, &mut |packet| numbers.push(packet.first));
    let expected: Vec<u32> = (0..20).map(|n| (u32::MAX - 4).wrapping_add(n)).collect();
    assert_eq!(numbers, expected);
    // Giving up twice brings nothing twice.
    nic.give_up(NicError::Stalled, &mut |_| panic!("again"));
}

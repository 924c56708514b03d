//! QEMU against the simulator, instruction by instruction and through the driver; and what a lost QEMU looks like.

use super::rom::WFI;
use super::*;
use crate::abi::memory::{DMEM_BASE, DMEM_SIZE, IMEM_BASE, IMEM_SIZE, MMIO_BASE, PACKET_BASE, PACKET_SIZE};
use crate::abi::{completion, event, packet, register, status};
use crate::image::{Image, Region};
use crate::machine::Machine;
use crate::machine::decode::{Kind, decode};
use crate::{Nic, NicConfig};
use bytes::Bytes;
use gro_core::{Config, Meta};

/// The core with `program`, or `None` and the reason on the screen where QEMU is not installed.
fn qemu(program: &Program) -> Option<Qemu> {
    match Qemu::new(program) {
        Ok(qemu) => Some(qemu),
        Err(error @ StartError::NotInstalled(_)) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// An image of these instructions; one whose upper half is 0 may be short.
fn image(words: &[u32]) -> Image {
    let mut bytes = Vec::new();
    for word in words {
        let length = if word & 3 == 3 { 4 } else { 2 };
        bytes.extend_from_slice(&word.to_le_bytes()[..length]);
    }
    Image::of_program(bytes, vec![], Region { base: PACKET_BASE, size: PACKET_SIZE, wait_states: 0 })
}

fn program(isa: Isa, words: &[u32]) -> Program {
    Program { isa, ..Program::of(&image(words), Isa::Rv32imc).unwrap() }
}

fn committed() -> Image {
    Image::parse(crate::LINUX_6_18).unwrap()
}

fn trap(result: Result<Stop, CoreError>) -> Trap {
    match result {
        Err(CoreError::Trap(trap)) => trap,
        other => panic!("{other:?}"),
    }
}

fn lui(rd: u32, upper: u32) -> u32 {
    upper & 0xffff_f000 | rd << 7 | 0x37
}

fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | rd << 7 | 0x13
}

fn load(funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x03
}

fn store(funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }
}

#[test]
fn random_arithmetic_is_that_of_the_simulator() {
    // x3 walks through data memory and takes every result; x4 is its twin for compressed instructions to leave alone.
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut words = vec![lui(3, DMEM_BASE)];
    for rd in 5..32 {
        words.extend([lui(rd, random.next()), addi(rd, rd, random.next() as i32 >> 20)]);
    }
    let mut kinds = std::collections::HashSet::new();
    let mut results = 0;
    while results < 2_000 {
        let word = random.next();
        let word = if word & 1 == 0 { word & 0xffff } else { word & !0x7f | [0x13, 0x33][results % 2] };
        let word = if word & 0x7f == 0x33 { word & 0x4200_0000 ^ word & 0x01ff_ffff } else { word };
        let op = decode(word);
        let computes = (Kind::Addi as u8..=Kind::Remu as u8).contains(&(op.kind as u8));
        if !computes || !(5..32).contains(&op.rd) {
            continue;
        }
        kinds.insert(op.kind as u8);
        words.extend([word, store(2, 3, u32::from(op.rd), 0), addi(3, 3, 4)]);
        results += 1;
    }
    assert_eq!(kinds.len(), Kind::Remu as usize - Kind::Addi as usize + 1, "every one of them");
    words.push(WFI);

    let image = image(&words);
    let Some(mut qemu) = qemu(&Program::of(&image, Isa::Rv32imc).unwrap()) else { return };
    let mut machine = Machine::new(&image);
    assert_eq!(machine.run(1_000_000).unwrap(), Stop::Waiting);
    assert_eq!(qemu.run(1_000_000).unwrap(), Stop::Waiting);
    assert_eq!(qemu.instructions(), machine.instructions());
    let (mut expected, mut found) = (vec![0; DMEM_SIZE as usize], vec![0; DMEM_SIZE as usize]);
    machine.read_data(0, &mut expected);
    qemu.read_data(0, &mut found);
    let first = expected.chunks(4).zip(found.chunks(4)).position(|(a, b)| a != b);
    assert_eq!(first.map(|index| (index, &expected[4 * index..][..4], &found[4 * index..][..4])), None);
}

#[test]
fn a_broken_rule_is_the_trap_of_the_simulator() {
    let (code, data) = (lui(11, IMEM_BASE), lui(11, DMEM_BASE));
    let (end, page) = (DMEM_BASE + DMEM_SIZE, lui(11, MMIO_BASE));
    let csr = |register: u32| register << 20 | 2 << 12 | 10 << 7 | 0x73;
    let jump = 0x0005_8067; // jalr x0, 0(a1)
    let cases: &[&[u32]] = &[
        &[data, 0x3000_9073],                            // csrw mstatus
        &[csr(0xc00)],                                   // cycle
        &[csr(0xc01)],                                   // time
        &[csr(0xc02)],                                   // instret
        &[csr(0x001)],                                   // fflags
        &[0x0000_0073],                                  // ecall
        &[0x0010_0073],                                  // ebreak
        &[0x9002],                                       // c.ebreak
        &[0x3020_0073],                                  // mret
        &[0x1200_0073],                                  // sfence.vma
        &[0x0000_100f],                                  // fence.i
        &[0x100f_a52f & 0xfbff_ffff],                    // lr.w
        &[0x0005_2507 | 11 << 15],                       // flw
        &[0x2085_c533 | 12 << 20],                       // sh2add
        &[0x0000_0000],                                  // what zeroed memory is
        &[0x0000_0067],                                  // jump to 0
        &[lui(11, IMEM_BASE + IMEM_SIZE), jump],         // ... behind the code
        &[data, jump],                                   // ... into data
        &[lui(11, 0x8100_0000), jump],                   // ... into the ROM
        &[lui(11, 0x8100_0000), load(2, 10, 11, 0x410)], // the mailbox
        &[lui(11, 0x1000_0000), store(0, 11, 10, 0)],    // the serial port
        &[load(2, 10, 0, 0)],                            // null
        &[load(0, 10, 0, -1)],                           // the last byte
        &[lui(11, end), load(2, 10, 11, 0)],             // behind data memory
        &[lui(11, PACKET_BASE + PACKET_SIZE), store(1, 11, 10, 0)],
        &[lui(11, PACKET_BASE - 4096), load(5, 10, 11, 0)],
        &[code, store(2, 11, 10, 0)], // code is not written
        &[lui(8, IMEM_BASE), 0xc004], // ... with c.sw s1, 0(s0) either
        &[page, store(2, 11, 10, 4)], // nor are the host's registers
        &[page, store(2, 11, 10, 0x7fc)],
        &[lui(11, MMIO_BASE + 0x1000), load(2, 10, 11, 0)],
    ];
    for words in cases {
        let image = image(&[words, &[WFI][..]].concat());
        let Some(mut qemu) = qemu(&Program::of(&image, Isa::Rv32imc).unwrap()) else { return };
        let mut machine = Machine::new(&image);
        let expected = trap(machine.run(1000));
        assert_eq!(trap(qemu.run(1000)), expected, "{words:x?}");
        assert_eq!(qemu.instructions(), machine.instructions(), "{words:x?}");
        assert_eq!(trap(qemu.run(1000)), expected, "it stays where it is");
    }
}

#[test]
fn a_budget_is_a_pause_and_not_an_end() {
    let count = [&[addi(10, 10, 1); 3_000][..], &[WFI]].concat();
    for isa in [Isa::Rv32imc, Isa::Rv64imac] {
        let Some(mut slices) = qemu(&program(isa, &count)) else { return };
        let mut pauses = 0;
        while slices.run(100).unwrap() == Stop::Budget {
            pauses += 1;
        }
        assert_eq!(slices.instructions(), 3_001);
        assert!((10..30).contains(&pauses), "{pauses}");

        let Some(mut endless) = qemu(&program(isa, &[0x0000_006f])) else { return };
        for run in 1..4_u64 {
            assert_eq!(endless.run(100_000).unwrap(), Stop::Budget);
            let retired = endless.instructions();
            assert!((100_000 * run..100_300 * run).contains(&retired), "{retired}");
        }
    }
}

#[test]
fn sixty_four_bits_are_64_bits() {
    // addi a0, x0, -1; slli a0, a0, 40; auipc a1, 0x10 (data memory + 8); sd a0, 0(a1); ld a2, 0(a1); sd a2, 8(a1); wfi
    let words = [addi(10, 0, -1), 0x0285_1513, 0x0001_0597, store(3, 11, 10, 0), load(3, 12, 11, 0)];
    let words = [&words[..], &[store(3, 11, 12, 8), WFI, load(3, 10, 0, 8)]].concat();
    let Some(mut qemu) = qemu(&program(Isa::Rv64imac, &words)) else { return };
    assert_eq!(qemu.run(100).unwrap(), Stop::Waiting);
    assert_eq!(qemu.instructions(), 7);
    let mut bytes = [0; 8];
    qemu.read_data(16, &mut bytes);
    assert_eq!(u64::from_le_bytes(bytes), u64::MAX << 40);
    let fault = Fault::Load { address: 8, size: 8 };
    assert_eq!(trap(qemu.run(100)), Trap { pc: IMEM_BASE + 28, fault });
}

#[test]
fn a_start_is_that_of_the_simulator() {
    // Stores every register, x3 first of all lost to the address.
    let mut words = vec![lui(3, DMEM_BASE)];
    words.extend((1..32).filter(|&number| number != 3).map(|number| store(2, 3, number, 4 * number)));
    words.push(WFI);
    let image = image(&words);
    let Some(mut qemu) = qemu(&Program::of(&image, Isa::Rv32imc).unwrap()) else { return };
    let mut machine = Machine::new(&image);
    let (mut expected, mut found) = ([1; 128], [2; 128]);
    machine.run(100).unwrap();
    qemu.run(100).unwrap();
    machine.read_data(0, &mut expected);
    qemu.read_data(0, &mut found);
    assert_eq!(found, expected);
    // Memories end where they end.
    for offset in [PACKET_SIZE - 127, u32::MAX] {
        qemu.write_packet(offset, &[1; 128]);
        qemu.read_packet(offset, &mut found);
        assert_eq!(found, [0; 128]);
    }
}

#[test]
fn the_driver_gets_the_same_from_both_at_the_same_cost() {
    let image = committed();
    for (rx_entries, completion_entries) in [(256, 256), (1, 1), (64, 2), (2, 64)] {
        let config = NicConfig { rx_entries, completion_entries, ..NicConfig::default() };
        let Some(core) = qemu(&Program::of(&image, Isa::Rv32imc).unwrap()) else { return };
        let mut qemu = Nic::on(core, &image, &config).unwrap();
        let mut simulated = Nic::new(&image, &config).unwrap();
        let mut random = Random(u64::from(rx_entries) << 32 | 77);
        for round in 0..60 {
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            for _ in 0..random.next() % 200 {
                // IPv4 or nothing that anybody knows; the headers are random, so most frames pass.
                let mut frame: Vec<u8> = (0..random.next() % 300).map(|_| random.next() as u8).collect();
                if frame.len() > 40 {
                    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
                }
                let (frame, meta) = (Bytes::from(frame), Meta { hash: random.next(), ..Meta::default() });
                qemu.post(frame.clone(), meta);
                simulated.post(frame, meta);
            }
            if round == 30 {
                qemu.configure(Config::TC, false).unwrap();
                simulated.configure(Config::TC, false).unwrap();
            }
            qemu.poll_end();
            simulated.poll_end();
            qemu.deliver(&mut |packet| found.push(packet)).unwrap();
            simulated.deliver(&mut |packet| expected.push(packet)).unwrap();
            assert_eq!(found, expected);
            assert_eq!(qemu.instructions(), simulated.instructions(), "round {round}");
        }
        assert_eq!((qemu.digest(), qemu.counters()), (simulated.digest(), simulated.counters()));
        assert_eq!(qemu.stalls(), simulated.stalls());
        assert_eq!((qemu.measurement(), qemu.cycles()), (simulated.measurement(), None));
        assert_eq!(simulated.stalls() > 100, rx_entries == 64, "{}", simulated.stalls());
    }
}

/// The rings without the driver: posts and takes wherever the guest is, in small rings that wrap, fill and stall, and wakes it when
/// it has stopped. Gives the rounds in which it had not, and in which it had within something.
fn stream(qemu: &mut Qemu, events: u32, patience: Duration, mut budget: impl FnMut() -> u64) -> (u32, u32) {
    const RX: u32 = 64;
    const COMPLETIONS: u32 = 32;
    const BUFFERS: u32 = 256;
    for (offset, value) in [
        (register::ABI, crate::abi::ABI),
        (register::RX_SIZE, RX),
        (register::COMPLETION_SIZE, COMPLETIONS),
        (register::BUFFERS, BUFFERS),
        (register::RX_BASE, packet::RX_RING),
        (register::COMPLETION_BASE, packet::COMPLETION_RING),
        (register::SCATTER_BASE, packet::SCATTER),
        (register::HEADERS_BASE, packet::HEADERS),
        (register::COALESCE, 1),
    ] {
        qemu.set_register(offset, value);
    }
    assert_eq!(qemu.run(1_000_000).unwrap(), Stop::Waiting);
    assert_eq!(qemu.register(register::STATUS), status::READY);

    let (mut posted, mut taken, mut beside, mut within) = (0_u32, 0_u32, 0, 0);
    while taken < events {
        let stop = qemu.wait(patience).unwrap();
        let room = RX - (posted - qemu.register(register::RX_CONSUMER));
        // No more than there are buffers and frames.
        let count = room.min(BUFFERS - (posted - taken)).min(events - posted);
        for number in posted..posted + count {
            let words = [event::RX | (number % BUFFERS) << 16, 60, number, 0];
            let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            qemu.write_packet(packet::RX_RING + number % RX * packet::RX_STRIDE, &bytes);
            qemu.set_register(register::RX_PRODUCER, number + 1);
        }
        posted += count;
        let written = qemu.register(register::COMPLETION_PRODUCER);
        for number in taken..written {
            let place = packet::COMPLETION_RING + number % COMPLETIONS * packet::COMPLETION_STRIDE;
            let mut entry = [0; packet::COMPLETION_STRIDE as usize];
            qemu.read_packet(place, &mut entry);
            let word = |at: u32| u32::from_le_bytes(*entry[at as usize..].first_chunk().unwrap());
            let buffer = word(completion::BUFFER) & 0xffff;
            assert_eq!((word(completion::ID), word(completion::HASH)), (number, number));
            assert_eq!(buffer, number % BUFFERS);
            qemu.set_register(register::COMPLETION_CONSUMER, number + 1);
        }
        if count > 0 || written != taken {
            beside += u32::from(stop.is_none());
            within += u32::from(stop == Some(Stop::Budget));
        }
        taken = written;
        if stop.is_some() {
            qemu.resume(budget()).unwrap();
        }
    }
    (beside, within)
}

#[test]
fn doorbells_are_rung_while_the_guest_runs() {
    let program = Program::of(&committed(), Isa::Rv32imc).unwrap();
    let Some(mut live) = qemu(&program) else { return };
    let (beside, _) = stream(&mut live, 100_000, Duration::ZERO, || 1_000_000);
    // How many these are is the scheduler's business.
    eprintln!("{beside} rounds beside the running guest");

    // The same at places in the code that do not depend on that: the guest is stopped after a random time.
    let mut random = Random(4711);
    let Some(mut sliced) = qemu(&program) else { return };
    let (_, within) =
        stream(&mut sliced, 10_000, Duration::from_secs(60), || u64::from(random.next() % 3_000));
    eprintln!("{within} rounds within what the guest does");
    assert!(within > 500, "{within}");
}

#[test]
fn a_qemu_that_dies_is_an_error() {
    let Some(mut gone) = qemu(&program(Isa::Rv32imc, &[0x0000_006f])) else { return };
    gone.resume(u64::MAX).unwrap();
    gone.process.kill().unwrap();
    let error = gone.wait(Duration::from_secs(10)).unwrap_err().to_string();
    assert!(error.starts_with("the machine is gone: qemu-system-riscv32 ended with signal: 9"), "{error}");

    let image = committed();
    let Some(core) = qemu(&Program::of(&image, Isa::Rv32imc).unwrap()) else { return };
    let process = core.process.id();
    let mut nic = Nic::on(core, &image, &NicConfig::default()).unwrap();
    // SAFETY: a signal to a process of ours that nobody has waited for yet.
    assert_eq!(unsafe { libc::kill(process as i32, libc::SIGKILL) }, 0);
    nic.poll_end();
    assert!(matches!(nic.deliver(&mut |_| {}), Err(crate::NicError::Core(CoreError::Gone(_)))));
}

#[test]
fn what_is_not_installed_says_so() {
    assert_eq!(
        StartError::NotInstalled(Isa::Rv64imac.emulator()).to_string(),
        "qemu-system-riscv64 is not installed"
    );
}

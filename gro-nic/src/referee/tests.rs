use super::micro::{image, random};
use super::rtl::Answer;
use super::*;
use crate::abi::memory::{DMEM_BASE, IMEM_BASE, IMEM_SIZE, MMIO_BASE, MMIO_DEVICE, PACKET_BASE, PACKET_SIZE};
use crate::machine::{Core, CoreError, Machine, Stop, WaitStates};

const WFI: u32 = 0x1050_0073;
const NOP: u32 = 0x13;

fn lui(rd: u32, upper: u32) -> u32 {
    upper & 0xffff_f000 | rd << 7 | 0x37
}

fn load(funct3: u32, rd: u32, rs1: u32, imm: u32) -> u32 {
    imm << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x03
}

fn store(funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | 0x23
}

/// The program on every core in RTL; says so if one is not built.
fn on_rtl(words: &[u32], wait: WaitStates, mut test: impl FnMut(&mut Machine, &mut Rtl)) {
    let code = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let image = image(code);
    for core in RtlCore::ALL {
        match Rtl::new(core, &image, wait) {
            Ok(mut rtl) => test(&mut Machine::with_wait_states(&image, wait), &mut rtl),
            Err(error @ RtlError::Missing(_)) => eprintln!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_broken_rule_stops_every_core_at_the_same_place_with_the_same_reason() {
    let (code, data, packet, page) =
        (lui(11, IMEM_BASE), lui(11, DMEM_BASE), lui(11, PACKET_BASE), lui(11, MMIO_BASE));
    let programs: &[&[u32]] = &[
        &[NOP, 0],
        &[NOP, 0xffff_ffff],
        &[NOP, 0x0000_0073], // ecall
        &[NOP, 0x0010_0073], // ebreak
        &[0x0000_0067],      // jalr x0, 0(x0)
        &[lui(11, IMEM_BASE + IMEM_SIZE), 0x0005_8067],
        &[NOP, load(2, 10, 0, 0), NOP],
        &[data, load(2, 10, 11, 2), NOP],
        &[data, load(1, 10, 11, 1), NOP],
        &[data, NOP, store(2, 11, 10, 1), NOP],
        &[data, store(1, 11, 10, 3), NOP],
        &[code, store(2, 11, 10, 0), NOP],
        &[lui(11, PACKET_BASE + PACKET_SIZE), store(0, 11, 10, 0), NOP],
        &[packet, load(2, 12, 11, 0), load(2, 10, 11, 0xffc), NOP],
        &[page, load(0, 10, 11, 0), NOP],
        &[page, store(2, 11, 10, MMIO_DEVICE - 4), NOP],
        &[page, load(2, 10, 11, 4), store(2, 11, 10, 4), NOP],
    ];
    for program in programs {
        for wait in [0, 3] {
            let wait = WaitStates { packet: wait, registers: wait };
            on_rtl(program, wait, |machine, rtl| match (machine.run(100), rtl.run(100)) {
                (Err(CoreError::Trap(simulator)), Err(CoreError::Trap(trap))) => {
                    assert_eq!(trap, simulator);
                    assert_eq!(rtl.instructions(), machine.instructions(), "{trap}");
                    // It stays so.
                    assert!(matches!(rtl.run(100), Err(CoreError::Trap(again)) if again == trap));
                }
                other => panic!("{program:x?}: {other:?}"),
            });
        }
    }
}

#[test]
fn a_core_pauses_waits_and_shares_its_memories() {
    // Adds the host's register 4 to a word of packet memory, stores it there and in data memory, waits, and does so again.
    let program = [
        lui(11, PACKET_BASE),
        lui(12, DMEM_BASE),
        lui(13, MMIO_BASE),
        load(2, 10, 11, 8),
        load(2, 14, 13, 4),
        0x00e5_0533, // add a0, a0, a4
        store(2, 11, 10, 8),
        store(2, 12, 10, 16),
        WFI,
        0xfe9f_f06f, // jal x0, -24
    ];
    on_rtl(&program, WaitStates { packet: 3, registers: 1 }, |machine, rtl| {
        for core in [machine as &mut dyn Core, rtl] {
            core.set_register(4, 5);
            core.write_packet(8, &100_u32.to_le_bytes());
            assert_eq!(core.run(4).unwrap(), Stop::Budget);
            assert_eq!(core.instructions(), 4);
            // The last one in the budget is the wait.
            assert_eq!(core.run(5).unwrap(), Stop::Waiting);
            core.set_register(4, 7);
            assert_eq!(core.run(100).unwrap(), Stop::Waiting);
            assert_eq!(core.instructions(), 9 + 7);
            let mut words = [[0; 4]; 3];
            core.read_packet(8, &mut words[0]);
            core.read_data(16, &mut words[1]);
            core.read_code(0, &mut words[2]);
            assert_eq!(words.map(u32::from_le_bytes), [112, 112, program[0]]);
            assert_eq!(core.register(4), 7);
            // Outside is nothing.
            core.write_packet(PACKET_SIZE - 2, &[1; 4]);
            core.read_packet(PACKET_SIZE - 2, &mut words[0]);
            core.set_register(u32::MAX, 1);
            assert_eq!((words[0], core.register(u32::MAX)), ([0; 4], 0));
        }
    });
}

#[test]
fn random_programs_take_the_same_cycles_on_cv32e40p() {
    for seed in 1_000_000..1_000_050 {
        let case = random(seed);
        let image = case.image();
        let simulator = micro::measure(&mut Machine::with_wait_states(&image, case.wait)).unwrap();
        match Rtl::new(RtlCore::Cv32e40p, &image, case.wait) {
            Ok(mut rtl) => assert_eq!(micro::measure(&mut rtl).unwrap(), simulator, "{}", case.name),
            Err(error @ RtlError::Missing(_)) => return eprintln!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn only_the_protocol_is_understood() {
    let good = [
        "waiting 1 4",
        "budget 10 19",
        "trap 1 4 0x80000004 exception",
        "trap 1 4 0x00000000 fetch",
        "trap 1 4 0x80000004 load 0x0 4",
        "trap 1 4 0x80000004 misaligned 0x80010002 4",
    ];
    for line in good {
        assert!(Answer::parse(line).is_some(), "{line}");
    }
    for line in [
        "",
        "waiting",
        "waiting 1",
        "waiting 1 x",
        "sleeping 1 4",
        "trap 1 4",
        "trap 1 4 0x80000004 load 0x0",
        "trap 1 4 0x80000004 why",
    ] {
        assert!(Answer::parse(line).is_none(), "{line}");
    }
}

#[test]
fn the_key_names_what_is_built() {
    assert_eq!(key().len(), 16);
    let path = executable(RtlCore::Ibex).unwrap();
    assert!(path.ends_with(format!("referee-{}/ibex", key())), "{}", path.display());
}

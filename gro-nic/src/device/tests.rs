//! The window as a host finds it, from power-on to the running firmware.

use super::*;
use crate::abi::{load, status};
use crate::image::ImageBuilder;
use crate::traffic::{Random, senders};
use gro_core::Meta;

const FILE: &[u8] = crate::LINUX_6_18;

fn image() -> Image {
    Image::parse(FILE).unwrap()
}

/// Puts a file into packet memory and rings for the boot ROM.
fn update(device: &mut Device, file: &[u8]) -> u32 {
    device.write_packet(64, file);
    device.write(bar::IMAGE_ADDRESS, 64);
    device.write(bar::IMAGE_SIZE, file.len() as u32);
    device.write(bar::UPDATE, 1);
    device.read(bar::LOAD_STATUS)
}

/// What a driver sets before it releases the core.
fn configure(device: &mut Device, rx_entries: u32) {
    for (offset, value) in [
        (register::ABI, abi::ABI),
        (register::RX_SIZE, rx_entries),
        (register::COMPLETION_SIZE, 64),
        (register::BUFFERS, 64),
        (register::RX_BASE, abi::packet::RX_RING),
        (register::COMPLETION_BASE, abi::packet::COMPLETION_RING),
        (register::SCATTER_BASE, abi::packet::SCATTER),
        (register::HEADERS_BASE, abi::packet::HEADERS),
        (register::COALESCE, 1),
        (register::HZ, 1000),
    ] {
        device.write(offset, value);
    }
}

fn loaded() -> Device {
    let mut device = Device::simulated();
    assert_eq!(update(&mut device, FILE), load::LOADED);
    device
}

#[test]
fn a_card_says_what_it_is_before_anything_is_loaded() {
    let device = Device::simulated().as_lane(2, 5);
    assert_eq!(device.read(bar::MAGIC).to_le_bytes(), *b"GRO1");
    let caps = [bar::ABI, bar::ISA, bar::IMEM, bar::DMEM, bar::PACKET, bar::LANES, bar::SLOTS, bar::LANE]
        .map(|offset| device.read(offset));
    assert_eq!(caps, [abi::ABI, 2, 32 << 10, 32 << 10, 6 << 20, 5, 1, 2]);
    assert_eq!(
        (device.read(bar::CORE_STATE), device.read(bar::LOAD_STATUS)),
        (core_state::EMPTY, load::NONE)
    );
    assert_eq!((device.read_hash(bar::IMAGE_ID), device.read_hash(bar::MEASUREMENT)), ([0; 32], [0; 32]));
    for offset in (0..abi::memory::MMIO_SIZE).step_by(4) {
        let own = (bar::START..bar::END).contains(&offset);
        assert!(own || device.read(offset) == 0, "{offset:#x}");
    }
}

#[test]
fn an_image_is_loaded_measured_and_started() {
    let mut device = loaded();
    let image = image();
    assert_eq!(device.read_hash(bar::IMAGE_ID), image.id);
    assert_eq!(device.read_hash(bar::MEASUREMENT), image.measurement());
    assert_eq!(device.read(bar::CORE_STATE), core_state::RESET);
    assert_eq!(device.run(1_000).unwrap(), Stop::Waiting, "nothing runs in reset");
    assert_eq!((device.instructions(), device.read(register::STATUS)), (0, 0));
    configure(&mut device, 8);
    device.write(bar::CONTROL, bar::RUN);
    assert_eq!(device.run(10_000).unwrap(), Stop::Waiting);
    assert_eq!(device.read(register::STATUS), status::READY);
    assert_eq!(device.read_hash(register::PROGRAM_HASH), image.program_hash);
    assert_eq!(device.read_wide(bar::INSTRET), device.instructions());
    assert!(device.read_wide(bar::TIMER) >= device.read_wide(bar::INSTRET));
    // A running core is not loaded over.
    assert_eq!(update(&mut device, FILE), load::BUSY);
}

#[test]
fn what_the_card_says_the_host_cannot_change_and_the_firmware_neither() {
    let mut device = loaded();
    configure(&mut device, 8);
    device.write(bar::CONTROL, bar::RUN);
    device.run(10_000).unwrap();
    let before: Vec<u32> = (0..bar::START).step_by(4).map(|offset| device.read(offset)).collect();
    let fixed = [
        bar::MAGIC,
        bar::ABI,
        bar::LANES,
        bar::LOAD_STATUS,
        bar::CORE_STATE,
        bar::TIMER,
        bar::INSTRET,
        bar::IMAGE_ID,
        bar::MEASUREMENT,
        bar::MEASUREMENT + 28,
        bar::FRAMES,
        bar::DROPS_RING,
        register::RX_PRODUCER,
        register::STATUS,
        register::PROGRAM_HASH,
        register::RX_CONSUMER,
    ];
    for offset in fixed {
        let value = device.read(offset);
        device.write(offset, !value);
        assert_eq!(device.read(offset), value, "{offset:#x}");
    }
    assert_eq!(before, (0..bar::START).step_by(4).map(|offset| device.read(offset)).collect::<Vec<_>>());
    // The core's page has nothing where the card's registers are, whatever is written there.
    let core = device.core_mut().unwrap();
    assert_eq!(core.register(bar::MAGIC), 0);
    core.set_register(bar::MEASUREMENT, 1);
    assert_eq!(device.read_hash(bar::MEASUREMENT), image().measurement());
}

#[test]
fn every_refusal_has_its_number() {
    let parts = image();
    let built = |change: fn(&mut ImageBuilder)| {
        let mut builder = ImageBuilder::from(parts.clone());
        change(&mut builder);
        builder.build().unwrap()
    };
    let patched = |at: usize, value: u8| {
        let mut file = FILE.to_vec();
        file[at] = value;
        file
    };
    let code = u32::from_le_bytes(FILE[192 + 12..][..4].try_into().unwrap()) as usize;
    let cases: [(Vec<u8>, u32); 9] = [
        (built(|_| {}), load::LOADED),
        (FILE[..100].to_vec(), load::TRUNCATED),
        ([FILE, &[0]].concat(), load::TOO_LONG),
        (patched(0, 0), load::MAGIC),
        (patched(8, 0xee), load::ABI),
        (patched(20, 1), load::RESERVED),
        (patched(64, FILE[64] ^ 1), load::ID),
        (patched(code, FILE[code] ^ 1), load::SECTION_HASH),
        (patched(192, 77), load::SECTIONS),
    ];
    for (file, status) in cases {
        let mut device = Device::simulated();
        assert_eq!(update(&mut device, &file), status, "{}", load_status(status));
        let loaded = status == load::LOADED;
        assert_eq!(device.read(bar::CORE_STATE) == core_state::RESET, loaded);
        assert_eq!(device.read_hash(bar::MEASUREMENT) != [0; 32], loaded);
    }
    // What an image cannot be written with, by its error.
    for (error, status) in [
        (crate::ImageError::Isa { section: 0, isa: 9 }, load::ISA),
        (crate::ImageError::MemoryMap { why: "" }, load::MEMORY),
        (crate::ImageError::OutOfMemory { what: "code", base: 0, size: 0 }, load::MEMORY),
        (crate::ImageError::Entry { entry: 1 }, load::START),
        (crate::ImageError::Stack { top: 1 }, load::START),
        (crate::ImageError::Profile, load::DOCUMENTS),
    ] {
        assert_eq!(boot::refusal(&error), status);
    }
    let places: [(u32, u32); 4] =
        [(1, 64), (64, u32::MAX), (memory::PACKET_SIZE + 64, 0), (memory::PACKET_SIZE, 64)];
    for (address, size) in places {
        let mut device = Device::simulated();
        device.write(bar::IMAGE_ADDRESS, address);
        device.write(bar::IMAGE_SIZE, size);
        device.write(bar::UPDATE, 1);
        assert_eq!(device.read(bar::LOAD_STATUS), load::PLACE);
    }
    // A socket that has no core.
    let mut device = Device::<Machine>::new(Box::new(|_| Err(CoreError::Gone("nobody there".into()))));
    assert_eq!(update(&mut device, FILE), load::CORE);
    assert_eq!(device.read(bar::CORE_STATE), core_state::EMPTY);
}

#[test]
fn a_damaged_image_is_refused_and_leaves_the_loaded_one() {
    let mut random = Random(11);
    let mut device = loaded();
    let measurement = device.read_hash(bar::MEASUREMENT);
    for _ in 0..300 {
        let mut file = FILE.to_vec();
        let at = random.below(file.len());
        file[at] ^= 1 << random.below(8);
        let status = update(&mut device, &file);
        assert!((load::TRUNCATED..=load::DOCUMENTS).contains(&status), "byte {at}: {status}");
        assert_ne!(load_status(status), "unknown status");
        assert_eq!(device.read_hash(bar::MEASUREMENT), measurement);
    }
    assert_eq!(update(&mut device, FILE), load::LOADED);
}

#[test]
fn reset_starts_the_firmware_anew_with_the_memories_of_the_load() {
    let mut device = loaded();
    configure(&mut device, 8);
    device.write(bar::CONTROL, bar::RUN);
    device.run(10_000).unwrap();
    let mut buffers = Buffers::new(64);
    device.write(bar::FREE_POST, 5);
    let mut sender = senders(1).remove(0);
    let frame = Frame { bytes: sender.segment(100, 0x10, 3).into(), number: 0, meta: Meta::default() };
    assert_eq!(device.receive(&mut buffers, frame), Arrival::Taken);
    device.run(10_000).unwrap();
    assert_eq!((device.read(register::RX_CONSUMER), buffers.owned()), (1, 1));
    let digest = |device: &Device| {
        let mut word = [0; 4];
        let start = device.read(register::STATE_ADDRESS).wrapping_sub(memory::DMEM_BASE);
        device.read_data(start + abi::state::DIGEST, &mut word);
        u32::from_le_bytes(word)
    };
    let one = digest(&device);
    assert_ne!(one, 0);

    device.write(bar::CONTROL, 0);
    assert_eq!(device.read(bar::CORE_STATE), core_state::RESET);
    assert_eq!((digest(&device), device.read(bar::FREE_COUNT)), (one, 0), "can still be read");
    assert_eq!(device.read(register::RX_PRODUCER), 0);
    device.write(bar::CONTROL, bar::RUN);
    assert_eq!(device.run(10_000).unwrap(), Stop::Waiting);
    assert_eq!((device.read(register::STATUS), digest(&device)), (status::READY, 0));
    assert_eq!(device.read(register::RX_CONSUMER), 0);
}

#[test]
fn a_stopped_core_says_where() {
    let mut image = image();
    // An illegal instruction at the entry.
    let entry = (image.entry - image.code.address) as usize;
    image.code.bytes[entry..entry + 2].fill(0);
    let mut device = Device::preloaded(Machine::new(&image), &image);
    device.write(bar::CONTROL, bar::RUN);
    assert!(matches!(device.run(10), Err(CoreError::Trap(_))));
    assert_eq!((device.read(bar::CORE_STATE), device.read(bar::STOP_PC)), (core_state::STOPPED, image.entry));
    // Nobody can load it again.
    device.write(bar::CONTROL, 0);
    device.write(bar::CONTROL, bar::RUN);
    assert_eq!(device.read(bar::CORE_STATE), core_state::LOST);
}

#[test]
fn the_port_counts_what_it_takes_drops_and_lets_wait() {
    let mut device = loaded();
    configure(&mut device, 2);
    device.write(bar::CONTROL, bar::RUN);
    device.run(10_000).unwrap();
    let mut buffers = Buffers::new(64);
    let mut sender = senders(1).remove(0);
    let mut number = 0;
    let mut next = || {
        number += 1;
        Frame { bytes: sender.segment(100, 0x10, 0).into(), number, meta: Meta::default() }
    };
    let counters = |device: &Device| {
        [bar::FRAMES, bar::BYTES, bar::DROPS_RING, bar::DROPS_BUFFER, bar::PAUSES]
            .map(|at| device.read_wide(at))
    };
    assert_eq!(device.receive(&mut buffers, next()), Arrival::Dropped);
    assert_eq!(counters(&device), [0, 0, 0, 1, 0]);
    for buffer in 0..4 {
        device.write(bar::FREE_POST, buffer);
    }
    for _ in 0..2 {
        assert_eq!(device.receive(&mut buffers, next()), Arrival::Taken);
    }
    assert_eq!(device.receive(&mut buffers, next()), Arrival::Dropped);
    assert_eq!(counters(&device), [2, 2 * 174, 1, 1, 0]);
    // An event waits in the port and keeps its place before the frames.
    device.write(bar::FLOW_CONTROL, 1);
    device.write(bar::EVENT, abi::event::POLL_END);
    assert_eq!(device.read(bar::EVENT), abi::event::POLL_END);
    let waiting = next();
    for _ in 0..3 {
        assert_eq!(device.receive(&mut buffers, waiting.clone()), Arrival::Paused(waiting.clone()));
    }
    assert_eq!(counters(&device), [2, 348, 1, 1, 1], "one pause, however often it is asked");
    device.run(10_000).unwrap();
    assert_eq!((device.read(bar::EVENT), device.read(register::RX_PRODUCER)), (0, 3));
    assert_eq!(device.receive(&mut buffers, waiting.clone()), Arrival::Taken);
    assert_eq!(counters(&device)[4], 1);
    // A buffer that is posted twice is the host's fault, and does not cost the frame that is in it.
    device.run(10_000).unwrap();
    device.write(bar::FREE_POST, 3);
    assert_eq!(device.receive(&mut buffers, next()), Arrival::Dropped);
    assert_eq!(buffers.owned(), 3);
}

#[test]
fn the_page_of_the_interface_has_every_register() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/nic-interface.md");
    let page = std::fs::read_to_string(page).unwrap();
    let registers = [
        bar::MAGIC,
        bar::ABI,
        bar::ISA,
        bar::IMEM,
        bar::DMEM,
        bar::PACKET,
        bar::LANES,
        bar::SLOTS,
        bar::LANE,
        bar::IMAGE_ADDRESS,
        bar::IMAGE_SIZE,
        bar::UPDATE,
        bar::LOAD_STATUS,
        bar::CONTROL,
        bar::CORE_STATE,
        bar::STOP_PC,
        bar::TIMER,
        bar::INSTRET,
        bar::FREE_POST,
        bar::FREE_COUNT,
        bar::EVENT_ARGUMENT,
        bar::EVENT,
        bar::FLOW_CONTROL,
        bar::IMAGE_ID,
        bar::MEASUREMENT,
        bar::FRAMES,
        bar::BYTES,
        bar::DROPS_RING,
        bar::DROPS_BUFFER,
        bar::PAUSES,
        bar::STALLS,
        bar::INDIRECTION,
        register::RX_SIZE,
        register::COALESCE,
        register::RX_PRODUCER,
        register::COMPLETION_CONSUMER,
        register::STATUS,
        register::STALLS,
        register::PROGRAM_HASH,
        register::RX_CONSUMER,
        register::COMPLETION_PRODUCER,
    ];
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| 0x")).collect();
    for offset in registers {
        let name = format!("{offset:#05x}");
        assert!(rows.iter().any(|row| row[..30.min(row.len())].contains(&name)), "{name} is not on the page");
    }
    for status in
        [load::LOADED, load::BUSY, load::PLACE, load::CORE, load::RESERVED, load::SECTIONS, load::DOCUMENTS]
    {
        let row = |line: &str| line.starts_with(&format!("| {status} |"));
        assert!(status == load::LOADED || page.lines().any(row), "status {status} is not on the page");
    }
}

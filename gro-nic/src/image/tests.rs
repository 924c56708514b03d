use super::layout::{header, section};
use super::*;
use crate::abi::memory;

/// Some rules; not all of their signs are ASCII.
const RULES: &str = "{\n\t\"name\": \"größe\"\r\n}\n";

fn builder() -> ImageBuilder {
    ImageBuilder {
        program_hash: [0x11; 32],
        source_hash: [0x22; 32],
        profile: "linux-6.18".into(),
        entry: memory::IMEM_BASE,
        code: Segment {
            address: memory::IMEM_BASE,
            bytes: vec![0x73, 0x00, 0x50, 0x10, 0x01, 0x00],
            memory_size: 6,
        },
        data: Segment { address: memory::DMEM_BASE, bytes: vec![1, 2, 3, 4], memory_size: 64 },
        memory: MemoryMap {
            imem: Region { base: memory::IMEM_BASE, size: memory::IMEM_SIZE, wait_states: 0 },
            dmem: Region { base: memory::DMEM_BASE, size: memory::DMEM_SIZE, wait_states: 0 },
            packet: Region { base: memory::PACKET_BASE, size: memory::PACKET_SIZE, wait_states: 1 },
            stack_top: memory::DMEM_BASE + memory::DMEM_SIZE,
        },
        rules: RULES.into(),
    }
}

/// Recomputes every hash after `change`, so that only the structural checks are left to refuse the file.
fn resealed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Image, ImageError> {
    let mut file = builder().build().unwrap();
    change(&mut file);
    reseal(&mut file);
    Image::parse(&file)
}

fn reseal(file: &mut [u8]) {
    for number in 0..4 {
        let at = header::SIZE + number * section::SIZE;
        let field = |offset: usize| {
            u32::from_le_bytes(file[at + offset..at + offset + 4].try_into().unwrap()) as usize
        };
        let (start, size) = (field(section::OFFSET), field(section::FILE_SIZE));
        if let Some(bytes) = start.checked_add(size).and_then(|end| file.get(start..end)) {
            let hash = Sha256::digest(bytes);
            file[at + section::SHA256..at + section::SIZE].copy_from_slice(&hash);
        }
    }
    let id = identity(file);
    file[header::ID..header::ID + 32].copy_from_slice(&id);
}

fn set(file: &mut [u8], at: usize, value: u32) {
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Offset of a field in the table entry of section `number` (0 code, 1 data, 2 memory map, 3 rules).
fn field(number: usize, offset: usize) -> usize {
    header::SIZE + number * section::SIZE + offset
}

#[test]
fn what_is_written_is_read_back() {
    let built = builder();
    let file = built.build().unwrap();
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.code, built.code);
    assert_eq!(image.data, built.data);
    assert_eq!(image.memory, built.memory);
    assert_eq!(image.rules, built.rules);
    assert_eq!((image.program_hash, image.source_hash), (built.program_hash, built.source_hash));
    assert_eq!(image.profile, "linux-6.18");
    assert_eq!(image.stack_size(), memory::DMEM_SIZE - 64);
    assert_eq!(file.len() % 64, 0);
    assert_eq!(file, built.build().unwrap(), "equal input, equal bytes");
}

#[test]
fn every_truncation_and_every_bit_flip_is_refused() {
    let file = builder().build().unwrap();
    for length in 0..file.len() {
        let error = Image::parse(&file[..length]).unwrap_err();
        assert!(matches!(error, ImageError::Truncated { .. }), "{length}: {error}");
    }
    for byte in 0..file.len() {
        for bit in 0..8 {
            let mut bad = file.clone();
            bad[byte] ^= 1 << bit;
            Image::parse(&bad).unwrap_err();
        }
    }
    let mut longer = file.clone();
    longer.push(0);
    assert!(matches!(Image::parse(&longer), Err(ImageError::TooLong { .. })));
}

#[test]
fn a_sealed_mutation_never_panics() {
    // A forger can compute hashes: flip up to four random bytes, seal, and the parser must still only say yes or no.
    let file = builder().build().unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..20_000 {
        let mut bad = file.clone();
        for _ in 0..=random() % 4 {
            let at = random() % bad.len();
            bad[at] = random() as u8;
        }
        reseal(&mut bad);
        let _ = Image::parse(&bad);
    }
}

#[test]
fn each_refusal_names_its_reason() {
    use ImageError as E;
    type Change = fn(&mut Vec<u8>);
    let cases: &[(Change, E)] = &[
        (|f| f[0] = b'X', E::Magic),
        (|f| set(f, header::ABI, 9), E::Abi { found: 9 }),
        (|f| set(f, header::FLAGS, 1), E::Reserved { offset: header::FLAGS }),
        (|f| f[header::TAIL + 3] = 1, E::Reserved { offset: header::TAIL + 3 }),
        (|f| set(f, header::SECTIONS, 0), E::SectionCount { found: 0 }),
        (|f| set(f, header::SECTIONS, 17), E::SectionCount { found: 17 }),
        (|f| set(f, header::ENTRY, 0x8000_0001), E::Entry { entry: 0x8000_0001 }),
        (|f| set(f, header::ENTRY, 0x8000_0006), E::Entry { entry: 0x8000_0006 }),
        (|f| f[header::PROFILE] = 0, E::Profile),
        (|f| f[header::PROFILE + 31] = b'x', E::Profile),
        (|f| f[header::PROFILE + 1] = 7, E::Profile),
        (|f| set(f, field(0, section::KIND), 7), E::SectionKind { section: 0, kind: 7 }),
        (|f| set(f, field(1, section::KIND), 1), E::Duplicate { section: 1, kind: "CODE" }),
        (|f| set(f, header::SECTIONS, 1), E::Missing { kind: "DATA" }),
        (|f| set(f, header::SECTIONS, 3), E::Missing { kind: "RULES" }),
        (|f| set(f, field(3, section::KIND), 3), E::Duplicate { section: 3, kind: "MEMMAP" }),
        (|f| set(f, field(3, section::KIND), 5), E::SectionKind { section: 3, kind: 5 }),
        (|f| set(f, field(0, section::ISA), 2), E::Isa { section: 0, isa: 2 }),
        (|f| set(f, field(1, section::ISA), 1), E::Isa { section: 1, isa: 1 }),
        (|f| set(f, field(0, section::OFFSET), 8), E::Misaligned { section: 0, field: "offset", value: 8 }),
        (|f| set(f, field(0, section::OFFSET), 64), E::OutOfFile { section: 0 }),
        (|f| set(f, field(0, section::FILE_SIZE), u32::MAX), E::OutOfFile { section: 0 }),
        (
            |f| {
                let code = f[field(0, section::OFFSET)..][..4].to_vec();
                f[field(1, section::OFFSET)..][..4].copy_from_slice(&code);
            },
            E::Overlap { first: 0, second: 1 },
        ),
        (
            |f| set(f, field(0, section::ADDRESS), 0x8000_0002),
            E::Misaligned { section: 0, field: "address", value: 0x8000_0002 },
        ),
        (|f| set(f, field(0, section::MEMORY_SIZE), 8), E::Sizes { section: 0, file: 6, memory: 8 }),
        (|f| set(f, field(1, section::MEMORY_SIZE), 2), E::Sizes { section: 1, file: 4, memory: 2 }),
        (
            |f| set(f, field(1, section::MEMORY_SIZE), u32::MAX),
            E::OutOfMemory { what: "data", base: 0x8001_0000, size: u32::MAX },
        ),
        (
            |f| set(f, field(0, section::ADDRESS), 0x7fff_fffc),
            E::OutOfMemory { what: "code", base: 0x7fff_fffc, size: 6 },
        ),
        (|f| set(f, field(1, section::FLAGS), 1), E::Reserved { offset: field(1, section::FLAGS) }),
        (|f| set(f, field(1, section::MEMORY_SIZE), 0x8000), E::Stack { top: 0x8001_8000 }),
    ];
    for (change, expected) in cases {
        assert_eq!(resealed(change).unwrap_err(), *expected);
    }
    let mut unsealed = builder().build().unwrap();
    let code = unsealed.len() - 5 * 64; // the first of three one-line sections and a two-line memory map
    unsealed[code] ^= 1;
    assert_eq!(Image::parse(&unsealed).unwrap_err(), E::SectionHash { section: 0 });
    unsealed[code] ^= 1;
    let rules = unsealed.len() - 64;
    unsealed[rules] ^= 1;
    assert_eq!(Image::parse(&unsealed).unwrap_err(), E::SectionHash { section: 3 });
}

#[test]
fn rules_come_out_as_they_went_in_or_are_refused_with_a_reason() {
    let with = |rules: String| {
        let file = ImageBuilder { rules: rules.clone(), ..builder() }.build()?;
        assert_eq!(Image::parse(&file)?.rules, rules);
        Ok(())
    };
    let refused = |why: &'static str| Err(ImageError::Rules { why });
    for length in [1, 63, 64, 65, RULES_MAX] {
        assert_eq!(with("x".repeat(length)), Ok(()), "{length}");
    }
    assert_eq!(with("x".repeat(RULES_MAX + 1)), refused("more than 256 KiB"));
    assert_eq!(with(String::new()), refused("there are none"));
    for sign in ["\0", "\u{1b}[2J", "\u{7f}", "\u{9b}"] {
        assert_eq!(with(format!("{{{sign}}}")), refused("a control character"), "{sign:?}");
    }

    let not_loaded = "they have no instruction set, address or memory: a device does not load them";
    let loaded: [fn(&mut Vec<u8>); 3] = [
        |f| set(f, field(3, section::ISA), 1),
        |f| set(f, field(3, section::ADDRESS), memory::DMEM_BASE),
        |f| set(f, field(3, section::MEMORY_SIZE), 4),
    ];
    for change in loaded {
        assert_eq!(resealed(change).map(drop), refused(not_loaded));
    }
    let cut = |f: &mut Vec<u8>| {
        let inside = RULES.find('ß').unwrap() as u32 + 1;
        set(f, field(3, section::FILE_SIZE), inside);
    };
    assert_eq!(resealed(cut).map(drop), refused("not UTF-8"));
    assert_eq!(resealed(|f| set(f, field(3, section::FILE_SIZE), 0)).map(drop), refused("there are none"));
    // Sealed and well-formed, they are taken: what they mean is not the container's matter.
    let other = |f: &mut Vec<u8>| {
        let at = f.len() - 64;
        f[at] = b'[';
    };
    assert!(resealed(other).unwrap().rules.starts_with("[\n"));
}

#[test]
fn the_committed_images_carry_the_document_of_the_engine() {
    let document = include_str!("../../../gro-core/parser.json");
    for release in gro_core::Release::ALL {
        let image = Image::parse(crate::committed(release)).unwrap();
        assert!(image.rules == document, "{}: run cargo xtask images", release.name());
    }
}

#[test]
fn a_device_never_sees_the_rules() {
    let image = Image::parse(crate::committed(gro_core::Release::Linux618)).unwrap();
    let word = b"next-proto";
    assert!(contains(image.rules.as_bytes(), word), "the word to look for");
    assert!(!contains(&image.code.bytes, word) && !contains(&image.data.bytes, word));
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_memory_map_beyond_the_device_is_refused() {
    let with = |change: fn(&mut ImageBuilder)| {
        let mut builder = builder();
        change(&mut builder);
        builder.build().unwrap_err()
    };
    assert!(matches!(with(|b| b.memory.imem.size += 4), ImageError::OutOfMemory { .. }));
    assert!(matches!(with(|b| b.memory.packet.size = u32::MAX), ImageError::OutOfMemory { .. }));
    assert!(matches!(with(|b| b.memory.dmem.base += 16), ImageError::OutOfMemory { .. }));
    assert!(matches!(with(|b| b.memory.dmem.size = 0), ImageError::MemoryMap { .. }));
    assert!(matches!(with(|b| b.memory.imem.wait_states = 256), ImageError::MemoryMap { .. }));
    assert!(matches!(with(|b| b.memory.stack_top -= 8), ImageError::Stack { .. }));
    assert!(matches!(with(|b| b.profile = "x".repeat(40)), ImageError::Profile));
}

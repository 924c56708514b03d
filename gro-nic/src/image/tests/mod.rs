use super::layout::{header, section, signature};
use super::*;
use crate::abi::memory;

mod meaning;
mod structure;

/// Some rules; not all of their signs are ASCII.
const RULES: &str = "{\n\t\"name\": \"größe\"\r\n}\n";

/// A fat image with the least in it.
fn builder() -> ImageBuilder {
    let memory = MemoryMap {
        imem: Region { base: memory::IMEM_BASE, size: memory::IMEM_SIZE, wait_states: 0 },
        dmem: Region { base: memory::DMEM_BASE, size: memory::DMEM_SIZE, wait_states: 0 },
        packet: Region { base: memory::PACKET_BASE, size: memory::PACKET_SIZE, wait_states: 1 },
        stack_top: memory::DMEM_BASE + memory::DMEM_SIZE,
        stack_bound: 512,
    };
    let code = |bytes: &[u8]| Segment {
        address: memory::IMEM_BASE,
        bytes: bytes.to_vec(),
        memory_size: bytes.len() as u32,
    };
    let data = Segment { address: memory::DMEM_BASE, bytes: vec![1, 2, 3, 4], memory_size: 64 };
    ImageBuilder {
        program_hash: [0x11; 32],
        source_hash: [0x22; 32],
        profile: "linux-6.18".into(),
        entry: memory::IMEM_BASE,
        code: code(&[0x73, 0x00, 0x50, 0x10, 0x01, 0x00]),
        data: data.clone(),
        memory,
        rv64imac: Some(Member { code: code(&[0x01, 0x00]), data, memory }),
        rules: RULES.into(),
        config: ImageBuilder::parameters(),
        provenance: Provenance {
            toolchain: Toolchain { rustc: "rustc 1".into(), linker: "lld 2".into() },
            twin: Twin { file: "gro.o".into(), sha256: Hex([0x33; 32]) },
            traces: vec![ExpectedTrace {
                name: "some".into(),
                sha256: Hex([0x44; 32]),
                frames: 7,
                packets: 5,
                decision_digest: Hex([0, 0x55, 0, 0, 0, 0, 0, 1]),
            }],
        },
    }
}

// Sections of that image by their number in the table.
const CODE: usize = 0;
const CODE64: usize = 1;
const DATA: usize = 2;
const DATA64: usize = 3;
const MEMMAP: usize = 4;
const MEMMAP64: usize = 5;
const RULES_: usize = 6;
const CONTRACT: usize = 7;
const CONFIG: usize = 8;
const MANIFEST: usize = 9;
const SIG: usize = 10;
const COUNT: usize = 11;

/// Recomputes every hash after `change`, so that only the other checks are left to refuse the file.
fn resealed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Image, ImageError> {
    let mut file = builder().build().unwrap();
    change(&mut file);
    reseal(&mut file);
    Image::parse(&file)
}

fn reseal(file: &mut [u8]) {
    for number in 0..get(file, header::SECTIONS).min(layout::MAX_SECTIONS as usize) {
        let at = header::SIZE + number * section::SIZE;
        let (start, size) = (get(file, at + section::OFFSET), get(file, at + section::FILE_SIZE));
        if get(file, at + section::KIND) != layout::SIG as usize
            && let Some(bytes) = start.checked_add(size).and_then(|end| file.get(start..end))
        {
            let hash = Sha256::digest(bytes);
            file[at + section::SHA256..at + section::SIZE].copy_from_slice(&hash);
        }
    }
    let id = identity(file, file.len() - signature::SIZE);
    file[header::ID..header::ID + 32].copy_from_slice(&id);
}

fn set(file: &mut [u8], at: usize, value: u32) {
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn get(file: &[u8], at: usize) -> usize {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize
}

/// Offset of a field in the table entry of section `number`.
fn field(number: usize, offset: usize) -> usize {
    header::SIZE + number * section::SIZE + offset
}

/// Where the bytes of section `number` start.
fn start(file: &[u8], number: usize) -> usize {
    get(file, field(number, section::OFFSET))
}

#[test]
fn what_is_written_is_read_back() {
    let built = builder();
    let file = built.build().unwrap();
    let image = Image::parse(&file).unwrap();
    assert_eq!((&image.code, &image.data, &image.memory), (&built.code, &built.data, &built.memory));
    assert_eq!(image.rv64imac, built.rv64imac);
    assert_eq!(image.rules, built.rules);
    assert_eq!(image.config, built.config);
    assert_eq!(image.manifest.provenance, built.provenance);
    assert_eq!((image.program_hash, image.source_hash), (built.program_hash, built.source_hash));
    assert_eq!(image.profile, "linux-6.18");
    assert_eq!(image.stack_size(), memory::DMEM_SIZE - 64);
    assert_eq!(image.signer, None);
    assert_eq!(file.len() % 64, 0);
    assert_eq!(file, built.build().unwrap(), "equal input, equal bytes");
    assert_eq!(file, ImageBuilder::from(image).build().unwrap(), "and so does what was read");
}

#[test]
fn a_thin_image_has_no_second_program() {
    let file = ImageBuilder { rv64imac: None, ..builder() }.build().unwrap();
    let image = Image::parse(&file).unwrap();
    assert_eq!(image.member(Isa::Rv64imac), None);
    assert_eq!(image.member(Isa::Rv32imc).unwrap().code, image.code);
    assert_eq!(image.manifest.code.keys().collect::<Vec<_>>(), ["rv32imc"]);
    assert!(file.len() < builder().build().unwrap().len());
}

#[test]
fn every_truncation_and_every_bit_flip_is_refused() {
    let file = builder().build().unwrap();
    for length in 0..file.len() {
        let error = Image::parse(&file[..length]).unwrap_err();
        assert!(matches!(error, ImageError::Truncated { .. }), "{length}: {error}");
    }
    let mut bad = file.clone();
    for byte in 0..file.len() {
        for bit in 0..8 {
            bad[byte] ^= 1 << bit;
            assert!(Image::parse(&bad).is_err(), "byte {byte} bit {bit}");
            bad[byte] ^= 1 << bit;
        }
    }
    bad.push(0);
    assert!(matches!(Image::parse(&bad), Err(ImageError::TooLong { .. })));
}

#[test]
fn a_device_measures_what_the_manifest_says() {
    for release in gro_core::Release::ALL {
        let image = Image::parse(crate::committed(release)).unwrap();
        let nic = crate::Nic::new(&image, &crate::NicConfig::default()).unwrap();
        assert_eq!(Hex(nic.measurement()), image.manifest.code["rv32imc"].measurement);
    }
    let part = Segment { address: 8, bytes: vec![1, 2], memory_size: 2 };
    let region = Region { base: 4, size: 8, wait_states: 0 };
    let memory: [u8; 32] = Sha256::digest([0, 0, 0, 0, 1, 2, 0, 0]).into();
    assert_eq!(part.measurement(&region), memory);
}

#[test]
fn the_committed_images_carry_the_document_of_the_engine_and_both_programs() {
    let document = include_str!("../../../../gro-core/parser.json");
    for release in gro_core::Release::ALL {
        let image = Image::parse(crate::committed(release)).unwrap();
        let name = release.name();
        assert!(image.rules == document, "{name}: run cargo xtask images");
        assert_eq!(image.profile, name);
        assert_eq!(image.manifest.provenance.twin.file, format!("gro-{name}.o"));
        let wide = image.member(Isa::Rv64imac).unwrap();
        assert!(wide.code.bytes.len() > 1024 && wide.code != image.code);
        assert!(image.manifest.provenance.traces.len() > 5);
        for member in Isa::ALL.map(|isa| image.member(isa).unwrap()) {
            assert!((1..=image.stack_size()).contains(&member.memory.stack_bound));
        }
    }
}

#[test]
fn a_device_never_sees_the_rules() {
    let image = Image::parse(crate::committed(gro_core::Release::Linux618)).unwrap();
    let word = b"next-proto";
    let contains = |bytes: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    assert!(contains(image.rules.as_bytes()), "the word to look for");
    for member in Isa::ALL.map(|isa| image.member(isa).unwrap()) {
        assert!(!contains(&member.code.bytes) && !contains(&member.data.bytes));
    }
}

#[test]
fn the_example_of_the_document_is_an_image() {
    let file = builder().build().unwrap();
    let hashes =
        [header::TOTAL..16, header::ID..64, header::CONTRACT..192, field(CODE, section::SHA256)..256];
    let mut example = String::new();
    for (index, line) in file[..256].chunks(16).enumerate() {
        example += &format!("{:04x} ", 16 * index);
        for (at, byte) in (16 * index..).zip(line) {
            let is_hash = hashes.iter().any(|hash| hash.contains(&at));
            example += &if is_hash { " ..".to_owned() } else { format!(" {byte:02x}") };
        }
        example.push('\n');
    }
    let document = include_str!("../../../../docs/nicimg.md");
    assert!(document.contains(&example), "docs/nicimg.md must have\n{example}");
}

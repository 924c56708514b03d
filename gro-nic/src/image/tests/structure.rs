//! Refusals of header and table: what a file is, before what it means.

use super::*;
use crate::image::ImageError as E;

type Change = fn(&mut Vec<u8>);

#[test]
fn each_refusal_of_the_header_names_its_reason() {
    let cases: &[(Change, E)] = &[
        (|f| f[0] = b'X', E::Magic),
        (|f| set(f, header::ABI, 9), E::Abi { found: 9 }),
        (|f| set(f, header::FLAGS, 1), E::Reserved { offset: header::FLAGS }),
        (|f| set(f, header::RESERVED, 1), E::Reserved { offset: header::RESERVED }),
        (|f| f[header::CONTRACT + 3] ^= 1, E::ContractHash),
        (|f| set(f, header::SECTIONS, 0), E::SectionCount { found: 0 }),
        (|f| set(f, header::SECTIONS, 17), E::SectionCount { found: 17 }),
        (|f| set(f, header::ENTRY, 0x8000_0001), E::Entry { entry: 0x8000_0001 }),
        (|f| set(f, header::ENTRY, 0x8000_0002), E::Entry { entry: 0x8000_0002 }), // outside the second program
        (|f| f[header::PROFILE] = 0, E::Profile),
        (|f| f[header::PROFILE + 31] = b'x', E::Profile),
        (|f| f[header::PROFILE + 1] = 7, E::Profile),
    ];
    for (change, expected) in cases {
        assert_eq!(resealed(change).unwrap_err(), *expected);
    }
    let whole = builder().build().unwrap();
    let mut stated = whole.clone();
    set(&mut stated, header::TOTAL, whole.len() as u32 + 64);
    let (needed, found) = (whole.len() as u64 + 64, whole.len());
    assert_eq!(Image::parse(&stated), Err(E::Truncated { needed, found }));
    set(&mut stated, header::TOTAL, 64);
    assert_eq!(Image::parse(&stated), Err(E::TooLong { found, stated: 64 }));
    let large = ImageBuilder { rules: "x".repeat(MAX_FILE), ..builder() };
    assert!(matches!(large.build(), Err(E::TooLong { .. })));
    assert!(matches!(ImageBuilder { profile: "x".repeat(40), ..builder() }.build(), Err(E::Profile)));
    assert!(matches!(ImageBuilder { entry: 0x8000_0006, ..builder() }.build(), Err(E::Entry { .. })));
}

#[test]
fn each_refusal_of_the_table_names_its_reason() {
    let cases: &[(Change, E)] = &[
        (|f| set(f, field(RULES_, section::KIND), 9), E::SectionKind { section: 6, kind: 9 }),
        (|f| set(f, field(RULES_, section::KIND), 0), E::SectionKind { section: 6, kind: 0 }),
        (|f| set(f, field(CODE64, section::ISA), 1), E::Duplicate { section: 1, kind: "CODE" }),
        (|f| set(f, field(CODE, section::ISA), 2), E::Duplicate { section: 1, kind: "CODE" }),
        (|f| set(f, field(CODE, section::ISA), 0), E::Isa { section: 0, isa: 0 }),
        (|f| set(f, field(DATA, section::ISA), 3), E::Isa { section: 2, isa: 3 }),
        (|f| set(f, field(CONFIG, section::KIND), 4), E::Order { section: 8, kind: "RULES" }),
        (|f| set(f, field(SIG, section::KIND), 7), E::Duplicate { section: 10, kind: "MANIFEST" }),
        (|f| set(f, field(RULES_, section::ISA), 1), E::NotLoaded { section: 6, kind: "RULES" }),
        (
            |f| set(f, field(MANIFEST, section::ADDRESS), memory::DMEM_BASE),
            E::NotLoaded { section: 9, kind: "MANIFEST" },
        ),
        (|f| set(f, field(MEMMAP, section::MEMORY_SIZE), 4), E::NotLoaded { section: 4, kind: "MEMMAP" }),
        (
            |f| set(f, field(CODE, section::FLAGS), 7),
            E::Flags { section: 0, kind: "CODE", found: 7, expected: 5 },
        ),
        (
            |f| set(f, field(SIG, section::FLAGS), 1),
            E::Flags { section: 10, kind: "SIG", found: 1, expected: 0 },
        ),
        (|f| set(f, field(1, section::RESERVED), 1), E::Reserved { offset: field(1, section::RESERVED) }),
        (
            |f| set(f, field(CODE, section::OFFSET), 8),
            E::Misaligned { section: 0, field: "offset", value: 8 },
        ),
        (|f| set(f, field(CODE, section::OFFSET), 64), E::OutOfFile { section: 0 }),
        (|f| set(f, field(CODE, section::OFFSET), 0xffff_ffc0), E::OutOfFile { section: 0 }),
        (|f| set(f, field(CODE, section::FILE_SIZE), u32::MAX), E::OutOfFile { section: 0 }),
        (
            |f| {
                let code = f[field(CODE, section::OFFSET)..][..4].to_vec();
                f[field(CODE64, section::OFFSET)..][..4].copy_from_slice(&code);
            },
            E::Overlap { first: 0, second: 1 },
        ),
        (|f| f[field(SIG, section::SHA256)] = 1, E::SectionHash { section: 10, kind: "SIG" }),
    ];
    for (change, expected) in cases {
        assert_eq!(resealed(change).unwrap_err(), *expected);
    }
}

#[test]
fn a_file_has_one_form_only() {
    let padding = |f: &mut Vec<u8>| {
        let end = start(f, CODE) + 6;
        f[end + 3] = 1;
    };
    let offset = start(&builder().build().unwrap(), CODE) + 9;
    assert_eq!(resealed(padding).unwrap_err(), E::Padding { offset });

    // 64 zeros more, which the header and every offset behind them allow for.
    let insert = |number: usize| {
        move |f: &mut Vec<u8>| {
            let at = if number == COUNT { f.len() } else { start(f, number) };
            f.splice(at..at, [0; 64]);
            let total = f.len() as u32;
            set(f, header::TOTAL, total);
            for moved in number..COUNT {
                let at = field(moved, section::OFFSET);
                let offset = get(f, at) as u32 + 64;
                set(f, at, offset);
            }
        }
    };
    assert!(matches!(resealed(insert(DATA)), Err(E::Gap { section: 2, .. })));
    assert_eq!(resealed(insert(COUNT)).unwrap_err(), E::Trailing(64));

    // Two sections change places: the bytes, or the bytes and their entries.
    let swap_entries = |f: &mut Vec<u8>| {
        let (first, second) = (field(DATA, 0), field(DATA64, 0));
        for byte in 0..section::SIZE {
            f.swap(first + byte, second + byte);
        }
    };
    assert!(matches!(resealed(swap_entries), Err(E::Gap { section: 2, .. })));
    let swap_both = |f: &mut Vec<u8>| {
        swap_entries(f);
        let offsets = (field(DATA, section::OFFSET), field(DATA64, section::OFFSET));
        let (first, second) = (get(f, offsets.0) as u32, get(f, offsets.1) as u32);
        set(f, offsets.0, second);
        set(f, offsets.1, first);
    };
    assert_eq!(resealed(swap_both).unwrap_err(), E::Order { section: 3, kind: "DATA" });
}

#[test]
fn every_section_is_needed() {
    let without = |number: usize| {
        let mut file = builder().build().unwrap();
        let (at, entry) = (start(&file, number), field(number, 0));
        let end = if number == SIG { file.len() } else { start(&file, number + 1) };
        let moved = (end - at) as u32 + section::SIZE as u32;
        for other in 0..COUNT {
            let offset = field(other, section::OFFSET);
            let before = if other > number { moved } else { section::SIZE as u32 };
            let value = get(&file, offset) as u32 - before;
            set(&mut file, offset, value);
        }
        file.drain(at..end);
        file.drain(entry..entry + section::SIZE);
        let total = file.len() as u32;
        set(&mut file, header::TOTAL, total);
        set(&mut file, header::SECTIONS, COUNT as u32 - 1);
        reseal(&mut file);
        Image::parse(&file).unwrap_err()
    };
    for (number, kind) in ["CODE", "DATA", "MEMMAP"].into_iter().enumerate() {
        for (offset, isa) in ["rv32imc", "rv64imac"].into_iter().enumerate() {
            assert_eq!(without(2 * number + offset), E::Missing { kind, isa });
        }
    }
    let for_the_host = [(RULES_, "RULES"), (CONTRACT, "ABI"), (CONFIG, "CONFIG"), (MANIFEST, "MANIFEST")];
    for (number, kind) in for_the_host {
        assert_eq!(without(number), E::Missing { kind, isa: "" });
    }
    assert_eq!(without(SIG), E::Missing { kind: "SIG", isa: "" });
}

#[test]
fn a_byte_that_changed_is_found_in_its_section() {
    let whole = builder().build().unwrap();
    for (number, kind) in [(CODE, "CODE"), (DATA64, "DATA"), (MEMMAP64, "MEMMAP"), (RULES_, "RULES")]
        .into_iter()
        .chain([(CONTRACT, "ABI"), (CONFIG, "CONFIG"), (MANIFEST, "MANIFEST")])
    {
        let mut file = whole.clone();
        file[start(&whole, number)] ^= 1;
        let section = number as u32;
        assert_eq!(Image::parse(&file).unwrap_err(), E::SectionHash { section, kind });
    }
    let mut file = whole;
    file[header::SOURCE] ^= 1;
    assert_eq!(Image::parse(&file).unwrap_err(), E::Id);
}

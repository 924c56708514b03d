//! Refusals of what a well-formed file says.

use super::*;
use crate::image::ImageError as E;
use crate::image::layout::{memmap, parameter};

#[test]
fn a_program_that_does_not_fit_the_device_is_refused() {
    type Change = fn(&mut Vec<u8>);
    let cases: &[(Change, E)] = &[
        (
            |f| set(f, field(CODE, section::ADDRESS), 0x8000_0002),
            E::Misaligned { section: 0, field: "address", value: 0x8000_0002 },
        ),
        (|f| set(f, field(CODE, section::MEMORY_SIZE), 8), E::Sizes { section: 0, file: 6, memory: 8 }),
        (|f| set(f, field(DATA, section::MEMORY_SIZE), 2), E::Sizes { section: 2, file: 4, memory: 2 }),
        (
            |f| set(f, field(DATA64, section::MEMORY_SIZE), u32::MAX),
            E::OutOfMemory { what: "data", base: 0x8001_0000, size: u32::MAX },
        ),
        (
            |f| set(f, field(CODE, section::ADDRESS), 0x7fff_fffc),
            E::OutOfMemory { what: "code", base: 0x7fff_fffc, size: 6 },
        ),
        (|f| set(f, field(DATA, section::MEMORY_SIZE), 0x8000), E::Stack { top: 0x8001_8000 }),
        (|f| set(f, field(DATA, section::MEMORY_SIZE), 0x7fc0), E::StackBound { bound: 512, room: 64 }),
    ];
    for (change, expected) in cases {
        assert_eq!(resealed(change).unwrap_err(), *expected);
    }
    let mut empty = builder();
    empty.code = Segment { bytes: Vec::new(), memory_size: 0, ..empty.code };
    assert_eq!(empty.build().unwrap_err(), E::Sizes { section: 0, file: 0, memory: 0 });
}

#[test]
fn a_memory_map_beyond_the_device_is_refused() {
    let with = |change: fn(&mut MemoryMap)| {
        let mut builder = builder();
        change(&mut builder.memory);
        builder.build().unwrap_err()
    };
    assert!(matches!(with(|m| m.imem.size += 4), E::OutOfMemory { what: "instruction memory", .. }));
    assert!(matches!(with(|m| m.packet.size = u32::MAX), E::OutOfMemory { what: "packet memory", .. }));
    assert!(matches!(with(|m| m.dmem.base += 16), E::OutOfMemory { what: "data memory", .. }));
    assert!(matches!(with(|m| m.stack_top -= 8), E::Stack { .. }));
    assert!(matches!(with(|m| m.stack_bound = m.stack_top), E::StackBound { .. }));
    let why = |change| match with(change) {
        E::MemoryMap { why } => why,
        other => panic!("{other}"),
    };
    let place = "a region is empty or does not start at the base of its memory";
    assert_eq!(why(|m| m.dmem.size = 0), place);
    assert_eq!(why(|m| (m.imem.base, m.imem.size) = (m.imem.base + 16, 64)), place);
    assert_eq!(why(|m| m.imem.size -= 2), "a region is no whole number of words");
    assert_eq!(why(|m| m.imem.wait_states = 256), "more than 255 wait states");

    let why = |change: fn(&mut [u8])| {
        let changed = resealed(|file| {
            let at = start(file, MEMMAP64);
            change(&mut file[at..]);
        });
        match changed {
            Err(E::MemoryMap { why }) => why,
            other => panic!("{other:?}"),
        }
    };
    let order = "its entries are not instruction, data and packet memory in this order";
    assert_eq!(why(|map| set(map, memmap::KIND, 4)), "unknown kind of memory");
    assert_eq!(why(|map| set(map, memmap::KIND, 2)), order);
    assert_eq!(why(|map| set(map, memmap::STACK_TOP, 64)), "a stack outside data memory");
    assert_eq!(why(|map| set(map, memmap::STACK_BOUND, 64)), "a stack outside data memory");
    assert_eq!(why(|map| map[memmap::RESERVED + 7] = 1), "reserved bytes set");
    let short = whole_with(&builder().build().unwrap(), MEMMAP, &[1; 95]);
    assert_eq!(Image::parse(&short).unwrap_err(), E::MemoryMap { why: "it has three entries of 32 bytes" });
}

#[test]
fn rules_come_out_as_they_went_in_or_are_refused_with_a_reason() {
    let with = |rules: String| {
        let file = ImageBuilder { rules: rules.clone(), ..builder() }.build()?;
        assert_eq!(Image::parse(&file)?.rules, rules);
        Ok(())
    };
    let refused = |why: &'static str| Err(E::Rules { why });
    for length in [1, 63, 64, 65, RULES_MAX] {
        assert_eq!(with("x".repeat(length)), Ok(()), "{length}");
    }
    assert_eq!(with("x".repeat(RULES_MAX + 1)), refused("more than 256 KiB"));
    assert_eq!(with(String::new()), refused("there are none"));
    for sign in ["\0", "\u{1b}[2J", "\u{7f}", "\u{9b}"] {
        assert_eq!(with(format!("{{{sign}}}")), refused("a control character"), "{sign:?}");
    }
    let broken = |file: &mut Vec<u8>| {
        let at = start(file, RULES_) + RULES.find('ß').unwrap() + 1;
        file[at] = b'x';
    };
    assert_eq!(resealed(broken).map(drop), refused("not UTF-8"));
    // Sealed and well-formed, they are taken: what they mean is not the container's matter.
    let other = |file: &mut Vec<u8>| {
        let at = start(file, RULES_);
        file[at] = b'[';
    };
    assert!(resealed(other).unwrap().rules.starts_with("[\n"));
}

#[test]
fn another_layout_is_refused_by_its_first_row() {
    let moved = |file: &mut Vec<u8>| {
        let at = start(file, CONTRACT);
        let row = b"event LENGTH 0x4 u16";
        let row = file[at..].windows(row.len()).position(|window| window == row).unwrap();
        file[at + row + 15] = b'6';
    };
    let (found, expected) = ("event LENGTH 0x6 u16".into(), "event LENGTH 0x4 u16".into());
    assert_eq!(resealed(moved).unwrap_err(), E::Contract { found, expected });
}

#[test]
fn a_schema_that_contradicts_itself_or_the_device_is_refused() {
    // Parameters by their place in the schema.
    const RX_ENTRIES: usize = 0;
    const MAX_SIZE: usize = 3;
    const UDP: usize = 6;
    const TUNNELS: usize = 9;
    let with = |change: fn(&mut Vec<Parameter>)| {
        let mut builder = builder();
        change(&mut builder.config);
        match builder.build() {
            Err(E::Schema { name, why }) => (name, why),
            other => panic!("{other:?}"),
        }
    };
    let is = |name: &str, why| (name.to_owned(), why);
    let own = "register or type is not that of this ABI";
    let wide = "its limits are wider than what the engine takes";
    let default = "its default is not one of its values";
    let unknown = "not a parameter of this ABI, or not in the order of the registers";
    assert_eq!(
        with(|c| c[MAX_SIZE].min = c[MAX_SIZE].max + 1),
        is("gro_max_size", "its least value is above its greatest")
    );
    assert_eq!(with(|c| c[MAX_SIZE].max += 1), is("gro_max_size", wide));
    assert_eq!(with(|c| c[MAX_SIZE].min = 0), is("gro_max_size", wide));
    assert_eq!(with(|c| c[MAX_SIZE].default = 0), is("gro_max_size", default));
    assert_eq!(with(|c| c[RX_ENTRIES].default = 3), is("rx_entries", default));
    assert_eq!(with(|c| c[RX_ENTRIES].max = 3), is("rx_entries", "its limits are no powers of two"));
    assert_eq!(with(|c| c[UDP].min = 1), is("udp_forwarding", "a switch goes from 0 to 1"));
    assert_eq!(with(|c| c[TUNNELS].default = 16), is("tunnels", default));
    assert_eq!(
        with(|c| c[TUNNELS].min = 1),
        is("tunnels", "a set starts at 0 and has only bits that there are")
    );
    assert_eq!(with(|c| c[UDP].register += 4), is("udp_forwarding", own));
    assert_eq!(with(|c| c[UDP].kind = ParameterKind::Number), is("udp_forwarding", own));
    assert_eq!(with(|c| c[UDP].name = "udp".into()), is("udp", unknown));
    assert_eq!(with(|c| c.swap(UDP, TUNNELS)), is("tunnels", unknown));
    assert_eq!(with(|c| c.push(c[UDP].clone())), is("udp_forwarding", "stands there twice"));
    assert_eq!(with(|c| drop(c.pop())), is("coalesce", "missing"));
    let name = "a name that is not 1 to 31 printable ASCII characters, zero padded";
    for bad in [String::new(), "x".repeat(32), "a b".into(), "ä".into()] {
        let mut builder = builder();
        builder.config[UDP].name = bad;
        assert_eq!(builder.build().unwrap_err(), E::Schema { name: "?".into(), why: name });
    }

    let changed = |offset: usize, value: u32| {
        let changed = resealed(|file| {
            let at = start(file, CONFIG) + UDP * parameter::SIZE + offset;
            set(file, at, value);
        });
        changed.unwrap_err()
    };
    let schema = |name: &str, why| E::Schema { name: name.into(), why };
    assert_eq!(changed(parameter::KIND, 9), schema("udp_forwarding", "unknown type"));
    assert_eq!(changed(parameter::RESERVED, 1), schema("udp_forwarding", "reserved bytes set"));
    let cut = resealed(|file| set(file, field(CONFIG, section::FILE_SIZE), 11 * 64 - 1));
    assert_eq!(cut.unwrap_err(), schema("all", "no whole number of 64-byte entries"));
}

#[test]
fn narrower_limits_are_kept_and_say_what_a_host_may_set() {
    let mut builder = builder();
    (builder.config[3].min, builder.config[3].max) = (65_536, 100_000);
    let image = Image::parse(&builder.build().unwrap()).unwrap();
    let [entries, _, _, size, .., tunnels, _] = &image.config[..] else { panic!("{:?}", image.config) };
    assert!(size.accepts(65_536) && size.accepts(100_000) && !size.accepts(65_535) && !size.accepts(100_001));
    assert!(entries.accepts(4096) && !entries.accepts(8192) && !entries.accepts(3) && !entries.accepts(0));
    assert!(tunnels.accepts(0) && tunnels.accepts(15) && !tunnels.accepts(16));
}

#[test]
fn a_manifest_that_says_something_else_than_the_image_is_refused() {
    let with = |change: &dyn Fn(String) -> String| {
        let whole = builder().build().unwrap();
        let json = Image::parse(&whole).unwrap().manifest.to_json().unwrap();
        let changed = change(json.clone());
        assert_ne!(json, changed, "it changes something");
        let changed = whole_with(&whole, MANIFEST, changed.as_bytes());
        match Image::parse(&changed) {
            Err(E::Manifest { why }) => why,
            other => panic!("{other:?}"),
        }
    };
    let replaced = |from: &str, to: &str| with(&|json| json.replacen(from, to, 1));
    assert_eq!(replaced("\"linux-6.18\"", "\"linux-6.17\""), "its profile is not the header's");
    assert_eq!(replaced("1111", "1112"), "its program hash is not the header's");
    assert_eq!(replaced("2222", "2223"), "its source hash is not the header's");
    let hash = CodeHashes::of(&builder().code, &builder().memory);
    let (code, memory) = (hash.sha256.to_string(), hash.measurement.to_string());
    let other = Hex([0; 32]).to_string();
    assert_eq!(replaced(&code, &other), "its hash of the rv32imc code is not that of the section");
    assert_eq!(replaced(&memory, &other), "its measurement of rv32imc is not that of the code in its memory");
    assert_eq!(replaced("\"rv32imc\"", "\"rv32i\""), "its instruction sets are not those of the image");
    assert_eq!(replaced("\"schema\": 1", "\"schema\": 2"), "its schema is 2, known is 1");
    assert_eq!(replaced("\"some\"", "\"\""), "a name is empty or has a control character");
    assert_eq!(replaced("\"some\"", "\"\\u001b\""), "a name is empty or has a control character");
    assert_eq!(replaced("\"packets\": 5", "\"packets\": 8"), "trace some has more packets than frames");
    let form = "not in the one form that it has (order of fields, blanks)";
    assert_eq!(replaced("\"packets\": 5", "\"packets\":  5"), form);
    assert!(replaced("\"schema\": 1", "\"schema\": 1,\n  \"note\": 1").contains("unknown field `note`"));
    assert_eq!(with(&|json| json.trim_end().to_owned()), form);
    for (from, to) in [
        ("{", ""),
        ("\"schema\": 1,", ""),
        ("\"twin\": {", "\"twin\": {\"x\": 1,"),
        ("44", "4"),
        ("44", "G4"),
        ("33", "AA"),
        ("\"frames\": 7", "\"frames\": -7"),
    ] {
        let why = replaced(from, to);
        assert!(why.starts_with("not its JSON: "), "{from} -> {to}: {why}");
    }
    assert!(with(&|_| "[".repeat(10_000)).starts_with("not its JSON"), "no stack overflow");
    assert_eq!(with(&|json| json + &" ".repeat(MANIFEST_MAX)), "more than 64 KiB");

    let mut twice = builder();
    twice.provenance.traces.push(twice.provenance.traces[0].clone());
    let why = "trace some stands there twice".to_owned();
    assert_eq!(twice.build().unwrap_err(), E::Manifest { why });
}

/// The image with other bytes in section `number`, sealed.
fn whole_with(whole: &[u8], number: usize, bytes: &[u8]) -> Vec<u8> {
    let (at, end) = (start(whole, number), start(whole, number + 1));
    let padded = bytes.len().next_multiple_of(64);
    let mut file = whole[..at].to_vec();
    file.extend_from_slice(bytes);
    file.resize(at + padded, 0);
    file.extend_from_slice(&whole[end..]);
    set(&mut file, field(number, section::FILE_SIZE), bytes.len() as u32);
    for moved in number + 1..COUNT {
        let offset = get(whole, field(moved, section::OFFSET)) - end + at + padded;
        set(&mut file, field(moved, section::OFFSET), offset as u32);
    }
    let total = file.len() as u32;
    set(&mut file, header::TOTAL, total);
    reseal(&mut file);
    file
}

#[test]
fn a_signature_is_over_the_id_and_by_the_key_asked_for() {
    let (secret, other) = ([7; 32], [8; 32]);
    let file = builder().build().unwrap();
    let unsigned = Image::parse(&file).unwrap();
    assert_eq!(unsigned.verify_signature(&public_key(&secret)), Err(SignatureError::Unsigned));
    let signed = sign(&file, &secret).unwrap();
    let image = Image::parse(&signed).unwrap();
    assert_eq!((image.id, signed.len()), (unsigned.id, file.len()), "the id is not of the signature");
    assert_eq!(image.verify_signature(&public_key(&secret)), Ok(()));
    let refused = image.verify_signature(&public_key(&other)).unwrap_err();
    assert_eq!(refused, SignatureError::OtherKey { signer: Hex(public_key(&secret)) });
    assert_eq!(sign(&signed, &other).unwrap(), sign(&file, &other).unwrap(), "the slot is written anew");
    assert_eq!(ImageBuilder::from(image).build().unwrap(), file, "nothing else changed");

    let slot = signed.len() - signature::SIZE;
    let mut bad = signed.clone();
    for byte in slot..signed.len() {
        bad[byte] ^= 0x10;
        assert!(matches!(Image::parse(&bad), Err(E::Signature { .. })), "byte {}", byte - slot);
        bad[byte] ^= 0x10;
    }
    // A signature of another image.
    let strange = sign(&ImageBuilder { rules: "{}".into(), ..builder() }.build().unwrap(), &secret).unwrap();
    bad[slot..].copy_from_slice(&strange[strange.len() - signature::SIZE..]);
    let why = "not one of this image by the key beside it";
    assert_eq!(Image::parse(&bad).unwrap_err(), E::Signature { why });
    let short = resealed(|file| {
        set(file, field(SIG, section::FILE_SIZE), 96);
    });
    assert_eq!(short.unwrap_err(), E::Signature { why: "the slot has 128 bytes" });
    assert!(matches!(sign(&file[1..], &secret), Err(E::Magic | E::Truncated { .. })));
}

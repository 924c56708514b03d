//! `cargo xtask nic-map`: what each byte of the NIC's program and data is for, from a build with debug information.
//!
//! Line tables must not change what they describe, so a build whose code is not the committed image's to the byte is refused.

mod data;
mod page;
mod purpose;
mod text;

use crate::images::{binary, root};
use crate::toolchain::{Target, Toolchain};
use addr2line::gimli;
use anyhow::{Context as _, Result, ensure};
use gro_core::Release;
use gro_nic::image::{Isa, Member};
use object::{Object as _, ObjectSection as _};
use std::fs;
use std::path::Path;

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write nothing; fail if the document is not what the build gives.
    #[arg(long)]
    check: bool,
}

const DOCUMENT: &str = "docs/firmware-map.md";
/// All profiles are the same sources; this one's image is the built-in one.
const RELEASE: Release = Release::Linux618;

/// What is wrong with the image or the build if they differ.
const CURE: &str = "run cargo xtask images, with the tool chain that images.json names";

type Slice<'a> = gimli::EndianSlice<'a, gimli::LittleEndian>;
type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;

/// One line of a table: so many bytes are for this.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    what: String,
    bytes: u64,
}

/// What the program of one instruction set takes.
struct Program {
    isa: Isa,
    text: text::Text,
    constants: Vec<Row>,
    data: data::Data,
    /// Bytes of the memories, and what the program may take of its stack.
    instruction_memory: u64,
    data_memory: u64,
    stack_bound: u64,
}

/// Builds, and writes the document or compares it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root()?;
    let toolchain = Toolchain::ready()?;
    let output = root.join("target/device/nic-map");
    let file = root.join("gro-nic/image").join(format!("gro-{}.nicimg", RELEASE.name()));
    let image = gro_nic::Image::parse(&fs::read(&file)?)?;
    let mut programs = Vec::new();
    for (target, isa) in [(Target::Nic32, Isa::Rv32imc), (Target::Nic64, Isa::Rv64imac)] {
        let name = binary(RELEASE);
        let build = |kind: &str, flag: &str| -> Result<Vec<u8>> {
            let more: (&[&str], &[&str]) = (&[flag], &["--bin", &name]);
            let output = output.join(kind);
            toolchain.build_with(target, &root, &root.join("gro-nic/firmware"), &output, more)?;
            let elf = output.join(target.triple()).join("release").join(&name);
            fs::read(&elf).with_context(|| format!("{} was not built", elf.display()))
        };
        // With types in it, the compiler makes other code of the same data.
        let (lines, types) = (build("lines", "-Cdebuginfo=1")?, build("types", "-Cdebuginfo=2")?);
        let member =
            image.member(isa).with_context(|| format!("the image has nothing for {}", isa.name()))?;
        let program = Program::of(&lines, &types, isa, &member, &root);
        programs.push(program.with_context(|| isa.name().to_owned())?);
    }
    let text = page::page(&programs);
    let path = root.join(DOCUMENT);
    if args.check {
        let written = fs::read_to_string(&path).unwrap_or_default();
        ensure!(written == text, "{DOCUMENT} is not what the build gives; run cargo xtask nic-map");
        println!("{DOCUMENT}: as the build gives it");
    } else {
        fs::write(&path, text)?;
        println!("{DOCUMENT}: written");
    }
    Ok(())
}

impl Program {
    fn of(lines: &[u8], types: &[u8], isa: Isa, member: &Member, root: &Path) -> Result<Self> {
        let elf = object::File::parse(lines)?;
        same_code(&elf, &member.code.bytes)?;
        let typed = object::File::parse(types)?;
        let data = data::read(&typed, &dwarf(&typed)?, root)?;
        ensure!(
            data.bytes() == u64::from(member.data.memory_size),
            "the build has {} bytes of data, the image {}: {CURE}",
            data.bytes(),
            member.data.memory_size
        );
        Ok(Self {
            isa,
            text: text::read(&elf, dwarf(&elf)?)?,
            constants: text::constants(&elf)?,
            data,
            instruction_memory: member.memory.imem.size.into(),
            data_memory: member.memory.dmem.size.into(),
            stack_bound: member.memory.stack_bound.into(),
        })
    }
}

fn dwarf<'data>(elf: &object::File<'data>) -> Result<Dwarf<'data>> {
    Dwarf::load(|id| {
        let data = elf.section_by_name(id.name()).map(|section| section.data()).transpose()?;
        Ok(Slice::new(data.unwrap_or_default(), gimli::LittleEndian))
    })
}

/// The sections that are copied to instruction memory are the image's CODE, to the byte.
fn same_code(elf: &object::File<'_>, code: &[u8]) -> Result<()> {
    let mut built = Vec::new();
    let start = section(elf, TEXT)?.address();
    for name in [TEXT, CONSTANTS] {
        let section = section(elf, name)?;
        // An odd number of short instructions leaves a gap before the constants.
        built.resize((section.address() - start) as usize, 0);
        built.extend_from_slice(section.data()?);
    }
    let first = built.iter().zip(code).position(|(new, old)| new != old);
    ensure!(
        first.is_none() && built.len() == code.len(),
        "the build with line tables is not the committed image: its code differs from byte {} on ({} bytes, the image {}); {CURE}",
        first.unwrap_or(built.len().min(code.len())),
        built.len(),
        code.len()
    );
    Ok(())
}

const TEXT: &str = ".text";
const CONSTANTS: &str = ".rodata";

fn section<'data, 'file>(
    elf: &'file object::File<'data>,
    name: &str,
) -> Result<object::Section<'data, 'file>> {
    elf.section_by_name(name).with_context(|| format!("the firmware has no section {name}"))
}

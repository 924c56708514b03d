//! `cargo xtask images`: builds what runs on devices, and the manifest that binds it to the sources.

use crate::provenance::{self, Expected};
use crate::source_hash;
use crate::toolchain::{Target, Toolchain, Versions};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use gro_bench::hex;
use gro_core::Release;
use gro_nic::build::Firmware;
use gro_nic::image::Isa;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

/// What to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Build in two other folders, compare both with each other and with the committed images, and write nothing.
    #[arg(long)]
    check: bool,
}

/// `images.json`: what the committed images are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    source_hash: String,
    /// Program hash by profile.
    profiles: BTreeMap<String, String>,
    toolchain: Versions,
    images: Vec<Image>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Image {
    file: String,
    bytes: usize,
    sha256: String,
}

const MANIFEST: &str = "images.json";
/// Programs of the BPF workspace beside the tc program, as its `[[bin]]`s are named.
const BPF_PROGRAMS: [&str; 6] = ["inject", "observe", "loss", "forward", "via", "impair"];
/// What a device build reads.
const INPUTS: [&str; 7] = [
    "Cargo.toml",
    "gro-core",
    "gro-ebpf/program",
    "gro-ebpf/src/abi.rs",
    "gro-ebpf/src/via_tap/abi.rs",
    "gro-nic/firmware",
    "gro-nic/src/abi.rs",
];

/// Builds, writes, says what came out.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = root()?;
    let toolchain = Toolchain::ready()?;
    same_lints(&root)?;
    if args.check {
        return check(&root, &toolchain);
    }
    let start = Instant::now();
    let expected = provenance::expected(&root)?;
    let built = build(&toolchain, &root, &root.join("target/device"), &expected)?;
    let manifest = manifest(&toolchain, &built)?;
    for (file, bytes) in &built {
        let path = root.join(file);
        fs::create_dir_all(path.parent().context("an image lies in a folder")?)?;
        // An equal file keeps its time, so that nothing is compiled again.
        if fs::read(&path).ok().as_deref() != Some(bytes) {
            fs::write(&path, bytes)?;
        }
    }
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    fs::write(root.join(MANIFEST), text)?;
    for image in &manifest.images {
        println!("{:40} {:7} bytes  sha256 {}", image.file, image.bytes, &image.sha256[..16]);
    }
    for (profile, hash) in &manifest.profiles {
        println!("program hash {hash} ({profile})");
    }
    println!("{:.1} s", start.elapsed().as_secs_f64());
    report(&built)
}

/// The workspace's root.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let is_root =
        |folder: &&Path| folder.join("rust-toolchain.toml").is_file() && folder.join("gro-core").is_dir();
    let root = here.ancestors().find(is_root);
    root.map(Path::to_owned).context("run it inside a checkout")
}

type Built = Vec<(String, Vec<u8>)>;

/// A crate's name has no dot.
pub(crate) fn binary(release: Release) -> String {
    format!("gro-{}", release.name().replace('.', "-"))
}

fn tc_object(release: Release) -> String {
    format!("gro-ebpf/image/gro-{}.o", release.name())
}

fn nic_image(release: Release) -> String {
    format!("gro-nic/image/gro-{}.nicimg", release.name())
}

fn file<'a>(built: &'a Built, name: &str) -> Result<&'a [u8]> {
    let found = built.iter().find(|(file, _)| file == name);
    Ok(&found.with_context(|| format!("{name} was not built"))?.1)
}

fn build(toolchain: &Toolchain, tree: &Path, output: &Path, expected: &Expected) -> Result<Built> {
    let mut built = Vec::new();
    let bpf = output.join("bpf");
    toolchain.build(Target::Bpf, tree, &tree.join("gro-ebpf/program"), &bpf)?;
    let tc = Release::ALL.map(|release| (binary(release), tc_object(release)));
    let others = BPF_PROGRAMS.map(|name| (name.to_owned(), format!("gro-ebpf/image/{name}.o")));
    for (name, file) in tc.into_iter().chain(others) {
        let object = output.join(format!("{name}.o"));
        fs::copy(bpf.join("bpfel-unknown-none/release").join(name), &object)?;
        toolchain.strip(&object)?;
        built.push((file, fs::read(&object)?));
    }
    let nic = output.join("nic");
    let sources = source_hash::read(&tree.join("gro-core"))?;
    let rules = std::str::from_utf8(&sources[source_hash::PARSE_GRAPH]).context("gro-core/parser.json")?;
    for target in [Target::Nic32, Target::Nic64] {
        toolchain.build(target, tree, &tree.join("gro-nic/firmware"), &nic)?;
    }
    for release in Release::ALL {
        let elf = |target: Target| {
            let path = nic.join(target.triple()).join("release").join(binary(release));
            fs::read(&path).with_context(|| format!("{} was not built", path.display()))
        };
        let (rv32imc, rv64imac) = (elf(Target::Nic32)?, elf(Target::Nic64)?);
        let firmware = Firmware { rv32imc: &rv32imc, rv64imac: Some(&rv64imac) };
        let provenance = provenance::of(release, toolchain, file(&built, &tc_object(release))?, expected)?;
        let image = gro_nic::build::image_from_elf(&firmware, rules, provenance)?;
        carries_its_document(&image, &sources)?;
        stack_bound(&image)?;
        built.push((nic_image(release), image));
    }
    Ok(built)
}

/// The firmware says which sources it was compiled from. If they hash to the same as `sources`, of which the document is one, the
/// document in the image is the one in the image's hash, to the byte.
fn carries_its_document(image: &[u8], sources: &source_hash::Sources) -> Result<()> {
    let image = gro_nic::Image::parse(image)?;
    let source = source_hash::source_hash(sources);
    let program = source_hash::program_hash(&source, &image.profile);
    ensure!(
        image.source_hash == source
            && image.program_hash == program
            && image.rules.as_bytes() == sources[source_hash::PARSE_GRAPH],
        "{}: the firmware was not compiled from the gro-core that its document was read from: did a file of it change during the \
         build? run cargo xtask images again",
        image.profile
    );
    Ok(())
}

/// What the program of an image takes of the stack at most; an error if that is not known or is not there.
fn stack_bound(image: &[u8]) -> Result<gro_nic::stack::StackBound> {
    let image = gro_nic::Image::parse(image)?;
    let bound =
        gro_nic::stack::bound(&image).with_context(|| format!("{}: no stack bound", image.profile))?;
    // Two analyses: of the linked program, which the image states, and of the image's bytes, which believes less.
    ensure!(
        bound.bytes <= image.memory.stack_bound,
        "{}: the image states a stack bound of {} bytes, its code may take {}",
        image.profile,
        image.memory.stack_bound,
        bound.bytes
    );
    Ok(bound)
}

fn manifest(toolchain: &Toolchain, built: &Built) -> Result<Manifest> {
    let images = built.iter().map(|(file, bytes)| Image {
        file: file.clone(),
        bytes: bytes.len(),
        sha256: hex(&Sha256::digest(bytes)),
    });
    let mut profiles = BTreeMap::new();
    let mut source_hash = String::new();
    for release in Release::ALL {
        let object = gro_ebpf::Object::from_bytes(file(built, &tc_object(release))?).program_hash()?;
        let nic = gro_nic::Image::parse(file(built, &nic_image(release))?)?;
        let name = release.name();
        ensure!(
            object == nic.program_hash,
            "{name}: the tc object and the NIC image carry different program hashes"
        );
        profiles.insert(name.to_owned(), hex(&object));
        source_hash = hex(&nic.source_hash);
    }
    if profiles[Release::Linux618.name()] != hex(&Release::Linux618.program_hash()) {
        eprintln!(
            "note: this xtask was compiled from other sources than the images; run the command once more"
        );
    }
    Ok(Manifest {
        schema: 2,
        source_hash,
        profiles,
        toolchain: toolchain.versions()?,
        images: images.collect(),
    })
}

/// Two builds in folders of other names and depths, equal to each other and, with the manifest's tool chain, to what is
/// committed.
fn check(root: &Path, toolchain: &Toolchain) -> Result<()> {
    let committed: Manifest = serde_json::from_slice(&fs::read(root.join(MANIFEST))?)?;
    let scratch = std::env::temp_dir().join(format!("gro-images-{}", std::process::id()));
    let expected = provenance::expected(root)?;
    let build_in = |name: &str| {
        let tree = scratch.join(name);
        for input in INPUTS {
            copy(&root.join(input), &tree.join(input))?;
        }
        build(toolchain, &tree, &tree.join("out"), &expected)
    };
    let result = (|| {
        // Side by side: a device program is one crate, which keeps one processor busy.
        let (first, second) = thread::scope(|scope| {
            let other = scope.spawn(|| build_in("another/folder"));
            (build_in("a"), other.join())
        });
        let (first, second) = (first?, second.map_err(|_| anyhow!("a build panicked"))??);
        ensure!(first == second, "two builds in different folders differ");
        manifest(toolchain, &first)
    })();
    // What is left in the temporary folder is not worth hiding the result for.
    let _ = fs::remove_dir_all(&scratch);
    let built = result?;
    println!("images: two builds in different folders are identical");
    ensure!(
        built.profiles == committed.profiles && built.source_hash == committed.source_hash,
        "the committed images were built from other sources; run cargo xtask images"
    );
    if built.toolchain != committed.toolchain {
        println!(
            "images: skipped the comparison with the committed ones: built with {:?}",
            committed.toolchain
        );
        return Ok(());
    }
    for (new, old) in built.images.iter().zip(&committed.images) {
        ensure!(new == old, "{}: a rebuild gives other bytes; run cargo xtask images", old.file);
        let bytes = fs::read(root.join(&old.file))?;
        ensure!(hex(&Sha256::digest(&bytes)) == old.sha256, "{}: not the file of {MANIFEST}", old.file);
    }
    println!("images: identical to the committed ones");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_name() != "target" {
                copy(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
    } else {
        fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
        fs::copy(from, to)?;
    }
    Ok(())
}

/// The device workspaces cannot inherit lints; theirs must be the root's.
fn same_lints(root: &Path) -> Result<()> {
    let lints = |file: &str, table: &str| -> Result<Vec<String>> {
        let text = fs::read_to_string(root.join(file))?;
        let mut lines: Vec<String> = Vec::new();
        for kind in ["rust", "clippy"] {
            let start = format!("[{table}.{kind}]");
            let after = text.split_once(&start).with_context(|| format!("{file} has no {start}"))?.1;
            let body = after.split("\n[").next().unwrap_or_default();
            let rules = body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.extend(rules.map(String::from));
        }
        Ok(lines)
    };
    let wanted = lints("Cargo.toml", "workspace.lints")?;
    for file in ["gro-ebpf/program/Cargo.toml", "gro-nic/firmware/Cargo.toml"] {
        if lints(file, "lints")? != wanted {
            bail!("{file}: its lints are not those of the root's Cargo.toml");
        }
    }
    Ok(())
}

/// What the kernel's verifier says of the tc program, and what the NIC image takes of its device.
fn report(built: &Built) -> Result<()> {
    for release in Release::ALL {
        report_of(built, release)?;
    }
    Ok(())
}

fn report_of(built: &Built, release: Release) -> Result<()> {
    let image = gro_nic::Image::parse(file(built, &nic_image(release))?)?;
    for isa in Isa::ALL {
        let Some(member) = image.member(isa) else { continue };
        println!(
            "{}: NIC image, {}: text {} bytes of {}, data {} bytes of {}, stack at most {} bytes",
            release.name(),
            isa.name(),
            member.code.bytes.len(),
            member.memory.imem.size,
            member.data.memory_size,
            member.memory.dmem.size,
            member.memory.stack_bound
        );
    }
    let bound = stack_bound(file(built, &nic_image(release))?)?;
    println!(
        "walked: {} bytes of stack, {} functions, {} instructions; no illegal one and no panic among them",
        bound.bytes, bound.functions, bound.instructions
    );
    verifier(file(built, &tc_object(release))?)
}

#[cfg(target_os = "linux")]
fn verifier(object: &[u8]) -> Result<()> {
    let object = gro_ebpf::Object::from_bytes(object);
    match gro_ebpf::Program::load(&object) {
        Ok(mut program) => {
            let loaded = program.loaded()?;
            let depth = gro_ebpf::Program::stack_depth(&object)?;
            println!(
                "tc program: {} instructions verified of 1,000,000, stack depth {depth} bytes of 512, {} bytes of native code",
                loaded.verified_instructions, loaded.jited
            );
        }
        Err(gro_ebpf::LoadError::Capability) => {
            println!("tc program: not loaded: needs CAP_BPF and CAP_NET_ADMIN")
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn verifier(_: &[u8]) -> Result<()> {
    println!("tc program: not loaded: needs Linux");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_the_firmware_was_not_compiled_with_is_no_image() {
        let image = gro_nic::committed(Release::Linux618);
        let mut sources = source_hash::read(&root().unwrap().join("gro-core")).unwrap();
        carries_its_document(image, &sources).unwrap();
        let refused = |image: &[u8], sources: &source_hash::Sources| {
            let error = carries_its_document(image, sources).unwrap_err();
            assert!(error.to_string().contains("run cargo xtask images again"), "{error}");
        };

        // An image that is sealed over another document than the one in its hash.
        let mut builder = gro_nic::ImageBuilder::from(gro_nic::Image::parse(image).unwrap());
        builder.rules.push(' ');
        refused(&builder.build().unwrap(), &sources);

        // A document that changed while the firmware was compiled.
        sources.get_mut(source_hash::PARSE_GRAPH).unwrap().push(b' ');
        refused(image, &sources);
    }
}

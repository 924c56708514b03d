//! The tool chain of the device programs: found where it is, installed where it may be.
//!
//! Either Debian's `rustc-web` with its prebuilt BPF core and its sources, or a rustup nightly with `rust-src`. Either way
//! `bpf-linker` comes from the crates registry, in the one version that the committed images were linked with.

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSymbol as _};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the committed images were built with; another set builds working images with other bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) rustc: String,
    pub(crate) bpf_linker: String,
    pub(crate) lld: String,
}

/// A tool chain that is ready.
#[derive(Debug)]
pub(crate) struct Toolchain {
    kind: Kind,
    bpf_linker: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// /usr/bin/rustc of Debian's rustc-web.
    Debian,
    /// `cargo +nightly` with rust-src.
    Nightly,
}

/// The device program to build.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Bpf,
    /// The NIC's firmware for a 32-bit core.
    Nic32,
    /// The same for a 64-bit core.
    Nic64,
}

impl Target {
    /// As the compiler names it.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Bpf => "bpfel-unknown-none",
            Self::Nic32 => "riscv32imc-unknown-none-elf",
            Self::Nic64 => "riscv64imac-unknown-none-elf",
        }
    }
}

const PACKAGES: [&str; 6] =
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf", "rust-web-src", "lld-22", "llvm-22"];
/// With qemu-system-riscv32 and -riscv64.
const QEMU: &str = "qemu-system-misc";
const BPF_LINKER: &str = "0.13.0";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

impl Toolchain {
    /// Finds the tool chain, and installs it where this process may (root on a Debian-like system). Says what it does.
    pub(crate) fn ready() -> Result<Self> {
        let kind = match find() {
            Some(kind) => kind,
            None => {
                install_packages()?;
                find().context("the packages are installed, and still there is no device tool chain")?
            }
        };
        let bpf_linker = bpf_linker(kind)?;
        let toolchain = Self { kind, bpf_linker };
        eprintln!("device tool chain: {} ({})", toolchain.rustc_version()?, toolchain.name());
        Ok(toolchain)
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Debian => "Debian rustc-web",
            Kind::Nightly => "rustup nightly",
        }
    }

    /// Versions, for the manifest.
    pub(crate) fn versions(&self) -> Result<Versions> {
        let lld = match self.kind {
            Kind::Debian => first_line(Command::new("ld.lld-22").arg("--version"))?,
            Kind::Nightly => "rust-lld".to_owned(),
        };
        let bpf_linker = first_line(Command::new(&self.bpf_linker).arg("--version"))?;
        Ok(Versions { rustc: self.rustc_version()?, bpf_linker, lld })
    }

    fn rustc_version(&self) -> Result<String> {
        match self.kind {
            Kind::Debian => first_line(Command::new(DEBIAN_RUSTC).arg("--version")),
            Kind::Nightly => first_line(Command::new("rustc").args(["+nightly", "--version"])),
        }
    }

    /// Builds the workspace in `folder`, of the source tree `tree`, into `output`. Paths do not enter the result.
    pub(crate) fn build(&self, target: Target, tree: &Path, folder: &Path, output: &Path) -> Result<()> {
        self.build_with(target, tree, folder, output, (&[], &[]))
    }

    /// The same with more flags of the compiler and more arguments of cargo.
    pub(crate) fn build_with(
        &self,
        target: Target,
        tree: &Path,
        folder: &Path,
        output: &Path,
        (more_flags, more_arguments): (&[&str], &[&str]),
    ) -> Result<()> {
        let home = std::env::var_os("HOME").context("HOME is not set")?;
        let registry =
            std::env::var_os("CARGO_HOME").map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from);
        let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        let mut flags = vec![remap(tree, "/gro"), remap(&registry, "/cargo"), remap(output, "/target")];
        let std = match target {
            Target::Bpf => {
                flags.extend(["-Cdebuginfo=2", "-Clink-arg=--btf", "-Ctarget-cpu=v3"].map(String::from));
                self.kind == Kind::Nightly
            }
            Target::Nic32 | Target::Nic64 => {
                let linker = if self.kind == Kind::Debian { "ld.lld-22" } else { "rust-lld" };
                let script = folder.join("link.ld");
                flags.extend([format!("-Clinker={linker}"), format!("-Clink-arg=-T{}", script.display())]);
                flags.extend(["-Clinker-flavor=ld.lld", "-Crelocation-model=static"].map(String::from));
                if matches!(target, Target::Nic64) {
                    // Its instructions are longer, and instruction memory is not.
                    flags.push("-Copt-level=s".to_owned());
                }
                true
            }
        };

        flags.extend(more_flags.iter().map(|&flag| flag.to_owned()));

        // A clean environment: the variables of the cargo that runs this would pick the wrong rustc.
        let tools = self.bpf_linker.parent().context("bpf-linker has no folder")?;
        let mut command = match self.kind {
            Kind::Debian => Command::new("/usr/bin/cargo"),
            Kind::Nightly => Command::new("cargo"),
        };
        command.env_clear().env("HOME", &home).env("CARGO_HOME", &registry);
        match self.kind {
            Kind::Debian => {
                command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            }
            Kind::Nightly => {
                let path = std::env::var("PATH").unwrap_or_default();
                command.env("PATH", format!("{}:{path}", tools.display())).arg("+nightly");
            }
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command.args(["build", "--quiet", "--release", "--locked", "--target", target.triple()]);
        if std {
            command.arg("-Zbuild-std=core");
        }
        command.args(more_arguments).arg("--target-dir").arg(output).current_dir(folder);
        run(&mut command)
    }

    /// Takes out what depends on the folder of the build: debug information (BTF stays), and the part of symbol names that
    /// hashes where a crate lies.
    pub(crate) fn strip(&self, file: &Path) -> Result<()> {
        let bytes = std::fs::read(file)?;
        let elf = object::File::parse(&*bytes)?;
        let objcopy = if self.kind == Kind::Debian { "llvm-objcopy-22" } else { "llvm-objcopy" };
        let mut command = Command::new(objcopy);
        command.arg("-g");
        for symbol in elf.symbols() {
            let name = symbol.name()?;
            let plain = format!("{:#}", rustc_demangle::demangle(name));
            if plain != name {
                command.arg(format!("--redefine-sym={name}={plain}"));
            }
        }
        run(command.arg(file))
    }
}

fn find() -> Option<Kind> {
    let debian = Path::new(DEBIAN_RUSTC).is_file()
        && Path::new("/usr/lib/rustlib/bpfel-unknown-none").is_dir()
        && Path::new("/usr/lib/rustlib/src/rust/library/core").exists()
        && Path::new("/usr/bin/llvm-objcopy-22").exists()
        && Path::new("/usr/bin/ld.lld-22").exists();
    if debian {
        return Some(Kind::Debian);
    }
    let sources = nightly_sysroot()?.join("lib/rustlib/src/rust/library/core");
    sources.is_dir().then_some(Kind::Nightly)
}

fn nightly_sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn install_packages() -> Result<()> {
    if !may_install() {
        bail!(
            "no device tool chain: install the Debian packages {}, or `rustup toolchain install nightly -c rust-src`",
            PACKAGES.join(" ")
        );
    }
    apt_install(&PACKAGES)
}

/// Installs QEMU, a referee of the NIC, where it is missing and this process may. Without it its tests and backends say that they are
/// skipped.
pub(crate) fn qemu_ready() -> Result<()> {
    let is_there =
        |program| Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
    if ["qemu-system-riscv32", "qemu-system-riscv64"].into_iter().all(is_there) {
        return Ok(());
    }
    ensure!(may_install(), "no QEMU: install the Debian package {QEMU}");
    apt_install(&[QEMU])
}

/// Installs Debian packages; see [`may_install`].
pub(crate) fn apt_install(packages: &[&str]) -> Result<()> {
    eprintln!("installing Debian packages: {}", packages.join(" "));
    apt(&["update", "-q"])?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

/// Whether this process is root on a system with apt.
pub(crate) fn may_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && Path::new("/usr/bin/apt-get").is_file()
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    // Progress goes to standard error, like everything that is not a result.
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
    run(&mut command)
}

/// Finds bpf-linker in the project's tool cache, and builds it there when it is missing (a minute or two).
fn bpf_linker(kind: Kind) -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let root = cache.join("gro-tools").join(format!("bpf-linker-{BPF_LINKER}"));
    let binary = root.join("bin/bpf-linker");
    if binary.is_file() {
        return Ok(binary);
    }
    eprintln!("building bpf-linker {BPF_LINKER} into {}", root.display());
    let mut command = match kind {
        Kind::Debian => {
            // The linker wants an LLVM prefix with an unversioned library name.
            let library = root.join("llvm/lib");
            std::fs::create_dir_all(&library)?;
            let link = library.join("libLLVM.so");
            if !link.exists() {
                symlink(Path::new("/usr/lib/x86_64-linux-gnu/libLLVM.so.22.1"), &link)?;
            }
            let mut command = Command::new("/usr/bin/cargo");
            command.env_clear().env("PATH", "/usr/bin:/bin").env("LLVM_PREFIX", root.join("llvm"));
            command.envs(
                ["HOME", "CARGO_HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))),
            );
            command
        }
        Kind::Nightly => {
            let mut command = Command::new("cargo");
            command.arg("+nightly");
            command
        }
    };
    command.args(["install", "--quiet", "bpf-linker", "--version", BPF_LINKER, "--locked"]);
    if kind == Kind::Debian {
        command.args(["--no-default-features", "--features", "llvm-22"]);
    }
    command.arg("--root").arg(&root);
    run(&mut command)?;
    ensure!(binary.is_file(), "cargo install left no {}", binary.display());
    Ok(binary)
}

#[cfg(unix)]
fn symlink(original: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(original, link)
}

#[cfg(not(unix))]
fn symlink(original: &Path, link: &Path) -> std::io::Result<()> {
    std::fs::copy(original, link).map(drop)
}

/// Runs a command to its end; an error names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// The first line that a command prints; an error names it.
pub(crate) fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}

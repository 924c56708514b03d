//! The board that QEMU has: which core, what is in its RAM, and the command that makes it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::rom::{self, Grant};
use super::shared::{self, Shared};
use crate::abi::memory;
use crate::image::{Image, Isa, MemoryMap, Segment};
use tempfile::NamedTempFile;

/// First address of the board's RAM, and of the mapping.
const RAM_BASE: u32 = memory::IMEM_BASE;
/// Bytes of it. QEMU puts its device tree near the end, which must be above the register page.
const RAM_SIZE: usize = 1 << 30;

/// What QEMU calls the cores of an instruction set.
pub(super) trait Guest: Copy {
    /// The program that emulates it.
    fn emulator(self) -> &'static str;
    /// A core that has this instruction set, user mode and memory protection, and nothing else.
    fn cpu(self) -> &'static str;
    /// Bytes of a register.
    fn bytes(self) -> usize;
}

impl Guest for Isa {
    fn emulator(self) -> &'static str {
        match self {
            Self::Rv32imc => "qemu-system-riscv32",
            Self::Rv64imac => "qemu-system-riscv64",
        }
    }

    fn cpu(self) -> &'static str {
        match self {
            Self::Rv32imc => "rv32,a=off,f=off,d=off,Zifencei=off,zba=off,zbb=off,zbc=off,zbs=off",
            Self::Rv64imac => "rv64,f=off,d=off,Zifencei=off,zba=off,zbb=off,zbc=off,zbs=off",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Rv32imc => 4,
            Self::Rv64imac => 8,
        }
    }
}

/// What is loaded.
#[derive(Clone, Debug)]
pub struct Program {
    /// For which cores.
    pub isa: Isa,
    /// Address of the first instruction.
    pub entry: u32,
    /// Goes to instruction memory.
    pub code: Segment,
    /// Goes to data memory.
    pub data: Segment,
    /// Memories and stack pointer.
    pub memory: MemoryMap,
}

impl Program {
    /// The program of an image for an instruction set; `None` where the image has none.
    pub fn of(image: &Image, isa: Isa) -> Option<Self> {
        let member = image.member(isa)?;
        Some(Self { isa, entry: image.entry, code: member.code, data: member.data, memory: member.memory })
    }
}

/// Where an address of the board lies in its RAM.
pub(super) fn place(address: u32) -> usize {
    address.wrapping_sub(RAM_BASE) as usize
}

/// RAM with the program and our ROM in it.
pub(super) fn load(program: &Program) -> io::Result<(NamedTempFile, Shared)> {
    let file = shared::create(RAM_SIZE as u64)?;
    let ram = Shared::map(file.as_file(), RAM_SIZE)?;
    let MemoryMap { imem, dmem, packet, stack_top, .. } = program.memory;
    let grant = |base, size, write, execute| Grant { base, size, write, execute };
    let device = memory::MMIO_DEVICE;
    let grants = [
        grant(imem.base, imem.size, false, true),
        grant(dmem.base, dmem.size, true, false),
        grant(packet.base, packet.size, true, false),
        grant(memory::MMIO_BASE, device, false, false),
        grant(memory::MMIO_BASE + device, memory::MMIO_SIZE - device, true, false),
    ];
    for segment in [&program.code, &program.data] {
        ram.write(place(segment.address), &segment.bytes);
    }
    ram.write(place(rom::BASE), &rom::rom(program.isa, stack_top, &grants));
    Ok((file, ram))
}

/// QEMU with the board as it is needed, and nothing else on it.
pub(super) fn command(isa: Isa, ram: &NamedTempFile) -> Command {
    let mut command = Command::new(isa.emulator());
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"]);
    command.args(["-M", "virt,memory-backend=ram", "-bios", "none", "-cpu", isa.cpu(), "-smp", "1"]);
    let path = ram.path().display();
    let backend = format!("memory-backend-file,id=ram,size={RAM_SIZE},share=on,mem-path={path}");
    command.args(["-m".to_owned(), format!("{}M", RAM_SIZE >> 20), "-object".to_owned(), backend]);
    // One instruction is one nanosecond of the guest's time: that makes counter and timer exact.
    command.args(["-icount", "shift=0"]);
    command.args(["-chardev", "stdio,id=bell,signal=off", "-serial", "chardev:bell"]);
    command.args(["-device", &format!("loader,addr={:#x},cpu-num=0", rom::BASE)]);
    // SAFETY: the call is one that a child may make between `fork` and `exec`.
    unsafe {
        command.pre_exec(|| {
            // A host that is killed cannot end its guest.
            match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    command
}

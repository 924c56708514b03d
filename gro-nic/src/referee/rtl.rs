//! A processor core in RTL that runs an image, as a child process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use thiserror::Error;

use super::{SharedMemory, tools};
use crate::abi::memory::{MMIO_BASE, MMIO_DEVICE, MMIO_SIZE};
use crate::image::{Image, MemoryMap, Region};
use crate::machine::{Core, CoreError, Fault, Stop, Trap, WaitStates};

/// Which core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtlCore {
    /// OpenHW CV32E40P, rv32imc, four stages; PsPIN's core.
    Cv32e40p,
    /// lowRISC Ibex, rv32imc, three stages with branch target ALU and single-cycle multiplier.
    Ibex,
}

impl RtlCore {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Cv32e40p, Self::Ibex];

    /// Name of the core and of its executable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cv32e40p => "cv32e40p",
            Self::Ibex => "ibex",
        }
    }
}

/// Why a core in RTL does not run.
#[derive(Debug, Error)]
pub enum RtlError {
    /// Not built.
    #[error("no {0} referee in the tool cache; build it with `cargo xtask referee --build`")]
    Missing(&'static str),
    /// The process cannot be started, or its memories not be shared.
    #[error("cannot run {path}: {error}")]
    Start {
        /// The executable.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

/// A core in RTL with an image loaded and its memories in a shared file. The process ends with this value.
#[derive(Debug)]
pub struct Rtl {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    memory: SharedMemory,
    map: MemoryMap,
    instructions: u64,
    cycles: u64,
    /// Why a write to the memories failed.
    lost: Option<String>,
}

impl Rtl {
    /// Starts `core` with `image` loaded, about to execute its entry. Packet memory and registers answer after `wait`.
    ///
    /// # Errors
    /// The core is not built, or its process does not start.
    pub fn new(core: RtlCore, image: &Image, wait: WaitStates) -> Result<Self, RtlError> {
        let path = tools::executable(core).filter(|path| path.is_file());
        Self::with_executable(&path.ok_or(RtlError::Missing(core.name()))?, image, wait)
    }

    /// The same with an executable that lies elsewhere.
    ///
    /// # Errors
    /// Its process does not start.
    pub fn with_executable(path: &Path, image: &Image, wait: WaitStates) -> Result<Self, RtlError> {
        let failed = |error| RtlError::Start { path: path.to_owned(), error };
        let memory = SharedMemory::new(image).map_err(failed)?;
        let region =
            |name, region: Region, wait: u32| format!("{name}={:#x},{:#x},{wait}", region.base, region.size);
        let registers = Region { base: MMIO_BASE, size: MMIO_SIZE, wait_states: 0 };
        let mut child = Command::new(path)
            .arg(memory.path())
            .arg(format!("entry={:#x}", image.entry))
            .arg(format!("stack={:#x}", image.memory.stack_top))
            .arg(region("imem", image.memory.imem, image.memory.imem.wait_states))
            .arg(region("dmem", image.memory.dmem, image.memory.dmem.wait_states))
            .arg(region("packet", image.memory.packet, wait.packet))
            .arg(region("registers", registers, wait.registers))
            .arg(format!("device={MMIO_DEVICE:#x}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(std::io::Error::other("no pipes")));
        };
        let output = BufReader::new(output);
        let map = image.memory;
        Ok(Self { child, input, output, memory, map, instructions: 0, cycles: 0, lost: None })
    }

    /// Sends a command and reads its answer.
    fn ask(&mut self, budget: u64) -> Result<Answer, CoreError> {
        let mut line = String::new();
        let talk = writeln!(self.input, "run {budget}").and_then(|()| self.output.read_line(&mut line));
        match talk {
            Ok(0) => Err(CoreError::Gone("the referee ended".to_owned())),
            Err(error) => Err(CoreError::Gone(format!("the referee ended: {error}"))),
            Ok(_) => Answer::parse(&line)
                .ok_or_else(|| CoreError::Gone(format!("the referee said `{}`", line.trim_end()))),
        }
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        if let Err(error) = self.memory.write(address, bytes) {
            self.lost.get_or_insert(error.to_string());
        }
    }
}

impl Core for Rtl {
    fn run(&mut self, budget: u64) -> Result<Stop, CoreError> {
        if let Some(error) = &self.lost {
            return Err(CoreError::Gone(format!("its memory cannot be written: {error}")));
        }
        let answer = self.ask(budget)?;
        self.instructions = answer.instructions;
        self.cycles = answer.cycles;
        match answer.how {
            How::Stopped(stop) => Ok(stop),
            How::Trapped(pc, fault) => Err(Trap { pc, fault }.into()),
            How::Excepted(pc) => {
                let word = self.memory.word(pc).map_err(|error| CoreError::Gone(error.to_string()))?;
                Err(Trap { pc, fault: Fault::Illegal { word } }.into())
            }
        }
    }

    fn register(&self, offset: u32) -> u32 {
        if offset < MMIO_SIZE { self.memory.word(MMIO_BASE + offset).unwrap_or(0) } else { 0 }
    }

    fn set_register(&mut self, offset: u32, value: u32) {
        if offset < MMIO_SIZE {
            self.write(MMIO_BASE + offset, &value.to_le_bytes());
        }
    }

    fn read_packet(&self, offset: u32, bytes: &mut [u8]) {
        read(&self.memory, self.map.packet, offset, bytes);
    }

    fn write_packet(&mut self, offset: u32, bytes: &[u8]) {
        if within(self.map.packet, offset, bytes.len()) {
            self.write(self.map.packet.base + offset, bytes);
        }
    }

    fn read_data(&self, offset: u32, bytes: &mut [u8]) {
        read(&self.memory, self.map.dmem, offset, bytes);
    }

    fn read_code(&self, offset: u32, bytes: &mut [u8]) {
        read(&self.memory, self.map.imem, offset, bytes);
    }

    fn instructions(&self) -> u64 {
        self.instructions
    }

    /// From the issue (CV32E40P) or retirement (Ibex) of the image's first instruction on.
    fn cycles(&self) -> Option<u64> {
        Some(self.cycles)
    }
}

fn within(region: Region, offset: u32, count: usize) -> bool {
    u64::from(offset) + count as u64 <= u64::from(region.size)
}

/// A file that cannot be read reads as zero, which no device says of itself.
fn read(memory: &SharedMemory, region: Region, offset: u32, bytes: &mut [u8]) {
    bytes.fill(0);
    if within(region, offset, bytes.len()) && memory.read(region.base + offset, bytes).is_err() {
        bytes.fill(0);
    }
}

impl Drop for Rtl {
    fn drop(&mut self) {
        // It would end by itself with its input; this way nobody waits for a core in an endless loop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line from the bench; `gro-nic/rtl/bench.cpp` says what it may be.
pub(super) struct Answer {
    how: How,
    instructions: u64,
    cycles: u64,
}

enum How {
    Stopped(Stop),
    Trapped(u32, Fault),
    /// An exception of the core, by whatever the instruction there is.
    Excepted(u32),
}

impl Answer {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let how = words.next()?;
        let instructions = words.next()?.parse().ok()?;
        let cycles = words.next()?.parse().ok()?;
        let how = match how {
            "waiting" => How::Stopped(Stop::Waiting),
            "budget" => How::Stopped(Stop::Budget),
            "trap" => {
                let pc = number(words.next()?)?;
                let reason = words.next()?;
                let mut access = || Some((number(words.next()?)?, number(words.next()?)?));
                match reason {
                    "fetch" => How::Trapped(pc, Fault::Fetch),
                    "load" => {
                        access().map(|(address, size)| How::Trapped(pc, Fault::Load { address, size }))?
                    }
                    "store" => {
                        access().map(|(address, size)| How::Trapped(pc, Fault::Store { address, size }))?
                    }
                    "misaligned" => access()
                        .map(|(address, size)| How::Trapped(pc, Fault::Misaligned { address, size }))?,
                    "exception" => How::Excepted(pc),
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some(Self { how, instructions, cycles })
    }
}

fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

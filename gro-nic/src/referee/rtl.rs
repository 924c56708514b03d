//! A processor core in RTL that runs an image, as a child process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use thiserror::Error;

use super::{SharedMemory, tools};
use crate::abi::memory::{MMIO_BASE, MMIO_DEVICE, MMIO_SIZE};
use crate::image::{Image, Region};
use crate::machine::{Fault, Trap, WaitStates};

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
    /// It is not built.
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
    /// The process ended, or cannot be talked to.
    #[error("the referee is gone: {0}")]
    Gone(#[from] std::io::Error),
    /// It said what is not of its protocol.
    #[error("the referee answered `{0}`")]
    Answer(String),
    /// The program broke a rule.
    #[error("{0}")]
    Trap(#[from] Trap),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// In `wfi`.
    Waiting,
    /// With the budget.
    Budget,
}

/// A core in RTL with an image loaded and its memories in a shared file. The process ends with this value.
#[derive(Debug)]
pub struct Rtl {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    memory: SharedMemory,
    instructions: u64,
    cycles: u64,
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
        Ok(Self { child, input, output, memory, instructions: 0, cycles: 0 })
    }

    /// Runs until the program waits (`wfi`) or has retired `budget` instructions more.
    ///
    /// # Errors
    /// The program broke a rule, or the process is gone.
    pub fn run(&mut self, budget: u64) -> Result<Stop, RtlError> {
        writeln!(self.input, "run {budget}")?;
        self.input.flush()?;
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(RtlError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let answer = Answer::parse(&line).ok_or_else(|| RtlError::Answer(line.trim_end().to_owned()))?;
        self.instructions = answer.instructions;
        self.cycles = answer.cycles;
        match answer.how {
            How::Stopped(stop) => Ok(stop),
            How::Trapped(pc, fault) => Err(Trap { pc, fault }.into()),
            How::Excepted(pc) => {
                let fault = Fault::Illegal { word: self.memory.word(pc)? };
                Err(Trap { pc, fault }.into())
            }
        }
    }

    /// The device's memories.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Instructions retired since the image's entry.
    pub fn instructions(&self) -> u64 {
        self.instructions
    }

    /// Cycles since the image's first instruction was issued (CV32E40P) or retired (Ibex), without those asleep.
    pub fn cycles(&self) -> u64 {
        self.cycles
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
struct Answer {
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
    fn parse(line: &str) -> Option<Self> {
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

//! QEMU as a core: the image's code and data, as they are, on `qemu-system-riscv32` or `-riscv64` and the board `virt`.
//!
//! The guest runs on a thread of its own in another process. Its RAM is a file that this process has mapped too, so that driver
//! and firmware share packet memory and registers live, as over a bus. Both halves of a doorbell are a byte on the board's
//! serial port: the ROM sends one when the firmware waits, and a core that waits is halted until the host sends one back.
//!
//! The image runs in user mode under a ROM of ours (`rom`), whose memory protection grants what the simulated bus grants:
//! code is not written, data is not executed, the host's registers are read only, and nothing else is there. `wfi` and any
//! fault end in the ROM, which says how many instructions were retired (QEMU counts exactly with `-icount`), and its own are taken
//! off. So the core has waited or not: nothing is guessed from time, and no idle poll is counted. Two rules of the simulator QEMU
//! does not know: it carries out misaligned accesses, and accesses to registers of less than a word.

mod board;
mod rom;
mod shared;
#[cfg(test)]
mod tests;

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::abi::memory;
pub use crate::image::Isa;
use crate::image::MemoryMap;
use crate::machine::{Core, CoreError, Fault, Stop, Trap};
use board::Guest as _;
pub use board::Program;
use board::place;
use rom::mailbox;
use shared::Shared;

/// Longest time to wait for QEMU to start, and for what it does beside running the guest.
const PATIENCE: Duration = Duration::from_secs(20);
/// Instructions a second that QEMU is always faster than; measured are 50 million.
const SLOWEST: u64 = 2_000_000;

/// Why QEMU does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The program is not there.
    #[error("{0} is not installed")]
    NotInstalled(&'static str),
    /// The system refused something.
    #[error("cannot start QEMU: {0}")]
    System(#[from] io::Error),
    /// It ended or did not come to our ROM.
    #[error(transparent)]
    Core(#[from] CoreError),
}

/// A core that QEMU runs. The process ends with this value, and with the thread that made it.
#[derive(Debug)]
pub struct Qemu {
    isa: Isa,
    map: MemoryMap,
    ram: Shared,
    process: Child,
    /// The board's serial port.
    bell: UnixStream,
    state: State,
    retired: u64,
}

/// What the guest does.
#[derive(Clone, Copy, Debug)]
enum State {
    /// It is in the ROM and goes on at this address.
    Parked {
        resume: u32,
    },
    Running,
    /// It broke a rule.
    Trapped(Trap),
}

impl Qemu {
    /// Starts QEMU with `program` loaded, about to execute its entry; memories are zero where the program says nothing.
    ///
    /// # Errors
    /// QEMU is not installed, or this version of it does not have what is needed.
    pub fn new(program: &Program) -> Result<Self, StartError> {
        let Program { isa, entry, memory: map, .. } = *program;
        let (file, ram) = board::load(program)?;
        let (bell, serial) = UnixStream::pair()?;
        let mut command = board::command(isa, &file);
        let ends: [OwnedFd; 2] = [serial.try_clone()?.into(), serial.into()];
        let [input, output] = ends.map(Stdio::from);
        command.stdin(input).stdout(output).stderr(Stdio::piped());
        let spawned = command.spawn();
        // Its copies of QEMU's end of the serial port would keep that open.
        drop(command);
        let process = match spawned {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StartError::NotInstalled(isa.emulator()));
            }
            spawned => spawned?,
        };
        let state = State::Running;
        let mut qemu = Self { isa, map, ram, process, bell, state, retired: 0 };
        if !qemu.hear(PATIENCE)? {
            return Err(CoreError::Gone(format!("{} does not start", isa.emulator())).into());
        }
        qemu.state = State::Parked { resume: entry };
        Ok(qemu)
    }

    /// Lets a guest that waits go on, for `budget` instructions. Until [`Qemu::wait`] says that it stopped, it runs beside the
    /// caller, who may ring doorbells, post and take.
    ///
    /// # Errors
    /// The program has broken a rule, or QEMU has ended.
    pub fn resume(&mut self, budget: u64) -> Result<(), CoreError> {
        match self.state {
            State::Trapped(trap) => Err(trap.into()),
            State::Running => Ok(()),
            State::Parked { resume } => {
                let ticks = budget.div_ceil(rom::TICK).saturating_add(2).min(1 << 48);
                self.set_mail(mailbox::RESUME, u64::from(resume));
                self.set_mail(mailbox::BUDGET, ticks);
                if self.bell.write_all(&[0]).is_err() {
                    return Err(self.gone());
                }
                self.state = State::Running;
                Ok(())
            }
        }
    }

    /// Waits for a guest that runs to stop, at most for `time`; `None` if it still runs.
    ///
    /// # Errors
    /// As [`Qemu::resume`].
    pub fn wait(&mut self, time: Duration) -> Result<Option<Stop>, CoreError> {
        match self.state {
            State::Trapped(trap) => return Err(trap.into()),
            State::Parked { .. } => return Ok(Some(Stop::Waiting)),
            State::Running => {}
        }
        if !self.hear(time)? {
            return Ok(None);
        }
        let count = self.mail_word(mailbox::LEFT).wrapping_sub(self.mail_word(mailbox::ENTERED));
        self.retired += u64::from(count.wrapping_sub(rom::OVERHEAD));
        let (cause, pc, value) =
            (self.mail(mailbox::CAUSE), self.mail(mailbox::PC) as u32, self.mail(mailbox::VALUE) as u32);
        let interrupt = 1 << (8 * self.isa.bytes() - 1);
        let word = self.code_word(pc);
        let (stop, resume) = match cause {
            ILLEGAL if word == rom::WFI => {
                // It is an instruction that was retired, as any other.
                self.retired += 1;
                (Stop::Waiting, pc.wrapping_add(4))
            }
            cause if cause == interrupt | TIMER_INTERRUPT => (Stop::Budget, pc),
            cause => {
                // Not retired, but counted: calls, breakpoints and what QEMU does not decode.
                let decoded = word & 0x7f == SYSTEM;
                self.retired -= u64::from(matches!(cause, BREAKPOINT | CALL) || cause == ILLEGAL && !decoded);
                let trap = Trap { pc, fault: self.fault(cause, value, word)? };
                self.state = State::Trapped(trap);
                return Err(trap.into());
            }
        };
        self.state = State::Parked { resume };
        Ok(Some(stop))
    }

    /// What a trap means in the words of the simulator.
    fn fault(&mut self, cause: u64, address: u32, word: u32) -> Result<Fault, CoreError> {
        Ok(match cause {
            0 | FETCH => Fault::Fetch,
            // Breakpoint and call are instructions that the device does not have.
            ILLEGAL | BREAKPOINT | CALL => Fault::Illegal { word },
            LOAD => Fault::Load { address, size: access_size(word) },
            STORE => Fault::Store { address, size: access_size(word) },
            4 | 6 => Fault::Misaligned { address, size: access_size(word) },
            cause => return Err(CoreError::Gone(format!("QEMU reports a trap of cause {cause:#x}"))),
        })
    }

    /// Waits for the ROM's byte. Whether it came.
    fn hear(&mut self, time: Duration) -> Result<bool, CoreError> {
        let end = Instant::now() + time;
        loop {
            // A time of zero means to look only, which a socket says otherwise.
            let left = end.saturating_duration_since(Instant::now());
            let prepared = self.bell.set_nonblocking(left.is_zero()).and_then(|()| match left.is_zero() {
                true => Ok(()),
                false => self.bell.set_read_timeout(Some(left)),
            });
            if prepared.is_err() {
                return Err(self.gone());
            }
            match self.bell.read(&mut [0]) {
                Ok(1) => return Ok(true),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return Err(self.gone()),
            }
        }
    }

    /// QEMU's end, in its own words.
    fn gone(&mut self) -> CoreError {
        // Its end of the serial port is closed, so it has ended or can do nothing any more.
        let _ = self.process.kill();
        let status = self.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let mut words = String::new();
        if let Some(stderr) = &mut self.process.stderr {
            // Words are better than none, even if they are cut.
            let _ = stderr.read_to_string(&mut words);
        }
        CoreError::Gone(format!("{} ended with {status}. {}", self.isa.emulator(), words.trim()))
    }

    fn mail(&self, offset: u32) -> u64 {
        let mut bytes = [0; 8];
        self.ram.read(place(rom::BASE + offset), &mut bytes[..self.isa.bytes()]);
        u64::from_le_bytes(bytes)
    }

    fn mail_word(&self, offset: u32) -> u32 {
        self.ram.word(place(rom::BASE + offset))
    }

    fn set_mail(&self, offset: u32, value: u64) {
        self.ram.write(place(rom::BASE + offset), &value.to_le_bytes());
    }

    /// The instruction at `pc`, with the half word behind it if it is short; 0 where no instruction memory is.
    fn code_word(&self, pc: u32) -> u32 {
        let mut bytes = [0; 4];
        let offset = pc.wrapping_sub(self.map.imem.base);
        let left = self.map.imem.size.saturating_sub(offset).min(4);
        self.read_code(offset, &mut bytes[..left as usize]);
        u32::from_le_bytes(bytes)
    }

    fn read(&self, (base, size): (u32, u32), offset: u32, bytes: &mut [u8]) {
        if fits(size, offset, bytes.len()) {
            self.ram.read(place(base + offset), bytes);
        } else {
            bytes.fill(0);
        }
    }
}

impl Core for Qemu {
    /// The budget is kept to within 300 instructions, upwards. It is what ends a firmware that never
    /// waits; a QEMU that does not keep it is given up after a time that is far beyond it.
    fn run(&mut self, budget: u64) -> Result<Stop, CoreError> {
        self.resume(budget)?;
        let patience = PATIENCE + Duration::from_secs(budget / SLOWEST);
        match self.wait(patience)? {
            Some(stop) => Ok(stop),
            None => {
                let _ = self.process.kill();
                Err(CoreError::Gone(format!("no sign of life for {} s", patience.as_secs())))
            }
        }
    }

    fn register(&self, offset: u32) -> u32 {
        if fits(memory::MMIO_SIZE, offset, 4) { self.ram.word(place(memory::MMIO_BASE + offset)) } else { 0 }
    }

    fn set_register(&mut self, offset: u32, value: u32) {
        if fits(memory::MMIO_SIZE, offset, 4) {
            self.ram.set_word(place(memory::MMIO_BASE + offset), value);
        }
    }

    fn read_packet(&self, offset: u32, bytes: &mut [u8]) {
        self.read((self.map.packet.base, self.map.packet.size), offset, bytes);
    }

    fn write_packet(&mut self, offset: u32, bytes: &[u8]) {
        if fits(self.map.packet.size, offset, bytes.len()) {
            self.ram.write(place(self.map.packet.base + offset), bytes);
        }
    }

    fn read_data(&self, offset: u32, bytes: &mut [u8]) {
        self.read((self.map.dmem.base, self.map.dmem.size), offset, bytes);
    }

    fn read_code(&self, offset: u32, bytes: &mut [u8]) {
        self.read((self.map.imem.base, self.map.imem.size), offset, bytes);
    }

    /// As of the last time the guest stopped.
    fn instructions(&self) -> u64 {
        self.retired
    }

    fn cycles(&self) -> Option<u64> {
        None
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Values of `mcause`.
const FETCH: u64 = 1;
const ILLEGAL: u64 = 2;
const BREAKPOINT: u64 = 3;
const LOAD: u64 = 5;
const STORE: u64 = 7;
const CALL: u64 = 8;
const TIMER_INTERRUPT: u64 = 7;
/// Opcode of CSR access and the like.
const SYSTEM: u32 = 0x73;

fn fits(size: u32, offset: u32, length: usize) -> bool {
    (offset as usize).checked_add(length).is_some_and(|end| end <= size as usize)
}

/// Bytes that a load or store moves.
fn access_size(word: u32) -> u32 {
    match word & 3 {
        3 => 1 << (word >> 12 & 3),
        _ => 1 << (2 + (word >> 13 & 1)),
    }
}

//! The device: what one lane of the card is to its host, a window of registers and packet memory behind a bus.
//!
//! A lane has a core with its memories, a boot ROM that loads images into it (`boot`), and a port that puts frames into its RX ring
//! (`port`). The registers of the window's first and last part are the core's page; those in `abi::bar` are the card's own.

mod boot;
mod port;

use std::fmt;

pub use boot::load_status;
use port::Port;
pub use port::{Arrival, Buffers, Frame};

use crate::abi::{self, bar, core_state, load, memory, register};
use crate::image::Image;
use crate::machine::{Core, CoreError, Machine, Stop};

/// Number of instruction set rv32imc in an image's section table.
const RV32IMC: u32 = 1;

/// Makes a core in reset, with an image loaded.
type Socket<C> = Box<dyn FnMut(&Image) -> Result<C, CoreError> + Send>;

/// One lane of a card.
pub struct Device<C: Core = Machine> {
    place: Place<C>,
    socket: Option<Socket<C>>,
    /// What is loaded.
    image: Option<Image>,
    /// The core has run since its memories were as after the load.
    used: bool,
    measurement: [u8; 32],
    state: u32,
    stop_pc: u32,
    image_address: u32,
    image_size: u32,
    load_status: u32,
    lane: u32,
    lanes: u32,
    timer: u64,
    port: Port,
    indirection: [u8; bar::INDIRECTION_SIZE as usize],
}

/// Where packet memory is: before the first load there is no program that a core could run.
enum Place<C> {
    Empty(Vec<u8>),
    Core(C),
}

impl Device {
    /// A lane with a simulated core, as it is after power-on.
    pub fn simulated() -> Self {
        Self::new(Box::new(|image| Ok(Machine::new(image))))
    }
}

impl<C: Core> Device<C> {
    /// A lane as it is after power-on: no image, nothing runs. `socket` makes a core with an image in its memories, about to execute
    /// the entry.
    pub fn new(socket: Socket<C>) -> Self {
        Self::of(Place::Empty(vec![0; memory::PACKET_SIZE as usize]), Some(socket))
    }

    /// A lane whose core was loaded with `image` by other means and has not run yet. It cannot be loaded again.
    pub fn preloaded(core: C, image: &Image) -> Self {
        let mut device = Self::of(Place::Core(core), None);
        device.loaded(image.clone());
        device
    }

    fn of(place: Place<C>, socket: Option<Socket<C>>) -> Self {
        Self {
            place,
            socket,
            image: None,
            used: false,
            measurement: [0; 32],
            state: core_state::EMPTY,
            stop_pc: 0,
            image_address: 0,
            image_size: 0,
            load_status: load::NONE,
            lane: 0,
            lanes: 1,
            timer: 0,
            port: Port::default(),
            indirection: [0; bar::INDIRECTION_SIZE as usize],
        }
    }

    /// Says which lane of how many it is.
    #[must_use]
    pub fn as_lane(mut self, lane: u32, lanes: u32) -> Self {
        (self.lane, self.lanes) = (lane, lanes);
        for (index, entry) in self.indirection.iter_mut().enumerate() {
            *entry = (index as u32 % lanes.max(1)) as u8;
        }
        self
    }

    /// The register at byte `offset` of the window; 0 where none is.
    pub fn read(&self, offset: u32) -> u32 {
        if (bar::START..bar::END).contains(&offset) {
            return self.read_own(offset & !3);
        }
        match &self.place {
            // The port's own copy: where the page is plain memory, a core could have written it.
            _ if offset == register::RX_PRODUCER => self.port.posted,
            Place::Empty(_) => 0,
            Place::Core(core) => core.register(offset),
        }
    }

    /// A 64-bit register of the card.
    pub fn read_wide(&self, offset: u32) -> u64 {
        u64::from(self.read(offset)) | u64::from(self.read(offset + 4)) << 32
    }

    /// The 32 bytes at `offset` of the window.
    pub fn read_hash(&self, offset: u32) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (at, place) in (offset..).step_by(4).zip(bytes.as_chunks_mut::<4>().0) {
            *place = self.read(at).to_le_bytes();
        }
        bytes
    }

    fn read_own(&self, offset: u32) -> u32 {
        let half = |register: u32, value: u64| (value >> (8 * (offset - register))) as u32;
        let port = &self.port;
        match offset {
            bar::MAGIC => bar::MAGIC_VALUE,
            bar::ABI => abi::ABI,
            bar::ISA => 1 << RV32IMC,
            bar::IMEM => memory::IMEM_SIZE,
            bar::DMEM => memory::DMEM_SIZE,
            bar::PACKET => memory::PACKET_SIZE,
            bar::LANES => self.lanes,
            bar::SLOTS => 1,
            bar::LANE => self.lane,
            bar::IMAGE_ADDRESS => self.image_address,
            bar::IMAGE_SIZE => self.image_size,
            bar::LOAD_STATUS => self.load_status,
            bar::CONTROL => u32::from(self.state >= core_state::RUNNING),
            bar::CORE_STATE => self.state,
            bar::STOP_PC => self.stop_pc,
            bar::TIMER..bar::INSTRET => half(bar::TIMER, self.timer),
            bar::INSTRET..bar::FREE_POST => half(bar::INSTRET, self.instructions()),
            bar::FREE_COUNT => port.free.len() as u32,
            bar::EVENT_ARGUMENT => port.event_argument,
            bar::EVENT => port.event.map_or(0, |words| words[0]),
            bar::FLOW_CONTROL => u32::from(port.flow_control),
            bar::IMAGE_ID..bar::MEASUREMENT => {
                let id = self.image.as_ref().map_or([0; 32], |image| image.id);
                word(&id, offset - bar::IMAGE_ID)
            }
            bar::MEASUREMENT..bar::FRAMES => word(&self.measurement, offset - bar::MEASUREMENT),
            bar::FRAMES..bar::BYTES => half(bar::FRAMES, port.frames),
            bar::BYTES..bar::DROPS_RING => half(bar::BYTES, port.bytes),
            bar::DROPS_RING..bar::DROPS_BUFFER => half(bar::DROPS_RING, port.drops_ring),
            bar::DROPS_BUFFER..bar::PAUSES => half(bar::DROPS_BUFFER, port.drops_buffer),
            bar::PAUSES..bar::STALLS => half(bar::PAUSES, port.pauses),
            bar::STALLS => self.read(register::STALLS),
            bar::INDIRECTION.. => word(&self.indirection, offset - bar::INDIRECTION),
            _ => 0,
        }
    }

    /// Writes the register at byte `offset` of the window. What the card or the firmware says is not changed by it.
    pub fn write(&mut self, offset: u32, value: u32) {
        match offset {
            bar::IMAGE_ADDRESS => self.image_address = value,
            bar::IMAGE_SIZE => self.image_size = value,
            bar::UPDATE => self.load_status = self.update(),
            bar::CONTROL => self.control(value & bar::RUN != 0),
            bar::FREE_POST => self.port.free.push(value as u16),
            bar::EVENT_ARGUMENT => self.port.event_argument = value,
            bar::FLOW_CONTROL => self.port.flow_control = value != 0,
            bar::EVENT => {
                if let Place::Core(core) = &mut self.place {
                    self.port.event(core, value);
                }
            }
            bar::INDIRECTION..bar::END => {
                let at = (offset & !3).wrapping_sub(bar::INDIRECTION) as usize;
                if let Some(place) = self.indirection.get_mut(at..at + 4) {
                    place.copy_from_slice(&value.to_le_bytes());
                }
            }
            // The port's own.
            register::RX_PRODUCER => {}
            offset if offset < bar::START => {
                if let Place::Core(core) = &mut self.place {
                    core.set_register(offset, value);
                }
            }
            _ => {}
        }
    }

    /// Reads packet memory.
    pub fn read_packet(&self, offset: u32, bytes: &mut [u8]) {
        match &self.place {
            Place::Core(core) => core.read_packet(offset, bytes),
            Place::Empty(memory) => match part(offset, bytes.len()).and_then(|range| memory.get(range)) {
                Some(place) => bytes.copy_from_slice(place),
                None => bytes.fill(0),
            },
        }
    }

    /// Writes packet memory.
    pub fn write_packet(&mut self, offset: u32, bytes: &[u8]) {
        match &mut self.place {
            Place::Core(core) => core.write_packet(offset, bytes),
            Place::Empty(memory) => {
                let place = part(offset, bytes.len()).and_then(|range| memory.get_mut(range));
                if let Some(place) = place {
                    place.copy_from_slice(bytes);
                }
            }
        }
    }

    /// Reads the core's data memory, which the host may look at but not change.
    pub fn read_data(&self, offset: u32, bytes: &mut [u8]) {
        match &self.place {
            Place::Core(core) => core.read_data(offset, bytes),
            Place::Empty(_) => bytes.fill(0),
        }
    }

    /// A frame is on the wire of this lane.
    pub fn receive(&mut self, buffers: &mut Buffers, frame: Frame) -> Arrival {
        match &mut self.place {
            Place::Core(core) => self.port.receive(core, buffers, frame),
            Place::Empty(_) => Arrival::Paused(frame),
        }
    }

    /// Pauses the wire until the port takes the next frame, because the host has an event to post before it.
    pub fn pause(&mut self) {
        self.port.pause();
    }

    /// Lets time pass in which the core retires up to `budget` instructions. A core in reset waits.
    ///
    /// # Errors
    /// The core stopped, or is lost.
    pub fn run(&mut self, budget: u64) -> Result<Stop, CoreError> {
        if matches!(self.state, core_state::EMPTY | core_state::RESET | core_state::LOST) {
            return Ok(Stop::Waiting);
        }
        let Place::Core(core) = &mut self.place else { return Ok(Stop::Waiting) };
        let before = clock(core);
        let stop = core.run(budget);
        self.timer += clock(core) - before;
        self.port.pump(core);
        match &stop {
            Ok(_) => {}
            Err(CoreError::Trap(trap)) => (self.state, self.stop_pc) = (core_state::STOPPED, trap.pc),
            Err(CoreError::Gone(_)) => self.state = core_state::LOST,
        }
        stop
    }

    /// The clock stands at `cycles`, if it was behind: the core had nothing to do until then.
    pub fn idle_until(&mut self, cycles: u64) {
        self.timer = self.timer.max(cycles);
    }

    /// Cycles since power-on.
    pub fn timer(&self) -> u64 {
        self.timer
    }

    /// Instructions that the core has retired since it left reset.
    pub fn instructions(&self) -> u64 {
        self.core().map_or(0, Core::instructions)
    }

    /// Cycles of the core, those in which it waits not included; `None` where it has no clock.
    pub fn cycles(&self) -> Option<u64> {
        self.core().and_then(Core::cycles)
    }

    /// The core, once one is loaded.
    pub fn core(&self) -> Option<&C> {
        match &self.place {
            Place::Core(core) => Some(core),
            Place::Empty(_) => None,
        }
    }

    /// The core, behind the driver's back.
    pub fn core_mut(&mut self) -> Option<&mut C> {
        match &mut self.place {
            Place::Core(core) => Some(core),
            Place::Empty(_) => None,
        }
    }

    /// As if the port had put that many more events into the ring.
    #[cfg(test)]
    pub(crate) fn move_port_on(&mut self, events: u32) {
        self.port.posted = self.port.posted.wrapping_add(events);
    }

    /// Lane of a frame with this RSS hash, by this window's indirection table.
    pub fn steer(&self, hash: u32) -> usize {
        let index = hash >> (u32::BITS - bar::INDIRECTION_SIZE.ilog2());
        usize::from(self.indirection[index as usize])
    }
}

impl<C: Core> fmt::Debug for Device<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("lane", &self.lane)
            .field("state", &self.state)
            .field("load_status", &self.load_status)
            .field("timer", &self.timer)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// Cycles, or instructions where the core has no clock.
fn clock<C: Core>(core: &C) -> u64 {
    core.cycles().unwrap_or_else(|| core.instructions())
}

fn word(bytes: &[u8], at: u32) -> u32 {
    let word = bytes.get(at as usize..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |&word| u32::from_le_bytes(word))
}

fn part(offset: u32, length: usize) -> Option<std::ops::Range<usize>> {
    let start = offset as usize;
    Some(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests;

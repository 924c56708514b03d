//! The stack bound of the NIC images against what their stack has been used for: no run goes below the bound.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{DEFAULT, shipped};
use gro_bench::backend::NicBackend;
use gro_bench::{Backend as _, EngineConfig};
use gro_core::Release;
use gro_nic::machine::{Core, CoreError, Machine, Stop};
use gro_nic::{Image, stack};
use std::cell::Cell;

const PAINT: u8 = 0xa5;

thread_local! {
    /// Most bytes of stack that were not as painted.
    static DEEPEST: Cell<u32> = const { Cell::new(0) };
}

/// The simulator with a stack that is painted at the start and looked at after every run.
struct Painted {
    machine: Machine,
    data: u32,
    stack: Vec<u8>,
}

impl Painted {
    fn new(image: &Image) -> Self {
        let data = image.data.memory_size;
        let size = image.stack_size() as usize;
        let mut painted = image.clone();
        painted.data.bytes.resize(data as usize, 0);
        painted.data.bytes.resize(data as usize + size, PAINT);
        painted.data.memory_size += image.stack_size();
        Self { machine: Machine::new(&painted), data, stack: vec![0; size] }
    }
}

impl Core for Painted {
    fn run(&mut self, budget: u64) -> Result<Stop, CoreError> {
        let stop = self.machine.run(budget)?;
        self.machine.read_data(self.data, &mut self.stack);
        let unused = self.stack.iter().position(|&byte| byte != PAINT).unwrap_or(self.stack.len());
        DEEPEST.set(DEEPEST.get().max((self.stack.len() - unused) as u32));
        Ok(stop)
    }
    fn register(&self, offset: u32) -> u32 {
        self.machine.register(offset)
    }
    fn set_register(&mut self, offset: u32, value: u32) {
        self.machine.set_register(offset, value);
    }
    fn read_packet(&self, offset: u32, bytes: &mut [u8]) {
        self.machine.read_packet(offset, bytes);
    }
    fn write_packet(&mut self, offset: u32, bytes: &[u8]) {
        self.machine.write_packet(offset, bytes);
    }
    fn read_data(&self, offset: u32, bytes: &mut [u8]) {
        self.machine.read_data(offset, bytes);
    }
    fn read_code(&self, offset: u32, bytes: &mut [u8]) {
        self.machine.read_code(offset, bytes);
    }
    fn instructions(&self) -> u64 {
        self.machine.instructions()
    }
    fn cycles(&self) -> Option<u64> {
        self.machine.cycles()
    }
}

#[test]
fn no_run_goes_below_the_bound() {
    for profile in Release::ALL {
        let image = Image::parse(gro_nic::committed(profile)).unwrap();
        let bound = stack::bound(&image).unwrap().bytes;
        DEEPEST.set(0);
        for name in ["tcp-mixed", "tunnel-mixed", "udp-mixed", "random-udp"] {
            let mut backend = NicBackend::on("nic-painted", |image, _| Ok(Painted::new(image)));
            backend.run(&shipped(name), &EngineConfig { profile, ..DEFAULT }).unwrap();
        }
        let deepest = DEEPEST.get();
        eprintln!("{}: bound {bound} bytes, seen {deepest}", profile.name());
        assert!(deepest <= bound, "{deepest} of {bound}");
        // The traces reach most of it, so the comparison says something.
        assert!(deepest > bound / 2, "{deepest} of {bound}");
    }
}

//! The stack bound of the NIC images against what their stack has been used for: no run goes below the bound.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{DEFAULT, shipped};
use gro_bench::backend::NicBackend;
use gro_bench::{Backend as _, EngineConfig};
use gro_core::Release;
use gro_nic::machine::{Core, Machine, Watched};
use gro_nic::{Image, stack};
use std::cell::Cell;

const PAINT: u8 = 0xa5;

thread_local! {
    /// Most bytes of stack that were not as painted.
    static DEEPEST: Cell<u32> = const { Cell::new(0) };
}

/// The simulator with a stack that is painted at the start and looked at after every run.
fn painted(image: &Image) -> impl Core + use<> {
    let (data, size) = (image.data.memory_size, image.stack_size());
    let mut painted = image.clone();
    painted.data.bytes.resize(data as usize, 0);
    painted.data.bytes.resize((data + size) as usize, PAINT);
    painted.data.memory_size += size;
    let mut stack = vec![0; size as usize];
    Watched::new(Machine::new(&painted), move |machine, budget| {
        let stop = machine.run(budget)?;
        machine.read_data(data, &mut stack);
        let unused = stack.iter().position(|&byte| byte != PAINT).unwrap_or(stack.len());
        DEEPEST.set(DEEPEST.get().max((stack.len() - unused) as u32));
        Ok(stop)
    })
}

#[test]
fn no_run_goes_below_the_bound() {
    for profile in Release::ALL {
        let image = Image::parse(gro_nic::committed(profile)).unwrap();
        let bound = stack::bound(&image).unwrap().bytes;
        DEEPEST.set(0);
        for name in ["tcp-mixed", "tunnel-mixed", "udp-mixed", "random-udp"] {
            let mut backend = NicBackend::on("nic-painted", |image, _| Ok(painted(image)));
            backend.run(&shipped(name), &EngineConfig { profile, ..DEFAULT }).unwrap();
        }
        let deepest = DEEPEST.get();
        eprintln!("{}: bound {bound} bytes, seen {deepest}", profile.name());
        assert!(deepest <= bound, "{deepest} of {bound}");
        // The traces reach most of it, so the comparison says something.
        assert!(deepest > bound / 2, "{deepest} of {bound}");
    }
}

//! Machines of other make that run the image as it is, to check the simulator: a [`Core`](crate::machine::Core) each. QEMU, and processor
//! RTL under Verilator.
//!
//! The RTL cores are CV32E40P (PsPIN's core, whose timing the simulator follows) and Ibex, as published. `cargo xtask referee --build`
//! installs and builds them into the project's tool cache; nothing of them is in the repository but a wrapper and a bench.

mod memory;
pub mod micro;
#[cfg(target_os = "linux")]
pub mod qemu;
mod rtl;
mod tools;

pub use memory::SharedMemory;
pub use rtl::{Rtl, RtlCore, RtlError};
pub use tools::{BENCH_FILES, CORE_PACKAGES, CorePackage, cache, executable, key};

#[cfg(test)]
mod tests;

//! Machines of other make that run the image as it is, to check the simulator: a [`Core`](crate::machine::Core) each.

#[cfg(target_os = "linux")]
pub mod qemu;

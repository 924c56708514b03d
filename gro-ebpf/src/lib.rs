//! GRO as a tc program: the committed object, its identity and its loader.
//!
//! - [`Object`]: the built ELF and the program hash it carries.
//! - [`Program`]: the object loaded into the running kernel (Linux only).
//! - [`Injector`]: the harness's way to feed frames to an interface as one NAPI poll (Linux only).
//! - [`Observer`]: what the kernel's own GRO makes of them (Linux only).
//! - [`Forwarder`]: leads packets from one interface to another, through the kernel's own GSO (Linux only).
//! - [`Impairer`]: a wire that loses and reorders; [`Census`]: which BPF objects there are (Linux only).

pub mod abi;
mod object_file;

#[cfg(target_os = "linux")]
mod census;
#[cfg(target_os = "linux")]
mod forwarder;
#[cfg(target_os = "linux")]
mod impairer;
#[cfg(target_os = "linux")]
mod injector;
#[cfg(target_os = "linux")]
mod kernel_types;
#[cfg(target_os = "linux")]
mod observer;
#[cfg(target_os = "linux")]
mod program;

pub use object_file::{Object, ObjectError};

#[cfg(target_os = "linux")]
pub use census::Census;
#[cfg(target_os = "linux")]
pub use forwarder::Forwarder;
#[cfg(target_os = "linux")]
pub use impairer::{Impaired, Impairer, Impairment};
#[cfg(target_os = "linux")]
pub use injector::{Frame, Injector};
#[cfg(target_os = "linux")]
pub use observer::{Observed, Observer, Packet, Partial};
#[cfg(target_os = "linux")]
pub use program::{LoadError, Loaded, Program};

//! GRO as a tc program: the committed object, its identity and its loader.
//!
//! - [`Object`]: the built ELF and the program hash it carries.
//! - [`Program`]: the object loaded into the running kernel (Linux only).
//! - [`live`]: the engine attached to live traffic: pre-flight, counters, what outlives the command.
//! - [`via_tap`]: the userspace engine between an interface and a TAP device (Linux only).
//! - [`device`]: interfaces as rtnetlink, ethtool and sysfs show them (Linux only).
//! - [`Injector`]: the harness's way to feed frames to an interface as one NAPI poll (Linux only).
//! - [`Observer`]: what the kernel's own GRO makes of them (Linux only).
//! - [`Forwarder`]: leads packets from one interface to another, through the kernel's own GSO (Linux only).
//! - [`Impairer`]: a wire that loses and reorders; [`Census`]: which BPF objects there are (Linux only).

pub mod abi;
pub mod live;
mod object_file;

#[cfg(target_os = "linux")]
mod census;
#[cfg(target_os = "linux")]
pub mod device;
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
#[cfg(target_os = "linux")]
pub mod via_tap;

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

//! GRO as NIC microcode: the image, the machine that runs it, and the host's end of its rings.
//!
//! A packet meets the files in the order of [`driver`] (posts it), [`device`] (whose port puts it into the RX ring), [`machine`] (runs the
//! firmware over it) and [`driver`] again (turns a completion into a packet). [`abi`] is the contract that all ends are compiled with.

pub mod abi;
pub mod image;
// The device.
pub mod device;
pub mod machine;
// Others to check it against.
#[cfg(unix)]
pub mod referee;
// The host.
pub mod card;
pub mod driver;
pub mod identity;
pub mod live;
#[cfg(feature = "smoltcp")]
pub mod phy;
mod virtio;
// What it costs.
pub mod budget;
#[cfg(test)]
mod traffic;
// How an image comes to be.
pub mod build;
pub mod stack;

pub use card::{Card, CardError};
pub use driver::{Delivered, Failure, Health, Nic, NicConfig, NicError, RING_RUNS};
pub use image::{Image, ImageBuilder, ImageError};

/// The committed image of profile `linux-6.12`, built by `cargo xtask images`.
pub const LINUX_6_12: &[u8] = include_bytes!("../image/gro-linux-6.12.nicimg");
/// The committed image of profile `linux-6.18`.
pub const LINUX_6_18: &[u8] = include_bytes!("../image/gro-linux-6.18.nicimg");
/// The committed image of profile `linux-7.x`.
pub const LINUX_7: &[u8] = include_bytes!("../image/gro-linux-7.x.nicimg");

/// The committed image of a profile.
pub fn committed(release: gro_core::Release) -> &'static [u8] {
    match release {
        gro_core::Release::Linux612 => LINUX_6_12,
        gro_core::Release::Linux618 => LINUX_6_18,
        gro_core::Release::Linux7 => LINUX_7,
    }
}

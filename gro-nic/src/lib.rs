//! GRO as NIC microcode: the image, the machine that runs it, and the host's end of its rings.
//!
//! A packet meets the files in the order of [`driver`] (posts a descriptor), [`machine`] (runs the firmware over it)
//! and [`driver`] again (turns a completion into a packet). [`abi`] is the contract both ends are compiled with.

pub mod abi;
pub mod image;
// The device.
pub mod machine;
// The host.
pub mod driver;
pub mod identity;
#[cfg(feature = "smoltcp")]
pub mod phy;
mod virtio;
// How an image comes to be.
pub mod build;

pub use driver::{Delivered, Nic, NicConfig, NicError};
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

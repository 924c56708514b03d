//! The userspace datapath. [`burst::Queue`] is for programs that read packets in bursts and want them merged at the speed of memory;
//! [`Engine`] for those that own their frames one by one, as [`bytes::Bytes`].
//!
//! Feature `burst` is the former without an allocator; feature `user` has both.

pub mod burst;
#[cfg(feature = "user")]
mod delivered;
#[cfg(feature = "user")]
mod engine;
mod virtio;

#[cfg(feature = "user")]
pub use delivered::Delivered;
#[cfg(feature = "user")]
pub use engine::{Engine, insert_jumbo};
pub use virtio::{VirtioNetHdr, Why};

use crate::STORAGE;

/// Copies the headers, and as little payload as can be: each cache line behind them is one that nobody needs.
fn load(scratch: &mut [u8; STORAGE], frame: &[u8]) {
    /// Ethernet, IPv6 and TCP with all options take 114 bytes.
    const USUAL: usize = 128;
    const IPV4_PROTOCOL: usize = 23;
    const IPV6_NEXT_HEADER: usize = 20;
    const TCP: u8 = 6;
    match (frame.first_chunk::<USUAL>(), frame.first_chunk::<STORAGE>()) {
        // IPv6 extension headers and tunnels may go on to the end of the window, with VLAN tags before them.
        (Some(usual), Some(all))
            if all[12] == 0x08 && all[IPV4_PROTOCOL] == TCP
                || all[12] == 0x86 && all[IPV6_NEXT_HEADER] == TCP =>
        {
            scratch[..USUAL].copy_from_slice(usual)
        }
        (Some(_), Some(all)) => *scratch = *all,
        _ => {
            let present = frame.len().min(STORAGE);
            scratch[..present].copy_from_slice(&frame[..present]);
        }
    }
}

/// Ones'-complement sum of bytes, folded; an odd last byte is the high half of a word (RFC 1071).
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    // 32-bit words in native order: the sum is the same up to a byte swap, and 2^32 is 1 modulo 0xFFFF.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut wide: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    let mut tail = [0; 4];
    tail[..rest.len()].copy_from_slice(rest);
    wide += u64::from(u32::from_ne_bytes(tail));
    in_host_order(wide)
}

/// A sum of words as they lie in memory, folded, as a number.
#[inline(always)]
fn in_host_order(wide: u64) -> u16 {
    u16::from_be(fold_wide(wide))
}

/// As [`crate::checksum::fold`], of a wider sum: the upper half of a number plus itself turned by half is the sum of both halves, with end-around carry.
#[inline(always)]
fn fold_wide(wide: u64) -> u16 {
    let narrow = (wide.wrapping_add(wide.rotate_left(32)) >> 32) as u32;
    (narrow.wrapping_add(narrow.rotate_left(16)) >> 16) as u16
}

#[cfg(all(test, feature = "user"))]
mod tests;

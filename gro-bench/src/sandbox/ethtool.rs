//! The offloads that a sandbox switches (the `ETHTOOL_S*` requests of linux/ethtool.h).

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// An offload, by the number of the request that sets it.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Offload {
    /// `ethtool -K DEVICE tx`
    TxChecksum = 0x17,
    /// `ethtool -K DEVICE tso`
    Tso = 0x1f,
    /// `ethtool -K DEVICE gso`
    Gso = 0x24,
    /// `ethtool -K DEVICE gro`
    Gro = 0x2c,
}

/// Sets an offload of an interface of this thread's namespace.
pub(crate) fn set(interface: &str, offload: Offload, on: bool) -> io::Result<()> {
    // struct ethtool_value
    request(interface, &mut [offload as u32, u32::from(on)]).map(drop)
}

/// Sets a feature by its name, as `ethtool -K DEVICE NAME` does; for those without a request of their own.
pub(crate) fn set_feature(interface: &str, name: &str, on: bool) -> io::Result<()> {
    const STRINGS: u32 = 0x1b;
    const STRING_SETS: u32 = 0x37;
    const SET_FEATURES: u32 = 0x3b;
    const FEATURES: u32 = 4;
    const NAME_WORDS: usize = 8;

    // struct ethtool_sset_info: a bit for each set asked for, then its size.
    let mut sizes = [STRING_SETS, 0, 1 << FEATURES, 0, 0];
    request(interface, &mut sizes)?;
    let count = sizes[4] as usize;
    // struct ethtool_gstrings: names of 32 bytes.
    let mut strings = vec![0; 3 + count * NAME_WORDS];
    strings[..3].copy_from_slice(&[STRINGS, FEATURES, count as u32]);
    request(interface, &mut strings)?;
    let names = strings[3..].chunks_exact(NAME_WORDS).map(|words| {
        let bytes: Vec<u8> =
            words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0).collect();
        bytes
    });
    let index = names.into_iter().position(|bytes| bytes == name.as_bytes());
    let missing = || io::Error::new(io::ErrorKind::Unsupported, format!("this kernel has no feature {name}"));
    let index = index.ok_or_else(missing)?;
    // struct ethtool_sfeatures: which bits are meant, and what they become.
    let blocks = count.div_ceil(32);
    let mut features = vec![0; 2 + 2 * blocks];
    features[..2].copy_from_slice(&[SET_FEATURES, blocks as u32]);
    let (block, bit) = (2 + index / 32 * 2, 1 << (index % 32));
    features[block] = bit;
    features[block + 1] = if on { bit } else { 0 };
    match request(interface, &mut features)? {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{interface} does not take {name}"))),
    }
}

/// One ethtool command, whose number is the first word. Gives what the call returns.
fn request(interface: &str, command: &mut [u32]) -> io::Result<libc::c_int> {
    // SAFETY: plain system call; the result is checked.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` is a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let name = CString::new(interface)?;
    // SAFETY: all-zero is a valid request.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The zero behind the name stays.
    for (to, &from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.as_bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = command.as_mut_ptr().cast();
    // SAFETY: the request names a terminated interface name and a command that outlives it, as long as its own words say.
    match unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } {
        result if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// linux/sockios.h; not in every version of the libc crate.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

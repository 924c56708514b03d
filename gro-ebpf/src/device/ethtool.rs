//! The offloads of an interface (linux/ethtool.h), as `ethtool -k` and `ethtool -K` show and set them.

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// An offload with a request of its own, by the number of the request that sets it.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Offload {
    /// `ethtool -K DEVICE tx`
    TxChecksum = 0x17,
    /// `ethtool -K DEVICE tso`
    Tso = 0x1f,
    /// `ethtool -K DEVICE gso`
    Gso = 0x24,
    /// `ethtool -K DEVICE gro`
    Gro = 0x2c,
}

/// A feature of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Whether it is on.
    pub on: bool,
    /// Whether it can be switched here; `ethtool -k` says `[fixed]` otherwise.
    pub switchable: bool,
}

/// The features of an interface of this thread's namespace, by the kernel's names (`rx-gro`).
#[derive(Clone, Debug)]
pub struct Features {
    names: Vec<String>,
    /// Of each 32 features: available, wanted, active, never changed.
    blocks: Vec<[u32; BLOCK_WORDS]>,
}

const BLOCK_WORDS: usize = 4;

impl Features {
    /// Reads them.
    pub fn read(interface: &str) -> io::Result<Self> {
        const FEATURES: u32 = 0x3a;
        let names = names(interface)?;
        // struct ethtool_gfeatures
        let count = names.len().div_ceil(32);
        let mut command = vec![0; 2 + count * BLOCK_WORDS];
        command[..2].copy_from_slice(&[FEATURES, count as u32]);
        request(interface, &mut command)?;
        Ok(Self { names, blocks: command[2..].as_chunks().0.to_vec() })
    }

    /// One of them; `None` if this kernel has none of that name.
    pub fn get(&self, name: &str) -> Option<Feature> {
        let index = self.names.iter().position(|known| known == name)?;
        let [available, _, active, fixed] = self.blocks.get(index / 32)?;
        let bit = 1 << (index % 32);
        Some(Feature { on: active & bit != 0, switchable: available & bit != 0 && fixed & bit == 0 })
    }

    /// Whether there is such a feature and it is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|feature| feature.on)
    }
}

/// Sets an offload of an interface of this thread's namespace.
pub fn set(interface: &str, offload: Offload, on: bool) -> io::Result<()> {
    // struct ethtool_value
    request(interface, &mut [offload as u32, u32::from(on)]).map(drop)
}

/// Sets a feature by its name, as `ethtool -K DEVICE NAME` does.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] when there is no such feature or the device does not take it.
pub fn set_feature(interface: &str, name: &str, on: bool) -> io::Result<()> {
    const SET_FEATURES: u32 = 0x3b;
    let names = names(interface)?;
    let missing = || io::Error::new(io::ErrorKind::Unsupported, format!("this kernel has no feature {name}"));
    let index = names.iter().position(|known| known == name).ok_or_else(missing)?;
    // struct ethtool_sfeatures: which bits are meant, and what they become.
    let blocks = names.len().div_ceil(32);
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

/// The names of all features, in the order of their bits.
fn names(interface: &str) -> io::Result<Vec<String>> {
    const STRINGS: u32 = 0x1b;
    const STRING_SETS: u32 = 0x37;
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
    let name = |words: &[u32]| {
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
    };
    Ok(strings[3..].chunks_exact(NAME_WORDS).map(name).collect())
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

//! The device's memories in a file, which another program maps: what the driver writes there, the core reads.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::abi::memory::{DMEM_BASE, IMEM_BASE, MMIO_BASE, MMIO_SIZE, PACKET_BASE};
use crate::image::{Image, Segment};

/// A sparse file that holds the memories of a device, each at its address less that of instruction memory.
///
/// The host reads and writes it as a file, which on Linux is the same memory that the other program has mapped.
#[derive(Debug)]
pub struct SharedMemory {
    file: tempfile::NamedTempFile,
}

impl SharedMemory {
    /// The memories of a device with `image` loaded and zero elsewhere.
    ///
    /// # Errors
    /// No file can be made in the system's folder for temporary files.
    pub fn new(image: &Image) -> Result<Self> {
        let file = tempfile::Builder::new().prefix("gro-nic-").tempfile()?;
        let ends = [MMIO_BASE + MMIO_SIZE, PACKET_BASE + image.memory.packet.size];
        file.as_file().set_len(ends.into_iter().map(offset).max().unwrap_or(0))?;
        let memory = Self { file };
        for Segment { address, bytes, .. } in [&image.code, &image.data] {
            memory.write(*address, bytes)?;
        }
        Ok(memory)
    }

    /// Path of the file, for the program that maps it.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads device memory at `address`; bytes where the device has none are 0.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, address: u32, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        let mut at = offset(address);
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file().read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => {
                    at += count as u64;
                    rest = &mut rest[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes device memory at `address`.
    ///
    /// # Errors
    /// There is no device memory, or the file cannot be written.
    pub fn write(&self, address: u32, bytes: &[u8]) -> Result<()> {
        let end = offset(address) + bytes.len() as u64;
        if address < IMEM_BASE || end > self.file().metadata()?.len() {
            return Err(Error::new(ErrorKind::InvalidInput, format!("no device memory at {address:#010x}")));
        }
        self.file().write_all_at(bytes, offset(address))
    }

    /// The word at `address`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn word(&self, address: u32) -> Result<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn file(&self) -> &File {
        self.file.as_file()
    }
}

fn offset(address: u32) -> u64 {
    u64::from(address.wrapping_sub(IMEM_BASE))
}

const _: () = assert!(IMEM_BASE < DMEM_BASE && DMEM_BASE < PACKET_BASE);

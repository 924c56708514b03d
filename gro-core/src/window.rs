//! The first bytes of a frame, readable at any offset without a panic.

/// Header bytes the engine looks at. A header chain that is longer bypasses, counted.
pub const HEADER_MAX: usize = 256;

/// Bytes a backend must provide behind a [`Window`]: a read at the last header byte may reach a word further.
pub const STORAGE: usize = HEADER_MAX + 8;

/// A view of a frame's first bytes and of its length.
///
/// Offsets are masked, so that rustc sees no panic and the BPF verifier sees bounds; a parser checks [`Window::len`]
/// before it reads. Bytes at or behind `len` are unspecified and never decide anything.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    bytes: &'a [u8; STORAGE],
    len: u32,
}

impl<'a> Window<'a> {
    /// `bytes` holds the start of a frame of `len` bytes.
    #[inline(always)]
    pub fn new(bytes: &'a [u8; STORAGE], len: u32) -> Self {
        Self { bytes, len }
    }

    /// Length of the whole frame in bytes, without preamble and FCS.
    #[inline(always)]
    #[expect(clippy::len_without_is_empty, reason = "the length of a frame, not of a collection")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// The byte at `offset`.
    #[inline(always)]
    pub fn u8(&self, offset: u32) -> u8 {
        self.bytes[mask(offset)]
    }

    /// The big-endian 16-bit word at `offset`.
    #[inline(always)]
    pub fn be16(&self, offset: u32) -> u16 {
        let at = mask(offset);
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// The big-endian 32-bit word at `offset`.
    #[inline(always)]
    pub fn be32(&self, offset: u32) -> u32 {
        let at = mask(offset);
        u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }
}

#[inline(always)]
fn mask(offset: u32) -> usize {
    offset as usize & (HEADER_MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_masked_and_never_panic() {
        let mut bytes = [0; STORAGE];
        bytes[255..259].copy_from_slice(&[1, 2, 3, 4]);
        let window = Window::new(&bytes, 9000);
        assert_eq!(window.be32(255), 0x0102_0304);
        assert_eq!(window.be16(255 + 256), 0x0102);
        assert_eq!(window.u8(u32::MAX), 1);
    }
}

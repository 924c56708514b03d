//! The first bytes of a frame, readable at any offset without a panic.

/// Header bytes the engine looks at. A header chain that is longer bypasses, counted.
pub const HEADER_MAX: usize = 256;

/// Bytes behind a [`Window`]: a read at the last header byte may reach a word further.
pub const STORAGE: usize = HEADER_MAX + 8;

/// Where a frame starts in a [`Header`]: its IP header is then word aligned (`NET_IP_ALIGN`, include/linux/skbuff.h).
pub const ALIGN: usize = 2;

const WORDS: usize = (ALIGN + STORAGE).div_ceil(4);

/// Storage for a frame's first bytes, from byte [`ALIGN`] on. What is behind the frame there may be anything.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    words: [u32; WORDS],
}

impl Header {
    /// All zero.
    pub const ZERO: Self = Self { words: [0; WORDS] };

    /// The frame's bytes.
    #[inline(always)]
    #[expect(
        unsafe_code,
        reason = "the same bytes as words and as bytes: either view by shifts costs a NIC's core much"
    )]
    pub fn bytes(&self) -> &[u8; STORAGE] {
        // SAFETY: the words have room for `ALIGN` and `STORAGE` bytes (checked below), all of them initialised, and a byte has no
        // alignment.
        unsafe { &*self.words.as_ptr().cast::<u8>().add(ALIGN).cast() }
    }

    /// The same, to be written.
    #[inline(always)]
    #[expect(unsafe_code, reason = "as above")]
    pub fn bytes_mut(&mut self) -> &mut [u8; STORAGE] {
        // SAFETY: as above; every value of a byte is one of a word.
        unsafe { &mut *self.words.as_mut_ptr().cast::<u8>().add(ALIGN).cast() }
    }

    /// With the first bytes of `frame`; the rest stays as it is.
    pub fn load(&mut self, frame: &[u8]) {
        let present = frame.len().min(STORAGE);
        self.bytes_mut()[..present].copy_from_slice(&frame[..present]);
    }
}

impl Default for Header {
    fn default() -> Self {
        Self::ZERO
    }
}

const _: () = assert!(ALIGN + STORAGE <= 4 * WORDS && HEADER_MAX / 4 < WORDS);

/// A view of a frame's first bytes and of its length.
///
/// Offsets are masked, so that rustc sees no panic and the BPF verifier sees bounds; a parser checks [`Window::len`]
/// before it reads. Bytes at or behind `len` are unspecified and never decide anything.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    header: &'a Header,
    len: u32,
}

impl<'a> Window<'a> {
    /// `header` holds the start of a frame of `len` bytes.
    #[inline(always)]
    pub fn new(header: &'a Header, len: u32) -> Self {
        Self { header, len }
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
        self.header.bytes()[mask(offset)]
    }

    /// The big-endian 16-bit word at `offset`.
    #[inline(always)]
    pub fn be16(&self, offset: u32) -> u16 {
        let (at, bytes) = (mask(offset), self.header.bytes());
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    /// The big-endian 32-bit word at `offset`.
    #[inline(always)]
    pub fn be32(&self, offset: u32) -> u32 {
        let (at, bytes) = (mask(offset), self.header.bytes());
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    /// The word of bytes `ALIGN + 4 * index` and on, as it lies in memory: one aligned load on every target.
    #[inline(always)]
    pub fn word(&self, index: usize) -> u32 {
        self.header.words[(index & (HEADER_MAX / 4 - 1)) + 1]
    }

    /// The frame's first two bytes, as they lie in memory.
    #[inline(always)]
    pub fn start(&self) -> u32 {
        let word = self.header.words[0].to_ne_bytes();
        u16::from_ne_bytes([word[2], word[3]]) as u32
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
        let mut header = Header::ZERO;
        header.bytes_mut()[255..259].copy_from_slice(&[1, 2, 3, 4]);
        let window = Window::new(&header, 9000);
        assert_eq!(window.be32(255), 0x0102_0304);
        assert_eq!(window.be16(255 + 256), 0x0102);
        assert_eq!(window.u8(u32::MAX), 1);
    }

    #[test]
    fn words_are_the_bytes_behind_the_first_two() {
        let mut header = Header::ZERO;
        header.load(&core::array::from_fn::<u8, 300, _>(|at| at as u8));
        let window = Window::new(&header, 300);
        assert_eq!(window.start().to_ne_bytes()[..2], [0, 1][..]);
        for index in 0..65 {
            assert_eq!(window.word(index), window.be32(2 + 4 * index as u32).to_be(), "{index}");
        }
        assert_eq!(window.word(1000), window.word(1000 % 64));
    }
}

//! The code section as the analysis reads it.

use crate::image::Segment;
use crate::machine::decode::{Op, decode};

/// A program's code and constants. The device cannot write them, so what is read here is what runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code<'a> {
    segment: &'a Segment,
}

impl<'a> Code<'a> {
    pub(super) fn new(segment: &'a Segment) -> Self {
        Self { segment }
    }

    /// The instruction at `pc`; `None` outside the code.
    pub(super) fn op(&self, pc: u32) -> Option<Op> {
        let first = self.half(pc)?;
        let second = if first & 3 == 3 { self.half(pc + 2)? } else { 0 };
        Some(decode(first | second << 16))
    }

    /// The word at an address that is a multiple of 4.
    pub(super) fn word(&self, address: u32) -> Option<u32> {
        if !address.is_multiple_of(4) {
            return None;
        }
        Some(self.half(address)? | self.half(address + 2)? << 16)
    }

    fn half(&self, address: u32) -> Option<u32> {
        let start = address.checked_sub(self.segment.address)? as usize;
        let bytes = self.segment.bytes.get(start..)?.first_chunk()?;
        address.is_multiple_of(2).then(|| u32::from(u16::from_le_bytes(*bytes)))
    }
}

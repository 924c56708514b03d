//! Bytes that will be looked at come into the cache while others are: with memory that is far, the biggest gain of all.

use super::frame::Frame;

/// How many frames ahead the first bytes are fetched: far enough for a frame that lies in memory, near enough for the first cache.
pub(super) const AHEAD: usize = 14;
/// The same for the payload of frames whose checksum is verified here, each of which takes longer.
pub(super) const PAYLOAD_AHEAD: usize = 4;
/// So many lines of it; those behind them the processor fetches by itself, once it sees them read in order.
const PAYLOAD_LINES: usize = 12;

/// The first bytes.
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "no other way to fetch; the biggest gain of all")
)]
pub(super) fn prefetch(frame: &Frame<'_>) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let at = frame.bytes.as_ptr();
        // SAFETY: fetching is a hint: it reads nothing and faults nowhere, whatever the address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = frame;
}

/// What follows the first bytes.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "as above"))]
pub(super) fn prefetch_payload(frame: &Frame<'_>) {
    #[cfg(target_arch = "x86_64")]
    for line in frame.bytes.chunks(64).skip(2).take(PAYLOAD_LINES) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = frame;
}

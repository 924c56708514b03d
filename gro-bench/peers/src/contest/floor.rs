//! Floors: what only looking at frames costs here, in the same run. An engine that does as much cannot cost less.

use super::Engine;
use crate::clock::{Clock, LINE};
use crate::ring::Ring;
use crate::workload::BURST;
use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_load_si512,
    _mm512_maskz_loadu_epi8, _mm512_reduce_add_epi32, _mm512_set1_epi16, _mm512_setzero_si512,
};
use std::hint::black_box;

/// What is done to each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    OneLine,
    TwoLines,
    ReadAll,
    Checksum,
    Copy,
}

/// One of them.
pub(crate) struct Floor {
    work: Work,
    vnni: bool,
    /// Where payload is copied to: the same place for each burst.
    target: Vec<u8>,
}

/// How many frames ahead headers are fetched.
const AHEAD: usize = 16;
/// How many frames ahead whole frames are fetched.
const WHOLE_AHEAD: usize = 2;
/// Ethernet, IPv4 and TCP with timestamps, for the copy; a few bytes more or less cost the same.
const HEADER: usize = 66;

/// All floors.
pub(crate) fn all() -> [Floor; 5] {
    let vnni = is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw");
    [Work::OneLine, Work::TwoLines, Work::ReadAll, Work::Checksum, Work::Copy].map(|work| Floor {
        work,
        vnni,
        target: Vec::new(),
    })
}

impl Engine for Floor {
    fn name(&self) -> &'static str {
        match self.work {
            Work::OneLine => "floor: one line",
            Work::TwoLines => "floor: two lines",
            Work::ReadAll => "floor: read all",
            Work::Checksum => "floor: checksum",
            Work::Copy => "floor: copy",
        }
    }

    fn what(&self) -> String {
        let simd = if self.vnni { "AVX-512 VNNI" } else { "what the compiler makes of a loop" };
        match self.work {
            Work::OneLine => {
                format!("reads the first cache line of each frame, prefetched {AHEAD} frames ahead")
            }
            Work::TwoLines => {
                format!("reads the first two cache lines of each frame, prefetched {AHEAD} frames ahead")
            }
            Work::ReadAll => format!("reads each frame whole, prefetched {WHOLE_AHEAD} frames ahead"),
            Work::Checksum => format!("sums each frame from byte 34 on, with {simd}"),
            Work::Copy => "copies payload to one buffer, the same for every burst".to_owned(),
        }
    }

    fn load(&mut self, ring: &Ring) -> anyhow::Result<()> {
        self.target.resize(ring.element() * BURST, 0);
        Ok(())
    }

    fn burst(&mut self, ring: &mut Ring, clock: &Clock, burst: usize) -> u64 {
        let first = ring.burst(burst).start;
        let frames: [&[u8]; BURST] = std::array::from_fn(|at| ring.frame(first + at));
        let frames = black_box(&frames);
        let start = Clock::start();
        match self.work {
            Work::OneLine => lines::<1>(frames),
            Work::TwoLines => lines::<2>(frames),
            Work::ReadAll => whole(frames, read),
            // SAFETY: the processor has what the function needs.
            Work::Checksum if self.vnni => whole(frames, |frame| unsafe { sum_vnni(frame) }),
            Work::Checksum => whole(frames, |frame| sum_words(&frame[34..])),
            Work::Copy => copy(frames, &mut self.target),
        }
        let stop = Clock::stop();
        clock.between(start, stop)
    }
}

fn lines<const LINES: usize>(frames: &[&[u8]; BURST]) {
    let fetch = |frame: &[u8]| (0..LINES).for_each(|line| prefetch(frame, line * LINE));
    frames[..AHEAD].iter().for_each(|frame| fetch(frame));
    let mut seen = 0;
    for at in 0..BURST {
        if let Some(next) = frames.get(at + AHEAD) {
            fetch(next);
        }
        for line in 0..LINES {
            // The last bytes of the first line and the first of the second, where the fields of TCP are.
            seen ^= word(frames[at], LINE - 8 + 16 * line);
        }
    }
    black_box(seen);
}

fn whole(frames: &[&[u8]; BURST], work: impl Fn(&[u8]) -> u64) {
    let fetch = |frame: &[u8]| (0..frame.len()).step_by(LINE).for_each(|at| prefetch(frame, at));
    frames[..WHOLE_AHEAD].iter().for_each(|frame| fetch(frame));
    let mut seen = 0;
    for at in 0..BURST {
        if let Some(next) = frames.get(at + WHOLE_AHEAD) {
            fetch(next);
        }
        seen ^= work(frames[at]);
    }
    black_box(seen);
}

fn copy(frames: &[&[u8]; BURST], target: &mut [u8]) {
    let mut at = 0;
    for frame in frames {
        let payload = &frame[HEADER.min(frame.len())..];
        target[at..at + payload.len()].copy_from_slice(payload);
        at += payload.len();
    }
    black_box(target);
}

#[inline(always)]
fn prefetch(frame: &[u8], at: usize) {
    // SAFETY: fetching is no access: an address beyond the frame does no harm.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(frame.as_ptr().wrapping_add(at).cast()) };
}

#[inline(always)]
fn word(frame: &[u8], at: usize) -> u64 {
    frame[at..].first_chunk().map_or(0, |&bytes| u64::from_ne_bytes(bytes))
}

/// One word of each line is enough to have it here.
fn read(frame: &[u8]) -> u64 {
    let (words, rest) = frame.as_chunks::<8>();
    let words = words.iter().step_by(LINE / 8).fold(0, |seen, &word| seen ^ u64::from_ne_bytes(word));
    words ^ rest.first().map_or(0, |&byte| u64::from(byte))
}

fn sum_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut tail = [0; 4];
    tail[..rest.len()].copy_from_slice(rest);
    let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    sum + u64::from(u32::from_ne_bytes(tail))
}

/// Sum of 16-bit words in native order from byte 34 on, of a frame that is 64-byte aligned: even and odd bytes apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sum_vnni(frame: &[u8]) -> u64 {
    debug_assert!(frame.as_ptr().addr().is_multiple_of(LINE));
    let (even, odd) = (_mm512_set1_epi16(0x0001), _mm512_set1_epi16(0x0100));
    let part = |from: usize, to: usize| {
        let mask = u64::MAX << (from % LINE) & u64::MAX >> (LINE - 1 - (to - 1) % LINE);
        // SAFETY: only the bytes that the mask leaves are read, and those are the frame's.
        unsafe { _mm512_maskz_loadu_epi8(mask, frame.as_ptr().add(from / LINE * LINE).cast()) }
    };
    // SAFETY: asked for below for lines that are in the frame whole, and those are aligned.
    let line = |at: usize| unsafe { _mm512_load_si512(frame.as_ptr().add(at).cast()) };
    let first = part(34, frame.len().min(LINE));
    let zero = _mm512_setzero_si512();
    let (mut low, mut high) = (_mm512_dpbusd_epi32(zero, first, even), _mm512_dpbusd_epi32(zero, first, odd));
    let (mut low2, mut high2) = (zero, zero);
    let mut at = LINE;
    while at + 2 * LINE <= frame.len() {
        let (one, two) = (line(at), line(at + LINE));
        low = _mm512_dpbusd_epi32(low, one, even);
        high = _mm512_dpbusd_epi32(high, one, odd);
        low2 = _mm512_dpbusd_epi32(low2, two, even);
        high2 = _mm512_dpbusd_epi32(high2, two, odd);
        at += 2 * LINE;
    }
    while at < frame.len() {
        let rest = part(at, frame.len().min(at + LINE));
        low = _mm512_dpbusd_epi32(low, rest, even);
        high = _mm512_dpbusd_epi32(high, rest, odd);
        at += LINE;
    }
    let low = _mm512_reduce_add_epi32(_mm512_add_epi32(low, low2)) as u32;
    let high = _mm512_reduce_add_epi32(_mm512_add_epi32(high, high2)) as u32;
    u64::from(low) + (u64::from(high) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::fold;

    #[test]
    fn the_sums_agree() {
        if !is_x86_feature_detected!("avx512vnni") || !is_x86_feature_detected!("avx512bw") {
            return eprintln!("skipped: no AVX-512 VNNI here");
        }
        #[repr(align(64))]
        struct Aligned([u8; 256]);
        let bytes = Aligned(std::array::from_fn(|at| (at * 37 + 11) as u8));
        for len in 66..256 {
            let frame = &bytes.0[..len];
            // SAFETY: the processor has what the function needs.
            let sum = unsafe { sum_vnni(frame) };
            assert_eq!(fold(sum), fold(sum_words(&frame[34..])), "{len}");
        }
    }
}

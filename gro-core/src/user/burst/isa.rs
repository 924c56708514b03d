//! Instruction sets: the same Rust, compiled once for each, and the choice at run time.

use super::receive;
use super::shape::Shape;
use super::store::Memory;
use super::{Core, Frame, Packet, Sink, fast};
use crate::Profile;
use crate::table::DEPTH;
use crate::user::sum;

/// What a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every machine of its kind has, as SSE2 or NEON.
    Baseline,
    /// x86-64-v3, with AVX2.
    Avx2,
    /// x86-64-v4, with AVX-512, and VNNI.
    Avx512,
}

#[cfg(target_arch = "x86_64")]
cpufeatures::new!(v3, "avx2", "bmi1", "bmi2");
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(v4, "avx2", "bmi1", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl");

impl Isa {
    /// The best of the machine that this runs on.
    pub fn of_machine() -> Self {
        #[cfg(target_arch = "x86_64")]
        if v4::get() && has_vnni() {
            return Self::Avx512;
        } else if v3::get() {
            return Self::Avx2;
        }
        Self::Baseline
    }
}

/// AVX512_VNNI, of which [`cpufeatures`] does not ask: CPUID leaf 7, ECX bit 11. The system saves its registers if it does those of
/// AVX-512.
#[cfg(target_arch = "x86_64")]
fn has_vnni() -> bool {
    core::arch::x86_64::__cpuid_count(7, 0).ecx & 1 << 11 != 0
}

/// As [`sum`], with the instructions of `isa`, which must be the machine's or less.
pub(super) fn sum_with(isa: Isa, bytes: &[u8]) -> u16 {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::Avx2::sum(bytes),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::Avx512::sum(bytes),
        _ => sum(bytes),
    }
}

/// What is not the same Rust for all, or is better a function of its own. Only for code that runs where the instruction set is there.
pub(super) trait Code: Sized {
    /// As [`sum`].
    fn sum(bytes: &[u8]) -> u16;

    /// As [`fast::any`]: a loop that needs all registers.
    fn fast<P: Profile, S: Shape, const CHUNKS: usize>(
        memory: (&mut Core, &mut Memory<CHUNKS>),
        frames: &[Frame<'_>],
        index: usize,
        sink: Sink<'_>,
    ) -> usize;

    /// Which of `tags` are equal to `tag`, a bit each.
    #[inline(always)]
    fn equal(tags: &[u32; DEPTH], tag: u32) -> u32 {
        let mut ways = 0;
        for (way, &of_way) in tags.iter().enumerate() {
            ways |= u32::from(of_way == tag) << way;
        }
        ways
    }
}

struct Baseline;

impl Code for Baseline {
    #[inline(never)]
    fn sum(bytes: &[u8]) -> u16 {
        sum(bytes)
    }

    #[inline(never)]
    fn fast<P: Profile, S: Shape, const CHUNKS: usize>(
        memory: (&mut Core, &mut Memory<CHUNKS>),
        frames: &[Frame<'_>],
        index: usize,
        sink: Sink<'_>,
    ) -> usize {
        fast::any::<P, Self, S, CHUNKS>(memory, frames, index, sink)
    }
}

/// [`receive::receive`], compiled for `isa`, which must be the machine's or less.
#[inline(always)]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "code for a machine that has more"))]
pub(super) fn receive<P: Profile, const CHUNKS: usize>(
    isa: Isa,
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    frames: &[Frame<'_>],
    sink: &mut impl FnMut(&Packet<'_>),
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Queue` never has more than `Isa::of_machine`, which asked the machine.
        Isa::Avx2 => unsafe { x86::avx2::<P, CHUNKS>(core, memory, frames, sink) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { x86::avx512::<P, CHUNKS>(core, memory, frames, sink) },
        _ => receive::receive::<P, Baseline, CHUNKS>(core, memory, frames, sink),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use crate::checksum::fold;
    use core::arch::x86_64::{
        __m512i, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_movemask_ps, _mm256_set1_epi32,
        _mm256_setr_epi32, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_loadu_si512,
        _mm512_maskz_loadu_epi8, _mm512_reduce_add_epi32, _mm512_set1_epi16, _mm512_setzero_si512,
        _mm512_slli_epi32,
    };

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) fn avx2<P: Profile, const CHUNKS: usize>(
        core: &mut Core,
        memory: &mut Memory<CHUNKS>,
        frames: &[Frame<'_>],
        sink: &mut impl FnMut(&Packet<'_>),
    ) {
        receive::receive::<P, Avx2, CHUNKS>(core, memory, frames, sink);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn avx512<P: Profile, const CHUNKS: usize>(
        core: &mut Core,
        memory: &mut Memory<CHUNKS>,
        frames: &[Frame<'_>],
        sink: &mut impl FnMut(&Packet<'_>),
    ) {
        receive::receive::<P, Avx512, CHUNKS>(core, memory, frames, sink);
    }

    pub(super) struct Avx2;

    impl Code for Avx2 {
        #[inline(always)]
        #[expect(unsafe_code, reason = "code for a machine that has more")]
        fn sum(bytes: &[u8]) -> u16 {
            // SAFETY: this code runs only where AVX2 is there (`Code`).
            unsafe { sum_avx2(bytes) }
        }

        #[inline(never)]
        #[expect(unsafe_code, reason = "as above")]
        fn fast<P: Profile, S: Shape, const CHUNKS: usize>(
            memory: (&mut Core, &mut Memory<CHUNKS>),
            frames: &[Frame<'_>],
            index: usize,
            sink: Sink<'_>,
        ) -> usize {
            // SAFETY: as above.
            unsafe { fast_avx2::<P, S, CHUNKS>(memory, frames, index, sink) }
        }

        #[inline(always)]
        #[expect(
            unsafe_code,
            reason = "as above; eight comparisons at once, which no compiler makes of the loop"
        )]
        fn equal(tags: &[u32; DEPTH], tag: u32) -> u32 {
            // SAFETY: as above.
            unsafe { equal(tags, tag) }
        }
    }

    pub(super) struct Avx512;

    impl Code for Avx512 {
        #[inline(always)]
        #[expect(unsafe_code, reason = "as above")]
        fn sum(bytes: &[u8]) -> u16 {
            // SAFETY: this code runs only where AVX-512 is there (`Code`).
            unsafe { sum_avx512(bytes) }
        }

        #[inline(never)]
        #[expect(unsafe_code, reason = "as above")]
        fn fast<P: Profile, S: Shape, const CHUNKS: usize>(
            memory: (&mut Core, &mut Memory<CHUNKS>),
            frames: &[Frame<'_>],
            index: usize,
            sink: Sink<'_>,
        ) -> usize {
            // SAFETY: as above.
            unsafe { fast_avx512::<P, S, CHUNKS>(memory, frames, index, sink) }
        }

        #[inline(always)]
        #[expect(unsafe_code, reason = "as above")]
        fn equal(tags: &[u32; DEPTH], tag: u32) -> u32 {
            // SAFETY: AVX-512 has AVX2.
            unsafe { equal(tags, tag) }
        }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    #[inline]
    fn equal(tags: &[u32; DEPTH], tag: u32) -> u32 {
        let [a, b, c, d, e, f, g, h] = tags.map(|tag| tag as i32);
        let equal =
            _mm256_cmpeq_epi32(_mm256_setr_epi32(a, b, c, d, e, f, g, h), _mm256_set1_epi32(tag as i32));
        _mm256_movemask_ps(_mm256_castsi256_ps(equal)) as u32
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn fast_avx2<P: Profile, S: Shape, const CHUNKS: usize>(
        memory: (&mut Core, &mut Memory<CHUNKS>),
        frames: &[Frame<'_>],
        index: usize,
        sink: Sink<'_>,
    ) -> usize {
        fast::any::<P, Avx2, S, CHUNKS>(memory, frames, index, sink)
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    #[inline(never)]
    fn sum_avx2(bytes: &[u8]) -> u16 {
        sum(bytes)
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
    fn fast_avx512<P: Profile, S: Shape, const CHUNKS: usize>(
        memory: (&mut Core, &mut Memory<CHUNKS>),
        frames: &[Frame<'_>],
        index: usize,
        sink: Sink<'_>,
    ) -> usize {
        fast::any::<P, Avx512, S, CHUNKS>(memory, frames, index, sink)
    }

    /// Even and odd bytes apart, four products to a lane at once; but for the first ones, from whole cache lines.
    #[target_feature(enable = "avx2,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    #[inline(never)]
    #[expect(unsafe_code, reason = "loads of vectors; half the time of what a compiler makes of `sum`")]
    fn sum_avx512(bytes: &[u8]) -> u16 {
        if bytes.len() > 1 << 16 {
            // The sum in 32 bits is of so many, at most.
            return sum(bytes);
        }
        let to_line = bytes.as_ptr().align_offset(LINE);
        let (start, lines) = bytes.split_at_checked(to_line & !1).unwrap_or((&[], bytes));
        let (lines, rest) = lines.as_chunks::<LINE>();
        let (fours, last) = lines.as_chunks::<4>();
        // Several of each, because an addition waits for the one before.
        let (mut even, mut odd) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
        let mut add = |index: usize, line: __m512i| {
            even[index] = _mm512_dpbusd_epi32(even[index], line, _mm512_set1_epi16(0x0001));
            odd[index] = _mm512_dpbusd_epi32(odd[index], line, _mm512_set1_epi16(0x0100));
        };
        for (index, part) in [start, rest].into_iter().enumerate() {
            let present = (1 << part.len()) - 1;
            // SAFETY: only bytes under the mask are read: those that are present, fewer than a line.
            add(index, unsafe { _mm512_maskz_loadu_epi8(present, part.as_ptr().cast()) });
        }
        for lines in fours {
            for (index, line) in lines.iter().enumerate() {
                // SAFETY: a line has 64 bytes; any alignment will do.
                add(index, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) });
            }
        }
        for (index, line) in last.iter().enumerate() {
            // SAFETY: as above.
            add(index, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) });
        }
        let total =
            |[a, b, c, d]: [__m512i; 4]| _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        let all = _mm512_add_epi32(_mm512_slli_epi32::<8>(total(even)), total(odd));
        fold(_mm512_reduce_add_epi32(all) as u32)
    }

    /// Bytes of a cache line, and of a vector.
    const LINE: usize = 64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_sums_alike() {
        let bytes: alloc::vec::Vec<u8> =
            (0..66_000_u32).map(|at| (at.wrapping_mul(at) >> 3) as u8 | 0x80).collect();
        for from in 0..130 {
            for len in (0..300).chain([1479, 1480, 1481, 2048, 2500, 65_535, 65_536, 65_537]) {
                let bytes = &bytes[from..from + len];
                let expected = sum(bytes);
                assert_eq!(Baseline::sum(bytes), expected);
                #[cfg(target_arch = "x86_64")]
                if Isa::of_machine() >= Isa::Avx2 {
                    assert_eq!(x86::Avx2::sum(bytes), expected, "AVX2, {len} bytes from {from}");
                }
                #[cfg(target_arch = "x86_64")]
                if Isa::of_machine() >= Isa::Avx512 {
                    assert_eq!(x86::Avx512::sum(bytes), expected, "AVX-512, {len} bytes from {from}");
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_same_tags() {
        let tags = [7, 0, 9, 7, 1, u32::MAX, 2, 7];
        for tag in [0, 1, 7, 9, u32::MAX, 3] {
            let expected = Baseline::equal(&tags, tag);
            assert_eq!(expected.count_ones() as usize, tags.iter().filter(|&&other| other == tag).count());
            #[cfg(target_arch = "x86_64")]
            if Isa::of_machine() >= Isa::Avx2 {
                assert_eq!(x86::Avx2::equal(&tags, tag), expected);
                assert_eq!(x86::Avx512::equal(&tags, tag), expected);
            }
        }
    }
}

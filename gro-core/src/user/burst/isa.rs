//! Instruction sets: the same Rust, compiled once for each, and the choice at run time.

use super::store::Memory;
use super::{Core, Frame, Packet, receive};
use crate::Profile;

/// What a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What every machine of its kind has, as SSE2 or NEON.
    Baseline,
    /// x86-64-v3, with AVX2.
    Avx2,
    /// x86-64-v4, with AVX-512.
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
        if v4::get() {
            return Self::Avx512;
        } else if v3::get() {
            return Self::Avx2;
        }
        Self::Baseline
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
        Isa::Baseline => receive::receive::<P, CHUNKS>(core, memory, frames, sink),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Queue` never has more than `Isa::of_machine`, which asked the machine.
        Isa::Avx2 => unsafe { avx2::<P, CHUNKS>(core, memory, frames, sink) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { avx512::<P, CHUNKS>(core, memory, frames, sink) },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => receive::receive::<P, CHUNKS>(core, memory, frames, sink),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn avx2<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    frames: &[Frame<'_>],
    sink: &mut impl FnMut(&Packet<'_>),
) {
    receive::receive::<P, CHUNKS>(core, memory, frames, sink);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<P: Profile, const CHUNKS: usize>(
    core: &mut Core,
    memory: &mut Memory<CHUNKS>,
    frames: &[Frame<'_>],
    sink: &mut impl FnMut(&Packet<'_>),
) {
    receive::receive::<P, CHUNKS>(core, memory, frames, sink);
}

//! A running 64-bit digest over every decision: finds where two backends part, and is a live counter on each.

/// Two 32-bit lanes, each word folded in by xor, multiply and rotate: cheap on 32-bit cores, and no secret is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Digest {
    low: u32,
    high: u32,
}

impl Digest {
    /// The start.
    pub const ZERO: Self = Self { low: 0, high: 0 };

    /// Folds two words in.
    #[inline(always)]
    pub fn mix(&mut self, a: u32, b: u32) {
        self.low = (self.low ^ a).wrapping_mul(0x9e37_79b1).rotate_left(13);
        self.high = (self.high ^ b ^ self.low).wrapping_mul(0x85eb_ca77).rotate_left(17);
    }

    /// The digest so far.
    #[inline(always)]
    pub fn value(self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_zero_words_matter() {
        let of = |words: &[(u32, u32)]| {
            let mut digest = Digest::default();
            for &(a, b) in words {
                digest.mix(a, b);
            }
            digest.value()
        };
        assert_ne!(of(&[(1, 2), (3, 4)]), of(&[(3, 4), (1, 2)]));
        assert_ne!(of(&[(1, 2)]), of(&[(1, 2), (0, 0)]));
        assert_ne!(of(&[(0, 1)]), of(&[(1, 0)]));
    }
}

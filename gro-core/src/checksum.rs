//! Ones'-complement sums (RFC 1071) of big-endian 16-bit words, held in 32 bits until they are folded.

/// Folds a sum to 16 bits with end-around carry. Zero stays zero; every other multiple of 0xFFFF becomes 0xFFFF.
#[inline(always)]
pub fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}

/// Whether a sum below 2^31 is complete: zero in ones' complement, of what is not all zero. Once folded, such a sum is below 2 * 0xFFFF.
#[inline(always)]
pub fn is_complete(sum: u32) -> bool {
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// The two halves of a 32-bit word, as addends of a sum.
#[inline(always)]
pub fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The sum of bytes that start at an odd offset of the summed range (RFC 1071 section 2, byte order independence).
#[inline(always)]
pub fn at_parity(sum: u16, odd: bool) -> u16 {
    if odd { sum.swap_bytes() } else { sum }
}

/// A complete checksum field from a sum. Ones' complement has two zeros; the field is then written 0x0000, as the
/// kernel's `csum_fold` of a packet with a non-zero sum does.
#[inline(always)]
pub fn field(sum: u32) -> u16 {
    !fold(sum)
}

/// Replaces `old` by `new` in a header checksum (RFC 1624 equation 3), with the carries of the kernel's
/// `csum_replace2` (include/net/checksum.h), so that both zeros come out as they do there.
#[inline(always)]
pub fn replace(check: u16, old: u16, new: u16) -> u16 {
    !add(add(!check, !old), new)
}

#[inline(always)]
fn add(a: u16, b: u16) -> u16 {
    let sum = a as u32 + b as u32;
    (sum + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_to_both_zeros() {
        assert_eq!(fold(0), 0);
        assert_eq!(fold(0xffff), 0xffff);
        assert_eq!(fold(0x1_fffe), 0xffff);
        assert_eq!(fold(0xffff_ffff), 0xffff);
        assert_eq!(field(0xffff), 0);
    }

    #[test]
    fn complete_is_what_folds_to_ffff() {
        for sum in (0..1 << 18).chain((0..1 << 31).step_by(0xffff)).chain((1..1 << 31).step_by(65_521)) {
            assert_eq!(is_complete(sum), fold(sum) == 0xffff, "{sum:#x}");
        }
    }

    #[test]
    fn replaces_as_a_full_sum_would() {
        for (a, old, new) in
            [(0x1234, 0x05dc, 0xfc00), (0xffff, 1, 2), (7, 0xffff, 0), (0xabcd, 0x4321, 0x4321)]
        {
            let check = field(a + old);
            assert_eq!(fold(a + new + u32::from(replace(check, old as u16, new as u16))), 0xffff);
        }
    }
}

//! What is known of a register: enough to follow a call by address and a jump through a table.

use super::code::Code;

/// Values that a register can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Unknown,
    /// `base + i * step` for an `i` of 0 to `last`; a constant has `last` 0.
    Steps {
        base: u32,
        step: u32,
        last: u32,
    },
    /// A word at one of such addresses in the code.
    Word {
        base: u32,
        step: u32,
        last: u32,
    },
}

/// Entries that a jump table may have: more than any profile's, so that a wrong bound is noticed.
const TABLE_MAX: u32 = 1024;

impl Value {
    pub(super) const fn constant(value: u32) -> Self {
        Self::Steps { base: value, step: 0, last: 0 }
    }

    pub(super) const fn up_to(limit: u32) -> Self {
        Self::Steps { base: 0, step: 1, last: limit }
    }

    pub(super) fn as_constant(self) -> Option<u32> {
        match self {
            Self::Steps { base, last: 0, .. } => Some(base),
            _ => None,
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Steps { base, step, last }, other) if other.as_constant().is_some() => {
                Self::Steps { base: base.wrapping_add(other.as_constant().unwrap_or(0)), step, last }
            }
            (constant, Self::Steps { .. }) if constant.as_constant().is_some() => other.plus(constant),
            (word, other) if other.as_constant() == Some(0) => word,
            _ => Self::Unknown,
        }
    }

    pub(super) fn shifted_left(self, by: u32) -> Self {
        match self {
            // Without the highest bits of an index nothing is lost.
            Self::Steps { base, step, last }
                if by < 32 && last.leading_zeros() + step.leading_zeros() >= 32 + by =>
            {
                Self::Steps { base: base << by, step: step << by, last }
            }
            _ => Self::Unknown,
        }
    }

    /// The word at this address.
    pub(super) fn loaded(self, code: &Code<'_>) -> Self {
        match self {
            Self::Steps { base, step, last }
                if last < TABLE_MAX
                    && (0..=last).all(|index| code.word(base.wrapping_add(index * step)).is_some()) =>
            {
                Self::Word { base, step, last }
            }
            _ => Self::Unknown,
        }
    }

    /// Where a jump to this value can lead; `None` if that is not known.
    pub(super) fn targets(self, code: &Code<'_>) -> Option<Vec<u32>> {
        match self {
            Self::Unknown => None,
            Self::Steps { base, last, .. } => (last == 0).then(|| vec![base]),
            Self::Word { base, step, last } => {
                let mut targets: Vec<u32> = (0..=last)
                    .map(|index| code.word(base.wrapping_add(index * step)))
                    .collect::<Option<_>>()?;
                targets.sort_unstable();
                targets.dedup();
                Some(targets)
            }
        }
    }
}

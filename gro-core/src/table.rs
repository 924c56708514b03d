//! The flow table: 8 buckets of 8 held packets, oldest first (`GRO_HASH_BUCKETS`, `MAX_GRO_SKBS`, net/core/gro.c).

use crate::datapath::Input;
use crate::flow::Flow;
use crate::parse::{self, Packet, Parsed};
use crate::profile::Profile;

/// Buckets of a table; the low bits of the RSS hash choose one.
pub const BUCKETS: usize = 8;
/// Held packets of a bucket. One more evicts the oldest.
pub const DEPTH: usize = 8;

/// Where the engine finds its buckets and works on the frame in hand. `None` only where storage is looked up at run time (BPF
/// maps).
pub trait Table {
    /// The bucket with this index, below [`BUCKETS`], and the frame in hand.
    fn bucket(&mut self, index: u32) -> Option<(&mut Bucket, &mut Hand)>;

    /// Parses the first or the next part of the headers of the frame in hand. A target on which that is better a function of its
    /// own does in it what stands here.
    #[inline(always)]
    fn parse<P: Profile>(&mut self, input: &Input<'_>, first: bool) -> Option<Parsed> {
        let (_, hand) = self.bucket(0)?;
        Some(if first {
            parse::first::<P>(&input.window, input.config, &mut hand.packet)
        } else {
            parse::rest::<P>(&input.window, input.config, &mut hand.packet)
        })
    }
}

/// The table of a target whose memory is just there.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Buckets {
    hand: Hand,
    buckets: [Bucket; BUCKETS],
}

impl Buckets {
    /// Nothing is held.
    pub const EMPTY: Self = Self { hand: Hand::EMPTY, buckets: [Bucket::EMPTY; BUCKETS] };
}

impl Table for Buckets {
    #[inline(always)]
    fn bucket(&mut self, index: u32) -> Option<(&mut Bucket, &mut Hand)> {
        Some((self.buckets.get_mut(index as usize)?, &mut self.hand))
    }
}

/// The place of a held packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Below [`BUCKETS`].
    pub bucket: u8,
    /// Below [`DEPTH`].
    pub way: u8,
}

impl Slot {
    /// Slots of a table.
    pub const COUNT: usize = BUCKETS * DEPTH;

    /// A number below [`Slot::COUNT`].
    #[inline(always)]
    pub fn index(self) -> usize {
        (self.bucket as usize & (BUCKETS - 1)) * DEPTH + (self.way as usize & (DEPTH - 1))
    }
}

/// The frame in hand. All zero is valid, which is what BPF maps start with.
///
/// It lies here and not on the stack for the BPF target: a stack has 512 bytes there, and the verifier forgets how it came to a
/// value that it finds in memory, so that it walks what follows once and not once a path.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Hand {
    /// Its headers.
    pub packet: Packet,
    /// One more than the way that holds its flow, 0 if none does.
    pub(crate) found: u32,
    /// Which of its checksums are to be verified, and the sum with which they are.
    pub(crate) to_verify: u32,
    pub(crate) sum: u32,
    /// What becomes of it: action, flush, close and pass of a `Verdict`, a byte each from the lowest, and its fixed
    /// identifications.
    pub(crate) verdict: u32,
    pub(crate) fixed_id: u32,
    /// The way that this is about.
    pub(crate) way: u32,
}

impl Hand {
    /// Nothing.
    pub const EMPTY: Self =
        Self { packet: Packet::EMPTY, found: 0, to_verify: 0, sum: 0, verdict: 0, fixed_id: 0, way: 0 };
}

/// Up to [`DEPTH`] held packets and their age order (`struct gro_list`). All zero is a valid empty bucket.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bucket {
    /// A permutation of the ways, one nibble each, XOR [`IDENTITY`]: first the held ones, oldest first, then the free ones.
    order: u32,
    count: u32,
    flows: [Flow; DEPTH],
}

const IDENTITY: u32 = 0x7654_3210;
const WAY: usize = DEPTH - 1;
/// One in each nibble.
const ONES: u32 = 0x1111_1111;

impl Bucket {
    /// A bucket that holds nothing.
    pub const EMPTY: Self = Self { order: 0, count: 0, flows: [Flow::EMPTY; DEPTH] };

    /// Held packets.
    #[inline(always)]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The held packet in `way`.
    #[inline(always)]
    pub fn flow(&self, way: u8) -> &Flow {
        &self.flows[way as usize & WAY]
    }

    #[inline(always)]
    pub(crate) fn flow_mut(&mut self, way: u8) -> &mut Flow {
        &mut self.flows[way as usize & WAY]
    }

    /// One more than the way that holds the flow of `packet`, or 0. There is at most one: a mismatch always completes the held
    /// packet.
    #[inline(always)]
    pub(crate) fn find<P: Profile>(&self, packet: &Packet, input: &Input<'_>) -> u32 {
        for position in 0..DEPTH as u32 {
            if position >= self.count {
                break;
            }
            let way = self.way_at(position);
            if self.flow(way).is_same::<P>(packet, input) {
                return way as u32 + 1;
            }
        }
        0
    }

    /// The way of the oldest held packet; meaningful while [`Bucket::count`] is above 0.
    #[inline(always)]
    pub(crate) fn oldest(&self) -> u8 {
        self.way_at(0)
    }

    /// The way of the newest held packet; meaningful while [`Bucket::count`] is above 0.
    #[inline(always)]
    pub(crate) fn newest(&self) -> u8 {
        self.way_at(self.count.wrapping_sub(1))
    }

    /// Takes the first free way as the newest; the caller made sure that there is one.
    #[inline(always)]
    pub(crate) fn insert(&mut self) -> u8 {
        let way = self.way_at(self.count);
        self.count += 1;
        way
    }

    /// Frees `way`, which must be held: its nibble moves behind all others.
    #[inline(always)]
    pub(crate) fn remove(&mut self, way: u8) {
        let order = self.order ^ IDENTITY;
        let way_word = way as u32 & WAY as u32;
        // The nibble that holds `way` becomes zero; the lowest borrow marks it.
        let other = order ^ (way_word * ONES);
        let marks = other.wrapping_sub(ONES) & !other & (ONES << 3);
        let below = ((marks & marks.wrapping_neg()) >> 3).wrapping_sub(1);
        self.order = (order & below | order >> 4 & !below & !(0xf << 28) | way_word << 28) ^ IDENTITY;
        self.count = self.count.wrapping_sub(1);
        let flow = self.flow_mut(way);
        flow.segs = 0;
        flow.late = 0;
    }

    /// The same of the oldest: all others move up. Whoever has no use for flows need not touch its own.
    #[cfg(feature = "burst")]
    #[inline(always)]
    pub(crate) fn remove_oldest(&mut self) {
        self.order = (self.order ^ IDENTITY).rotate_right(4) ^ IDENTITY;
        self.count = self.count.wrapping_sub(1);
    }

    #[inline(always)]
    pub(crate) fn way_at(&self, position: u32) -> u8 {
        ((self.order ^ IDENTITY) >> (4 * (position & WAY as u32)) & WAY as u32) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_age_order_through_any_removal() {
        let mut bucket = Bucket::EMPTY;
        let mut model: alloc::vec::Vec<u8> = alloc::vec![];
        let mut state = 1_u32;
        for _ in 0..10_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if model.len() < DEPTH && state >> 31 == 0 {
                let way = bucket.insert();
                assert!(!model.contains(&way));
                model.push(way);
            } else if !model.is_empty() {
                let way = model.remove((state >> 8) as usize % model.len());
                bucket.remove(way);
            }
            assert_eq!(bucket.count() as usize, model.len());
            if let Some(&oldest) = model.first() {
                assert_eq!(bucket.oldest(), oldest);
            }
        }
    }

    #[cfg(feature = "burst")]
    #[test]
    fn the_oldest_leaves_as_by_its_way() {
        let mut bucket = Bucket::EMPTY;
        for round in 0..100 {
            while bucket.count() < DEPTH as u32 {
                bucket.insert();
            }
            bucket.remove(bucket.way_at(round * 5 % DEPTH as u32));
            let mut other = bucket;
            bucket.remove(bucket.oldest());
            other.remove_oldest();
            assert_eq!((bucket.order, bucket.count), (other.order, other.count));
        }
    }
}

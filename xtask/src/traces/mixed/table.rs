//! Cases of several flows: buckets, receive hashes, and who is evicted. Most segments have lengths of their own, by which the
//! order in which they leave is seen.

/// Segments of several flows.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) frames: Vec<Frame>,
    /// Payload bytes of what leaves.
    pub(super) delivered: Vec<u32>,
}

/// The next segment of a flow.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) flow: u16,
    pub(super) length: usize,
    pub(super) hash: Option<u32>,
}

/// All cases.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = cases_without_order();
    let in_one_flow = |name, frames: &[(usize, u32)], delivered: &[u32]| Case {
        name,
        frames: frames.iter().map(|&(length, hash)| Frame { flow: 0, length, hash: Some(hash) }).collect(),
        delivered: delivered.to_vec(),
    };
    cases.extend([
        // A bucket of their own each, so the flow's order is lost.
        in_one_flow("hash_overtakes", &[(100, 1), (90, 0)], &[90, 100]),
        // Each finds the segment with its hash, which is not its predecessor.
        in_one_flow("hash_alternates", &[(100, 8), (90, 16), (80, 8), (70, 16)], &[100, 90, 80, 70]),
    ]);
    cases
}

/// Those that do not ask for the sequence numbers of TCP.
pub(super) fn cases_without_order() -> Vec<Case> {
    vec![
        // Equal in the bits that choose the bucket.
        hashed("hash_differs", &[(0, 100, 0x0000_0001), (0, 100, 0x8000_0001)], &[100, 100]),
        hashed("hash_same", &[(0, 100, 0x8000_0001), (0, 100, 0x8000_0001)], &[200]),
        hashed(
            "hash_buckets_leave_in_order",
            &[7, 6, 5, 4, 3, 2, 1, 0].map(|bucket| (bucket as u16, 100 + bucket, 0x1230 | bucket as u32)),
            &[100, 101, 102, 103, 104, 105, 106, 107],
        ),
        hashed("hash_bucket_is_three_bits", &[(0, 100, 2), (1, 101, 9), (2, 102, 0x11)], &[101, 102, 100]),
        rounds("hash_nine_flows_in_two_buckets", 9, |flow| u32::from(flow == 8), true),
        rounds(
            "hash_sixteen_flows_in_two_buckets",
            16,
            |flow| u32::from(flow) << 4 | u32::from(flow & 1),
            true,
        ),
        rounds("hash_thirty_two_flows_in_four_buckets", 32, |flow| u32::from(flow & 3), true),
        rounds("hash_thirty_two_flows_in_eight_buckets", 32, u32::from, true),
        rounds("hash_thirty_two_flows_in_two_buckets", 32, |flow| u32::from(flow & 1), false),
        evicts("evict_oldest", &[]),
        // The first flow merges once more before the ninth comes: age counts from the first segment.
        evicts("evict_oldest_though_busy", &[0]),
    ]
}

fn hashed(name: &'static str, frames: &[(u16, usize, u32)], delivered: &[u32]) -> Case {
    let frame = |&(flow, length, hash): &(u16, usize, u32)| Frame { flow, length, hash: Some(hash) };
    Case { name, frames: frames.iter().map(frame).collect(), delivered: delivered.to_vec() }
}

/// Two segments of each flow, in two rounds.
fn rounds(name: &'static str, flows: u16, hash: fn(u16) -> u32, merges: bool) -> Case {
    let frame = |flow| Frame { flow, length: 100, hash: Some(hash(flow)) };
    let count = usize::from(flows);
    let delivered = if merges { vec![200; count] } else { vec![100; 2 * count] };
    Case { name, frames: (0..flows).chain(0..flows).map(frame).collect(), delivered }
}

/// Eight flows fill bucket 0, those in `again` merge, a ninth comes, then a segment of every flow that is still held, and at
/// last one of the first flow, which is no longer held: it starts anew, and evicts in its turn.
fn evicts(name: &'static str, again: &[u16]) -> Case {
    let frame = |flow: u16| Frame { flow, length: 100 + usize::from(flow), hash: None };
    let length = |flow: u16| u32::from(flow) + 100;
    let order = (0..8).chain(again.iter().copied()).chain([8]).chain(1..9).chain([0]);
    let evicted = length(0) * (1 + again.iter().filter(|&&flow| flow == 0).count() as u32);
    let held = (1..9).map(|flow| 2 * length(flow));
    let delivered = [evicted].into_iter().chain(held).chain([length(0)]).collect();
    Case { name, frames: order.map(frame).collect(), delivered }
}

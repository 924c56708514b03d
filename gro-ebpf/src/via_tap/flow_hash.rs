//! A flow's hash, as a NIC gives one with a frame. A receive ring of this kind does not pass that on.

/// Spreads flows over buckets and tells them apart: over addresses and, where they follow directly, ports. Not a Toeplitz hash,
/// which would take longer than all else here; no one compares it with a NIC's.
pub(super) fn flow_hash(frame: &[u8]) -> u32 {
    const IPV4_PROTOCOL: usize = 23;
    const IPV6_NEXT_HEADER: usize = 20;
    let Some((network, protocol)) = frame.get(12..14).zip(frame.get(IPV4_PROTOCOL)) else { return 0 };
    let (addresses, ports) = match network {
        [0x08, 0x00] => {
            let is_fragment = frame[20] & 0x3f | frame[21] != 0;
            let plain = frame[14] == 0x45 && is_tcp_or_udp(*protocol) && !is_fragment;
            (frame.get(26..34), if plain { frame.get(34..38) } else { None })
        }
        [0x86, 0xdd] => {
            let plain = is_tcp_or_udp(frame[IPV6_NEXT_HEADER]);
            (frame.get(22..54), if plain { frame.get(54..58) } else { None })
        }
        _ => return 0,
    };
    let words = addresses.into_iter().chain(ports).flat_map(|bytes| bytes.as_chunks::<4>().0);
    let hash = words.fold(SEED, |hash, &word| {
        let mixed = (hash ^ u64::from(u32::from_ne_bytes(word))).wrapping_mul(PRIME);
        mixed ^ mixed >> 29
    });
    // The low bits choose the bucket; the high ones are the better ones.
    (hash >> 32) as u32 ^ hash as u32 >> 3
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const PRIME: u64 = 0xbf58_476d_1ce4_e5b9;

fn is_tcp_or_udp(protocol: u8) -> bool {
    matches!(protocol, 6 | 17)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(ports: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend_from_slice(&[
            0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend_from_slice(&ports);
        frame.extend_from_slice(&[7; 16]);
        frame
    }

    #[test]
    fn flows_are_spread_over_the_buckets() {
        let mut buckets = [0; 8];
        for port in 0..800_u16 {
            let [high, low] = (40_000 + port).to_be_bytes();
            buckets[flow_hash(&frame([high, low, 0x14, 0x51])) as usize % 8] += 1;
        }
        assert!(buckets.iter().all(|&count| (60..150).contains(&count)), "{buckets:?}");
    }

    #[test]
    fn what_is_not_the_flows_does_not_count() {
        let one = frame([1, 2, 3, 4]);
        let mut other = one.clone();
        (other[18], other[40]) = (9, 9);
        assert_eq!(flow_hash(&one), flow_hash(&other));
        // A fragment has no ports.
        let fragment = |ports| {
            let mut frame = frame(ports);
            frame[20] = 0x20;
            flow_hash(&frame)
        };
        assert_eq!(fragment([1, 2, 3, 4]), fragment([5, 6, 7, 8]));
        for cut in 0..one.len() {
            flow_hash(&one[..cut]);
        }
    }
}

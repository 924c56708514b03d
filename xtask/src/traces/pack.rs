//! From frames to a folder of traces: checks, capture files, compression, manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use gro_bench::trace::{Entry, FILE_NAME, Manifest, PcapngWriter, SCHEMA, compress, rss, sha256_hex};

use super::mixed::Built;

/// What a recorded capture holds, counted from its frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) frames: usize,
    /// Connections, both directions of one counted once.
    pub(super) flows: usize,
    /// Low three bits of the receive hashes: the buckets that the frames use.
    pub(super) buckets: BTreeSet<u32>,
    /// Segments with payload.
    pub(super) data: usize,
    /// Of those, the ones that start below a byte already seen: sent again, or overtaken.
    pub(super) behind: usize,
    /// Segments with SACK blocks and payload, and those without payload.
    pub(super) sacks: [usize; 2],
    /// Segments without payload that acknowledge what the one before did.
    pub(super) duplicate_acks: usize,
    /// How many lengths UDP payloads have.
    pub(super) sizes: usize,
    /// Longest frame in bytes.
    pub(super) longest: usize,
}

/// Counts a recording of TCP and checks that its frames are what a wire carries: whole checksums, no more than the MTU.
///
/// # Errors
/// The first frame that no wire would carry.
pub(super) fn count(frames: &[Built]) -> Result<Counts> {
    let mut counts = Counts { frames: frames.len(), ..Counts::default() };
    let mut next: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut acknowledged: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let mut flows = BTreeSet::new();
    for (index, frame) in frames.iter().enumerate() {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).with_context(|| format!("frame {index}"))?;
        let (Some(net), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
            anyhow::bail!("frame {index} is not TCP");
        };
        let sum = match net {
            NetSlice::Ipv4(ip) => tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())?,
            NetSlice::Ipv6(ip) => tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())?,
            NetSlice::Arp(_) => anyhow::bail!("frame {index} is ARP"),
        };
        ensure_sum(index, sum, tcp.checksum())?;
        counts.see(&frame.bytes)?;
        let flow = flow(net, tcp.source_port(), tcp.destination_port());
        let mut ends = flow.clone();
        ends.sort();
        flows.insert(ends);
        let flow = flow.concat();
        let payload = tcp.payload().len();
        let sack = tcp
            .options_iterator()
            .flatten()
            .any(|option| matches!(option, etherparse::TcpOptionElement::SelectiveAcknowledgement(..)));
        counts.sacks[usize::from(payload == 0)] += usize::from(sack);
        let before = acknowledged.insert(flow.clone(), tcp.acknowledgment_number());
        if payload == 0 {
            let plain = !(tcp.syn() || tcp.fin() || tcp.rst());
            counts.duplicate_acks += usize::from(plain && before == Some(tcp.acknowledgment_number()));
        } else {
            counts.data += 1;
            let end = tcp.sequence_number().wrapping_add(payload as u32);
            let seen = next.entry(flow).or_insert(tcp.sequence_number());
            counts.behind += usize::from((tcp.sequence_number().wrapping_sub(*seen) as i32) < 0);
            if (end.wrapping_sub(*seen) as i32) > 0 {
                *seen = end;
            }
        }
    }
    counts.flows = flows.len();
    Ok(counts)
}

/// As [`count`], of UDP over IPv4, where each direction is a flow and no checksum is zero.
///
/// # Errors
/// The first frame that no wire would carry.
pub(super) fn count_udp(frames: &[Built]) -> Result<Counts> {
    let mut counts = Counts { frames: frames.len(), ..Counts::default() };
    let (mut flows, mut sizes) = (BTreeSet::new(), BTreeSet::new());
    for (index, frame) in frames.iter().enumerate() {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).with_context(|| format!("frame {index}"))?;
        let (Some(net @ NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) =
            (&packet.net, &packet.transport)
        else {
            anyhow::bail!("frame {index} is not UDP over IPv4");
        };
        let header = udp.to_header();
        let sum = header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload())?;
        ensure_sum(index, sum, udp.checksum())?;
        counts.see(&frame.bytes)?;
        flows.insert(flow(net, udp.source_port(), udp.destination_port()));
        counts.data += 1;
        sizes.insert(udp.payload().len());
    }
    counts.sizes = sizes.len();
    counts.flows = flows.len();
    Ok(counts)
}

impl Counts {
    fn see(&mut self, frame: &[u8]) -> Result<()> {
        ensure!(frame.len() <= 1514, "a frame of {} bytes: is segmentation offload off?", frame.len());
        self.longest = self.longest.max(frame.len());
        self.buckets.insert(rss::hash(frame) & 7);
        Ok(())
    }
}

/// Both ends, the sender first.
fn flow(net: &NetSlice<'_>, from: u16, to: u16) -> [Vec<u8>; 2] {
    let (source, destination) = match net {
        NetSlice::Ipv4(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        NetSlice::Ipv6(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        NetSlice::Arp(_) => Default::default(),
    };
    [[&source[..], &from.to_be_bytes()].concat(), [&destination[..], &to.to_be_bytes()].concat()]
}

fn ensure_sum(index: usize, sum: u16, field: u16) -> Result<()> {
    ensure!(
        is_same_sum(sum, field),
        "frame {index} has the checksum {field:#06x} instead of {sum:#06x}: is tx checksum offload off?"
    );
    Ok(())
}

/// In ones' complement both forms of zero are one; the kernel's software checksum writes 0xffff.
fn is_same_sum(one: u16, two: u16) -> bool {
    one == two || matches!((one, two), (0, 0xffff) | (0xffff, 0))
}

/// Writes a compressed capture and completes its entry (file, SHA-256, frames); returns the bytes stored.
///
/// # Errors
/// Those of the file system.
pub(super) fn write(folder: &Path, frames: &[Built], comment: &str, entry: &mut Entry) -> Result<usize> {
    let mut writer = PcapngWriter::new(Vec::new(), comment)?;
    for frame in frames {
        writer.write_hashed(frame.time_ns, &frame.bytes, frame.hash, frame.comment.as_deref())?;
    }
    let stored = compress(&writer.finish()?);
    entry.sha256 = sha256_hex(&stored);
    entry.frames = frames.len() as u64;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(&entry.file);
    std::fs::write(&path, &stored).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(stored.len())
}

/// Puts entries into a folder's manifest. What others know about a file (its expected digests) is kept while the file
/// stays the same, byte for byte.
///
/// # Errors
/// A manifest that cannot be read or written.
pub(super) fn update_manifest(folder: &Path, entries: Vec<Entry>) -> Result<()> {
    let path = folder.join(FILE_NAME);
    let mut manifest = Manifest::read(&path)?.unwrap_or(Manifest { schema: SCHEMA, traces: Vec::new() });
    for mut entry in entries {
        match manifest.traces.iter_mut().find(|old| old.file == entry.file) {
            Some(old) => {
                if old.sha256 == entry.sha256 {
                    entry.expect = std::mem::take(&mut old.expect);
                }
                *old = entry;
            }
            None => manifest.traces.push(entry),
        }
    }
    manifest.traces.sort_by(|a, b| a.file.cmp(&b.file));
    std::fs::write(&path, manifest.to_json()?).with_context(|| format!("cannot write {}", path.display()))
}

/// The bytes of all files in a folder and those below it.
///
/// # Errors
/// Those of the file system.
pub(super) fn folder_size(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for item in std::fs::read_dir(folder)? {
        let item = item?;
        let metadata = item.metadata()?;
        size += if metadata.is_dir() { folder_size(&item.path())? } else { metadata.len() };
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::mixed;

    fn frame(sequence: u32, payload: usize) -> Built {
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1, 2, sequence, 500)
            .write(&mut bytes, &vec![7; payload])
            .unwrap();
        Built { time_ns: 0, bytes, hash: None, comment: None }
    }

    #[test]
    fn segments_behind_are_counted_across_the_wrap() {
        let start = 0_u32.wrapping_sub(150);
        let frames =
            [frame(start, 100), frame(start.wrapping_add(200), 100), frame(start.wrapping_add(100), 100)];
        let counts = count(&frames).unwrap();
        assert_eq!((counts.frames, counts.flows, counts.data, counts.behind), (3, 1, 3, 1));
        assert_eq!((counts.longest, counts.sacks, counts.duplicate_acks), (154, [0, 0], 0));
    }

    #[test]
    fn a_frame_without_a_whole_checksum_is_refused() {
        let mut bad = frame(1, 10);
        bad.bytes[50] ^= 1;
        assert!(count(&[bad]).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn built_frames_survive_packing() {
        let folder = std::env::temp_dir().join(format!("gro-pack-{}", std::process::id()));
        let built = mixed::build_long_chain(1).unwrap();
        let mut entry = super::super::entry("x.pcapng.zst", "it", gro_bench::trace::HashRule::Zero);
        write(&folder, &built.frames, "c", &mut entry).unwrap();
        update_manifest(&folder, vec![entry]).unwrap();
        let trace = gro_bench::trace::Trace::open(&folder.join("x.pcapng.zst")).unwrap();
        assert_eq!(trace.frames.len(), built.frames.len());
        assert!(
            trace.frames.iter().zip(&built.frames).all(|(a, b)| a.bytes == b.bytes && a.time_ns == b.time_ns)
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}

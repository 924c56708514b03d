//! Traces: capture files turned into frames, flow hashes and poll boundaries.
//!
//! The engine has no clock and no NIC, so a trace carries what those would have said: when a frame arrived, its RSS
//! hash, the VLAN tag that the device stripped, and which frames shared a NAPI poll. Everything here is a function of
//! the file and of its [`Rules`], so two backends that replay a trace see the same input.
//!
//! Files are pcapng or pcap, plain or zstd-compressed, told apart by content. `manifest.json` in the same folder gives
//! the rules of the traces it lists ([`Manifest`]).

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

mod capture;
mod error;
mod manifest;
mod payload;
mod pcapng;
pub mod rss;

use capture::Record;
pub use capture::{MAX_CAPTURE, MAX_FRAME, MAX_FRAMES, compress};
pub use error::TraceError;
pub use manifest::{Case, Entry, Expect, FILE_NAME, Manifest, OwnConfig, SCHEMA, TunnelDevice, sha256_hex};
pub use payload::{payload, tcp_payload};
pub use pcapng::PcapngWriter;

/// The frames of a capture, with everything an engine needs to know about their arrival.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The file's name without `.pcapng.zst` and the like, or what the caller named it.
    pub name: String,
    /// The frames, in the order of the capture.
    pub frames: Vec<Frame>,
    /// NAPI polls: they cover all frames, in order.
    pub polls: Vec<Poll>,
}

/// One frame as it enters GRO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Arrival, in nanoseconds since the epoch of the capture.
    pub time_ns: u64,
    /// The frame from the destination MAC on, without FCS and without the tag in `vlan`; at least 14 bytes.
    pub bytes: Bytes,
    /// The NIC's receive hash, by the trace's [`HashRule`].
    pub hash: u32,
    /// The outer VLAN tag, which the device strips into metadata (`rx_vlan_strip`).
    pub vlan: Option<Vlan>,
}

/// An 802.1Q or 802.1ad tag, both fields in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vlan {
    /// 0x8100 or 0x88a8.
    pub tpid: u16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN identifier (12 bits).
    pub tci: u16,
}

/// The frames that one NAPI poll takes from the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// When the poll ends: the arrival of its last frame, and never before an earlier poll.
    pub time_ns: u64,
    /// Indices into [`Trace::frames`].
    pub frames: Range<usize>,
}

/// How hashes and polls come out of a capture, which has neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where receive hashes come from.
    pub hash: HashRule,
    /// Where polls end.
    pub poll: PollRule,
}

/// Where receive hashes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashRule {
    /// No NIC set one (veth, tap): 0 for every frame, so that all flows share a bucket.
    Zero,
    /// The Toeplitz hash with the standard key, as a NIC with default settings computes it ([`rss`]).
    #[default]
    Toeplitz,
    /// As the capture says (`epb_hash`), 0 where it says nothing.
    Captured,
}

/// Where polls end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PollRule {
    /// After `budget` frames, or before a frame that arrives more than `gap_ns` after the previous one.
    Gap {
        /// Frames of a poll at most; 64 is the kernel's (`NAPI_POLL_WEIGHT`), and more than that is taken as 64.
        budget: usize,
        /// The longest silence inside a poll, in nanoseconds.
        gap_ns: u64,
    },
}

impl Default for PollRule {
    fn default() -> Self {
        Self::Gap { budget: POLL_BUDGET, gap_ns: 50_000 }
    }
}

/// Frames of one NAPI poll at most.
const POLL_BUDGET: usize = 64;

impl Trace {
    /// Reads a capture file: `.pcapng` or `.pcap`, plain or zstd-compressed, told by content and not by name.
    ///
    /// When `manifest.json` beside the file lists it, its rules apply and its SHA-256 is checked. Otherwise [`Rules::default`],
    /// but for a capture that holds receive hashes: those are used.
    ///
    /// # Errors
    /// [`TraceError`] when the file, or the manifest beside it, cannot be read or used as a trace.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|source| TraceError::Io { file: shown.clone(), source })?;
        let stored = capture::read_capped(&shown, file)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest = Manifest::beside(path)?;
        let entry = manifest.as_ref().and_then(|manifest| manifest.entry(&name));
        if let Some(entry) = entry {
            entry.check(&shown, &stored)?;
        }
        let records = capture::read(&shown, &stored[..])?;
        let rules = entry.map_or_else(|| unlisted(&records), Entry::rules);
        Ok(Self::build(stem(&name), records, &rules))
    }

    /// Reads a capture from a stream such as standard input.
    ///
    /// # Errors
    /// [`TraceError`] when the stream ends early or is no capture; `name` stands for the file in its message.
    pub fn read(name: &str, reader: impl Read, rules: &Rules) -> Result<Self, TraceError> {
        Ok(Self::build(stem(name), capture::read(name, reader)?, rules))
    }

    /// Makes a trace of frames in memory: (arrival in nanoseconds, bytes of at least 14).
    pub fn from_frames(name: impl Into<String>, frames: Vec<(u64, Bytes)>, rules: &Rules) -> Self {
        let record = |(time_ns, bytes)| Record { time_ns, bytes, hash: None };
        Self::build(name.into(), frames.into_iter().map(record).collect(), rules)
    }

    /// The first `frames` frames, in the polls they came in.
    pub fn cut(&self, frames: usize) -> Self {
        let frames = frames.min(self.frames.len());
        let polls = self.polls.iter().filter(|poll| poll.frames.start < frames);
        let cut =
            |poll: &Poll| Poll { frames: poll.frames.start..poll.frames.end.min(frames), ..poll.clone() };
        Self {
            name: self.name.clone(),
            frames: self.frames[..frames].to_vec(),
            polls: polls.map(cut).collect(),
        }
    }

    /// The same frames with their VLAN tags in the bytes, as a device without tag offload passes them on. The hashes stay, and
    /// so does a tag of what is too short for MAC addresses.
    pub fn with_tags_in_band(&self) -> Self {
        let frames = self.frames.iter().map(|frame| match frame.vlan {
            Some(Vlan { tpid, tci }) if frame.bytes.len() >= 12 => {
                let mut bytes = BytesMut::from(&frame.bytes[..12]);
                bytes.extend_from_slice(&tpid.to_be_bytes());
                bytes.extend_from_slice(&tci.to_be_bytes());
                bytes.extend_from_slice(&frame.bytes[12..]);
                Frame { bytes: bytes.freeze(), vlan: None, ..*frame }
            }
            _ => frame.clone(),
        });
        Self { name: self.name.clone(), frames: frames.collect(), polls: self.polls.clone() }
    }

    fn build(name: String, records: Vec<Record>, rules: &Rules) -> Self {
        let frames: Vec<Frame> = records.into_iter().map(|record| frame(record, rules.hash)).collect();
        let polls = polls(&frames, rules.poll);
        Self { name, frames, polls }
    }
}

/// The folder, in one of traces, of what once differed from the kernel.
pub const REGRESSIONS: &str = "regressions";

/// The traces of a folder: those of its manifest in their order, or all capture files in it by name; then those of its
/// [`REGRESSIONS`], if it has any.
///
/// # Errors
/// [`TraceError`] when a folder or its manifest cannot be read, or there is no trace in it.
pub fn shipped(dir: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let mut found = listed(dir)?;
    if dir.join(REGRESSIONS).is_dir() {
        found.extend(listed(&dir.join(REGRESSIONS))?);
    }
    if found.is_empty() { Err(TraceError::NoTraces { dir: dir.display().to_string() }) } else { Ok(found) }
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let shown = dir.display().to_string();
    let found: Vec<PathBuf> = match Manifest::read(&dir.join(FILE_NAME))? {
        Some(manifest) => manifest.traces.iter().map(|entry| dir.join(&entry.file)).collect(),
        None => {
            let io = |source| TraceError::Io { file: shown.clone(), source };
            let mut files = Vec::new();
            for item in std::fs::read_dir(dir).map_err(io)? {
                let path = item.map_err(io)?.path();
                if path.is_file() && path.file_name().is_some_and(|name| is_capture(&name.to_string_lossy()))
                {
                    files.push(path);
                }
            }
            files.sort();
            files
        }
    };
    Ok(found)
}

const SUFFIXES: [&str; 4] = [".pcapng.zst", ".pcap.zst", ".pcapng", ".pcap"];

fn is_capture(name: &str) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn stem(name: &str) -> String {
    let cut = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    cut.unwrap_or(name).to_owned()
}

/// The rules of a file that no manifest lists.
fn unlisted(records: &[Record]) -> Rules {
    let hashed = records.iter().any(|record| record.hash.is_some());
    Rules { hash: if hashed { HashRule::Captured } else { HashRule::default() }, ..Rules::default() }
}

/// Does what the device does to a frame: hashes it and strips its outer tag.
fn frame(record: Record, rule: HashRule) -> Frame {
    let (bytes, vlan) = strip_vlan(record.bytes);
    let hash = match rule {
        HashRule::Zero => 0,
        HashRule::Toeplitz => rss::hash(&bytes),
        HashRule::Captured => record.hash.unwrap_or(0),
    };
    Frame { time_ns: record.time_ns, bytes, hash, vlan }
}

/// Moves an outer tag into metadata. A frame too short to hold the tag and a type behind it keeps its bytes.
pub fn strip_vlan(bytes: Bytes) -> (Bytes, Option<Vlan>) {
    let &[_, _, _, _, _, _, _, _, _, _, _, _, t0, t1, c0, c1, _, _, ..] = &bytes[..] else {
        return (bytes, None);
    };
    let tpid = u16::from_be_bytes([t0, t1]);
    if !matches!(tpid, 0x8100 | 0x88a8) {
        return (bytes, None);
    }
    let mut stripped = BytesMut::with_capacity(bytes.len() - 4);
    stripped.extend_from_slice(&bytes[..12]);
    stripped.extend_from_slice(&bytes[16..]);
    (stripped.freeze(), Some(Vlan { tpid, tci: u16::from_be_bytes([c0, c1]) }))
}

fn polls(frames: &[Frame], rule: PollRule) -> Vec<Poll> {
    let PollRule::Gap { budget, gap_ns } = rule;
    let budget = budget.clamp(1, POLL_BUDGET);
    let mut polls: Vec<Poll> = Vec::new();
    let mut start = 0;
    let mut now = 0;
    for end in 1..=frames.len() {
        let last = frames[end - 1].time_ns;
        // A capture of several queues may step back in time; that is no gap.
        let gap = frames.get(end).is_none_or(|next| next.time_ns.saturating_sub(last) > gap_ns);
        if gap || end - start == budget {
            now = last.max(now);
            polls.push(Poll { time_ns: now, frames: start..end });
            start = end;
        }
    }
    polls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(times: &[u64]) -> Trace {
        let frames = times.iter().map(|&time| (time, Bytes::from(vec![0; 14]))).collect();
        Trace::from_frames("t", frames, &Rules::default())
    }

    fn ends(trace: &Trace) -> Vec<usize> {
        trace.polls.iter().map(|poll| poll.frames.end).collect()
    }

    #[test]
    fn polls_end_at_a_gap_and_at_the_budget() {
        assert_eq!(ends(&arrivals(&[])), Vec::<usize>::new());
        assert_eq!(ends(&arrivals(&[0, 50_000, 100_001, 100_002])), [2, 4]);
        let trace = arrivals(&[7; 130]);
        assert_eq!(ends(&trace), [64, 128, 130]);
        assert!(trace.polls.iter().all(|poll| poll.time_ns == 7));
    }

    #[test]
    fn polls_survive_time_that_steps_back() {
        let trace = arrivals(&[1_000_000, 5, 6, 2_000_000]);
        assert_eq!(ends(&trace), [3, 4]);
        assert_eq!(trace.polls[0].time_ns, 6);
        assert_eq!(ends(&arrivals(&[u64::MAX, 0, u64::MAX])), [2, 3]);
    }

    #[test]
    fn the_outer_tag_becomes_metadata() {
        let mut tagged = vec![1; 12];
        tagged.extend_from_slice(&[0x88, 0xa8, 0x20, 0x05, 0x81, 0x00, 0, 7, 8, 0]);
        let (bytes, vlan) = strip_vlan(Bytes::from(tagged.clone()));
        assert_eq!(vlan, Some(Vlan { tpid: 0x88a8, tci: 0x2005 }));
        assert_eq!(bytes[12..], [0x81, 0x00, 0, 7, 8, 0]);
        // Too short for a type behind the tag: left alone.
        let (bytes, vlan) = strip_vlan(Bytes::from(tagged[..17].to_vec()));
        assert_eq!((bytes.len(), vlan), (17, None));
    }

    #[test]
    fn open_uses_the_manifest_and_names_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = PcapngWriter::new(Vec::new(), "test").unwrap();
        for time in 0..3 {
            writer.write(time * 10, &[2; 60], None).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let path = dir.path().join("a.pcapng");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Trace::open(&path).unwrap().polls.len(), 1);
        assert_eq!(shipped(dir.path()).unwrap(), std::slice::from_ref(&path));

        let entry = Entry {
            file: "a.pcapng".into(),
            sha256: sha256_hex(&bytes),
            shows: "three frames".into(),
            hash: HashRule::Zero,
            poll: PollRule::Gap { budget: 64, gap_ns: 5 },
            profile: "linux-6.18".into(),
            udp_forwarding: false,
            tunnels: Vec::new(),
            config: None,
            frames: 3,
            expect: Default::default(),
            cases: Vec::new(),
        };
        let manifest = Manifest { schema: SCHEMA, traces: vec![entry] };
        std::fs::write(dir.path().join(FILE_NAME), manifest.to_json().unwrap()).unwrap();
        let trace = Trace::open(&path).unwrap();
        assert_eq!((trace.name.as_str(), trace.polls.len()), ("a", 3));

        std::fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        let message = Trace::open(&path).unwrap_err().to_string();
        assert!(message.contains("a.pcapng") && message.contains("SHA-256"), "{message}");
        assert!(Trace::open(&dir.path().join("b.pcapng")).unwrap_err().to_string().contains("b.pcapng"));
        assert!(Trace::open(dir.path()).is_err());
        assert!(shipped(&dir.path().join("none")).is_err());
    }
}

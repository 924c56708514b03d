//! What a backend delivered, in the form that is compared.

use bytes::Bytes;
use gro_core::user::Why;
use gro_core::{GroResult, Rule};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// One delivered packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The frame without the tag in `vlan`, exactly as delivered.
    pub bytes: Bytes,
    /// Payload bytes of each segment but the last, 0 for a single frame.
    pub gso_size: u32,
    /// Segments.
    pub segs: u32,
    /// `SKB_GSO_*` bits, 0 for a single frame.
    pub gso_type: u32,
    /// TPID (high half) and TCI of the VLAN tag in metadata, 0 for none.
    pub vlan: u32,
    /// Number of the first frame in it, where the backend tells. Not compared.
    pub first: Option<u32>,
    /// Number of the last frame in it, where the backend tells. Not compared.
    pub last: Option<u32>,
    /// Why it left, where the backend tells. Not compared: the decision digest covers it.
    pub why: Option<Why>,
}

impl Record {
    /// Whether the promise, what leaves and in which form, is the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    /// The canonical form: an outer VLAN tag in the bytes is metadata. A frame cut in its tag keeps it, as in the kernel.
    #[must_use]
    pub(crate) fn canonical(mut self) -> Self {
        if self.vlan == 0
            && let (bytes, Some(vlan)) = crate::trace::strip_vlan(self.bytes.clone())
        {
            self.bytes = bytes;
            self.vlan = crate::backend::vlan_word(Some(vlan));
        }
        self
    }

    fn key(&self) -> (&Bytes, u32, u32, u32, u32) {
        (&self.bytes, self.gso_size, self.segs, self.gso_type, self.vlan)
    }
}

/// What a run cost, in the backend's own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Wall time of the whole run in nanoseconds, harness included.
    pub wall_ns: u64,
    /// Instructions retired by the device, where it counts them.
    pub instructions: Option<u64>,
    /// Cycles of the device's timing model, where it has one.
    pub cycles: Option<u64>,
}

/// The packets that left, in order.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In order.
    pub records: Vec<Record>,
    /// The engine's running digest over its decisions; none for a backend that is not our engine.
    pub decision_digest: Option<u64>,
    /// What became of each frame at its arrival, where the backend tells.
    pub verdicts: Option<Vec<GroResult>>,
    /// What it cost.
    pub cost: Cost,
}

impl Outcome {
    /// SHA-256 over the records in order: per record six little-endian words (bytes, `gso_size`, segments, `gso_type`, VLAN,
    /// 0) and the bytes of the frame. This is the promise.
    pub fn output_digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new_with_prefix(b"gro records 1\0");
        for record in &self.records {
            let words =
                [record.bytes.len() as u32, record.gso_size, record.segs, record.gso_type, record.vlan, 0];
            for word in words {
                hasher.update(word.to_le_bytes());
            }
            hasher.update(&record.bytes);
        }
        hasher.finalize().into()
    }
}

/// What became of each of `frames` frames, from the packets that our engine delivered: the first frame of a packet that was held
/// was held, the others of it joined. `None` where a packet does not say which frame is its first.
pub(crate) fn verdicts(records: &[Record], frames: usize) -> Option<Vec<GroResult>> {
    let mut verdicts = vec![GroResult::Merged; frames];
    for record in records {
        *verdicts.get_mut(record.first? as usize)? = match record.why? {
            Why::Bypass(_) => GroResult::Normal,
            Why::Flush(_) => GroResult::Held,
        };
    }
    Some(verdicts)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A rule's name on the command line and in tables: `fixed-ip-id`.
pub fn rule_name(rule: Rule) -> String {
    let mut name = String::new();
    for letter in format!("{rule:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

//! What GRO adds to a graph: which bits of a header must be equal, which may change and how, what is delivered at once, what
//! ends a merge. In a document all of it stands under the key `gro`.

use crate::model::Field;

/// What GRO adds to a parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParserGro {
    /// The rule set that the document describes, as in `linux-6.18`.
    pub profile: Option<String>,
    /// A longer frame is refused (`too_long`), in bytes.
    pub max_frame_length: u32,
    /// A frame with longer headers is refused (`too_long`), in bytes.
    pub max_header_length: u32,
}

impl Default for ParserGro {
    fn default() -> Self {
        Self { profile: None, max_frame_length: u32::MAX, max_header_length: u32::MAX }
    }
}

/// What GRO adds to a header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeGro {
    /// What the header is to the engine.
    pub layer: Option<Layer>,
    /// Without this setting a frame with this header is refused before it is looked at.
    pub requires: Option<Requires>,
    /// Whether an unknown next protocol refuses the frame before the conditions do.
    pub next_proto_first: bool,
    /// The reason for a next protocol that is not in the table.
    pub unknown_next: Option<String>,
    /// The reason for a header that says it is shorter than `min-hdr-length`.
    pub short_header: Option<String>,
    /// The reasons for conditions that do not hold: (name of the condition, reason).
    pub refusals: Vec<(String, String)>,
    /// A length field that must agree with the bytes of the frame.
    pub length: Option<PresentLength>,
    /// Bits that, set, end a merge: the packet of the flow leaves first, then this frame.
    pub flush: Vec<Bits>,
    /// The checksum that must verify.
    pub checksum: Option<Checksum>,
    /// A rule for each bit of the first `min-hdr-length` bytes.
    pub fields: Vec<GroField>,
    /// The rule for the bytes behind those: options, routing data.
    pub rest: Option<FieldRule>,
    /// What never joins a held packet.
    pub never_joins: Tests,
    /// What is never held as the first of a packet.
    pub never_held: Tests,
    /// What joins and then closes the packet.
    pub closes: Tests,
}

/// What a header is to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The link's header.
    Link,
    /// A VLAN tag in the bytes.
    Tag,
    /// The network header: `Packet::l3`.
    Network,
    /// An IPv6 extension header.
    Extension,
    /// The transport header: `Packet::l4`.
    Transport,
}

impl Layer {
    /// Every one, with its name in documents.
    pub const ALL: [(&'static str, Self); 5] = [
        ("link", Self::Link),
        ("tag", Self::Tag),
        ("network", Self::Network),
        ("extension", Self::Extension),
        ("transport", Self::Transport),
    ];
}

/// A setting that a header needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requires {
    /// The setting.
    pub switch: String,
    /// The reason for a frame where it is off.
    pub bypass: String,
}

/// A length field and the bytes that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentLength {
    /// The field, which counts bytes.
    pub field: Field,
    /// Bytes that it does not count: field + `add` = bytes from the start of this header to the end of the frame.
    pub add: u32,
    /// What an unequal length does.
    pub unequal: Unequal,
}

/// What an unequal length does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unequal {
    /// It ends the merge; the checksum behind is then not looked at.
    Flush,
    /// It refuses the frame with this reason.
    Bypass(String),
}

/// Bits with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The name.
    pub name: String,
    /// Where they are; any of them set counts.
    pub field: Field,
}

/// A checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where it is.
    pub field: Field,
    /// Whether it covers a pseudo-header, the header and all bytes behind it (true), or the header alone.
    pub payload: bool,
    /// The reason for a wrong one.
    pub bypass: String,
}

/// Bits of a header and their rule. Longer than a [`Field`]: an address is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroField {
    /// The name.
    pub name: String,
    /// First byte in the header.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
    /// Which bits; with more than eight bytes always all.
    pub mask: Option<u64>,
    /// The rule.
    pub rule: FieldRule,
}

impl GroField {
    /// Whether it has this bit: `bit` 0 is the most significant of its byte.
    pub fn covers(&self, byte: usize, bit: usize) -> bool {
        let Some(index) =
            byte.checked_sub(self.offset as usize).filter(|&index| index < self.length as usize)
        else {
            return false;
        };
        let Some(mask) = self.mask else { return true };
        let shift = 8 * (self.length as usize - 1 - index) + 7 - bit;
        mask.checked_shr(shift as u32).unwrap_or(0) & 1 != 0
    }
}

/// What a bit of a later segment has to do with that of the packet it would join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldRule {
    /// Equal, or it is another flow.
    Identify,
    /// Equal, or the packet of the flow leaves first.
    Equal,
    /// It continues: the sequence number plus the bytes held.
    Continue,
    /// It counts up by one, or stays as it is if it did so from the second segment on.
    IncrementOrFixed,
    /// It may differ; the merged packet has the OR.
    Join,
    /// It may differ; the merged packet gets its own value.
    Rewrite,
    /// It may differ; the merged packet has that of the first.
    First,
    /// A condition, a length or a flush test already gives it one value.
    Checked,
}

impl FieldRule {
    /// Every one, with its name in documents.
    pub const ALL: [(&'static str, Self); 8] = [
        ("identify", Self::Identify),
        ("equal", Self::Equal),
        ("continue", Self::Continue),
        ("increment-or-fixed", Self::IncrementOrFixed),
        ("join", Self::Join),
        ("rewrite", Self::Rewrite),
        ("first", Self::First),
        ("checked", Self::Checked),
    ];
}

/// Tests on a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tests {
    /// Any of these bits is set.
    pub bits: Vec<Bits>,
    /// It has no payload.
    pub empty: bool,
    /// Its payload is longer than that of the packet's first segment.
    pub longer: bool,
    /// Its payload is shorter than that of the packet's first segment.
    pub shorter: bool,
    /// It is segment number so many of the packet.
    pub segments: Option<u32>,
}

impl NodeGro {
    /// Bits of the first `length` bytes that have this rule: what a comparison of two headers masks with.
    pub fn mask(&self, length: u32, rule: FieldRule) -> Vec<u8> {
        let mut mask = vec![0; length as usize];
        for (byte, value) in mask.iter_mut().enumerate() {
            for bit in 0..8 {
                let has = self.fields.iter().any(|field| field.rule == rule && field.covers(byte, bit));
                *value |= u8::from(has) << (7 - bit);
            }
        }
        mask
    }

    /// The rule of a bit, `bit` 0 being the most significant of its byte.
    pub fn rule(&self, byte: usize, bit: usize) -> Option<FieldRule> {
        self.fields.iter().find(|field| field.covers(byte, bit)).map(|field| field.rule)
    }
}

//! What GRO adds to a graph: which bits of a header must be equal, which may change and how, what is delivered at once, what
//! ends a merge. In a document all of it stands under the key `gro`.

use crate::PROFILES;
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
    /// The reason for more headers with `encap` than `max-encaps`.
    pub max_encaps: Option<String>,
}

impl Default for ParserGro {
    fn default() -> Self {
        Self { profile: None, max_frame_length: u32::MAX, max_header_length: u32::MAX, max_encaps: None }
    }
}

/// When an entry of a next-protocol table is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryGro {
    /// While this setting is on: one of [`SWITCHES`](crate::SWITCHES).
    pub only_if: Option<String>,
    /// From this profile on: one of [`PROFILES`](crate::PROFILES).
    pub since: Option<String>,
    /// Where a test switched this rule off, and nowhere else.
    pub without: Option<String>,
}

/// What a walk is made under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings<'a> {
    /// The settings that are on, of [`SWITCHES`](crate::SWITCHES).
    pub switches: &'a [&'a str],
    /// The rule set, of [`PROFILES`](crate::PROFILES); `None` is the newest.
    pub profile: Option<&'a str>,
}

impl EntryGro {
    /// Whether the entry is there.
    pub fn holds(&self, settings: &Settings<'_>) -> bool {
        let number = |name: &str| PROFILES.iter().position(|profile| *profile == name);
        let now = settings.profile.map_or(PROFILES.len(), |profile| number(profile).unwrap_or(0));
        let old_enough = self.since.as_deref().and_then(number).is_none_or(|since| since <= now);
        let is_on = self.only_if.as_deref().is_none_or(|switch| settings.switches.contains(&switch));
        old_enough && is_on && self.without.is_none()
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
    /// Ethertype by which the engine knows a network header, whatever announced it.
    pub ethertype: Option<u32>,
    /// What a packet behind this header is to GSO.
    pub tunnel: Option<TunnelKind>,
    /// Names of tests here, and the rule of the engine's `Rule` that a test switches each off by: conditions, flush bits, and
    /// `checksum`, `length`, `requires`, `short-header`, `identity`.
    pub mutants: Vec<(String, String)>,
    /// A rule for each bit of the first `min-hdr-length` bytes.
    pub fields: Vec<GroField>,
    /// Fields that are there only with a flag.
    pub optional: Vec<OptionalField>,
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
    /// A header of a tunnel, in front of another packet.
    Tunnel,
}

/// What a packet in a tunnel is to GSO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// An IP header in an IP header: `SKB_GSO_IPXIP4`, `SKB_GSO_IPXIP6`.
    IpInIp,
    /// `SKB_GSO_GRE`.
    Gre,
    /// `SKB_GSO_UDP_TUNNEL`, with or without `_CSUM`.
    Udp,
}

impl TunnelKind {
    /// Every one, with its name in documents.
    pub const ALL: [(&'static str, Self); 3] =
        [("ipxip", Self::IpInIp), ("gre", Self::Gre), ("udp-tunnel", Self::Udp)];
}

impl Layer {
    /// Every one, with its name in documents.
    pub const ALL: [(&'static str, Self); 6] = [
        ("link", Self::Link),
        ("tag", Self::Tag),
        ("network", Self::Network),
        ("extension", Self::Extension),
        ("transport", Self::Transport),
        ("tunnel", Self::Tunnel),
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
    /// What it covers.
    pub covers: Covers,
    /// Whether 0 means that there is none.
    pub zero_is_none: bool,
    /// It is there only where one of these bits is set.
    pub when: Option<Field>,
    /// The reason for a wrong one.
    pub bypass: String,
}

/// What a checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// The header alone.
    Header,
    /// A pseudo-header, the header and all bytes behind it.
    Payload,
    /// The header and all bytes behind it.
    Rest,
}

impl Covers {
    /// Every one, with its name in documents.
    pub const ALL: [(&'static str, Self); 3] =
        [("header", Self::Header), ("payload", Self::Payload), ("rest", Self::Rest)];
}

/// A field that is there only where one of some bits is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalField {
    /// The name.
    pub name: String,
    /// The bits.
    pub when: Field,
    /// Where it is.
    pub field: Field,
    /// The rule.
    pub rule: FieldRule,
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
    /// The engine's word that the field goes to, one of [`WORDS`](crate::WORDS), and by how many bits it is shifted left there.
    pub into: Option<(String, u32)>,
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
    /// It is zero in both or in neither, or it is another flow.
    Presence,
}

impl FieldRule {
    /// Every one, with its name in documents.
    pub const ALL: [(&'static str, Self); 9] = [
        ("identify", Self::Identify),
        ("equal", Self::Equal),
        ("continue", Self::Continue),
        ("increment-or-fixed", Self::IncrementOrFixed),
        ("join", Self::Join),
        ("rewrite", Self::Rewrite),
        ("first", Self::First),
        ("checked", Self::Checked),
        ("presence", Self::Presence),
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

    /// Whether it is a tag with a length that a merged packet rewrites: PPPoE. The engine has a place for one.
    pub fn is_session(&self) -> bool {
        self.layer == Some(Layer::Tag) && self.fields.iter().any(|field| field.rule == FieldRule::Rewrite)
    }

    /// The rule of the engine by which a test switches the test of this name off.
    pub fn mutant(&self, name: &str) -> Option<&str> {
        self.mutants.iter().find(|(test, _)| test == name).map(|(_, rule)| rule.as_str())
    }

    /// The rule of a bit, `bit` 0 being the most significant of its byte.
    pub fn rule(&self, byte: usize, bit: usize) -> Option<FieldRule> {
        self.fields.iter().find(|field| field.covers(byte, bit)).map(|field| field.rule)
    }
}

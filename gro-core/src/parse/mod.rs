//! From header bytes to the words that GRO compares.
//!
//! The parser itself is `generated.rs`, from the document `gro-core/parser.json`. What every header needs stands here, in the
//! words of the document: whether it fits, what is part of the flow's identity, what becomes of a header in front of a tunnel.
//!
//! A frame that fails here is one that kernel GRO cannot look at: it is delivered at once and overtakes what is held of
//! its flow. The tests that only end a merge are in [`crate::coalesce`].

mod generated;
mod packet;

pub use generated::masks;
pub use packet::{CHAIN_WORDS, Chain, Key, Packet};
pub(crate) use packet::{IPV6_HEADER, JUMBO_HEADER, Outer, TCP_HEADER, TunnelKind};

use crate::checksum::{fold, halves};
use crate::profile::{Config, Profile};
use crate::reason::Bypass;
use crate::rule::Rule;
use crate::window::{HEADER_MAX, Window};
use generated::Header;

const ETHERTYPE_IPV6: u32 = 0x86dd;
pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;
/// Offset of the network header in a frame without in-band VLAN tag; sizes count from here, tags included.
pub(crate) const L3_UNTAGGED: u32 = 14;

/// Whether all headers are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Parsed {
    /// Up to the payload.
    Whole = 0,
    /// Up to the end of a tunnel header or of IPv6 extension headers.
    Part,
    /// Not at all; the packet says why.
    Refused,
}

/// Most parts of a header chain: IPv6 extension headers may end one, a tunnel, and extension headers in it.
pub(crate) const PARTS: u32 = 4;

/// Parses the headers of an Ethernet frame. The packet is written in place: a BPF stack has no room for another one. Each header
/// writes all of its fields; what was there before does not matter.
#[inline(always)]
pub fn parse<P: Profile>(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Result<(), Bypass> {
    match first::<P>(window, config, packet) {
        Parsed::Whole => Ok(()),
        Parsed::Refused => Err(packet.why_refused()),
        Parsed::Part => parts::<P>(window, config, packet),
    }
}

#[cold]
#[inline(never)]
fn parts<P: Profile>(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Result<(), Bypass> {
    for _ in 1..PARTS {
        match part::<P>(window, config, packet) {
            Parsed::Whole => return finish(window, packet),
            Parsed::Refused => return Err(packet.why_refused()),
            Parsed::Part => {}
        }
    }
    Err(Bypass::TooLong)
}

/// Parses the first part of the headers, which for most frames is all of them.
#[inline(always)]
pub fn first<P: Profile>(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Parsed {
    packet.forget();
    headers::<P>(window, config, packet, Cursor::START, Header::FIRST)
}

/// Parses the next part. In parts, because a verifier that walks every path forgets in between how it came there (see
/// [`crate::Hand`]).
#[inline(always)]
pub fn part<P: Profile>(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Parsed {
    take_run(window, packet);
    next::<P>(window, config, packet)
}

/// [`part`] where it is rare: kept out of the way of those frames that have only one.
#[cold]
#[inline(never)]
pub(crate) fn rest<P: Profile>(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Parsed {
    part::<P>(window, config, packet)
}

/// What [`first`] does before headers, for a target that then calls [`next`].
#[inline(always)]
pub fn begin(packet: &mut Packet) {
    packet.forget();
    packet.goes_on(0, Header::FIRST);
}

/// What [`part`] does before headers: puts the words of a run of headers, all of which are part of the flow's identity, into the
/// chain.
#[inline(always)]
pub fn take_run(window: &Window<'_>, packet: &mut Packet) {
    packet.chain.push_all(window, packet.from, packet.at);
}

/// Parses headers from where the packet says.
#[inline(always)]
pub fn next<P: Profile>(window: &Window<'_>, config: &Config, packet: &mut Packet) -> Parsed {
    let (cursor, header) = (Cursor { at: packet.at, key: 0 }, packet.next);
    headers::<P>(window, config, packet, cursor, header)
}

#[inline(always)]
fn headers<P: Profile>(
    window: &Window<'_>,
    config: &Config,
    packet: &mut Packet,
    cursor: Cursor,
    header: u32,
) -> Parsed {
    match generated::headers::<P>(window, config, packet, cursor, header) {
        Ok(parsed) => parsed,
        Err(why) => {
            packet.refused = why as u32;
            Parsed::Refused
        }
    }
}

/// Ends what had more than one part.
#[inline(always)]
pub(crate) fn finish(window: &Window<'_>, packet: &mut Packet) -> Result<(), Bypass> {
    if packet.chain.len as usize > CHAIN_WORDS {
        return Err(Bypass::TooLong);
    }
    if packet.outer.has_check() {
        packet.between = sum_between(window, packet.outer.checked(), packet.l4);
    }
    Ok(())
}

/// Where the next header begins, and the key by which it was found: the ethertype or protocol number that announced it.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    at: u32,
    key: u32,
}

impl Cursor {
    const START: Self = Self { at: 0, key: 0 };
}

/// Whether a header that ends at `end` fits the window and the frame.
#[inline(always)]
fn fits(window: &Window<'_>, end: u32) -> Result<(), Bypass> {
    if end > window.len() {
        Err(Bypass::Truncated)
    } else if end > HEADER_MAX as u32 {
        Err(Bypass::TooLong)
    } else {
        Ok(())
    }
}

/// Sum over a header, folded.
#[inline(always)]
fn sum(words: &[u32; 5]) -> u16 {
    let mut sum = 0;
    for &word in words {
        sum += halves(word);
    }
    fold(sum)
}

/// Sum over the headers from `start`, an even number of bytes, to `end`.
#[inline(always)]
fn sum_between(window: &Window<'_>, start: u32, end: u32) -> u32 {
    let mut sum = 0;
    for pair in 0..HEADER_MAX as u32 / 2 {
        let at = start + 2 * pair;
        if at >= end {
            break;
        }
        sum += window.be16(at) as u32;
    }
    fold(sum) as u32
}

/// What the document's words about tunnels do.
impl Packet {
    /// Forgets the frame before.
    #[inline(always)]
    fn forget(&mut self) {
        self.outer.places = 0;
        self.chain.len = 0;
        self.mismatch = false;
    }

    /// Why it is [`Parsed::Refused`].
    #[inline(always)]
    pub(crate) fn why_refused(&self) -> Bypass {
        Bypass::of_word(self.refused)
    }

    /// An Ethernet header: the frame's own, or one in a tunnel.
    #[inline(always)]
    fn link<P: Profile>(&mut self, at: u32, macs: [u32; 3]) {
        if at == 0 {
            self.key.macs = macs;
        } else {
            for word in macs {
                self.chain.push(Rule::InnerMacs.of::<P>(word));
            }
        }
    }

    /// A header whose length a merged packet rewrites: PPPoE. There is a place for one, in front of a tunnel or in it.
    #[inline(always)]
    fn session(&mut self, at: u32) -> Result<(), Bypass> {
        if self.outer.pppoe() != 0 {
            return Err(Bypass::Nested);
        }
        self.outer.places |= at << Outer::PPPOE_SHIFT;
        Ok(())
    }

    /// A header that may have a checksum over all that is behind it: GRE, or a UDP header in front of a tunnel.
    #[inline(always)]
    fn checked(&mut self, at: u32, udp: bool, check: bool) {
        let kind = if udp { Outer::UDP } else { 0 } | if check { Outer::CHECK } else { 0 };
        self.outer.places |= at << Outer::CHECKED_SHIFT | kind;
        self.outer.pseudo_sum = if udp { self.address_sum() + PROTOCOL_UDP as u32 } else { 0 };
    }

    /// The headers `next` and on, from `at`, are another part.
    #[inline(always)]
    fn goes_on(&mut self, at: u32, next: u32) -> Parsed {
        self.at = at;
        self.from = at;
        self.next = next;
        Parsed::Part
    }

    /// The same; all words from `start` to `at` are part of the flow's identity.
    #[inline(always)]
    fn pause<P: Profile>(&mut self, rule: Rule, start: u32, at: u32, next: u32) -> Parsed {
        self.at = at;
        self.from = if P::on(rule) { start } else { at };
        self.next = next;
        Parsed::Part
    }

    /// The IP header so far is an outer one.
    #[inline(always)]
    fn encapsulate<P: Profile>(&mut self, kind: TunnelKind) {
        let ipv6 = self.is_ipv6();
        self.chain.push(self.key.protocol);
        if ipv6 {
            self.chain.push(self.key.label);
        }
        for index in 0..self.key.addresses.len() {
            if ipv6 || index % 4 == 0 {
                self.chain.push(Rule::OuterAddresses.of::<P>(self.key.addresses[index]));
            }
        }
        let family = if ipv6 { Outer::IPV6 } else { 0 };
        self.outer.places |= self.l3 | family | (kind as u32) << Outer::KIND_SHIFT;
        self.outer.class = self.class;
        self.outer.id_check = self.id_check;
        self.outer_mismatch = self.mismatch;
    }
}

/// Whether a UDP header with this destination port has something else behind it than a payload: by the document's table `udp-ports`.
#[cfg(feature = "burst")]
#[inline(always)]
pub(crate) fn is_udp_tunnel(port: u16, config: &Config) -> bool {
    generated::udp_ports(port as u32, config).is_some()
}

#[cfg(test)]
pub(crate) mod tests;

//! The first frame of a packet: whether it is plain, and what the sums of its followers have in common with its own.

use super::{IP, IPV4, IPV6, LINK_END, in_host_order, index_of, is_right, turned};
use crate::checksum::{fold, halves, is_complete};
use crate::coalesce::CLOSING;
use crate::datapath::{Datapath, Input, Payload};
use crate::parse::{L3_UNTAGGED, PROTOCOL_TCP, TCP_HEADER};
use crate::window::Window;

/// The first segment of a packet.
pub(super) struct First {
    pub(super) seq: u32,
    pub(super) payload: Payload,
    pub(super) sums: Sums,
}

/// What the sums of a flow's frames have in common: [`crate::flow::Flow::pseudo_sum`] and [`super::template::FRAME_SUM`].
pub(super) struct Sums {
    pub(super) pseudo: u32,
    pub(super) frame: u32,
}

impl First {
    /// The segment, if it can be held as the first of a packet, or could with a payload.
    #[inline(always)]
    pub(super) fn of<D: Datapath, const L4: u32>(
        datapath: &mut D,
        frame: &D::Frame,
        input: &Input<'_>,
    ) -> Option<Self> {
        let window = &input.window;
        let (len, tcp) = (window.len(), index_of(L4));
        let control = window.word(tcp + 3);
        // The data offset is the upper half of the word's first byte, in words.
        let at = L4 + (control >> 2 & 0x3c);
        if control & CLOSING.to_be() != 0 || at < L4 + TCP_HEADER || len >> 16 != 0 || at > len {
            return None;
        }
        let is_plain = if L4 == IPV4 { is_plain_v4(window) } else { is_plain_v6(window) };
        if !is_plain {
            return None;
        }
        let sums = Sums::of::<L4>(window);
        if !is_right::<D, L4>((sums.pseudo, sums.frame), datapath, frame, input) {
            return None;
        }
        let seq = in_host_order(window.word(tcp + 1));
        Some(Self { seq, payload: Payload { at, len: len - at }, sums })
    }
}

/// Whether the header is right, of version 4 without options, of no fragment, and TCP follows.
#[inline(always)]
fn is_plain_v4(window: &Window<'_>) -> bool {
    let (w0, w1, w2) = (window.word(IP), window.word(IP + 1), window.word(IP + 2));
    let version = w0 & 0xff ^ 0x45 | w1 & 0xffbf_0000 | w2 >> 8 & 0xff ^ PROTOCOL_TCP as u32;
    let length = turned(w0 >> 16) ^ window.len().wrapping_sub(L3_UNTAGGED);
    version | length == 0 && is_complete(sum([w0, w1, w2, window.word(IP + 3), window.word(IP + 4)]))
}

/// Whether TCP follows. The version is not asked, as by the kernel: the ethertype says it.
#[inline(always)]
fn is_plain_v6(window: &Window<'_>) -> bool {
    let w1 = window.word(IP + 1);
    let length = turned(w1) ^ window.len().wrapping_sub(IPV6);
    w1 >> 16 & 0xff ^ PROTOCOL_TCP as u32 | length == 0
}

/// The sum of the halves of some words. The low ones are what all words leave of the high ones.
#[inline(always)]
pub(super) fn sum<const N: usize>(words: [u32; N]) -> u32 {
    let (mut all, mut high) = (0_u32, 0);
    for word in words {
        all = all.wrapping_add(word);
        high += word >> 16;
    }
    all.wrapping_sub(high << 16) + high
}

impl Sums {
    /// Of the flow that a plain frame starts. Below 2^18 each, and not folded.
    #[inline(always)]
    pub(super) fn of<const L4: u32>(window: &Window<'_>) -> Self {
        let link = sum([window.word(0), window.word(1), window.word(LINK_END), window.start()]);
        if L4 == IPV4 {
            let pseudo = pseudo_sum(sum([window.word(IP + 3), window.word(IP + 4)]));
            // The header sums to zero, and so does what varies in it with what does not.
            let frame = pseudo + (!turned(fold(link) as u32) & 0xffff);
            Self { pseudo, frame }
        } else {
            let addresses: [u32; 8] = core::array::from_fn(|index| window.word(IP + 2 + index));
            // Addresses are in pseudo-header and header alike, and so is the length.
            let before = fold(link + halves(window.word(IP)) + (window.word(IP + 1) >> 16)) as u32;
            let frame = PROTOCOL_TCP as u32 + (!turned(before) & 0xffff);
            Self { pseudo: pseudo_sum(sum(addresses)), frame }
        }
    }
}

/// [`crate::flow::Flow::pseudo_sum`] from the sum of the addresses as they lie in memory.
#[inline(always)]
fn pseudo_sum(addresses: u32) -> u32 {
    PROTOCOL_TCP as u32 + turned(fold(addresses) as u32)
}

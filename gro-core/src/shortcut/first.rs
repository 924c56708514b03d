//! The first frame of a packet: whether it is plain, and what its followers will be compared with.

use super::{IP, IPV4, IPV6, LINK_END, PSH_IN_ORDER, in_host_order, index_of, is_right, template, turned};
use crate::checksum::{fold, halves};
use crate::coalesce::{Action, CLOSING, PSH};
use crate::datapath::{Datapath, Input, Payload, State, emit};
use crate::flow::{FIXED, Flow, OPTION_WORDS};
use crate::parse::{L3_UNTAGGED, PROTOCOL_TCP, TCP_HEADER, masks};
use crate::profile::Profile;
use crate::reason::FlushReason;
use crate::table::{Bucket, DEPTH, Slot};
use crate::window::Window;

/// The first segment of a packet.
pub(super) struct First {
    /// Offset of the TCP header.
    l4: u32,
    pub(super) seq: u32,
    control: u32,
    check_urgent: u32,
    pub(super) payload: Payload,
    sums: Sums,
}

/// What the sums of a flow's frames have in common: [`Flow::pseudo_sum`], [`template::FRAME_SUM`] and [`template::NETWORK_SUM`].
struct Sums {
    pseudo: u32,
    frame: u32,
    network: u32,
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
        let control = in_host_order(window.word(tcp + 3));
        let header = (control >> 28) * 4;
        let payload = Payload { at: L4 + header, len: len.wrapping_sub(L4 + header) };
        if control & CLOSING != 0 || header < TCP_HEADER || len >> 16 != 0 || payload.at > len {
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
        let check_urgent = in_host_order(window.word(tcp + 4));
        Some(Self { l4: L4, seq, control, check_urgent, payload, sums })
    }
}

/// Whether the header is right, of version 4 without options, of no fragment, and TCP follows.
#[inline(always)]
fn is_plain_v4(window: &Window<'_>) -> bool {
    let (w0, w1, w2) = (window.word(IP), window.word(IP + 1), window.word(IP + 2));
    let addresses = halves(window.word(IP + 3)) + halves(window.word(IP + 4));
    let sum = fold(halves(w0) + halves(w1) + halves(w2) + addresses);
    let version = w0 & 0xff ^ 0x45 | w1 & 0xffbf_0000 | w2 >> 8 & 0xff ^ PROTOCOL_TCP as u32;
    let length = turned(w0 >> 16) ^ window.len().wrapping_sub(L3_UNTAGGED);
    version | length | sum as u32 ^ 0xffff == 0
}

/// Whether TCP follows. The version is not asked, as by the kernel: the ethertype says it.
#[inline(always)]
fn is_plain_v6(window: &Window<'_>) -> bool {
    let w1 = window.word(IP + 1);
    let length = turned(w1) ^ window.len().wrapping_sub(IPV6);
    w1 >> 16 & 0xff ^ PROTOCOL_TCP as u32 | length == 0
}

impl Sums {
    /// Of the flow that a plain frame starts.
    #[inline(always)]
    fn of<const L4: u32>(window: &Window<'_>) -> Self {
        let (w0, w1, w2) = (window.word(IP), window.word(IP + 1), window.word(IP + 2));
        let link =
            halves(window.word(0)) + halves(window.word(1)) + window.start() + halves(window.word(LINK_END));
        let mut addresses = 0;
        let range = if L4 == IPV4 { IP + 3..IP + 5 } else { IP + 2..IP + 10 };
        for index in range {
            addresses += halves(window.word(index));
        }
        let pseudo = fold(PROTOCOL_TCP as u32 + turned(fold(addresses) as u32)) as u32;
        if L4 == IPV4 {
            // The header sums to zero, and so does what varies in it with what does not.
            let frame = fold(pseudo + (!turned(fold(link) as u32) & 0xffff)) as u32;
            let network = (!fold((w0 >> 16) + (w1 & 0xffff) + (w2 >> 16))) as u32;
            Self { pseudo, frame, network }
        } else {
            // Addresses are in pseudo-header and header alike, and so is the length.
            let before = fold(link + halves(w0) + (w1 >> 16)) as u32;
            let frame = fold(PROTOCOL_TCP as u32 + (!turned(before) & 0xffff)) as u32;
            Self { pseudo, frame, network: 0 }
        }
    }
}

/// Effects of a segment that is held as the first of a packet, in the order of the long way.
#[inline(always)]
pub(super) fn hold<P: Profile, D: Datapath>(
    state: &mut State,
    list: &mut Bucket,
    datapath: &mut D,
    frame: D::Frame,
    (bucket, first, input): (u32, &First, &Input<'_>),
) {
    let mut word = Action::Hold as u32;
    if list.count() >= DEPTH as u32 {
        word |= (FlushReason::Evicted as u32) << 8;
        let slot = Slot { bucket: bucket as u8, way: list.oldest() };
        emit::<P, D>(state, list, datapath, (slot, FlushReason::Evicted as u32));
    }
    let way = list.insert();
    let slot = Slot { bucket: bucket as u8, way };
    state.digest.mix(word ^ (slot.index() as u32) << 2, state.frames() ^ first.seq);
    let flow = list.flow_mut(way);
    flow.hash = input.meta.hash;
    flow.vlan = input.meta.vlan;
    flow.age = input.now;
    if first.l4 == IPV4 {
        first.write::<P, IPV4>(flow, &input.window);
    } else {
        first.write::<P, IPV6>(flow, &input.window);
    }
    datapath.hold(slot, frame, first.payload);
}

impl First {
    /// As [`Flow::start`] would.
    #[inline(always)]
    fn write<P: Profile, const L4: u32>(&self, flow: &mut Flow, window: &Window<'_>) {
        let (w1, w2, tcp) = (window.word(IP + 1), window.word(IP + 2), index_of(L4));
        let key = &mut flow.key;
        key.macs = [window.word(0), window.word(1), window.start() | window.word(LINK_END) << 16];
        if L4 == IPV4 {
            key.protocol = 0x0800 << 16 | PROTOCOL_TCP as u32;
            key.label = 0;
            key.addresses = [window.word(IP + 3), 0, 0, 0, window.word(IP + 4), 0, 0, 0];
            flow.class = window.word(IP) & 0xff00 | w2 & 0xff | w1 >> 6 & 0x1_0000;
            flow.id_check = turned(w1) << 16 | turned(w2 >> 16);
            flow.ipv6 = 0;
        } else {
            let w0 = in_host_order(window.word(IP));
            key.protocol = 0x86dd << 16 | PROTOCOL_TCP as u32;
            key.label = w0 & masks::IPV6_IDENTIFY[0];
            for index in 0..key.addresses.len() {
                key.addresses[index] = window.word(IP + 2 + index);
            }
            flow.class = (w0 & 0xff0_0000) >> 12 | w1 >> 24;
            flow.id_check = 0;
            flow.ipv6 = 1;
        }
        key.ports = window.word(tcp);
        flow.udp = 0;
        flow.l3 = L3_UNTAGGED;
        flow.l4 = L4;
        flow.payload = self.payload.at;
        flow.first_seq = self.seq;
        flow.next_seq = self.seq.wrapping_add(self.payload.len);
        flow.ack = window.word(tcp + 2);
        flow.control = self.control;
        flow.urgent = self.check_urgent & 0xffff;
        flow.fixed_id = 0;
        flow.segs = 1;
        flow.gso_size = self.payload.len;
        flow.bytes = self.payload.len;
        flow.pseudo_sum = self.sums.pseudo;
        flow.outer.places = 0;
        flow.chain_len = 0;
        let mut common = halves(window.word(tcp)) + halves(flow.ack);
        let options = (self.payload.at - L4 - TCP_HEADER) as usize / 4;
        for index in 0..OPTION_WORDS {
            if index >= options {
                break;
            }
            let word = window.word(tcp + 5 + index);
            flow.options[index] = word;
            common += halves(word);
        }
        let common = turned(fold(common) as u32) + self.sums.pseudo + (self.control & 0xffff);
        flow.common_sum = fold(common) as u32;
        let own = (window.len() - L4) + halves(self.seq) + (self.control >> 16) + halves(self.check_urgent);
        flow.payload_sum = (!fold(flow.common_sum + own)) as u32;
        flow.allow_shortcut::<P, L4>(window, &self.sums);
    }
}

impl Flow {
    /// Lets followers take the shortcut, if the first frame, which did not, is plain, too.
    #[inline(always)]
    pub(crate) fn find_plain<P: Profile>(&mut self, window: &Window<'_>) {
        let behind = if self.ipv6 != 0 { IPV6 } else { IPV4 };
        let is_plain = self.l4 ^ behind | self.udp | self.outer.places | self.chain_len == 0;
        if !P::SHORTCUT || !is_plain {
            self.plain = 0;
        } else if behind == IPV4 {
            self.allow_shortcut::<P, IPV4>(window, &Sums::of::<IPV4>(window));
        } else {
            self.allow_shortcut::<P, IPV6>(window, &Sums::of::<IPV6>(window));
        }
    }

    /// After a segment joined that did not take the shortcut.
    #[inline(always)]
    pub(crate) fn keep_plain(&mut self) {
        if self.plain != 0 {
            let counted = if self.fixed_id & FIXED != 0 { 0 } else { self.segs };
            self.chain[template::ID] = ((self.id_check >> 16) + counted) & 0xffff;
        }
    }

    /// Writes what followers are compared with.
    #[inline(always)]
    fn allow_shortcut<P: Profile, const L4: u32>(&mut self, window: &Window<'_>, sums: &Sums) {
        use template::{CONTROL, END, FRAME_SUM, ID, NETWORK, NETWORK_SUM, SEGMENT_SUM, START};
        self.chain[START] = window.start();
        self.chain[END] = window.word(LINK_END);
        self.chain[NETWORK] = window.word(IP);
        self.chain[NETWORK + 1] = window.word(IP + 1);
        self.chain[NETWORK + 2] = window.word(IP + 2);
        self.chain[CONTROL] = window.word(index_of(L4) + 3) & !PSH_IN_ORDER;
        self.chain[ID] = ((self.id_check >> 16) + 1) & 0xffff;
        self.chain[NETWORK_SUM] = sums.network;
        self.chain[FRAME_SUM] = sums.frame;
        self.chain[SEGMENT_SUM] = self.common_sum + ((self.control & !PSH) >> 16);
        // A follower with CWR does not join where the profile says so, and equal flags have it.
        self.plain = if self.control & P::CONTROL_ALONE == 0 { L4 } else { 0 };
    }
}

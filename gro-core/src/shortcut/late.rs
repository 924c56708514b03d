//! What is known late: a plain packet that is held is the words of its first header, as they lie in memory, until something happens to it
//! that needs more. A frame that is what comes next, to the word, joins without more being known ([`follow`]). What a merged header or an
//! unusual follower needs is worked out when there is one ([`Flow::learn`]); of most packets that leave alone, never.

use super::first::First;
use super::{
    IP, IPV4, IPV6, LINK_END, PSH_IN_ORDER, Segment, class_v4, class_v6, in_host_order, index_of, template,
    turned,
};
use crate::checksum::{self, fold, halves, is_complete};
use crate::coalesce::{Action, CWR};
use crate::complete::{GSO_TCP_FIXEDID, GSO_TCPV4, GSO_TCPV6, Merged};
use crate::datapath::{Datapath, GroResult, Input, Payload, State, bucket_index};
use crate::flow::{FIXED, Flow, OPTION_WORDS};
use crate::parse::{CHAIN_WORDS, IPV6_HEADER, JUMBO_HEADER, L3_UNTAGGED, PROTOCOL_TCP, TCP_HEADER, masks};
use crate::profile::Profile;
use crate::table::{DEPTH, Slot, Table};
use crate::window::Window;

/// The part of [`crate::receive`] for a frame that continues the packet of its flow exactly as expected; gives back every other frame, of
/// which it leaves no trace, to be received. A function of its own, because it is small: on a core with few registers that is a third of its
/// cost.
#[inline(always)]
pub fn follow<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> Result<GroResult, D::Frame> {
    if !P::SHORTCUT || !D::LEARNS_LATE || cfg!(target_endian = "big") {
        return Err(frame);
    }
    let bucket = bucket_index::<P>(input);
    let Some((list, _)) = table.bucket(bucket) else { return Err(frame) };
    for position in 0..DEPTH as u32 {
        if position >= list.count() {
            break;
        }
        let way = list.way_at(position);
        let flow = list.flow_mut(way);
        if flow.hash != input.meta.hash {
            continue;
        }
        let known = if flow.late == IPV4 && input.window.word(index_of(IPV4)) == flow.key.ports {
            next::<D, IPV4>(flow, datapath, &frame, input)
        } else if flow.late == IPV6 && input.window.word(index_of(IPV6)) == flow.key.ports {
            next::<D, IPV6>(flow, datapath, &frame, input)
        } else {
            continue;
        };
        let Some(seq) = known else { break };
        let slot = Slot { bucket: bucket as u8, way };
        let payload = Payload { at: flow.payload, len: flow.gso_size };
        state.followed(input.window.len());
        state.digest.mix(Action::Merge as u32 ^ (slot.index() as u32) << 2, state.frames() ^ seq);
        flow.segs += 1;
        flow.bytes += payload.len;
        datapath.append(slot, frame, payload);
        return Ok(GroResult::Merged);
    }
    Err(frame)
}

/// The sequence number of the frame, if it is what comes next in `flow`: equal to the first frame in every word and in length but for
/// sequence number and TCP checksum, and the IPv4 identification one further on, which the header's checksum makes up for. Two such frames
/// with right checksums have one sum.
#[inline(always)]
fn next<D: Datapath, const L4: u32>(
    flow: &mut Flow,
    datapath: &mut D,
    frame: &D::Frame,
    input: &Input<'_>,
) -> Option<u32> {
    use template::{CONTROL, END, LEN, NETWORK, START, SUM, SUMS};
    let (window, template, key) = (&input.window, &flow.chain, &flow.key);
    let (len, tcp) = (window.len(), index_of(L4));
    if len != template[LEN] || flow.vlan != input.meta.vlan {
        return None;
    }
    let sum = datapath.frame_sum(frame);
    if vouched(sum, input) != template[SUM] {
        return None;
    }
    if window.word(0) != key.macs[0]
        || window.word(1) != key.macs[1]
        || window.word(LINK_END) != template[END]
        || window.start() != template[START]
    {
        return None;
    }
    if window.word(IP) != template[NETWORK] || window.word(IP + 1) != template[NETWORK + 1] {
        return None;
    }
    if L4 == IPV4 {
        if window.word(IP + 2) != template[NETWORK + 2]
            || window.word(IP + 3) != key.addresses[0]
            || window.word(IP + 4) != key.addresses[4]
        {
            return None;
        }
    } else {
        for index in 0..key.addresses.len() {
            if window.word(IP + 2 + index) != key.addresses[index] {
                return None;
            }
        }
    }
    if window.word(tcp + 2) != flow.ack || window.word(tcp + 3) != template[CONTROL] {
        return None;
    }
    let options = (flow.payload - L4 - TCP_HEADER) / 4;
    if options == TIMESTAMP_WORDS {
        for index in 0..TIMESTAMP_WORDS as usize {
            if window.word(tcp + 5 + index) != flow.options[index] {
                return None;
            }
        }
    } else {
        for index in 0..OPTION_WORDS {
            if index >= options as usize {
                break;
            }
            if window.word(tcp + 5 + index) != flow.options[index] {
                return None;
            }
        }
    }
    let seq_in_order = window.word(tcp + 1);
    let seq = in_host_order(seq_in_order);
    if seq != flow.first_seq.wrapping_add(flow.bytes) {
        return None;
    }
    let limit = if L4 == IPV4 { input.config.gro_ipv4_max_size } else { input.config.gro_max_size };
    if flow.held_len() + flow.gso_size >= limit {
        return None;
    }
    // Without a sum of the frame that of its segment is to be had.
    if sum.is_none() && !input.meta.verified {
        let l4_len = len - L4;
        let sum = datapath.sum(frame, L4..len)?;
        if !is_complete(sum as u32 + flow.pseudo_sum + l4_len) {
            return None;
        }
    }
    let sums = add(flow.chain[SUMS], seq_in_order);
    flow.chain[SUMS] = add(sums, window.word(tcp + 4));
    if L4 == IPV4 {
        expect_next_id(&mut flow.chain);
    }
    Some(seq)
}

/// Words of options of which there are mostly: padding and a timestamp.
const TIMESTAMP_WORDS: u32 = 3;

/// What [`template::SUM`] says of a frame: its sum, and whether somebody vouched for it, without which no sum makes it right.
#[inline(always)]
fn vouched(sum: Option<u16>, input: &Input<'_>) -> u32 {
    sum.unwrap_or(0) as u32 | (input.meta.verified as u32) << 16
}

/// The next identification, and the header checksum that goes with it: one more, one less. A carry runs the other way in these words. What
/// stays fixed has a step of 0.
#[inline(always)]
fn expect_next_id(chain: &mut [u32; CHAIN_WORDS]) {
    let step = chain[template::STEP];
    let id = chain[template::NETWORK + 1].wrapping_add(step);
    let (check, borrows) = chain[template::NETWORK + 2].overflowing_sub(step << 16);
    if id & 0xff00 == 0 || borrows {
        return expect_carried_id(chain);
    }
    chain[template::NETWORK + 1] = id;
    chain[template::NETWORK + 2] = check;
}

/// The same with carries. Behind the last identification comes 0, with which the header sums to what it did.
#[cold]
#[inline(never)]
fn expect_carried_id(chain: &mut [u32; CHAIN_WORDS]) {
    let (w1, w2) = (chain[template::NETWORK + 1], chain[template::NETWORK + 2]);
    if chain[template::STEP] == 0 {
        return;
    }
    let id = turned(w1) + 1;
    let check = turned(w2 >> 16);
    let check = if id > 0xffff { check } else { fold(check + 0xfffe) as u32 };
    chain[template::NETWORK + 1] = w1 & 0xffff_0000 | turned(id);
    chain[template::NETWORK + 2] = w2 & 0xffff | turned(check) << 16;
}

/// A sum in ones' complement of 32 bits.
#[inline(always)]
fn add(a: u32, b: u32) -> u32 {
    let (sum, carries) = a.overflowing_add(b);
    sum + carries as u32
}

impl Flow {
    /// Holds the first frame, of which everything else can be learnt; who it is of is written as by [`Flow::start`].
    #[inline(always)]
    pub(super) fn begin<P: Profile, const L4: u32>(
        &mut self,
        first: &First,
        sum: Option<u16>,
        input: &Input<'_>,
    ) {
        use template::{CONTROL, END, FRAME_SUM, ID_CHECK, LEN, NETWORK, START, STEP, SUM, SUMS, URGENT};
        let (window, tcp) = (&input.window, index_of(L4));
        self.hash = input.meta.hash;
        self.vlan = input.meta.vlan;
        self.age = input.now;
        self.plain = L4;
        self.late = L4;
        self.udp = 0;
        self.l3 = L3_UNTAGGED;
        self.l4 = L4;
        self.payload = first.payload.at;
        self.segs = 1;
        self.gso_size = first.payload.len;
        self.bytes = first.payload.len;
        self.first_seq = first.seq;
        self.fixed_id = 0;
        self.pseudo_sum = first.sums.pseudo;
        self.outer.places = 0;
        self.chain_len = 0;
        let (start, end) = (window.start(), window.word(LINK_END));
        self.key.macs = [window.word(0), window.word(1), start | end << 16];
        let (w0, w1, w2) = (window.word(IP), window.word(IP + 1), window.word(IP + 2));
        let chain = &mut self.chain;
        chain[START] = start;
        chain[END] = end;
        chain[NETWORK] = w0;
        chain[NETWORK + 1] = w1;
        if L4 == IPV4 {
            self.key.protocol = 0x0800 << 16 | PROTOCOL_TCP as u32;
            self.key.label = 0;
            self.key.addresses = [window.word(IP + 3), 0, 0, 0, window.word(IP + 4), 0, 0, 0];
            chain[NETWORK + 2] = w2;
            chain[ID_CHECK] = w1 & 0xffff | w2 & 0xffff_0000;
            chain[STEP] = NEXT;
            expect_next_id(chain);
        } else {
            self.key.protocol = 0x86dd << 16 | PROTOCOL_TCP as u32;
            self.key.label = in_host_order(w0) & masks::IPV6_IDENTIFY[0];
            for index in 0..self.key.addresses.len() {
                self.key.addresses[index] = window.word(IP + 2 + index);
            }
        }
        self.key.ports = window.word(tcp);
        self.ack = window.word(tcp + 2);
        let urgent = window.word(tcp + 4);
        chain[CONTROL] = window.word(tcp + 3);
        chain[URGENT] = urgent;
        let options = (first.payload.at - L4 - TCP_HEADER) as usize / 4;
        for index in 0..OPTION_WORDS {
            if index >= options {
                break;
            }
            self.options[index] = window.word(tcp + 5 + index);
        }
        chain[LEN] = window.len();
        // The sums of what comes behind an odd length are turned, which only the other way to join knows.
        chain[SUM] = if first.payload.len & 1 != 0 { u32::MAX } else { vouched(sum, input) };
        chain[SUMS] = add(window.word(tcp + 1), urgent);
        chain[FRAME_SUM] = first.sums.frame;
        // A follower with CWR does not join where the profile says so, and equal flags have it.
        if window.word(tcp + 3) & P::CONTROL_ALONE.to_be() != 0 {
            self.learn();
        }
    }

    /// A segment joins that is not what was expected to the word: one with PSH, or shorter, or the second with the identification of the first.
    #[inline(always)]
    pub(super) fn add_late(&mut self, window: &Window<'_>, segment: &Segment) {
        use template::{CONTROL, ID_CHECK, NETWORK, STEP, SUMS};
        let tcp = index_of(self.late);
        let chain = &mut self.chain;
        // What flags and length differ by counts as the segment's own.
        let less = self.gso_size - segment.payload.len;
        let more = turned(fold((segment.push >> 16) + (!less & 0xffff)) as u32);
        let own = add(add(window.word(tcp + 1), window.word(tcp + 4)), more);
        let before = if self.gso_size & 1 != 0 { chain[SUMS].rotate_left(8) } else { chain[SUMS] };
        chain[SUMS] = add(before, own);
        chain[CONTROL] |= segment.push.to_be();
        if segment.fixed {
            self.fixed_id = FIXED;
            chain[STEP] = 0;
            chain[NETWORK + 1] = chain[NETWORK + 1] & 0xffff_0000 | chain[ID_CHECK] & 0xffff;
            chain[NETWORK + 2] = chain[NETWORK + 2] & 0xffff | chain[ID_CHECK] & 0xffff_0000;
        } else if self.late == IPV4 {
            expect_next_id(chain);
        }
        self.segs += 1;
        self.bytes += segment.payload.len;
    }

    /// Works out what another frame is compared with ([`crate::coalesce::decide`]), for a packet that is known late.
    #[inline(always)]
    pub(super) fn know(&mut self) {
        use template::{CONTROL, ID_CHECK, NETWORK, URGENT};
        let chain = &self.chain;
        let (w0, w1, w2) = (chain[NETWORK], chain[NETWORK + 1], chain[NETWORK + 2]);
        if self.late == IPV4 {
            self.class = class_v4(w0, w1, w2);
            self.id_check = turned(chain[ID_CHECK]) << 16 | turned(chain[ID_CHECK] >> 16);
            self.ipv6 = 0;
        } else {
            self.class = class_v6(w0, w1);
            self.id_check = 0;
            self.ipv6 = 1;
        }
        self.control = in_host_order(chain[CONTROL]);
        self.urgent = turned(chain[URGENT] >> 16);
        self.next_seq = self.first_seq.wrapping_add(self.bytes);
    }

    /// Everything else that [`Flow::start`] and what joined since would have written: from here on the packet's frames go the long way.
    #[inline(never)]
    pub(crate) fn learn(&mut self) {
        if self.late != 0 {
            self.know();
            let Sums { common, payload } = self.sums();
            self.common_sum = common;
            self.payload_sum = payload;
            self.late = 0;
            self.plain = 0;
        }
    }

    /// [`Flow::common_sum`] and [`Flow::payload_sum`] of a packet that is known late.
    #[inline(always)]
    fn sums(&self) -> Sums {
        use template::{CONTROL, LEN, SUMS};
        let mut common = halves(self.key.ports) + halves(self.ack) + (self.chain[CONTROL] >> 16);
        let options = (self.payload - self.late - TCP_HEADER) as usize / 4;
        for index in 0..OPTION_WORDS {
            if index >= options {
                break;
            }
            common += halves(self.options[index]);
        }
        let common = fold(turned(fold(common) as u32) + self.pseudo_sum) as u32;
        // Each payload is what its segment lacks of a sum of zero.
        let flags = turned(self.chain[CONTROL] & !PSH_IN_ORDER);
        let each = fold(common + flags + self.chain[LEN] - self.late) as u32;
        let times = |count: u32| halves(fold(count) as u32 * each);
        let own = fold(halves(self.chain[SUMS])) as u32;
        let lacks = if self.gso_size & 1 == 0 {
            times(self.segs) + turned(own)
        } else {
            // Behind a payload of odd length the next is turned, and so on.
            let own = if self.segs & 1 == 0 { own } else { turned(own) };
            times(self.segs.div_ceil(2)) + turned(fold(times(self.segs / 2)) as u32) + own
        };
        Sums { common, payload: (!fold(lacks)) as u32 }
    }
}

impl Merged {
    /// As [`Merged::write`], of a packet that is known late.
    #[inline(always)]
    pub(crate) fn write_late<P: Profile>(&mut self, flow: &Flow) {
        use template::{CONTROL, ID_CHECK, URGENT};
        let chain = &flow.chain;
        let Sums { common, payload } = flow.sums();
        let (l4, l4_len) = (flow.late, flow.payload - flow.late + flow.bytes);
        let control = turned(chain[CONTROL]);
        let sum = common + halves(l4_len) + halves(flow.first_seq) + control + turned(chain[URGENT] >> 16);
        let check = checksum::field(fold(sum) as u32 + payload) as u32;
        let ipv6 = l4 == IPV6;
        // What 16 bits cannot say is said by 0, and behind IPv6 by a header of its own.
        let ip_len = flow.network_len() - if ipv6 { IPV6_HEADER } else { 0 };
        let over = ip_len > 0xffff;
        let length = if over { 0 } else { ip_len };
        let jumbo = if over && ipv6 && P::JUMBO_HEADER { JUMBO_HEADER } else { 0 };
        if ipv6 {
            self.set_patches([(L3_UNTAGGED + 4, length); 2], (l4, control, check));
            self.gso_type = GSO_TCPV6;
        } else {
            let first = flow.payload - L3_UNTAGGED + flow.gso_size;
            let id_check = turned(chain[ID_CHECK] >> 16) as u16;
            let id_check = checksum::replace(id_check, first as u16, length as u16) as u32;
            let network = [(L3_UNTAGGED + 2, length), (L3_UNTAGGED + 10, id_check)];
            self.set_patches(network, (l4, control, check));
            self.gso_type = GSO_TCPV4 + GSO_TCP_FIXEDID * (flow.fixed_id & FIXED);
        }
        // Where a packet with CWR is one at all, all segments have it.
        if P::CONTROL_ALONE & CWR == 0 && chain[CONTROL] & CWR.to_be() != 0 {
            self.gso_type += P::CWR_TYPE;
        }
        self.segs = flow.segs;
        self.gso_size = flow.gso_size as u16;
        self.header_len = flow.payload as u16;
        self.l3 = L3_UNTAGGED as u16;
        self.l4 = l4 as u16;
        self.check = (l4 + 16) as u16;
        self.pseudo = fold(flow.pseudo_sum + halves(l4_len));
        self.len = flow.payload + flow.bytes + jumbo;
        self.jumbo = if jumbo != 0 { ip_len + JUMBO_HEADER } else { 0 };
        self.has_outer = 0;
    }
}

/// What [`Flow::sums`] gives.
struct Sums {
    common: u32,
    payload: u32,
}

/// [`STEP`](template::STEP) of an identification that counts, as it lies in memory.
const NEXT: u32 = 0x100;

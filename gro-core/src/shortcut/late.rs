//! What is known late: a plain packet that is held is the words of its first header, as they lie in memory, until something happens to it
//! that needs more. A frame that is what comes next, to the word, joins without more being known ([`follow`]). What a merged header or an
//! unusual follower needs is worked out when there is one ([`Flow::learn`]); of most packets that leave alone, never.

use super::first::First;
use super::{
    IP, IPV4, IPV6, LINK_END, PROTOCOL_V4, PROTOCOL_V6, Segment, allows_late, in_host_order, index_of,
    template, turned,
};
use crate::checksum::{fold, is_complete};
use crate::coalesce::Action;
use crate::datapath::{Datapath, GroResult, Input, Payload, State, bucket_index};
use crate::flow::{FIXED, Flow, OPTION_WORDS};
use crate::parse::{CHAIN_WORDS, L3_UNTAGGED, TCP_HEADER, masks};
use crate::profile::Profile;
use crate::table::{DEPTH, Slot, Table};
use crate::window::Window;

/// The part of [`crate::receive`] for a frame that continues the packet of its flow exactly as expected; gives back every other frame, of
/// which it leaves no trace, to be received. Apart from the rest because it is small, which on a core with few registers is worth much.
#[inline(always)]
pub fn follow<P: Profile, T: Table, D: Datapath>(
    state: &mut State,
    table: &mut T,
    datapath: &mut D,
    frame: D::Frame,
    input: &Input<'_>,
) -> Result<GroResult, D::Frame> {
    if !allows_late::<P, D>(datapath) {
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
        // Not as `options_differ`: a branch a word costs less where most are equal.
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
            self.key.protocol = PROTOCOL_V4;
            self.key.label = 0;
            self.key.addresses = [window.word(IP + 3), 0, 0, 0, window.word(IP + 4), 0, 0, 0];
            chain[NETWORK + 2] = w2;
            chain[ID_CHECK] = w1 & 0xffff | w2 & 0xffff_0000;
            chain[STEP] = NEXT;
            expect_next_id(chain);
        } else {
            self.key.protocol = PROTOCOL_V6;
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
}

/// [`STEP`](template::STEP) of an identification that counts, as it lies in memory.
const NEXT: u32 = 0x100;

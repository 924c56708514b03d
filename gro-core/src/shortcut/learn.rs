//! What is left of a packet that is known late, for who needs it: an unusual follower, and a merged header.

use super::{IPV4, IPV6, PSH_IN_ORDER, class_v4, class_v6, in_host_order, template, turned};
use crate::checksum::{self, fold, halves};
use crate::coalesce::CWR;
use crate::complete::{GSO_TCP_FIXEDID, GSO_TCPV4, GSO_TCPV6, Merged};
use crate::flow::{FIXED, Flow, OPTION_WORDS};
use crate::parse::{IPV6_HEADER, JUMBO_HEADER, L3_UNTAGGED, TCP_HEADER};
use crate::profile::Profile;

impl Flow {
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
    /// As [`Merged::write`], of a packet of two segments or more that is known late.
    #[inline(always)]
    pub(crate) fn write_late<P: Profile>(&mut self, flow: &Flow) {
        self.write_single(flow);
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
        if jumbo != 0 {
            self.len += jumbo;
            self.jumbo = ip_len + jumbo;
        }
    }
}

/// What [`Flow::sums`] gives.
struct Sums {
    common: u32,
    payload: u32,
}

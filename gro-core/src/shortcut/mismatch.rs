//! A plain frame that does not join the packet of its flow, which therefore leaves: why, without a parse.

use super::first::First;
use super::{
    IP, IPV4, LINK_END, PROTOCOL_V4, PROTOCOL_V6, class_v4, class_v6, in_host_order, index_of,
    options_differ, template, turned,
};
use crate::coalesce::{Action, decide_apart};
use crate::datapath::Input;
use crate::flow::{Difference, Flow};
use crate::parse::{L3_UNTAGGED, Packet, masks};
use crate::profile::Profile;

impl Flow {
    /// Why `first`, which is of this flow, has the packet leave, a [`crate::FlushReason`]. `None` if it is of another flow after all, or
    /// joins. The policy is the core's; `packet` is where it finds the frame.
    #[inline(never)]
    pub(super) fn leaves_for<P: Profile>(
        &mut self,
        l4: u32,
        packet: &mut Packet,
        first: &First,
        input: &Input<'_>,
    ) -> Option<u32> {
        let (window, tcp) = (&input.window, index_of(l4));
        let (w0, w1, w2) = (window.word(IP), window.word(IP + 1), window.word(IP + 2));
        let mut differs = window.word(0) ^ self.key.macs[0]
            | window.word(1) ^ self.key.macs[1]
            | window.start() ^ self.chain[template::START]
            | window.word(LINK_END) ^ self.chain[template::END];
        if l4 == IPV4 {
            differs |=
                window.word(IP + 3) ^ self.key.addresses[0] | window.word(IP + 4) ^ self.key.addresses[4];
            packet.key.protocol = PROTOCOL_V4;
            packet.class = class_v4(w0, w1, w2);
            packet.id_check = turned(w1) << 16 | turned(w2 >> 16);
        } else {
            for index in 0..self.key.addresses.len() {
                differs |= window.word(IP + 2 + index) ^ self.key.addresses[index];
            }
            differs |= (in_host_order(w0) & masks::IPV6_IDENTIFY[0]) ^ self.key.label;
            packet.key.protocol = PROTOCOL_V6;
            packet.class = class_v6(w0, w1);
            packet.id_check = 0;
        }
        if differs != 0 {
            return None;
        }
        self.know();
        packet.udp = 0;
        packet.mismatch = false;
        packet.outer.places = 0;
        packet.l3 = L3_UNTAGGED;
        packet.l4 = l4;
        packet.payload = first.payload.at;
        packet.payload_len = first.payload.len;
        packet.seq = first.seq;
        packet.ack = in_host_order(window.word(tcp + 2));
        packet.control = in_host_order(window.word(tcp + 3));
        packet.check_urgent = in_host_order(window.word(tcp + 4));
        let difference = Difference(options_differ(self, window, (l4, first.payload.at)));
        let max_size = input.config.max_size::<P>(packet);
        let verdict = decide_apart::<P>(self, difference, packet, max_size);
        (verdict.action != Action::Merge).then_some(verdict.flush as u32)
    }
}

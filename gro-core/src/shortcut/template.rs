//! What a plain packet's followers are compared with, as indices of [`Flow::chain`], of which a plain packet has no other use. Words in the
//! order in which they lie in memory, but for the sums and the identification.

use super::first::Sums;
use super::{IP, IPV4, IPV6, LINK_END, PSH_IN_ORDER, index_of};
use crate::coalesce::PSH;
use crate::flow::{FIXED, Flow};
use crate::profile::Profile;
use crate::window::Window;

/// The first and the last of the words with MAC addresses: bytes 0 and 1, bytes 10 to 13.
pub(super) const START: usize = 0;
pub(super) const END: usize = 1;
/// The first three words of the IP header, of which not all bits count; but of a packet that is known late they are those of the frame that
/// comes next.
pub(super) const NETWORK: usize = 2;
/// The fourth word of the TCP header, without PSH.
pub(super) const CONTROL: usize = 5;
/// IPv4: the identification that comes next.
pub(super) const ID: usize = 6;
/// What, added to the sum over a whole frame and, IPv4, the length behind the IP header, gives that over pseudo-header and segment.
pub(super) const FRAME_SUM: usize = 7;
/// [`Flow::common_sum`] with the flags, PSH not.
pub(super) const SEGMENT_SUM: usize = 8;
/// Of a packet that is known late: length and sum of every frame, and the sum over sequence number, TCP checksum and urgent pointer of all.
pub(super) const LEN: usize = 9;
pub(super) const SUM: usize = 10;
pub(super) const SUMS: usize = 11;
/// What the identification grows by, the first one with its header checksum, and the first TCP checksum with its urgent pointer.
pub(super) const STEP: usize = 12;
pub(super) const ID_CHECK: usize = 13;
pub(super) const URGENT: usize = 14;

impl Flow {
    /// Lets followers take the shortcut, if the first frame, which did not, is plain, too.
    #[inline(always)]
    pub(crate) fn find_plain<P: Profile>(&mut self, window: &Window<'_>) {
        let behind = if self.ipv6 != 0 { IPV6 } else { IPV4 };
        let is_plain = self.l4 ^ behind | self.udp | self.outer.places | self.chain_len == 0;
        if !P::SHORTCUT || !is_plain {
            self.plain = 0;
        } else if behind == IPV4 {
            self.allow_shortcut::<P, IPV4>(window);
        } else {
            self.allow_shortcut::<P, IPV6>(window);
        }
    }

    /// After a segment joined that did not take the shortcut.
    #[inline(always)]
    pub(crate) fn keep_plain(&mut self) {
        if self.plain != 0 {
            let counted = if self.fixed_id & FIXED != 0 { 0 } else { self.segs };
            self.chain[ID] = ((self.id_check >> 16) + counted) & 0xffff;
        }
    }

    /// Writes what followers are compared with.
    #[inline(always)]
    fn allow_shortcut<P: Profile, const L4: u32>(&mut self, window: &Window<'_>) {
        self.chain[START] = window.start();
        self.chain[END] = window.word(LINK_END);
        self.chain[NETWORK] = window.word(IP);
        self.chain[NETWORK + 1] = window.word(IP + 1);
        self.chain[NETWORK + 2] = window.word(IP + 2);
        self.chain[CONTROL] = window.word(index_of(L4) + 3) & !PSH_IN_ORDER;
        self.chain[ID] = ((self.id_check >> 16) + 1) & 0xffff;
        self.chain[FRAME_SUM] = Sums::of::<L4>(window).frame;
        self.chain[SEGMENT_SUM] = self.common_sum + ((self.control & !PSH) >> 16);
        // A follower with CWR does not join where the profile says so, and equal flags have it.
        self.plain = if self.control & P::CONTROL_ALONE == 0 { L4 } else { 0 };
    }
}

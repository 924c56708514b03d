//! What the BPF programs and their loader share: map values, plain words in host order. Compiled into both.

use gro_core::Config;

/// Longest frame the tc program takes: `bpf_skb_change_tail` cannot make a longer one.
pub const FRAME_MAX: u32 = 16_064;

/// Largest `gro_max_size` of the tc program: with its Ethernet header a packet stays below [`FRAME_MAX`].
pub const MAX_SIZE: u32 = 16_000;

/// Value of map `SETTINGS`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Settings {
    /// The engine's config.
    pub config: Config,
    /// What the program does with frames: a number of [`mode`].
    pub mode: u32,
    /// Redirect mode: interface index that every delivery is redirected to.
    pub capture: u32,
    /// Redirect mode: the current jiffy.
    pub now: u32,
    /// In-place mode, from here on.
    pub in_place: InPlace,
}

/// What in-place mode is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InPlace {
    /// Interface that the program is attached to.
    pub ifindex: u32,
    /// Entries of `HELD`.
    pub buffers: u32,
    /// Entries of `FLIGHTS` and of `TURNS`, a power of two up to [`FLIGHTS_MAX`].
    pub flights: u32,
    /// 1 merges flows without a socket here, too: merged packets are then forwarded without a segment size.
    pub forwarding: u32,
    /// One more than the offset in `struct sk_buff` of the byte that holds the two bits of `ip_summed`; 0 when it is not known,
    /// and each checksum is verified.
    pub ip_summed: u32,
    /// The lower one of those bits.
    pub ip_summed_bit: u32,
    /// For tests: one of so many carriers is lost on its way; 0 loses none.
    pub lose: u32,
}

/// Values of [`Settings::mode`].
pub mod mode {
    /// Every packet passes untouched.
    pub const IDLE: u32 = 0;
    /// For comparisons: every delivery goes to [`Settings::capture`](super::Settings), in order, with a [`Record`](super::Record).
    pub const REDIRECT: u32 = 1;
    /// Live traffic: merged packets go up the stack in place of their frames.
    pub const IN_PLACE: u32 = 2;
    /// In-place mode comes to its end: what is held leaves, nothing new is held.
    pub const DRAINING: u32 = 3;
}

/// One delivery, in order, through the ring buffer `RECORDS`: what an skb cannot carry out of a tc program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// [`Record::PACKET`] or [`Record::MARKER`].
    pub kind: u32,
    /// Segments in the packet.
    pub segs: u32,
    /// Payload bytes of a segment, 0 for a single frame.
    pub gso_size: u32,
    /// `SKB_GSO_*` bits, 0 for a single frame.
    pub gso_type: u32,
    /// Bytes of the frame.
    pub len: u32,
    /// RSS hash of the first frame.
    pub hash: u32,
    /// TPID and TCI, 0 for none.
    pub vlan: u32,
    /// Flush reason, or 256 + bypass reason.
    pub why: u32,
    /// Number of the first frame in it.
    pub first: u32,
    /// Number of the last frame in it.
    pub last: u32,
}

impl Record {
    /// A packet was delivered.
    pub const PACKET: u32 = 1;
    /// A marker frame was worked off.
    pub const MARKER: u32 = 2;
    /// Nothing.
    pub const ZERO: Self = Self {
        kind: 0,
        segs: 0,
        gso_size: 0,
        gso_type: 0,
        len: 0,
        hash: 0,
        vlan: 0,
        why: 0,
        first: 0,
        last: 0,
    };
}

/// Value of map `FAULTS`: what went wrong, each of which makes a comparison fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Faults {
    /// Packets that the program must not touch: too long, GSO, or owned by a socket.
    pub refused: u64,
    /// Every error of a helper that rewrites or delivers, OR-ed.
    pub helper: u64,
    /// The ring buffer was full.
    pub record: u64,
}

/// Bit of [`Faults::helper`]: a map value or a length was missing.
pub const FAULT_MISSING: u64 = 1 << 62;

/// `skb->mark` of the frames that carry an event: the magic and, in the low byte, the event's number.
pub mod marker {
    /// The bits that tell a marker.
    pub const MASK: u32 = 0xffff_ff00;
    /// Their value.
    pub const MAGIC: u32 = 0x6772_6f00;
}

/// `skb->mark` of a frame that came in once and goes round through the backlog: the magic, then the CPU, then the low bits of its
/// number. The mark it had is kept in its [`Turn`] and comes back.
pub mod round {
    /// The highest byte.
    pub const MAGIC: u32 = 0x67;
    /// Where the magic starts.
    pub const MAGIC_SHIFT: u32 = 24;
    /// Where the CPU starts.
    pub const CPU_SHIFT: u32 = 14;
    /// The CPU's bits, once shifted down.
    pub const CPU_MASK: u32 = 0x3ff;
    /// The number's bits.
    pub const NUMBER_MASK: u32 = 0x3fff;
    /// `skb->tc_index` of such a frame: 16 bits made of its number.
    pub const fn tc_index(number: u32) -> u32 {
        (number ^ 0x5a3c) & 0xffff
    }
    /// `skb->mark` of the frame that a drain sends: it goes round once, and behind it everything that was on its way has come
    /// back or is lost.
    pub const KICK: u32 = 0x6b69_636b;
    /// Its ethertype: IEEE 802's for local experiments.
    pub const KICK_PROTOCOL: u16 = 0x88b5;
}

/// Most entries of `FLIGHTS`: half of the numbers that a mark can tell apart.
pub const FLIGHTS_MAX: u32 = 8192;
const _: () = assert!(2 * FLIGHTS_MAX == round::NUMBER_MASK + 1);

/// Bytes of the one value of map `NOTES`, which the program does not look at: JSON of who attached it and how, padded with zeros.
pub const NOTES: usize = 4096;

/// Entries of `FLOWS`, a power of two.
pub const FLOWS: u32 = 1024;

/// Value of map `FLIGHTS`, at the number in its mark: an skb that goes round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Flight {
    /// Number of the turn that it has.
    pub turn: u32,
    /// Its length, by which it is known again.
    pub len: u32,
}

impl Flight {
    /// [`Flight::len`] of one that came back and went round again while earlier ones were not yet known to be lost.
    pub const GONE: u32 = 0;
}

/// Value of map `TURNS`: something that waits its turn, in the order in which it came. It stays what it is when its skb is lost or
/// delivers something else first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Turn {
    /// `skb->mark` of its frame.
    pub mark: u32,
    /// Its RSS hash.
    pub hash: u32,
    /// Entry of `FLOWS`, or [`FLOWS`] when its flow is not known.
    pub flow: u32,
    /// One more than the buffer whose packet it is, 0 for a frame that is nothing but itself, [`Turn::KICK`] for one that ends here.
    pub carries: u32,
    /// One of the states below.
    pub state: u32,
    /// `skb->tc_index` of its frame. While it goes round it has another one, so that a user's mark is not taken for ours.
    pub tc_index: u32,
}

impl Turn {
    /// See [`Turn::carries`].
    pub const KICK: u32 = u32::MAX;
    /// It was delivered, or lost with nothing to deliver in its place.
    pub const DONE: u32 = 0;
    /// An skb goes round with it.
    pub const FLYING: u32 = 1;
    /// Its skb is lost; its packet is in the buffer.
    pub const LOST: u32 = 2;
}

/// Value of map `FLOWS`: what is known of the flows that share an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEntry {
    /// Tells the flow that was last looked up.
    pub tag: u32,
    /// The jiffy in which it was.
    pub jiffy: u32,
    /// Whether it ends in an established socket here.
    pub local: u32,
    /// Its last turn, that of any flow in this entry.
    pub last: u32,
}

/// Value of map `ROUND`: what in-place mode keeps a CPU. All zero is the start.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Round {
    /// Number of the last skb sent round.
    pub issued: u32,
    /// Number up to which they have come back or are known to be lost.
    pub returned: u32,
    /// The last turn given out.
    pub turns: u32,
    /// Turns up to this one are done.
    pub done: u32,
    /// Buffers that were ever given out.
    pub used: u32,
    /// One more than the buffer that became free last, which is given out first: it is still in the cache. 0 for none.
    pub freed: u32,
    /// Of the frame in hand: the buffer that it may be held in.
    pub free: u32,
    /// Of the frame in hand: what becomes of it, a number of [`Round`].
    pub todo: u32,
    /// Of the frame in hand: its entry of `FLOWS`, [`FLOWS`] when that is not known.
    pub flow: u32,
    /// Of the frame in hand: 1 in in-place mode.
    pub in_place: u32,
    /// Of the frame in hand: `CHECKSUM_*`.
    pub ip_summed: u32,
    /// Of the frame in hand: bytes of it that were copied to be looked at.
    pub part: u32,
    /// Of the frame in hand: why it passes, a number of [`gro_core::Bypass`].
    pub why: u32,
    /// Of the frame in hand: what its socket is looked up with.
    pub tuple: [u32; 10],
    /// The frame in hand, as a number; it is read as one.
    pub skb: u64,
    /// The buffer of each held packet, in every mode.
    pub buffers: [u32; 64],
    /// What happened.
    pub counters: RoundCounters,
}

impl Round {
    /// The frame goes up the stack.
    pub const PASS: u32 = 0;
    /// It joined a held packet and goes no further.
    pub const DROP: u32 = 1;
    /// It is held, and carries the packet.
    pub const HOLD: u32 = 2;
}

/// What in-place mode counts beside the engine's own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RoundCounters {
    /// Frames that the engine did not see: merged already, too long, or in a drain.
    pub aside_packets: u64,
    /// Their bytes.
    pub aside_bytes: u64,
    /// Header bytes that merging saved.
    pub saved_bytes: u64,
    /// Carriers sent round.
    pub carriers: u64,
    /// Frames sent round to keep their place in the order.
    pub ordered: u64,
    /// Carriers that came back.
    pub returned: u64,
    /// Carriers that did not, as the next frame that came back showed.
    pub lost: u64,
    /// Packets of lost carriers that were delivered all the same.
    pub recovered: u64,
    /// Frames that did not come back and carried nothing but themselves.
    pub lost_frames: u64,
    /// Sent round once more: it was not their turn, a lost carrier's packet was delivered by their skb, or a socket owned them.
    pub requeued: u64,
    /// Frames that came back on another CPU.
    pub astray: u64,
    /// Owned by a socket when they were to be grown, and so not grown.
    pub socket: u64,
    /// Merged by somebody else before.
    pub already_merged: u64,
    /// Longer than [`FRAME_MAX`].
    pub too_long: u64,
    /// Of a flow without an established socket here.
    pub not_local: u64,
    /// So long that a second one would not fit.
    pub no_room: u64,
    /// Not held because its headers are not in one piece.
    pub scattered: u64,
    /// Not held because every buffer was in use.
    pub no_buffer: u64,
    /// Not sent round because `FLIGHTS` was full.
    pub no_number: u64,
    /// Errors of helpers.
    pub helper_errors: u64,
}

/// Frames and markers of one injection.
pub const BATCH_MAX: u32 = 80;

/// Value of map `FRAMES` of the injector.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Injected {
    /// Bytes of the frame, 14 to [`FRAME_MAX`].
    pub len: u32,
    /// `skb->hash`.
    pub hash: u32,
    /// TPID (high half) and TCI, 0 for none.
    pub vlan: u32,
    /// `skb->mark`.
    pub mark: u32,
    /// The frame.
    pub bytes: [u8; 16_384],
}

/// Value of map `BATCH` of the injector.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Batch {
    /// Entries of `FRAMES` to send.
    pub count: u32,
    /// Interface to send them to.
    pub ifindex: u32,
    /// Out: frames that a helper refused.
    pub lost: u32,
}

/// Global `OFFSETS` of the observer: where fields lie in the running kernel, in bytes from the start of their structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Offsets {
    /// `sk_buff.dev`
    pub dev: u32,
    /// `sk_buff.len`
    pub len: u32,
    /// `sk_buff.hash`
    pub hash: u32,
    /// `sk_buff.head`
    pub head: u32,
    /// `sk_buff.end`
    pub end: u32,
    /// `sk_buff.mac_header`
    pub mac_header: u32,
    /// `sk_buff.csum_start`
    pub csum_start: u32,
    /// `sk_buff.csum_offset`
    pub csum_offset: u32,
    /// The byte that holds the two bits of `sk_buff.ip_summed`
    pub ip_summed: u32,
    /// The lower one of those bits.
    pub ip_summed_bit: u32,
    /// `skb_shared_info.gso_size`
    pub gso_size: u32,
    /// `skb_shared_info.gso_segs`
    pub gso_segs: u32,
    /// `skb_shared_info.gso_type`
    pub gso_type: u32,
    /// `net_device.ifindex`
    pub ifindex: u32,
    /// `net_device.nd_net.net`
    pub net: u32,
    /// `net.ns.inum`
    pub inode: u32,
}

/// Global `TARGET` of the observer: the interface it looks at. Interface numbers are unique within a namespace only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Target {
    /// Interface index.
    pub ifindex: u32,
    /// Inode of its network namespace.
    pub netns: u32,
}

/// What the observer saw, in order, through the ring buffer `SEEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Seen {
    /// [`Seen::VERDICT`] or [`Seen::PACKET`].
    pub kind: u32,
    /// Of a frame: its `gro_result`.
    pub verdict: u32,
    /// `skb->len`: without the Ethernet header. This and the rest is of a packet.
    pub len: u32,
    /// `skb->hash`.
    pub hash: u32,
    /// `CHECKSUM_*`.
    pub ip_summed: u32,
    /// Where the sum of a `CHECKSUM_PARTIAL` packet starts, from the start of the frame.
    pub csum_start: u32,
    /// Where its field is, from `csum_start`.
    pub csum_offset: u32,
    /// Payload bytes of a segment, 0 for a single frame.
    pub gso_size: u32,
    /// Segments, 0 for a single frame.
    pub gso_segs: u32,
    /// `SKB_GSO_*` bits by the numbers of the running kernel.
    pub gso_type: u32,
}

impl Seen {
    /// GRO is done with a frame.
    pub const VERDICT: u32 = 1;
    /// A packet goes up the stack.
    pub const PACKET: u32 = 2;
    /// `CHECKSUM_PARTIAL` (include/linux/skbuff.h).
    pub const CHECKSUM_PARTIAL: u32 = 3;
}

//! What the BPF programs and their loader share: map values, plain words in host order. Compiled into both.

use gro_core::Config;

/// Longest frame the tc program takes: `bpf_skb_change_tail` cannot make a longer one.
pub const FRAME_MAX: u32 = 16_064;

/// Value of map `SETTINGS`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Settings {
    /// The engine's config.
    pub config: Config,
    /// Interface index that every delivery is redirected to; 0 lets every packet pass untouched.
    pub capture: u32,
    /// The current jiffy.
    pub now: u32,
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

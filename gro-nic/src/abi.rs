//! The contract between host and device: addresses, registers and byte layouts.
//!
//! This one file is compiled into the host library and into the firmware, so that the two cannot disagree. The
//! prose and the byte tables are in `docs/nic-interface.md`; whoever changes a number here raises [`ABI`].
//! Everything is little endian. Offsets and sizes are in bytes.

/// Version of this contract; the image carries it, the driver writes it, the firmware refuses another one.
pub const ABI: u32 = 5;

/// Address map of the device.
pub mod memory {
    /// Instruction memory: code and constants. The program can read it but not write it.
    pub const IMEM_BASE: u32 = 0x8000_0000;
    /// Bytes of instruction memory.
    pub const IMEM_SIZE: u32 = 32 * 1024;
    /// Data memory: the engine's state and the stack.
    pub const DMEM_BASE: u32 = 0x8001_0000;
    /// Bytes of data memory.
    pub const DMEM_SIZE: u32 = 32 * 1024;
    /// Packet memory: rings, scatter table and header entries, reached by host and device.
    pub const PACKET_BASE: u32 = 0x9000_0000;
    /// Bytes of packet memory.
    pub const PACKET_SIZE: u32 = 6 * 1024 * 1024;
    /// Register page, whole words only. Registers are memory without side effects, so that any machine with RAM here has them.
    pub const MMIO_BASE: u32 = 0x9f00_0000;
    /// Bytes of the register page.
    pub const MMIO_SIZE: u32 = 0x1000;
    /// First register that the device writes; those below are the host's and read-only to the device.
    pub const MMIO_DEVICE: u32 = 0x800;
}

/// What is in packet memory. Where it lies there the host says: the offsets here, from [`memory::PACKET_BASE`], are those that this
/// driver chooses.
pub mod packet {
    /// Alignment of each of the four areas.
    pub const ALIGN: u32 = 64;
    /// RX ring: events from the card's port to the core.
    pub const RX_RING: u32 = 0;
    /// Most events the RX ring can hold.
    pub const RX_MAX: u32 = 4096;
    /// Bytes of an RX descriptor.
    pub const RX_STRIDE: u32 = 16;
    /// Completion ring: packets from device to host.
    pub const COMPLETION_RING: u32 = 0x1_0000;
    /// Most completions the ring can hold.
    pub const COMPLETION_MAX: u32 = 1024;
    /// Bytes of a completion.
    pub const COMPLETION_STRIDE: u32 = 64;
    /// Scatter table: one entry for each buffer.
    pub const SCATTER: u32 = 0x2_0000;
    /// Bytes of a scatter entry.
    pub const SCATTER_STRIDE: u32 = 8;
    /// Header entries: one for each buffer.
    pub const HEADERS: u32 = 0x10_0000;
    /// Bytes from one header entry to the next.
    pub const HEADER_STRIDE: u32 = 320;
    /// Where the frame starts in its header entry: 2 mod 4, so that the IP header is word aligned.
    pub const HEADER_START: u32 = 2;
    /// Most bytes of a frame that the header entry holds.
    pub const HEADER_BYTES: u32 = 256;
    /// Most buffers (and so header and scatter entries) of the device.
    pub const BUFFERS: u32 = 16384;
}

/// Registers, as byte offsets in the register page.
pub mod register {
    /// Host: version of this contract.
    pub const ABI: u32 = 0x000;
    /// Host: entries of the RX ring, a power of two up to [`super::packet::RX_MAX`].
    pub const RX_SIZE: u32 = 0x004;
    /// Host: entries of the completion ring, a power of two up to [`super::packet::COMPLETION_MAX`].
    pub const COMPLETION_SIZE: u32 = 0x008;
    /// Host: buffers, a power of two up to [`super::packet::BUFFERS`].
    pub const BUFFERS: u32 = 0x00c;
    /// Host: `gro_max_size` in bytes. From here to [`COALESCE`] it is the config page, read at the start and at [`super::event::CONFIG`].
    pub const GRO_MAX_SIZE: u32 = 0x010;
    /// Host: `gro_ipv4_max_size` in bytes.
    pub const GRO_IPV4_MAX_SIZE: u32 = 0x014;
    /// Host: `gro_flush_timeout` in nanoseconds.
    pub const FLUSH_TIMEOUT: u32 = 0x018;
    /// Host: 1 when UDP is coalesced ([`gro_core::UdpMode::Forwarding`]), else 0.
    pub const UDP_FORWARDING: u32 = 0x01c;
    /// Host: jiffies a second.
    pub const HZ: u32 = 0x020;
    /// Host: 1 when VLAN tags are in the bytes ([`gro_core::VlanMode::InBand`]), else 0.
    pub const VLAN_IN_BAND: u32 = 0x024;
    /// Host: encapsulations that the engine looks into, the bits of [`gro_core::tunnel`].
    pub const TUNNELS: u32 = 0x028;
    /// Host: 1 when packets are coalesced; 0 when every frame passes as it came ([`gro_core::Bypass::Declined`]).
    pub const COALESCE: u32 = 0x02c;
    /// Host: offset of the RX ring in packet memory, as the three that follow a multiple of [`super::packet::ALIGN`].
    pub const RX_BASE: u32 = 0x030;
    /// Host: offset of the completion ring.
    pub const COMPLETION_BASE: u32 = 0x034;
    /// Host: offset of the scatter table.
    pub const SCATTER_BASE: u32 = 0x038;
    /// Host: offset of the header entries.
    pub const HEADERS_BASE: u32 = 0x03c;
    /// Card: events that its port has put into the RX ring so far, modulo 2^32. The core only reads it.
    pub const RX_PRODUCER: u32 = 0x040;
    /// Host, doorbell: completions taken so far, modulo 2^32.
    pub const COMPLETION_CONSUMER: u32 = 0x044;

    /// Device: [`super::status`].
    pub const STATUS: u32 = 0x800;
    /// Device: address of the engine's state in data memory.
    pub const STATE_ADDRESS: u32 = 0x804;
    /// Device: events of an unknown kind, which were skipped.
    pub const REJECTED: u32 = 0x808;
    /// Device: times it waited because the completion ring was full (back-pressure).
    pub const STALLS: u32 = 0x80c;
    /// Device: program hash compiled into the firmware, eight words in byte order.
    pub const PROGRAM_HASH: u32 = 0x820;
    /// Device: events taken so far, modulo 2^32.
    pub const RX_CONSUMER: u32 = 0x840;
    /// Device: completions written so far, modulo 2^32.
    pub const COMPLETION_PRODUCER: u32 = 0x844;
}

/// The card's own registers, in the window of every lane between the host's and the firmware's half. They are not in the core's
/// register page: the core reads zeros there, and nothing that it does changes them. A 64-bit register has its low word first.
pub mod bar {
    /// First of them.
    pub const START: u32 = 0x400;
    /// Behind the last one.
    pub const END: u32 = 0x600;

    /// Card: [`MAGIC_VALUE`].
    pub const MAGIC: u32 = 0x400;
    /// What [`MAGIC`] reads: `GRO1` as bytes.
    pub const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"GRO1");
    /// Card: version of this contract that it speaks.
    pub const ABI: u32 = 0x404;
    /// Card: instruction sets of its cores, bit *n* for number *n* of an image's section table.
    pub const ISA: u32 = 0x408;
    /// Card: bytes of a core's instruction memory.
    pub const IMEM: u32 = 0x40c;
    /// Card: bytes of a core's data memory.
    pub const DMEM: u32 = 0x410;
    /// Card: bytes of a core's packet memory.
    pub const PACKET: u32 = 0x414;
    /// Card: lanes, 1 to [`LANES_MAX`].
    pub const LANES: u32 = 0x418;
    /// Most lanes of a card.
    pub const LANES_MAX: u32 = 32;
    /// Card: images that a lane can hold at a time.
    pub const SLOTS: u32 = 0x41c;
    /// Card: number of the lane that this window is of.
    pub const LANE: u32 = 0x420;

    /// Host: offset in packet memory of the image to load, a multiple of 64.
    pub const IMAGE_ADDRESS: u32 = 0x430;
    /// Host: its bytes.
    pub const IMAGE_SIZE: u32 = 0x434;
    /// Host, doorbell: any value starts the boot ROM. Reads 0: the ROM is done when the write is.
    pub const UPDATE: u32 = 0x438;
    /// Card: what became of the last update, [`super::load`].
    pub const LOAD_STATUS: u32 = 0x43c;
    /// Host: bit 0 set lets the core run; cleared, the core is in reset, the port's ring and free list are empty, and the host can still
    /// read what the memories hold. When the core is released again they are as after the load; the host's half of the page stays.
    pub const CONTROL: u32 = 0x440;
    /// Bit of [`CONTROL`].
    pub const RUN: u32 = 1;
    /// Card: [`super::core_state`].
    pub const CORE_STATE: u32 = 0x444;
    /// Card: address of the instruction at which a stopped core stopped, else 0.
    pub const STOP_PC: u32 = 0x448;
    /// Card, 64 bits: cycles since the card was powered; the core's idle ones count.
    pub const TIMER: u32 = 0x450;
    /// Card, 64 bits: instructions that the core has retired since it left reset.
    pub const INSTRET: u32 = 0x458;

    /// Host: a buffer is free; its number goes on the port's free list. The core cannot reach that list.
    pub const FREE_POST: u32 = 0x460;
    /// Card: buffers on the free list.
    pub const FREE_COUNT: u32 = 0x464;
    /// Host: third word of the descriptor that [`EVENT`] makes, such as the jiffies; the second and the last are 0.
    pub const EVENT_ARGUMENT: u32 = 0x468;
    /// Host: a kind of event other than a frame. The port puts it into the RX ring behind the frames that came before it; while the ring
    /// is full it keeps the event, takes no frame, and this reads the kind, else 0. A second one written meanwhile replaces the first.
    pub const EVENT: u32 = 0x46c;
    /// Host: 1 lets frames wait on the wire (IEEE 802.3 pause) when the port cannot take them, 0 drops them.
    pub const FLOW_CONTROL: u32 = 0x470;

    /// Card: image id of what is loaded, 32 bytes; zero without an image.
    pub const IMAGE_ID: u32 = 0x480;
    /// Card: SHA-256 over the instruction memory that the image asked for, as the boot ROM read it back after the load, 32 bytes.
    pub const MEASUREMENT: u32 = 0x4a0;

    /// Card, 64 bits: frames put into the RX ring.
    pub const FRAMES: u32 = 0x4c0;
    /// Card, 64 bits: their bytes.
    pub const BYTES: u32 = 0x4c8;
    /// Card, 64 bits: frames dropped on the wire because the RX ring was full.
    pub const DROPS_RING: u32 = 0x4d0;
    /// Card, 64 bits: frames dropped on the wire because no buffer was free.
    pub const DROPS_BUFFER: u32 = 0x4d8;
    /// Card, 64 bits: times that the wire was paused.
    pub const PAUSES: u32 = 0x4e0;
    /// Card: times that the core waited for room in the completion ring since it left reset, modulo 2^32.
    pub const STALLS: u32 = 0x4e8;

    /// Host, in the window of lane 0 only: the RSS indirection table, a byte (a lane's number) for each value of the hash's upper 7 bits.
    pub const INDIRECTION: u32 = 0x500;
    /// Entries of the indirection table.
    pub const INDIRECTION_SIZE: u32 = 128;
}

/// Values of [`bar::CORE_STATE`].
pub mod core_state {
    /// No image is loaded.
    pub const EMPTY: u32 = 0;
    /// An image is loaded, the core is in reset.
    pub const RESET: u32 = 1;
    /// The core runs, or waits for the host.
    pub const RUNNING: u32 = 2;
    /// The core broke a rule of the machine and stopped; [`super::bar::STOP_PC`] says where.
    pub const STOPPED: u32 = 3;
    /// The core does not answer any more.
    pub const LOST: u32 = 4;
}

/// Values of [`bar::LOAD_STATUS`]. From [`load::TRUNCATED`] on it says which rule of the image format the file breaks.
pub mod load {
    /// Nothing was loaded yet.
    pub const NONE: u32 = 0;
    /// The image is loaded, the core is in reset.
    pub const LOADED: u32 = 1;
    /// The core runs; put it into reset first.
    pub const BUSY: u32 = 2;
    /// Address or size name no 64-byte aligned part of packet memory.
    pub const PLACE: u32 = 3;
    /// The core did not take the image.
    pub const CORE: u32 = 4;
    /// The file ends before what it announces.
    pub const TRUNCATED: u32 = 16;
    /// It is longer than it says, or than any image.
    pub const TOO_LONG: u32 = 17;
    /// No image at all.
    pub const MAGIC: u32 = 18;
    /// For another contract.
    pub const ABI: u32 = 19;
    /// Reserved bits are set.
    pub const RESERVED: u32 = 20;
    /// The image id is not that of the bytes.
    pub const ID: u32 = 21;
    /// A section's hash is not that of its bytes.
    pub const SECTION_HASH: u32 = 22;
    /// The section table: number, kinds, doubled or missing ones, sizes, alignment, places in the file.
    pub const SECTIONS: u32 = 23;
    /// An instruction set that the core does not run.
    pub const ISA: u32 = 24;
    /// The memory map, or more memory than there is.
    pub const MEMORY: u32 = 25;
    /// Entry or stack top lie wrong.
    pub const START: u32 = 26;
    /// What is of no use to a core: profile name, rules and whatever else is for the host.
    pub const DOCUMENTS: u32 = 27;
}

/// Values of [`register::STATUS`].
pub mod status {
    /// The firmware takes events.
    pub const READY: u32 = 1;
    /// The host speaks another version of this contract, or names a ring that does not lie in packet memory.
    pub const REFUSED: u32 = 2;
}

/// RX descriptor: what happened, in the order in which it happened.
pub mod event {
    /// u8: what kind of event.
    pub const KIND: u32 = 0;
    /// u8: [`VERIFIED`] or 0.
    pub const FLAGS: u32 = 1;
    /// u16: buffer, header entry and scatter entry of the frame.
    pub const BUFFER: u32 = 2;
    /// u16: bytes of the frame; with [`LONG`] a u32, and no sum.
    pub const LENGTH: u32 = 4;
    /// u16: ones'-complement sum of the whole frame as big-endian words, folded, not inverted.
    pub const SUM: u32 = 6;
    /// u32: RSS hash, or the jiffies of [`TIME`].
    pub const HASH: u32 = 8;
    /// u32: VLAN tag taken off, TPID in the high half, 0 for none.
    pub const VLAN: u32 = 12;

    /// Kind: a frame arrived.
    pub const RX: u32 = 1;
    /// Kind: the clock stands at the jiffies given.
    pub const TIME: u32 = 2;
    /// Kind: a poll ended.
    pub const POLL_END: u32 = 3;
    /// Kind: the flush timer fired.
    pub const TICK: u32 = 4;
    /// Kind: deliver everything.
    pub const FLUSH: u32 = 5;
    /// Kind: the config page has changed. What is held stays held, as in the kernel; the host says [`FLUSH`] before it switches off.
    pub const CONFIG: u32 = 6;

    /// Flag: somebody vouched for the TCP or UDP checksum.
    pub const VERIFIED: u32 = 1;
    /// Flag: the frame is longer than 65,535 bytes.
    pub const LONG: u32 = 2;
}

/// Completion: one packet that leaves.
pub mod completion {
    /// u8: [`FRAME`] or [`MERGED`].
    pub const KIND: u32 = 0;
    /// u8: [`FLUSHED`] or 0.
    pub const FLAGS: u32 = 1;
    /// u8: number of the flush reason or, without [`FLUSHED`], of the bypass reason.
    pub const REASON: u32 = 2;
    /// u32: aggregate id, the number of this completion since the start.
    pub const ID: u32 = 4;
    /// u16: buffer whose header entry holds the header.
    pub const BUFFER: u32 = 8;
    /// u16: bytes of all headers; 0 for a frame that was not held.
    pub const HEADER_LENGTH: u32 = 10;
    /// u32: segments.
    pub const SEGS: u32 = 12;
    /// u16: payload bytes of every segment but the last; 0 for a frame.
    pub const GSO_SIZE: u32 = 16;
    /// u16: offset of the TCP header; 0 for a frame that was not held.
    pub const L4: u32 = 18;
    /// u32: bytes of the whole packet.
    pub const BYTES: u32 = 20;
    /// u32: VLAN tag of the first frame.
    pub const VLAN: u32 = 24;
    /// u32: RSS hash of the first frame.
    pub const HASH: u32 = 28;
    /// u16: first buffer of the scatter list.
    pub const SCATTER_FIRST: u32 = 32;
    /// u16: sum of the pseudo-header with the merged length.
    pub const PSEUDO: u32 = 34;
    /// u32: entries of the scatter list; 0 for a frame.
    pub const SCATTER_COUNT: u32 = 36;
    /// u64: decision digest before the event that this completion is of.
    pub const DIGEST: u32 = 40;
    /// u32: GSO type with the kernel's bits (`SKB_GSO_TCPV4` and so on); 0 for a frame.
    pub const GSO_TYPE: u32 = 48;
    /// u32: length that a jumbogram's hop-by-hop header must state, which the host puts behind the IPv6 header; 0 for none.
    /// Header length and offsets here are those without it, BYTES counts it.
    pub const JUMBO: u32 = 52;
    /// u16: offset of the IP header; 0 for a frame that was not held.
    pub const L3: u32 = 56;

    /// Kind: a frame as it came; its buffer is the host's again.
    pub const FRAME: u32 = 1;
    /// Kind: a merged packet; the buffers of its scatter list are the host's again.
    pub const MERGED: u32 = 2;
    /// Flag: the packet was held, the reason is a flush reason.
    pub const FLUSHED: u32 = 1;
}

/// Scatter entry of a buffer: where the payload lies in it, and which buffer comes next in the packet.
pub mod scatter {
    /// u16: next buffer; of no meaning in the last entry.
    pub const NEXT: u32 = 0;
    /// u16: offset of the payload in the frame.
    pub const OFFSET: u32 = 2;
    /// u32: bytes of payload.
    pub const LENGTH: u32 = 4;
}

/// The engine's state in data memory, at [`register::STATE_ADDRESS`].
pub mod state {
    /// u64: decision digest.
    pub const DIGEST: u32 = 0;
    /// u32: frames, modulo 2^32, when the last poll ended.
    pub const POLL_START: u32 = 8;
    /// u64 each: wire packets, wire bytes, packets, merged packets, merged segments, 32 by flush reason, 16 by
    /// bypass reason.
    pub const COUNTERS: u32 = 16;
    /// Bytes of what is described here; the engine keeps more behind it.
    pub const SIZE: u32 = COUNTERS + 8 * (5 + 32 + 32);
}

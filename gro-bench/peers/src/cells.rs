//! What is measured: the cells, and in which states the memory is.

use crate::workload::{Payload, Shape, Stream};

/// Where the frames of a burst lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// 256 frames, used again and again.
    Hot,
    /// A ring of 64 MiB, more than a core's own caches.
    Cold,
    /// The same ring, every line flushed after use: as from a NIC that writes to memory.
    Dram,
}

impl State {
    pub(crate) const ALL: [Self; 3] = [Self::Hot, Self::Cold, Self::Dram];

    /// As in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
            Self::Dram => "dram",
        }
    }
}

/// One kind of traffic.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    /// `FxK`: F flows, round robin in runs of K segments; then what is unusual.
    pub(crate) name: String,
    pub(crate) stream: Stream,
    /// Whether the floors are measured beside it.
    pub(crate) floors: bool,
}

/// The cell that most is said of.
pub(crate) const MAIN: &str = "8x4";

/// All cells.
pub(crate) fn all() -> Vec<Cell> {
    let flows =
        [(1, 1), (8, 1), (8, 4), (8, 16), (64, 1), (64, 4), (64, 16), (1_024, 1), (1_024, 4), (1_024, 16)];
    let mut cells: Vec<Cell> = flows.map(|(flows, run)| cell(flows, run, "", |_| ())).into();
    cells.extend([
        cell(8, 4, "/ipv6", |stream| {
            stream.shape = Shape::Ipv6;
            stream.payload = Payload::Bytes(1_428);
        }),
        cell(8, 4, "/vlan", |stream| stream.shape = Shape::Vlan),
        cell(8, 4, "/vxlan", |stream| {
            stream.shape = Shape::Vxlan;
            stream.payload = Payload::Bytes(1_398);
        }),
        cell(8, 4, "/udp", |stream| {
            stream.shape = Shape::Udp;
            stream.payload = Payload::Bytes(1_472);
        }),
        cell(8, 4, "/100", |stream| stream.payload = Payload::Bytes(100)),
        cell(8, 4, "/8948", |stream| stream.payload = Payload::Bytes(8_948)),
        cell(8, 4, "/imix", |stream| stream.payload = Payload::Imix),
        cell(8, 4, "/hash0", |stream| stream.hashed = false),
        cell(64, 1, "/hash0", |stream| stream.hashed = false),
    ]);
    cells
}

/// The cells that are about flows and runs alone.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.contains('/')
}

fn cell(flows: u32, run: u32, suffix: &str, change: impl FnOnce(&mut Stream)) -> Cell {
    let mut stream = plain(flows, run);
    change(&mut stream);
    Cell { name: format!("{flows}x{run}{suffix}"), stream, floors: flows == 8 && run == 4 }
}

/// Frames of 1,514 bytes, TCP/IPv4.
pub(crate) fn plain(flows: u32, run: u32) -> Stream {
    Stream { shape: Shape::Ipv4, payload: Payload::Bytes(1_448), flows, run, hashed: true }
}

//! A transfer between two hosts that are not Linux: smoltcp on the driver of a NIC, over a wire that loses, delays and damages.
//!
//! Time is virtual and every random choice comes from a seed: a run depends on nothing else.

use bytes::Bytes;
use gro_core::stats::Counters;
use gro_core::{Bypass, Meta};
use gro_nic::phy::NicPhy;
use gro_nic::{Image, Nic, NicConfig, NicError};
use sha2::{Digest as _, Sha256};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::collections::BTreeMap;
use std::fmt;

/// What is sent over which wire.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Over IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Frames of 65,536 that are lost, each way.
    pub loss: u32,
    /// Of 65,536 those that come later than those behind them.
    pub late: u32,
    /// Of 65,536 those in which a bit flips.
    pub damage: u32,
    /// Of wire and content.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Transferred {
    /// SHA-256 of what was sent and of what was received.
    pub sha256: [[u8; 32]; 2],
    /// Bytes received.
    pub bytes: u64,
    /// Of the frames to the receiver.
    pub wire: WireCounts,
    /// Of the receiver's NIC.
    pub nic: Counters,
    /// Bytes of its longest packet.
    pub longest: usize,
    /// Virtual time.
    pub seconds: f64,
}

/// What a wire did, one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// Frames that were sent.
    pub sent: u64,
    /// Of them lost.
    pub lost: u64,
    /// Of them late.
    pub late: u64,
    /// Of them damaged.
    pub damaged: u64,
}

/// Why there was no transfer.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A NIC failed.
    #[error(transparent)]
    Nic(#[from] NicError),
    /// A host refused something.
    #[error("{0}")]
    Stack(String),
    /// It does not go on.
    #[error("nothing arrives any more after {seconds} virtual seconds and {bytes} bytes")]
    Stuck {
        /// Of virtual time.
        seconds: f64,
        /// That arrived.
        bytes: u64,
    },
}

impl Transferred {
    /// Whether what arrived is what was sent.
    pub fn is_intact(&self) -> bool {
        self.sha256[0] == self.sha256[1]
    }

    /// Segments of a merged packet, on the average.
    pub fn segments_a_merge(&self) -> f64 {
        (self.nic.merged_segments + self.nic.merged_packets) as f64 / self.nic.merged_packets.max(1) as f64
    }
}

impl fmt::Display for Transferred {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WireCounts { sent, lost, late, damaged } = self.wire;
        write!(
            out,
            "{} bytes {}, {sent} frames sent, {lost} lost, {late} late, {damaged} damaged; {} merged packets of {:.1} segments, the \
             longest {} bytes, {} frames with a wrong checksum; {:.3} s of virtual time",
            self.bytes,
            if self.is_intact() { "equal" } else { "DIFFERENT" },
            self.nic.merged_packets,
            self.segments_a_merge(),
            self.longest,
            self.nic.bypass[Bypass::Checksum as usize] + self.nic.bypass[Bypass::IpChecksum as usize],
            self.seconds
        )
    }
}

const MTU: usize = 1500;
/// Of a wire of 10 Gb/s: the time of a byte is 0.8 ns, that of a whole frame 1.2 us.
const NS_A_BYTE_TENTHS: u64 = 8;
const DELAY_NS: u64 = 20_000;
/// A frame that is late comes so much later, behind a few dozen others.
const LATE_NS: u64 = 60_000;
/// Interrupts of a NIC are no closer than that: what came meanwhile is one poll.
const POLL_NS: u64 = 50_000;
/// Of send and receive: 181 segments.
const BUFFER: usize = 1 << 18;
/// Virtual time without a byte that arrives. smoltcp resends one segment for three equal acknowledgements; where more of a window is
/// lost it waits for its timer, up to a minute.
const PATIENCE_NS: u64 = 600_000_000_000;
const PORT: u16 = 5_201;

/// Sends a stream from one host to the other. Both receive through a NIC that runs `image`, set up by `config`.
///
/// # Errors
/// A NIC that fails, or a transfer that gets stuck. What arrived wrong is no error: [`Transferred::is_intact`] tells.
pub fn run(image: &Image, config: &NicConfig, transfer: &Transfer) -> Result<Transferred, TransferError> {
    let mut hosts = [Host::new(image, config, transfer, 1)?, Host::new(image, config, transfer, 2)?];
    let mut wires = [Wire::new(transfer, 1), Wire::new(transfer, 2)];
    let address = hosts[1].address;
    hosts[1].socket().listen(PORT).map_err(|error| TransferError::Stack(error.to_string()))?;
    hosts[0].connect(address)?;
    let mut content =
        Content { random: Random(transfer.seed | 1), left: transfer.bytes, hash: Sha256::new() };
    let (mut hash, mut bytes, mut longest) = (Sha256::new(), 0, 0);
    let (mut now, mut moved) = (0, 0);
    loop {
        for (index, host) in hosts.iter_mut().enumerate() {
            let arrived = wires[1 - index].arrived(now);
            if !arrived.is_empty() {
                host.device.poll(arrived)?;
            }
            host.poll(now);
        }
        content.send(hosts[0].socket());
        let before = bytes;
        let socket = hosts[1].socket();
        while socket.can_recv() {
            let took = socket.recv(|data| {
                hash.update(&*data);
                (data.len(), data.len())
            });
            bytes += took.map_err(|error| TransferError::Stack(error.to_string()))? as u64;
        }
        // Not by the end of the stream: smoltcp 0.14 does not send a FIN again that was lost after all data was acknowledged.
        if bytes >= transfer.bytes {
            break;
        }
        // What the application just wrote, and the window that reading just opened.
        for (host, wire) in hosts.iter_mut().zip(&mut wires) {
            host.poll(now);
            while let Some(frame) = host.device.sent() {
                wire.send(now, &frame);
            }
        }
        longest = longest.max(hosts[1].longest);
        if bytes > before {
            moved = now;
        } else if now > moved + PATIENCE_NS {
            return Err(TransferError::Stuck { seconds: now as f64 * 1e-9, bytes });
        }
        now = next(now, &mut hosts, &wires);
    }
    let nic = hosts[1].device.nic().counters();
    let sha256 = [content.hash.finalize().into(), hash.finalize().into()];
    Ok(Transferred { sha256, bytes, wire: wires[0].counts, nic, longest, seconds: now as f64 * 1e-9 })
}

/// When something happens next: a frame arrives or a timer of a host fires.
fn next(now: u64, hosts: &mut [Host; 2], wires: &[Wire; 2]) -> u64 {
    let arrives = wires.iter().filter_map(Wire::next);
    let fires: Vec<_> = hosts.iter_mut().filter_map(|host| host.next(now)).collect();
    arrives.chain(fires).min().unwrap_or(now + 1_000_000).max(now + 1_000)
}

/// A host: smoltcp on a NIC.
struct Host {
    device: NicPhy,
    stack: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
    address: IpAddress,
    longest: usize,
}

impl Host {
    fn new(
        image: &Image,
        config: &NicConfig,
        transfer: &Transfer,
        number: u8,
    ) -> Result<Self, TransferError> {
        let mut device = NicPhy::new(Nic::new(image, config)?, MTU);
        let mut setup = Config::new(EthernetAddress([2, 0, 0, 0, 0, number]).into());
        setup.random_seed = transfer.seed ^ u64::from(number);
        let mut stack = Interface::new(setup, &mut device, Instant::ZERO);
        let (address, bits) = if transfer.ipv6 {
            (IpAddress::v6(0xfd98, 0, 0, 0, 0, 0, 0, number.into()), 64)
        } else {
            (IpAddress::v4(10, 98, 0, number), 24)
        };
        let mut given = Ok(());
        stack.update_ip_addrs(|addresses| given = addresses.push(IpCidr::new(address, bits)));
        given.map_err(|address| TransferError::Stack(format!("no room for the address {address}")))?;
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::new());
        let tcp = sockets.add(socket);
        Ok(Self { device, stack, sockets, tcp, address, longest: 0 })
    }

    fn connect(&mut self, to: IpAddress) -> Result<(), TransferError> {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        socket
            .connect(self.stack.context(), (to, PORT), 40_000)
            .map_err(|error| TransferError::Stack(error.to_string()))
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.tcp)
    }

    fn poll(&mut self, now: u64) {
        self.longest = self.device.waiting().map(gro_nic::Delivered::len).fold(self.longest, usize::max);
        self.stack.poll(instant(now), &mut self.device, &mut self.sockets);
    }

    fn next(&mut self, now: u64) -> Option<u64> {
        let at = self.stack.poll_at(instant(now), &self.sockets)?;
        Some(at.total_micros().max(0) as u64 * 1_000)
    }
}

fn instant(now: u64) -> Instant {
    Instant::ZERO + Duration::from_micros(now / 1_000)
}

/// The stream that is sent.
struct Content {
    random: Random,
    left: u64,
    hash: Sha256,
}

impl Content {
    /// Writes as much as the socket takes; closes it at the end.
    fn send(&mut self, socket: &mut tcp::Socket<'_>) {
        while self.left > 0 && socket.can_send() {
            let (random, hash, left) = (&mut self.random, &mut self.hash, self.left);
            let written = socket.send(|room| {
                let len = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                random.fill(&mut room[..len]);
                hash.update(&room[..len]);
                (len, len)
            });
            match written {
                Ok(written) if written > 0 => self.left -= written as u64,
                _ => return,
            }
        }
        if self.left == 0 && socket.may_send() {
            socket.close();
        }
    }
}

/// One way of the wire: frames by the time at which they arrive, those of one time in order.
struct Wire {
    transfer: Transfer,
    random: Random,
    /// When the last frame has left the sender.
    free: u64,
    under_way: BTreeMap<(u64, u64), Bytes>,
    counts: WireCounts,
}

impl Wire {
    fn new(transfer: &Transfer, way: u64) -> Self {
        let random = Random(transfer.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ way | 1);
        Self {
            transfer: *transfer,
            random,
            free: 0,
            under_way: BTreeMap::new(),
            counts: WireCounts::default(),
        }
    }

    fn send(&mut self, now: u64, frame: &Bytes) {
        self.free = self.free.max(now) + frame.len() as u64 * NS_A_BYTE_TENTHS / 10;
        self.counts.sent += 1;
        if self.random.chance(self.transfer.loss) {
            self.counts.lost += 1;
            return;
        }
        let is_late = self.random.chance(self.transfer.late);
        let mut frame = frame.clone();
        if self.random.chance(self.transfer.damage) {
            self.counts.damaged += 1;
            let bit = self.random.next() as usize % (8 * frame.len());
            let mut bytes = frame.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            frame = bytes.into();
        }
        self.counts.late += u64::from(is_late);
        let at = self.free + DELAY_NS + if is_late { LATE_NS } else { 0 };
        self.under_way.insert((at, self.counts.sent), frame);
    }

    /// What has arrived by the last interrupt, as the MAC hands it over.
    fn arrived(&mut self, now: u64) -> Vec<(Bytes, Meta)> {
        let later = self.under_way.split_off(&(now + 1, 0));
        let arrived = std::mem::replace(&mut self.under_way, later);
        arrived.into_values().map(|frame| (frame, Meta { hash: 1, vlan: 0, verified: false })).collect()
    }

    /// The first interrupt behind the arrival of a frame.
    fn next(&self) -> Option<u64> {
        self.under_way.keys().next().map(|&(at, _)| at.next_multiple_of(POLL_NS))
    }
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of 65,536 chances.
    fn chance(&mut self, of: u32) -> bool {
        ((self.next() >> 32) as u32 & 0xffff) < of
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            word.copy_from_slice(&random[..word.len()]);
        }
    }
}

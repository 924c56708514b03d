//! A sender and a receiver, and what they send each other.

use crate::hosts::{Host, TSO, TX_CHECKSUM};
use gro_core::{Config, Release};
use gro_ebpf::live::{Guards, Snapshot};
use gro_ebpf::via_tap::{ViaTap, ViaTapOptions};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub(crate) const MB: usize = 1 << 20;

/// Two hosts, wired by `c0` and `s0`. The server runs the engine.
pub(crate) struct Pair {
    pub(crate) client: Host,
    pub(crate) server: Host,
    /// One at a time: each uses all of a small machine.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());
/// The server's addresses, IPv4 and IPv6.
pub(crate) const SERVER: [&str; 2] = ["10.77.0.2", "fd77::2"];

pub(crate) fn options() -> ViaTapOptions {
    ViaTapOptions {
        interface: "s0".to_owned(),
        tap: "gro%d".to_owned(),
        queues: 1,
        config: Config::DEFAULT,
        profile: Release::Linux618,
        ring_frames: 8192,
    }
}

impl Pair {
    /// The client segments itself, and leaves checksums open if `checksum_offload`.
    pub(crate) fn new(mtu: u32, checksum_offload: bool) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, server) = (Host::new(), Host::new());
        client.wire("c0", &server, "s0", mtu);
        client.offload("c0", TX_CHECKSUM, checksum_offload);
        client.offload("c0", TSO, false);
        server.offload("s0", TSO, false);
        let pair = Self { client, server, _turn: turn };
        pair.address(["c0", "s0"], "77");
        pair
    }

    /// Gives two interfaces addresses in a network.
    pub(crate) fn address(&self, [client, server]: [&str; 2], network: &str) {
        for (host, interface, number) in [(&self.client, client, 1), (&self.server, server, 2)] {
            host.address(interface, &format!("10.{network}.0.{number}/24"));
            host.address(interface, &format!("fd{network}::{number}/64"));
        }
    }

    /// Starts the engine.
    pub(crate) fn start(&self, options: ViaTapOptions) -> ViaTap {
        self.server.run(move || ViaTap::start(&options)).unwrap()
    }

    /// Sends bytes to one of the server's addresses, and checks that they are what it reads.
    pub(crate) fn transfer(&self, address: &'static str, bytes: usize) {
        transfer(&self.client, &self.server, address, bytes).join().unwrap();
    }
}

/// Has a host send bytes to another one. The thread that is given ends when they are checked.
pub(crate) fn transfer(from: &Host, to: &Host, address: &'static str, bytes: usize) -> JoinHandle<()> {
    let listener = to.run(move || TcpListener::bind((address, 0))).unwrap();
    let to: SocketAddr = listener.local_addr().unwrap();
    let sender = from.spawn(move || send(to, bytes));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        let mut received = 0;
        while let len @ 1.. = stream.read(&mut buffer).unwrap() {
            received += len;
            hash.update(&buffer[..len]);
        }
        assert_eq!(received, bytes);
        assert_eq!(hash.finalize(), sender.join().unwrap());
    })
}

fn send(to: SocketAddr, bytes: usize) -> sha2::digest::Output<Sha256> {
    let mut stream = TcpStream::connect(to).unwrap();
    let mut hash = Sha256::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = bytes;
    let mut block = vec![0; 1 << 16];
    while left > 0 {
        for word in block.as_chunks_mut::<8>().0 {
            // Marsaglia's xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *word = state.to_le_bytes();
        }
        let part = &block[..left.min(block.len())];
        stream.write_all(part).unwrap();
        hash.update(part);
        left -= part.len();
    }
    hash.finalize()
}

/// A counter of /proc/net/snmp or /proc/net/netstat.
pub(crate) fn counter(host: &Host, group: &str, name: &str) -> u64 {
    let text = host.command("cat /proc/net/snmp /proc/net/netstat");
    let mut lines = text.lines().filter(|line| line.starts_with(&format!("{group}:")));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split_whitespace().position(|word| word == name).unwrap();
    values.split_whitespace().nth(place).unwrap().parse().unwrap()
}

/// Ends the engine, and looks whether it did all that it should.
pub(crate) fn stop(via: ViaTap, least_segments: f64) -> Snapshot {
    assert!(via.is_running());
    let last = via.stop().unwrap();
    let (found, guards) = (last.segments_a_merge(), last.guards);
    eprintln!(
        "{found:.1} segments a merge, {:.1} frames a packet, {:?}",
        last.frames_a_packet(),
        last.top_flush(3)
    );
    assert!(found >= least_segments, "{last:?}");
    // A full ring is no fault: the machine may be busy.
    assert_eq!(Guards { ring_full: 0, already_merged: 0, ..guards }, Guards::default());
    let others: u64 = last.flush.values().chain(last.bypass.values()).sum();
    assert_eq!(last.packets, others, "every packet has a reason: {last:?}");
    last
}

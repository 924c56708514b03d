//! The userspace engine between an interface and its stack, on live traffic in private network namespaces.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod hosts;

use gro_core::{Config, Release};
use gro_ebpf::live::Snapshot;
use gro_ebpf::via_tap::{ViaTap, ViaTapOptions};
use hosts::{Host, TSO, TX_CHECKSUM, missing};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A sender and a receiver, wired by `c0` and `s0`.
struct Pair {
    client: Host,
    server: Host,
}

const SERVER: [&str; 2] = ["10.77.0.2", "fd77::2"];

impl Pair {
    fn new(mtu: u32, checksum_offload: bool) -> Self {
        let (client, server) = (Host::new(), Host::new());
        client.wire("c0", &server, "s0", mtu);
        for (host, interface, number) in [(&client, "c0", 1), (&server, "s0", 2)] {
            host.address(interface, &format!("10.77.0.{number}/24"));
            host.address(interface, &format!("fd77::{number}/64"));
        }
        client.offload("c0", TX_CHECKSUM, checksum_offload);
        client.offload("c0", TSO, false);
        server.offload("s0", TSO, false);
        Self { client, server }
    }

    fn start(&self, options: ViaTapOptions) -> ViaTap {
        self.server.run(move || ViaTap::start(&options)).unwrap()
    }

    /// Sends bytes to the server, and checks that they are what it reads.
    fn transfer(&self, version: usize, bytes: usize) {
        let address = SERVER[version];
        let listener = self.server.run(move || TcpListener::bind((address, 0))).unwrap();
        let to: SocketAddr = listener.local_addr().unwrap();
        let sender = self.client.spawn(move || send(to, bytes));
        let (mut stream, _) = listener.accept().unwrap();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        let mut received = 0;
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                len => {
                    received += len;
                    hash.update(&buffer[..len]);
                }
            }
        }
        assert_eq!(received, bytes);
        assert_eq!(hash.finalize(), sender.join().unwrap());
    }
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

fn options() -> ViaTapOptions {
    ViaTapOptions {
        interface: "s0".to_owned(),
        tap: "gro%d".to_owned(),
        queues: 1,
        config: Config::DEFAULT,
        profile: Release::Linux618,
        ring_frames: 4096,
    }
}

fn segments(snapshot: &Snapshot) -> f64 {
    snapshot.segments_a_merge()
}

const MB: usize = 1 << 20;

#[test]
fn streams_arrive_whole_and_merged() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    for (mtu, least) in [(1500, 9.0), (9000, 6.0)] {
        for checksum_offload in [true, false] {
            let pair = Pair::new(mtu, checksum_offload);
            let via = pair.start(options());
            for version in [0, 1] {
                let before = via.snapshot();
                pair.transfer(version, 50 * MB);
                std::thread::sleep(std::time::Duration::from_millis(200));
                let since = via.snapshot().since(&before);
                eprintln!("mtu {mtu} offload {checksum_offload} IPv{}: {:.1} segments a merge, {since:?}", 4 + 2 * version, segments(&since));
                assert!(segments(&since) >= least);
            }
            let last = via.stop().unwrap();
            assert_eq!(last.guards, Default::default());
        }
    }
}

//! UDP as programs send it: a stream of full datagrams, one in bursts with a shorter last one, a mix of sizes, and the small
//! acknowledgements of a stream the other way. Every datagram carries its sequence number.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::flows::{PERIOD, TICK, is_pause, pattern};
use super::mixed::mix;
use super::namespace::{Namespaces, Place};
use super::record::Bound;

/// One sender and its receiver.
#[derive(Clone, Copy)]
struct Stream {
    from: Place,
    port: u16,
    datagrams: usize,
    /// Datagrams sent back to back, before the sender pauses.
    burst: usize,
    sizes: Sizes,
    /// A connected socket counts IPv4 identifications up, an unconnected one leaves them 0.
    connected: bool,
    /// The receiver answers every second datagram with a small one.
    acknowledged: bool,
}

/// Payload bytes of the datagrams.
#[derive(Clone, Copy)]
enum Sizes {
    All(usize),
    /// The last one of a burst is shorter.
    ShortLast(usize),
    /// Up to this many.
    Random(usize),
}

const fn streams() -> [Stream; 5] {
    let stream = Stream {
        from: Place::A,
        port: 0,
        datagrams: 640,
        burst: 16,
        sizes: Sizes::All(1_470),
        connected: true,
        acknowledged: false,
    };
    [
        // As iperf sends.
        Stream { port: 6001, ..stream },
        // As QUIC sends: a flight, its last datagram shorter.
        Stream { port: 6002, datagrams: 600, burst: 10, sizes: Sizes::ShortLast(1_252), ..stream },
        Stream { port: 6003, sizes: Sizes::All(1_200), connected: false, ..stream },
        Stream { port: 6004, datagrams: 320, burst: 4, sizes: Sizes::Random(1_472), ..stream },
        // Of this one the recorded host receives the acknowledgements.
        Stream { from: Place::B, port: 6005, sizes: Sizes::All(1_200), acknowledged: true, ..stream },
    ]
}

/// Between bursts, so that polls end.
const PAUSE: Duration = Duration::from_micros(400);

/// Bytes of an acknowledgement and of the least datagram.
const ACKNOWLEDGEMENT: usize = 43;
const HEADER: usize = 4;

/// Runs all streams to their end. UDP sends nothing again.
///
/// # Errors
/// A socket that fails, a wrong datagram, or one that arrives before its predecessor.
pub(super) fn run(hosts: &Namespaces, bound: Bound<'_>) -> Result<u64> {
    let sending = AtomicUsize::new(streams().len());
    std::thread::scope(|scope| {
        let sending = &sending;
        let (ready, listening) = std::sync::mpsc::channel();
        let mut threads = Vec::new();
        for stream in streams() {
            let ready = ready.clone();
            threads.push(scope.spawn(move || receiver(hosts, stream, sending, bound, ready)));
        }
        drop(ready);
        let up = listening.iter().count();
        ensure!(up == threads.len(), "{} of {} receivers do not listen", threads.len() - up, threads.len());
        for stream in streams() {
            threads.push(scope.spawn(move || {
                let result = sender(hosts, stream, bound);
                sending.fetch_sub(1, Ordering::Relaxed);
                result
            }));
        }
        for thread in threads {
            thread.join().unwrap_or_else(|_| bail!("a thread of the flows panicked"))?;
        }
        Ok(0)
    })
}

fn sender(hosts: &Namespaces, stream: Stream, bound: Bound<'_>) -> Result<()> {
    hosts.enter(stream.from)?;
    let socket = UdpSocket::bind(address(hosts, stream.from, 0)?)?;
    let to = address(hosts, stream.to(), stream.port)?;
    if stream.connected {
        socket.connect(to)?;
    }
    // Acknowledgements stay in the socket's buffer: what counts is that they crossed the wire.
    let pattern = pattern(stream.port, 0);
    for number in 0..stream.datagrams {
        bound.check()?;
        if number > 0 && number % stream.burst == 0 {
            std::thread::sleep(PAUSE);
        }
        let datagram = stream.datagram(number, &pattern);
        let sent = if stream.connected { socket.send(&datagram) } else { socket.send_to(&datagram, to) };
        sent.with_context(|| format!("port {}: cannot send", stream.port))?;
    }
    Ok(())
}

fn receiver(
    hosts: &Namespaces,
    stream: Stream,
    sending: &AtomicUsize,
    bound: Bound<'_>,
    ready: std::sync::mpsc::Sender<()>,
) -> Result<()> {
    hosts.enter(stream.to())?;
    let socket = UdpSocket::bind(address(hosts, stream.to(), stream.port)?)?;
    socket.set_read_timeout(Some(TICK))?;
    ready.send(()).ok();
    drop(ready);
    let pattern = pattern(stream.port, 0);
    let mut buffer = vec![0; 2_048];
    let mut next = 0;
    let mut came = 0;
    loop {
        bound.check()?;
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                ensure!(length >= HEADER, "port {}: a datagram of {length} bytes", stream.port);
                let number = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
                ensure!(number >= next, "port {}: datagram {number} comes late", stream.port);
                ensure!(
                    buffer[..length] == stream.datagram(number, &pattern),
                    "port {}: wrong bytes",
                    stream.port
                );
                next = number + 1;
                came += 1;
                if stream.acknowledged && came % 2 == 0 {
                    let mut answer = pattern[..ACKNOWLEDGEMENT].to_vec();
                    answer[..HEADER].copy_from_slice(&(number as u32).to_be_bytes());
                    socket.send_to(&answer, from)?;
                }
            }
            Err(error) if is_pause(error.kind()) => {
                if sending.load(Ordering::Relaxed) == 0 {
                    break;
                }
            }
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    ensure!(came * 2 > stream.datagrams, "port {}: {came} of {} came", stream.port, stream.datagrams);
    Ok(())
}

impl Stream {
    fn to(self) -> Place {
        if self.from == Place::A { Place::B } else { Place::A }
    }

    /// The sequence number, and as much of the pattern as the size asks for.
    fn datagram(self, number: usize, pattern: &[u8]) -> Vec<u8> {
        let random = mix(u64::from(self.port) << 32 | number as u64) as usize;
        let length = match self.sizes {
            Sizes::All(length) => length,
            Sizes::ShortLast(most) if number % self.burst == self.burst - 1 => {
                HEADER + random % (most - HEADER)
            }
            Sizes::ShortLast(most) => most,
            Sizes::Random(most) => HEADER + random % (most - HEADER + 1),
        };
        let mut datagram = (number as u32).to_be_bytes().to_vec();
        let at = number % PERIOD;
        datagram.extend_from_slice(&pattern[at..at + length - HEADER]);
        datagram
    }
}

fn address(hosts: &Namespaces, place: Place, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(hosts.address(place, false).parse::<IpAddr>()?, port))
}

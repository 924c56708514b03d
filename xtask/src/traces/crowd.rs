//! Many connections at once, few bytes each: more than a table of 64 holds.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::flows::{PERIOD, TICK, is_pause, pattern, sent_again};
use super::mixed::mix;
use super::namespace::{Namespaces, Place};
use super::record::Bound;

/// Connections of each family on which the client sends, and on which the server does.
const UPLOADS: usize = 90;
const DOWNLOADS: usize = 30;

/// Every sender writes this often, in turn with all others, so that all connections are busy at once.
const ROUNDS: usize = 6;

/// Bytes of one write: at least, and how many more at most.
const WRITE: (usize, u64) = (1, 7_000);

/// Where the server waits for the connections of each kind.
const UPLOAD: u16 = 5100;
const DOWNLOAD: u16 = 5101;

/// Connects, sends on all connections in turn, and counts the segments that were sent again.
///
/// # Errors
/// A connection that fails, delivers other bytes than were sent, or is not done in time.
pub(super) fn run(hosts: &Namespaces, bound: Bound<'_>) -> Result<u64> {
    std::thread::scope(|scope| {
        let (ready, listening) = std::sync::mpsc::channel();
        let server = scope.spawn(move || {
            hosts.enter(Place::B)?;
            let (uploads, downloads) = accept_all(hosts, bound, ready)?;
            exchange(downloads, DOWNLOAD, uploads, UPLOAD, bound)
        });
        let client = scope.spawn(move || {
            listening.recv().context("the server does not listen")?;
            hosts.enter(Place::A)?;
            let (uploads, downloads) = connect_all(hosts)?;
            exchange(uploads, UPLOAD, downloads, DOWNLOAD, bound)
        });
        let mut again = 0;
        let (mut sent, mut received) = (0, 0);
        for thread in [server, client] {
            let side = thread.join().unwrap_or_else(|_| bail!("a thread of the flows panicked"))?;
            again += side.again;
            sent += side.sent;
            received += side.received;
        }
        ensure!(sent == received, "{received} of {sent} bytes arrived");
        Ok(again)
    })
}

/// What one host did.
struct Side {
    sent: usize,
    received: usize,
    again: u64,
}

type Streams = Vec<TcpStream>;

fn accept_all(hosts: &Namespaces, bound: Bound<'_>, ready: Sender<()>) -> Result<(Streams, Streams)> {
    let mut waiting = Vec::new();
    for v6 in [false, true] {
        for (port, count) in [(UPLOAD, UPLOADS), (DOWNLOAD, DOWNLOADS)] {
            let address = SocketAddr::new(hosts.address(Place::B, v6).parse::<IpAddr>()?, port);
            let listener =
                TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
            listener.set_nonblocking(true)?;
            waiting.push((listener, port, count));
        }
    }
    ready.send(()).ok();
    let (mut uploads, mut downloads) = (Vec::new(), Vec::new());
    while waiting.iter().any(|&(.., left)| left > 0) {
        for (listener, port, left) in waiting.iter_mut().filter(|(.., left)| *left > 0) {
            match listener.accept() {
                Ok((stream, _)) => {
                    *left -= 1;
                    let kind = if *port == UPLOAD { &mut uploads } else { &mut downloads };
                    kind.push(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bound.check()?;
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((uploads, downloads))
}

/// Both families in turn, so that neighbours in the capture are of different ones.
fn connect_all(hosts: &Namespaces) -> Result<(Streams, Streams)> {
    let connect = |count: usize, port| -> Result<Streams> {
        let mut streams = Vec::new();
        for number in 0..2 * count {
            let host = hosts.address(Place::B, number % 2 == 1).parse::<IpAddr>()?;
            let address = SocketAddr::new(host, port);
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10));
            streams.push(stream.with_context(|| format!("cannot connect to {address}"))?);
        }
        Ok(streams)
    };
    Ok((connect(UPLOADS, UPLOAD)?, connect(DOWNLOADS, DOWNLOAD)?))
}

/// Sends on some connections and receives on the others, each by its own thread.
fn exchange(send: Streams, to: u16, receive: Streams, from: u16, bound: Bound<'_>) -> Result<Side> {
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || write_all(&send, to, bound));
        let received = read_all(receive, from, bound);
        let sent = sender.join().unwrap_or_else(|_| bail!("a sender panicked"));
        let received = received?;
        let (sent, again) = sent?;
        Ok(Side { sent, received, again })
    })
}

fn write_all(streams: &[TcpStream], port: u16, bound: Bound<'_>) -> Result<(usize, u64)> {
    let pattern = pattern(port, 0);
    let mut places = vec![0; streams.len()];
    let mut state = u64::from(port);
    for stream in streams {
        stream.set_write_timeout(Some(TICK))?;
        stream.set_nodelay(true)?;
    }
    for _ in 0..ROUNDS {
        for (mut stream, place) in streams.iter().zip(&mut places) {
            state = mix(state);
            let mut left = WRITE.0 + (state % WRITE.1) as usize;
            while left > 0 {
                bound.check()?;
                let at = *place % PERIOD;
                match stream.write(&pattern[at..at + left]) {
                    Ok(written) => {
                        *place += written;
                        left -= written;
                    }
                    Err(error) if is_pause(error.kind()) => (),
                    Err(error) => return Err(error).context("cannot send"),
                }
            }
        }
    }
    for stream in streams {
        stream.shutdown(Shutdown::Write)?;
    }
    let again = streams.iter().map(sent_again).sum::<Result<u64>>()?;
    Ok((places.iter().sum(), again))
}

/// Reads until every peer has closed.
fn read_all(streams: Streams, port: u16, bound: Bound<'_>) -> Result<usize> {
    let pattern = pattern(port, 0);
    let mut buffer = vec![0; super::flows::CHUNK];
    let mut received = 0;
    let mut open: Vec<(TcpStream, usize)> = streams.into_iter().map(|stream| (stream, 0)).collect();
    for (stream, _) in &open {
        stream.set_nonblocking(true)?;
    }
    while !open.is_empty() {
        bound.check()?;
        let mut idle = true;
        let mut still = Vec::new();
        for (mut stream, place) in open {
            match stream.read(&mut buffer) {
                Ok(0) => idle = false,
                Ok(length) => {
                    let at = place % PERIOD;
                    ensure!(buffer[..length] == pattern[at..at + length], "port {port}: wrong bytes arrived");
                    received += length;
                    idle = false;
                    still.push((stream, place + length));
                }
                Err(error) if is_pause(error.kind()) => still.push((stream, place)),
                Err(error) => return Err(error).context("cannot receive"),
            }
        }
        open = still;
        if idle {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    Ok(received)
}

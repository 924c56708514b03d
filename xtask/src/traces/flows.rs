//! Bulk TCP: several connections at once, both ways.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::mixed::mix;
use super::namespace::{Namespaces, Place};
use super::record::Bound;

/// One connection.
#[derive(Clone, Copy)]
struct Flow {
    v6: bool,
    /// Who connects.
    client: Place,
    port: u16,
    /// Bytes that the client and the server send.
    bytes: [usize; 2],
    /// Small writes of changing size without Nagle's algorithm, instead of large ones.
    chatty: bool,
}

/// The connections of a bulk trace: four towards the recorded host, which then receives data, two the other way, of which it
/// receives the acknowledgements, and one that sends both ways at once. One each way is chatty.
pub(super) fn bulk(v6: bool, hosts: &Namespaces, bound: Bound<'_>) -> Result<u64> {
    const BYTES: usize = 6_000_000;
    let one_way = |client, port, chatty| Flow { v6, client, port, bytes: [BYTES, 0], chatty };
    let plan = [
        one_way(Place::A, 5001, false),
        one_way(Place::A, 5002, false),
        one_way(Place::A, 5003, false),
        one_way(Place::B, 5004, false),
        one_way(Place::A, 5005, true),
        one_way(Place::B, 5006, true),
        Flow { v6, client: Place::A, port: 5007, bytes: [BYTES, BYTES], chatty: false },
    ];
    run(hosts, &plan, bound)
}

/// For a wire that loses much: one connection of each family sends both ways at once, so that the recorded host receives SACK
/// blocks on data, and one the other way, of which it receives duplicate acknowledgements with SACK blocks.
pub(super) fn both_ways(hosts: &Namespaces, bound: Bound<'_>) -> Result<u64> {
    const BYTES: usize = 1_500_000;
    let plan = [
        Flow { v6: false, client: Place::A, port: 5011, bytes: [BYTES, BYTES], chatty: false },
        Flow { v6: true, client: Place::B, port: 5012, bytes: [BYTES, BYTES], chatty: false },
        Flow { v6: false, client: Place::B, port: 5013, bytes: [BYTES, 0], chatty: false },
    ];
    run(hosts, &plan, bound)
}

/// Runs all connections to their end and counts the segments that the senders' kernels sent again.
///
/// # Errors
/// A connection that fails, delivers other bytes than were sent, or is not done in time.
fn run(hosts: &Namespaces, plan: &[Flow], bound: Bound<'_>) -> Result<u64> {
    std::thread::scope(|scope| {
        let (ready, listening) = std::sync::mpsc::channel();
        let mut threads = Vec::new();
        for &flow in plan {
            let ready = ready.clone();
            threads.push(scope.spawn(move || server(hosts, flow, bound, ready)));
        }
        drop(ready);
        // A server that fails drops its sender unused, and its clients fail to connect.
        let up = listening.iter().count();
        ensure!(up == threads.len(), "{} of {} servers do not listen", threads.len() - up, threads.len());
        for &flow in plan {
            threads.push(scope.spawn(move || client(hosts, flow, bound)));
        }
        let mut again = 0;
        for thread in threads {
            again += thread.join().unwrap_or_else(|_| bail!("a thread of the flows panicked"))?;
        }
        Ok(again)
    })
}

/// How often a blocked thread looks whether it should stop.
pub(super) const TICK: Duration = Duration::from_millis(200);

fn server(
    hosts: &Namespaces,
    flow: Flow,
    bound: Bound<'_>,
    ready: std::sync::mpsc::Sender<()>,
) -> Result<u64> {
    let place = flow.server();
    hosts.enter(place)?;
    let address = SocketAddr::new(hosts.address(place, flow.v6).parse::<IpAddr>()?, flow.port);
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    // The count of listeners is complete once every server has let go of its end.
    ready.send(()).ok();
    drop(ready);
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bound.check()?;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    };
    stream.set_nonblocking(false)?;
    exchange(&stream, flow, 1, bound)
}

fn client(hosts: &Namespaces, flow: Flow, bound: Bound<'_>) -> Result<u64> {
    hosts.enter(flow.client)?;
    let address = SocketAddr::new(hosts.address(flow.server(), flow.v6).parse::<IpAddr>()?, flow.port);
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))
        .with_context(|| format!("cannot connect to {address}"))?;
    exchange(&stream, flow, 0, bound)
}

impl Flow {
    fn server(self) -> Place {
        if self.client == Place::A { Place::B } else { Place::A }
    }
}

/// Sends and receives what the flow says for `side` (0 client, 1 server); returns the segments sent again.
fn exchange(stream: &TcpStream, flow: Flow, side: usize, bound: Bound<'_>) -> Result<u64> {
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    stream.set_nodelay(flow.chatty)?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || send(stream, flow, side, bound));
        let received = receive(stream, flow, 1 - side, bound);
        let sent = sender.join().unwrap_or_else(|_| bail!("a sender panicked"));
        received?;
        sent
    })?;
    if flow.bytes[side] == 0 {
        // A pure receiver closes when it has everything.
        stream.shutdown(Shutdown::Write)?;
    }
    sent_again(stream)
}

fn send(mut stream: &TcpStream, flow: Flow, side: usize, bound: Bound<'_>) -> Result<()> {
    let pattern = pattern(flow.port, side);
    let mut done = 0;
    let mut state = u64::from(flow.port);
    while done < flow.bytes[side] {
        bound.check()?;
        state = mix(state);
        let chunk = if flow.chatty { 200 + (state % 6_000) as usize } else { CHUNK };
        let chunk = chunk.min(flow.bytes[side] - done);
        let at = done % PERIOD;
        match stream.write(&pattern[at..at + chunk]) {
            Ok(written) => done += written,
            Err(error) if is_pause(error.kind()) => (),
            Err(error) => return Err(error).context("cannot send"),
        }
    }
    if done > 0 {
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, flow: Flow, from: usize, bound: Bound<'_>) -> Result<()> {
    let pattern = pattern(flow.port, from);
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        bound.check()?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let at = done % PERIOD;
                ensure!(
                    buffer[..length] == pattern[at..at + length],
                    "port {}: wrong bytes arrived",
                    flow.port
                );
                done += length;
            }
            Err(error) if is_pause(error.kind()) => (),
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    ensure!(done == flow.bytes[from], "port {}: {done} of {} bytes arrived", flow.port, flow.bytes[from]);
    Ok(())
}

pub(super) fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// After this many bytes the payload repeats, so that it compresses; a prime, so that no segment starts like the last.
pub(super) const PERIOD: usize = 251;

/// Bytes of the largest write and read.
pub(super) const CHUNK: usize = 16_384;

/// The bytes that one side of a flow sends: enough of them for a chunk from any place in the period.
pub(super) fn pattern(port: u16, side: usize) -> Vec<u8> {
    let mut state = mix(u64::from(port) * 2 + side as u64);
    let period: Vec<u8> = (0..PERIOD)
        .map(|_| {
            state = mix(state);
            b'0' + (state % 75) as u8
        })
        .collect();
    period.repeat(CHUNK / PERIOD + 2)
}

/// `tcpi_total_retrans` of a connection.
pub(super) fn sent_again(stream: &TcpStream) -> Result<u64> {
    let mut info = [0_u8; TOTAL_RETRANS + 4];
    let mut length = info.len() as u32;
    // SAFETY: the buffer lives through the call and its length is passed; the kernel writes no more than that.
    let result = unsafe {
        let at = info.as_mut_ptr().cast();
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut length)
    };
    ensure!(result == 0 && length as usize == info.len(), "the kernel does not tell TCP_INFO");
    let mut count = [0; 4];
    count.copy_from_slice(&info[TOTAL_RETRANS..]);
    Ok(u32::from_ne_bytes(count).into())
}

/// Offset of `tcpi_total_retrans` in `struct tcp_info` (linux/tcp.h): 8 bytes and 23 words.
const TOTAL_RETRANS: usize = 8 + 23 * 4;

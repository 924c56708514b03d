//! Request and response: how long one of each takes.

use super::topology::{Place, Topology};
use super::traffic::{connect, is_pause, pin};
use super::{LiveError, step};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What is asked and answered.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Bytes of a request, and of a response.
    pub size: usize,
    /// How many are measured.
    pub count: usize,
    /// Over IPv6 instead of IPv4.
    pub ipv6: bool,
    /// The CPUs of the two ends; where they please otherwise.
    pub cpus: Option<[usize; 2]>,
}

/// How long they took, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
}

/// Exchanges that come before those that are measured.
const WARM_UP: usize = 500;
const PORT: u16 = 5_100;
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures exchanges from the sender to the receiver and back, without Nagle's algorithm.
///
/// # Errors
/// A connection that breaks, or an answer that does not come.
pub fn measure(topology: &Topology, exchange: Exchange) -> Result<Latency, LiveError> {
    let address = SocketAddr::new(topology.address(Place::B, exchange.ipv6), PORT);
    let [near, far] = exchange.cpus.map_or([None; 2], |cpus| cpus.map(Some));
    let listener = topology
        .host(Place::B)
        .within(|| TcpListener::bind(address).map_err(step(format!("listening on {address}"))))?;
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            topology.host(Place::B).enter()?;
            pin(far)?;
            let (stream, _) = listener.accept().map_err(step("accepting a connection"))?;
            set_up(&stream)?;
            answer(stream, exchange.size)
        });
        let client = || {
            topology.host(Place::A).enter()?;
            pin(near)?;
            let stream = connect(address)?;
            set_up(&stream)?;
            ask(stream, exchange)
        };
        let asked = scope.spawn(client).join();
        let mut times = match asked {
            Ok(Ok(times)) => times,
            other => {
                // A server that nobody asked still waits.
                drop(topology.host(Place::A).within::<_, LiveError>(|| connect(address).map(drop)));
                match other {
                    Ok(result) => return result.map(|_| Latency { p50: 0.0, p99: 0.0 }),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        };
        match server.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        times.sort_unstable();
        let quantile = |part: f64| {
            let at = ((times.len() - 1) as f64 * part) as usize;
            times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e6
        };
        Ok(Latency { p50: quantile(0.5), p99: quantile(0.99) })
    })
}

fn set_up(stream: &TcpStream) -> Result<(), LiveError> {
    let set = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))
    };
    set().map_err(step("setting up a connection"))
}

fn ask(mut stream: TcpStream, exchange: Exchange) -> Result<Vec<Duration>, LiveError> {
    let mut buffer = vec![0x5a; exchange.size];
    let mut times = Vec::with_capacity(exchange.count);
    for number in 0..WARM_UP + exchange.count.max(1) {
        let start = Instant::now();
        stream.write_all(&buffer).map_err(step("sending a request"))?;
        stream.read_exact(&mut buffer).map_err(step("waiting for a response"))?;
        if number >= WARM_UP {
            times.push(start.elapsed());
        }
    }
    Ok(times)
}

/// Answers until the other end closes.
fn answer(mut stream: TcpStream, size: usize) -> Result<(), LiveError> {
    let mut buffer = vec![0; size];
    loop {
        match stream.read_exact(&mut buffer) {
            Ok(()) => stream.write_all(&buffer).map_err(step("sending a response"))?,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) if is_pause(&error) => {
                return Err(LiveError::Traffic("a request did not come in time".to_owned()));
            }
            Err(error) => return Err(step("waiting for a request")(error)),
        }
    }
}

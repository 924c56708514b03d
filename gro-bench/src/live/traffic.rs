//! Parallel TCP flows from sender to receiver, and whether every byte arrived.

use super::topology::{Place, Topology};
use super::{LiveError, step};
use sha2::{Digest as _, Sha256};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What is sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections at once.
    pub flows: usize,
    /// Bytes of all of them together.
    pub bytes: u64,
    /// Over IPv6 instead of IPv4.
    pub ipv6: bool,
    /// What the bytes are.
    pub content: Content,
    /// Bytes a second of all flows together, at most; TCP paces itself.
    pub pace: Option<u64>,
    /// `SO_RCVBUF` of each receiver, which bounds what is on the way; the kernel's own choice otherwise.
    pub receive_buffer: Option<u32>,
    /// The CPUs of the sender's and of the receiver's threads; where they please otherwise.
    pub cpus: Option<[usize; 2]>,
    /// When it must be done.
    pub patience: Duration,
}

/// What the bytes of a flow are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Pseudo-random and never the same twice; both ends take its SHA-256.
    Hashed {
        /// Of the generators.
        seed: u64,
    },
    /// The same chunk again and again, looked at by nobody: for measurements.
    Plain,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            flows: 8,
            bytes: 1_000_000_000,
            ipv6: false,
            content: Content::Hashed { seed: 1 },
            pace: None,
            receive_buffer: None,
            cpus: None,
            patience: Duration::from_secs(120),
        }
    }
}

/// What arrived.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Each flow's two ends.
    pub flows: Vec<Flow>,
    /// From the first connection to the last byte.
    pub seconds: f64,
    /// Segments that the sender's kernel sent again.
    pub retransmitted: u64,
}

/// The two ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What was sent.
    pub sent: End,
    /// What was received.
    pub received: End,
}

/// Bytes and, of hashed content, their SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many.
    pub bytes: u64,
    /// Zeros of plain content.
    pub sha256: [u8; 32],
}

impl Carried {
    /// Bytes received.
    pub fn bytes(&self) -> u64 {
        self.flows.iter().map(|flow| flow.received.bytes).sum()
    }

    /// Whether each flow brought what was sent.
    pub fn is_intact(&self) -> bool {
        self.flows.iter().all(|flow| flow.sent == flow.received)
    }

    /// Gigabits a second.
    pub fn gbit_per_second(&self) -> f64 {
        self.bytes() as f64 * 8e-9 / self.seconds
    }
}

/// Sends `load` through `topology`.
///
/// # Errors
/// A connection that breaks or is not done in time. What arrived wrong is no error: [`Carried::is_intact`] tells.
pub fn run(topology: &Topology, load: &Load) -> Result<Carried, LiveError> {
    run_while(topology, load, &AtomicBool::new(true))
}

/// As [`run`], but stops sending, and closes in order, when `go_on` becomes false.
///
/// # Errors
/// As of [`run`].
pub fn run_while(topology: &Topology, load: &Load, go_on: &AtomicBool) -> Result<Carried, LiveError> {
    let bound = Bound { go_on, deadline: Instant::now() + load.patience };
    std::thread::scope(|scope| {
        let (ready, listening) = mpsc::channel();
        let receivers: Vec<_> = (0..load.flows)
            .map(|number| {
                let ready = ready.clone();
                scope.spawn(move || receiver(topology, load, number, bound, ready))
            })
            .collect();
        drop(ready);
        // One that fails drops its end unused, and then says why.
        let up = listening.iter().count();
        let start = Instant::now();
        let senders: Vec<_> = (0..if up == load.flows { load.flows } else { 0 })
            .map(|number| scope.spawn(move || sender(topology, load, number, bound)))
            .collect();
        if up < load.flows {
            bound.go_on.store(false, Ordering::Relaxed);
        }
        let received = receivers.into_iter().map(|thread| joined(thread.join())).collect::<Vec<_>>();
        let sent = senders.into_iter().map(|thread| joined(thread.join())).collect::<Vec<_>>();
        let mut carried = Carried { flows: Vec::new(), seconds: 0.0, retransmitted: 0 };
        for (received, sent) in received.into_iter().zip(sent) {
            let ((received, end), (sent, again)) = (received?, sent?);
            carried.flows.push(Flow { sent, received });
            carried.seconds = carried.seconds.max((end - start).as_secs_f64());
            carried.retransmitted += again;
        }
        match carried.flows.len() == load.flows {
            true => Ok(carried),
            false => Err(LiveError::Traffic("no receiver listens".to_owned())),
        }
    })
}

fn joined<T>(result: std::thread::Result<T>) -> T {
    match result {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Until when a thread may work.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    go_on: &'a AtomicBool,
    deadline: Instant,
}

impl Bound<'_> {
    fn check(self, what: &str) -> Result<(), LiveError> {
        match Instant::now() < self.deadline {
            true => Ok(()),
            false => Err(LiveError::Traffic(format!("{what}: not done in time"))),
        }
    }
}

/// How often a blocked thread looks at the clock.
const TICK: Duration = Duration::from_millis(200);
/// Bytes of a write and of a read.
const CHUNK: usize = 128 << 10;
const FIRST_PORT: u16 = 5_201;

fn receiver(
    topology: &Topology,
    load: &Load,
    number: usize,
    bound: Bound<'_>,
    ready: mpsc::Sender<()>,
) -> Result<(End, Instant), LiveError> {
    topology.host(Place::B).enter()?;
    pin(load.cpus.map(|[_, cpu]| cpu))?;
    let address = SocketAddr::new(topology.address(Place::B, load.ipv6), FIRST_PORT + number as u16);
    let listener = TcpListener::bind(address).map_err(step(format!("listening on {address}")))?;
    if let Some(size) = load.receive_buffer {
        option(&listener, libc::SOL_SOCKET, libc::SO_RCVBUF, size as libc::c_int)?;
    }
    ready.send(()).ok();
    drop(ready);
    let mut stream = accept(&listener, bound)?;
    let (mut buffer, mut hasher, mut bytes) = (vec![0; CHUNK], Sha256::new(), 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                bytes += length as u64;
                if load.content != Content::Plain {
                    hasher.update(&buffer[..length]);
                }
            }
            Err(error) if is_pause(&error) => {
                bound.check(&format!("receiver {number} after {bytes} bytes"))?
            }
            Err(error) => return Err(step(format!("receiver {number} after {bytes} bytes"))(error)),
        }
    }
    Ok((End { bytes, sha256: digest(load, hasher) }, Instant::now()))
}

/// Waits for the connection in small steps; `accept` itself knows no timeout.
pub(super) fn accept(listener: &TcpListener, bound: Bound<'_>) -> Result<TcpStream, LiveError> {
    listener.set_nonblocking(true).map_err(step("setting up a listener"))?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                let set = |stream: &TcpStream| {
                    stream.set_nonblocking(false)?;
                    stream.set_read_timeout(Some(TICK))?;
                    stream.set_write_timeout(Some(TICK))
                };
                set(&stream).map_err(step("setting up a connection"))?;
                return Ok(stream);
            }
            Err(error) if is_pause(&error) => {
                bound.check("waiting for a connection")?;
                if !bound.go_on.load(Ordering::Relaxed) {
                    return Err(LiveError::Traffic("nobody connects".to_owned()));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(step("accepting a connection")(error)),
        }
    }
}

fn sender(
    topology: &Topology,
    load: &Load,
    number: usize,
    bound: Bound<'_>,
) -> Result<(End, u64), LiveError> {
    topology.host(Place::A).enter()?;
    pin(load.cpus.map(|[cpu, _]| cpu))?;
    let address = SocketAddr::new(topology.address(Place::B, load.ipv6), FIRST_PORT + number as u16);
    let mut stream = connect(address)?;
    if let Some(pace) = load.pace {
        let each = pace / load.flows as u64;
        option(&stream, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, each)?;
    }
    let of_flow = load.bytes / load.flows as u64;
    let total = if number == 0 { load.bytes - of_flow * (load.flows as u64 - 1) } else { of_flow };
    let seed = match load.content {
        Content::Hashed { seed } => seed,
        Content::Plain => 0,
    };
    let mut random = Generator(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number as u64 + 1));
    let (mut chunk, mut hasher, mut bytes) = (vec![0; CHUNK], Sha256::new(), 0);
    random.fill(&mut chunk);
    while bytes < total && bound.go_on.load(Ordering::Relaxed) {
        let length = (total - bytes).min(CHUNK as u64) as usize;
        if load.content != Content::Plain {
            random.fill(&mut chunk[..length]);
            hasher.update(&chunk[..length]);
        }
        write_all(&mut stream, &chunk[..length], bound)
            .map_err(|error| named(error, &format!("sender {number} after {bytes} bytes")))?;
        bytes += length as u64;
    }
    stream.shutdown(Shutdown::Write).map_err(step(format!("sender {number} closing")))?;
    // The receiver closes once it has everything: an error here is a connection that was reset.
    loop {
        match stream.read(&mut [0]) {
            Ok(_) => break,
            Err(error) if is_pause(&error) => bound.check(&format!("sender {number} closing"))?,
            Err(error) => return Err(step(format!("sender {number} closing"))(error)),
        }
    }
    Ok((End { bytes, sha256: digest(load, hasher) }, sent_again(&stream)?))
}

pub(super) fn connect(address: SocketAddr) -> Result<TcpStream, LiveError> {
    let connect = || {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(20))?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(stream)
    };
    connect().map_err(step(format!("connecting to {address}")))
}

fn write_all(stream: &mut TcpStream, mut bytes: &[u8], bound: Bound<'_>) -> Result<(), LiveError> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_pause(&error) => bound.check("sending")?,
            Err(error) => return Err(step("sending")(error)),
        }
    }
    Ok(())
}

fn named(error: LiveError, who: &str) -> LiveError {
    match error {
        LiveError::Step { step, source } => LiveError::Step { step: format!("{who}: {step}"), source },
        LiveError::Traffic(text) => LiveError::Traffic(format!("{who}: {text}")),
        other => other,
    }
}

fn digest(load: &Load, hasher: Sha256) -> [u8; 32] {
    if load.content == Content::Plain { [0; 32] } else { hasher.finalize().into() }
}

/// Marsaglia's xorshift64.
struct Generator(u64);

impl Generator {
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}

pub(super) fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Binds the calling thread to a CPU.
pub(super) fn pin(cpu: Option<usize>) -> Result<(), LiveError> {
    let Some(cpu) = cpu else { return Ok(()) };
    // SAFETY: `set` is a plain bit set of the size that is passed.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(step("binding a thread to a CPU")(io::Error::last_os_error())) }
}

/// Sets an option of a socket to a plain number.
fn option<T: Copy>(
    socket: &impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> Result<(), LiveError> {
    let raw = socket.as_fd().as_raw_fd();
    // SAFETY: `value` lives through the call and has the size that is passed.
    let result =
        unsafe { libc::setsockopt(raw, level, name, (&raw const value).cast(), size_of::<T>() as u32) };
    if result == 0 { Ok(()) } else { Err(step("setting a socket option")(io::Error::last_os_error())) }
}

/// `tcpi_total_retrans` of a connection.
fn sent_again(stream: &TcpStream) -> Result<u64, LiveError> {
    /// In `struct tcp_info` (linux/tcp.h): 8 bytes and 23 words.
    const AT: usize = 8 + 23 * 4;
    let mut info = [0_u8; AT + 4];
    let mut length = info.len() as u32;
    // SAFETY: the buffer lives through the call and its length is passed; the kernel writes no more than that.
    let result = unsafe {
        let at = info.as_mut_ptr().cast();
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut length)
    };
    if result != 0 {
        return Err(step("asking for TCP_INFO")(io::Error::last_os_error()));
    }
    Ok(u32::from_ne_bytes([info[AT], info[AT + 1], info[AT + 2], info[AT + 3]]).into())
}

//! The box between the hosts: takes frames from one wire, puts them on the other, reorders some, and writes down what
//! it sends.

use std::collections::VecDeque;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use super::mixed::mix;
use super::namespace::Families;
use super::record::Plan;

/// What was forwarded.
pub(super) struct Forwarded {
    /// What went onto the second wire: time in nanoseconds since the epoch, and bytes. One wire, because GRO runs where frames
    /// arrive.
    pub(super) frames: Vec<(u64, Vec<u8>)>,
    /// Frames held back so that others overtook them.
    pub(super) delayed: usize,
}

/// Sockets of the two wires and the generator that decides who is held back.
pub(super) struct Forwarder {
    wires: [Wire; 2],
    lanes: [Lane; 2],
    protocol: u8,
    recorded: Forwarded,
}

impl Forwarder {
    /// Opens both devices of the calling thread's namespace for the families of `plan`. Such sockets come after tc, so they
    /// see what the loss program let pass.
    pub(super) fn open(devices: [&str; 2], plan: &Plan, seed: u64) -> Result<Self> {
        let [a, b] = devices.map(|device| {
            Wire::open(device, plan.families)
                .with_context(|| format!("cannot open packet sockets on {device}"))
        });
        Ok(Self {
            wires: [a?, b?],
            lanes: [Lane::new(mix(seed), plan.delayed), Lane::new(mix(seed ^ 1), plan.delayed)],
            protocol: plan.protocol,
            recorded: Forwarded { frames: Vec::new(), delayed: 0 },
        })
    }

    /// Forwards until `stop` is set and the wires have been silent for a while, or `deadline` has passed.
    pub(super) fn run(mut self, stop: &AtomicBool, deadline: Instant) -> Result<Forwarded> {
        while Instant::now() < deadline {
            if self.wait()? {
                for from in [0, 1] {
                    self.take(from)?;
                }
            } else {
                // Silence: nobody is left to overtake the held frames.
                self.release(|lane| lane.drain())?;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        Ok(self.recorded)
    }

    /// Waits for a frame on either wire; false when none came.
    fn wait(&self) -> io::Result<bool> {
        let sockets = self.wires.iter().flat_map(|wire| &wire.sockets);
        let mut polls: Vec<libc::pollfd> = sockets
            .map(|socket| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        // SAFETY: the list lives through the call and its length is passed.
        let ready = unsafe {
            libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, SILENCE.as_millis() as libc::c_int)
        };
        match io::Error::last_os_error() {
            _ if ready >= 0 => Ok(ready > 0),
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        }
    }

    /// Takes a burst from one wire.
    fn take(&mut self, from: usize) -> Result<()> {
        for _ in 0..BURST {
            let Some(frame) = self.wires[from].receive()? else { break };
            if is_of(&frame, self.protocol) {
                self.recorded.delayed += usize::from(self.lanes[from].push(frame));
                self.release(Lane::ready)?;
            }
        }
        Ok(())
    }

    /// Sends what the lanes give.
    fn release(&mut self, mut next: impl FnMut(&mut Lane) -> Option<Vec<u8>>) -> Result<()> {
        for from in [0, 1] {
            while let Some(frame) = next(&mut self.lanes[from]) {
                self.wires[1 - from].send(&frame).context("cannot forward a frame")?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
                if from != 0 {
                    continue;
                }
                // The clock may be set back; the order is what counts.
                let now = self.recorded.frames.last().map_or(now, |&(last, _)| now.max(last));
                self.recorded.frames.push((now, frame));
            }
        }
        Ok(())
    }
}

/// How long a wire is silent before held frames go.
const SILENCE: Duration = Duration::from_millis(2);

/// Frames taken from one wire before the other has its turn.
const BURST: usize = 32;

/// One direction: frames in order, and one that waits until some have overtaken it.
struct Lane {
    state: u64,
    /// Frames held back of 1024.
    delayed: u64,
    ready: VecDeque<Vec<u8>>,
    held: Option<(usize, Vec<u8>)>,
}

impl Lane {
    fn new(seed: u64, delayed: u64) -> Self {
        Self { state: seed, delayed, ready: VecDeque::new(), held: None }
    }

    /// Takes a frame; true when it is held back.
    fn push(&mut self, frame: Vec<u8>) -> bool {
        self.state = mix(self.state);
        if self.held.is_none() && self.state % 1024 < self.delayed {
            let overtakers = 1 + (self.state >> 32) as usize % 6;
            self.held = Some((overtakers, frame));
            return true;
        }
        self.ready.push_back(frame);
        if let Some((overtakers, _)) = &mut self.held {
            *overtakers -= 1;
            if *overtakers == 0 {
                self.ready.extend(self.held.take().map(|(_, frame)| frame));
            }
        }
        false
    }

    fn ready(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    fn drain(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front().or_else(|| self.held.take().map(|(_, frame)| frame))
    }
}

/// Packet sockets on one device, one a family.
struct Wire {
    sockets: Vec<OwnedFd>,
    buffer: Vec<u8>,
}

impl Wire {
    fn open(device: &str, families: Families) -> Result<Self> {
        let protocols = families.each().map(|v6| if v6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP });
        let sockets = protocols.map(|protocol| open(device, protocol as u16)).collect::<Result<_>>()?;
        Ok(Self { sockets, buffer: vec![0; 65_536] })
    }

    /// The next frame, if one waits.
    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        for socket in &self.sockets {
            // SAFETY: the buffer lives through the call and its length is passed.
            let length = unsafe {
                let (at, length) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
                libc::recv(socket.as_raw_fd(), at, length, libc::MSG_DONTWAIT)
            };
            if let Ok(length) = usize::try_from(length) {
                return Ok(Some(self.buffer[..length].to_vec()));
            }
            let error = io::Error::last_os_error();
            if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                return Err(error);
            }
        }
        Ok(None)
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the frame lives through the call and its length is passed.
        let sent = unsafe { libc::send(self.sockets[0].as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        match io::Error::last_os_error() {
            _ if sent >= 0 => Ok(()),
            // A full queue loses the frame, as a wire would.
            error if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            error => Err(error),
        }
    }
}

/// A packet socket on a device of the calling thread's namespace, for one ethertype.
fn open(device: &str, protocol: u16) -> Result<OwnedFd> {
    let name = std::ffi::CString::new(device)?;
    // SAFETY: `name` is a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error().into());
    }
    // Protocol 0 until it is bound, so that nothing of other devices comes in.
    // SAFETY: plain system call, checked below.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: `raw` is a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let size = RECEIVE_BUFFER;
    // SAFETY: `size` lives through the call and its length is passed; failure only means a smaller buffer.
    unsafe {
        let length = size_of::<libc::c_int>() as u32;
        libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, (&raw const size).cast(), length)
    };
    // SAFETY: all-zero is a valid address; its length is passed.
    let bound = unsafe {
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = index as libc::c_int;
        libc::bind(raw, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
    };
    if bound != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(socket)
}

const RECEIVE_BUFFER: libc::c_int = 64 << 20;

/// Whether a frame is plain IPv4 or IPv6 with the protocol right behind; a kernel's own chatter (MLD) is none of the trace's.
fn is_of(frame: &[u8], protocol: u8) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&protocol),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&protocol),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_loses_nothing_and_reorders_the_same_way_each_time() {
        let pass = |seed| {
            let mut lane = Lane::new(seed, 12);
            let mut out = Vec::new();
            for number in 0..2_000_u16 {
                lane.push(number.to_be_bytes().to_vec());
                out.extend(std::iter::from_fn(|| lane.ready()));
            }
            out.extend(std::iter::from_fn(|| lane.drain()));
            out
        };
        let (one, two) = (pass(1), pass(1));
        assert_eq!(one, two);
        assert_ne!(one, pass(2));
        assert!(!one.is_sorted());
        let mut sorted = one;
        sorted.sort();
        assert_eq!(sorted, (0..2_000_u16).map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>());
    }
}

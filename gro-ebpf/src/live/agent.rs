//! What a command that stays does beside its work: it ticks, notices signals, and answers with snapshots at a socket.
//!
//! The agent of delivery via TAP listens at `/run/gro/IF@NETNS.sock` and gives each connection one [`Snapshot`] as JSON.
//! Beside it lies `.notes`, what to restore should it be killed.

use super::offloads::{Notes, OffloadError, Restored};
use super::{Snapshot, pins};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Folder of the sockets.
pub const ROOT: &str = "/run/gro";

/// Longest answer that is read: many times that of a thousand CPUs.
const ANSWER_MAX: u64 = 16 << 20;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why an agent cannot be asked or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens there.
    #[error("no agent listens at {}: `gro attach --via-tap` starts one", .0.display())]
    Absent(PathBuf),
    /// The one that listened did not end by itself.
    #[error("the agent at {} was killed: `gro detach` takes away what it left, and restores offloads", .0.display())]
    Killed(PathBuf),
    /// This user may not ask.
    #[error("{}: permission denied: run as the user that started the agent, or as root", .0.display())]
    Capability(PathBuf),
    /// Another agent has the address.
    #[error("an agent listens at {} already: `gro detach` stops it", .0.display())]
    Present(PathBuf),
    /// It listens, and gave no snapshot.
    #[error("the agent at {} gave no snapshot: {}", .0.display(), .1)]
    Answer(PathBuf, String),
    /// It runs on.
    #[error("agent {pid} did not end within {} s of SIGTERM: `kill -KILL {pid}` ends it, `gro detach` then restores", .patience.as_secs())]
    Stays {
        /// Its process.
        pid: u32,
        /// How long was waited.
        patience: Duration,
    },
    /// What it had switched could not be restored.
    #[error(transparent)]
    Offloads(#[from] OffloadError),
    /// The system refused something.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// The address of an interface's agent.
pub fn address(interface: &str, netns: u64) -> PathBuf {
    Path::new(ROOT).join(format!("{interface}@{netns}.sock"))
}

/// Every address in [`ROOT`], in order, whether or not somebody still listens there.
pub fn list() -> io::Result<Vec<PathBuf>> {
    pins::entries(ROOT, |path| path.extension().is_some_and(|extension| extension == "sock"))
}

/// Asks an agent for its snapshot.
pub fn ask(address: &Path) -> Result<Snapshot, AgentError> {
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENOENT) => AgentError::Absent(address.to_owned()),
        Some(libc::ECONNREFUSED) => AgentError::Killed(address.to_owned()),
        Some(libc::EACCES | libc::EPERM) => AgentError::Capability(address.to_owned()),
        _ => AgentError::System("connecting to the agent", error),
    };
    let stream = UnixStream::connect(address).map_err(refused)?;
    let broken = |what: String| AgentError::Answer(address.to_owned(), what);
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| broken(error.to_string()))?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text).map_err(|error| broken(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| broken(error.to_string()))
}

/// Ends an agent and waits until it has: SIGTERM to the process that its snapshot names. If it was killed before, restores what it
/// had switched, in the namespace of the calling thread.
pub fn stop(address: &Path, patience: Duration) -> Result<(Option<Snapshot>, Restored), AgentError> {
    match ask(address) {
        Ok(snapshot) => {
            let pid = snapshot
                .pid
                .ok_or_else(|| AgentError::Answer(address.to_owned(), "it names no pid".into()))?;
            terminate(pid, patience)?;
            Ok((Some(snapshot), Restored::default()))
        }
        Err(AgentError::Absent(_) | AgentError::Killed(_)) => Ok((None, clean(address)?)),
        Err(error) => Err(error),
    }
}

/// What an agent left that was killed: the socket, and what to restore.
fn clean(address: &Path) -> Result<Restored, AgentError> {
    let notes = notes(address);
    let restored = match fs::read_to_string(&notes) {
        Ok(text) => Notes::of_text(&text)?.restore()?,
        Err(_) => Restored::default(),
    };
    for path in [notes.as_path(), address] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(AgentError::System("removing what a killed agent left", error));
            }
            _ => {}
        }
    }
    let _ = fs::remove_dir(ROOT);
    Ok(restored)
}

fn notes(address: &Path) -> PathBuf {
    address.with_extension("notes")
}

/// By a descriptor of the process (pidfd_open(2), Linux 5.3), whose number cannot become another's meanwhile.
fn terminate(pid: u32, patience: Duration) -> Result<(), AgentError> {
    let failed = |what| AgentError::System(what, io::Error::last_os_error());
    // SAFETY: plain system call; the result is checked.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    let Some(raw) = RawFd::try_from(raw).ok().filter(|&raw| raw >= 0) else {
        let error = io::Error::last_os_error();
        // It ended since it answered.
        return if error.raw_os_error() == Some(libc::ESRCH) {
            Ok(())
        } else {
            Err(AgentError::System("looking up the agent", error))
        };
    };
    // SAFETY: the call gave the descriptor to nobody else.
    let process = unsafe { OwnedFd::from_raw_fd(raw) };
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the call takes no information about the signal.
    let sent =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGTERM, none, 0) };
    if sent != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH) {
        return Err(failed("sending SIGTERM to the agent"));
    }
    match ready(&[process.as_raw_fd()], Some(patience))
        .map_err(|error| AgentError::System("waiting", error))?
    {
        None => Err(AgentError::Stays { pid, patience }),
        Some(_) => Ok(()),
    }
}

/// What happens to a command that stays.
#[derive(Debug)]
pub enum Event {
    /// A period is over.
    Tick,
    /// Somebody wants a snapshot: [`answer`].
    Asked(UnixStream),
    /// SIGINT, SIGTERM or SIGHUP came.
    Stop,
}

/// The events of a command that stays.
#[derive(Debug)]
pub struct Events {
    /// A byte comes in for each signal.
    signals: UnixStream,
    service: Option<Service>,
    period: Duration,
    next: Instant,
}

#[derive(Debug)]
struct Service {
    listener: UnixListener,
    address: PathBuf,
}

impl Events {
    /// From now on a signal is an event and does not end the process.
    pub fn new(period: Duration) -> io::Result<Self> {
        let (signals, write) = UnixStream::pair()?;
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Self::stopped_by(signals, period)
    }

    fn stopped_by(signals: UnixStream, period: Duration) -> io::Result<Self> {
        signals.set_nonblocking(true)?;
        Ok(Self { signals, service: None, period, next: Instant::now() + period })
    }

    /// Listens at an address, until this value goes. `restore` is what [`stop`] restores if this process is killed.
    pub fn listen(&mut self, address: &Path, restore: &Notes) -> Result<(), AgentError> {
        let failed = |what| move |error| AgentError::System(what, error);
        if UnixStream::connect(address).is_ok() {
            return Err(AgentError::Present(address.to_owned()));
        }
        if let Some(folder) = address.parent() {
            fs::create_dir_all(folder).map_err(failed("making the folder of the agent's socket"))?;
        }
        // One that was killed leaves its socket.
        let _ = fs::remove_file(address);
        let listener = UnixListener::bind(address).map_err(failed("making the agent's socket"))?;
        let service = Service { listener, address: address.to_owned() };
        service.listener.set_nonblocking(true).map_err(failed("making the agent's socket"))?;
        if !restore.changes.is_empty() {
            fs::write(notes(address), restore.to_text()).map_err(failed("noting what to restore"))?;
        }
        self.service = Some(service);
        Ok(())
    }

    /// Waits for the next one. A signal goes before a question, a question before a tick; ticks that were missed are not made up for.
    pub fn wait(&mut self) -> io::Result<Event> {
        loop {
            let mut descriptors = vec![self.signals.as_raw_fd()];
            descriptors.extend(self.service.as_ref().map(|service| service.listener.as_raw_fd()));
            let left = self.next.saturating_duration_since(Instant::now());
            match ready(&descriptors, Some(left))? {
                Some(0) => {
                    let mut bytes = [0; 64];
                    let _ = (&self.signals).read(&mut bytes);
                    return Ok(Event::Stop);
                }
                Some(_) => {
                    // The other side may have gone again.
                    let stream = self.service.as_ref().and_then(|service| service.listener.accept().ok());
                    if let Some((stream, _)) = stream {
                        return Ok(Event::Asked(stream));
                    }
                }
                None => {
                    let now = Instant::now();
                    if now >= self.next {
                        self.next = (self.next + self.period).max(now);
                        return Ok(Event::Tick);
                    }
                }
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = fs::remove_file(notes(&self.address));
        let _ = fs::remove_file(&self.address);
        // The folders, if this was the last; a service's own is not ours to remove.
        for folder in self.address.ancestors().skip(1).take_while(|folder| folder.starts_with(ROOT)) {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Gives a snapshot to who asked. One who does not read it is left after a while.
pub fn answer(mut stream: UnixStream, snapshot: &Snapshot) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(serde_json::to_string(snapshot)?.as_bytes())
}

/// The first descriptor that can be read, or `None` after `patience` or a signal.
fn ready(descriptors: &[RawFd], patience: Option<Duration>) -> io::Result<Option<usize>> {
    let mut polls: Vec<_> =
        descriptors.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // Rounded up, so that it is not asked again and again within the last millisecond.
    let timeout = patience.map_or(-1, |left| (left.as_micros().div_ceil(1_000)).min(60_000) as libc::c_int);
    // SAFETY: the number of structures is passed with them.
    match unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout) } {
        0 => Ok(None),
        1.. => Ok(polls.iter().position(|poll| poll.revents != 0)),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Mode, SnapshotConfig};
    use gro_core::Config;

    fn snapshot() -> Snapshot {
        let mut snapshot =
            Snapshot::new("eth0", 3, 1, Mode::ViaTap, SnapshotConfig::new(&Config::DEFAULT, true));
        snapshot.pid = Some(std::process::id());
        snapshot
    }

    #[test]
    fn an_agent_answers_everybody_and_leaves_no_socket() {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("deep/eth0@1.sock");
        let (signals, mut signal) = UnixStream::pair().unwrap();
        let mut events = Events::stopped_by(signals, Duration::from_secs(3_600)).unwrap();
        events.listen(&address, &Notes::default()).unwrap();
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..3).map(|_| scope.spawn(|| ask(&address).unwrap())).collect();
            for _ in 0..3 {
                let Event::Asked(stream) = events.wait().unwrap() else { panic!("no question") };
                answer(stream, &snapshot()).unwrap();
            }
            assert!(asking.into_iter().all(|asking| asking.join().unwrap() == snapshot()));
        });
        signal.write_all(&[1]).unwrap();
        assert!(matches!(events.wait().unwrap(), Event::Stop));
        let (other, _) = UnixStream::pair().unwrap();
        let again = Events::stopped_by(other, PATIENCE).unwrap().listen(&address, &Notes::default());
        assert!(matches!(again, Err(AgentError::Present(_))));
        drop(events);
        assert!(!address.exists());
        assert!(matches!(ask(&address), Err(AgentError::Absent(_))));
    }

    #[test]
    fn what_a_killed_agent_left_is_cleaned() {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("eth0@1.sock");
        drop(UnixListener::bind(&address).unwrap());
        fs::write(notes(&address), Notes::default().to_text()).unwrap();
        assert!(matches!(ask(&address), Err(AgentError::Killed(_))));
        let (snapshot, restored) = stop(&address, PATIENCE).unwrap();
        assert!(snapshot.is_none() && restored == Restored::default());
        assert!(!address.exists() && !notes(&address).exists());
    }

    #[test]
    fn an_answer_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("eth0@1.sock");
        let listener = UnixListener::bind(&address).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(b"{}").unwrap());
            assert!(
                matches!(ask(&address), Err(AgentError::Answer(_, what)) if what.contains("missing field"))
            );
        });
    }

    #[test]
    fn time_passes_and_a_process_is_ended() {
        let (signals, _signal) = UnixStream::pair().unwrap();
        let mut events = Events::stopped_by(signals, Duration::from_millis(1)).unwrap();
        assert!(matches!(events.wait().unwrap(), Event::Tick));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        terminate(child.id(), PATIENCE).unwrap();
        assert!(!child.wait().unwrap().success());
        // Waited for, it is nobody's number now.
        terminate(child.id(), PATIENCE).unwrap();
    }
}

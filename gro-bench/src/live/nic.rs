//! `gro nic run` at the receiver's interface, and what is done to it.

use super::receiver::Snapshot;
use super::topology::{Host, Place, Topology};
use super::{LiveError, Pins, step, succeeded};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A NIC whose port is `b0` and whose network device is `gro0`. Dropping it ends it.
pub struct RunningNic<'a> {
    host: &'a Host,
    gro: PathBuf,
    pins: Pins,
    child: Option<Child>,
    /// Its standard output and its standard error.
    said: [File; 2],
}

/// What the harness reads of the NIC's status.
#[derive(Clone, Debug, Deserialize)]
pub struct NicStatus {
    /// Whether it coalesces.
    pub coalesce: bool,
    /// SHA-256 of profile and config.
    pub config_hash: String,
    /// Each lane's firmware and memory.
    pub lanes: Vec<NicLane>,
    /// What it counted.
    pub counters: Snapshot,
}

/// What a lane says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct NicLane {
    /// Program hash as the firmware reports it.
    pub program_hash: String,
    /// SHA-256 over its instruction memory.
    pub measurement: String,
}

/// The port.
const PORT: &str = "b0";
/// The network device.
const DEVICE: &str = "gro0";
/// How long it may take to come up, and to go.
const PATIENCE: Duration = Duration::from_secs(15);

impl<'a> RunningNic<'a> {
    /// Starts it, with these arguments more. `gro` is the binary.
    ///
    /// # Errors
    /// [`LiveError::Gro`] with what it said.
    pub fn start(topology: &'a Topology, gro: &Path, more: &[&str]) -> Result<Self, LiveError> {
        let host = topology.host(Place::B);
        let said = [memory()?, memory()?];
        let mut command = Command::new(gro);
        command.args(["nic", "run", "-j", "--rx", PORT, "--tap", DEVICE]).args(more).stdin(Stdio::null());
        let copy = |file: &File| file.try_clone().map_err(step("making room for messages"));
        command.stdout(copy(&said[0])?).stderr(copy(&said[1])?);
        let child = host.within(|| command.spawn().map_err(step("starting `gro nic run`")))?;
        let mut nic = Self { host, gro: gro.to_owned(), pins: Pins::make()?, child: Some(child), said };
        let end = Instant::now() + PATIENCE;
        loop {
            match nic.status() {
                Ok(_) => return Ok(nic),
                Err(error) => {
                    let ended = nic.child.as_mut().map(Child::try_wait);
                    if !matches!(ended, Some(Ok(None))) || Instant::now() > end {
                        let message = nic.stderr();
                        return Err(if message.is_empty() { error } else { failed("nic run", message) });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<NicStatus, LiveError> {
        let line = self.ask("{\"op\":\"status\"}")?;
        #[derive(Deserialize)]
        struct Reply {
            status: Option<NicStatus>,
        }
        let reply: Reply = serde_json::from_str(&line)
            .map_err(|error| step("reading the NIC's status")(io::Error::other(error)))?;
        reply.status.ok_or_else(|| failed("status", line))
    }

    /// Sends a line to the control socket and gives the one that comes back.
    ///
    /// # Errors
    /// Nobody is there, or nobody answers.
    pub fn ask(&self, request: &str) -> Result<String, LiveError> {
        let path = format!("/run/gro/nic/{DEVICE}@{}.sock", self.host.inode());
        let ask = || {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            (&stream).write_all(format!("{request}\n").as_bytes())?;
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line)?;
            Ok(line)
        };
        ask().map_err(step(format!("asking {path}")))
    }

    /// Attaches the tc program to the network device, with these arguments more.
    ///
    /// # Errors
    /// [`LiveError::Gro`] with what it said.
    pub fn attach(&self, more: &[&str]) -> Result<(), LiveError> {
        self.succeed(&[&["attach", "-i", DEVICE], more].concat()).map(drop)
    }

    /// What the tc program counted.
    ///
    /// # Errors
    /// [`LiveError::Gro`] when it is not attached.
    pub fn program(&self) -> Result<Snapshot, LiveError> {
        #[derive(Deserialize)]
        struct Document {
            attachments: [Snapshot; 1],
        }
        let output = self.succeed(&["stats", "-i", DEVICE, "-j"])?;
        let document: Document = serde_json::from_slice(&output.stdout)
            .map_err(|error| step("reading what `gro stats -j` says")(io::Error::other(error)))?;
        let [snapshot] = document.attachments;
        Ok(snapshot)
    }

    /// Takes the tc program off the hook, but leaves it loaded and pinned, as somebody does who deletes its link.
    ///
    /// # Errors
    /// It is not attached by TCX.
    pub fn detach_under_its_feet(&self) -> Result<(), LiveError> {
        let link = self.pins.directory(DEVICE).join("link");
        std::fs::remove_file(&link).map_err(step(format!("deleting {}", link.display())))?;
        // The kernel detaches a link that nobody refers to a little later.
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    }

    /// `gro offload`, however it ends.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn offload(&self, arguments: &[&str]) -> Result<Output, LiveError> {
        self.gro(&[&["offload", "-i", DEVICE], arguments].concat())
    }

    /// Ends it, and gives what it said last.
    ///
    /// # Errors
    /// [`LiveError::Gro`] when it ended with trouble.
    pub fn stop(mut self) -> Result<NicStatus, LiveError> {
        if let Some(mut child) = self.child.take() {
            // SAFETY: the child of this value, which was not waited for.
            unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
            let end = Instant::now() + PATIENCE;
            loop {
                match child.try_wait() {
                    Ok(Some(status)) if status.success() => break,
                    Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                    _ => {
                        let _ = child.kill();
                        let _ = child.wait();
                        return Err(failed("nic run", self.stderr()));
                    }
                }
            }
        }
        let text = read(&mut self.said[0]);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .map_err(|error| step("reading what `gro nic run -j` said")(io::Error::other(error)))
    }

    fn succeed(&self, arguments: &[&str]) -> Result<Output, LiveError> {
        let output = self.gro(arguments)?;
        succeeded(arguments, output)
    }

    /// Runs `gro` in the host of the NIC, with the place of the pins.
    fn gro(&self, arguments: &[&str]) -> Result<Output, LiveError> {
        let mut command = Command::new(&self.gro);
        command.args(arguments).arg("--pin").arg(self.pins.directory(DEVICE)).stdin(Stdio::null());
        self.host.within(|| command.output().map_err(step(format!("running {command:?}"))))
    }

    fn stderr(&mut self) -> String {
        read(&mut self.said[1])
    }
}

impl Drop for RunningNic<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn failed(command: &str, message: String) -> LiveError {
    LiveError::Gro { command: format!("gro {command}"), status: "trouble".to_owned(), message }
}

fn read(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text.trim().to_owned()
}

/// A file that is nowhere.
fn memory() -> Result<File, LiveError> {
    // SAFETY: the name is a terminated string.
    let raw = unsafe { libc::memfd_create(c"gro".as_ptr(), libc::MFD_CLOEXEC) };
    if raw < 0 {
        return Err(step("making room for messages")(io::Error::last_os_error()));
    }
    // SAFETY: `raw` is a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(raw) })
}

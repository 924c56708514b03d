//! The control socket of a running NIC: JSON, a line a request and a line an answer.

use anyhow::{Context as _, bail};
use gro_core::{Config, UdpMode, VlanMode};
use gro_ebpf::live::Snapshot;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folder of the sockets: nobody but root may enter it.
const ROOT: &str = "/run/gro/nic";
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// What the NIC says of itself.
    Status,
    /// To coalesce, or to pass every frame as it came, from now on.
    Configure {
        /// Which.
        coalesce: bool,
    },
}

/// The answer: one of the two is there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) schema: u32,
    pub(crate) error: Option<String>,
    pub(crate) status: Option<Status>,
}

/// What a NIC says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// 1.
    pub(crate) schema: u32,
    /// The interface of its port, or the capture that is played.
    pub(crate) rx: String,
    /// Its network device.
    pub(crate) tap: String,
    /// Number (inode) of the network namespace.
    pub(crate) netns: u64,
    pub(crate) pid: u32,
    /// SHA-256 of the image, as its header states it.
    pub(crate) image_id: String,
    /// Rule set of the image.
    pub(crate) profile: String,
    /// What each lane says of itself.
    pub(crate) lanes: Vec<LaneStatus>,
    /// The config page.
    pub(crate) config: ConfigStatus,
    /// [`gro_nic::identity::config_hash`] of profile and config.
    pub(crate) config_hash: String,
    /// Whether it coalesces, or passes every frame as it came.
    pub(crate) coalesce: bool,
    pub(crate) counters: Snapshot,
}

/// What a lane's device says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneStatus {
    pub(crate) program_hash: String,
    pub(crate) measurement: String,
    /// Why its device was given up, if it was: frames pass as they come since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// An engine's config in plain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigStatus {
    pub(crate) gro_max_size: u32,
    pub(crate) gro_ipv4_max_size: u32,
    pub(crate) flush_timeout: u32,
    pub(crate) hz: u32,
    pub(crate) udp: bool,
    pub(crate) vlan_in_band: bool,
    pub(crate) tunnels: u32,
}

impl From<&Config> for ConfigStatus {
    fn from(config: &Config) -> Self {
        Self {
            gro_max_size: config.gro_max_size,
            gro_ipv4_max_size: config.gro_ipv4_max_size,
            flush_timeout: config.flush_timeout,
            hz: config.hz,
            udp: config.udp != UdpMode::Off,
            vlan_in_band: config.vlan != VlanMode::Stripped,
            tunnels: config.tunnels,
        }
    }
}

impl From<ConfigStatus> for Config {
    fn from(status: ConfigStatus) -> Self {
        Self {
            gro_max_size: status.gro_max_size,
            gro_ipv4_max_size: status.gro_ipv4_max_size,
            flush_timeout: status.flush_timeout,
            hz: status.hz,
            udp: if status.udp { UdpMode::Forwarding } else { UdpMode::Off },
            vlan: if status.vlan_in_band { VlanMode::InBand } else { VlanMode::Stripped },
            tunnels: status.tunnels,
        }
    }
}

/// Where the NIC of a network device listens.
pub(crate) fn address(tap: &str, netns: u64) -> PathBuf {
    Path::new(ROOT).join(format!("{tap}@{netns}.sock"))
}

/// The devices of a namespace that have a NIC, or had one that was killed.
pub(crate) fn taps(netns: u64) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(ROOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let ending = format!("@{netns}.sock");
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<io::Result<_>>()?;
    let mut taps: Vec<_> =
        names.iter().filter_map(|name| name.strip_suffix(&ending)).map(str::to_owned).collect();
    taps.sort();
    Ok(taps)
}

/// Makes the folder of the sockets, which only root may enter.
pub(crate) fn make_folder() -> io::Result<()> {
    if let Some(parent) = Path::new(ROOT).parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(ROOT) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Asks a NIC.
pub(crate) fn ask(address: &Path, request: Request) -> anyhow::Result<Status> {
    let place = address.display();
    let stream = UnixStream::connect(address).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow::anyhow!("no NIC listens at {place}: `gro nic run` starts one")
        }
        io::ErrorKind::PermissionDenied => anyhow::anyhow!("{place}: permission denied: run as root"),
        _ => anyhow::Error::from(error).context(format!("{place}: the NIC cannot be asked")),
    })?;
    let exchange = || -> io::Result<String> {
        stream.set_read_timeout(Some(2 * PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        (&stream).write_all((serde_json::to_string(&request)? + "\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = exchange().with_context(|| format!("{place}: the NIC does not answer"))?;
    let reply: Reply =
        serde_json::from_str(&line).with_context(|| format!("{place}: the NIC's answer makes no sense"))?;
    match reply {
        Reply { schema: 1, error: None, status: Some(status) } => Ok(status),
        Reply { error: Some(error), .. } => bail!("the NIC of {place} says: {error}"),
        Reply { schema, .. } => bail!("{place}: a NIC of another version of gro (schema {schema})"),
    }
}

/// Answers each line of a connection, until its end or until it is silent for too long.
pub(crate) fn serve(
    stream: &UnixStream,
    mut answer: impl FnMut(Request) -> anyhow::Result<Status>,
) -> io::Result<()> {
    /// Longer requests are none.
    const LINE_MAX: u64 = 4096;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if io::Read::take(&mut lines, LINE_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let result = serde_json::from_str(&line).context("no request").and_then(&mut answer);
        let reply = match result {
            Ok(status) => Reply { schema: 1, error: None, status: Some(status) },
            Err(error) => Reply { schema: 1, error: Some(format!("{error:#}")), status: None },
        };
        (&*stream).write_all((serde_json::to_string(&reply)? + "\n").as_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gro_ebpf::live::{Mode, SnapshotConfig};

    fn status() -> Status {
        let config = Config { udp: UdpMode::Forwarding, gro_max_size: 16_000, ..Config::DEFAULT };
        Status {
            schema: 1,
            rx: "eth0".into(),
            tap: "gro0".into(),
            netns: 1,
            pid: 2,
            image_id: "00".into(),
            profile: "linux-6.18".into(),
            lanes: Vec::new(),
            config: (&config).into(),
            config_hash: "11".into(),
            coalesce: false,
            counters: Snapshot::new("eth0", 3, 1, Mode::ViaTap, SnapshotConfig::new(&config, true)),
        }
    }

    #[test]
    fn requests_are_lines_and_each_has_an_answer() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let text = "{\"op\":\"status\"}\n{\"op\":\"configure\",\"coalesce\":true}\n{\"op\":\"format\"}\nno JSON\n";
                (&theirs).write_all(text.as_bytes()).unwrap();
                theirs.shutdown(std::net::Shutdown::Write).unwrap();
            });
            serve(&ours, |request| {
                seen.push(request);
                Ok(status())
            })
            .unwrap();
        });
        drop(ours);
        assert_eq!(seen, [Request::Status, Request::Configure { coalesce: true }]);
        let replies: Vec<Reply> = BufReader::new(theirs)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        let failed: Vec<_> = replies.iter().map(|reply| reply.error.is_some()).collect();
        assert_eq!(failed, [false, false, true, true]);
    }

    #[test]
    fn a_config_comes_back() {
        let config = Config::from(status().config);
        assert_eq!(ConfigStatus::from(&config), status().config);
        assert_eq!((config.udp, config.gro_max_size), (UdpMode::Forwarding, 16_000));
    }
}

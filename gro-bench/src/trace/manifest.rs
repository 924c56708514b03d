//! `manifest.json`: what the traces of a folder are, how they are replayed, and what must come out.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;
use sha2::{Digest, Sha256};

use super::{HashRule, PollRule, Rules, TraceError};
use gro_core::{Config, UdpMode, tunnel};

/// The manifest's file name in a folder of traces.
pub const FILE_NAME: &str = "manifest.json";

/// The version of the layout that this code reads and writes.
pub const SCHEMA: u32 = 1;

/// The traces of one folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The traces, in the order in which tools run them.
    pub traces: Vec<Entry>,
}

/// One trace file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The file's name in the manifest's folder, without any path.
    pub file: String,
    /// SHA-256 of the file as stored (compressed), in lower-case hex.
    pub sha256: String,
    /// What the trace shows, in a sentence.
    pub shows: String,
    /// Where receive hashes come from.
    pub hash: HashRule,
    /// Where polls end.
    pub poll: PollRule,
    /// The rule set of [`Self::expect`] and [`Self::cases`], such as `linux-6.18`.
    pub profile: String,
    /// UDP is coalesced (`rx-udp-gro-forwarding`) when this trace is compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub udp_forwarding: bool,
    /// Tunnel devices that there are when this trace is compared: GRO looks into their tunnels, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnels: Vec<TunnelDevice>,
    /// The one config under which this trace is compared; those of [`crate::CONFIGS`] when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<OwnConfig>,
    /// Frames in the file.
    pub frames: u64,
    /// What must come out, by the name of the config (`default`, `tc`).
    #[serde(default)]
    pub expect: BTreeMap<String, Expect>,
    /// The named cases inside the trace, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Case>,
}

/// A device without which GRO does not look into its tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelDevice {
    /// VXLAN.
    Vxlan,
    /// Geneve.
    Geneve,
}

impl TunnelDevice {
    const ALL: [Self; 2] = [Self::Vxlan, Self::Geneve];

    /// Those that [`Config::tunnels`] has.
    pub fn of(tunnels: u32) -> Vec<Self> {
        Self::ALL.into_iter().filter(|device| tunnels & device.bit() != 0).collect()
    }

    fn bit(self) -> u32 {
        match self {
            Self::Vxlan => tunnel::VXLAN,
            Self::Geneve => tunnel::GENEVE,
        }
    }
}

/// A config that belongs to one trace: a difference was found under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnConfig {
    /// [`Config::gro_max_size`].
    pub gro_max_size: u32,
    /// [`Config::gro_ipv4_max_size`].
    pub gro_ipv4_max_size: u32,
    /// [`Config::flush_timeout`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gro_flush_timeout: u32,
}

impl OwnConfig {
    /// Its name in a report.
    pub const NAME: &str = "kept";

    /// What an engine is run with.
    pub fn config(self) -> Config {
        Config {
            gro_max_size: self.gro_max_size,
            gro_ipv4_max_size: self.gro_ipv4_max_size,
            flush_timeout: self.gro_flush_timeout,
            ..Config::DEFAULT
        }
    }
}

impl From<Config> for OwnConfig {
    fn from(config: Config) -> Self {
        Self {
            gro_max_size: config.gro_max_size,
            gro_ipv4_max_size: config.gro_ipv4_max_size,
            gro_flush_timeout: config.flush_timeout,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What every backend must deliver for a trace under one config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// Packets delivered.
    pub packets: u64,
    /// SHA-256 over the canonical records, in lower-case hex.
    pub output_digest: String,
}

/// One conformance case inside a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its name; the kernel's selftest has the first part.
    pub name: String,
    /// Index of its first frame, from 0.
    pub first: usize,
    /// Its number of frames.
    pub frames: usize,
    /// TCP or UDP payload bytes of each frame sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<u32>,
    /// TCP or UDP payload bytes of each packet delivered, in order, under [`Entry::profile`] and the default config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delivered: Vec<u32>,
}

impl Manifest {
    /// Reads a manifest; `None` when there is no such file, or it is JSON of some other kind.
    ///
    /// # Errors
    /// [`TraceError::Io`] and [`TraceError::Manifest`].
    pub fn read(path: &Path) -> Result<Option<Self>, TraceError> {
        let file = path.display().to_string();
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TraceError::Io { file, source }),
        };
        let wrong = |what: String| TraceError::Manifest { file: file.clone(), what };
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| wrong(format!("not JSON: {error}")))?;
        let (Some(schema), Some(_)) = (value.get("schema"), value.get("traces")) else { return Ok(None) };
        if *schema != SCHEMA {
            return Err(wrong(format!("schema {schema}, this version reads {SCHEMA}")));
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        if let Some(entry) = manifest.traces.iter().find(|entry| !is_plain_name(&entry.file)) {
            return Err(wrong(format!("{:?} is not a plain file name", entry.file)));
        }
        Ok(Some(manifest))
    }

    /// Reads the manifest in the folder of a capture file, if there is one.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn beside(capture: &Path) -> Result<Option<Self>, TraceError> {
        let folder = capture.parent().unwrap_or(Path::new(""));
        Self::read(&folder.join(FILE_NAME))
    }

    /// The entry of a file.
    pub fn entry(&self, file: &str) -> Option<&Entry> {
        self.traces.iter().find(|entry| entry.file == file)
    }

    /// The manifest as text, one line a case so that changes to it can be read.
    ///
    /// # Errors
    /// None in practice: every field is plain data.
    pub fn to_json(&self) -> io::Result<String> {
        let mut text = Vec::new();
        self.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Lines::default()))?;
        text.push(b'\n');
        String::from_utf8(text).map_err(io::Error::other)
    }
}

impl Entry {
    /// `config`, and with it what this trace asks for: UDP, tunnels.
    pub fn under(&self, config: Config) -> Config {
        let udp = if self.udp_forwarding { UdpMode::Forwarding } else { UdpMode::Off };
        let tunnels = self.tunnels.iter().fold(config.tunnels, |bits, device| bits | device.bit());
        Config { udp, tunnels, ..config }
    }

    /// How hashes and polls of this trace are made.
    pub fn rules(&self) -> Rules {
        Rules { hash: self.hash, poll: self.poll }
    }

    /// Tells whether `stored`, the bytes of `file`, are the ones the manifest was written for.
    pub(super) fn check(&self, file: &str, stored: &[u8]) -> Result<(), TraceError> {
        let actual = sha256_hex(stored);
        if actual == self.sha256 {
            return Ok(());
        }
        Err(TraceError::Digest { file: file.to_owned(), expected: self.sha256.clone(), actual })
    }
}

/// SHA-256 in lower-case hex, as the manifest has it.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}

/// JSON with line breaks down to the items of an entry's lists; deeper values stay on one line.
#[derive(Default)]
struct Lines {
    depth: usize,
    /// Whether the innermost open list or object has an item.
    filled: bool,
}

impl Lines {
    const DEEPEST: usize = 4;

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled && self.depth < Self::DEEPEST {
            self.indent(writer)?;
        }
        self.filled = true;
        writer.write_all(bracket)
    }

    fn item<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.filled = true;
        if !first {
            writer.write_all(if self.depth > Self::DEEPEST { b", " } else { b"," })?;
        }
        if self.depth <= Self::DEEPEST { self.indent(writer) } else { Ok(()) }
    }

    fn indent<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        write!(writer, "\n{:width$}", "", width = self.depth * 2)
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.item(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let case = |name: &str| Case {
            name: name.into(),
            first: 0,
            frames: 2,
            sent: vec![100, 100],
            delivered: vec![200],
        };
        let entry = Entry {
            file: "a.pcapng.zst".into(),
            sha256: "00".into(),
            shows: "it".into(),
            hash: HashRule::Zero,
            poll: PollRule::default(),
            profile: "linux-6.18".into(),
            udp_forwarding: false,
            tunnels: Vec::new(),
            config: None,
            frames: 4,
            expect: [("tc".to_owned(), Expect { packets: 2, output_digest: "11".into() })].into(),
            cases: vec![case("data_same"), case("b")],
        };
        Manifest { schema: SCHEMA, traces: vec![entry] }
    }

    #[test]
    fn what_is_written_is_read_back_and_has_a_line_a_case() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let text = manifest().to_json().unwrap();
        std::fs::write(&path, &text).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), Some(manifest()));
        let line = "{\"name\": \"data_same\", \"first\": 0, \"frames\": 2, \"sent\": [100, 100], \"delivered\": [200]},\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("\"hash\": \"zero\",\n"), "{text}");
        assert!(!text.contains("tunnels"), "{text}");
        let mut empty = manifest();
        empty.traces[0].expect.clear();
        assert!(empty.to_json().unwrap().contains("\"expect\": {},\n"));
    }

    #[test]
    fn tunnel_devices_come_on_top_of_the_config() {
        let mut entry = manifest().traces.remove(0);
        assert_eq!(entry.under(Config::TC), Config::TC);
        entry.tunnels = TunnelDevice::of(tunnel::GRE | tunnel::GENEVE | tunnel::VXLAN);
        assert_eq!(entry.tunnels, [TunnelDevice::Vxlan, TunnelDevice::Geneve]);
        assert_eq!(serde_json::to_string(&entry.tunnels).unwrap(), r#"["vxlan","geneve"]"#);
        let none = Config { tunnels: tunnel::GRE, ..Config::DEFAULT };
        assert_eq!(entry.under(none).tunnels, tunnel::GRE | tunnel::VXLAN | tunnel::GENEVE);
        entry.udp_forwarding = true;
        assert_eq!(entry.under(none).udp, UdpMode::Forwarding);
    }

    #[test]
    fn foreign_json_is_no_manifest_and_a_broken_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Manifest::read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read("{\"icons\": []}"), Ok(None));
        for (text, word) in [
            ("{", "not JSON"),
            ("{\"schema\": 2, \"traces\": []}", "schema 2"),
            ("{\"schema\": 1, \"traces\": [{}]}", "missing field"),
            (&manifest().to_json().unwrap().replace("a.pcapng", "../a.pcapng"), "plain file name"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(word) && message.contains(FILE_NAME), "{message}");
        }
        assert_eq!(Manifest::read(&dir.path().join("none.json")).unwrap(), None);
    }
}

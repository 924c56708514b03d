//! What can be wrong with a trace, in words that name the file and the cure.

use std::io;

/// Why a trace cannot be read. Every message names the file, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file or stream cannot be read at all.
    #[error("{file} cannot be read; check the path and its permissions")]
    Io {
        /// The file or the stream's name.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The content is no capture.
    #[error("{file}: {what}; {cure}")]
    NotACapture {
        /// The file or the stream's name.
        file: String,
        /// What it is instead.
        what: String,
        /// What to do about it.
        cure: &'static str,
    },
    /// The zstd stream is damaged or cut.
    #[error(
        "{file}: the zstd stream is damaged: {what}; copy the file again, `zstd -t` tells whether it is whole"
    )]
    Compressed {
        /// The file or the stream's name.
        file: String,
        /// What the decoder said.
        what: String,
    },
    /// More bytes or frames than this reader takes.
    #[error("{file}: more than {limit} {unit}; split it, as with `editcap -c 1000000 in out`")]
    TooLarge {
        /// The file or the stream's name.
        file: String,
        /// The limit that it exceeds.
        limit: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// A record is cut short by the end of the file.
    #[error("{file}: ends inside record {record}; keep the whole records with `editcap -r in out 1-{whole}`", whole = record - 1)]
    Truncated {
        /// The file or the stream's name.
        file: String,
        /// The record, counted from 1 as tcpdump and Wireshark do.
        record: usize,
    },
    /// A record cannot be used as a frame.
    #[error("{file}: record {record}: {what}; {cure}")]
    Record {
        /// The file or the stream's name.
        file: String,
        /// The record, counted from 1 as tcpdump and Wireshark do.
        record: usize,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        cure: &'static str,
    },
    /// `manifest.json` is not one that this version understands.
    #[error("{file}: {what}; repair it, write it anew with `cargo xtask traces`, or move it away")]
    Manifest {
        /// The manifest's path.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The file is not the one that the manifest describes.
    #[error(
        "{file}: its SHA-256 is {actual}, the manifest says {expected}; restore it, as with `git checkout`, or record anew with `cargo xtask traces`"
    )]
    Digest {
        /// The capture file.
        file: String,
        /// From the manifest.
        expected: String,
        /// Of the bytes on disk.
        actual: String,
    },
    /// A folder without any trace.
    #[error(
        "{dir}: no capture file (.pcapng, .pcap, either with .zst) and no manifest.json that lists one; name another folder or a file"
    )]
    NoTraces {
        /// The folder.
        dir: String,
    },
}

//! Reading capture files: decompression, the two formats, and every way in which a file can be bad.
//!
//! The whole (decompressed) file is held once and frames are slices of it. Its size is capped before it is parsed, so
//! a small file that claims to be large costs no memory.

use std::io::{Cursor, Read};

use bytes::Bytes;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapParseError, PcapParser, PcapTsResolution};
use pcap_file::pcapng::{Block, PcapNgParseError, PcapNgParser};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::TraceError;
use super::pcapng::receive_hash;

/// The most bytes of a capture after decompression: 1 GiB.
pub const MAX_CAPTURE: usize = 1 << 30;

/// The longest frame in bytes: 256 KiB, libpcap's own limit.
pub const MAX_FRAME: usize = 1 << 20;

/// The most frames of a trace: about 8 million.
pub const MAX_FRAMES: usize = 1 << 23;

/// Interfaces of one pcapng section; each one costs memory.
const MAX_INTERFACES: usize = 4096;

/// The shortest frame: an Ethernet header.
const MIN_FRAME: usize = 14;

/// A record of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) time_ns: u64,
    pub(super) bytes: Bytes,
    /// The receive hash, where the capture says one.
    pub(super) hash: Option<u32>,
}

/// Reads all frames of a capture, which may be compressed. `file` names it in messages.
pub(super) fn read(file: &str, reader: impl Read) -> Result<Vec<Record>, TraceError> {
    let mut reader = reader;
    let mut start = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut start).map_err(|source| io(file, source))?;
    let whole = Cursor::new(start.clone()).chain(reader);
    let bytes = if is_zstd(&start) { decompress(file, whole)? } else { read_capped(file, whole)? };
    let bytes = Bytes::from(bytes);
    match bytes.get(..4) {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng(file, &bytes),
        // Microseconds and nanoseconds, of a little and of a big endian machine.
        Some(
            [0xd4, 0xc3, 0xb2, 0xa1]
            | [0x4d, 0x3c, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xa1, 0xb2, 0x3c, 0x4d],
        ) => pcap(file, &bytes),
        start => Err(not_a_capture(file, start.unwrap_or(&bytes))),
    }
}

/// Reads a file into memory, up to the cap.
pub(super) fn read_capped(file: &str, reader: impl Read) -> Result<Vec<u8>, TraceError> {
    let mut bytes = Vec::new();
    reader.take(MAX_CAPTURE as u64 + 1).read_to_end(&mut bytes).map_err(|source| io(file, source))?;
    if bytes.len() > MAX_CAPTURE { Err(too_large(file, MAX_CAPTURE, "bytes")) } else { Ok(bytes) }
}

/// Compresses a capture the way shipped traces are stored: one zstd frame.
pub fn compress(capture: &[u8]) -> Vec<u8> {
    compress_to_vec(capture, CompressionLevel::Fastest)
}

const ZSTD_MAGIC: u32 = 0xfd2f_b528;

/// A zstd frame or a skippable one (which `pzstd` writes first).
fn is_zstd(start: &[u8]) -> bool {
    let Ok(magic) = start.try_into().map(u32::from_le_bytes) else { return false };
    magic == ZSTD_MAGIC || magic & !15 == 0x184d_2a50
}

/// Decompresses zstd frame after zstd frame. Their checksums are verified where they have one.
fn decompress(file: &str, mut source: impl Read) -> Result<Vec<u8>, TraceError> {
    let damaged = |what: String| TraceError::Compressed { file: file.to_owned(), what };
    let mut bytes = Vec::new();
    loop {
        let mut magic = Vec::with_capacity(4);
        source.by_ref().take(4).read_to_end(&mut magic).map_err(|source| io(file, source))?;
        if magic.is_empty() {
            return Ok(bytes);
        }
        let mut decoder = match StreamingDecoder::new(Cursor::new(magic).chain(source.by_ref())) {
            Ok(decoder) => decoder,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let skipped = std::io::copy(&mut source.by_ref().take(length.into()), &mut std::io::sink());
                if skipped.map_err(|source| io(file, source))? < length.into() {
                    return Err(damaged("it ends inside a skippable frame".to_owned()));
                }
                continue;
            }
            Err(error) => return Err(damaged(error.to_string())),
        };
        let room = (MAX_CAPTURE - bytes.len()) as u64;
        decoder.by_ref().take(room + 1).read_to_end(&mut bytes).map_err(|error| {
            damaged(error.get_ref().map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        if bytes.len() > MAX_CAPTURE {
            return Err(too_large(file, MAX_CAPTURE, "bytes after decompression"));
        }
        let decoder = decoder.into_frame_decoder();
        if decoder.get_checksum_from_data().is_some_and(|sum| decoder.get_calculated_checksum() != Some(sum))
        {
            return Err(damaged("its checksum does not match".to_owned()));
        }
    }
}

fn pcapng(file: &str, bytes: &Bytes) -> Result<Vec<Record>, TraceError> {
    let mut frames = Vec::new();
    let header = PcapNgParser::new(bytes).map_err(|error| pcapng_error(file, 1, &error))?;
    let (mut rest, mut parser) = header;
    while !rest.is_empty() {
        let number = frames.len() + 1;
        // Raw blocks, so that damage in a block that holds no packet (names, statistics) does no harm.
        let (next, raw) = parser.next_raw_block(rest).map_err(|error| pcapng_error(file, number, &error))?;
        rest = next;
        if parser.interfaces().len() > MAX_INTERFACES {
            return Err(too_large(file, MAX_INTERFACES, "interfaces"));
        }
        if !matches!(raw.type_, ENHANCED_PACKET | SIMPLE_PACKET | PACKET) {
            continue;
        }
        let block =
            raw.try_into_block(parser.state()).map_err(|error| pcapng_error(file, number, &error.into()))?;
        let (interface, time, original, data) = match &block {
            Block::EnhancedPacket(packet) => {
                (packet.interface_id as usize, packet.timestamp, packet.original_len, &packet.data)
            }
            Block::Packet(packet) => {
                (usize::from(packet.interface_id), packet.timestamp, packet.original_len, &packet.data)
            }
            // A simple packet has no time: it arrives with its predecessor.
            Block::SimplePacket(packet) => {
                let time = frames.last().map_or(0, |last: &Record| last.time_ns);
                (0, std::time::Duration::from_nanos(time), packet.original_len, &packet.data)
            }
            _ => continue,
        };
        let link = parser.interfaces().get(interface).map(|interface| interface.linktype);
        push(file, &mut frames, bytes, link, time.as_nanos(), original, data)?;
        if let (Block::EnhancedPacket(packet), Some(last)) = (&block, frames.last_mut()) {
            let order = parser.section().endianness;
            last.hash = packet.options.iter().find_map(|option| receive_hash(option, order));
        }
    }
    Ok(frames)
}

const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

fn pcap(file: &str, bytes: &Bytes) -> Result<Vec<Record>, TraceError> {
    let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| match error {
        PcapParseError::IncompleteBuffer(..) => TraceError::Truncated { file: file.to_owned(), record: 1 },
        PcapParseError::Validation(error) => record(file, 1, error.to_string(), CAPTURE_AGAIN),
    })?;
    let header = parser.header();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let number = frames.len() + 1;
        // Raw packets: the checked form refuses a snap length of 0, which means no limit.
        let (next, raw) = parser.next_raw_packet(rest).map_err(|error| match error {
            PcapParseError::IncompleteBuffer(needed, _) if needed > MAX_FRAME => {
                too_long(file, number, needed)
            }
            PcapParseError::IncompleteBuffer(..) => {
                TraceError::Truncated { file: file.to_owned(), record: number }
            }
            PcapParseError::Validation(error) => record(file, number, error.to_string(), CAPTURE_AGAIN),
        })?;
        rest = next;
        let unit = if header.ts_resolution == PcapTsResolution::NanoSecond { 1 } else { 1000 };
        let fraction = u128::from(raw.ts_frac) * unit;
        if fraction >= 1_000_000_000 {
            let what = format!("its time has a fraction of {fraction} ns");
            return Err(record(file, number, what, CAPTURE_AGAIN));
        }
        let time = u128::from(raw.ts_sec) * 1_000_000_000 + fraction;
        push(file, &mut frames, bytes, Some(header.datalink), time, raw.orig_len, &raw.data)?;
    }
    Ok(frames)
}

/// Checks one record and adds it.
fn push(
    file: &str,
    frames: &mut Vec<Record>,
    whole: &Bytes,
    link: Option<DataLink>,
    time: u128,
    original: u32,
    data: &[u8],
) -> Result<(), TraceError> {
    let number = frames.len() + 1;
    let bad = |what: String, cure: &'static str| Err(record(file, number, what, cure));
    if link != Some(DataLink::ETHERNET) {
        let what = match link {
            Some(link) => format!("its link type is {link:?}, not Ethernet"),
            None => "its interface is not described".to_owned(),
        };
        return bad(what, "capture on one Ethernet device (`tcpdump -i eth0`, not `-i any`)");
    }
    if data.len() > MAX_FRAME {
        return Err(too_long(file, number, data.len()));
    }
    if (original as usize) > data.len() {
        let what = format!("cut to {} of its {original} bytes by the snap length", data.len());
        return bad(what, "capture again with `tcpdump -s 0`");
    }
    if data.len() < MIN_FRAME {
        let what = format!("{} bytes, shorter than an Ethernet header ({MIN_FRAME})", data.len());
        return bad(what, "leave it out, as with `editcap in out RECORD`");
    }
    let Ok(time) = u64::try_from(time) else {
        return bad("its time lies beyond the year 2554".to_owned(), "rewrite times with `editcap -t`");
    };
    if frames.len() == MAX_FRAMES {
        return Err(too_large(file, MAX_FRAMES, "frames"));
    }
    frames.push(Record { time_ns: time, bytes: whole.slice_ref(data), hash: None });
    Ok(())
}

fn pcapng_error(file: &str, number: usize, error: &PcapNgParseError) -> TraceError {
    match error {
        PcapNgParseError::IncompleteBuffer(..) => {
            TraceError::Truncated { file: file.to_owned(), record: number }
        }
        error => record(file, number, format!("damaged pcapng: {}", chain(error)), CAPTURE_AGAIN),
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

const CAPTURE_AGAIN: &str = "copy or capture it again";

fn not_a_capture(file: &str, start: &[u8]) -> TraceError {
    let (what, cure) = match start {
        [] => ("empty", "capture again, as with `tcpdump -w FILE`"),
        [0x1f, 0x8b, ..] => ("compressed with gzip", "decompress it with `gunzip`, or use zstd"),
        [0xfd, b'7', b'z', b'X'] => ("compressed with xz", "decompress it with `unxz`, or use zstd"),
        [b'B', b'Z', b'h', _] => ("compressed with bzip2", "decompress it with `bunzip2`, or use zstd"),
        [0x04, 0x22, 0x4d, 0x18] => ("compressed with lz4", "decompress it with `unlz4`, or use zstd"),
        _ => ("neither pcapng nor pcap, plain or zstd-compressed", "capture with `tcpdump -w FILE`"),
    };
    TraceError::NotACapture { file: file.to_owned(), what: what.to_owned(), cure }
}

fn too_long(file: &str, number: usize, length: usize) -> TraceError {
    record(file, number, format!("claims {length} bytes, more than {MAX_FRAME}"), CAPTURE_AGAIN)
}

fn record(file: &str, number: usize, what: String, cure: &'static str) -> TraceError {
    TraceError::Record { file: file.to_owned(), record: number, what, cure }
}

fn too_large(file: &str, limit: usize, unit: &'static str) -> TraceError {
    TraceError::TooLarge { file: file.to_owned(), limit, unit }
}

fn io(file: &str, source: std::io::Error) -> TraceError {
    TraceError::Io { file: file.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::PcapngWriter;

    fn sample(frames: usize) -> Vec<u8> {
        let mut writer = PcapngWriter::new(Vec::new(), "test").unwrap();
        for number in 0..frames {
            writer.write(1_700_000_000_123_456_789 + number as u64, &[number as u8; 61], Some("c")).unwrap();
        }
        writer.finish().unwrap()
    }

    /// A pcap file with the given magic (little endian), link type and (fraction, original length, bytes) records.
    fn pcap_file(magic: u32, link: u32, records: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [magic, 0x0004_0002, 0, 0, 0, link] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        for (fraction, original, bytes) in records {
            for word in [1_700_000_000, *fraction, bytes.len() as u32, *original] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            file.extend_from_slice(bytes);
        }
        file
    }

    fn message(bytes: &[u8]) -> String {
        read("f.pcapng", bytes).unwrap_err().to_string()
    }

    #[test]
    fn plain_and_compressed_files_read_alike() {
        let plain = sample(3);
        let frames = read("f", &plain[..]).unwrap();
        assert_eq!(frames.len(), 3);
        assert_eq!((frames[2].time_ns, &frames[2].bytes[..]), (1_700_000_000_123_456_791, &[2; 61][..]));
        let packed = compress_to_vec(&plain[..], CompressionLevel::Fastest);
        assert_eq!(read("f", &packed[..]).unwrap(), frames);
        // Two zstd frames with a skippable one between them are one file.
        let mut parts = compress_to_vec(&plain[..100], CompressionLevel::Fastest);
        parts.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        parts.extend(compress_to_vec(&plain[100..], CompressionLevel::Uncompressed));
        assert_eq!(read("f", &parts[..]).unwrap(), frames);
    }

    #[test]
    fn pcap_times_are_nanoseconds_for_both_magics() {
        let records = [(123_456, 60, &[7; 60][..])];
        let micro = read("f", &pcap_file(0xa1b2_c3d4, 1, &records)[..]).unwrap();
        assert_eq!(micro[0].time_ns, 1_700_000_000_123_456_000);
        let nano = read("f", &pcap_file(0xa1b2_3c4d, 1, &records)[..]).unwrap();
        assert_eq!(nano[0].time_ns, 1_700_000_000_000_123_456);
    }

    #[test]
    fn bad_files_have_a_message_that_names_the_cure() {
        let sized = |length: usize| pcap_file(0xa1b2_c3d4, 1, &[(0, length as u32, &vec![7; length])]);
        for (bytes, words) in [
            (Vec::new(), ["empty", "tcpdump -w"]),
            (b"garbage, nothing else".to_vec(), ["neither pcapng nor pcap", "tcpdump -w"]),
            (vec![0x1f, 0x8b, 8, 0], ["gzip", "gunzip"]),
            (pcap_file(0xa1b2_c3d4, 113, &[(0, 60, &[7; 60])]), ["link type", "record 1"]),
            (pcap_file(0xa1b2_c3d4, 1, &[(0, 61, &[7; 60])]), ["snap length", "-s 0"]),
            (pcap_file(0xa1b2_c3d4, 1, &[(1_000_000, 60, &[7; 60])]), ["fraction", "record 1"]),
            (sized(0), ["0 bytes", "record 1"]),
            (sized(13), ["13 bytes", "record 1"]),
            (sized(MAX_FRAME + 1), ["1048577 bytes", "record 1"]),
        ] {
            let message = message(&bytes);
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
            assert!(message.starts_with("f.pcapng: "), "{message}");
        }
        assert_eq!(read("f", &sized(MAX_FRAME)[..]).unwrap().len(), 1);
    }

    #[test]
    fn a_cut_last_record_is_named() {
        let whole = sample(3);
        assert!(message(&whole[..whole.len() - 1]).contains("inside record 3"));
        let packed = compress_to_vec(&whole[..], CompressionLevel::Fastest);
        assert!(message(&packed[..packed.len() - 9]).contains("zstd stream is damaged"));
        let mut pcap = pcap_file(0xa1b2_c3d4, 1, &[(0, 60, &[7; 60]), (0, 60, &[7; 60])]);
        pcap.pop();
        assert!(message(&pcap).contains("inside record 2"));
        // A claimed length of 4 GB is not a reason to wait for it.
        pcap[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(message(&pcap).contains("claims 4294967295 bytes"));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_ends_in_a_result() {
        let plain = sample(2);
        let packed = compress_to_vec(&plain[..], CompressionLevel::Fastest);
        let pcap = pcap_file(0xa1b2_3c4d, 1, &[(5, 60, &[7; 60]), (6, 14, &[7; 14])]);
        for file in [plain, packed, pcap] {
            for length in 0..file.len() {
                drop(read("f", &file[..length]));
                for value in [0, 0xff, file[length] ^ 1, file[length] ^ 0x80] {
                    let mut damaged = file.clone();
                    damaged[length] = value;
                    drop(read("f", &damaged[..]));
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_memory() {
        // One zstd frame of run-length blocks of 128 KiB each: 40 KB that claim 1.25 GiB.
        let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        for _ in 0..10_000 {
            let header = (128_u32 * 1024) << 3 | 1 << 1;
            bomb.extend_from_slice(&header.to_le_bytes()[..3]);
            bomb.push(0);
        }
        assert!(
            message(&bomb).contains("more than 1073741824 bytes after decompression"),
            "{}",
            message(&bomb)
        );
    }
}

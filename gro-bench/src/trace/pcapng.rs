//! Writing pcapng with nanosecond times and receive hashes.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgWriteError};
use pcap_file::{DataLink, Endianness};

use super::{Frame, MAX_FRAME};

/// Writes a capture of one Ethernet interface. The bytes depend on the input alone, not on the machine.
pub struct PcapngWriter<W: Write> {
    inner: pcap_file::pcapng::PcapNgWriter<W>,
}

impl<W: Write> PcapngWriter<W> {
    /// Starts a file; `comment` says what the interface stands for.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(writer: W, comment: &str) -> io::Result<Self> {
        let inner = pcap_file::pcapng::PcapNgWriter::with_endianness(writer, Endianness::Little);
        let mut inner = inner.map_err(into_io)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: MAX_FRAME as u32,
            options: vec![
                InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
                InterfaceDescriptionOption::Common(CommonOption::Comment(Cow::Borrowed(comment))),
            ],
        };
        inner.write_block(&Block::InterfaceDescription(interface)).map_err(into_io)?;
        Ok(Self { inner })
    }

    /// Adds a frame that arrived `time_ns` nanoseconds after the epoch, with an optional comment.
    ///
    /// # Errors
    /// Those of the writer, and a frame or a comment longer than the format allows.
    pub fn write(&mut self, time_ns: u64, bytes: &[u8], comment: Option<&str>) -> io::Result<()> {
        self.write_hashed(time_ns, bytes, None, comment)
    }

    /// As [`Self::write`], with the receive hash that came with the frame; [`HashRule::Captured`](super::HashRule) reads it back.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_hashed(
        &mut self,
        time_ns: u64,
        bytes: &[u8],
        hash: Option<u32>,
        comment: Option<&str>,
    ) -> io::Result<()> {
        let original_len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let comment =
            comment.map(|text| EnhancedPacketOption::Common(CommonOption::Comment(Cow::Borrowed(text))));
        let hash = hash.map(|hash| {
            let [a, b, c, d] = hash.to_le_bytes();
            EnhancedPacketOption::Hash(Cow::Owned(vec![TOEPLITZ, a, b, c, d]))
        });
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(time_ns),
            original_len,
            data: Cow::Borrowed(bytes),
            options: hash.into_iter().chain(comment).collect(),
        };
        self.inner.write_block(&Block::EnhancedPacket(packet)).map_err(into_io)?;
        Ok(())
    }

    /// Adds a frame with everything that it came with: its tag goes back into the bytes, its hash stands beside them.
    ///
    /// # Errors
    /// As [`Self::write`], and a frame whose own bytes begin with a tag that is not in its metadata: a reader would strip it.
    pub fn write_frame(&mut self, frame: &Frame) -> io::Result<()> {
        let mut bytes = frame.bytes.to_vec();
        if let Some(vlan) = frame.vlan {
            bytes.splice(12..12, [vlan.tpid.to_be_bytes(), vlan.tci.to_be_bytes()].concat());
        } else if super::strip_vlan(frame.bytes.clone()).1.is_some() {
            return Err(io::Error::other("a capture cannot hold a frame with its tag still in the bytes"));
        }
        self.write_hashed(frame.time_ns, &bytes, Some(frame.hash), None)
    }

    /// Flushes the writer and gives it back.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.get_mut().flush()?;
        Ok(self.inner.into_inner())
    }
}

/// The hash of an `epb_hash` option, if it is one of a NIC.
pub(super) fn receive_hash(option: &EnhancedPacketOption<'_>, order: Endianness) -> Option<u32> {
    let EnhancedPacketOption::Hash(value) = option else { return None };
    let [TOEPLITZ, a, b, c, d] = **value else { return None };
    Some(match order {
        Endianness::Big => u32::from_be_bytes([a, b, c, d]),
        Endianness::Little => u32::from_le_bytes([a, b, c, d]),
    })
}

/// The algorithm octet of `epb_hash` (draft-ietf-opsawg-pcapng, section 4.3) that stands for what a NIC computes. Four bytes
/// follow, in the order of the section: the draft does not say, and DPDK writes them so.
const TOEPLITZ: u8 = 5;

fn into_io(error: PcapNgWriteError) -> io::Error {
    match error {
        PcapNgWriteError::Io(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Trace, Vlan};

    #[test]
    fn the_bytes_have_nanosecond_resolution_and_exact_times() {
        let time = 1_700_000_000_123_456_789_u64;
        let mut writer = PcapngWriter::new(Vec::new(), "why").unwrap();
        writer.write(time, &[1; 14], None).unwrap();
        let file = writer.finish().unwrap();
        // Interface block behind the 28 bytes of the section header: if_tsresol (9), one byte, 10^-9.
        assert_eq!(file[28..32], 1_u32.to_le_bytes());
        assert_eq!(file[44..49], [9, 0, 1, 0, 9]);
        let length = u32::from_le_bytes(file[32..36].try_into().unwrap()) as usize;
        let packet = &file[28 + length..];
        assert_eq!(packet[..4], 6_u32.to_le_bytes());
        assert_eq!(packet[12..16], ((time >> 32) as u32).to_le_bytes());
        assert_eq!(packet[16..20], (time as u32).to_le_bytes());
    }

    #[test]
    fn only_a_whole_receive_hash_is_one_in_the_order_of_the_section() {
        let hash =
            |value: &[u8], order| receive_hash(&EnhancedPacketOption::Hash(value.to_vec().into()), order);
        assert_eq!(hash(&[5, 1, 2, 3, 4], Endianness::Little), Some(0x0403_0201));
        assert_eq!(hash(&[5, 1, 2, 3, 4], Endianness::Big), Some(0x0102_0304));
        assert_eq!(hash(&[2, 1, 2, 3, 4], Endianness::Big), None);
        assert_eq!(hash(&[5, 1, 2, 3], Endianness::Big), None);
        assert_eq!(hash(&[], Endianness::Big), None);
    }

    #[test]
    fn a_comment_is_stored_and_too_long_a_one_is_an_error() {
        let mut writer = PcapngWriter::new(Vec::new(), "why").unwrap();
        writer.write(0, &[1; 14], Some("segs=12 flush=psh")).unwrap();
        assert!(writer.write(0, &[1; 14], Some(&"x".repeat(70_000))).is_err());
        let file = writer.finish().unwrap();
        assert!(file.windows(17).any(|window| window == b"segs=12 flush=psh"));
    }

    #[test]
    fn frames_come_back_with_their_hashes_and_tags() {
        let frame = |time_ns, hash, vlan| Frame { time_ns, bytes: vec![7; 60].into(), hash, vlan };
        let tag = |tpid, tci| Some(Vlan { tpid, tci });
        let frames = [
            frame(0, 0, None),
            frame(1, 0x8000_0001, tag(0x8100, 0x2005)),
            frame(2, u32::MAX, tag(0x88a8, 0)),
            Frame { bytes: vec![7; 14].into(), ..frame(3, 5, tag(0x8100, 1)) },
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcapng");
        let mut writer = PcapngWriter::new(std::fs::File::create(&path).unwrap(), "why").unwrap();
        for frame in &frames {
            writer.write_frame(frame).unwrap();
        }
        let mut in_band = vec![7; 60];
        in_band[12..14].copy_from_slice(&[0x81, 0]);
        assert!(writer.write_frame(&Frame { bytes: in_band.into(), ..frame(4, 0, None) }).is_err());
        writer.finish().unwrap();
        let trace = Trace::open(&path).unwrap();
        assert_eq!(trace.frames, frames);
        assert_eq!(trace.polls.len(), 1);
    }
}

//! Packets through the running kernel's GSO.
//!
//! ```text
//!   engine ─► merged packet ─► tap0 ─► forwarder ─► out0, no offload: GSO cuts here ══ out1 (captured, then dropped)
//! ```
//!
//! Behind each packet goes a marker frame. Both take the same way on one CPU, so a marker cannot overtake, and what was
//! captured before it is all that became of the packet.

use super::{Exception, RoundTrip, expected};
use crate::BackendError;
use crate::backend::vlan_word;
use crate::sandbox::{self, Capture, Captured, Sandbox, TAP, Tap};
use crate::trace::{Manifest, Trace};
use bytes::Bytes;
use gro_core::user::{Delivered, Engine, VirtioNetHdr};
use gro_core::{Config, Linux618, Meta};
use gro_ebpf::{Forwarder, Injector};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// [`round_trip`] of a capture file; UDP is coalesced, and tunnels are looked into, when the manifest beside it says so.
///
/// # Errors
/// As [`round_trip`].
pub fn round_trip_file(path: &Path, config: &Config) -> Result<RoundTrip, BackendError> {
    let failed = |error: crate::trace::TraceError| BackendError::Failed(error.to_string());
    let trace = Trace::open(path).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let entry = Manifest::beside(path).map_err(failed)?.and_then(|manifest| manifest.entry(&name).cloned());
    round_trip(&trace, &entry.map_or(*config, |entry| entry.under(*config)))
}

/// Merges a trace with the userspace engine and sends every merged packet through the running kernel's GSO.
///
/// # Errors
/// [`BackendError::Skipped`] where there is no TAP device or no right to use it, [`BackendError::Failed`] when the way itself
/// breaks. A packet that comes back wrong is no error: [`RoundTrip::holds`] says so.
pub fn round_trip(trace: &Trace, config: &Config) -> Result<RoundTrip, BackendError> {
    round_trip_changed(trace, config, |_, _| ())
}

/// As [`round_trip`], with each packet changed on its way to the kernel: what shows that a wrong packet is noticed.
///
/// # Errors
/// As [`round_trip`].
pub fn round_trip_changed(
    trace: &Trace,
    config: &Config,
    mut change: impl FnMut(&mut VirtioNetHdr, &mut Vec<u8>) + Send,
) -> Result<RoundTrip, BackendError> {
    sandbox::run(|sandbox| {
        let mut run = Run {
            way: Way::open(sandbox)?,
            frames: Frames::of(trace),
            change: &mut change,
            result: RoundTrip::default(),
        };
        let mut engine = Engine::<Linux618>::new(*config);
        let mut left = Vec::new();
        for poll in &trace.polls {
            engine.set_time(config.jiffies(poll.time_ns));
            for number in poll.frames.clone() {
                let frame = &trace.frames[number];
                let meta = Meta { hash: frame.hash, vlan: vlan_word(frame.vlan), verified: false };
                engine.receive(run.frames.bytes[number].clone(), meta, &mut |packet| left.push(packet));
            }
            engine.poll_end(&mut |packet| left.push(packet));
            run.packets(&mut left)?;
        }
        engine.flush(&mut |packet| left.push(packet));
        run.packets(&mut left)?;
        Ok(run.result)
    })
}

struct Run<'a, C> {
    way: Way,
    frames: Frames,
    change: &'a mut C,
    result: RoundTrip,
}

impl<C: FnMut(&mut VirtioNetHdr, &mut Vec<u8>)> Run<'_, C> {
    fn packets(&mut self, left: &mut Vec<Delivered>) -> Result<(), BackendError> {
        left.drain(..).filter(|packet| packet.segs > 1).try_for_each(|packet| self.packet(packet))
    }

    fn packet(&mut self, packet: Delivered) -> Result<(), BackendError> {
        let (first, vlan) = (packet.first, packet.meta.vlan);
        let members = self.frames.of_packet(&packet)?;
        self.result.packets += 1;
        self.result.frames += members.len();
        if !packet.fits_virtio() {
            *self.result.exceptions.entry(Exception::Tunnel).or_default() += 1;
            return Ok(());
        }
        let (expected, exceptions) =
            expected(&members).map_err(|error| BackendError::Failed(format!("frame #{first}: {error}")))?;

        let (mut header, packet) = packet
            .into_virtio()
            .or(Err(BackendError::Failed(format!("frame #{first}: no virtio_net_hdr for its packet"))))?;
        let mut bytes = packet.to_vec();
        (self.change)(&mut header, &mut bytes);
        let difference = match self.way.cross(tagged(header, bytes, vlan)) {
            Ok(came) => difference(&expected, vlan, &came),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Some("the kernel refuses the packet".to_owned())
            }
            Err(error) => return Err(BackendError::Failed(format!("round trip: {error}"))),
        };

        match (difference, exceptions.first()) {
            (None, None) => self.result.identical += 1,
            (None, Some(&exception)) => *self.result.exceptions.entry(exception).or_default() += 1,
            (Some(words), _) => {
                self.result.different += 1;
                let of = || format!("the packet of {} frames from frame #{first} on: {words}", members.len());
                self.result.difference.get_or_insert_with(of);
            }
        }
        Ok(())
    }
}

/// The frames of a trace, by the address of their end. The engine copies no payload, so each slice of a merged packet ends
/// where the frame ends that it came from.
struct Frames {
    /// Copies, because frames of a trace may share memory, as a frame that is sent twice does.
    bytes: Vec<Bytes>,
    by_end: HashMap<*const u8, usize>,
}

impl Frames {
    fn of(trace: &Trace) -> Self {
        let bytes: Vec<Bytes> =
            trace.frames.iter().map(|frame| Bytes::copy_from_slice(&frame.bytes)).collect();
        let by_end = bytes.iter().enumerate().map(|(number, bytes)| (end(bytes), number)).collect();
        Self { bytes, by_end }
    }

    /// The frames that a packet was merged from, in its order.
    fn of_packet(&self, packet: &Delivered) -> Result<Vec<&[u8]>, BackendError> {
        let lost = || {
            let (first, last) = (packet.first, packet.last);
            BackendError::Failed(format!("the packet of frames #{first} to #{last} is not made of them"))
        };
        let numbers = packet.segments.iter().map(|segment| self.by_end.get(&end(segment)).copied());
        let numbers = numbers.collect::<Option<Vec<usize>>>().ok_or_else(lost)?;
        let ends = (Some(packet.first as usize), Some(packet.last as usize));
        let is_whole = numbers.len() == packet.segs as usize
            && numbers.is_sorted_by(|one, next| one < next)
            && (numbers.first().copied(), numbers.last().copied()) == ends;
        if !is_whole {
            return Err(lost());
        }
        Ok(numbers.into_iter().map(|number| &self.bytes[number][..]).collect())
    }
}

fn end(bytes: &Bytes) -> *const u8 {
    bytes.as_ptr_range().end
}

/// The tag back in its place, where a frame that is read from a wire has it.
fn tagged(mut header: VirtioNetHdr, mut bytes: Vec<u8>, vlan: u32) -> (VirtioNetHdr, Vec<u8>) {
    const TAG: u16 = 4;
    if vlan != 0 {
        bytes.splice(12..12, vlan.to_be_bytes());
        header.csum_start += TAG;
        header.hdr_len += TAG;
    }
    (header, bytes)
}

fn difference(expected: &[Vec<u8>], vlan: u32, came: &[Captured]) -> Option<String> {
    for (number, (want, got)) in expected.iter().zip(came).enumerate() {
        if got.vlan != vlan {
            return Some(format!("segment {number} has VLAN {:#x}, expected {vlan:#x}", got.vlan));
        }
        if got.bytes != *want {
            let at = want.iter().zip(&got.bytes).position(|(want, got)| want != got);
            return Some(format!(
                "segment {number} has {} bytes, expected {}, and is another one from byte {} on",
                got.bytes.len(),
                want.len(),
                at.unwrap_or(want.len().min(got.bytes.len()))
            ));
        }
    }
    let (came, expected) = (came.len(), expected.len());
    (came != expected).then(|| format!("{came} segments came, expected {expected}"))
}

/// The devices between a packet and its segments.
struct Way {
    tap: Tap,
    capture: Capture,
    markers: u64,
    /// Keep their programs attached.
    _programs: (Forwarder, Injector),
}

/// A packet is through when the write returns, unless the machine is so busy that a thread of the kernel takes it over.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ethernet type for local experiments (IEEE 802).
const MARKER: [u8; 2] = [0x88, 0xb5];

impl Way {
    fn open(sandbox: &Sandbox) -> Result<Self, BackendError> {
        sandbox.switch_segmentation_off()?;
        let tap = Tap::open()?;
        let forwarder = Forwarder::attach(TAP, sandbox.deliver)?;
        let mut injector = Injector::load()?;
        injector.sink(sandbox::CAPTURE)?;
        let capture = Capture::open(sandbox.capture)
            .map_err(|error| BackendError::Failed(format!("capturing: {error}")))?;
        Ok(Self { tap, capture, markers: 0, _programs: (forwarder, injector) })
    }

    /// Everything that comes out when a packet is written.
    fn cross(&mut self, (header, bytes): (VirtioNetHdr, Vec<u8>)) -> io::Result<Vec<Captured>> {
        self.tap.write(header, &bytes)?;
        self.markers += 1;
        let mut marker = [0; 60];
        marker[12..14].copy_from_slice(&MARKER);
        marker[14..22].copy_from_slice(&self.markers.to_be_bytes());
        self.tap.write(VirtioNetHdr::default(), &marker)?;
        let mut came = Vec::new();
        loop {
            let packet = self.capture.take(1, PATIENCE)?.remove(0);
            if packet.bytes == marker {
                return Ok(came);
            }
            came.push(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_one() {
        let expected = [vec![1; 60], vec![2; 60]];
        let came: Vec<Captured> =
            expected.iter().map(|bytes| Captured { bytes: bytes.clone(), vlan: 7, mark: 0 }).collect();
        assert_eq!(difference(&expected, 7, &came), None);
        assert!(difference(&expected, 8, &came).is_some_and(|words| words.contains("VLAN 0x7")));
        assert!(difference(&expected, 7, &came[..1]).is_some_and(|words| words.starts_with("1 segments")));
        assert!(difference(&expected[..1], 7, &came).is_some_and(|words| words.starts_with("2 segments")));
        for (bytes, at) in [(vec![2; 59], "byte 59"), ([vec![2; 30], vec![3; 30]].concat(), "byte 30")] {
            let other = [came[0].clone(), Captured { bytes, vlan: 7, mark: 0 }];
            assert!(difference(&expected, 7, &other).is_some_and(|words| words.contains(at)));
        }
    }

    #[test]
    fn a_tag_goes_behind_the_addresses() {
        let header = VirtioNetHdr { csum_start: 34, hdr_len: 54, ..VirtioNetHdr::default() };
        let bytes: Vec<u8> = (0..20).collect();
        let (moved, tagged_bytes) = tagged(header, bytes.clone(), 0x88a8_2001);
        assert_eq!((moved.csum_start, moved.hdr_len), (38, 58));
        assert_eq!(tagged_bytes[10..18], [10, 11, 0x88, 0xa8, 0x20, 0x01, 12, 13]);
        assert_eq!(tagged(header, bytes.clone(), 0), (header, bytes));
    }
}

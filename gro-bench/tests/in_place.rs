//! In-place mode on shipped traces: injected at the ingress of an interface, seen behind it as its stack sees them, and cut up
//! again. No frame is lost, doubled, changed or out of order within its flow; VLAN tags and marks are those that the frames had.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use bytes::Bytes;
use every_backend::lanes::{Lane, Lanes, Losses, difference, lane, lanes, vlan};
use every_backend::{Tcp, shipped};
use gro_bench::Record;
use gro_bench::sandbox::{self, Capture, Captured, INGRESS, Sandbox, SandboxError};
use gro_bench::segment::segment;
use gro_bench::trace::{Frame, Trace};
use gro_core::complete::{GSO_TCP_FIXEDID, GSO_TCPV4, GSO_TCPV6};
use gro_core::{Config, Release};
use gro_ebpf::live::{Attachment, Hook, Options, Snapshot};
use gro_ebpf::{Forwarder, Injector, LoadError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[test]
fn bulk_comes_back_frame_by_frame() {
    for (name, least) in
        [("tcp4-bulk", 3.0), ("tcp6-bulk", 3.0), ("tcp-many-flows", 1.3), ("tcp-sack-loss", 1.5)]
    {
        let trace = shipped(name);
        let Some(run) = inject(&trace, &Setup::default()) else { return };
        run.compare(&trace, &Losses::default());
        let ratio = run.snapshot.wire_packets as f64 / run.snapshot.packets as f64;
        assert!(ratio > least, "{name}: {ratio:.2} frames a packet");
        run.is_healthy();
    }
}

/// Every named case, VLAN tags among them. Urgent pointers are lost as in every merge (see `resegment.rs`).
#[test]
fn tcp_mixed_comes_back_but_for_urgent_pointers() {
    let trace = shipped("tcp-mixed");
    let losses = Losses::of_tcp_mixed(&trace);
    let Some(run) = inject(&trace, &Setup { forwarded: true, ..Setup::default() }) else { return };
    assert!(run.seen.iter().any(|packet| packet.vlan != 0));
    run.compare(&trace, &losses);
    run.is_healthy();
}

/// One of twenty carriers is lost on its way; then buffers or numbers are too few. Everything arrives all the same, once.
#[test]
fn what_is_lost_on_the_way_round_is_delivered() {
    let trace = shipped("tcp-many-flows");
    let whole = Losses::default();
    let Some(run) = inject(&trace, &Setup { lose: 20, ..Setup::default() }) else { return };
    run.compare(&trace, &whole);
    let carriers = run.snapshot.carriers;
    assert!(carriers.lost > 10 && carriers.lost == carriers.recovered, "{carriers:?}");
    assert_eq!((run.snapshot.guards.socket, run.snapshot.guards.helper_errors), (0, 0));

    // Every one of them, so that many are lost in a row, and the drain has to deliver what is left.
    let run = inject(&trace, &Setup { lose: 1, ..Setup::default() }).unwrap();
    run.compare(&trace, &whole);

    let run = inject(&trace, &Setup { carriers: 2, ..Setup::default() }).unwrap();
    run.compare(&trace, &whole);
    assert!(run.snapshot.guards.no_buffer > 0);

    // Without a number nothing can wait its turn: order across what is held is lost, and counted.
    let run = inject(&trace, &Setup { flights: 2, ..Setup::default() }).unwrap();
    let any_order = Losses { order: run.lanes(&trace, &whole).keys().cloned().collect(), ..whole };
    run.compare(&trace, &any_order);
    assert!(run.snapshot.guards.no_number > 0);
}

/// By both hooks, and with a mark on every frame: of our own kind, of a drain, and any.
#[test]
fn marks_survive() {
    let trace = shipped("tcp4-bulk");
    for (hook, mark) in [(Hook::Tcx, 0x6700_0001), (Hook::Clsact, 0x6b69_636b), (Hook::Tcx, 0x1234_5678)] {
        let Some(run) = inject(&trace, &Setup { hook, mark, ..Setup::default() }) else { return };
        run.compare(&trace, &Losses::default());
        assert!(run.seen.iter().all(|packet| packet.mark == mark), "{hook:?} {mark:#x}");
        run.is_healthy();
    }
}

/// How a run is set up.
#[derive(Clone, Copy)]
struct Setup {
    carriers: u32,
    flights: u32,
    lose: u32,
    hook: Hook,
    mark: u32,
    /// Seen behind another interface, where a program behind ours leads everything: with VLAN tags, which the stack takes off for
    /// its sockets when it has no such device.
    forwarded: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { carriers: 128, flights: 2048, lose: 0, hook: Hook::Tcx, mark: 0, forwarded: false }
    }
}

/// What a run gave.
struct Run {
    seen: Vec<Captured>,
    snapshot: Snapshot,
}

/// What kept a run from being made.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Live(#[from] gro_ebpf::live::LiveError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// `None` where it may not be, said aloud.
fn inject(trace: &Trace, setup: &Setup) -> Option<Run> {
    match sandbox::run(|sandbox| Run::new(sandbox, trace, setup)) {
        Ok(run) => Some(run),
        Err(Trouble::Sandbox(why @ (SandboxError::Capability | SandboxError::Unsupported(_)))) => {
            eprintln!("skipped: {why}");
            None
        }
        Err(why) => panic!("{}: {why}", trace.name),
    }
}

impl Run {
    fn new(sandbox: &Sandbox, trace: &Trace, setup: &Setup) -> Result<Self, Trouble> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let attachment = Attachment::attach(&Options {
            interface: INGRESS.into(),
            first: true,
            pin: PathBuf::from(format!("/sys/fs/bpf/gro-test-{}-{number}", std::process::id())),
            config: Config::TC,
            // The trace's hosts are elsewhere.
            forwarding: true,
            profile: Release::default(),
            carriers: setup.carriers,
            flights: setup.flights,
            hook: Some(setup.hook),
            notes: String::new(),
            drop_carriers: setup.lose,
        })?;
        let mut injector = Injector::load()?;
        let mut captures = Vec::new();
        let mut forwarder = None;
        if setup.forwarded {
            forwarder = Some(Forwarder::attach(INGRESS, sandbox.deliver)?);
            injector.sink(sandbox::CAPTURE)?;
            captures.push(Capture::open(sandbox.capture)?);
        } else {
            for ethertype in [libc::ETH_P_IP, libc::ETH_P_IPV6] {
                captures.push(Capture::listen(sandbox.ingress, ethertype as u16)?);
            }
        }
        let mut seen = Vec::new();
        for poll in &trace.polls {
            for frames in trace.frames[poll.frames.clone()].chunks(64) {
                let batch: Vec<_> = frames
                    .iter()
                    .filter(|frame| is_ip(frame))
                    .map(|frame| injected(frame, setup.mark))
                    .collect();
                injector.send(sandbox.inject, &batch)?;
            }
            for capture in &mut captures {
                seen.extend(capture.drain(Duration::ZERO)?);
            }
        }
        let snapshot = attachment.snapshot()?;
        // What is still on its way, or was lost at the very end, comes with the drain.
        attachment.detach()?;
        for capture in &mut captures {
            seen.extend(capture.drain(Duration::from_millis(50))?);
            assert_eq!(capture.lost()?, 0, "the capture was too slow");
        }
        drop(forwarder);
        Ok(Self { seen, snapshot })
    }

    /// Every frame came back, in each lane in order.
    fn compare(&self, trace: &Trace, losses: &Losses) {
        let sent = sent(trace, losses);
        if let Some(difference) = difference(&sent, &self.lanes(trace, losses)) {
            panic!("{}: {difference}", trace.name);
        }
    }

    fn lanes(&self, trace: &Trace, losses: &Losses) -> Lanes {
        let mut left: BTreeMap<Lane, Vec<&Frame>> = BTreeMap::new();
        for frame in trace.frames.iter().filter(|frame| is_ip(frame)) {
            left.entry(lane(&frame.bytes, vlan(frame.vlan))).or_default().push(frame);
        }
        let frames = self.seen.iter().flat_map(|packet| {
            // A merged packet has a good checksum, and so the lane of its frames.
            let of_lane = left.entry(lane(&packet.bytes, packet.vlan)).or_default();
            let record = record(packet, of_lane);
            segment(&record)
                .unwrap_or_else(|_| vec![record.bytes])
                .into_iter()
                .map(|frame| (frame, packet.vlan))
        });
        with_overtaking_sorted(lanes(frames, losses))
    }

    fn is_healthy(&self) {
        let (carriers, guards) = (self.snapshot.carriers, self.snapshot.guards);
        assert_eq!((carriers.lost, carriers.lost_frames, carriers.astray), (0, 0, 0));
        let bad = [guards.socket, guards.no_number, guards.helper_errors, guards.truncated];
        assert_eq!(bad, [0; 4], "{guards:?}");
    }
}

fn sent(trace: &Trace, losses: &Losses) -> Lanes {
    let frames = trace.frames.iter().filter(|frame| is_ip(frame));
    with_overtaking_sorted(lanes(frames.map(|frame| (frame.bytes.clone(), vlan(frame.vlan))), losses))
}

/// Frames that GRO does not look at are of many flows, which are captured apart.
fn with_overtaking_sorted(mut lanes: Lanes) -> Lanes {
    lanes.entry(Lane::Overtaking).or_default().sort();
    lanes
}

/// The packet with what an skb could not say: the size and number of its segments, which are those of the frames that are next in
/// its lane. Whatever the packet is, what it is cut into is compared with these frames afterwards.
fn record(packet: &Captured, left: &mut Vec<&Frame>) -> Record {
    let mut record = Record {
        bytes: Bytes::from(packet.bytes.clone()),
        gso_size: 0,
        segs: 1,
        gso_type: 0,
        vlan: packet.vlan,
        first: None,
        last: None,
        why: None,
    };
    let payload = |bytes: &[u8]| Tcp::parse(bytes).map_or(0, |tcp| tcp.payload().len());
    let (whole, ipv6) = (payload(&packet.bytes), packet.bytes[12] == 0x86);
    // Where order is lost, the packet starts somewhere among them.
    let sequence = |bytes: &[u8]| Tcp::parse(bytes).map(|tcp| tcp.sequence());
    let start = left.iter().position(|frame| sequence(&frame.bytes) == sequence(&packet.bytes)).unwrap_or(0);
    let mut frames = left[start..].iter();
    let Some(first) = frames.next() else { return record };
    let mut covered = payload(&first.bytes);
    while covered < whole {
        let Some(next) = frames.next() else { break };
        if record.segs == 1 && !ipv6 && next.bytes[18..20] == first.bytes[18..20] {
            record.gso_type |= GSO_TCP_FIXEDID;
        }
        covered += payload(&next.bytes);
        record.segs += 1;
    }
    let first =
        left.drain(start..start + record.segs as usize).next().map_or(0, |first| payload(&first.bytes));
    if record.segs > 1 {
        record.gso_size = first as u32;
        record.gso_type |= if ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
    }
    record
}

/// What the sockets behind tc take: the trace's other frames are for others.
fn is_ip(frame: &Frame) -> bool {
    matches!(frame.bytes.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd])) && frame.bytes.len() >= 34
}

fn injected(frame: &Frame, mark: u32) -> gro_ebpf::Frame<'_> {
    gro_ebpf::Frame { bytes: &frame.bytes, hash: frame.hash, vlan: vlan(frame.vlan), mark }
}

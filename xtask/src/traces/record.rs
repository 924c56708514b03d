//! `tcp4-bulk` and `tcp6-bulk`: what the kernel's own TCP puts on a wire that loses and reorders.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aya::maps::Array;
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};

use super::flows;
use super::forward::{Forwarded, Forwarder};
use super::namespace::{Namespaces, Place};

/// A recording and how it came about.
pub(super) struct Recording {
    pub(super) frames: Vec<(u64, Vec<u8>)>,
    /// Segments that the senders' kernels sent again.
    pub(super) retransmitted: u64,
    /// Frames that the tc program dropped.
    pub(super) dropped: u64,
    /// Frames that others overtook.
    pub(super) delayed: usize,
}

/// Records one family. `loss_object` is the built program, `stop` ends the work early with an error.
///
/// # Errors
/// Missing rights or tools, a flow that fails, or no end within [`PATIENCE`].
pub(super) fn record(v6: bool, seed: u64, loss_object: &Path, stop: &AtomicBool) -> Result<Recording> {
    let hosts = Namespaces::create(v6)?;
    let deadline = Instant::now() + PATIENCE;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ready, started) = std::sync::mpsc::channel();
        let (hosts, done) = (&hosts, &done);
        let middle = scope.spawn(move || middle(hosts, seed, loss_object, done, deadline, &ready));
        let flows = match started.recv() {
            Ok(()) => flows::run(hosts, stop, deadline),
            // The other thread's error says why.
            Err(_) => Ok(0),
        };
        done.store(true, Ordering::Relaxed);
        let middle = middle.join().unwrap_or_else(|_| bail!("the forwarder panicked"));
        let (forwarded, dropped) = middle?;
        let retransmitted = flows?;
        Ok(Recording { frames: forwarded.frames, retransmitted, dropped, delayed: forwarded.delayed })
    })
}

/// The longest a recording may take; it usually takes seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Frames lost of 65,536: about 0.6 %.
const LOSS: u32 = 400;

/// The box between the hosts, on a thread of its own: loss at the ingress of both devices, then the forwarder.
fn middle(
    hosts: &Namespaces,
    seed: u64,
    loss_object: &Path,
    done: &AtomicBool,
    deadline: Instant,
    ready: &std::sync::mpsc::Sender<()>,
) -> Result<(Forwarded, u64)> {
    hosts.enter(Place::Middle)?;
    let forwarder = Forwarder::open(["ma", "mb"], hosts.v6, seed)?;
    // One program a device, so that each direction has a generator of its own. Dropping them detaches them.
    let programs = [lossy("ma", seed | 1, loss_object)?, lossy("mb", (seed << 1) | 1, loss_object)?];
    ready.send(()).ok();
    let forwarded = forwarder.run(done, deadline)?;
    let mut dropped = 0;
    for program in &programs {
        let counters: Array<_, u64> = Array::try_from(program.map("COUNTERS").context("no map COUNTERS")?)?;
        dropped += counters.get(&2, 0)?;
    }
    Ok((forwarded, dropped))
}

fn lossy(device: &str, seed: u64, object: &Path) -> Result<Ebpf> {
    let mut loaded = EbpfLoader::new()
        .override_global("SEED", &seed, true)
        .override_global("RATE", &LOSS, true)
        .load_file(object)
        .with_context(|| format!("cannot load {}; build it with `cargo xtask images`", object.display()))?;
    let program: &mut SchedClassifier =
        loaded.program_mut("loss").context("no program `loss`")?.try_into()?;
    program.load().context("the kernel refuses the loss program")?;
    if aya::util::KernelVersion::current()
        .is_ok_and(|version| version < aya::util::KernelVersion::new(6, 6, 0))
    {
        // Before TCX (6.6) a classifier needs the qdisc, which goes away with its device.
        let _ = aya::programs::tc::qdisc_add_clsact(device);
    }
    program
        .attach(device, TcAttachType::Ingress)
        .with_context(|| format!("cannot attach loss to {device}"))?;
    Ok(loaded)
}

//! Recording what the kernel's own TCP and UDP put on a wire that may lose and reorder.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::Array;
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};

use super::forward::{Forwarded, Forwarder};
use super::namespace::{Families, Namespaces, Place};

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

/// What is recorded, and what the wire does to it.
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) families: Families,
    /// The IP protocol that is forwarded and recorded.
    pub(super) protocol: u8,
    /// Frames lost of 65,536.
    pub(super) loss: u32,
    /// Frames held back of 1024, so that others overtake them.
    pub(super) delayed: u64,
    /// Runs all flows to their end and counts the segments that the senders' kernels sent again.
    pub(super) traffic: fn(&Namespaces, Bound<'_>) -> Result<u64>,
}

/// Until when a thread may work.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    stop: &'a AtomicBool,
    deadline: Instant,
}

impl Bound<'_> {
    /// # Errors
    /// The time is over, or the user ended it.
    pub(super) fn check(self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), "interrupted");
        ensure!(
            Instant::now() < self.deadline,
            "the flows are not done in time; the machine is too busy, try again"
        );
        Ok(())
    }
}

/// Records a plan. `loss_object` is the built program, `stop` ends the work early with an error.
///
/// # Errors
/// Missing rights or tools, a flow that fails, or no end within [`PATIENCE`].
pub(super) fn record(plan: &Plan, seed: u64, loss_object: &Path, stop: &AtomicBool) -> Result<Recording> {
    let hosts = Namespaces::create(plan.name, plan.families)?;
    let deadline = Instant::now() + PATIENCE;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ready, started) = std::sync::mpsc::channel();
        let (hosts, done) = (&hosts, &done);
        let middle = scope.spawn(move || middle(hosts, plan, seed, loss_object, done, deadline, &ready));
        let flows = match started.recv() {
            Ok(()) => (plan.traffic)(hosts, Bound { stop, deadline }),
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

/// The box between the hosts, on a thread of its own: loss at the ingress of both devices, then the forwarder.
fn middle(
    hosts: &Namespaces,
    plan: &Plan,
    seed: u64,
    loss_object: &Path,
    done: &AtomicBool,
    deadline: Instant,
    ready: &std::sync::mpsc::Sender<()>,
) -> Result<(Forwarded, u64)> {
    hosts.enter(Place::Middle)?;
    let forwarder = Forwarder::open(["ma", "mb"], plan, seed)?;
    // One program a device, so that each direction has a generator of its own. Dropping them detaches them.
    let devices: &[_] = if plan.loss > 0 { &[("ma", seed | 1), ("mb", seed << 1 | 1)] } else { &[] };
    let programs = devices.iter().map(|&(device, seed)| lossy(device, seed, plan.loss, loss_object));
    let programs = programs.collect::<Result<Vec<_>>>()?;
    ready.send(()).ok();
    let forwarded = forwarder.run(done, deadline)?;
    let mut dropped = 0;
    for program in &programs {
        let counters: Array<_, u64> = Array::try_from(program.map("COUNTERS").context("no map COUNTERS")?)?;
        dropped += counters.get(&2, 0)?;
    }
    Ok((forwarded, dropped))
}

fn lossy(device: &str, seed: u64, rate: u32, object: &Path) -> Result<Ebpf> {
    let mut loaded = EbpfLoader::new()
        .override_global("SEED", &seed, true)
        .override_global("RATE", &rate, true)
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

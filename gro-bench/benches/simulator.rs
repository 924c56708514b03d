//! How fast the simulated NIC executes: `tcp4-bulk` through the driver, of which only the time inside the machine counts.
//!
//! `cargo bench -p gro-bench --bench simulator`; criterion reports instructions a second of processor time, so that others on the machine
//! do not count. Cycles and instructions are being counted.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gro_bench::schedule::{Step, schedule};
use gro_bench::trace::Trace;
use gro_core::{Config, Meta};
use gro_nic::machine::{Core as _, Machine, Watched};
use gro_nic::{Image, Nic, NicConfig};
use std::cell::Cell;
use std::error::Error;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

criterion_group!(benches, simulator);
criterion_main!(benches);

fn simulator(criterion: &mut Criterion) {
    if let Err(error) = measure(criterion) {
        eprintln!("{error}");
        std::process::exit(2);
    }
}

fn measure(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let trace = Trace::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/tcp4-bulk.pcapng.zst"))?;
    let image = Image::parse(gro_nic::LINUX_6_18)?;
    let (_, instructions) = run(&image, &trace)?;
    let mut group = criterion.benchmark_group("simulator");
    group.throughput(Throughput::Elements(instructions)).sample_size(20);
    let mut failed = None;
    group.bench_function("tcp4-bulk", |bencher| {
        bencher.iter_custom(|rounds| {
            let one = |_| match run(&image, &trace) {
                Ok((time, _)) => time,
                Err(error) => {
                    failed = Some(error);
                    Duration::from_secs(1)
                }
            };
            (0..rounds).map(one).sum()
        });
    });
    group.finish();
    failed.map_or(Ok(()), Err)
}

/// Time inside the machine, and instructions.
fn run(image: &Image, trace: &Trace) -> Result<(Duration, u64), Box<dyn Error>> {
    let spent = Rc::new(Cell::new(Duration::ZERO));
    let watch = spent.clone();
    let core = Watched::new(Machine::new(image), move |machine, budget| {
        let start = now();
        let stop = machine.run(budget);
        watch.set(watch.get() + now().saturating_sub(start));
        stop
    });
    let config = Config::DEFAULT;
    let mut nic = Nic::on(core, image, &NicConfig { engine: config, ..NicConfig::default() })?;
    for step in schedule(trace, &config) {
        match step {
            Step::Poll { frames, jiffies } => {
                nic.time(jiffies);
                for frame in &trace.frames[frames] {
                    nic.post(frame.bytes.clone(), Meta { hash: frame.hash, vlan: 0, verified: false });
                }
                nic.poll_end();
            }
            Step::Tick { jiffies } => {
                nic.time(jiffies);
                nic.tick();
            }
        }
        nic.deliver(&mut |packet| drop(packet))?;
    }
    Ok((spent.get(), nic.instructions()))
}

/// Processor time of this thread.
#[cfg(target_os = "linux")]
fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a `timespec` of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Time since the first call.
#[cfg(not(target_os = "linux"))]
fn now() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

//! What the userspace engine costs a frame: `tcp4-bulk`, frames in as `Bytes`, packets dropped where they come out.
//!
//! `cargo bench -p gro-bench --bench user`; criterion reports frames a second and the time of a whole trace.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gro_bench::trace::{Trace, Vlan};
use gro_core::user::{Delivered, Engine};
use gro_core::{Config, Linux618, Meta};
use std::hint::black_box;
use std::ops::Range;
use std::path::Path;

criterion_group!(benches, user);
criterion_main!(benches);

fn user(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/tcp4-bulk.pcapng.zst");
    let trace = match Trace::open(&path) {
        Ok(trace) => trace,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let polls: Vec<Range<usize>> = trace.polls.iter().map(|poll| poll.frames.clone()).collect();
    let mut group = criterion.benchmark_group("user/tcp4-bulk");
    group.throughput(Throughput::Elements(trace.frames.len() as u64));
    for (name, verified) in [("verified by the NIC", true), ("verified here", false)] {
        let frames = input(&trace, verified);
        let mut engine = Engine::<Linux618>::new(Config::DEFAULT);
        // A receiver owns its frames when they come: the handles are made outside the measurement and dropped inside it.
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || frames.clone(),
                |frames| run(&mut engine, frames, &polls),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn run(engine: &mut Engine<Linux618>, frames: Vec<(Bytes, Meta)>, polls: &[Range<usize>]) {
    let mut sink = |packet: Delivered| drop(black_box(packet));
    let mut frames = frames.into_iter();
    for poll in polls {
        for (frame, meta) in frames.by_ref().take(poll.len()) {
            engine.receive(frame, meta, &mut sink);
        }
        engine.poll_end(&mut sink);
    }
}

fn input(trace: &Trace, verified: bool) -> Vec<(Bytes, Meta)> {
    let word = |tag: Vlan| u32::from(tag.tpid) << 16 | u32::from(tag.tci);
    let frames = trace.frames.iter();
    frames
        .map(|frame| {
            (frame.bytes.clone(), Meta { hash: frame.hash, vlan: frame.vlan.map_or(0, word), verified })
        })
        .collect()
}

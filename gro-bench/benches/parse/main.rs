//! What the generated parser costs a frame, beside the parser written by hand that it replaced.
//!
//! `cargo bench -p gro-bench --bench parse`; the headers of the first frames of each trace, hot in the cache.

mod hand_written;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gro_bench::trace::Trace;
use gro_core::{Config, Header, Linux618, Packet, UdpMode, Window};
use std::hint::black_box;
use std::path::Path;

criterion_group!(benches, parse);
criterion_main!(benches);

/// Frames of a trace; their headers fit a second-level cache.
const FRAMES: usize = 1_000;

fn parse(criterion: &mut Criterion) {
    let config = Config { udp: UdpMode::Forwarding, ..Config::DEFAULT };
    for name in ["tcp4-bulk", "tcp6-bulk", "tcp-mixed", "udp4-bulk"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../traces/{name}.pcapng.zst"));
        let headers = match headers(&path) {
            Ok(headers) => headers,
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(2);
            }
        };
        let mut group = criterion.benchmark_group("parse");
        group.throughput(Throughput::Elements(headers.len() as u64));
        group.bench_with_input(BenchmarkId::new("by hand", name), &headers, |bencher, headers| {
            let mut packet = hand_written::Packet::EMPTY;
            bencher.iter(|| {
                for (bytes, len) in headers {
                    let window = Window::new(bytes, *len);
                    black_box(hand_written::parse::<Linux618>(&window, &config, &mut packet).is_ok());
                    black_box(&packet);
                }
            });
        });
        group.bench_with_input(BenchmarkId::new("generated", name), &headers, |bencher, headers| {
            let mut packet = Packet::EMPTY;
            bencher.iter(|| {
                for (bytes, len) in headers {
                    let window = Window::new(bytes, *len);
                    black_box(gro_core::parse::parse::<Linux618>(&window, &config, &mut packet).is_ok());
                    black_box(&packet);
                }
            });
        });
        group.finish();
    }
}

fn headers(path: &Path) -> Result<Vec<(Header, u32)>, gro_bench::trace::TraceError> {
    let trace = Trace::open(path)?;
    let storage = |bytes: &[u8]| {
        let mut storage = Header::ZERO;
        storage.load(bytes);
        (storage, bytes.len() as u32)
    };
    Ok(trace.frames.iter().take(FRAMES).map(|frame| storage(&frame.bytes)).collect())
}

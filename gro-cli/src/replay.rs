//! `gro replay`

use anyhow::{Context as _, bail};
use gro_bench::trace::{PcapngWriter, Rules, Trace};
use gro_bench::{BackendError, EngineConfig, backend};
use gro_core::Config;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Run a capture through one backend and write what it delivers.
///
/// The capture is read whole, then written. Every merged packet carries a comment such as `segs=12 gso_size=1448 first=#31
/// last=#42 flush=psh` (the kernel tells the first two only); frame numbers count from 0. The written packets have complete checksums.
/// Tools on libpcap refuse packets over 262,144 bytes, which BIG TCP can make; `gro` reads them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  gro replay -r in.pcapng -w out.pcapng\n  tcpdump -c 10000 -w - | gro replay -r - -w - | tcpdump -r -"
)]
pub(crate) struct Args {
    /// Capture to read (pcapng or pcap, plain or zstd; `-` for standard input)
    #[arg(short, value_name = "FILE")]
    read: PathBuf,
    /// pcapng to write (`-` for standard output)
    #[arg(short, value_name = "FILE")]
    write: PathBuf,
    /// Backend that runs it
    #[arg(long, default_value = "user")]
    backend: String,
    #[command(flatten)]
    engine: crate::engine::EngineArgs,
    /// Use the first N frames only
    #[arg(short, value_name = "N")]
    count: Option<usize>,
    /// Print a summary as JSON on standard error
    #[arg(short, long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Summary<'a> {
    schema: u32,
    backend: &'a str,
    frames: usize,
    packets: usize,
    merged: usize,
    output_digest: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let Some(mut backend) = backend::by_name(&args.backend) else {
        let known: Vec<_> =
            backend::all().iter().chain(&backend::referees()).map(|backend| backend.name()).collect();
        bail!("--backend {}: there is no such backend; there are {}", args.backend, known.join(", "));
    };
    let mut trace = if crate::verify::is_stdin(&args.read) {
        Trace::read("standard input", std::io::stdin().lock(), &Rules::default())?
    } else {
        Trace::open(&args.read)?
    };
    if let Some(count) = args.count {
        shorten(&mut trace, count);
    }
    let engine = EngineConfig {
        profile: args.engine.profile(),
        ..EngineConfig::of(args.engine.config(Config::DEFAULT))
    };
    let outcome = match backend.run(&trace, &engine) {
        Ok(outcome) => outcome,
        Err(BackendError::Skipped(why)) => bail!("{} cannot run here: {why}", args.backend),
        Err(BackendError::NotApplicable(why)) => bail!("{} cannot run this: {why}", args.backend),
        Err(BackendError::Failed(why)) => bail!("{} failed: {why}", args.backend),
    };

    if is_same_file(&args.read, &args.write) {
        bail!("-w {}: that is the capture being read; name another file", args.write.display());
    }
    let sink: Box<dyn Write> = if crate::verify::is_stdin(&args.write) {
        Box::new(std::io::stdout().lock())
    } else {
        let file =
            File::create(&args.write).with_context(|| format!("cannot write {}", args.write.display()))?;
        Box::new(BufWriter::new(file))
    };
    let mut writer = PcapngWriter::new(sink, &format!("delivered by gro, backend {}", args.backend))?;
    let (mut merged, mut segs) = (0, 0);
    for record in &outcome.records {
        segs += record.segs as usize;
        // A backend that does not tell delivers a poll's frames within that poll.
        let last = record.last.map_or(segs - 1, |last| last as usize);
        let time = trace.frames.get(last).map_or(0, |frame| frame.time_ns);
        let comment = (record.segs > 1).then(|| {
            let mut text = format!("segs={} gso_size={}", record.segs, record.gso_size);
            // The kernel does not tell these.
            if let (Some(first), Some(last), Some(why)) = (record.first, record.last, record.why) {
                text += &format!(" first=#{first} last=#{last} flush={}", why.name());
            }
            text
        });
        merged += usize::from(record.segs > 1);
        let bytes = with_tag(&record.bytes, record.vlan);
        writer.write(time, &bytes, comment.as_deref())?;
    }
    writer.finish()?.flush()?;
    let summary = Summary {
        schema: 1,
        backend: &args.backend,
        frames: trace.frames.len(),
        packets: outcome.records.len(),
        merged,
        output_digest: gro_bench::hex(&outcome.output_digest()),
    };
    if args.json {
        eprintln!("{}", serde_json::to_string(&summary)?);
    } else {
        let Summary { frames, packets, merged, .. } = summary;
        eprintln!("{frames} frames in, {packets} packets out, {merged} of them merged");
    }
    Ok(0)
}

fn is_same_file(read: &Path, write: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(read).is_some_and(|read| real(write) == Some(read))
}

/// A capture file has no metadata: the tag goes back into the bytes.
fn with_tag(bytes: &[u8], vlan: u32) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    if vlan != 0 && frame.len() >= 12 {
        frame.splice(12..12, vlan.to_be_bytes());
    }
    frame
}

fn shorten(trace: &mut Trace, count: usize) {
    trace.frames.truncate(count);
    trace.polls.retain(|poll| poll.frames.start < count);
    if let Some(last) = trace.polls.last_mut() {
        last.frames.end = last.frames.end.min(count);
    }
}

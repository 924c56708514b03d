//! `gro nic bench`

use anyhow::bail;
use gro_bench::budget::{AtRate, Budget, Cycles, Options, SCHEMA, budget};
use gro_bench::trace::{Manifest, Trace};
use gro_core::Config;
use gro_nic::Image;
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;

/// Say what an image costs on a trace, and how many cores line rate takes.
///
/// Every instruction of the image is run on the simulator, and its cycles go to the event that they were spent on. At 100, 200 and 400 Gb/s
/// a card is then run in simulated time with as many cores as that takes, with one less, and with the trace's flows steered by RSS hash;
/// what is lost is counted. The sum over a frame is the port's, as with a real MAC.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  gro nic bench traces/tcp4-bulk.pcapng.zst\n  \
                        gro nic bench --image my.nicimg -j capture.pcapng | jq '.traces[].cycles_per_frame'\n\n\
                        Exit status: 0 done, 2 IMAGE or a trace cannot be read, or the image fails.")]
pub(super) struct BenchArgs {
    /// A .nicimg file; the committed image of linux-6.18 if not given
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Capture files or folders of them; the shipped traces if none is given
    traces: Vec<PathBuf>,
    /// Clock of a core
    #[arg(long, value_name = "GHZ", default_value_t = 1.0)]
    ghz: f64,
    /// Frames of a live run at least, 0 for none
    #[arg(long, value_name = "N", default_value_t = Options::default().frames, value_parser = frames)]
    frames: usize,
    /// Entries of a lane's RX ring
    #[arg(long, value_name = "N", default_value_t = Options::default().rx_entries)]
    rx_entries: u32,
    /// Print JSON (schema 1)
    #[arg(short, long)]
    json: bool,
}

/// More would not fit memory.
fn frames(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(frames) if frames <= 10_000_000 => Ok(frames),
        _ => Err("0 to 10000000".to_owned()),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    image: String,
    profile: &'a str,
    ghz: f64,
    traces: Vec<Budget>,
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<u8> {
    if !(args.ghz > 0.0 && args.ghz <= 1_000.0) {
        bail!("--ghz {}: a clock above 0 and up to 1000 is needed", args.ghz);
    }
    let image = match &args.image {
        Some(path) => super::open(path)?,
        None => Image::parse(gro_nic::LINUX_6_18)?,
    };
    let options = Options { hertz: args.ghz * 1e9, frames: args.frames, rx_entries: args.rx_entries };
    let mut out = std::io::stdout().lock();
    let mut traces = Vec::new();
    for path in crate::verify::traces(&args.traces)? {
        let trace = Trace::open(&path)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let entry = Manifest::beside(&path)?.and_then(|manifest| manifest.entry(&file).cloned());
        let config = entry.map_or(Config::DEFAULT, |entry| entry.under(Config::DEFAULT));
        let budget = budget(&image, &trace, &config, &options)?;
        if !args.json {
            print(&mut out, &budget)?;
        }
        traces.push(budget);
    }
    if args.json {
        let document = Document {
            schema: SCHEMA,
            image: gro_bench::hex(&image.id),
            profile: &image.profile,
            ghz: args.ghz,
            traces,
        };
        writeln!(out, "{}", serde_json::to_string(&document)?)?;
    }
    Ok(0)
}

fn print(out: &mut impl std::io::Write, budget: &Budget) -> std::io::Result<()> {
    let Budget { trace, frames, mean_bytes, packets, of_frames, of_others, .. } = budget;
    writeln!(out, "{trace}: {frames} frames of {mean_bytes:.0} bytes in the mean, {packets} packets out")?;
    writeln!(
        out,
        "  a frame takes {:.1} instructions and {:.1} cycles; {:.2} million frames a second per GHz",
        budget.instructions_per_frame,
        budget.cycles_per_frame,
        budget.frames_per_second_per_ghz / 1e6
    )?;
    for (name, cycles) in [("frames", of_frames), ("others", of_others)] {
        let Cycles { count, mean, median, p99, max } = cycles;
        writeln!(
            out,
            "  {name:6} {count:>7}: cycles mean {mean:.1}, median {median}, 99 % {p99}, largest {max}"
        )?;
    }
    writeln!(out, "  Gb/s  bytes  Mframes/s  cores   lost  one less   by RSS: lanes  used  fullest   lost")?;
    for row in &budget.at {
        let AtRate { gigabit, frame_bytes, frames_per_second, cores, .. } = row;
        let bytes = frame_bytes.map_or("own".to_owned(), |bytes| bytes.to_string());
        write!(out, "  {gigabit:>4}  {bytes:>5}  {:>9.2}  {cores:>5}", frames_per_second / 1e6)?;
        write!(out, "  {}    {}", share(row.lost_with_cores), share(row.lost_with_one_less))?;
        match row.by_rss {
            Some(rss) => {
                let (fullest, lost) = (share(Some(rss.fullest)), share(Some(rss.lost)));
                writeln!(out, "           {:>5} {:>5}   {fullest} {lost}", rss.lanes, rss.used)?;
            }
            None => writeln!(out)?,
        }
    }
    writeln!(out)
}

/// In percent; six places wide.
fn share(share: Option<f64>) -> String {
    share.map_or("     -".to_owned(), |share| format!("{:>5.1}%", share * 100.0))
}

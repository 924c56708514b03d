//! `gro nic run` and `gro offload` on live traffic: small cells of what `cargo xtask acceptance nic` measures in full.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_bench::live::traffic::{self, Load};
use gro_bench::live::{
    Counters, GsoWatch, Handover, KernelLog, LiveError, Options, Place, RunningNic, Topology,
};
use gro_bench::trace::Trace;
use gro_bench::{EngineConfig, backend};
use gro_core::{Config, Release};
use gro_nic::{Image, ImageBuilder};
use std::path::Path;
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const GRO: &str = env!("CARGO_BIN_EXE_gro");

/// One at a time: each uses all of a small machine.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two hosts, or `None` without the rights.
fn hosts(options: Options) -> Option<Topology> {
    match Topology::build(options) {
        Ok(topology) => Some(topology),
        Err(error @ LiveError::Capability) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn counters(topology: &Topology) -> Counters {
    topology.host(Place::B).within(Counters::read).unwrap()
}

/// Exit status and what was said.
fn said(output: &Output) -> (i32, String) {
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

#[test]
fn a_stack_gets_what_the_completions_say() {
    let _turn = turn();
    for (checksum_offload, lanes) in [(false, "1"), (true, "2")] {
        let Some(topology) = hosts(Options { checksum_offload, ..Options::default() }) else { return };
        let before = counters(&topology);
        let mut log = KernelLog::watch().unwrap();
        let nic = RunningNic::start(&topology, Path::new(GRO), &["--lanes", lanes]).unwrap();
        let mut segments = 0;
        for ipv6 in [false, true] {
            let watch = GsoWatch::start(topology.host(Place::B), "b0", ipv6).unwrap();
            let start = nic.status().unwrap().counters;
            let load = Load { flows: 4, bytes: 40_000_000, ipv6, ..Load::default() };
            let carried = traffic::run(&topology, &load).unwrap();
            assert!(carried.is_intact() && carried.bytes() == load.bytes, "{carried:?}");
            // What a lane counted is published 10 ms later.
            std::thread::sleep(Duration::from_millis(150));
            let seen = watch.end().unwrap();
            let written = nic.status().unwrap().counters.since(&start);
            assert_eq!(seen.dropped, 0, "the watch lost packets: {seen:?}");
            assert_eq!(
                (seen.merged, seen.segments),
                (written.merged_packets, written.merged_packets + written.merged_segments),
                "ipv6 {ipv6}: {seen:?} {written:?}"
            );
            assert!(written.segments_a_merge() > 4.0 && seen.longest > 16_000, "{seen:?} {written:?}");
            segments += seen.segments;
        }
        let last = nic.stop().unwrap();
        assert!(last.coalesce && last.counters.guards["tap_refused"] == 0, "{last:?}");
        assert!(last.counters.merged_segments + last.counters.merged_packets == segments, "{last:?}");
        let counted = counters(&topology).since(&before);
        assert_eq!((counted.get("TcpInErrs"), counted.get("TcpInCsumErrors")), (0, 0));
        assert_eq!(log.warnings(), Vec::<String>::new());
        // Without it frames go their usual way.
        assert!(traffic::run(&topology, &Load { bytes: 1_000_000, ..Load::default() }).unwrap().is_intact());
    }
}

/// A capture goes through the device as through userspace.
#[test]
fn a_capture_is_played_and_decided_as_in_userspace() {
    let _turn = turn();
    let Some(topology) = hosts(Options::default()) else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/tcp-mixed.pcapng.zst");
    let output = topology
        .host(Place::B)
        .within(|| {
            let mut command = std::process::Command::new(GRO);
            command.args(["nic", "run", "-j", "--tap", "gro1", "--rx"]).arg(&file);
            Ok::<_, LiveError>(command.output().unwrap())
        })
        .unwrap();
    assert_eq!(said(&output).0, 0, "{}", said(&output).1);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let counters = &status["counters"];

    let trace = Trace::open(&file).unwrap();
    let config = Config { tunnels: 0, ..Config::DEFAULT };
    let profile = Release::by_name(status["profile"].as_str().unwrap()).unwrap();
    let engine = EngineConfig { profile, ..EngineConfig::of(config) };
    let wanted = backend::by_name("user").unwrap().run(&trace, &engine).unwrap();
    let digest = wanted.decision_digest.map(|digest| format!("{digest:016x}"));
    assert_eq!(counters["cpus"][0]["decision_digest"].as_str(), digest.as_deref());
    assert_eq!(counters["wire_packets"], trace.frames.len());
    assert!(
        counters["merged_packets"].as_u64() > Some(0) && counters["guards"]["tap_refused"] == 0,
        "{status:#}"
    );
}

#[test]
fn coalescing_changes_hands_under_load() {
    let _turn = turn();
    /// A worker that a busy machine leaves without a CPU for a second gets no more frames, and some overtake those that it has.
    const ATTEMPTS: u32 = 3;
    for attempt in 1..=ATTEMPTS {
        // One CPU at the receiver's interface: a sender that moves between CPUs would reorder over a veth by itself.
        let Some(topology) = hosts(Options { rps_cpus: 1, ..Options::default() }) else { return };
        let mut log = KernelLog::watch().unwrap();
        let done = Handover::run(&topology, Path::new(GRO), 6).unwrap();
        eprintln!("{done}");
        assert!(done.is_safe(), "{done}");
        assert_eq!(log.warnings(), Vec::<String>::new());
        if done.is_smooth() {
            return;
        }
        assert!(attempt < ATTEMPTS, "{done}");
    }
}

/// The committed image with the last bit of its constants flipped and every hash made right again.
fn flipped() -> Vec<u8> {
    let mut builder = ImageBuilder::from(Image::parse(gro_nic::LINUX_6_18).unwrap());
    *builder.code.bytes.last_mut().unwrap() ^= 1;
    builder.build().unwrap()
}

#[test]
fn whoever_differs_is_refused_and_the_link_named() {
    let _turn = turn();
    let Some(topology) = hosts(Options::default()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let right = file("right.nicimg", gro_nic::LINUX_6_18);
    let other = file("other.nicimg", gro_nic::LINUX_6_12);
    let flipped = file("flipped.nicimg", &flipped());
    let mut damaged = gro_nic::LINUX_6_18.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let damaged = file("damaged.nicimg", &damaged);

    // A bit that flipped in the file is refused before there is a device.
    let refused = RunningNic::start(&topology, Path::new(GRO), &["--image", &damaged]).map(drop).unwrap_err();
    assert!(refused.to_string().contains("image"), "{refused}");

    for (image, size, broken) in [
        (&right, "16000", &[][..]),
        (&flipped, "16000", &["image", "measurement"]),
        (&right, "15000", &["config"]),
        (&other, "16000", &["program_hash", "profile", "config"]),
    ] {
        let arguments = ["--image", image, "--gro-max-size", size, "--offload", "off"];
        let nic = RunningNic::start(&topology, Path::new(GRO), &arguments).unwrap();
        let nobody = nic.offload(&["--check"]).unwrap();
        assert!(said(&nobody).0 == 2 && said(&nobody).1.contains("gro attach"), "{nobody:?}");
        nic.attach(&["--profile", "linux-6.18"]).unwrap();
        let output = nic.offload(&["on", "-j"]).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let links = report["links"].as_array().unwrap();
        let found: Vec<_> = links
            .iter()
            .filter(|link| link["agrees"] == false)
            .map(|link| link["link"].as_str().unwrap())
            .collect();
        assert_eq!(found, broken, "{report:#}");
        let agrees = broken.is_empty();
        assert_eq!((output.status.code(), &report["agree"]), (Some(i32::from(!agrees)), &agrees.into()));
        let state = if agrees { "on" } else { "off" };
        assert_eq!((&report["offload"], nic.status().unwrap().coalesce), (&state.into(), agrees));
        if agrees {
            // Off works in any case; what is detached cannot be compared any more.
            nic.detach_under_its_feet().unwrap();
            let gone = nic.offload(&["--check"]).unwrap();
            assert!(
                said(&gone).0 == 1 && said(&gone).1.contains("does not stand at the ingress"),
                "{gone:?}"
            );
            assert_eq!(said(&nic.offload(&["off"]).unwrap()).0, 0);
            assert!(!nic.status().unwrap().coalesce);
        }
        nic.stop().unwrap();
    }
}

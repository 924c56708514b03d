//! What `verify` says when something is missing, stale, damaged or not what was expected.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod every_backend;

use every_backend::{DEFAULT, entry, path};
use gro_bench::backend::{NicBackend, UserBackend};
use gro_bench::report::{Report, Side};
use gro_bench::trace::{FILE_NAME, Manifest, PcapngWriter, SCHEMA, Trace, sha256_hex};
use gro_bench::{Backend, BackendError, EngineConfig, Options, Outcome, backend, verify};
use gro_nic::{Image, ImageBuilder, Nic, NicConfig};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Backends that run our engine.
const ENGINES: [&str; 4] = ["user", "user-plain", "tc", "nic"];
const CURE: &str = "run cargo xtask images";

#[test]
fn the_shipped_expectations_hold_and_the_json_has_the_keys_of_its_schema() {
    let report = run(path("tcp-mixed"), &mut backend::all(), &["user", "nic"]);
    assert!(report.equal && report.exit_code() == 0 && report.missing.is_empty(), "{report:?}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(keys(&json), ["equal", "profile", "runs", "schema"]);
    assert_eq!((&json["schema"], &json["equal"]), (&Value::from(1), &Value::from(true)));
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(
        runs.iter().map(|run| run["config"].as_str().unwrap()).collect::<Vec<_>>(),
        ["tc", "default", "big", "in-band"]
    );
    let manifest = entry("tcp-mixed");
    for run in runs {
        assert_eq!(keys(run), ["backends", "config", "equal", "frames", "trace"]);
        assert_eq!((&run["trace"], &run["frames"]), (&"tcp-mixed".into(), &manifest.frames.into()));
        let expect = &manifest.expect[run["config"].as_str().unwrap()];
        for (name, side) in run["backends"].as_object().unwrap() {
            if side["status"] != "ran" {
                assert_eq!(keys(side), ["status", "why"], "{name}");
                continue;
            }
            // Beyond the promise there may be what it cost, and a backend that is not our engine has no digest of it.
            let may = ["cycles", "instructions", "wall_ns", "decision_digest"];
            let must: Vec<_> = keys(side).into_iter().filter(|key| !may.contains(&key.as_str())).collect();
            assert_eq!(must, ["output_digest", "packets", "status"], "{name}");
            assert_eq!(side["packets"], expect.packets, "{name}");
            assert_eq!(side["output_digest"], *expect.output_digest, "{name}");
            let digest = side.get("decision_digest").map(|digest| digest.as_str().unwrap().len());
            assert_eq!(digest, ENGINES.contains(&&name[..]).then_some(16), "{name}");
        }
    }
}

#[test]
fn a_backend_without_an_outcome_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = small(folder.path());
    for (error, status, code) in [
        (BackendError::Skipped("no such machine".into()), "skipped", 0),
        (BackendError::NotApplicable("too large".into()), "not_applicable", 0),
        (BackendError::Failed("it broke".into()), "failed", 2),
    ] {
        let mut backends: Vec<Box<dyn Backend>> =
            vec![Box::new(UserBackend), Box::new(Broken(error.clone()))];
        let report = run(file.clone(), &mut backends, &[]);
        assert_eq!((report.exit_code(), report.equal), (code, code == 0), "{status}");
        let json = serde_json::to_value(&report).unwrap();
        let side = &json["runs"][0]["backends"]["broken"];
        assert_eq!(*side, serde_json::json!({"status": status, "why": error.to_string()}));
    }
}

#[test]
fn a_required_backend_that_does_not_run_is_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let file = small(folder.path());
    for (error, words) in [
        (BackendError::Skipped("no such machine".into()), "broken: no such machine (small tc)"),
        (BackendError::NotApplicable("too large".into()), "broken: it ran nowhere"),
        (BackendError::Failed("it broke".into()), "broken: it broke (small tc)"),
    ] {
        let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(UserBackend), Box::new(Broken(error))];
        let report = run(file.clone(), &mut backends, &["user", "broken"]);
        assert_eq!((report.exit_code(), &report.missing[..]), (2, &[words.to_owned()][..]));
        assert_eq!(serde_json::to_value(&report).unwrap()["missing"], serde_json::json!([words]));
    }
    let report = run(file, &mut backend::all(), &["nosuch"]);
    assert_eq!((report.exit_code(), &report.missing[0][..]), (2, "nosuch: there is no such backend"));
}

#[test]
fn another_digest_than_the_manifest_expects_is_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tcp-mixed.pcapng.zst");
    std::fs::copy(path("tcp-mixed"), &file).unwrap();
    let mut entry = entry("tcp-mixed");
    let expect = entry.expect.get_mut("default").unwrap();
    expect.output_digest.replace_range(..4, "beef");
    let good = expect.output_digest.clone();
    std::fs::write(
        folder.path().join(FILE_NAME),
        Manifest { schema: SCHEMA, traces: vec![entry] }.to_json().unwrap(),
    )
    .unwrap();

    let report = run(file, &mut backend::all(), &[]);
    assert_eq!((report.equal, report.exit_code()), (false, 1));
    let [tc, default, big, in_band] = &report.runs[..] else { panic!("four configs: {report:?}") };
    assert!(tc.equal && !default.equal && big.equal && in_band.equal);
    let words = default.difference.as_deref().unwrap();
    assert!(words.contains("all agree on") && words.contains(&good[..16]), "{words}");
    assert_eq!(default.first_differing_frame, None);
}

#[test]
fn a_file_that_is_not_the_manifests_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = small(folder.path());
    let mut entry = entry("tcp-mixed");
    entry.file = "small.pcapng".into();
    let manifest = Manifest { schema: SCHEMA, traces: vec![entry] };
    std::fs::write(folder.path().join(FILE_NAME), manifest.to_json().unwrap()).unwrap();
    let options = Options { traces: vec![file.clone()], ..Options::default() };
    let message = verify(&options, &mut backend::all(), |_, _, _| ()).unwrap_err().to_string();
    assert!(message.contains("small.pcapng"), "{message}");
    assert!(message.contains(&sha256_hex(&std::fs::read(&file).unwrap())), "{message}");
}

#[test]
fn a_damaged_nic_image_fails_and_names_the_cure() {
    let mut image = gro_nic::LINUX_6_18.to_vec();
    let last = image.len() - 100;
    image[last] ^= 1;
    let why = nic(image);
    assert!(matches!(&why, BackendError::Failed(text) if text.contains(CURE)), "{why:?}");
    let why = nic(Vec::new());
    assert!(matches!(&why, BackendError::Failed(text) if text.contains(CURE)), "{why:?}");
}

#[test]
fn an_image_decides_what_its_manifest_expects() {
    for profile in gro_core::Release::ALL {
        let image = Image::parse(gro_nic::committed(profile)).unwrap();
        let manifest = Manifest::read(&path("tcp-jumbo").with_file_name(FILE_NAME)).unwrap().unwrap();
        let expected = &image.manifest.provenance.traces;
        let names = manifest.traces.iter().map(|entry| entry.file.split('.').next().unwrap());
        assert!(names.eq(expected.iter().map(|trace| trace.name.as_str())), "every shipped trace is there");
        for name in ["tcp-jumbo", "udp4-bulk", "tunnel-geneve"] {
            let expected = expected.iter().find(|trace| trace.name == name).unwrap();
            let engine = EngineConfig { config: entry(name).under(DEFAULT.config), profile, ..DEFAULT };
            let trace = Trace::open(&path(name)).unwrap();
            let outcome = NicBackend::committed().run(&trace, &engine).unwrap();
            assert_eq!(outcome.decision_digest.unwrap().to_be_bytes(), expected.decision_digest.0, "{name}");
            assert_eq!(outcome.records.len() as u64, expected.packets, "{name}");
            assert_eq!(
                (entry(name).sha256, entry(name).frames),
                (expected.sha256.to_string(), expected.frames)
            );
        }
    }
}

#[test]
fn a_stale_nic_image_is_skipped_and_names_both_hashes_and_the_cure() {
    let why = nic(rebuilt(|builder| builder.program_hash[0] ^= 0xff));
    let source = gro_core::program_hash::<gro_core::Linux618>();
    let text = format!(
        "image built from {:02x}{}, source is {}; {CURE}",
        source[0] ^ 0xff,
        gro_bench::hex(&source[1..8]),
        gro_bench::hex(&source[..8])
    );
    assert_eq!(why, BackendError::Skipped(text));
}

#[test]
fn firmware_that_disagrees_with_its_header_fails_and_names_the_cure() {
    let image = Image::parse(&rebuilt(|builder| builder.program_hash[0] ^= 0xff)).unwrap();
    let why = BackendError::from(Nic::new(&image, &NicConfig::default()).unwrap_err());
    let BackendError::Failed(text) = &why else { panic!("{why:?}") };
    assert!(text.contains("another program hash than its firmware") && text.contains(CURE), "{text}");
}

#[test]
fn a_stale_image_does_not_hide_what_the_others_say() {
    let image = rebuilt(|builder| builder.program_hash[0] ^= 0xff).leak();
    let folder = tempfile::tempdir().unwrap();
    let file = small(folder.path());
    let mut backends: Vec<Box<dyn Backend>> =
        vec![Box::new(UserBackend), Box::new(NicBackend::with(image)), Box::new(NicBackend::committed())];
    let report = run(file.clone(), &mut backends[..2], &[]);
    assert_eq!(report.exit_code(), 0, "a skip is no difference");
    assert!(matches!(report.runs[0].backends["nic"], Side::Skipped { .. }));
    assert_eq!(run(file, &mut backends[..2], &["nic"]).exit_code(), 2, "but trouble where it is required");
}

fn run(file: PathBuf, backends: &mut [Box<dyn Backend>], require: &[&str]) -> Report {
    let require = require.iter().map(|&name| name.to_owned()).collect();
    verify(&Options { traces: vec![file], require, ..Options::default() }, backends, |_, _, _| ()).unwrap()
}

/// A backend that cannot.
struct Broken(BackendError);

impl Backend for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn run(&mut self, _: &Trace, _: &EngineConfig) -> Result<Outcome, BackendError> {
        Err(self.0.clone())
    }
}

/// A capture without a manifest beside it.
fn small(folder: &Path) -> PathBuf {
    let file = folder.join("small.pcapng");
    let mut writer = PcapngWriter::new(std::fs::File::create(&file).unwrap(), "three frames").unwrap();
    for time in 0..3 {
        writer.write(time, &[2; 60], None).unwrap();
    }
    writer.finish().unwrap();
    file
}

fn rebuilt(change: impl FnOnce(&mut ImageBuilder)) -> Vec<u8> {
    let mut builder = ImageBuilder::from(Image::parse(gro_nic::LINUX_6_18).unwrap());
    change(&mut builder);
    builder.build().unwrap()
}

/// What backend `nic` says to an image.
fn nic(image: Vec<u8>) -> BackendError {
    let folder = tempfile::tempdir().unwrap();
    let trace = Trace::open(&small(folder.path())).unwrap();
    NicBackend::with(image.leak()).run(&trace, &DEFAULT).unwrap_err()
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

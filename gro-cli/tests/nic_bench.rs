//! `gro nic bench` as a user meets it.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::Path;
use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../traces/tcp-jumbo.pcapng.zst");
    Command::new(env!("CARGO_BIN_EXE_gro")).args(["nic", "bench"]).arg(trace).args(args).output().unwrap()
}

#[test]
fn the_budget_is_one_document_and_adds_up() {
    let output = bench(&["-j", "--frames", "3000", "--ghz", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["schema"], &json["ghz"], &json["profile"]),
        (&1.into(), &2.0.into(), &"linux-6.18".into())
    );
    assert_eq!(json["image"].as_str().unwrap().len(), 64);
    let trace = &json["traces"][0];
    assert_eq!((&trace["trace"], &trace["frames"]), (&"tcp-jumbo".into(), &676.into()));
    assert_eq!(trace["of_frames"]["count"], 676);
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let mean = number(&trace["cycles_per_frame"]);
    assert!(number(&trace["of_frames"]["mean"]) < mean && mean > number(&trace["instructions_per_frame"]));
    assert!((number(&trace["frames_per_second_per_ghz"]) * mean / 1e9 - 1.0).abs() < 1e-9);
    let rows = trace["at"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for row in rows {
        // At 2 GHz.
        let exact = number(&row["frames_per_second"]) * mean / 2e9;
        assert!((number(&row["cores_exact"]) - exact).abs() < 1e-6 * exact);
        assert_eq!(number(&row["cores"]), exact.ceil().max(1.0));
        // The trace has one hash, so one lane gets it all.
        assert_eq!((&row["by_rss"]["used"], &row["by_rss"]["fullest"]), (&1.into(), &1.0.into()));
        let less = row["lost_with_one_less"].as_f64().unwrap_or(1.0);
        assert!(number(&row["lost_with_cores"]) <= less);
    }
}

#[test]
fn the_table_says_the_same_in_words() {
    let output = bench(&["--frames", "0"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.starts_with("tcp-jumbo: 676 frames"), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.trim_start().starts_with(['1', '2', '4'])).count(),
        12,
        "{text}"
    );
}

#[test]
fn what_cannot_be_measured_is_exit_2() {
    for (args, words) in [
        (&["--ghz", "0"][..], "--ghz 0"),
        (&["--image", "/nonexistent.nicimg"], "cannot be read"),
        (&["--rx-entries", "3"], "power of two"),
        (&["--frames", "99999999999"], "0 to 10000000"),
        (&["/nonexistent.pcap", "--frames", "0"], "nonexistent.pcap"),
    ] {
        let output = bench(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.contains(words), "{message}");
    }
}

//! Attaching, as a user meets it: help, refusals with their cures, what is said of nothing, and one life in a private namespace.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use gro_bench::sandbox::{Sandbox, SandboxError};
use gro_core::Config;
use std::path::Path;
use std::process::{Command, Output};

/// No machine has an interface of this name: it is longer than one may be.
const NOWHERE: &str = "gro-test-no-such-if";

#[test]
fn help_names_every_option() {
    for (command, options) in [
        (
            "attach",
            &[
                "-i",
                "--first",
                "--last",
                "--pin",
                "--gro-max-size",
                "--forwarding",
                "--manage-offloads",
                "--netns",
                "--profile",
                "--clsact",
                "--foreground",
                "-j",
                "--carriers",
                "--flights",
                "--via-tap",
                "--tap",
                "--queues",
                "--udp",
                "--ring",
            ][..],
        ),
        ("detach", &["-i", "--pin", "--netns"]),
        ("stats", &["-i", "--pin", "--netns", "-j", "--prometheus"]),
    ] {
        let output = gro(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout);
        for option in options {
            assert!(help.contains(option), "{command} {option}: {help}");
        }
        assert!(help.contains("Exit status: 0") && !help.contains("drop-carriers"), "{help}");
    }
}

#[test]
fn a_refusal_names_its_cure() {
    for (arguments, words) in [
        (&["attach", "-i", NOWHERE][..], &["there is no interface", "`ip link`"][..]),
        (
            &["attach", "-i", NOWHERE, "--netns", "gro-test-none"],
            &["no network namespace", "`ip netns list`"],
        ),
        (&["attach", "-i", "lo", "--gro-max-size", "60000"], &["16000 bytes", "--via-tap"]),
        (&["attach", "-i", "lo", "--via-tap", "--last"], &["cannot be used with"]),
        (&["attach", "-i", "lo", "--udp"], &["--via-tap"]),
        (&["attach", "-i", "lo", "--profile", "linux-2.4"], &["there are linux-6.12"]),
        (&["stats", "-i", NOWHERE], &["nothing is attached", "`gro attach -i "]),
        (&["stats", "-j", "--prometheus"], &["cannot be used with"]),
        (&["detach"], &["--interface"]),
    ] {
        let output = gro(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn findings_are_json_too() {
    let output = gro(&["attach", "-i", NOWHERE, "-j"]);
    assert_eq!(output.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["schema"], &json["attached"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!(json["findings"][0]["severity"], "blocks");
    assert!(json["findings"][0]["cure"].as_str().unwrap().contains("`ip link`"));
}

#[test]
fn where_nothing_is_attached_detach_is_done_and_stats_are_empty() {
    let output = gro(&["detach", "-i", NOWHERE]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("nothing is attached"));
    // Others may have attached something to this machine, but not in a namespace of our own.
    within(&[("stats", 0), ("stats -j", 0), ("stats --prometheus", 0)], |outputs| {
        assert_eq!(outputs, ["", "{\"schema\":1,\"attachments\":[]}\n", ""]);
    });
}

#[test]
fn one_life() {
    let steps = [
        // The kernel's GRO is on; nothing is changed without a word.
        ("attach -i in1 -j", 2),
        ("attach -i in1 --manage-offloads -j", 0),
        ("attach -i in1 --manage-offloads", 2),
        ("stats -i in1 -j", 0),
        ("stats -i in1 --prometheus", 0),
        ("stats --netns /proc/self/ns/net", 0),
        ("detach -i in1", 0),
        ("detach -i in1", 0),
        ("stats -i in1", 2),
    ];
    within(&steps, |outputs| {
        let json = |at: usize| -> serde_json::Value { serde_json::from_str(&outputs[at]).unwrap() };
        assert!(json(0)["findings"][0]["what"].as_str().unwrap().contains("rx-gro is on"));
        assert_eq!(json(1)["attached"]["mode"], "in-place");
        assert_eq!(json(1)["changes"][0]["feature"], "rx-gro");
        let stats = &json(3)["attachments"][0];
        assert_eq!((&stats["interface"], &stats["hook"]), (&"in1".into(), &json(1)["attached"]["hook"]));
        assert!(outputs[4].contains("gro_info{interface=\"in1\",netns="), "{}", outputs[4]);
        assert!(outputs[5].starts_with("in1: in-place by "), "{}", outputs[5]);
        assert!(outputs[6].starts_with("detached from in1: "), "{}", outputs[6]);
        assert_eq!((outputs[7].as_str(), outputs[8].as_str()), ("", ""));
    });
}

#[test]
fn a_foreground_ends_with_a_signal_and_leaves_nothing() {
    let script = "timeout -s INT 3 \"$GRO\" attach -i in1 --manage-offloads --foreground; echo \"exit $?\"; [ -e /sys/fs/bpf/gro ] || echo clean";
    let Some(output) = sandbox(script) else { return };
    let text = text(&output.stdout);
    // timeout(1) says 124 when it had to send the signal.
    assert!(
        text.contains("attached to in1 by ") && text.contains("exit 124\n"),
        "{text}{}",
        self::text(&output.stderr)
    );
    assert!(text.contains("in1  0 Mb/s  0 wire pps") && text.contains("in1: in-place by"), "{text}");
    assert!(text.ends_with("exit 124\nclean\n"), "pins are left: {text}");
    assert!(self::text(&output.stderr).contains("rx-gro is on again"));
}

#[test]
fn an_agent_answers_is_ended_and_may_be_killed() {
    let script = r#"
        [ -c /dev/net/tun ] || exit 77
        start() {
            "$GRO" attach -i in1 --via-tap --queues 1 --manage-offloads > /run/out 2>&1 & agent=$!
            for _ in $(seq 100); do grep -q '^delivering' /run/out && return; sleep 0.1; done
            cat /run/out; exit 3
        }
        start
        "$GRO" stats -i in1 -j
        "$GRO" attach -i in1; echo "second $?"
        "$GRO" detach -i in1; echo "detach $?"
        wait $agent; echo "agent $?"; cat /run/out; ls /run/gro 2> /run/none
        start
        kill -KILL $agent; wait $agent 2> /run/killed
        "$GRO" stats; echo "stats $?"
        "$GRO" detach -i in1; echo "detach $?"; ls /run/gro 2> /run/none || true
    "#;
    let Some(output) = sandbox(script) else { return };
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let json: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    let one = &json["attachments"][0];
    assert_eq!(
        (&one["mode"], &one["interface"], one["pid"].is_u64()),
        (&"via-tap".into(), &"in1".into(), true)
    );
    assert!(out.contains("second 2\ndetached from in1: ") && err.contains("via TAP already"), "{out}{err}");
    assert!(out.contains("detach 0\nagent 0\n") && out.contains("in1: rx-gro is on again"), "{out}");
    // After the kill: stats say so, detach restores, and nothing is left.
    assert!(out.ends_with("stats 2\ndetach 0\n"), "{out}");
    assert!(err.contains("was killed: `gro detach`") && err.contains("in1: rx-gro is on again"), "{err}");
}

#[test]
fn the_manual_is_whole() {
    let output = gro(&["man"]);
    assert_eq!(output.status.code(), Some(0));
    let page = text(&output.stdout);
    for section in [
        "GRO ATTACH",
        "GRO DETACH",
        "GRO STATS",
        "WHAT TO EXPECT",
        "FILES",
        "EXIT STATUS",
        "EXAMPLES",
        "NOTES",
    ] {
        assert!(page.lines().any(|line| line.starts_with(".SH") && line.contains(section)), "{section}");
    }
}

#[test]
fn the_units_have_the_least_rights() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    for (unit, rights, kind) in [
        ("gro@.service", "CAP_BPF CAP_NET_ADMIN CAP_PERFMON", "Type=oneshot\nRemainAfterExit=yes"),
        ("gro-via-tap@.service", "CAP_BPF CAP_NET_ADMIN CAP_NET_RAW CAP_PERFMON", "Type=exec"),
    ] {
        let text = std::fs::read_to_string(folder.join(unit)).unwrap();
        for line in [
            &format!("CapabilityBoundingSet={rights}"),
            &format!("AmbientCapabilities={rights}"),
            kind,
            "ExecStart=/usr/bin/gro attach -i %i ",
            "ExecStopPost=/usr/bin/gro detach -i %i\n",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "RestrictAddressFamilies=",
            "SystemCallFilter=",
            "EnvironmentFile=-",
        ] {
            assert!(text.contains(&format!("\n{line}")), "{unit}: {line}");
        }
    }
}

/// Runs commands one after the other where nothing else is, and hands over what each printed. A command has its exit status.
fn within(steps: &[(&str, i32)], look: impl FnOnce(&[String])) {
    let run = |(command, status): &(&str, i32)| {
        format!(
            "\"$GRO\" {command}; status=$?; [ $status = {status} ] || exit $((100 + status)); printf '\\036'\n"
        )
    };
    let script: String = steps.iter().map(run).collect();
    let Some(output) = sandbox(&script) else { return };
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    let outputs: Vec<_> = text(&output.stdout).split('\u{1e}').map(str::to_owned).collect();
    look(&outputs[..steps.len()]);
}

/// Runs a script with an interface `in1` whose GRO is on, in network and mount namespaces of its own, with their own BPF file system and
/// `/run`. They go with it. `None`, and the reason printed, where that may not be.
fn sandbox(script: &str) -> Option<Output> {
    const CANNOT: i32 = 77;
    let prepare = format!("mount -t bpf bpf /sys/fs/bpf && mount -t tmpfs none /run || exit {CANNOT}\n");
    // What this thread starts is in its network namespace.
    let run = |sandbox: &Sandbox| -> Result<Output, SandboxError> {
        sandbox.switch_gro_on(&Config::DEFAULT)?;
        Command::new("unshare")
            .args(["--mount", "sh", "-c", &(prepare + script)])
            .env("GRO", env!("CARGO_BIN_EXE_gro"))
            .output()
            .map_err(|source| SandboxError::Step { step: "unshare", source })
    };
    match gro_bench::sandbox::run(run) {
        Ok(output) if output.status.code() != Some(CANNOT) => Some(output),
        Ok(output) => {
            eprintln!("skipped: no mounts here: {}", text(&output.stderr));
            None
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn gro(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gro")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

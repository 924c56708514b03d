//! However it ends, traffic flows, and nothing is left.

use crate::hosts::{Host, missing};
use crate::pair::{MB, Pair, SERVER, options, transfer};
use gro_ebpf::live::Hook;
use gro_ebpf::via_tap::{ViaTap, ViaTapError, ViaTapOptions};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Interfaces, qdiscs and filters of a host.
fn things(host: &Host) -> String {
    host.command("ip -o link")
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned() + "\n")
        .collect::<String>()
        + &host.command("tc qdisc show")
        + &host.command("tc filter show dev s0 ingress")
}

#[test]
fn starts_and_stops_under_load() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let before = things(&pair.server);
    let flows: Vec<_> =
        SERVER.iter().map(|address| transfer(&pair.client, &pair.server, address, 400 * MB)).collect();
    let mut merged = 0;
    let mut turns = 0;
    while turns < 20 && !flows.iter().all(|flow| flow.is_finished()) {
        let via = pair.start(ViaTapOptions { queues: 1 + turns % 2, ..options() });
        std::thread::sleep(Duration::from_millis(30));
        merged += via.stop().unwrap().merged_packets;
        turns += 1;
    }
    flows.into_iter().for_each(|flow| flow.join().unwrap());
    eprintln!("{turns} turns, {merged} merged packets");
    assert!(merged > 0);
    assert_eq!(things(&pair.server), before);
}

/// Numbers of the loaded programs that are ours.
fn programs() -> BTreeSet<u32> {
    let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
    loaded.filter(|program| program.name().starts_with(b"via_")).map(|program| program.id()).collect()
}

#[test]
fn nothing_is_left() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    for hook in [Hook::Tcx, Hook::Clsact] {
        let (before, others) = (things(&pair.server), programs());
        let via = pair.server.run(move || ViaTap::start_at(&options(), hook)).unwrap();
        pair.transfer(SERVER[0], MB);
        let ours: BTreeSet<u32> = programs().difference(&others).copied().collect();
        assert!(ours.len() >= 3 && things(&pair.server) != before);
        assert!(via.stop().unwrap().merged_packets > 0);
        assert_eq!(things(&pair.server), before);
        // The kernel frees a program a little later.
        let end = Instant::now() + Duration::from_secs(10);
        while !programs().is_disjoint(&ours) {
            assert!(Instant::now() < end, "programs are left");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where filters survive the process, they let everything pass, and the next one takes them away.
#[test]
fn a_killed_agent_on_clsact_takes_nothing_with_it() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let before = things(&pair.server);
    let mut child = agent(&pair.server, "clsact");
    pair.transfer(SERVER[0], MB);
    signal(&child, libc::SIGKILL);
    child.wait().unwrap();
    pair.transfer(SERVER[1], 10 * MB);
    assert!(things(&pair.server).contains("via_ingress"));
    let via = pair.server.run(|| ViaTap::start_at(&options(), Hook::Clsact)).unwrap();
    pair.transfer(SERVER[0], MB);
    assert!(via.stop().unwrap().merged_packets > 0);
    let after = things(&pair.server);
    assert!(!after.contains("via_ingress"), "{before}\n{after}");
}

const AGENT: &str = "GRO_TEST_VIA_TAP_AGENT";

/// No test: what [`agent`] runs in a process of its own.
#[test]
fn agent_process() {
    let Some(hook) = std::env::var_os(AGENT) else { return };
    let hook = if hook == "clsact" { Hook::Clsact } else { Hook::Tcx };
    let via = ViaTap::start_at(&options(), hook).unwrap();
    println!("\nready");
    std::thread::sleep(Duration::from_secs(60));
    drop(via);
}

fn agent(host: &Host, hook: &'static str) -> Child {
    host.run(move || {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ends::agent_process", "--nocapture"])
            .env(AGENT, hook)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"), "the agent ended");
        child
    })
}

fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: the child of this test, which was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

#[test]
fn a_killed_agent_takes_nothing_with_it() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let before = things(&pair.server);
    for _ in 0..3 {
        let mut child = agent(&pair.server, "tcx");
        assert_ne!(things(&pair.server), before);
        let flow = transfer(&pair.client, &pair.server, SERVER[0], 100 * MB);
        std::thread::sleep(Duration::from_millis(50));
        signal(&child, libc::SIGKILL);
        child.wait().unwrap();
        flow.join().unwrap();
        pair.transfer(SERVER[1], 10 * MB);
        assert_eq!(things(&pair.server), before);
    }
}

#[test]
fn a_stopped_agent_gets_no_frames() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let mut child = agent(&pair.server, "tcx");
    let flow = transfer(&pair.client, &pair.server, SERVER[0], 200 * MB);
    std::thread::sleep(Duration::from_millis(20));
    signal(&child, libc::SIGSTOP);
    flow.join().unwrap();
    pair.transfer(SERVER[1], 10 * MB);
    signal(&child, libc::SIGCONT);
    pair.transfer(SERVER[1], 10 * MB);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_interface_may_go_down_and_come_back_and_go_for_good() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let via = pair.start(options());
    pair.transfer(SERVER[0], MB);
    pair.server.command("ip link set s0 down");
    std::thread::sleep(Duration::from_millis(50));
    pair.server.command("ip link set s0 up");
    pair.transfer(SERVER[0], MB);
    assert!(via.is_running() && via.snapshot().merged_packets > 0);
    pair.server.command("ip link delete s0");
    assert!(has_ended(&via));
    let ended = via.stop();
    assert!(
        matches!(&ended, Err(ViaTapError::Failed(why)) if why.contains("interface is gone")),
        "{ended:?}"
    );
}

/// Whether it ends within two seconds.
fn has_ended(via: &ViaTap) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        !via.is_running()
    })
}

#[test]
fn a_tap_that_is_set_down_ends_it_and_traffic_flows() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let via = pair.start(options());
    pair.server.command(&format!("ip link set {} down", via.tap()));
    pair.transfer(SERVER[0], 10 * MB);
    assert!(has_ended(&via));
    let ended = via.stop();
    assert!(
        matches!(&ended, Err(ViaTapError::Failed(why)) if why.contains("set down or deleted")),
        "{ended:?}"
    );
    pair.transfer(SERVER[1], 10 * MB);
}

#[test]
fn a_full_ring_loses_frames_like_a_nic() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let via = pair.start(ViaTapOptions { ring_frames: 1, ..options() });
    let flows: Vec<_> = (0..8).map(|_| transfer(&pair.client, &pair.server, SERVER[0], 8 * MB)).collect();
    flows.into_iter().for_each(|flow| flow.join().unwrap());
    let last = via.stop().unwrap();
    eprintln!("{} frames found the ring full", last.guards.ring_full);
    assert_eq!(last.guards.truncated + last.guards.tap_refused, 0);
}

#[test]
fn what_cannot_be_says_why() {
    if let Some(why) = missing() {
        return eprintln!("skipped: {why}");
    }
    let pair = Pair::new(1500, true);
    let before = things(&pair.server);
    let big = gro_core::Config { gro_max_size: 524_280, ..gro_core::Config::DEFAULT };
    for (options, words) in [
        (ViaTapOptions { interface: "no0".to_owned(), ..options() }, "no interface no0"),
        (ViaTapOptions { interface: "lo".to_owned(), tap: "s0".to_owned(), ..options() }, "Ethernet"),
        (ViaTapOptions { tap: "s0".to_owned(), ..options() }, "another --tap"),
        (ViaTapOptions { queues: 0, ..options() }, "1 to 256"),
        (ViaTapOptions { ring_frames: 0, ..options() }, "at least 1"),
        (ViaTapOptions { config: big, ..options() }, "458752"),
        (ViaTapOptions { interface: "a name that is too long".to_owned(), ..options() }, "no interface name"),
    ] {
        let error = pair.server.run(move || ViaTap::start(&options).map(drop)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(things(&pair.server), before);
}

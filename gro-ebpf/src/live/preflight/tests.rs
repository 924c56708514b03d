//! Findings of made-up facts, and of a veth in a private namespace.

use super::*;
use crate::device::tests::sandbox;
use crate::device::{Device, ethtool, rtnetlink::Rtnetlink};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};

const ALL: u64 = u64::MAX;

fn asked(mode: Mode) -> Asked<'static> {
    Asked {
        interface: "v0",
        mode,
        pin: Path::new("/sys/fs/bpf/gro/v0@1"),
        hook: None,
        profile: None,
        config: Config::TC,
        forwarding: false,
        netns: None,
    }
}

/// Of a machine with nothing in the way, but that there are no features.
fn facts() -> Facts {
    let device =
        Device { name: "v0".into(), index: 2, mtu: 1_500, is_up: true, is_ethernet: true, xdp: Xdp::None };
    Facts {
        release: "6.18.44".into(),
        capabilities: ALL,
        device: Some(device),
        features: None,
        pin_in_bpffs: true,
        pins: PinState::None,
        agent: AgentState::None,
        steers_flows: false,
        has_tun: true,
    }
}

/// What is found beside the features that cannot be read.
fn found(facts: &Facts, asked: &Asked<'_>) -> Vec<Finding> {
    let mut findings = judge(facts, asked);
    findings.retain(|finding| !finding.what.contains("cannot be read"));
    findings
}

/// Exactly one is found; it says these words.
fn one(facts: &Facts, asked: &Asked<'_>, severity: Severity, words: &[&str]) {
    let findings = found(facts, asked);
    assert_eq!(findings.len(), 1, "{words:?}: {findings:?}");
    assert_eq!(findings[0].severity, severity, "{findings:?}");
    let text = findings[0].to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    assert!(text.contains('`') || text.contains("--") || text.contains("write 0"), "no cure: {text}");
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = facts();
    change(&mut facts);
    facts
}

fn device(change: impl FnOnce(&mut Device)) -> Facts {
    with(|facts| change(facts.device.as_mut().unwrap()))
}

#[test]
fn nothing_is_found_where_nothing_is_in_the_way() {
    for mode in [Mode::InPlace, Mode::ViaTap] {
        assert_eq!(found(&facts(), &asked(mode)), []);
    }
}

#[test]
fn each_thing_in_the_way_has_its_cure() {
    use Severity::{Blocks, Warns};
    let tc = asked(Mode::InPlace);
    one(&with(|facts| facts.device = None), &tc, Blocks, &["no interface v0", "`ip link`", "--netns"]);
    one(&device(|device| device.is_up = false), &tc, Warns, &["is down", "`ip link set dev v0 up`"]);
    one(&device(|device| device.mtu = 9_000), &tc, Warns, &["9000", "15000 bytes", "--via-tap"]);
    one(&device(|device| device.xdp = Xdp::Generic), &tc, Warns, &["xdpgeneric off", "twice"]);
    one(&device(|device| device.xdp = Xdp::Native), &tc, Warns, &["in its driver", "xdpdrv off"]);
    one(&with(|facts| facts.pin_in_bpffs = false), &tc, Blocks, &["`mount -t bpf bpf /sys/fs/bpf`"]);
    one(&with(|facts| facts.pins = PinState::Used), &tc, Blocks, &["already", "`gro detach -i v0`"]);
    one(&with(|facts| facts.pins = PinState::Stale), &tc, Blocks, &["is gone", "`gro detach -i v0` removes"]);
    one(&with(|facts| facts.agent = AgentState::Running), &tc, Blocks, &["via TAP already"]);
    one(&with(|facts| facts.agent = AgentState::Killed), &tc, Warns, &["was killed", "restores"]);
    one(&with(|facts| facts.steers_flows = true), &tc, Warns, &["RFS", "rps_flow_cnt"]);
    one(
        &with(|facts| facts.release = "6.16.2".into()),
        &tc,
        Warns,
        &["Linux 6.16.2", "--profile linux-6.18"],
    );
    one(&facts(), &Asked { forwarding: true, ..tc.clone() }, Warns, &["no gso_size", "--via-tap"]);
    let tap = asked(Mode::ViaTap);
    one(&with(|facts| facts.has_tun = false), &tap, Blocks, &["/dev/net/tun", "`modprobe tun`"]);
    one(&device(|device| device.xdp = Xdp::Generic), &tap, Warns, &["comes back", "twice"]);
    assert_eq!(found(&device(|device| device.mtu = 9_000), &tap), []);
    let ether = found(&device(|device| device.is_ethernet = false), &tc);
    assert!(ether[0].severity == Blocks && ether[0].what.contains("no Ethernet headers"));
}

#[test]
fn capabilities_are_those_of_the_mode() {
    let without = |bits: &[u32]| with(|facts| bits.iter().for_each(|bit| facts.capabilities &= !(1 << bit)));
    let none = without(&[CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_NET_RAW]);
    let words = ["CAP_BPF and CAP_NET_ADMIN and CAP_PERFMON", "setcap cap_bpf,cap_net_admin,cap_perfmon+ep"];
    one(&none, &asked(Mode::InPlace), Severity::Blocks, &words);
    one(&none, &asked(Mode::ViaTap), Severity::Blocks, &["CAP_PERFMON and CAP_NET_RAW"]);
    assert_eq!(found(&without(&[CAP_BPF, CAP_PERFMON, CAP_NET_RAW]), &asked(Mode::InPlace)), []);
    let half = ["no CAP_BPF and CAP_PERFMON", "setcap cap_bpf,cap_net_admin,cap_perfmon+ep"];
    let without_bpf = without(&[CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN]);
    one(&without_bpf, &asked(Mode::InPlace), Severity::Blocks, &half);
    let least = with(|facts| facts.capabilities = 1 << CAP_BPF | 1 << CAP_PERFMON | 1 << CAP_NET_ADMIN);
    assert_eq!(found(&least, &asked(Mode::InPlace)), []);
}

#[test]
fn a_kernel_without_tcx_gets_clsact_and_is_told() {
    let old = with(|facts| facts.release = "6.1.0-13-amd64".into());
    let asked = Asked { profile: Some(Release::Linux612), ..asked(Mode::InPlace) };
    one(&old, &asked, Severity::Warns, &["6.1.0-13-amd64 has no TCX", "clsact", "--clsact"]);
    assert_eq!(found(&old, &Asked { hook: Some(Hook::Clsact), ..asked.clone() }), []);
    one(&old, &Asked { hook: Some(Hook::Tcx), ..asked }, Severity::Blocks, &["no TCX"]);
    assert_eq!((release("6.6.1"), release("x"), release("")), (Some((6, 6)), None, None));
}

#[test]
fn cures_name_the_namespace() {
    let asked = Asked { netns: Some("blue"), ..asked(Mode::InPlace) };
    let down = with(|facts| {
        facts.device.as_mut().unwrap().is_up = false;
        facts.pins = PinState::Used;
    });
    let text: String = found(&down, &asked).iter().map(Finding::to_string).collect();
    assert!(text.contains("`ip netns exec blue ip link set dev v0 up`"), "{text}");
    assert!(text.contains("`gro detach -i v0 --netns blue`"), "{text}");
}

#[test]
fn the_worst_is_said_first() {
    let both = with(|facts| {
        facts.device.as_mut().unwrap().is_up = false;
        facts.pin_in_bpffs = false;
    });
    let findings = found(&both, &asked(Mode::InPlace));
    assert_eq!(
        findings.iter().map(|finding| finding.severity).collect::<Vec<_>>(),
        [Severity::Blocks, Severity::Warns]
    );
}

#[test]
fn a_veth_is_looked_at_as_it_is() {
    sandbox(|interface| {
        let asked = Asked { interface, ..asked(Mode::InPlace) };
        let (mut netlink, index) =
            (Rtnetlink::open().unwrap(), Device::find(interface).unwrap().unwrap().index);
        let about = |word: &str| {
            let findings = look(&asked);
            findings.into_iter().find(|finding| finding.what.contains(word))
        };
        ethtool::set_feature(interface, "rx-gro", false).unwrap();
        assert!(about("is down").is_some() && about("rx-gro is on").is_none());

        ethtool::set_feature(interface, "rx-gro", true).unwrap();
        ethtool::set_feature(interface, "rx-udp-gro-forwarding", true).unwrap();
        let gro = about("rx-gro is on").unwrap();
        assert!(gro.blocks(false) && !gro.blocks(true));
        assert!(gro.cure.contains("`ethtool -K v0 gro off`") && gro.cure.contains("--manage-offloads"));
        assert_eq!(gro.managed, Some(Change { feature: "rx-gro".into(), from: true, to: false }));
        assert!(!about("rx-udp-gro-forwarding is on").unwrap().blocks(false));

        // Another way it would be refused where there is no BPF file system or no right.
        let tap = Asked { mode: Mode::ViaTap, ..asked.clone() };
        match (clear(&tap, false), clear(&tap, true)) {
            (Err(NotClear::Blocked(without)), Ok(clear)) => {
                assert!(without.iter().any(|finding| finding.what.contains("rx-gro is on")));
                assert!(clear.findings.iter().all(|finding| !finding.what.contains("rx-")), "{clear:?}");
                assert!(!ethtool::Features::read(interface).unwrap().is_on("rx-gro"));
                clear.notes.restore().unwrap();
                assert!(ethtool::Features::read(interface).unwrap().is_on("rx-gro"));
            }
            other => eprintln!("skipped: no TAP devices here: {other:?}"),
        }

        netlink.set_attributes(index, vec![LinkAttribute::Mtu(9_000)]).unwrap();
        netlink.set_flags(index, LinkFlags::Up, LinkFlags::Up).unwrap();
        assert!(about("MTU of v0 is 9000").is_some() && about("is down").is_none());

        netlink.remove(index).unwrap();
        let gone = look(&asked);
        assert!(gone.len() == 1 && gone[0].blocks(true), "{gone:?}");
    });
}

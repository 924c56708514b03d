//! The real binary, as a user meets it: exit codes, messages, pipes.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Frames of the capture in [`bulk`].
const FRAMES: usize = 12;
const GSO_SIZE: usize = 1_000;

#[test]
fn verify_says_equal_with_exit_0() {
    let folder = tempfile::tempdir().unwrap();
    let output = gro([OsStr::new("verify"), bulk(folder.path()).as_os_str()]);
    let text = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", self::text(&output.stderr));
    assert!(text.lines().filter(|line| line.starts_with("bulk ")).count() == 4, "four configs: {text}");
    assert!(
        text.ends_with("equal: every backend that ran delivered the same bytes for the same reasons\n"),
        "{text}"
    );
    assert!(output.stderr.is_empty(), "no progress bar where there is no terminal");
}

#[test]
fn verify_of_a_folder_takes_its_captures() {
    let folder = tempfile::tempdir().unwrap();
    bulk(folder.path());
    let output = gro(["verify".as_ref(), folder.path().as_os_str(), "--config".as_ref(), "tc".as_ref()]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout).lines().filter(|line| line.starts_with("bulk ")).count(), 1);
}

#[test]
fn a_mutant_is_found_with_exit_1_and_the_frame_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // The window changes at frame 4; the packet that must end before it starts at frame 0 or, with a pure ACK first, at 1.
    for (ack, expected) in [(false, "first at frame #0"), (true, "first at frame #1")] {
        let mut frames = if ack { vec![segment(0, 500, 0)] } else { Vec::new() };
        frames.extend((0..8).map(|number| segment(number, if number < 4 { 500 } else { 400 }, GSO_SIZE)));
        let path = folder.path().join("window.pcap");
        std::fs::write(&path, pcap(&frames)).unwrap();
        let output = gro(["verify".as_ref(), path.as_os_str(), "--mutant".as_ref(), "window".as_ref()]);
        let text = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(expected) && text.contains("DIFFERENT"), "{text}");
        let output = gro(["verify".as_ref(), path.as_os_str()]);
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn verify_json_is_one_document() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let output = gro(["verify".as_ref(), "-j".as_ref(), file.as_os_str()]);
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["schema"], &json["equal"]), (&1.into(), &true.into()));
    let run = &json["runs"][1];
    assert_eq!((&run["trace"], &run["config"]), (&"bulk".into(), &"default".into()));
    assert_eq!((&run["frames"], &run["backends"]["user"]["packets"]), (&FRAMES.into(), &1.into()));
    assert_eq!(run["backends"]["user"]["output_digest"], run["backends"]["nic"]["output_digest"]);
    let output =
        gro(["verify".as_ref(), "-j".as_ref(), "--mutant".as_ref(), "flags".as_ref(), file.as_os_str()]);
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok());
}

#[test]
fn a_required_backend_that_is_not_there_is_exit_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let message = fails(["verify".as_ref(), file.as_os_str(), "--require".as_ref(), "user,nosuch".as_ref()]);
    assert!(message.contains("nosuch") && message.contains("user, user-plain, tc, nic"), "{message}");
    let output = gro(["verify".as_ref(), file.as_os_str(), "--require".as_ref(), "user,nic".as_ref()]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn chosen_backends_run_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let verify = |flags: &[&str]| {
        let flags = flags.iter().map(OsStr::new);
        gro([OsStr::new("verify"), file.as_os_str(), "-j".as_ref()].into_iter().chain(flags))
    };
    let output = verify(&["--backends", "nic,user", "--require", "user"]);
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ran: Vec<_> = json["runs"][0]["backends"].as_object().unwrap().keys().collect();
    assert_eq!(ran, ["nic", "user"]);
    let refused = |flags: &[&str], words: &str| {
        let output = verify(flags);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    };
    refused(
        &["--backends", "user,nosuch"],
        "--backends nosuch: there is no such backend; there are user, user-plain, tc, nic",
    );
    refused(
        &["--backends", "user,nic", "--require", "tc"],
        "--require tc: there is no such backend; there are user, nic",
    );
}

#[test]
fn a_file_that_cannot_be_used_is_exit_2_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(bulk(folder.path())).unwrap();
    let output = folder.path().join("out.pcapng");
    for (name, content, words) in [
        ("absent.pcapng", None, "cannot be read"),
        ("garbage.pcapng", Some(&b"this is no capture at all"[..]), "neither pcapng nor pcap"),
        ("empty.pcapng", Some(&[][..]), "empty"),
        ("truncated.pcap", Some(&whole[..whole.len() - 3]), "ends inside record 12"),
        ("folder.pcapng/none", None, "cannot be read"),
    ] {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let verify = fails(["verify".as_ref(), path.as_os_str()]);
        let replay = fails(["replay", "-r"].map(OsStr::new).into_iter().chain([
            path.as_os_str(),
            "-w".as_ref(),
            output.as_os_str(),
        ]));
        for message in [verify, replay] {
            assert!(message.starts_with("gro: ") && message.contains(name), "{message}");
            assert!(message.contains(words), "{message}");
        }
    }
    let message = fails([
        "replay".as_ref(),
        "-r".as_ref(),
        bulk(folder.path()).as_os_str(),
        "-w".as_ref(),
        "/nowhere/y".as_ref(),
    ]);
    assert!(message.contains("/nowhere/y"), "{message}");
    let message = fails(["replay", "-r", "x", "-w", "y", "--backend", "nosuch"].map(OsStr::new));
    assert!(message.contains("nosuch"), "{message}");
    let wrong = gro(["verify", "--no-such-option"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn replay_writes_merged_packets_with_their_comment() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let written = folder.path().join("out.pcapng");
    for backend in ["user", "nic"] {
        let output = gro([
            "replay".as_ref(),
            "-r".as_ref(),
            file.as_os_str(),
            "-w".as_ref(),
            written.as_os_str(),
            "--backend".as_ref(),
            backend.as_ref(),
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "12 frames in, 1 packets out, 1 of them merged\n");
        let capture = std::fs::read(&written).unwrap();
        let comment = format!("segs={FRAMES} gso_size={GSO_SIZE} first=#0 last=#11 flush=poll_end");
        assert!(contains(&capture, comment.as_bytes()), "{backend}: {comment}");
        // What was written is a capture that holds one packet, which no engine changes any more.
        let trace = gro_bench::trace::Trace::open(&written).unwrap();
        assert_eq!(trace.frames.len(), 1);
        assert_eq!(gro_bench::trace::tcp_payload(&trace.frames[0].bytes), (FRAMES * GSO_SIZE) as u32);
        assert_eq!(gro(["verify".as_ref(), written.as_os_str()]).status.code(), Some(0));
    }
}

#[test]
fn replay_takes_a_part_and_reports_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let (read, write) = (file.to_str().unwrap(), folder.path().join("out.pcapng"));
    let output =
        gro(["replay", "-r", read, "-w", write.to_str().unwrap(), "-c", "5", "--gro-max-size", "3000", "-j"]);
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    // 40 bytes of headers and two segments stay below 3,000 bytes, three do not.
    assert_eq!((&json["frames"], &json["packets"], &json["merged"]), (&5.into(), &3.into(), &2.into()));
}

#[test]
fn replay_works_in_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let input = std::fs::read(bulk(folder.path())).unwrap();
    let mut child = command(["replay", "-r", "-", "-w", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(contains(&output.stdout, b"segs=12 gso_size=1000 first=#0 last=#11"));
    let written = folder.path().join("piped.pcapng");
    std::fs::write(&written, &output.stdout).unwrap();
    assert_eq!(gro_bench::trace::Trace::open(&written).unwrap().frames.len(), 1);

    let mut child = command(["replay", "-r", "-", "-w", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"nonsense").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("standard input"), "{}", text(&output.stderr));
}

#[test]
fn hash_shows_three_equal_hashes() {
    let output = gro(["hash"]);
    assert_eq!(output.status.code(), Some(0), "stale images: {}", text(&output.stdout));
    let text = text(&output.stdout);
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(of("library").len(), 64);
    assert_eq!((of("library"), of("library")), (of("tc"), of("nic")));
    let json: serde_json::Value = serde_json::from_slice(&gro(["hash", "-j"]).stdout).unwrap();
    assert_eq!((&json["schema"], &json["equal"]), (&1.into(), &true.into()));
    assert_eq!(json["library"], of("library"));
}

#[test]
fn each_profile_has_a_hash_of_its_own_that_its_images_carry() {
    let hash = |profile: &str| {
        let output = gro(["hash", "-j", "--profile", profile]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["profile"], profile);
        json["library"].as_str().unwrap().to_owned()
    };
    let hashes = ["linux-6.12", "linux-6.18", "linux-7.x"].map(hash);
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
    assert!(fails(["hash", "--profile", "linux-5.4"]).contains("linux-6.12, linux-6.18, linux-7.x"));
}

#[test]
fn the_rules_of_an_image_are_the_document_that_went_in() {
    let document = std::fs::read(in_checkout("gro-core/parser.json")).unwrap();
    for profile in ["linux-6.12", "linux-6.18", "linux-7.x"] {
        let image = in_checkout(&format!("gro-nic/image/gro-{profile}.nicimg"));
        let output = gro(["nic".as_ref(), "rules".as_ref(), image.as_os_str()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(output.stdout == document, "{profile}: run cargo xtask images");
        assert!(output.stderr.is_empty());
    }
    let image = std::fs::File::open(in_checkout("gro-nic/image/gro-linux-6.18.nicimg")).unwrap();
    let output = command(["nic", "rules", "-"]).stdin(image).output().unwrap();
    assert_eq!((output.status.code(), output.stdout == document), (Some(0), true));
}

#[test]
fn what_is_no_image_has_no_rules() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(in_checkout("gro-nic/image/gro-linux-6.18.nicimg")).unwrap();
    let path = folder.path().join("some.nicimg");
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    let document = whole.windows(12).position(|part| part == b"\"root-node\":").unwrap();
    let mut other_rules = whole.clone();
    other_rules[document] ^= 1;
    let mut old = whole.clone();
    old[8] = 3;
    for (file, words) in [
        (&b"{}"[..], "truncated"),
        (&whole[..whole.len() - 1], "truncated"),
        (&[b'x'; 5_000], "not a NIC image"),
        (&changed, "signature: reserved bytes set"),
        (&other_rules, "section 6 (RULES) does not match its SHA-256"),
        (&old, "image has ABI 3"),
        (&vec![0; 2 << 20], "not a NIC image"),
    ] {
        std::fs::write(&path, file).unwrap();
        let message = fails(["nic".as_ref(), "rules".as_ref(), path.as_os_str()]);
        assert!(message.contains(words), "{message}");
        assert!(message.contains("some.nicimg") && message.contains("cargo xtask images"), "{message}");
    }
    let absent = folder.path().join("absent.nicimg");
    for path in [absent.as_os_str(), folder.path().as_os_str()] {
        assert!(fails(["nic".as_ref(), "rules".as_ref(), path]).contains("cannot be read"));
    }
    assert!(fails(["nic", "rules"]).contains("<IMAGE>"));
    assert!(fails(["nic", "rules", "-"]).contains("standard input"));
}

#[test]
fn nic_info_has_the_shape_of_devlink_and_says_what_the_image_is() {
    let image = in_checkout("gro-nic/image/gro-linux-6.18.nicimg").display().to_string();
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = gro(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let info = json(&["nic", "info", "-j", &image]);
    let info = &info["info"][format!("file/{image}")];
    let hashes = json(&["hash", "-j", "--profile", "linux-6.18"]);
    assert_eq!(info["versions"]["stored"]["fw.app"], hashes["nic"]);
    assert_eq!(info["versions"]["stored"]["fw.app.name"], "gro linux-6.18");
    assert_eq!(info["versions"]["stored"]["fw.bundle_id"].as_str().unwrap().len(), 64);
    let [narrow, wide] = &info["image"]["programs"].as_array().unwrap()[..] else { panic!("{info}") };
    assert_eq!((&narrow["isa"], &wide["isa"]), (&"rv32imc".into(), &"rv64imac".into()));
    assert!(narrow["text"]["used"].as_u64().unwrap() <= 32_768);
    let config = info["image"]["config"].as_array().unwrap();
    let size = config.iter().find(|parameter| parameter["name"] == "gro_max_size").unwrap();
    assert_eq!((&size["type"], &size["default"]), (&"number".into(), &65_536.into()));
    let twin = std::fs::read(in_checkout("gro-ebpf/image/gro-linux-6.18.o")).unwrap();
    let manifest = &info["image"]["manifest"]["provenance"];
    assert_eq!(manifest["twin"]["sha256"], gro_bench::trace::sha256_hex(&twin));

    let output = gro(["nic", "info", &image]);
    let shown = text(&output.stdout);
    for word in [hashes["nic"].as_str().unwrap(), "rv64imac", "gro_max_size", "tcp4-bulk"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    assert!(fails(["nic", "info", "-"]).contains("standard input"));
}

#[test]
fn nic_load_accepts_an_image_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let image = in_checkout("gro-nic/image/gro-linux-7.x.nicimg");
    let output = gro(["nic".as_ref(), "load".as_ref(), image.as_os_str()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("accepted") && text(&output.stdout).contains("not signed"));

    let whole = std::fs::read(&image).unwrap();
    let key = gro_bench::hex(&gro_nic::image::public_key(&[3; 32]));
    let other = gro_bench::hex(&gro_nic::image::public_key(&[4; 32]));
    let signed = folder.path().join("signed.nicimg");
    std::fs::write(&signed, gro_nic::image::sign(&whole, &[3; 32]).unwrap()).unwrap();
    let load = |file: &Path, key: &str| {
        gro(["nic".as_ref(), "load".as_ref(), file.as_os_str(), "--key".as_ref(), key.as_ref()])
    };
    let output = load(&signed, &key);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(&key));
    for (file, key, words) in [
        (&signed, &other, format!("signed with key {key}")),
        (&image, &key, "not signed".to_owned()),
        (&image, &"12".to_owned(), "64 digits".to_owned()),
    ] {
        let output = load(file, key);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(&words), "{}", text(&output.stderr));
    }

    // A whole image, with a program that does not come up.
    let mut idle = gro_nic::ImageBuilder::from(gro_nic::Image::parse(&whole).unwrap());
    idle.code.bytes[..6].copy_from_slice(&[0x73, 0x00, 0x50, 0x10, 0xf5, 0xbf]);
    let path = folder.path().join("idle.nicimg");
    std::fs::write(&path, idle.build().unwrap()).unwrap();
    let message = fails(["nic".as_ref(), "load".as_ref(), path.as_os_str()]);
    assert!(message.contains("idle.nicimg: refused: the device does not come up"), "{message}");
    let mut changed = whole.clone();
    changed[300] ^= 1;
    std::fs::write(&path, changed).unwrap();
    assert!(fails(["nic".as_ref(), "load".as_ref(), path.as_os_str()]).contains("no whole image"));
}

#[test]
fn nic_sign_makes_an_image_that_loads_under_its_key_and_under_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let original = in_checkout("gro-nic/image/gro-linux-6.18.nicimg");
    let whole = std::fs::read(&original).unwrap();
    let in_folder = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let (raw, other) = (in_folder("raw.key", &[5; 32]), in_folder("other.key", &[6; 32]));
    let digits = in_folder("digits.key", format!("{}\n", "05".repeat(32)).as_bytes());
    let image = in_folder("own.nicimg", &whole);
    let done = |arguments: &[&str]| {
        let output = gro(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    let public = |key: &str| done(&["nic", "sign", "--key", key, "--public"]);
    assert_eq!(public(&raw), gro_bench::hex(&gro_nic::image::public_key(&[5; 32])));
    assert_eq!(public(&raw), public(&digits));

    // In place, and anew with another key elsewhere.
    assert!(fails(["nic", "load", &image, "--key", &public(&raw)]).contains("not signed"));
    assert!(done(&["nic", "sign", "--key", &raw, &image]).contains(&public(&raw)));
    assert!(done(&["nic", "load", &image, "--key", &public(&raw)]).contains("accepted"));
    assert!(fails(["nic", "load", &image, "--key", &public(&other)]).contains(&public(&raw)));
    let second = folder.path().join("second.nicimg").display().to_string();
    let signed = std::fs::read(&image).unwrap();
    done(&["nic", "sign", "--key", &other, &image, "--output", &second]);
    assert_eq!(std::fs::read(&image).unwrap(), signed);
    done(&["nic", "load", &second, "--key", &public(&other)]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5, "nothing else is left");

    // A bit anywhere: in the head, the code, the signature.
    for at in [40, whole.len() / 2, whole.len() - 60] {
        let mut changed = signed.clone();
        changed[at] ^= 0x10;
        let path = in_folder("changed.nicimg", &changed);
        fails(["nic", "load", &path, "--key", &public(&raw)]);
        if at < whole.len() - 128 {
            assert!(fails(["nic", "sign", "--key", &raw, &path]).contains("no whole image"));
            assert_eq!(std::fs::read(&path).unwrap(), changed);
        }
    }

    let short = in_folder("short.key", &[5; 31]);
    let message = fails(["nic", "sign", "--key", &short, &image]);
    assert!(message.contains("short.key: no ed25519 seed"), "{message}");
    assert!(fails(["nic", "sign", "--key", &raw]).contains("<IMAGE>"));
    assert!(fails(["nic", "sign", "--key", &raw, "-"]).contains("--output"));
}

#[test]
fn engine_flags_reach_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let file = file.to_str().unwrap();
    // Twelve segments merge into one packet; a limit in the midst makes two of them, and the words say which.
    let explain = |flags: &[&str]| text(&gro([&["explain", "-r", file][..], flags].concat()).stdout);
    assert!(!explain(&[]).contains("gro_ipv4_max_size"));
    assert!(explain(&["--gro-max-size", "6000"]).contains("would reach gro_ipv4_max_size 6000"));
    let verify = gro(["verify", file, "--gro-max-size", "6000"]);
    let table = text(&verify.stdout);
    assert_eq!(verify.status.code(), Some(0), "{table}");
    assert!(
        table.lines().any(|line| line.starts_with("bulk   flags") && !line.contains("not applicable")),
        "{table}"
    );
    assert!(fails(["verify", file, "--gro-max-size", "524281"]).contains("524280"));
    let tc = ["replay", "-r", file, "-w", "-", "--backend", "tc"];
    let in_band = [&tc[..], &["--gro-max-size", "9000", "--rx-vlan-strip", "off"]].concat();
    assert!(fails(in_band).contains("tc ingress"));
    assert!(fails(tc).contains("gro_max_size 65536"));
}

#[test]
fn tunnels_are_looked_into_as_the_flag_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipip.pcap");
    let frames: Vec<_> = (0..FRAMES).map(|number| in_ip(number, &segment(number, 500, GSO_SIZE))).collect();
    std::fs::write(&path, pcap(&frames)).unwrap();
    let packets = |flags: &[&str]| {
        let file = path.to_str().unwrap();
        let output = gro([&["verify", file, "--backends", "user,nic", "-j"][..], flags].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let backends = &json["runs"][0]["backends"];
        assert_eq!(backends["user"]["output_digest"], backends["nic"]["output_digest"]);
        backends["user"]["packets"].as_u64().unwrap() as usize
    };
    assert_eq!(packets(&[]), 1);
    for list in ["ip-in-ip", "ip-in-ip,gre", "geneve,vxlan,ip-in-ip"] {
        assert_eq!(packets(&["--tunnels", list]), 1, "{list}");
    }
    for list in ["none", "gre", "vxlan,geneve"] {
        assert_eq!(packets(&["--tunnels", list]), FRAMES, "{list}");
    }
    for list in ["ipip", "", "none,gre", "gre,"] {
        let message = fails(["verify", "--tunnels", list]);
        assert!(message.contains("ip-in-ip, gre, vxlan, geneve; or none"), "{list}: {message}");
    }
}

/// Referees of the NIC run when they are named, and never otherwise.
#[test]
fn a_referee_runs_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let backends = |flags: &[&str]| {
        let output = gro([&["verify", file.to_str().unwrap(), "--config", "tc", "-j"][..], flags].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let names = json["runs"][0]["backends"].as_object().unwrap().keys().cloned();
        names.collect::<Vec<String>>()
    };
    assert!(!backends(&[]).contains(&"nic-qemu".to_owned()));
    assert_eq!(backends(&["--backends", "user,nic-qemu"]), ["nic-qemu", "user"]);
    let required = backends(&["--require", "nic-qemu"]);
    assert!(
        required.contains(&"nic-qemu".to_owned()) && required.contains(&"nic".to_owned()),
        "{required:?}"
    );
    assert!(!required.contains(&"nic-qemu-rv64".to_owned()));
}

#[test]
fn every_subcommand_has_help() {
    let help = |arguments: &[&str]| {
        let output = gro(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        text(&output.stdout)
    };
    let all = help(&["--help"]);
    let commands = all.lines().skip_while(|line| *line != "Commands:").skip(1).map_while(|line| {
        let name = line.strip_prefix("  ")?;
        name.starts_with(|first: char| first.is_ascii_alphabetic()).then(|| name.split(' ').next())?
    });
    let commands: Vec<&str> = commands.collect();
    assert!(["verify", "replay", "hash"].iter().all(|name| commands.contains(name)), "{all}");
    for command in commands.into_iter().filter(|&name| name != "help") {
        assert!(help(&[command, "--help"]).contains("Usage: gro"), "{command}");
    }
    assert!(help(&["--version"]).starts_with("gro "));
}

/// `gro … | head -0`: the reader has gone before the first byte.
#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = bulk(folder.path());
    let file = file.to_str().unwrap();
    let image = in_checkout("gro-nic/image/gro-linux-6.18.nicimg").display().to_string();
    for arguments in [
        &["hash"][..],
        &["hash", "-j"],
        &["verify", file],
        &["verify", "-j", file],
        &["replay", "-r", file, "-w", "-"],
        &["nic", "info", &image],
        &["nic", "info", "-j", &image],
        &["nic", "load", &image],
        &["nic", "rules", &image],
        &["--help"],
        &["verify", "--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = command(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        let status = child.wait().unwrap();
        assert!(!message.contains("pipe") && !message.contains("panic"), "{arguments:?}: {message}");
        assert!(status.success(), "{arguments:?}: {status}: {message}");
    }
}

fn gro(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    command(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs what must end in trouble, and gives its message.
fn fails(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let output = gro(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "nothing on standard output beside a message");
    message
}

fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gro"));
    command.args(arguments);
    command
}

/// A file of this checkout.
fn in_checkout(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(file)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A capture of one flow that becomes one packet.
fn bulk(folder: &Path) -> PathBuf {
    let path = folder.join("bulk.pcap");
    let frames: Vec<_> = (0..FRAMES).map(|number| segment(number, 500, GSO_SIZE)).collect();
    std::fs::write(&path, pcap(&frames)).unwrap();
    path
}

/// A TCP segment over IPv4, its checksums complete.
fn segment(number: usize, window: u16, length: usize) -> Vec<u8> {
    let mut frame = Vec::from(*b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0");
    frame.extend([0x45, 0]);
    frame.extend((40 + length as u16).to_be_bytes());
    frame.extend([0, number as u8, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 80, 1, 187]);
    frame.extend((5_000 + number * GSO_SIZE).to_be_bytes().into_iter().skip(4));
    frame.extend([0, 0, 0, 9, 0x50, 0x10]);
    frame.extend(window.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend((0..length).map(|at| at as u8));
    let check = checksum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&check);
    let check = checksum(&[&frame[26..34], &[0, 6], &(20 + length as u16).to_be_bytes(), &frame[34..]]);
    frame[50..52].copy_from_slice(&check);
    frame
}

/// The packet of a frame, in IPv4 in IPv4.
fn in_ip(number: usize, frame: &[u8]) -> Vec<u8> {
    let (ethernet, packet) = frame.split_at(14);
    let mut outer = vec![0x45, 0];
    outer.extend((20 + packet.len() as u16).to_be_bytes());
    outer.extend([1, number as u8, 0x40, 0, 64, 4, 0, 0, 192, 168, 0, 1, 192, 168, 0, 2]);
    let check = checksum(&[&outer]);
    outer[10..12].copy_from_slice(&check);
    [ethernet, &outer, packet].concat()
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}

/// An old pcap file, microseconds, little endian.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, 1] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    for (number, frame) in frames.iter().enumerate() {
        for word in [1_700_000_000, number as u32, frame.len() as u32, frame.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(frame);
    }
    file
}

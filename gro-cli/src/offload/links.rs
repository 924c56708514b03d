//! The chain from the NIC's memory to the program in the kernel, link by link.

use crate::nic::control::Status;
use anyhow::Context as _;
use gro_bench::hex;
use gro_core::{Config, Release};
use gro_ebpf::live::{Attachment, LiveError, committed_tag};
use gro_nic::Image;
use gro_nic::identity::config_hash;
use serde::Serialize;
use std::fmt;

/// Two things that must be the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Link {
    /// Its name in JSON.
    pub(super) link: &'static str,
    pub(super) agrees: bool,
    /// What the NIC says.
    pub(super) nic: String,
    /// What it is compared with: the program in the kernel, or the image.
    pub(super) other: String,
    /// What it means that they differ.
    pub(super) why: Option<&'static str>,
}

impl fmt::Display for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &str| match text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => text.chars().take(24).collect::<String>(),
            false => text.to_owned(),
        };
        let (nic, other) = (short(&self.nic), short(&self.other));
        match self.why {
            None => write!(out, "{:<12} agrees   {nic}", self.link),
            Some(why) => write!(out, "{:<12} BROKEN   {nic} and {other}: {why}", self.link),
        }
    }
}

fn link(link: &'static str, nic: String, other: String, why: &'static str) -> Link {
    let agrees = nic == other;
    Link { link, agrees, nic, other, why: (!agrees).then_some(why) }
}

/// Compares a NIC with the program on its network device, and its memory with an image.
///
/// # Errors
/// Something cannot be found out. What is found to differ is a link that does not agree.
pub(super) fn compare(
    status: &Status,
    attachment: &mut Attachment,
    image: Option<&Image>,
) -> anyhow::Result<Vec<Link>> {
    let mut links = Vec::new();
    let kernel = match attachment.loaded() {
        Ok(loaded) => Some(loaded),
        Err(LiveError::Foreign(what)) => {
            links.push(Link {
                link: "program",
                agrees: false,
                nic: format!("a gro program at {}", status.tap),
                other: what,
                why: Some("what is attached is not the program of gro"),
            });
            None
        }
        Err(error) => return Err(error).context("looking at the program in the kernel"),
    };
    if let Some(loaded) = kernel {
        // What it does is told by its instructions; the hash in it only says what it was made from.
        let ours = Release::by_name(attachment.profile()).map(committed_tag).transpose()?;
        let tag = ours.map_or_else(|| "no program of this build".to_owned(), |tag| format!("{tag:016x}"));
        links.push(link(
            "program",
            tag,
            format!("{:016x}", loaded.tag),
            "the kernel runs other instructions than those of this build's program",
        ));
    }

    let expected = image.map(|image| (hex(&image.id), hex(&image.measurement()), hex(&image.program_hash)));
    let none = || "no image of this build".to_owned();
    let (id, memory, stated) = expected.unwrap_or_else(|| (none(), none(), none()));
    links.push(link("image", status.image_id.clone(), id, "the NIC was loaded with another image"));
    links.push(link(
        "measurement",
        of_all(status.lanes.iter().map(|lane| &lane.measurement)),
        memory,
        "the NIC's instruction memory is not what the image puts there",
    ));
    let reported = of_all(status.lanes.iter().map(|lane| &lane.program_hash));
    links.push(link(
        "firmware",
        reported.clone(),
        stated,
        "the firmware reports another program hash than the image states",
    ));
    if let Some(loaded) = kernel {
        links.push(link(
            "program_hash",
            reported,
            hex(&loaded.program_hash),
            "NIC and program were built from other engines or rule sets",
        ));
    }
    links.push(link(
        "profile",
        status.profile.clone(),
        attachment.profile().to_owned(),
        "NIC and program follow the rules of other kernels: `--image` and `--profile` choose them",
    ));
    let theirs = attachment.config()?;
    let of = |profile: &str, config: Config| hex(&config_hash(profile, &live(config)));
    links.push(link(
        "config",
        of(&status.profile, status.config.into()),
        of(attachment.profile(), theirs),
        "NIC and program have another config (gro_max_size, UDP): start both with the same",
    ));
    Ok(links)
}

/// What counts of a config on live traffic: nothing is held behind the end of a poll, whatever the kernel's HZ.
fn live(config: Config) -> Config {
    Config { hz: Config::DEFAULT.hz, ..config }
}

/// What all lanes say, or that they do not say the same.
fn of_all<'a>(mut words: impl Iterator<Item = &'a String>) -> String {
    let Some(first) = words.next() else { return "no lane".to_owned() };
    if words.all(|word| word == first) { first.clone() } else { "the lanes differ".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_must_say_the_same() {
        let words = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            of_all(words.iter())
        };
        assert_eq!((words(&["a", "a"]), words(&["a"])), ("a".into(), "a".into()));
        assert_eq!((words(&["a", "b"]), words(&[])), ("the lanes differ".into(), "no lane".into()));
    }

    #[test]
    fn a_broken_link_says_what_it_means() {
        let text = link("config", "1".into(), "2".into(), "another config").to_string();
        assert_eq!(text, "config       BROKEN   1 and 2: another config");
        assert!(link("config", "1".into(), "1".into(), "another config").agrees);
    }

    #[test]
    fn the_jiffy_counts_for_nothing() {
        let config = |hz| Config { hz, ..Config::DEFAULT };
        assert_eq!(live(config(1000)), live(config(250)));
        assert_ne!(live(Config { udp: gro_core::UdpMode::Forwarding, ..config(250) }), live(config(250)));
    }
}

//! A long ruleset on the receiver's path: hooks that cost something for every packet.

use super::topology::Topology;
use super::{LiveError, step};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

/// Has the host under test ask `count` rules of nftables about each packet, none of which applies. They go with the host.
///
/// # Errors
/// No nft(8), of the package nftables, or a kernel without it.
pub fn load(topology: &Topology, count: u32) -> Result<(), LiveError> {
    let script = script(count);
    topology.under_test().0.within(|| {
        let run = || {
            let mut child = Command::new("nft")
                .args(["-f", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(script.as_bytes())?;
            }
            let output = child.wait_with_output()?;
            match output.status.success() {
                true => Ok(()),
                false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            }
        };
        run().map_err(step("loading rules with `nft`, of the package nftables"))
    })
}

/// 192.0.2.0/24 (RFC 5737) sends nothing.
fn script(count: u32) -> String {
    let mut text = String::from(
        "table inet gro {\n chain long {\n  type filter hook prerouting priority filter; policy accept;\n",
    );
    for number in 0..count {
        let (host, port) = (1 + number % 250, 10_000 + number);
        // Writing to a string does not fail.
        let _ = writeln!(text, "  ip saddr 192.0.2.{host} tcp dport {port} drop");
    }
    text + " }\n}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_as_many_rules_as_asked_for() {
        assert_eq!(script(200).matches(" drop\n").count(), 200);
        assert_eq!(script(0).matches(" drop").count(), 0);
    }
}

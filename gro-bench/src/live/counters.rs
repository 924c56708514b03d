//! The counters of a network namespace, by the names that nstat(8) gives them.

use super::{LiveError, step};
use std::collections::BTreeMap;
use std::fs;

/// Counters at one moment: `TcpInCsumErrors`, `TcpExtTCPSACKReorder`, …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, i64>);

impl Counters {
    /// Of this thread's network namespace.
    ///
    /// # Errors
    /// `/proc` is not there.
    pub fn read() -> Result<Self, LiveError> {
        let mut counters = Self::default();
        for file in ["snmp", "netstat"] {
            // `/proc/net` is the namespace of the process's first thread.
            let path = format!("/proc/thread-self/net/{file}");
            let text = fs::read_to_string(&path).map_err(step(format!("reading {path}")))?;
            counters.take(&text);
        }
        Ok(counters)
    }

    /// What was counted between `before` and this.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let grown = self.0.iter().map(|(name, now)| (name.clone(), now - before.get(name)));
        Self(grown.collect())
    }

    /// A counter; 0 of one that the kernel does not have.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Pairs of lines, each with its protocol: names, then values.
    fn take(&mut self, text: &str) {
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut names = names.split_ascii_whitespace();
            let Some(protocol) = names.next().map(|word| word.trim_end_matches(':')) else { continue };
            for (name, value) in names.zip(values.split_ascii_whitespace().skip(1)) {
                // `MaxConn` is -1, and no counter is a word.
                if let Ok(value) = value.parse() {
                    self.0.insert(format!("{protocol}{name}"), value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pairs_of_lines() {
        let mut before = Counters::default();
        before.take("Tcp: MaxConn InSegs\nTcp: -1 5\nTcpExt: TCPAutoCorking\nTcpExt: 7\n");
        let mut after = Counters::default();
        after.take("Tcp: MaxConn InSegs\nTcp: -1 9\nTcpExt: TCPAutoCorking TCPNew\nTcpExt: 7 3\nodd");
        let grown = after.since(&before);
        assert_eq!((grown.get("TcpInSegs"), grown.get("TcpMaxConn")), (4, 0));
        assert_eq!(
            (grown.get("TcpExtTCPNew"), grown.get("TcpExtTCPAutoCorking"), grown.get("none")),
            (3, 0, 0)
        );
    }
}

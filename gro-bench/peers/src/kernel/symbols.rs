//! Which function an address of the kernel is in, and what that has to do with GRO.

use anyhow::{Context as _, Result, ensure};
use std::fs;

/// The kernel's functions, by address.
pub(crate) struct Symbols {
    sorted: Vec<(u64, String)>,
}

/// What a function is to this measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Gro,
    /// Counts where GRO calls it.
    Checksum,
    Other,
}

impl Symbols {
    /// Of the running kernel.
    ///
    /// # Errors
    /// A kernel that hides them.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/kallsyms").context("/proc/kallsyms")?;
        let symbols = Self::parse(&text);
        ensure!(
            symbols.sorted.iter().any(|(at, _)| *at != 0),
            "the kernel hides its addresses (kptr_restrict)"
        );
        Ok(symbols)
    }

    fn parse(text: &str) -> Self {
        let function = |line: &str| {
            let mut words = line.split_whitespace();
            let (at, kind, name) = (words.next()?, words.next()?, words.next()?);
            let at = u64::from_str_radix(at, 16).ok()?;
            matches!(kind, "t" | "T" | "w" | "W").then(|| (at, name.to_owned()))
        };
        let mut sorted: Vec<_> = text.lines().filter_map(function).collect();
        sorted.sort();
        Self { sorted }
    }

    /// The function that an address is in, without what the compiler adds to a name.
    pub(crate) fn name(&self, address: u64) -> &str {
        let after = self.sorted.partition_point(|(at, _)| *at <= address);
        let name = after.checked_sub(1).map_or("", |before| &self.sorted[before].1);
        name.split('.').next().unwrap_or(name)
    }
}

/// By the name: the kernel's functions of GRO have the word in it.
pub(crate) fn role(name: &str) -> Role {
    // What only watches has the names of what it watches.
    let watching = ["bpf_", "__bpf_", "trace_", "__traceiter_", "perf_trace_", "__probestub_", "veth_"];
    if watching.iter().any(|prefix| name.starts_with(prefix)) {
        Role::Other
    } else if name.contains("csum") || name.contains("checksum") {
        Role::Checksum
    } else if name.split('_').any(|word| word == "gro") {
        Role::Gro
    } else {
        Role::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_function_before_it() {
        let symbols = Symbols::parse("30 t b.isra.0\n10 T a [mod]\n20 d data\n");
        assert_eq!(symbols.name(0x2f), "a");
        assert_eq!(symbols.name(0x30), "b");
        assert_eq!(symbols.name(1), "");
    }

    #[test]
    fn names_tell_what_is_gro() {
        for name in [
            "dev_gro_receive",
            "inet_gro_receive",
            "ipv6_gro_complete",
            "tcp4_gro_receive",
            "skb_gro_receive",
            "napi_gro_receive",
            "gro_pull_from_frag0",
            "__gro_flush",
        ] {
            assert_eq!(role(name), Role::Gro, "{name}");
        }
        for name in ["csum_partial", "__skb_checksum", "__skb_gro_checksum_complete"] {
            assert_eq!(role(name), Role::Checksum, "{name}");
        }
        for name in ["veth_poll", "bpf_prog_1_gro", "__traceiter_napi_gro_receive_entry", "migrate_groups"] {
            assert_eq!(role(name), Role::Other, "{name}");
        }
    }
}

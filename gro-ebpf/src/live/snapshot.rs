//! What an attachment counted, as plain data.
//!
//! `gro stats -j` prints one JSON document, [`Snapshots`]: `{"schema":1,"attachments":[...]}` with a [`Snapshot`] for each
//! attachment. Field names are the keys; counters only grow while an attachment lives, and start at 0 with it. A key may be added
//! within schema 1; one that goes or changes its meaning makes schema 2.

use gro_core::stats::Counters;
use gro_core::{Bypass, Config, FlushReason, UdpMode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The document of `gro stats -j`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// 1.
    pub schema: u32,
    /// Every attachment that was asked for.
    pub attachments: Vec<Snapshot>,
}

/// The state of one attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Name of the interface.
    pub interface: String,
    /// Its number in its namespace.
    pub ifindex: u32,
    /// Number (inode) of the network namespace.
    pub netns: u64,
    /// Who delivers.
    pub mode: Mode,
    /// Where frames are taken: `tcx`, `clsact` or `packet`.
    pub hook: String,
    /// Rule set, as in `linux-6.18`.
    pub profile: String,
    /// Hash of the running program, 64 hexadecimal digits.
    pub program_hash: String,
    /// Process that delivers, via TAP only.
    pub pid: Option<u32>,
    /// What was configured.
    pub config: SnapshotConfig,
    /// Frames that came in.
    pub wire_packets: u64,
    /// Bytes that came in, Ethernet headers included.
    pub wire_bytes: u64,
    /// Packets delivered, merged or not.
    pub packets: u64,
    /// Bytes delivered, Ethernet headers included.
    pub bytes: u64,
    /// Packets delivered with two segments or more.
    pub merged_packets: u64,
    /// Frames that joined a held packet; its first is not among them.
    pub merged_segments: u64,
    /// Packets that left the table, by [`FlushReason::name`]. Every name is there.
    pub flush: BTreeMap<String, u64>,
    /// Frames delivered at once, by [`Bypass::name`]. Every name is there.
    pub bypass: BTreeMap<String, u64>,
    /// In-place: the skbs that become merged packets.
    pub carriers: Carriers,
    /// What was refused, and what went wrong.
    pub guards: Guards,
    /// Each CPU that has state, by number.
    pub cpus: Vec<CpuSnapshot>,
}

/// Who delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The tc program, in the kernel.
    InPlace,
    /// A process, through a TAP device.
    ViaTap,
}

impl Mode {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::InPlace => "in-place",
            Self::ViaTap => "via-tap",
        }
    }
}

/// What was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotConfig {
    /// Bytes that a merged IPv6 packet stays below.
    pub gro_max_size: u32,
    /// The same for IPv4.
    pub gro_ipv4_max_size: u32,
    /// Whether UDP is coalesced.
    pub udp: bool,
    /// Whether flows without a local socket are coalesced.
    pub forwarding: bool,
}

impl SnapshotConfig {
    /// Of the engine's config.
    pub fn new(config: &Config, forwarding: bool) -> Self {
        Self {
            gro_max_size: config.gro_max_size,
            gro_ipv4_max_size: config.gro_ipv4_max_size,
            udp: config.udp != UdpMode::Off,
            forwarding,
        }
    }
}

macro_rules! counters {
    ($(#[$of:meta])* $name:ident { $($(#[doc = $doc:literal])+ $field:ident,)+ }) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: u64,)+
        }

        impl $name {
            /// Every counter's name in JSON, with what it counts.
            pub const ALL: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), concat!($($doc),+))),+];

            /// Every counter with its name in JSON.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),+].into_iter()
            }

            fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field)),+ }
            }
        }
    };
}

counters!(
    /// What became of carriers: skbs that were sent round the backlog and become merged packets when they return.
    Carriers {
        /// Sent round.
        issued,
        /// Came back.
        returned,
        /// Did not come back, as a later one showed: the backlog was full.
        lost,
        /// Lost ones whose packet was delivered all the same, in its place.
        recovered,
        /// Frames that carry nothing and were sent round too, so that they do not overtake.
        ordered,
        /// Of these, lost: as any frame for which the backlog has no room.
        lost_frames,
        /// Sent round once more: it was not their turn, or a lost one's packet was delivered by their skb.
        requeued,
        /// Came back on another CPU.
        astray,
    }
);

counters!(
    /// What was refused or left alone, and what went wrong. Only `already_merged`, `not_local` and `no_room` grow on a
    /// healthy machine.
    Guards {
        /// An skb that a socket owned came back and was not grown: a clone of it was.
        socket,
        /// A packet that arrived merged (gso) passed untouched.
        already_merged,
        /// A frame was longer than the program's buffers.
        too_long,
        /// A flow without a local established socket was not merged.
        not_local,
        /// A frame was so long that a second one would not fit.
        no_room,
        /// A frame's headers did not lie in one piece.
        scattered,
        /// No buffer was free.
        no_buffer,
        /// No carrier number was free.
        no_number,
        /// A helper of the kernel failed.
        helper_errors,
        /// A frame was shorter in memory than its length says.
        truncated,
        /// The ring from the interface was full, and the kernel dropped frames.
        ring_full,
        /// The TAP device refused a packet.
        tap_refused,
    }
);

/// One CPU (in-place) or queue (via TAP).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuSnapshot {
    /// Its number.
    pub cpu: u32,
    /// Frames that came in.
    pub wire_packets: u64,
    /// Packets delivered.
    pub packets: u64,
    /// Running digest over every decision, 16 hexadecimal digits.
    pub decision_digest: String,
}

impl Snapshot {
    /// An attachment that counted nothing yet: every name is there, everything is 0.
    pub fn new(interface: &str, ifindex: u32, netns: u64, mode: Mode, config: SnapshotConfig) -> Self {
        Self {
            interface: interface.to_owned(),
            ifindex,
            netns,
            mode,
            hook: String::new(),
            profile: String::new(),
            program_hash: String::new(),
            pid: None,
            config,
            wire_packets: 0,
            wire_bytes: 0,
            packets: 0,
            bytes: 0,
            merged_packets: 0,
            merged_segments: 0,
            flush: FlushReason::ALL.into_iter().map(|why| (why.name().to_owned(), 0)).collect(),
            bypass: Bypass::ALL.into_iter().map(|why| (why.name().to_owned(), 0)).collect(),
            carriers: Carriers::default(),
            guards: Guards::default(),
            cpus: Vec::new(),
        }
    }

    /// Adds what one engine (a CPU's, a queue's) counted. Bytes delivered are the datapath's: the engine does not count them.
    pub fn add_counters(&mut self, counters: &Counters) {
        self.wire_packets += counters.wire_packets;
        self.wire_bytes += counters.wire_bytes;
        self.packets += counters.packets;
        self.merged_packets += counters.merged_packets;
        self.merged_segments += counters.merged_segments;
        for (why, count) in FlushReason::ALL.into_iter().zip(counters.flush) {
            *self.flush.entry(why.name().to_owned()).or_default() += count;
        }
        for (why, count) in Bypass::ALL.into_iter().zip(counters.bypass) {
            *self.bypass.entry(why.name().to_owned()).or_default() += count;
        }
    }

    /// Adds one CPU or queue: [`Self::add_counters`], and its row in [`Self::cpus`].
    pub fn add_cpu(&mut self, cpu: u32, counters: &Counters, decision_digest: u64) {
        self.add_counters(counters);
        self.cpus.push(CpuSnapshot {
            cpu,
            wire_packets: counters.wire_packets,
            packets: counters.packets,
            decision_digest: format!("{decision_digest:016x}"),
        });
    }

    /// What happened between an earlier snapshot of the same attachment and this one. Everything that is no counter is this one's.
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let before = |name| then.get(name).copied().unwrap_or(0);
            now.iter().map(|(name, count)| (name.clone(), count.saturating_sub(before(name)))).collect()
        };
        let cpus = self.cpus.iter().map(|cpu| {
            let then = earlier.cpus.iter().find(|then| then.cpu == cpu.cpu);
            CpuSnapshot {
                wire_packets: cpu.wire_packets.saturating_sub(then.map_or(0, |then| then.wire_packets)),
                packets: cpu.packets.saturating_sub(then.map_or(0, |then| then.packets)),
                ..cpu.clone()
            }
        });
        Self {
            wire_packets: self.wire_packets.saturating_sub(earlier.wire_packets),
            wire_bytes: self.wire_bytes.saturating_sub(earlier.wire_bytes),
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            merged_packets: self.merged_packets.saturating_sub(earlier.merged_packets),
            merged_segments: self.merged_segments.saturating_sub(earlier.merged_segments),
            flush: less(&self.flush, &earlier.flush),
            bypass: less(&self.bypass, &earlier.bypass),
            carriers: self.carriers.since(&earlier.carriers),
            guards: self.guards.since(&earlier.guards),
            cpus: cpus.collect(),
            ..self.clone()
        }
    }

    /// Rates, if this is what happened within `time` (see [`Self::since`]).
    pub fn rates(&self, time: Duration) -> Rates {
        let seconds = time.as_secs_f64();
        let a_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Rates {
            bits: a_second(self.wire_bytes.saturating_mul(8)),
            wire_packets: a_second(self.wire_packets),
            packets: a_second(self.packets),
        }
    }

    /// Frames that came in for each packet delivered; 0 before the first.
    pub fn frames_a_packet(&self) -> f64 {
        ratio(self.wire_packets, self.packets)
    }

    /// Segments of the average merged packet; 0 before the first.
    pub fn segments_a_merge(&self) -> f64 {
        ratio(self.merged_segments.saturating_add(self.merged_packets), self.merged_packets)
    }

    /// The most frequent flush reasons with their counts, most frequent first, those that never happened left out.
    pub fn top_flush(&self, most: usize) -> Vec<(&str, u64)> {
        let mut reasons: Vec<_> = self.flush.iter().map(|(name, &count)| (name.as_str(), count)).collect();
        reasons.retain(|&(_, count)| count > 0);
        // Stable: among equals, the order of names.
        reasons.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        reasons.truncate(most);
        reasons
    }
}

/// What passes in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Bits that came in.
    pub bits: f64,
    /// Frames that came in.
    pub wire_packets: f64,
    /// Packets delivered.
    pub packets: f64,
}

fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Snapshot {
        let config = SnapshotConfig::new(&Config::TC, false);
        Snapshot::new("eth0", 3, 4_026_531_833, Mode::InPlace, config)
    }

    fn counted() -> Counters {
        let mut counters = Counters {
            wire_packets: 100,
            wire_bytes: 150_000,
            packets: 12,
            merged_packets: 9,
            merged_segments: 81,
            ..Counters::ZERO
        };
        counters.flush[FlushReason::Push as usize] = 7;
        counters.flush[FlushReason::Size as usize] = 2;
        counters.bypass[Bypass::NotIp as usize] = 3;
        counters
    }

    #[test]
    fn engines_add_up() {
        let mut snapshot = empty();
        snapshot.add_cpu(0, &counted(), 0xab);
        snapshot.add_cpu(1, &counted(), 1);
        assert_eq!((snapshot.wire_packets, snapshot.packets, snapshot.flush["psh"]), (200, 24, 14));
        assert_eq!((snapshot.bypass["not_ip"], snapshot.bypass["flags"]), (6, 0));
        assert_eq!(snapshot.flush.len(), FlushReason::ALL.len());
        assert_eq!(snapshot.cpus[0].decision_digest, "00000000000000ab");
        assert_eq!(snapshot.segments_a_merge(), 10.0);
        assert_eq!(snapshot.top_flush(3), [("psh", 14), ("size", 4)]);
    }

    #[test]
    fn a_difference_gives_rates_and_never_underflows() {
        let (mut before, mut after) = (empty(), empty());
        before.add_cpu(0, &counted(), 1);
        after.add_cpu(0, &counted(), 1);
        after.add_cpu(1, &counted(), 2);
        after.guards.socket = 5;
        let between = after.since(&before);
        assert_eq!((between.wire_packets, between.cpus[0].wire_packets, between.guards.socket), (100, 0, 5));
        let rates = between.rates(Duration::from_millis(500));
        assert_eq!(rates, Rates { bits: 2_400_000.0, wire_packets: 200.0, packets: 24.0 });
        assert_eq!(before.since(&after).wire_packets, 0);
        assert_eq!(between.rates(Duration::ZERO), Rates::default());
        assert_eq!((empty().frames_a_packet(), empty().segments_a_merge()), (0.0, 0.0));
    }

    #[test]
    fn json_is_as_documented_and_comes_back() {
        let mut snapshot = empty();
        snapshot.add_cpu(0, &counted(), 1);
        let json =
            serde_json::to_value(Snapshots { schema: 1, attachments: vec![snapshot.clone()] }).unwrap();
        let one = &json["attachments"][0];
        assert_eq!((&one["mode"], &one["pid"]), (&"in-place".into(), &serde_json::Value::Null));
        assert_eq!((&one["config"]["gro_max_size"], &one["flush"]["psh"]), (&15_000.into(), &7.into()));
        assert_eq!((&one["carriers"]["astray"], &one["guards"]["tap_refused"]), (&0.into(), &0.into()));
        let back: Snapshots = serde_json::from_value(json).unwrap();
        assert_eq!(back.attachments, [snapshot]);
    }
}

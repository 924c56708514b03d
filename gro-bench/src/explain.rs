//! What became of every frame, and why, in words: with the values that decided and the kernel function of the rule.

use crate::backend::vlan_word;
use crate::schedule::{Step, schedule};
use crate::segment::behind_tags;
use crate::trace::{Frame, Trace};
use etherparse::{NetHeaders, PacketHeaders, TcpHeader, TransportHeader};
use gro_core::user::{Delivered, Engine, Why};
use gro_core::{
    Bypass, Config, FlushReason, GroResult, Linux7, Linux612, Linux618, Meta, Profile, Release, VlanMode,
};
use serde::Serialize;

/// One frame's story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Number of the frame, from 0.
    pub frame: usize,
    /// `held`, `merged` or `normal`.
    pub verdict: &'static str,
    /// The rule's name: a flush or bypass reason, or the verdict itself where no rule stood against it.
    pub rule: &'static str,
    /// The kernel function that the rule comes from.
    pub source: &'static str,
    /// In words.
    pub words: String,
    /// Packets that left because of this frame: number of their first frame, number of their last one, why.
    pub left: Vec<(u32, u32, &'static str)>,
}

/// Runs the userspace engine over a trace, and tells of every frame in order.
pub fn explain(trace: &Trace, config: Config, profile: Release) -> Vec<Explanation> {
    match profile {
        Release::Linux612 => explain_as::<Linux612>(trace, config),
        Release::Linux618 => explain_as::<Linux618>(trace, config),
        Release::Linux7 => explain_as::<Linux7>(trace, config),
    }
}

fn explain_as<P: Profile>(trace: &Trace, config: Config) -> Vec<Explanation> {
    let in_band = (config.vlan == VlanMode::InBand).then(|| trace.with_tags_in_band());
    let trace = in_band.as_ref().unwrap_or(trace);
    let mut engine = Engine::<P>::new(config);
    let mut explanations = Vec::with_capacity(trace.frames.len());
    for step in schedule(trace, &config) {
        let (frames, jiffies) = match step {
            Step::Poll { frames, jiffies } => (frames, jiffies),
            Step::Tick { jiffies } => {
                engine.set_time(jiffies);
                engine.tick(&mut |_| ());
                continue;
            }
        };
        engine.set_time(jiffies);
        for number in frames {
            let frame = &trace.frames[number];
            let meta = Meta { hash: frame.hash, vlan: vlan_word(frame.vlan), verified: false };
            let mut out = Vec::new();
            let result = engine.receive(frame.bytes.clone(), meta, &mut |packet| out.push(packet));
            explanations.push(Story { trace, config, number, result, out: &out }.tell());
        }
        engine.poll_end(&mut |_| ());
    }
    explanations
}

struct Story<'a> {
    trace: &'a Trace,
    config: Config,
    number: usize,
    result: GroResult,
    /// What left during this frame: the held packet of its flow or the oldest, and the frame itself if it was not held.
    out: &'a [Delivered],
}

impl Story<'_> {
    fn tell(&self) -> Explanation {
        let flushed = self.out.iter().find_map(|packet| match packet.why {
            Why::Flush(why) => Some((why, packet)),
            Why::Bypass(_) => None,
        });
        let bypass = self.out.iter().find_map(|packet| match packet.why {
            Why::Bypass(why) => Some(why),
            Why::Flush(_) => None,
        });
        let headers = Headers::of(&self.frame().bytes);
        let ipv6 = behind_tags(&self.frame().bytes).0 == ETHERTYPE_IPV6;
        let left = self.out.iter().map(|packet| (packet.first, packet.last, packet.why.name())).collect();
        let (verdict, rule, source, words) = match (self.result, flushed, bypass) {
            (GroResult::Merged, None, _) => {
                ("merged", "merged", source_of(FlushReason::None, headers.as_ref()), "merged".to_owned())
            }
            (GroResult::Merged, Some((why, packet)), _) => {
                let words = format!("merged into #{}, which leaves: {}", packet.first, closing(why));
                ("merged", why.name(), source_of(why, headers.as_ref()), words)
            }
            (GroResult::Held, None, _) => {
                ("held", "held", "dev_gro_receive", "held: no packet of its flow is held".to_owned())
            }
            (GroResult::Held, Some((FlushReason::Evicted, packet)), _) => {
                let words = format!(
                    "held in place of #{}, the oldest of 8 packets in bucket {}",
                    packet.first,
                    self.frame().hash & 7
                );
                ("held", "evicted", "gro_flush_oldest", words)
            }
            (GroResult::Held, Some((why, packet)), _) => (
                "held",
                why.name(),
                source_of(why, headers.as_ref()),
                format!("not merged: {}", self.mismatch(why, packet)),
            ),
            (GroResult::Normal, Some((why, packet)), _) => {
                let words = format!("not merged: {}; not held either", self.mismatch(why, packet));
                ("normal", why.name(), source_of(why, headers.as_ref()), words)
            }
            (GroResult::Normal, None, bypass) => {
                let bypass = bypass.unwrap_or_default();
                let (source, words) = overlooked(bypass, ipv6);
                let how = if bypass as u8 >= Bypass::Length as u8 { "not held" } else { "not looked at" };
                ("normal", bypass.name(), source, format!("{how}: {words}"))
            }
        };
        Explanation { frame: self.number, verdict, rule, source, words, left }
    }

    fn frame(&self) -> &Frame {
        &self.trace.frames[self.number]
    }

    /// Why the frame did not join `held`, with both values.
    fn mismatch(&self, why: FlushReason, held: &Delivered) -> String {
        let first = held.first;
        let new = Headers::of(&self.frame().bytes);
        let old = Headers::of(&self.trace.frames[first as usize].bytes);
        let (Some(new), Some(old)) = (new, old) else { return format!("{} (against #{first})", why.name()) };
        let differs =
            |what: &str, new: String, old: String| format!("{what} {new} differs from {old} of #{first}");
        match why {
            FlushReason::Cwr => "it carries CWR".to_owned(),
            FlushReason::Flags => differs("flags", flags(&new.tcp), flags(&old.tcp)),
            FlushReason::Window => {
                differs("window", new.tcp.window_size.to_string(), old.tcp.window_size.to_string())
            }
            FlushReason::Ack => {
                let ack = |tcp: &TcpHeader| tcp.acknowledgment_number.to_string();
                differs("ack", ack(&new.tcp), ack(&old.tcp))
            }
            FlushReason::Options => format!("TCP options differ from those of #{first}"),
            FlushReason::Tos => {
                differs("DSCP/ECN", format!("{:#04x}", new.class), format!("{:#04x}", old.class))
            }
            FlushReason::Ttl => differs("TTL", new.ttl.to_string(), old.ttl.to_string()),
            FlushReason::DontFragment => format!("don't-fragment differs from that of #{first}"),
            FlushReason::IpId => format!(
                "IP id {} neither repeats nor continues {} of #{first} after {} segments",
                new.id, old.id, held.segs
            ),
            FlushReason::Empty => "it has no payload".to_owned(),
            FlushReason::Larger => {
                format!("{} bytes are more than the {} of #{first}", new.payload, old.payload)
            }
            FlushReason::Sequence => {
                let bytes = held.len() - old.header;
                let next = old.tcp.sequence_number.wrapping_add(bytes as u32);
                format!("sequence {} is not {next}, which continues #{first}", new.tcp.sequence_number)
            }
            FlushReason::Size => {
                let size = held.len() - ETHERNET + new.payload;
                let untagged = behind_tags(&self.frame().bytes).1 == ETHERNET;
                let (name, limit) = match new.ipv6 && untagged {
                    true => ("gro_max_size", self.config.gro_max_size),
                    false => ("gro_ipv4_max_size", self.config.gro_ipv4_max_size),
                };
                if size < limit as usize {
                    // Only TCP goes on, and not in front of extension headers that the jumbo header would overwrite.
                    return format!("{size} bytes would reach 65536, the most for such a packet");
                }
                format!("{size} bytes would reach {name} {limit}")
            }
            FlushReason::Length => {
                "its IP length differs from the bytes present, or its reserved bit is set".to_owned()
            }
            _ => why.name().to_owned(),
        }
    }
}

const ETHERNET: usize = 14;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The values that rules compare.
struct Headers {
    ipv6: bool,
    udp: bool,
    class: u8,
    ttl: u8,
    id: u16,
    tcp: TcpHeader,
    header: usize,
    payload: usize,
}

impl Headers {
    fn of(bytes: &[u8]) -> Option<Self> {
        let headers = PacketHeaders::from_ethernet_slice(bytes).ok()?;
        let udp = matches!(headers.transport, Some(TransportHeader::Udp(_)));
        let tcp = match headers.transport {
            Some(TransportHeader::Tcp(tcp)) => tcp,
            // A UDP datagram: none of the TCP rules speaks of it.
            _ => TcpHeader::default(),
        };
        let payload = headers.payload.slice().len();
        let (ipv6, class, ttl, id) = match headers.net? {
            NetHeaders::Ipv4(ip, _) => {
                let class = bytes.get(behind_tags(bytes).1 + 1).copied().unwrap_or(0);
                (false, class, ip.time_to_live, ip.identification)
            }
            NetHeaders::Ipv6(ip, _) => (true, ip.traffic_class, ip.hop_limit, 0),
            NetHeaders::Arp(_) => return None,
        };
        Some(Self { ipv6, udp, class, ttl, id, tcp, header: bytes.len() - payload, payload })
    }
}

/// The flags that must be equal, as tcpdump writes them.
fn flags(tcp: &TcpHeader) -> String {
    let letters = [
        (tcp.syn, 'S'),
        (tcp.rst, 'R'),
        (tcp.urg, 'U'),
        (tcp.ece, 'E'),
        (tcp.cwr, 'W'),
        (tcp.ns, 'e'),
        (tcp.ack, '.'),
    ];
    let text: String = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
    format!("[{text}] with {} bytes of header", tcp.header_len())
}

fn closing(why: FlushReason) -> &'static str {
    match why {
        FlushReason::Fin => "the segment carries FIN",
        FlushReason::Push => "the segment carries PSH",
        FlushReason::Short => "the segment is shorter than the first",
        FlushReason::Segments => "it was the 64th datagram",
        other => other.name(),
    }
}

/// The kernel function that tests a rule, of the family and protocol at hand.
fn source_of(why: FlushReason, headers: Option<&Headers>) -> &'static str {
    let (ipv6, udp) = headers.map_or((false, false), |headers| (headers.ipv6, headers.udp));
    match why {
        FlushReason::Tos | FlushReason::Ttl if ipv6 => "ipv6_gro_flush",
        FlushReason::Tos | FlushReason::Ttl | FlushReason::DontFragment | FlushReason::IpId => {
            "inet_gro_flush"
        }
        FlushReason::Size => "skb_gro_receive",
        FlushReason::Length if ipv6 => "ipv6_gro_receive",
        FlushReason::Length => "inet_gro_receive",
        _ if udp => "udp_gro_receive_segment",
        _ => "tcp_gro_receive",
    }
}

fn overlooked(why: Bypass, ipv6: bool) -> (&'static str, &'static str) {
    let ip = if ipv6 { "ipv6_gro_receive" } else { "inet_gro_receive" };
    match why {
        Bypass::None => ("dev_gro_receive", "nothing"),
        Bypass::NotIp => ("dev_gro_receive", "neither IPv4 nor IPv6"),
        Bypass::Truncated => ("skb_gro_header", "a header is cut off by the end of the frame"),
        Bypass::IpOptions => ("inet_gro_receive", "the IPv4 header is not 20 bytes of version 4"),
        Bypass::Fragment => ("inet_gro_receive", "an IPv4 fragment"),
        Bypass::IpChecksum => ("inet_gro_receive", "the IPv4 header checksum is wrong"),
        Bypass::Protocol => (ip, "neither TCP nor UDP, nor a tunnel that is looked into"),
        Bypass::DataOffset => ("tcp_gro_pull_header", "the TCP data offset is below 5"),
        Bypass::TooLong => {
            ("gro", "the headers are longer than the engine's window, or the frame than 65,535 bytes")
        }
        Bypass::NoTable => ("gro", "no storage for the flow table"),
        Bypass::Checksum => {
            ("skb_gro_checksum_validate", "the checksum of TCP, UDP or GRE, inside or outside, is wrong")
        }
        Bypass::UdpOff => ("udp_gro_receive", "UDP is not coalesced under this config"),
        Bypass::UdpNoChecksum => ("udp_gro_receive_segment", "a UDP datagram without checksum"),
        Bypass::Tunnel => {
            ("gre_gro_receive, geneve_gro_receive", "a tunnel header that GRO does not look behind")
        }
        Bypass::Nested => ("udp_gro_receive, gre_gro_receive, ipip_gro_receive", "a tunnel inside a tunnel"),
        Bypass::UdpLength => ("udp_gro_receive_segment", "the UDP length is not that of the bytes present"),
        Bypass::Length => (ip, "the IP length differs from the bytes present, or the reserved bit is set"),
        Bypass::Empty => ("tcp_gro_receive", "no payload, and no packet of its flow is held"),
        Bypass::Flags => ("tcp_gro_receive", "URG, PSH, RST, SYN or FIN, and no packet of its flow is held"),
        Bypass::Declined => ("none", "the datapath does not merge this flow"),
    }
}

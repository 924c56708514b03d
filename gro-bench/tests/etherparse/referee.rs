//! The headers of a frame as etherparse has them. It knows Ethernet, VLAN, IP with its extension headers, TCP and UDP; GRE, VXLAN and
//! Geneve are a few lines.
//!
//! A walk from header to header: each is taken whole, or the frame is refused for all the reasons that its first bad header
//! gives.

use crate::seen::{Seen, Transport};
use etherparse::checksum::Sum16BitWords;
use etherparse::err::{LenError, ipv4, tcp};
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    SingleVlanHeaderSlice, TcpHeaderSlice, UdpHeaderSlice, ether_type,
};
use gro_core::profile::tunnel;
use gro_core::{Bypass, Config, HEADER_MAX, UdpMode, VlanMode};

const FRAME_MAX: usize = 65_535;
const ETHERNET_IN_TUNNEL: EtherType = EtherType(0x6558);
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;

/// True reasons not to look into a frame, at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reasons(u32);

impl Reasons {
    pub(crate) fn contains(self, why: Bypass) -> bool {
        self.0 & 1 << why as u32 != 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Bypass> {
        Bypass::ALL.into_iter().filter(move |&why| self.contains(why))
    }
}

/// What is in a frame, and the names of the headers up to where the walk ended.
pub(crate) struct Verdict {
    pub(crate) seen: Result<Seen, Reasons>,
    pub(crate) headers: Vec<&'static str>,
}

/// Takes a frame apart.
pub(crate) fn judge(frame: &[u8], config: &Config) -> Verdict {
    let mut walk = Walk {
        frame,
        config,
        at: 0,
        seen: Seen::nothing(),
        reasons: Reasons(0),
        headers: Vec::with_capacity(8),
    };
    let end = walk.ethernet();
    Verdict { seen: end.map(|()| walk.seen), headers: walk.headers }
}

struct Walk<'a> {
    frame: &'a [u8],
    config: &'a Config,
    /// Where the next header begins.
    at: usize,
    seen: Seen,
    /// Those that the present header gives.
    reasons: Reasons,
    headers: Vec<&'static str>,
}

/// Nothing, or why the walk ends.
type Step = Result<(), Reasons>;

impl<'a> Walk<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.frame[self.at..]
    }

    fn refuse_if(&mut self, truth: bool, why: Bypass) {
        if truth {
            self.reasons.0 |= 1 << why as u32;
        }
    }

    fn refuse(&mut self, why: Bypass) -> Step {
        self.refuse_if(true, why);
        self.settle()
    }

    fn settle(&self) -> Step {
        if self.reasons.0 == 0 { Ok(()) } else { Err(self.reasons) }
    }

    /// The frame ends within the header, of which `least` bytes are needed to know how long it is.
    fn cut(&mut self, least: usize) -> Reasons {
        self.refuse_if(true, Bypass::Truncated);
        self.refuse_if(self.rest().len() >= least && self.at + least > HEADER_MAX, Bypass::TooLong);
        self.reasons
    }

    /// Goes behind a header.
    fn pass(&mut self, name: &'static str, length: usize) {
        self.headers.push(name);
        self.at += length;
        self.refuse_if(self.at > HEADER_MAX, Bypass::TooLong);
    }

    /// Goes behind a header that etherparse does not know.
    fn pass_unknown(&mut self, name: &'static str, least: usize, length: usize) -> Step {
        if self.rest().len() < length {
            return Err(self.cut(least));
        }
        self.pass(name, length);
        Ok(())
    }

    fn ethernet(&mut self) -> Step {
        let in_tunnel = self.is_in_tunnel();
        let header = Ethernet2HeaderSlice::from_slice(self.rest()).map_err(|_: LenError| self.cut(14))?;
        self.refuse_if(self.frame.len() > FRAME_MAX, Bypass::TooLong);
        if !in_tunnel {
            self.seen.macs = [header.destination(), header.source()];
        }
        self.pass(if in_tunnel { "ethernet in tunnel" } else { "ethernet" }, 14);
        self.ethertype(header.ether_type(), 2)
    }

    /// Behind an ethertype, with `tags` VLAN tags at most.
    fn ethertype(&mut self, ether_type: EtherType, tags: usize) -> Step {
        let in_band = self.config.vlan == VlanMode::InBand && tags > 0;
        match ether_type {
            ether_type::IPV4 => self.ipv4(),
            ether_type::IPV6 => self.ipv6(),
            ether_type::VLAN_TAGGED_FRAME | ether_type::PROVIDER_BRIDGING if in_band => {
                self.settle()?;
                let header =
                    SingleVlanHeaderSlice::from_slice(self.rest()).map_err(|_: LenError| self.cut(4))?;
                self.pass(if tags == 2 { "vlan" } else { "vlan in vlan" }, 4);
                self.ethertype(header.ether_type(), tags - 1)
            }
            _ => self.refuse(Bypass::NotIp),
        }
    }

    fn ipv4(&mut self) -> Step {
        self.settle()?;
        self.refuse_if(self.rest().len() >= 20 && self.at + 20 > HEADER_MAX, Bypass::TooLong);
        let header = Ipv4HeaderSlice::from_slice(self.rest()).map_err(|error| {
            let short = matches!(&error, ipv4::HeaderSliceError::Len(error) if error.required_len == 20);
            // A header whose options are cut off has them.
            self.refuse_if(!short, Bypass::IpOptions);
            if matches!(error, ipv4::HeaderSliceError::Len(_)) { self.cut(20) } else { self.reasons }
        })?;
        self.refuse_if(header.ihl() != 5, Bypass::IpOptions);
        self.refuse_if(header.is_fragmenting_payload(), Bypass::Fragment);
        // Over the bytes, because etherparse's own header has no reserved bit.
        let sum = Sum16BitWords::new().add_slice(header.slice()).ones_complement();
        self.refuse_if(sum != 0, Bypass::IpChecksum);
        let reserved = header.slice()[6] & 0x80 != 0;
        let length = usize::from(header.total_len());
        self.seen.mismatch |= length != self.rest().len() || reserved;
        self.seen.l3 = self.at;
        self.seen.is_ipv6 = false;
        self.seen.version = 4;
        self.seen.protocol = header.protocol().0;
        self.seen.label = 0;
        self.seen.source = header.source_addr().into();
        self.seen.destination = header.destination_addr().into();
        self.seen.hop_limit = header.ttl();
        self.seen.class = header.dcp().value() << 2 | header.ecn().value();
        self.seen.dont_fragment = header.dont_fragment();
        self.seen.identification = header.identification();
        self.seen.header_checksum = header.header_checksum();
        self.pass("ipv4", header.slice().len());
        self.protocol(header.protocol())
    }

    fn ipv6(&mut self) -> Step {
        self.settle()?;
        let Some(&(mut bytes)) = self.rest().first_chunk::<40>() else { return Err(self.cut(40)) };
        // GRO does not look at the version: it is part of the flow's identity. etherparse insists on a 6.
        let version = bytes[0] >> 4;
        bytes[0] = 0x60 | bytes[0] & 0xf;
        let header = Ipv6HeaderSlice::from_slice(&bytes).map_err(|_| self.reasons)?;
        self.seen.mismatch |= usize::from(header.payload_length()) != self.rest().len() - 40;
        self.seen.l3 = self.at;
        self.seen.is_ipv6 = true;
        self.seen.version = version;
        self.seen.protocol = header.next_header().0;
        self.seen.label = header.flow_label().value();
        self.seen.source = header.source_addr().into();
        self.seen.destination = header.destination_addr().into();
        self.seen.hop_limit = header.hop_limit();
        self.seen.class = header.traffic_class();
        self.seen.dont_fragment = false;
        self.seen.identification = 0;
        self.seen.header_checksum = 0;
        self.pass("ipv6", 40);
        self.next_header(header.next_header())
    }

    fn next_header(&mut self, mut number: IpNumber) -> Step {
        while matches!(
            number,
            IpNumber::IPV6_HEADER_HOP_BY_HOP
                | IpNumber::IPV6_ROUTE_HEADER
                | IpNumber::IPV6_DESTINATION_OPTIONS
        ) {
            self.settle()?;
            let header = Ipv6RawExtHeaderSlice::from_slice(self.rest()).map_err(|_: LenError| self.cut(8))?;
            self.pass("ipv6 extension", header.slice().len());
            number = header.next_header();
        }
        self.protocol(number)
    }

    fn protocol(&mut self, number: IpNumber) -> Step {
        let looks_into = |bit| self.config.tunnels & bit != 0;
        match number {
            IpNumber::TCP => self.tcp(),
            IpNumber::UDP => self.udp(),
            IpNumber::IPV4 | IpNumber::IPV6 if looks_into(tunnel::IP_IN_IP) => {
                let inner_ipv6 = number == IpNumber::IPV6;
                let name = match (self.seen.is_ipv6, inner_ipv6) {
                    (false, false) => "ipip",
                    (false, true) => "sit",
                    (true, false) => "4in6",
                    (true, true) => "6in6",
                };
                self.refuse_if(self.is_in_tunnel(), Bypass::Nested);
                self.settle()?;
                self.headers.push(name);
                self.encapsulate();
                if inner_ipv6 { self.ipv6() } else { self.ipv4() }
            }
            IpNumber::GRE if looks_into(tunnel::GRE) => self.gre(),
            _ => self.refuse(Bypass::Protocol),
        }
    }

    fn tcp(&mut self) -> Step {
        self.settle()?;
        let header = TcpHeaderSlice::from_slice(self.rest()).map_err(|error| match error {
            tcp::HeaderSliceError::Len(_) => self.cut(20),
            tcp::HeaderSliceError::Content(_) => {
                self.refuse_if(true, Bypass::DataOffset);
                self.refuse_if(self.at + 20 > HEADER_MAX, Bypass::TooLong);
                self.reasons
            }
        })?;
        let flags = [
            header.fin(),
            header.syn(),
            header.rst(),
            header.psh(),
            header.ack(),
            header.urg(),
            header.ece(),
            header.cwr(),
            header.ns(),
        ];
        self.seen.transport = Transport::Tcp {
            sequence: header.sequence_number(),
            acknowledgement: header.acknowledgment_number(),
            data_offset: header.data_offset(),
            // etherparse has no name for these.
            reserved: header.slice()[12] >> 1 & 7,
            flags: flags.iter().rev().fold(0, |flags, &flag| flags << 1 | u16::from(flag)),
            window: header.window_size(),
            urgent: header.urgent_pointer(),
        };
        self.seen.l4 = self.at;
        self.seen.ports = [header.source_port(), header.destination_port()];
        self.seen.checksum = header.checksum();
        self.pass("tcp", header.slice().len());
        self.payload()
    }

    fn udp(&mut self) -> Step {
        self.settle()?;
        let header = UdpHeaderSlice::from_slice(self.rest()).map_err(|_: LenError| self.cut(8))?;
        let ports = [header.source_port(), header.destination_port()];
        let behind = match ports[1] {
            VXLAN_PORT if self.config.tunnels & tunnel::VXLAN != 0 => {
                Some(Self::vxlan as fn(&mut Self) -> Step)
            }
            GENEVE_PORT if self.config.tunnels & tunnel::GENEVE != 0 => Some(Self::geneve as _),
            _ => None,
        };
        if let Some(behind) = behind {
            self.refuse_if(self.is_in_tunnel(), Bypass::Nested);
            self.pass("outer udp", 8);
            self.settle()?;
            return behind(self);
        }
        self.refuse_if(self.config.udp == UdpMode::Off, Bypass::UdpOff);
        self.refuse_if(header.checksum() == 0, Bypass::UdpNoChecksum);
        let length = usize::from(header.length());
        self.refuse_if(length <= 8 || length != self.rest().len(), Bypass::UdpLength);
        self.seen.transport = Transport::Udp { rest: [0; 4] };
        self.seen.l4 = self.at;
        self.seen.ports = ports;
        self.seen.checksum = header.checksum();
        self.pass("udp", 8);
        self.payload()
    }

    fn payload(&mut self) -> Step {
        self.seen.payload = self.at;
        self.seen.payload_len = self.rest().len();
        self.settle()
    }

    /// RFC 7348: flags and a network number, then Ethernet.
    fn vxlan(&mut self) -> Step {
        self.pass_unknown("vxlan", 8, 8)?;
        self.encapsulate();
        self.settle()?;
        self.ethernet()
    }

    /// RFC 8926: version, words of options, OAM, protocol, network number; options.
    fn geneve(&mut self) -> Step {
        let header = self.rest();
        if header.len() < 8 {
            return Err(self.cut(8));
        }
        let (version, words, oam) = (header[0] >> 6, usize::from(header[0] & 0x3f), header[1] & 0x80 != 0);
        self.refuse_if(version != 0 || oam, Bypass::Tunnel);
        let length = 8 + 4 * words;
        self.pass_unknown("geneve", 8, length)?;
        self.encapsulate();
        self.behind_tunnel(EtherType(u16::from_be_bytes([header[2], header[3]])), 0)
    }

    /// RFC 2784 and 2890: flags, version, protocol; with C a checksum and 16 bits reserved; with K a key.
    fn gre(&mut self) -> Step {
        self.refuse_if(self.is_in_tunnel(), Bypass::Nested);
        self.settle()?;
        let header = self.rest();
        if header.len() < 4 {
            return Err(self.cut(4));
        }
        let (has_checksum, has_key) = (header[0] & 0x80 != 0, header[0] & 0x20 != 0);
        self.refuse_if(header[0] & !0xa0 != 0 || header[1] != 0, Bypass::Tunnel);
        let length = 4 + 4 * usize::from(has_checksum) + 4 * usize::from(has_key);
        let ether_type = EtherType(u16::from_be_bytes([header[2], header[3]]));
        let name = match (has_checksum, has_key) {
            (false, false) => "gre",
            (true, false) => "gre with checksum",
            (false, true) => "gre with key",
            (true, true) => "gre with checksum and key",
        };
        self.pass_unknown(name, 4, length)?;
        if ether_type == ETHERNET_IN_TUNNEL {
            self.headers.push("gretap");
        }
        self.encapsulate();
        self.behind_tunnel(ether_type, 2)
    }

    fn behind_tunnel(&mut self, ether_type: EtherType, tags: usize) -> Step {
        match ether_type {
            ETHERNET_IN_TUNNEL => {
                self.settle()?;
                self.ethernet()
            }
            _ => self.ethertype(ether_type, tags),
        }
    }

    fn is_in_tunnel(&self) -> bool {
        self.seen.outer_l3 != 0
    }

    /// The IP header so far was an outer one.
    fn encapsulate(&mut self) {
        self.seen.outer_l3 = self.seen.l3;
    }
}

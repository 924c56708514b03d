//! The rtnetlink requests that a sandbox needs (rtnetlink(7)).

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// Long enough for every packet of a comparison; a veth of MTU 1500 drops longer ones silently.
const MTU: u32 = 65_535;

pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    pub(super) fn add_veth(&mut self, name: &str, peer: &str) -> io::Result<()> {
        let mut other = LinkMessage::default();
        other.attributes = vec![LinkAttribute::IfName(peer.into()), LinkAttribute::Mtu(MTU)];
        let info =
            vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other)))];
        let mut link = LinkMessage::default();
        link.attributes =
            vec![LinkAttribute::IfName(name.into()), LinkAttribute::Mtu(MTU), LinkAttribute::LinkInfo(info)];
        self.request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// A VXLAN device that takes every network identifier and has its tunnels from metadata, so that it needs no peer.
    pub(super) fn add_vxlan(&mut self, name: &str, port: u16) -> io::Result<()> {
        let data = vec![InfoVxlan::CollectMetadata(true), InfoVxlan::Port(port)];
        let info = vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))];
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::LinkInfo(info)];
        self.request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Up, and without ARP, which would answer what is injected.
    pub(super) fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up | LinkFlags::Noarp;
        link.header.change_mask = LinkFlags::Up | LinkFlags::Noarp;
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Bytes that a merged packet stays below, for IPv6 and IPv4. Two requests, IPv6 first: up to 65,536 the kernel sets both
    /// sizes to it (`netif_set_gro_max_size`, net/core/dev.c).
    pub(super) fn set_gro_max_size(&mut self, index: u32, ipv6: u32, ipv4: u32) -> io::Result<()> {
        for attribute in [LinkAttribute::GroMaxSize(ipv6), LinkAttribute::GroIpv4MaxSize(ipv4)] {
            let mut link = LinkMessage::default();
            link.header.index = index;
            link.attributes = vec![attribute];
            self.request(RouteNetlinkMessage::SetLink(link), 0)?;
        }
        Ok(())
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

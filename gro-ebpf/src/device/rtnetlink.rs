//! rtnetlink requests about interfaces of this thread's namespace (rtnetlink(7)).

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::tc::{TcHandle, TcMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// Handle, place, and where filters hang, of a clsact qdisc (linux/pkt_sched.h).
const CLSACT: u32 = 0xffff_0000;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const TC_H_INGRESS: u32 = 0xffff_fff2;
const TC_H_EGRESS: u32 = 0xffff_fff3;

/// A socket for requests.
#[expect(missing_debug_implementations, reason = "the socket has none")]
pub struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    /// Opens the socket. It stays with the namespace that the thread is in now.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// What the kernel says of an interface; `None` if there is none of that name.
    pub fn link(&mut self, name: &str) -> io::Result<Option<LinkMessage>> {
        // The kernel takes a longer one for an invalid request.
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Ok(None);
        }
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.into())];
        match self.ask(RouteNetlinkMessage::GetLink(link), 0) {
            Ok(RouteNetlinkMessage::NewLink(link)) => Ok(Some(link)),
            Ok(_) => Err(io::Error::other("rtnetlink answered something else than was asked")),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A veth pair, both ends of one MTU.
    pub fn add_veth(&mut self, name: &str, peer: &str, mtu: u32) -> io::Result<()> {
        let mut other = LinkMessage::default();
        other.attributes = vec![LinkAttribute::IfName(peer.into()), LinkAttribute::Mtu(mtu)];
        let info =
            vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other)))];
        let mut link = LinkMessage::default();
        link.attributes =
            vec![LinkAttribute::IfName(name.into()), LinkAttribute::Mtu(mtu), LinkAttribute::LinkInfo(info)];
        self.request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// A VXLAN device that takes every network identifier and has its tunnels from metadata, so that it needs no peer.
    pub fn add_vxlan(&mut self, name: &str, port: u16) -> io::Result<()> {
        let data = vec![InfoVxlan::CollectMetadata(true), InfoVxlan::Port(port)];
        let info = vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))];
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::LinkInfo(info)];
        self.request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sets flags of an interface: those of `mask` become those of `flags`.
    pub fn set_flags(&mut self, index: u32, flags: LinkFlags, mask: LinkFlags) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = flags;
        link.header.change_mask = mask;
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Sets attributes of an interface.
    pub fn set_attributes(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = attributes;
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Removes an interface.
    pub fn remove(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(link), 0)
    }

    /// Removes the clsact qdisc of an interface, unless there are filters in it.
    pub fn remove_empty_clsact(index: u32) -> io::Result<()> {
        for parent in [TC_H_INGRESS, TC_H_EGRESS] {
            // A socket of its own: the rest of the answer is not read.
            if Self::open()?.has_filters(index, parent)? {
                return Ok(());
            }
        }
        let mut qdisc = TcMessage::with_index(index as i32);
        (qdisc.header.parent, qdisc.header.handle) = (TcHandle::from(TC_H_CLSACT), TcHandle::from(CLSACT));
        Self::open()?.request(RouteNetlinkMessage::DelQueueDiscipline(qdisc), 0)
    }

    fn has_filters(&mut self, index: u32, parent: u32) -> io::Result<bool> {
        let mut filter = TcMessage::with_index(index as i32);
        filter.header.parent = TcHandle::from(parent);
        match self.exchange(RouteNetlinkMessage::GetTrafficFilter(filter), NLM_F_DUMP)? {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            answer => Ok(matches!(answer, NetlinkPayload::InnerMessage(_))),
        }
    }

    /// Any request that is answered with success or an error.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        match self.exchange(message, NLM_F_ACK | flags)? {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }

    /// A request that is answered with one message.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<RouteNetlinkMessage> {
        match self.exchange(message, flags)? {
            NetlinkPayload::InnerMessage(message) => Ok(message),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            _ => Err(io::Error::other("rtnetlink gave no answer")),
        }
    }

    fn exchange(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        Ok(answer.payload)
    }
}

//! Network interfaces as the kernel shows them: rtnetlink, ethtool, sysfs. All of it is about the namespace of the calling thread.

pub mod ethtool;
pub mod netns;
pub mod rtnetlink;
pub mod sysfs;

use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp, XdpAttached,
};
use rtnetlink::Rtnetlink;
use std::io;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number, which is never used again while the namespace lives.
    pub index: u32,
    /// Bytes of the longest IP packet.
    pub mtu: u32,
    /// Whether it is set up (`IFF_UP`).
    pub is_up: bool,
    /// Whether its frames have Ethernet headers.
    pub is_ethernet: bool,
    /// The XDP program on it.
    pub xdp: Xdp,
}

/// Where an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// Nowhere.
    None,
    /// In the driver or the device: it runs once a frame, before an skb is made.
    Native,
    /// In the stack: it runs on each skb that comes in, re-injected ones too (`do_xdp_generic`, net/core/dev.c).
    Generic,
}

impl Device {
    /// Looks an interface up; `None` if there is none of that name.
    pub fn find(name: &str) -> io::Result<Option<Self>> {
        Ok(Rtnetlink::open()?.link(name)?.map(|link| Self::of(name, &link)))
    }

    fn of(name: &str, link: &LinkMessage) -> Self {
        let mut device = Self {
            name: name.to_owned(),
            index: link.header.index,
            mtu: 0,
            is_up: link.header.flags.contains(LinkFlags::Up),
            is_ethernet: matches!(
                link.header.link_layer_type,
                LinkLayerType::Ether | LinkLayerType::Loopback
            ),
            xdp: Xdp::None,
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
                LinkAttribute::Xdp(xdp) => device.xdp = Xdp::of(xdp),
                _ => {}
            }
        }
        device
    }
}

impl Xdp {
    fn of(attributes: &[LinkXdp]) -> Self {
        let attached = attributes.iter().find_map(|attribute| match attribute {
            LinkXdp::Attached(attached) => Some(*attached),
            _ => None,
        });
        match attached {
            None | Some(XdpAttached::None) => Self::None,
            // `Multiple` is a program in the stack beside another one.
            Some(XdpAttached::SocketBuffer | XdpAttached::Multiple) => Self::Generic,
            Some(_) => Self::Native,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

    /// Runs `work` with an end of a veth pair, in a private namespace that goes with its thread. Skipped where that may not be.
    pub(crate) fn sandbox(work: impl FnOnce(&str) + Send) {
        std::thread::scope(|scope| {
            let inside = || {
                // SAFETY: no memory is involved; only this thread's namespace changes.
                if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                    return eprintln!("skipped: needs CAP_SYS_ADMIN for a network namespace");
                }
                match Rtnetlink::open().and_then(|mut netlink| netlink.add_veth("v0", "v1", 1_500)) {
                    Ok(()) => work("v0"),
                    Err(error) => eprintln!("skipped: no veth: {error}"),
                }
            };
            if let Err(panic) = scope.spawn(inside).join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    #[test]
    fn finds_an_interface_and_what_it_is() {
        sandbox(|interface| {
            let device = Device::find(interface).unwrap().unwrap();
            assert_eq!(
                (device.mtu, device.is_up, device.is_ethernet, device.xdp),
                (1_500, false, true, Xdp::None)
            );
            Rtnetlink::open().unwrap().set_flags(device.index, LinkFlags::Up, LinkFlags::Up).unwrap();
            assert!(Device::find(interface).unwrap().unwrap().is_up);
            for absent in ["nosuch", "", "a-name-that-is-too-long"] {
                assert_eq!(Device::find(absent).unwrap(), None, "{absent}");
            }
        });
    }

    #[test]
    fn tells_the_two_kinds_of_xdp() {
        sandbox(|interface| {
            let Some(program) = xdp_pass() else { return eprintln!("skipped: needs CAP_BPF") };
            let index = Device::find(interface).unwrap().unwrap().index;
            let mut netlink = Rtnetlink::open().unwrap();
            // XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE (linux/if_link.h)
            for (flags, expected) in [(2, Xdp::Generic), (4, Xdp::Native)] {
                for (fd, found) in [(program.as_raw_fd(), expected), (-1, Xdp::None)] {
                    let xdp = vec![LinkXdp::Fd(fd), LinkXdp::Flags(flags)];
                    netlink.set_attributes(index, vec![LinkAttribute::Xdp(xdp)]).unwrap();
                    assert_eq!(Device::find(interface).unwrap().unwrap().xdp, found);
                }
            }
        });
    }

    #[test]
    fn reads_and_switches_features() {
        sandbox(|interface| {
            for on in [true, false] {
                ethtool::set_feature(interface, "rx-gro", on).unwrap();
                let features = ethtool::Features::read(interface).unwrap();
                assert_eq!(features.get("rx-gro"), Some(ethtool::Feature { on, switchable: true }));
                assert_eq!(features.get("rx-nosuch"), None);
                assert!(!features.get("rx-lro").unwrap().switchable);
            }
            assert!(!sysfs::of_receive_queues(interface, "rps_flow_cnt").unwrap().is_empty());
        });
    }

    /// An XDP program that lets everything pass: `r0 = 2; exit`.
    fn xdp_pass() -> Option<OwnedFd> {
        const PROG_LOAD: libc::c_long = 5;
        const TYPE_XDP: u32 = 6;
        let instructions = [0x0000_0002_0000_00b7_u64, 0x95];
        // The first members of the BPF_PROG_LOAD attributes (linux/bpf.h).
        #[repr(C)]
        struct Attributes {
            kind: u32,
            count: u32,
            instructions: u64,
            license: u64,
            rest: [u64; 16],
        }
        let attributes = Attributes {
            kind: TYPE_XDP,
            count: 2,
            instructions: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            rest: [0; 16],
        };
        // SAFETY: the attributes point to instructions and a licence that outlive the call; their size is passed.
        let raw = unsafe {
            libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<Attributes>())
        };
        // SAFETY: the call gave the descriptor to nobody else.
        RawFd::try_from(raw).ok().filter(|&raw| raw >= 0).map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })
    }
}

//! The clsact qdisc, for kernels without TCX: taken away again where nobody else uses it (rtnetlink(7), tc(8)).

use super::sys::owned;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// `TC_H_CLSACT`, which is the same number as `TC_H_INGRESS`.
const CLSACT: u32 = 0xffff_fff1;
/// Where its filters hang: `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS` below it.
const PARENTS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

/// A request about one interface's traffic control: `struct nlmsghdr` and `struct tcmsg`.
#[repr(C)]
struct Request {
    header: libc::nlmsghdr,
    family: u8,
    pad: [u8; 3],
    ifindex: libc::c_int,
    handle: u32,
    parent: u32,
    info: u32,
}

/// Takes the qdisc off an interface if it has no filter.
pub(super) fn remove_unused(ifindex: u32) -> io::Result<()> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: plain system call; the result is checked.
    let socket = owned(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    for parent in PARENTS {
        send(&socket, ifindex, libc::RTM_GETTFILTER, libc::NLM_F_DUMP, (0, parent))?;
        if answers(&socket)? {
            return Ok(());
        }
    }
    send(&socket, ifindex, libc::RTM_DELQDISC, libc::NLM_F_ACK, (CLSACT & 0xffff_0000, CLSACT))?;
    answers(&socket).map(drop)
}

fn send(
    socket: &OwnedFd,
    ifindex: u32,
    kind: u16,
    flags: libc::c_int,
    (handle, parent): (u32, u32),
) -> io::Result<()> {
    let header = libc::nlmsghdr {
        nlmsg_len: size_of::<Request>() as u32,
        nlmsg_type: kind,
        nlmsg_flags: (libc::NLM_F_REQUEST | flags) as u16,
        nlmsg_seq: 0,
        nlmsg_pid: 0,
    };
    let request =
        Request { header, family: 0, pad: [0; 3], ifindex: ifindex as libc::c_int, handle, parent, info: 0 };
    // SAFETY: the request lives through the call and has the size that is passed, without padding. All-zero is the kernel's address.
    let sent = unsafe {
        let mut kernel: libc::sockaddr_nl = zeroed();
        kernel.nl_family = libc::AF_NETLINK as u16;
        let (address, size) = ((&raw const kernel).cast(), size_of::<libc::sockaddr_nl>() as u32);
        libc::sendto(socket.as_raw_fd(), (&raw const request).cast(), size_of::<Request>(), 0, address, size)
    };
    if sent == size_of::<Request>() as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the answer, up to its end, has a filter.
fn answers(socket: &OwnedFd) -> io::Result<bool> {
    const HEADER: usize = size_of::<libc::nlmsghdr>();
    let mut buffer = vec![0_u8; 1 << 16];
    let mut has_filter = false;
    loop {
        // SAFETY: the buffer has the size that is passed.
        let len = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let mut rest =
            buffer.get(..usize::try_from(len).map_err(|_| io::Error::last_os_error())?).unwrap_or_default();
        while let Some(&[a, b, c, d, kind_low, kind_high, ..]) = rest.get(..HEADER) {
            let kind = u16::from_ne_bytes([kind_low, kind_high]);
            match libc::c_int::from(kind) {
                libc::NLMSG_DONE => return Ok(has_filter),
                libc::NLMSG_ERROR => {
                    let code = rest.get(HEADER..HEADER + 4).and_then(|bytes| bytes.try_into().ok());
                    return match code.map_or(libc::EIO, |bytes| -i32::from_ne_bytes(bytes)) {
                        0 => Ok(has_filter),
                        code => Err(io::Error::from_raw_os_error(code)),
                    };
                }
                _ => has_filter |= kind == libc::RTM_NEWTFILTER,
            }
            let len = (u32::from_ne_bytes([a, b, c, d]) as usize).max(HEADER).next_multiple_of(4);
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

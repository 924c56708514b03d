//! A packet socket that sends frames, and reads what arrives with its VLAN tag (packet(7)).

use std::ffi::CString;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// The socket of one interface. It does not hear what is sent.
pub(crate) struct Raw(OwnedFd);

impl Raw {
    /// Hears packets of more than so many bytes, those that arrive and again those that are delivered.
    pub(crate) fn open(interface: &str, longer_than: u32) -> Self {
        let name = CString::new(interface).unwrap();
        // SAFETY: plain system call; the result is checked.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(raw >= 0, "{}", io::Error::last_os_error());
        // SAFETY: `raw` is a new descriptor that nobody else owns.
        let this = Self(unsafe { OwnedFd::from_raw_fd(raw) });
        this.option(libc::SOL_SOCKET, libc::SO_RCVTIMEO, libc::timeval { tv_sec: 0, tv_usec: 100_000 });
        this.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20);
        this.option(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1);
        this.option(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1);
        let word = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut filter = [
            word(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
            word(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 0, 1, longer_than),
            word(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            word(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        this.option(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program);
        // SAFETY: all-zero is a valid address, its size is passed, and the name is terminated.
        let result = unsafe {
            let mut address: libc::sockaddr_ll = zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as libc::c_int;
            libc::bind(raw, (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        this
    }

    fn option<T>(&self, level: libc::c_int, name: libc::c_int, value: T) {
        let (raw, size) = (self.0.as_raw_fd(), size_of::<T>() as u32);
        // SAFETY: `value`, and what it points to, lives through the call and has the size that is passed.
        let result = unsafe { libc::setsockopt(raw, level, name, (&raw const value).cast(), size) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: the frame outlives the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// A packet, and the TPID and TCI of its tag.
    pub(crate) fn read(&self) -> Option<(Vec<u8>, u32)> {
        let mut buffer = vec![0; 1 << 19];
        let mut control = [0_u64; 32];
        // SAFETY: every pointer is to a local, with its size; all-zero is a valid message.
        unsafe {
            let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let mut message: libc::msghdr = zeroed();
            (message.msg_iov, message.msg_iovlen) = (&raw mut slice, 1);
            (message.msg_control, message.msg_controllen) =
                (control.as_mut_ptr().cast(), size_of_val(&control));
            let len = libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0);
            buffer.truncate(usize::try_from(len).ok()?);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!header.is_null());
            let data: libc::tpacket_auxdata =
                libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
            let is_tagged = data.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            let vlan = u32::from(data.tp_vlan_tpid) << 16 | u32::from(data.tp_vlan_tci);
            Some((buffer, if is_tagged { vlan } else { 0 }))
        }
    }
}

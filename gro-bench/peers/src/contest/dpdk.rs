//! DPDK's `rte_gro_reassemble_burst`, as a program could call it.

use super::{Audit, Engine};
use crate::clock::Clock;
use crate::dpdk::{Kind, Library, PARSE, PREFETCH};
use crate::ring::Ring;
use crate::workload::{BURST, Shape, Stream};
use std::hint::black_box;

/// One way to call it.
pub(crate) struct Dpdk {
    library: Library,
    how: i32,
    elements: [*mut u8; BURST],
}

impl Dpdk {
    /// Every way.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn all() -> Result<[Self; 3], String> {
        Library::start().map(|library| {
            [0, PREFETCH, PARSE].map(|how| Self { library, how, elements: [std::ptr::null_mut(); BURST] })
        })
    }

    fn receive(&mut self, ring: &mut Ring, burst: usize) {
        let (room, vxlan) = (ring.element(), ring.is_tunnelled());
        let kind = match self.how {
            PARSE => Kind::Unparsed,
            _ if vxlan => Kind::Vxlan,
            _ => Kind::TcpIpv4,
        };
        for (place, frame) in self.elements.iter_mut().zip(ring.burst(burst)) {
            let made = ring.made(frame);
            *place = ring.element_mut(frame);
            // SAFETY: the ring's elements are `room` bytes, and `ring` is borrowed by this alone.
            unsafe { self.library.receive(*place, room, made.len, kind, made.vlan) };
        }
    }

    fn put_back(ring: &mut Ring, burst: usize) {
        for frame in ring.burst(burst) {
            ring.restore(frame);
        }
    }
}

impl Engine for Dpdk {
    fn name(&self) -> &'static str {
        match self.how {
            PREFETCH => "dpdk+prefetch",
            PARSE => "dpdk+parse",
            _ => "dpdk",
        }
    }

    fn what(&self) -> String {
        let version = self.library.version();
        let how = match self.how {
            PREFETCH => "after the caller prefetched two lines of every frame",
            PARSE => {
                "after rte_net_get_ptype on every frame, as an application without packet types from the NIC"
            }
            _ => "with packet types and lengths from the NIC",
        };
        format!("{version}: rte_gro_reassemble_burst {how}; verifies no TCP checksum, sets no gso_size")
    }

    fn refuses(&self, stream: &Stream) -> Option<&'static str> {
        match stream.shape {
            Shape::Ipv6 => Some("DPDK 22.11 coalesces no TCP over IPv6"),
            Shape::Udp => Some("DPDK 22.11 coalesces IP fragments of a UDP datagram, but no datagrams"),
            Shape::Vxlan if self.how == PARSE => Some("rte_net_get_ptype knows no VXLAN"),
            Shape::Ipv4 | Shape::Vlan | Shape::Vxlan => None,
        }
    }

    fn burst(&mut self, ring: &mut Ring, clock: &Clock, burst: usize) -> u64 {
        self.receive(ring, burst);
        let start = Clock::start();
        // SAFETY: all of them were received just now.
        black_box(unsafe { self.library.burst(&mut self.elements, self.how) });
        let stop = Clock::stop();
        Self::put_back(ring, burst);
        clock.between(start, stop)
    }

    fn audit(&mut self, ring: &mut Ring, burst: usize) -> Option<Audit> {
        self.receive(ring, burst);
        // SAFETY: all of them were received just now.
        let packets = unsafe { self.library.burst(&mut self.elements, self.how) };
        let out = self.elements[..packets].iter();
        // SAFETY: they came out just now.
        let bytes = out.map(|&element| unsafe { self.library.out(element) }.len as usize).sum();
        Self::put_back(ring, burst);
        Some(Audit { packets, bytes })
    }
}

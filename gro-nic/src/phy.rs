//! The driver as a device of smoltcp, a host stack that shares nothing with Linux (feature `smoltcp`).
//!
//! What the wire brings goes by way of the NIC: descriptors, firmware, completions. What the stack sends goes out as it is: a NIC
//! for receiving has no part in it.

use std::collections::VecDeque;

use bytes::Bytes;
use gro_core::Meta;
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::machine::{Core, Machine};
use crate::{Delivered, Nic, NicError};

/// Bytes of an Ethernet header, which smoltcp counts to its MTU.
const ETHERNET: usize = 14;

/// A NIC and the queue of frames to send.
#[derive(Debug)]
pub struct NicPhy<C: Core = Machine> {
    nic: Nic<C>,
    mtu: usize,
    /// Packets that the stack has not taken yet.
    received: VecDeque<Delivered>,
    sent: VecDeque<Bytes>,
}

impl<C: Core> NicPhy<C> {
    /// A device on a wire whose longest IP packet has `mtu` bytes. What the NIC merged is longer: up to the `gro_max_size` of its config.
    pub fn new(nic: Nic<C>, mtu: usize) -> Self {
        Self { nic, mtu, received: VecDeque::new(), sent: VecDeque::new() }
    }

    /// The NIC.
    pub fn nic(&self) -> &Nic<C> {
        &self.nic
    }

    /// Frames from the wire that are ready at once, as one poll: all of them are with the stack when this returns, in order.
    ///
    /// # Errors
    /// As of [`Nic::deliver`].
    pub fn poll(&mut self, frames: impl IntoIterator<Item = (Bytes, Meta)>) -> Result<(), NicError> {
        for (frame, meta) in frames {
            self.nic.post(frame, meta);
        }
        self.nic.poll_end();
        let received = &mut self.received;
        self.nic.deliver(&mut |packet| received.push_back(packet))
    }

    /// Packets that the stack has yet to take, in order.
    pub fn waiting(&self) -> impl Iterator<Item = &Delivered> {
        self.received.iter()
    }

    /// The next frame that the stack sent, for the wire.
    pub fn sent(&mut self) -> Option<Bytes> {
        self.sent.pop_front()
    }
}

impl<C: Core> phy::Device for NicPhy<C> {
    type RxToken<'a>
        = RxToken
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let packet = self.received.pop_front()?;
        Some((RxToken(packet), TxToken(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken(&mut self.sent))
    }

    /// The stack verifies and computes every checksum itself: those of merged packets are complete.
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET;
        capabilities
    }
}

/// A packet for the stack.
#[derive(Debug)]
pub struct RxToken(Delivered);

impl phy::RxToken for RxToken {
    /// The stack wants its bytes in one piece; those of a single frame are.
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        match self.0.segments.is_empty() {
            true => read(&self.0.header),
            false => read(&self.0.to_vec()),
        }
    }
}

/// Room for a frame.
#[derive(Debug)]
pub struct TxToken<'a>(&'a mut VecDeque<Bytes>);

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push_back(frame.into());
        result
    }
}

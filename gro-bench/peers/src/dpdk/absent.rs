//! Stands for a library that was not there.

use super::{Kind, Out};

/// There is none.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Library {}

impl Library {
    pub(crate) fn start() -> Result<Self, String> {
        Err(format!("built without it: {}", env!("PEERS_NO_DPDK")))
    }

    pub(crate) fn version(self) -> String {
        match self {}
    }

    pub(crate) unsafe fn receive(self, _: *mut u8, _: usize, _: usize, _: Kind, _: u32) {
        match self {}
    }

    pub(crate) unsafe fn burst(self, _: &mut [*mut u8], _: i32) -> usize {
        match self {}
    }

    pub(crate) unsafe fn out(self, _: *mut u8) -> Out {
        match self {}
    }

    pub(crate) unsafe fn read(self, _: *mut u8, _: &mut [u8]) -> usize {
        match self {}
    }
}

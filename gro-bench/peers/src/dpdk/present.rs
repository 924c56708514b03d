//! The library.

use super::{Kind, Out};
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::OnceLock;

unsafe extern "C" {
    fn gro_dpdk_version() -> *const c_char;
    fn gro_dpdk_init(argc: c_int, argv: *mut *mut c_char) -> c_int;
    fn gro_dpdk_receive(element: *mut u8, room: u32, len: u32, kind: c_int, tag: u32);
    fn gro_dpdk_burst(elements: *mut *mut u8, count: u32, how: c_int) -> u32;
    fn gro_dpdk_out(element: *const u8) -> Out;
    fn gro_dpdk_read(element: *const u8, to: *mut u8, most: u32) -> u32;
}

/// It is initialised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library(());

impl Library {
    /// Initialises it once for this process, for the CPU that the calling thread is bound to.
    ///
    /// # Errors
    /// What it says.
    pub(crate) fn start() -> Result<Self, String> {
        static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
        STARTED.get_or_init(init).clone().map(Self)
    }

    /// Its version.
    pub(crate) fn version(self) -> String {
        // SAFETY: a constant, terminated string.
        unsafe { CStr::from_ptr(gro_dpdk_version()) }.to_string_lossy().into_owned()
    }

    /// Writes what the receive function of a driver does before a frame of `len` bytes.
    ///
    /// # Safety
    /// `element` points to `room` bytes, 64-byte aligned, with the frame 256 bytes in; nobody else uses them meanwhile.
    pub(crate) unsafe fn receive(self, element: *mut u8, room: usize, len: usize, kind: Kind, tag: u32) {
        // The element is a 16-bit length to DPDK, too.
        let room = room.min(65_535);
        debug_assert!(256 + len <= room);
        // SAFETY: as above.
        unsafe { gro_dpdk_receive(element, room as u32, len as u32, kind as c_int, tag) }
    }

    /// Coalesces at most 64 frames; the packets that come out are the first so many of `elements`.
    ///
    /// # Safety
    /// Each element was given to [`Library::receive`] since it was last in a burst.
    #[inline(always)]
    pub(crate) unsafe fn burst(self, elements: &mut [*mut u8], how: i32) -> usize {
        // SAFETY: as above.
        unsafe { gro_dpdk_burst(elements.as_mut_ptr(), elements.len() as u32, how) as usize }
    }

    /// # Safety
    /// `element` came out of [`Library::burst`].
    pub(crate) unsafe fn out(self, element: *mut u8) -> Out {
        // SAFETY: as above.
        unsafe { gro_dpdk_out(element) }
    }

    /// The packet's bytes, as many as there is room for.
    ///
    /// # Safety
    /// `element` came out of [`Library::burst`].
    pub(crate) unsafe fn read(self, element: *mut u8, to: &mut [u8]) -> usize {
        // SAFETY: as above, and `to` has the length that is passed.
        unsafe { gro_dpdk_read(element, to.as_mut_ptr(), to.len() as u32) as usize }
    }
}

fn init() -> Result<(), String> {
    let cpu = crate::clock::cpus().ok().and_then(|cpus| cpus.first().copied()).unwrap_or(0).to_string();
    // No device, no huge page file system, and nothing of it outside this process.
    let quiet = ["--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "--log-level=3"];
    let arguments = ["gro-peers", "-m", "512", "-l", &cpu].into_iter().chain(quiet);
    let owned: Vec<CString> = arguments.map(|argument| CString::new(argument).unwrap_or_default()).collect();
    // It keeps the pointers, so the strings stay as long as the process does.
    let mut pointers: Vec<_> = owned.leak().iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    // SAFETY: as many terminated strings as it is told.
    match unsafe { gro_dpdk_init(pointers.len() as c_int, pointers.as_mut_ptr()) } {
        0 => Ok(()),
        error => Err(format!("DPDK does not start: {}", std::io::Error::from_raw_os_error(error))),
    }
}

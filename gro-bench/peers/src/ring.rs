//! The ring: frames in shuffled elements of one memory, as a driver's buffers are after a while.
//!
//! ```text
//!   element  │ 256 bytes: room for DPDK's mbuf and its headroom │ frame, 64-byte aligned │ ...
//! ```

use crate::memory::Region;
use crate::workload::{BURST, Made, Shape, Stream, Writer, mix};
use std::io;
use std::ops::Range;

/// Where a frame starts in its element.
pub(crate) const HEADROOM: usize = 256;
/// Bytes of an element for frames up to 1,514 bytes and more.
const ELEMENT: usize = 2_304;
/// As much of each frame is kept to put it back: more than any engine writes to.
const HEAD: usize = 128;

/// Frames in the order in which they arrive.
#[derive(Debug)]
pub(crate) struct Ring {
    region: Region,
    most: usize,
    element: usize,
    tunnelled: bool,
    places: Vec<Place>,
    heads: Vec<[u8; HEAD]>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    element: u32,
    made: Made,
}

impl Ring {
    /// Room for `bytes` of elements and at most `frames` of them.
    pub(crate) fn new(bytes: usize, frames: usize) -> io::Result<Self> {
        let region = Region::new(bytes)?;
        Ok(Self {
            region,
            most: frames,
            element: ELEMENT,
            tunnelled: false,
            places: Vec::new(),
            heads: Vec::new(),
        })
    }

    /// Takes the frames of a stream, as many as there is room for in whole bursts.
    pub(crate) fn fill(&mut self, stream: Stream) {
        let mut writer = Writer::new(stream);
        self.tunnelled = stream.shape == Shape::Vxlan;
        self.element = ELEMENT.max((HEADROOM + writer.most()).next_multiple_of(64));
        let frames = (self.region.len() / self.element).min(self.most) / BURST * BURST;
        let elements = shuffled(frames);
        self.places.clear();
        self.heads.clear();
        for element in elements {
            let place = Place { element, made: Made::default() };
            self.places.push(place);
            let number = self.places.len() - 1;
            let room = self.element - HEADROOM;
            let made = writer.write(self.bytes_mut(number, room));
            self.places[number].made = made;
            let mut head = [0; HEAD];
            let kept = made.len.min(HEAD);
            head[..kept].copy_from_slice(&self.frame(number)[..kept]);
            self.heads.push(head);
        }
    }

    /// Bursts of it.
    pub(crate) fn bursts(&self) -> usize {
        self.places.len() / BURST
    }

    /// The frames of a burst.
    pub(crate) fn burst(&self, burst: usize) -> Range<usize> {
        burst * BURST..(burst + 1) * BURST
    }

    /// Bytes of an element.
    pub(crate) fn element(&self) -> usize {
        self.element
    }

    /// Whether the frames are of a tunnel, which a NIC would say.
    pub(crate) fn is_tunnelled(&self) -> bool {
        self.tunnelled
    }

    /// Frames of it.
    pub(crate) fn frames(&self) -> usize {
        self.places.len()
    }

    /// What is known of a frame beside its bytes.
    pub(crate) fn made(&self, frame: usize) -> Made {
        self.places[frame].made
    }

    /// The bytes of a frame.
    pub(crate) fn frame(&self, frame: usize) -> &[u8] {
        let Place { element, made } = self.places[frame];
        let at = element as usize * self.element + HEADROOM;
        // SAFETY: `fill` placed the frame inside an element, and elements inside the region; writers have `&mut self`.
        unsafe { std::slice::from_raw_parts(self.region.start().add(at).as_ptr(), made.len) }
    }

    /// Its element: [`Ring::element`] bytes, all initialised.
    pub(crate) fn element_mut(&mut self, frame: usize) -> *mut u8 {
        let at = self.places[frame].element as usize * self.element;
        // SAFETY: inside the region, as above.
        unsafe { self.region.start().add(at).as_ptr() }
    }

    /// Puts back what an engine may have written to.
    pub(crate) fn restore(&mut self, frame: usize) {
        let kept = self.places[frame].made.len.min(HEAD);
        let head = self.heads[frame];
        self.bytes_mut(frame, kept).copy_from_slice(&head[..kept]);
    }

    /// The first bytes of a frame as they were.
    pub(crate) fn head(&self, frame: usize) -> &[u8] {
        &self.heads[frame][..self.places[frame].made.len.min(HEAD)]
    }

    /// Whether every frame begins as it did.
    pub(crate) fn is_intact(&self) -> bool {
        (0..self.frames()).all(|frame| self.frame(frame).starts_with(self.head(frame)))
    }

    fn bytes_mut(&mut self, frame: usize, len: usize) -> &mut [u8] {
        let at = self.places[frame].element as usize * self.element + HEADROOM;
        debug_assert!(HEADROOM + len <= self.element);
        // SAFETY: inside an element, as for `frame`; `&mut self` keeps others away.
        unsafe { std::slice::from_raw_parts_mut(self.region.start().add(at).as_ptr(), len) }
    }
}

/// The numbers up to `count`, each once, in an order that is the same in every run.
pub(crate) fn shuffled(count: usize) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count as u32).collect();
    let mut state = 12_345;
    for last in (1..count).rev() {
        state = mix(state);
        numbers.swap(last, (state % (last as u64 + 1)) as usize);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Payload;

    #[test]
    fn a_ring_holds_each_frame_in_an_element_of_its_own_and_puts_it_back() {
        let stream = |bytes| Stream {
            shape: Shape::Ipv4,
            payload: Payload::Bytes(bytes),
            flows: 8,
            run: 4,
            hashed: true,
        };
        let mut ring = Ring::new(2 << 20, 512).unwrap();
        for (payload, element, frames) in [(1_448, ELEMENT, 512), (8_948, 9_280, 192)] {
            ring.fill(stream(payload));
            assert_eq!((ring.element(), ring.frames()), (element, frames));
            assert!(ring.is_intact());
            // SAFETY: the first byte of a frame.
            unsafe { *ring.element_mut(7).add(HEADROOM) ^= 1 };
            assert!(!ring.is_intact());
            ring.restore(7);
            assert!(ring.is_intact());
        }
    }
}
